//! Whatever is killed, nothing of a lab outlives it. Needs root or user namespaces.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// A running `meshspan-lab hold`.
struct Held {
    supervisor: Child,
    lines: BufReader<ChildStdout>,
    /// Everything that it printed before `ready`.
    said: String,
}

impl Held {
    fn start(flags: &[&str]) -> Self {
        let mut supervisor = Command::new(env!("CARGO_BIN_EXE_meshspan-lab"))
            .arg("hold")
            .args(flags)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut held = Self {
            lines: BufReader::new(supervisor.stdout.take().unwrap()),
            supervisor,
            said: String::new(),
        };
        held.said = held.read_until("ready");
        held
    }

    fn read_until(&mut self, wanted: &str) -> String {
        let mut said = String::new();
        loop {
            let start = said.len();
            let read = self.lines.read_line(&mut said).unwrap();
            assert_ne!(read, 0, "it ended before it said {wanted:?}: {said}");
            if said[start..].trim() == wanted {
                return said;
            }
        }
    }

    fn signal(&self, signal: Signal) {
        send(self.supervisor.id(), signal);
    }

    /// All processes below the supervisor: unshare, the lab, three redis.
    fn processes(&self) -> Vec<Process> {
        let below = descendants(self.supervisor.id());
        assert_eq!(below.len(), 5, "{below:?}");
        below
    }
}

/// The lab of a failed test ends with the test.
impl Drop for Held {
    fn drop(&mut self) {
        self.supervisor.kill().unwrap();
        self.supervisor.wait().unwrap();
    }
}

fn send(process: u32, signal: Signal) {
    kill_process(Pid::from_raw(process as i32).unwrap(), signal).unwrap();
}

/// A process of the machine. The time of its start tells it from a later one with the same number.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Process {
    id: u32,
    parent: u32,
    started: u64,
}

impl Process {
    /// `None` if there is no such process (any more).
    fn find(id: u32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
        // The name in parentheses may contain anything. See proc_pid_stat(5) for what comes after it, from field 3 on.
        let fields: Vec<&str> = stat.rsplit(')').next()?.split_whitespace().collect();
        Some(Self {
            id,
            parent: fields.get(1)?.parse().ok()?,
            started: fields.get(19)?.parse().ok()?,
        })
    }

    fn all() -> BTreeSet<Self> {
        fs::read_dir("/proc")
            .unwrap()
            .filter_map(|entry| Self::find(entry.unwrap().file_name().to_str()?.parse().ok()?))
            .collect()
    }

    /// Whether both are the same process, whoever is its parent by now.
    fn is(&self, other: &Self) -> bool {
        (self.id, self.started) == (other.id, other.started)
    }

    /// Its mounts: device, root within the file system, and mount point of each, in order (proc_pid_mountinfo(5)).
    fn mounts(&self) -> Vec<[String; 3]> {
        fs::read_to_string(format!("/proc/{}/mountinfo", self.id))
            .unwrap()
            .lines()
            .map(|line| {
                let mut fields = line.split(' ').skip(2);
                [(); 3].map(|()| fields.next().unwrap().to_owned())
            })
            .collect()
    }

    /// Names of the interfaces of its network.
    fn links(&self) -> BTreeSet<String> {
        fs::read_to_string(format!("/proc/{}/net/dev", self.id))
            .unwrap()
            .lines()
            .filter_map(|line| Some(line.split_once(':')?.0.trim().to_owned()))
            .collect()
    }

    /// The network and the mount namespace that it is in.
    fn namespaces(&self) -> impl Iterator<Item = PathBuf> {
        ["net", "mnt"]
            .map(|kind| PathBuf::from(format!("/proc/{}/ns/{kind}", self.id)))
            .into_iter()
    }
}

/// Processes below `process`, parents first.
fn descendants(process: u32) -> Vec<Process> {
    let all = Process::all();
    let mut found: Vec<Process> = Vec::new();
    let mut parents = VecDeque::from([process]);
    while let Some(parent) = parents.pop_front() {
        let children = all.iter().filter(|process| process.parent == parent);
        parents.extend(children.clone().map(|process| process.id));
        found.extend(children.cloned());
    }
    found
}

fn eventually(what: &str, mut check: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !check() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        sleep(Duration::from_millis(10));
    }
}

/// What one lab made, by marks that nothing else on the machine has, whatever is started there meanwhile.
struct Made {
    processes: Vec<Process>,
    /// By the names that the kernel gives them. While the files are open, no other namespace and no other mount gets one of these names.
    namespaces: BTreeMap<PathBuf, File>,
    /// Devices of its file systems.
    devices: BTreeSet<String>,
    /// Names of its interfaces.
    links: BTreeSet<String>,
}

impl Made {
    /// `links_before` are the interfaces that the machine had when there was no lab.
    fn by(held: &Held, links_before: &BTreeSet<String>) -> Self {
        let processes = held.processes();
        let own: Vec<PathBuf> = machine()
            .namespaces()
            .map(|path| fs::read_link(path).unwrap())
            .collect();
        let namespaces: BTreeMap<PathBuf, File> = processes
            .iter()
            .flat_map(Process::namespaces)
            .map(|path| (fs::read_link(&path).unwrap(), File::open(&path).unwrap()))
            .filter(|(name, _)| !own.contains(name))
            .collect();
        assert_eq!(
            namespaces.len(),
            8,
            "a network and a mount namespace for the lab and each host: {namespaces:?}"
        );
        let lab = &processes[1];
        let made = Self {
            devices: ["/run", "/proc"].map(|point| device(lab, point)).into(),
            links: lab.links().difference(links_before).cloned().collect(),
            namespaces,
            processes,
        };
        assert_eq!(made.devices.len(), 2, "{:?}", made.devices);
        assert!(
            made.links.len() >= 4,
            "a bridge and a link for each host: {:?}",
            made.links
        );
        made
    }

    /// What of it the machine itself has.
    fn on_machine(&self) -> Vec<String> {
        let mounts = machine()
            .mounts()
            .into_iter()
            .filter(|[device, root, _]| self.devices.contains(device) || self.namespaces.contains_key(Path::new(root)));
        let links = machine().links();
        mounts
            .map(|mount| mount.join(" "))
            .chain(links.intersection(&self.links).cloned())
            .collect()
    }

    /// What of it still runs, anywhere.
    fn running(&self) -> Vec<Process> {
        let inside = |process: &Process| {
            let mut namespaces = process.namespaces().filter_map(|path| fs::read_link(path).ok());
            namespaces.any(|name| self.namespaces.contains_key(&name))
        };
        let all = Process::all().into_iter();
        all.filter(|process| inside(process) || self.processes.iter().any(|of_lab| of_lab.is(process)))
            .collect()
    }
}

/// This process is outside of the lab.
fn machine() -> Process {
    Process::find(std::process::id()).unwrap()
}

/// The device of the file system that `process` sees at `point`.
fn device(process: &Process, point: &str) -> String {
    let mounts = process.mounts().into_iter().rev();
    mounts
        .filter(|[_, _, at]| at == point)
        .map(|[device, _, _]| device)
        .next()
        .unwrap_or_else(|| panic!("nothing is mounted at {point}"))
}

/// Starts a lab, does something to it, and checks that all of it goes.
fn nothing_is_left_after(flags: &[&str], end: impl FnOnce(&mut Held)) -> ExitStatus {
    let links = machine().links();
    let mut held = Held::start(flags);
    let made = Made::by(&held, &links);
    assert_eq!(made.on_machine(), [""; 0], "a lab shows on the machine");
    end(&mut held);
    let status = held.supervisor.wait().unwrap();
    eventually("the end of all processes", || made.running().is_empty());
    assert_eq!(made.on_machine(), [""; 0], "a lab left something");
    status
}

#[test]
fn ctrl_c() {
    let status = nothing_is_left_after(&[], |held| held.signal(Signal::INT));
    assert_eq!(status.code(), Some(0), "the program could end as it likes");
}

#[test]
fn second_ctrl_c() {
    let status = nothing_is_left_after(&["--stubborn"], |held| {
        held.signal(Signal::INT);
        held.read_until("interrupted");
        held.signal(Signal::INT);
    });
    assert_eq!(status.code(), Some(137));
}

#[test]
fn hangup() {
    nothing_is_left_after(&[], |held| held.signal(Signal::HUP));
}

#[test]
fn kill_of_the_supervisor() {
    nothing_is_left_after(&[], |held| held.signal(Signal::KILL));
}

#[test]
fn kill_of_unshare() {
    nothing_is_left_after(&[], |held| send(held.processes()[0].id, Signal::KILL));
}

#[test]
fn kill_of_the_program() {
    let status = nothing_is_left_after(&[], |held| send(held.processes()[1].id, Signal::KILL));
    assert!(!status.success());
}

#[test]
fn the_machine_reaches_a_host_through_the_outside_listener() {
    let mut held = Held::start(&["--outside", "127.0.0.1:0"]);
    let address = held
        .said
        .lines()
        .find_map(|line| line.strip_prefix("outside: "))
        .unwrap()
        .to_owned();
    let mut stream = TcpStream::connect(&address).unwrap();
    stream.write_all(b"GET zone\r\nQUIT\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "$4\r\neast\r\n+OK\r\n");
    held.signal(Signal::INT);
    assert!(held.supervisor.wait().unwrap().success());
    assert!(TcpStream::connect(&address).is_err(), "the listener is gone");
}

#[test]
fn without_programs_the_reason_is_given() {
    let output = Command::new(env!("CARGO_BIN_EXE_meshspan-lab"))
        .arg("hold")
        .env("PATH", "/nonexistent")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("util-linux"), "{said}");
}

#[test]
fn where_the_kernel_forbids_namespaces_the_reason_is_given() {
    // A user namespace in which no network namespace may be made.
    let script = "echo 0 > /proc/sys/user/max_net_namespaces && exec \"$0\" hold";
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "--", "sh", "-c", script])
        .arg(env!("CARGO_BIN_EXE_meshspan-lab"))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("this machine gives us no network namespace"), "{said}");
}
