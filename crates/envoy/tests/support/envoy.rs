//! A running Envoy that stops with its value.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use meshspan_envoy::Encoded;
use prost::Message;
use tempfile::TempDir;

use super::binary::envoy_binary;
use super::{client, static_config};

/// How long anything may take on a loaded machine before a test gives up.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub struct Envoy {
    process: Child,
    admin: SocketAddr,
    folder: TempDir,
}

impl Envoy {
    /// Starts Envoy with these resources and waits until it takes traffic.
    pub fn start(resources: &[Encoded], zone: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("bootstrap.pb");
        let bootstrap = static_config::bootstrap(resources, zone, folder.path());
        std::fs::write(&config, bootstrap.encode_to_vec()).unwrap();
        let admin_file = folder.path().join("admin");
        let mut process = Command::new(envoy_binary())
            .args([
                "--config-path",
                config.to_str().unwrap(),
                "--admin-address-path",
                admin_file.to_str().unwrap(),
            ])
            .args(["--disable-hot-restart", "--concurrency", "1", "--log-level", "warning"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // Shown by the test harness if the test fails.
        let log = BufReader::new(process.stderr.take().unwrap());
        std::thread::spawn(move || {
            log.lines()
                .map_while(Result::ok)
                .for_each(|line| eprintln!("envoy: {line}"))
        });

        let admin = eventually("Envoy writes its admin address", || {
            if let Some(status) = process.try_wait().unwrap() {
                panic!("Envoy stopped with {status}");
            }
            std::fs::read_to_string(&admin_file).ok()?.parse().ok()
        });
        let envoy = Self { process, admin, folder };
        eventually("Envoy is ready", || (envoy.admin("/ready").status == 200).then_some(()));
        envoy
    }

    /// The address at which a listener was bound.
    pub fn address(&self, listener: &str) -> SocketAddr {
        let listeners: serde_json::Value = serde_json::from_str(&self.admin("/listeners?format=json").body).unwrap();
        let all = listeners["listener_statuses"].as_array().unwrap();
        let status = all
            .iter()
            .find(|status| status["name"] == listener)
            .unwrap_or_else(|| panic!("{listener} in {listeners}"));
        let address = &status["local_address"]["socket_address"];
        let port = address["port_value"].as_u64().unwrap().try_into().unwrap();
        SocketAddr::new(address["address"].as_str().unwrap().parse().unwrap(), port)
    }

    /// The port at which a listener was bound.
    pub fn port(&self, listener: &str) -> u16 {
        self.address(listener).port()
    }

    /// Replaces the endpoints of a cluster, and returns when Envoy uses them.
    pub fn set_endpoints(&self, endpoints: &Encoded) {
        let updates = || self.counter(&format!("cluster.{}.update_success", endpoints.name));
        let before = updates();
        static_config::write_endpoints(endpoints, self.folder.path());
        eventually("Envoy reads the new endpoints", || (updates() > before).then_some(()));
    }

    /// Replaces all listeners, and returns when Envoy has them.
    pub fn set_listeners(&self, resources: &[Encoded]) {
        let updates = || self.counter("listener_manager.lds.update_success");
        let before = updates();
        let listeners = static_config::static_resources(resources).listeners;
        static_config::write_listeners(listeners, self.folder.path());
        eventually("Envoy reads the new listeners", || (updates() > before).then_some(()));
    }

    /// The sum of all counters or gauges whose name ends so, without those of the way to the agent.
    pub fn counter(&self, name: &str) -> u64 {
        let stats = self.admin(&format!("/stats?filter={name}$")).body;
        stats
            .lines()
            .filter(|line| !line.starts_with("cluster.access_log_sink."))
            .filter_map(|line| line.rsplit_once(": ")?.1.parse::<u64>().ok())
            .sum()
    }

    pub fn admin_address(&self) -> SocketAddr {
        self.admin
    }

    pub fn admin(&self, path: &str) -> client::Response {
        client::get(self.admin, path).unwrap()
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

impl Drop for Envoy {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Asks until there is an answer.
pub fn eventually<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(start.elapsed() < PATIENCE, "gave up waiting: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
