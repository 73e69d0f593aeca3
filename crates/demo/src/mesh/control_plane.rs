//! A control plane process: a global, or the one of a zone.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use meshspan_lab::eventually;
use serde_json::json;

use crate::api::Api;
use crate::machine::Machine;
use crate::process::Process;
use crate::program::Program;

/// How long a control plane may take to start.
const START: Duration = Duration::from_secs(30);

/// A control plane. It keeps its files, ports and settings over restarts.
#[derive(Debug)]
pub struct ControlPlane {
    program: Program,
    machine: Machine,
    api: Api,
    dp_port: u16,
    kds_port: u16,
    settings: BTreeMap<String, String>,
    process: Process,
}

impl ControlPlane {
    /// Starts a global control plane and waits until its API answers. `settings` are `KUMA_*` variables.
    ///
    /// # Errors
    /// It cannot be started or does not get ready; the error has the end of its log.
    pub async fn global(program: &Program, machine: Machine, settings: &[(&str, &str)]) -> Result<Self> {
        let mut own = BTreeMap::from([("KUMA_MODE".to_owned(), "global".to_owned())]);
        own.extend(
            settings
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
        );
        Self::start_with(program, machine, own).await
    }

    /// Starts the control plane of a zone that has no global, and waits until its API answers.
    ///
    /// # Errors
    /// See [`ControlPlane::global`].
    pub async fn standalone(program: &Program, machine: Machine, settings: &[(&str, &str)]) -> Result<Self> {
        let own = settings
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        Self::start_with(program, machine, own).await
    }

    /// Starts the control plane of `zone` under `global`, with a token that the global makes for it, and waits until its
    /// API answers.
    ///
    /// # Errors
    /// See [`ControlPlane::global`].
    pub async fn zone(
        program: &Program,
        machine: Machine,
        zone: &str,
        global: &ControlPlane,
        settings: &[(&str, &str)],
    ) -> Result<Self> {
        let address = format!("grpcs://{}:{}", global.machine.address(), global.kds_port);
        let ca = global.ca_file().display().to_string();
        let token = zone_token(&machine, zone, global).await?.display().to_string();
        let mut own = BTreeMap::new();
        for (name, value) in [
            ("KUMA_MODE", "zone"),
            ("KUMA_MULTIZONE_ZONE_NAME", zone),
            ("KUMA_MULTIZONE_ZONE_GLOBAL_ADDRESS", address.as_str()),
            ("KUMA_MULTIZONE_ZONE_KDS_ROOT_CA_FILE", ca.as_str()),
            ("KUMA_MULTIZONE_ZONE_KDS_AUTH_CP_TOKEN_PATH", token.as_str()),
        ]
        .iter()
        .chain(settings)
        {
            own.insert((*name).to_owned(), (*value).to_owned());
        }
        Self::start_with(program, machine, own).await
    }

    async fn start_with(program: &Program, machine: Machine, mut settings: BTreeMap<String, String>) -> Result<Self> {
        let (api_port, dp_port, kds_port) = (machine.port(5681)?, machine.port(5678)?, machine.port(5685)?);
        for (name, value) in [
            ("KUMA_GENERAL_WORK_DIR", work_dir(&machine).display().to_string()),
            ("KUMA_GENERAL_TLS_NAMES", machine.address().to_string()),
            ("KUMA_API_SERVER_HTTP_INTERFACE", "127.0.0.1".to_owned()),
            ("KUMA_API_SERVER_HTTP_PORT", api_port.to_string()),
            ("KUMA_API_SERVER_HTTPS_ENABLED", "false".to_owned()),
            ("KUMA_DP_SERVER_PORT", dp_port.to_string()),
            ("KUMA_MULTIZONE_GLOBAL_KDS_GRPC_PORT", kds_port.to_string()),
            ("KUMA_DIAGNOSTICS_SERVER_PORT", machine.port(5680)?.to_string()),
        ] {
            settings.entry(name.to_owned()).or_insert(value);
        }
        let api = Api::new(machine.clone(), api_port);
        let process = launch(program, &machine, &settings).await?;
        let mut control_plane = Self {
            program: program.clone(),
            machine,
            api,
            dp_port,
            kds_port,
            settings,
            process,
        };
        control_plane.ready().await?;
        Ok(control_plane)
    }

    /// Kills it (SIGKILL).
    ///
    /// # Errors
    /// The system cannot tell how it ended.
    pub async fn kill(&mut self) -> Result<()> {
        self.process.kill().await
    }

    /// Starts it again after its end, with the files that it left, and waits until its API answers.
    ///
    /// # Errors
    /// See [`ControlPlane::global`].
    pub async fn start_again(&mut self) -> Result<()> {
        self.process = launch(&self.program, &self.machine, &self.settings).await?;
        self.ready().await
    }

    async fn ready(&mut self) -> Result<()> {
        let what = format!("the API of the control plane on {}", self.machine.name());
        let (api, process) = (&self.api, std::cell::RefCell::new(&mut self.process));
        eventually(&what, START, || async {
            // A process that ended will never answer: say what it said.
            process.borrow_mut().check()?;
            api.get("/").await
        })
        .await
        .map(drop)
        .with_context(|| format!("its log is {}", self.process.log().display()))
    }

    /// Its host.
    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    /// Its REST API.
    pub fn api(&self) -> &Api {
        &self.api
    }

    /// Its process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Where it keeps its files.
    pub fn work_dir(&self) -> PathBuf {
        work_dir(&self.machine)
    }

    /// The CA of its certificates.
    pub fn ca_file(&self) -> PathBuf {
        self.work_dir().join("ca.pem")
    }

    /// What agents get as `--cp-address`.
    pub fn dp_url(&self) -> String {
        format!("https://{}:{}", self.machine.address(), self.dp_port)
    }

    /// Runs a client command (`apply`, `get`, ...) against its API, on its host, and returns what it printed.
    ///
    /// # Errors
    /// The command fails; the error has what it said.
    pub async fn client(&self, arguments: &[&str]) -> Result<String> {
        let address = format!("http://{}", self.api.address());
        let mut command = self.program.command(arguments);
        command.args(["--no-config", "--address", &address]);
        self.machine.run(command).await
    }

    /// Applies documents in YAML with `meshspan apply`.
    ///
    /// # Errors
    /// The control plane refuses one of them.
    pub async fn apply(&self, yaml: &str) -> Result<String> {
        let path = self.machine.directory().join("applied.yaml");
        std::fs::write(&path, yaml).with_context(|| format!("writing {}", path.display()))?;
        self.client(&["apply", "-f", &path.display().to_string()]).await
    }
}

/// The file with which a zone shows the global who it is.
async fn zone_token(machine: &Machine, zone: &str, global: &ControlPlane) -> Result<PathBuf> {
    let request = json!({ "zone": zone, "scope": ["cp"] });
    let token = global.api().post("/tokens/zone", &request).await?;
    let path = machine.directory().join("zone.token");
    let options = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&path);
    options
        .and_then(|mut file| file.write_all(token.as_bytes()))
        .with_context(|| format!("writing {}", path.display()))?;
    Ok(path)
}

fn work_dir(machine: &Machine) -> PathBuf {
    machine.directory().join("control-plane")
}

async fn launch(program: &Program, machine: &Machine, settings: &BTreeMap<String, String>) -> Result<Process> {
    let mut command = program.command(&["cp", "run"]);
    command.envs(settings);
    machine.spawn("control-plane", command).await
}
