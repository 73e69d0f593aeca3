//! A network namespace for each test, and a second host beside it.

use std::fs::File;
use std::net::UdpSocket;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::Command;
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::thread::LinkNameSpaceType;

pub const MARKER: &str = "MESHSPAN_TEST_IN_NETWORK_NAMESPACE";

/// Runs `body` as root of a network namespace that nothing else uses; `test` is the name of the calling test.
pub fn in_own_network(test: &str, body: impl FnOnce()) {
    in_own_network_with_path(test, None, body);
}

/// The same, where programs are looked for in the folder `path` alone.
pub fn in_own_network_with_path(test: &str, path: Option<&Path>, body: impl FnOnce()) {
    if std::env::var_os(MARKER).is_some() {
        run("ip", &["link", "set", "lo", "up"]);
        run("ip", &["link", "add", "eth0", "type", "veth", "peer", "name", "eth1"]);
        run("ip", &["address", "add", "10.0.0.2/24", "dev", "eth0"]);
        run("ip", &["link", "set", "eth0", "up"]);
        run("ip", &["link", "set", "eth1", "up"]);
        run("ip", &["route", "add", "default", "dev", "eth0"]);
        // iptables-legacy keeps its lock in /run, where a plain user may not write.
        run("mount", &["-t", "tmpfs", "tmpfs", "/run"]);
        return body();
    }
    let mut command = Command::new("unshare");
    if !rustix::process::geteuid().is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    let output = command
        .args(["--net", "--mount", "--"])
        .arg(std::env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env(MARKER, "1")
        .envs(path.map(|path| ("PATH", path)))
        .output()
        .expect("needs the program `unshare` (package util-linux)");
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(
        output.status.success(),
        "in a network namespace (needs root or user namespaces): {text}"
    );
    assert!(text.contains("1 passed"), "the test did not run: {text}");
}

pub fn run(program: &str, args: &[&str]) -> String {
    let output = Command::new(program)
        .args(args)
        .output()
        .unwrap_or_else(|error| panic!("needs the program `{program}`: {error}"));
    assert!(
        output.status.success(),
        "{program} {args:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// The rules on the host without counters and dates.
pub fn rules(variant: &str) -> String {
    ["iptables", "ip6tables"]
        .iter()
        .map(|program| run(&format!("{program}-{variant}-save"), &[]))
        .collect::<String>()
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.split(" [").next().unwrap().to_owned() + "\n")
        .collect()
}

/// Another host, at 10.0.0.1 on the other end of eth0.
pub struct Peer {
    namespace: File,
}

impl Peer {
    pub fn new() -> Self {
        run("ip", &["netns", "add", "peer"]);
        run("ip", &["link", "set", "eth1", "netns", "peer"]);
        let inside = ["netns", "exec", "peer", "ip"];
        for command in [
            &["address", "add", "10.0.0.1/24", "dev", "eth1"][..],
            &["link", "set", "eth1", "up"],
            &["link", "set", "lo", "up"],
        ] {
            run("ip", &[&inside[..], command].concat());
        }
        Self {
            namespace: File::open("/run/netns/peer").unwrap(),
        }
    }

    /// Runs `body` there, in a thread.
    pub fn spawn<T: Send + 'static>(&self, body: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
        let namespace = self.namespace.try_clone().unwrap();
        std::thread::spawn(move || {
            rustix::thread::move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
            body()
        })
    }
}

/// Reads one datagram or fails after ten seconds.
pub fn receive(socket: &UdpSocket) -> String {
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut buffer = [0; 512];
    let length = socket.recv(&mut buffer).expect("no answer");
    String::from_utf8(buffer[..length].to_vec()).unwrap()
}

/// Answers each datagram that `socket` gets with `word`.
pub fn answer_with(socket: UdpSocket, word: &'static str) {
    std::thread::spawn(move || {
        let mut buffer = [0; 512];
        while let Ok((_, from)) = socket.recv_from(&mut buffer) {
            let _ = socket.send_to(word.as_bytes(), from);
        }
    });
}
