//! Do the interception rules of this host fit this proxy? To read rules needs root, so it is tried: while Envoy does not run yet, the agent
//! listens where the rules would lead connections, and sees whether its own arrive there.

use crate::socket::{self, SocketMark};
use meshspan_model::kinds::dataplane::{Networking, TransparentProxying};
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Notify;

/// In the range of virtual IPs and never given to a service: nobody answers there.
const NOBODY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(243, 255, 255, 254)), 1);
/// The kernel of this host itself answers a connection that is redirected, so this is ample.
const PATIENCE: Duration = Duration::from_millis(100);
/// Between two looks while the agent waits for its bootstrap.
const LOOK_EVERY: Duration = Duration::from_secs(3);
/// Between two looks while Envoy runs: rules are installed at any time, and tell nobody.
const LOOK_LATER: Duration = Duration::from_secs(10);
/// Where rules lead connections by default.
const INBOUND_PORT: u16 = 15006;
const OUTBOUND_PORT: u16 = 15001;

/// Says what does not fit, at once and again when that changes, until `done`. Envoy must not run yet.
pub(crate) async fn look_until(done: &Notify, name: &str, networking: &Networking, mark: SocketMark) {
    let mut said = Vec::new();
    loop {
        let found = problems(networking, mark).await;
        for problem in found.iter().filter(|problem| !said.contains(*problem)) {
            tracing::warn!("{name}: {problem}");
        }
        said = found;
        tokio::select! {
            () = done.notified() => return,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
}

/// Says while Envoy runs when rules lead its own traffic back to it, which goes round in a circle then. Never ends.
pub(crate) async fn watch(name: String, mark: SocketMark) {
    let mut was_led_back = false;
    loop {
        tokio::time::sleep(LOOK_LATER).await;
        let is_led_back = somebody_answers(NOBODY, mark).await;
        match (was_led_back, is_led_back) {
            (false, true) => tracing::error!("{name}: {}", excludes_another(mark)),
            (true, false) => tracing::info!("{name}: the traffic of Envoy is no longer led back to Envoy"),
            _ => {}
        }
        was_led_back = is_led_back;
    }
}

/// Where nobody is only Envoy can have taken the connection.
async fn somebody_answers(target: SocketAddr, mark: SocketMark) -> bool {
    let connected = tokio::time::timeout(PATIENCE, socket::tcp_connect(target, None, mark)).await;
    matches!(connected, Ok(Ok(_)))
}

/// What does not fit, for people. What cannot be tried (a port is taken, an address is a name) is passed over.
async fn problems(networking: &Networking, mark: SocketMark) -> Vec<String> {
    let section = networking.transparent_proxying.as_ref();
    if section.is_some() && !has_route(NOBODY) {
        return vec![
            "this host has no route to the addresses of services, because it has no default route: connections to them fail with \"Network is \
             unreachable\" before any rule sees them; add one, for example `ip route add 240.0.0.0/4 dev eth0` (an interface to other hosts, not lo)"
                .to_owned(),
        ];
    }
    let port = |given: fn(&TransparentProxying) -> u32, default| {
        let given = section.map(given).filter(|port| *port != 0);
        given.map_or(Some(default), |port| u16::try_from(port).ok())
    };
    let (Some(inbound), Some(outbound)) = (
        port(|section| section.redirect_port_inbound, INBOUND_PORT),
        port(|section| section.redirect_port_outbound, OUTBOUND_PORT),
    ) else {
        return Vec::new();
    };
    if arrives(NOBODY, outbound, mark).await == Some(true) {
        return vec![excludes_another(mark)];
    }
    let Some(target) = own_inbound(networking) else {
        return Vec::new();
    };
    match (arrives(target, inbound, mark).await, section.is_some()) {
        (Some(false), true) => vec![format!(
            "the Dataplane has a transparentProxying section, but no rules of this host lead connections to {target} to Envoy yet: until \
             `meshspan install transparent-proxy` has run, without excluding the port, they reach the application without Envoy"
        )],
        (Some(true), false) => vec![format!(
            "interception rules of this host lead connections to port {inbound}, but the Dataplane has no transparentProxying section, so Envoy does \
             not listen there and they are refused: add `transparentProxying: {{redirectPortInbound: {inbound}, redirectPortOutbound: {outbound}}}` to \
             networking, or run `meshspan uninstall transparent-proxy`"
        )],
        _ => Vec::new(),
    }
}

/// The kernel looks for a route before it asks the packet filter.
fn has_route(target: SocketAddr) -> bool {
    // Of UDP, nothing is sent by this.
    let socket = std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0));
    socket.is_ok_and(|socket| match socket.connect(target) {
        Ok(()) => true,
        Err(error) => error.kind() != io::ErrorKind::NetworkUnreachable,
    })
}

fn excludes_another(mark: SocketMark) -> String {
    let (who, remedy) = match mark.0 {
        0 => (
            format!("this agent runs as user id {}", rustix::process::geteuid().as_raw()),
            "run the agent as the user for which they are installed (--kuma-dp-user), or install them for this one",
        ),
        mark => (
            format!("this agent's sockets have the mark {mark}"),
            "install them with the same --kuma-dp-mark",
        ),
    };
    format!(
        "interception rules of this host lead the traffic of Envoy back to Envoy, because they are installed for another: {who}; {remedy}"
    )
}

/// Address and port of an inbound, if it is an address.
fn own_inbound(networking: &Networking) -> Option<SocketAddr> {
    let inbound = networking.inbound.first()?;
    let address = if inbound.address.is_empty() {
        &networking.address
    } else {
        &inbound.address
    };
    let address: IpAddr = address.parse().ok()?;
    // Connections to loopback and to no address in particular are led nowhere.
    let is_led = !address.is_loopback() && !address.is_unspecified();
    let port = u16::try_from(inbound.port).ok().filter(|port| *port != 0)?;
    is_led.then_some(SocketAddr::new(address, port))
}

/// Whether a connection to `target` ends at `port` of this host. `None` if that cannot be tried.
async fn arrives(target: SocketAddr, port: u16, mark: SocketMark) -> Option<bool> {
    if target.port() == port {
        return None;
    }
    let listener = listen(SocketAddr::new(unspecified(target), port)).ok()?;
    let connected = tokio::time::timeout(PATIENCE, socket::tcp_connect(target, None, mark)).await;
    let Ok(Ok(stream)) = connected else {
        return Some(false);
    };
    let own = stream.local_addr().ok()?;
    // Connections of the application may arrive as well.
    let accepted = async {
        while let Ok((_, peer)) = listener.accept().await {
            if peer == own {
                return true;
            }
        }
        false
    };
    Some(tokio::time::timeout(PATIENCE, accepted).await.unwrap_or(false))
}

fn unspecified(like: SocketAddr) -> IpAddr {
    if like.is_ipv4() {
        Ipv4Addr::UNSPECIFIED.into()
    } else {
        std::net::Ipv6Addr::UNSPECIFIED.into()
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // As Envoy does, so that nobody's Envoy is kept from the port meanwhile.
    socket.set_reuse_port(true)?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(16)?;
    TcpListener::from_std(socket.into())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use meshspan_interception::{InstallArgs, UninstallArgs};

    /// Real rules in a network of the test's own.
    #[test]
    fn rules_that_do_not_fit_are_named() {
        meshspan_lab::isolated(|| async {
            for line in [
                "link set lo up",
                "link add eth0 type veth peer name eth1",
                "link set eth1 up",
                "address add 10.0.0.2/24 dev eth0",
                "link set eth0 up",
                "route add default dev eth0",
            ] {
                run("ip", line);
            }
            let install = |args: InstallArgs| {
                meshspan_interception::install(&args, &mut Vec::new()).map_err(|error| anyhow::anyhow!("{error}"))
            };
            let uninstall = || {
                let args = UninstallArgs::default();
                meshspan_interception::uninstall(&args, &mut Vec::new()).map(drop)
            };
            let for_this_user = InstallArgs {
                kuma_dp_user: Some(rustix::process::geteuid().as_raw().to_string()),
                ..InstallArgs::default()
            };
            let for_a_mark = InstallArgs {
                kuma_dp_mark: Some(77),
                ..for_this_user.clone()
            };
            let section = r#", "transparentProxying": {"redirectPortInbound": 15006, "redirectPortOutbound": 15001}"#;
            let found = async |section: &str, mark| {
                let networking = format!(r#"{{"address": "10.0.0.2", "inbound": [{{"port": 80}}]{section}}}"#);
                problems(&serde_json::from_str(&networking).unwrap(), SocketMark(mark)).await
            };
            let names = |found: &[String], word: &str| matches!(found, [only] if only.contains(word));

            assert_eq!(found("", 0).await, Vec::<String>::new(), "neither rules nor a section");
            let missing = found(section, 0).await;
            assert!(
                names(&missing, "no rules of this host lead connections to 10.0.0.2:80"),
                "{missing:?}"
            );

            install(for_this_user.clone())?;
            assert_eq!(found(section, 0).await, Vec::<String>::new());
            let unexpected = found("", 0).await;
            assert!(
                names(&unexpected, "has no transparentProxying section"),
                "{unexpected:?}"
            );

            // Told by a mark, the rules take this agent for somebody else, as they do with another user's id.
            install(for_a_mark)?;
            assert_eq!(found(section, 77).await, Vec::<String>::new());
            let unmarked = found(section, 0).await;
            assert!(names(&unmarked, "this agent runs as user id"), "{unmarked:?}");
            let other = found(section, 78).await;
            assert!(names(&other, "this agent's sockets have the mark 78"), "{other:?}");
            uninstall()?;

            // A plain user has no other to install for.
            let for_another = InstallArgs {
                kuma_dp_user: Some("1".to_owned()),
                ..for_this_user
            };
            match meshspan_interception::install(&for_another, &mut Vec::new()) {
                Err(meshspan_interception::Error::UnmappedUser { .. }) => return Ok(()),
                installed => installed?,
            };
            let another = found(section, 0).await;
            assert!(
                names(&another, "they are installed for another: this agent runs as user id"),
                "{another:?}"
            );
            Ok(())
        });
    }

    fn run(program: &str, line: &str) {
        let status = std::process::Command::new(program)
            .args(line.split(' '))
            .status()
            .unwrap();
        assert!(status.success(), "{program} {line}");
    }

    #[tokio::test]
    async fn a_connection_that_is_not_led_away_does_not_arrive() {
        let application = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let free = TcpListener::bind("127.0.0.1:0")
            .await
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let mark = SocketMark::default();
        assert_eq!(
            arrives(application.local_addr().unwrap(), free, mark).await,
            Some(false)
        );
        let refused = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), free);
        assert_eq!(
            arrives(refused, free, mark).await,
            None,
            "there is nothing to tell apart"
        );
        let taken = application.local_addr().unwrap().port();
        assert_eq!(arrives(NOBODY, taken, mark).await, None);
    }

    #[tokio::test]
    async fn a_connection_that_is_taken_where_nobody_is_was_led_there() {
        let envoy = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = envoy.local_addr().unwrap();
        assert!(somebody_answers(target, SocketMark::default()).await);
        drop(envoy);
        assert!(!somebody_answers(target, SocketMark::default()).await);
    }

    #[tokio::test]
    async fn looking_ends_when_the_wait_does_and_not_before_the_first_look() {
        let done = Notify::new();
        done.notify_one();
        let networking = serde_json::from_str(r#"{"address": "10.0.0.1"}"#).unwrap();
        look_until(&done, "web-1", &networking, SocketMark::default()).await;
    }

    #[test]
    fn only_addresses_that_rules_can_mean_are_tried() {
        let own = |json: &str| own_inbound(&serde_json::from_str(json).unwrap());
        assert_eq!(
            own(r#"{"address": "10.0.0.1", "inbound": [{"port": 80}]}"#)
                .unwrap()
                .to_string(),
            "10.0.0.1:80"
        );
        for none in [
            r#"{"address": "10.0.0.1"}"#,
            r#"{"address": "web.example", "inbound": [{"port": 80}]}"#,
            r#"{"address": "127.0.0.1", "inbound": [{"port": 80}]}"#,
        ] {
            assert_eq!(own(none), None, "{none}");
        }
    }
}
