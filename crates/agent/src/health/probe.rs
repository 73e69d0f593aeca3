//! One TCP connect to the application.

use crate::socket::{self, SocketMark};
use meshspan_xds::proto::agent::HealthCheck;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

/// Used where the plan says 0 (spec/dataplane.md §9.5).
const DEFAULT_INTERVAL: Duration = Duration::from_secs(1);
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(2);
/// A faulty plan must not make the agent spin.
const MIN_INTERVAL: Duration = Duration::from_millis(10);
/// Interception leaves connections from here alone (spec/dataplane.md §7). Without it a probe to the application's
/// non-loopback address would be redirected to Envoy, which accepts it whether the application lives or not.
const UNINTERCEPTED: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 6));

/// Target and timing of a check.
#[derive(Debug)]
pub(super) struct Probe {
    target: SocketAddr,
    interval: Duration,
    timeout: Duration,
    mark: SocketMark,
}

impl Probe {
    /// Fails with a text for people if the plan's target is not an address.
    pub(super) fn new(check: &HealthCheck, mark: SocketMark) -> Result<Self, String> {
        let ip: IpAddr = check.address.parse().map_err(|_| {
            format!(
                "the control plane asks to probe {:?}, which is not an IP address",
                check.address
            )
        })?;
        let port =
            u16::try_from(check.port).map_err(|_| format!("the control plane asks to probe port {}", check.port))?;
        let or = |millis: u32, default| {
            if millis == 0 {
                default
            } else {
                Duration::from_millis(millis.into())
            }
        };
        Ok(Self {
            target: SocketAddr::new(ip, port),
            interval: or(check.interval_ms, DEFAULT_INTERVAL).max(MIN_INTERVAL),
            timeout: or(check.timeout_ms, DEFAULT_TIMEOUT),
            mark,
        })
    }

    pub(super) fn interval(&self) -> Duration {
        self.interval
    }

    /// `Err` says why the application does not count as reachable.
    pub(super) async fn run(&self) -> Result<(), String> {
        let connect = socket::tcp_connect(self.target, self.source(), self.mark);
        match tokio::time::timeout(self.timeout, connect).await {
            Ok(Ok(_stream)) => Ok(()),
            Ok(Err(error)) => Err(format!("connect to {}: {error}", self.target)),
            Err(_) => Err(format!(
                "connect to {}: no answer within {} ms",
                self.target,
                self.timeout.as_millis()
            )),
        }
    }

    /// A loopback source reaches only addresses of this host, and loopback targets are not intercepted anyway.
    fn source(&self) -> Option<IpAddr> {
        let ip = self.target.ip();
        let is_of_this_host = || UdpSocket::bind((ip, 0)).is_ok();
        (ip.is_ipv4() && !ip.is_loopback() && is_of_this_host()).then_some(UNINTERCEPTED)
    }
}
