//! A data plane proxy: the agent with its Envoy.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use http::Request;
use meshspan_lab::{HttpConnection, HttpVersion, eventually};
use serde_json::Value;

use super::control_plane::ControlPlane;
use crate::machine::Machine;
use crate::process::Process;
use crate::program::Program;

/// How long a proxy may take until it is ready.
const START: Duration = Duration::from_secs(60);
/// By which interception knows the sockets of Envoy and the agent. Works in user namespaces, where users cannot be told apart.
pub(super) const SOCKET_MARK: &str = "5678";
const READINESS_PORT: u16 = 9902;

/// A proxy. It keeps its document, token and flags over restarts.
#[derive(Debug)]
pub struct Proxy {
    program: Program,
    machine: Machine,
    flags: Vec<String>,
    process: Process,
}

/// What differs between sidecars and zone proxies.
pub(super) struct ProxySetup<'a> {
    /// `--proxy-type`
    pub proxy_type: &'a str,
    pub document: Value,
    pub token: String,
    /// Whether the host's traffic is intercepted, and its DNS with it.
    pub intercepted: bool,
}

impl Proxy {
    /// Starts the agent, without waiting for anything.
    pub(super) async fn start(
        program: &Program,
        machine: &Machine,
        control_plane: &ControlPlane,
        setup: ProxySetup<'_>,
    ) -> Result<Self> {
        let document = write(
            machine,
            &format!("{}.json", setup.proxy_type),
            &setup.document.to_string(),
        )?;
        let token = write(machine, &format!("{}.token", setup.proxy_type), &setup.token)?;
        let config_dir = machine.directory().join(format!("{}-config", setup.proxy_type));
        let mut flags: Vec<String> = [
            ("--proxy-type", setup.proxy_type),
            ("--cp-address", &control_plane.dp_url()),
            ("--ca-cert-file", &control_plane.ca_file().display().to_string()),
            ("--dataplane-file", &document.display().to_string()),
            ("--dataplane-token-file", &token.display().to_string()),
            ("--config-dir", &config_dir.display().to_string()),
            ("--drain-time", "1s"),
            ("--concurrency", "1"),
            ("--envoy-log-level", "warning"),
            ("--readiness-address", &machine.private_address().to_string()),
        ]
        .iter()
        .flat_map(|(flag, value)| [(*flag).to_owned(), (*value).to_owned()])
        .collect();
        if setup.intercepted {
            flags.extend(["--socket-mark".to_owned(), SOCKET_MARK.to_owned()]);
        } else {
            flags.push("--dns-enabled=false".to_owned());
        }
        let process = launch(program, machine, &flags).await?;
        Ok(Self {
            program: program.clone(),
            machine: machine.clone(),
            flags,
            process,
        })
    }

    /// Waits until the agent says that the proxy may get traffic.
    ///
    /// # Errors
    /// It ended, or is not ready within a minute; the error has the end of its log.
    pub async fn ready(&mut self) -> Result<()> {
        let what = format!("the proxy on {}", self.machine.name());
        let address = SocketAddr::from((self.machine.private_address(), READINESS_PORT));
        let (machine, process) = (&self.machine, std::cell::RefCell::new(&mut self.process));
        let outcome = eventually(&what, START, || async {
            process.borrow_mut().check()?;
            let stream = machine.connect(address).await?;
            let mut connection = HttpConnection::over(stream, "agent", HttpVersion::Http1).await?;
            let response = connection
                .send(Request::get("/ready").body(bytes::Bytes::new())?)
                .await?;
            ensure!(
                response.status().is_success(),
                "not ready: {}",
                String::from_utf8_lossy(response.body())
            );
            Ok(())
        })
        .await;
        outcome.with_context(|| format!("its log ends with:\n{}", crate::logs::log_tail(self.process.log())))
    }

    /// Kills agent and Envoy (SIGKILL).
    ///
    /// # Errors
    /// The system cannot tell how they ended.
    pub async fn kill(&mut self) -> Result<()> {
        self.process.kill().await
    }

    /// Asks the agent to end: it drains first.
    ///
    /// # Errors
    /// The system cannot tell how it ended.
    pub async fn stop(&mut self) -> Result<()> {
        self.process.terminate(Duration::from_secs(10)).await
    }

    /// Starts it again after its end and waits until it is ready.
    ///
    /// # Errors
    /// See [`Proxy::ready`].
    pub async fn start_again(&mut self) -> Result<()> {
        self.process = launch(&self.program, &self.machine, &self.flags).await?;
        self.ready().await
    }

    /// The agent's process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Its host.
    pub fn machine(&self) -> &Machine {
        &self.machine
    }
}

async fn launch(program: &Program, machine: &Machine, flags: &[String]) -> Result<Process> {
    let mut command = program.command(&["dp", "run"]);
    command.args(flags);
    machine.spawn("proxy", command).await
}

fn write(machine: &Machine, name: &str, text: &str) -> Result<PathBuf> {
    let path = machine.directory().join(name);
    std::fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
    Ok(path)
}
