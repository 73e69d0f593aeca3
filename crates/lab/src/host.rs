//! One host: what runs on it, what it can reach, what breaks.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UdpSocket};
use tokio::time::timeout;

use crate::isolation::forget_stage;
use crate::namespace::Namespace;
use crate::network::{GATEWAY, PREFIX_LENGTH, finish, ip, start_ip, tc};
use crate::process::Proc;
use crate::process_table;

/// Longest time for [`Host::exec`] and for connecting.
const LIMIT: Duration = Duration::from_secs(30);

/// What may differ between hosts.
#[derive(Debug, Clone, Default)]
pub struct HostOptions {
    /// Servers in `/etc/resolv.conf`. Empty means the address of the lab, where by default nothing answers and queries fail at once.
    pub name_servers: Vec<IpAddr>,
    /// More lines for `/etc/hosts`.
    pub aliases: Vec<(IpAddr, String)>,
}

/// A host. Clones are handles on the same one.
#[derive(Debug, Clone)]
pub struct Host(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    name: String,
    address: Ipv4Addr,
    /// The end of the cable that is in the network of the lab.
    link: String,
    directory: PathBuf,
    namespace: Namespace,
}

impl Host {
    pub(crate) async fn new(
        name: &str,
        address: Ipv4Addr,
        options: HostOptions,
        bridge: &str,
        link: String,
        directory: &Path,
    ) -> Result<Self> {
        std::fs::create_dir_all(directory).with_context(|| format!("making {}", directory.display()))?;
        let namespace = Namespace::new(name).await?;
        let lab = std::process::id();
        let child = namespace.run(start_ip).await?;
        finish(
            child,
            &format!(
                "link set lo up\n\
                 link add eth0 type veth peer name {link} netns {lab}\n\
                 address add {address}/{PREFIX_LENGTH} dev eth0\n\
                 link set eth0 up\n\
                 route add default via {GATEWAY}\n"
            ),
        )
        .await
        .with_context(|| format!("connecting host {name}"))?;
        ip(&format!("link set {link} master {bridge} up\n")).await?;
        let files = [
            ("/etc/resolv.conf", resolv_conf(&options)),
            ("/etc/hosts", hosts_file(name, address, &options)),
        ];
        let folder = directory.to_owned();
        namespace
            .run(move || {
                files
                    .into_iter()
                    .try_for_each(|(path, text)| replace_file(&folder, path, &text))
            })
            .await??;
        Ok(Self(Arc::new(Inner {
            name: name.to_owned(),
            address,
            link,
            directory: directory.to_owned(),
            namespace,
        })))
    }

    /// Its name, also its host name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Its address.
    pub fn address(&self) -> Ipv4Addr {
        self.0.address
    }

    /// Name of the end of its cable in the network of the lab.
    pub(crate) fn link(&self) -> &str {
        &self.0.link
    }

    /// A folder for its files, removed with the lab.
    pub fn directory(&self) -> &Path {
        &self.0.directory
    }

    /// Logs of the processes of this host.
    pub(crate) fn logs(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.directory()).into_iter().flatten().flatten();
        let mut logs: Vec<PathBuf> = entries
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "log"))
            .collect();
        logs.sort();
        logs
    }

    /// Starts a process on this host, in a process group of its own, with its output appended to `<directory>/<name>.log`.
    ///
    /// # Errors
    /// The program cannot be started or the log not be opened.
    pub async fn spawn(&self, name: &str, mut command: Command) -> Result<Proc> {
        let log = self.0.directory.join(format!("{name}.log"));
        let file = std::fs::File::options()
            .create(true)
            .append(true)
            .open(&log)
            .with_context(|| format!("opening {}", log.display()))?;
        let second = file.try_clone().context("opening the log twice")?;
        forget_stage(&mut command);
        command.stdin(Stdio::null()).stdout(file).stderr(second);
        let program = command.get_program().to_owned();
        let child = self
            .0
            .namespace
            .run(move || tokio::process::Command::from(command).process_group(0).spawn())
            .await?
            .with_context(|| format!("starting {} on {}", program.display(), self.name()))?;
        Proc::new(name, self.clone(), child, log)
    }

    /// Runs a program on this host to its end.
    ///
    /// # Errors
    /// It cannot be started or takes longer than 30 seconds. An unsuccessful exit is not an error.
    pub async fn exec(&self, mut command: Command) -> Result<Output> {
        let said = format!("{command:?}");
        forget_stage(&mut command);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let child = self
            .0
            .namespace
            .run(move || tokio::process::Command::from(command).kill_on_drop(true).spawn())
            .await?
            .with_context(|| format!("starting {said} on {}", self.name()))?;
        match timeout(LIMIT, child.wait_with_output()).await {
            Ok(output) => output.with_context(|| format!("waiting for {said}")),
            Err(_) => bail!("{said} on {} took longer than {} seconds", self.name(), LIMIT.as_secs()),
        }
    }

    /// As [`Host::exec`], with the standard output as text; an unsuccessful exit is an error with what the program said.
    ///
    /// # Errors
    /// See there.
    pub async fn output(&self, program: &str, args: &[&str]) -> Result<String> {
        let mut command = Command::new(program);
        command.args(args);
        let output = self.exec(command).await?;
        if !output.status.success() {
            bail!(
                "{program} {args:?} on {}: {}: {}{}",
                self.name(),
                output.status,
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            );
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Opens a TCP connection as an application on this host.
    ///
    /// # Errors
    /// The refusal of the other side, or no answer within 30 seconds.
    pub async fn connect(&self, to: SocketAddr) -> Result<TcpStream> {
        // A socket stays in the namespace in which it was made, so connecting needs no thread of its own.
        let socket = self
            .0
            .namespace
            .run(move || {
                if to.is_ipv4() {
                    TcpSocket::new_v4()
                } else {
                    TcpSocket::new_v6()
                }
            })
            .await?
            .context("making a socket")?;
        timeout(LIMIT, socket.connect(to))
            .await
            .with_context(|| format!("{} got no answer from {to}", self.name()))?
            .with_context(|| format!("connecting from {} to {to}", self.name()))
    }

    /// Listens on this host, in the current process.
    ///
    /// # Errors
    /// The address is in use or not one of this host.
    pub async fn listen(&self, address: SocketAddr) -> Result<TcpListener> {
        let listener = self
            .0
            .namespace
            .run(move || std::net::TcpListener::bind(address))
            .await?
            .with_context(|| format!("listening on {address} of {}", self.name()))?;
        listener.set_nonblocking(true)?;
        TcpListener::from_std(listener).context("registering a listener")
    }

    /// Opens a UDP socket on this host.
    ///
    /// # Errors
    /// The address is in use or not one of this host.
    pub async fn udp(&self, address: SocketAddr) -> Result<UdpSocket> {
        let socket = self
            .0
            .namespace
            .run(move || std::net::UdpSocket::bind(address))
            .await?
            .with_context(|| format!("opening {address}/udp of {}", self.name()))?;
        socket.set_nonblocking(true)?;
        UdpSocket::from_std(socket).context("registering a socket")
    }

    /// Looks `name` up as an application on this host does: by the resolver of the system, its `/etc/hosts` and `/etc/resolv.conf`.
    ///
    /// # Errors
    /// The resolver could not be run. A name without addresses is an empty list.
    pub async fn resolve(&self, name: &str) -> Result<Vec<IpAddr>> {
        let mut command = Command::new("getent");
        command.args(["ahosts", "--", name]);
        let output = self.exec(command).await?;
        match output.status.code() {
            Some(0) => {}
            Some(2) => return Ok(Vec::new()),
            _ => bail!(
                "getent {name} on {}: {}",
                self.name(),
                String::from_utf8_lossy(&output.stderr)
            ),
        }
        let mut addresses: Vec<IpAddr> = Vec::new();
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            if let Some(Ok(address)) = line.split_whitespace().next().map(str::parse)
                && !addresses.contains(&address)
            {
                addresses.push(address);
            }
        }
        Ok(addresses)
    }

    /// Pulls the cable: nothing reaches the host and nothing leaves it. Loopback traffic goes on.
    ///
    /// # Errors
    /// `ip` refused.
    pub async fn partition(&self) -> Result<()> {
        ip(&format!("link set {} down\n", self.0.link)).await
    }

    /// Ends [`Host::partition`].
    ///
    /// # Errors
    /// `ip` refused.
    pub async fn heal(&self) -> Result<()> {
        ip(&format!("link set {} up\n", self.0.link)).await
    }

    /// Cuts this host off from one other, both ways; both stay connected to everyone else.
    ///
    /// # Errors
    /// `ip` refused.
    pub async fn cut(&self, other: &Host) -> Result<()> {
        self.ip(&format!("route replace blackhole {}/32\n", other.address()))
            .await?;
        other
            .ip(&format!("route replace blackhole {}/32\n", self.address()))
            .await
    }

    /// Ends [`Host::cut`].
    ///
    /// # Errors
    /// `ip` refused, also when there was no cut.
    pub async fn mend(&self, other: &Host) -> Result<()> {
        self.ip(&format!("route delete blackhole {}/32\n", other.address()))
            .await?;
        other
            .ip(&format!("route delete blackhole {}/32\n", self.address()))
            .await
    }

    /// Delays packets to this host and loses some of them (0-100 %). No delay and no loss is the normal state.
    ///
    /// # Errors
    /// `tc` refused, for example because the kernel has no `netem` (many small virtual machines).
    pub async fn degrade(&self, delay: Duration, loss_percent: f32) -> Result<()> {
        let link = &self.0.link;
        let delay = delay.as_micros();
        tc(&format!(
            "qdisc replace dev {link} root netem delay {delay}us loss {loss_percent}%"
        ))
        .await
    }

    /// Runs `ip` commands, one a line, on this host.
    ///
    /// # Errors
    /// `ip` refused.
    pub async fn ip(&self, commands: &str) -> Result<()> {
        let child = self.0.namespace.run(start_ip).await?;
        finish(child, commands)
            .await
            .with_context(|| format!("on host {}", self.name()))
    }

    /// Kills everything that runs here, as a loss of power does. Blocks until nothing runs, a second at most.
    pub fn kill_all(&self) {
        for _ in 0..1000 {
            // Again and again, for processes that were started meanwhile.
            let running = process_table::in_network(self.0.namespace.network());
            if running.is_empty() {
                return;
            }
            process_table::kill(&running);
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

fn resolv_conf(options: &HostOptions) -> String {
    let lab = [IpAddr::from(GATEWAY)];
    let servers: &[IpAddr] = if options.name_servers.is_empty() {
        &lab
    } else {
        &options.name_servers
    };
    let mut text = String::new();
    for server in servers {
        let _ = writeln!(text, "nameserver {server}");
    }
    text.push_str("options timeout:2 attempts:2\n");
    text
}

fn hosts_file(name: &str, address: Ipv4Addr, options: &HostOptions) -> String {
    let mut text = format!("127.0.0.1 localhost\n::1 localhost ip6-localhost\n{address} {name}\n");
    for (address, alias) in &options.aliases {
        let _ = writeln!(text, "{address} {alias}");
    }
    text
}

/// Puts a file over one of the machine's, seen in the mount namespace of the calling thread alone.
fn replace_file(folder: &Path, path: &str, text: &str) -> Result<()> {
    let path = Path::new(path);
    let name = path.file_name().context("a file has a name")?;
    let own = folder.join(name);
    std::fs::write(&own, text).with_context(|| format!("writing {}", own.display()))?;
    // Often a link into /run, which is empty here: then there is nothing yet that could be covered.
    let target = match std::fs::read_link(path) {
        Ok(link) => Path::new("/etc").join(link),
        Err(_) => path.to_owned(),
    };
    if !target.exists() {
        if let Some(parent) = target.parent() {
            std::fs::create_dir_all(parent).with_context(|| format!("making {}", parent.display()))?;
        }
        std::fs::write(&target, "")
            .with_context(|| format!("making {}, which this machine lacks", target.display()))?;
    }
    rustix::mount::mount_bind(&own, &target).with_context(|| format!("covering {}", target.display()))
}
