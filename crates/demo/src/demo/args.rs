//! Flags of `meshspan demo`.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;

/// Where clients look for an API by default.
pub(super) const API_PORT: u16 = 5681;

/// Flags of `meshspan demo`.
#[derive(Debug, Clone, clap::Args)]
pub struct DemoArgs {
    /// End after the story. The exit code is 0 only if everything that was printed was also observed
    #[arg(long)]
    pub once: bool,
    /// No network namespaces and no interception: all processes on loopback addresses of this machine, explicit outbounds
    #[arg(long)]
    pub no_interception: bool,
    /// Use the built-in stand-in for Redis even if there is a redis-server
    #[arg(long)]
    pub no_redis_server: bool,
    /// Port of this machine on which the API of the global control plane is reached [default: 5681, or a free one; with
    /// --once none]
    #[arg(long, value_name = "PORT")]
    pub api_port: Option<u16>,
    /// Keep the logs of all processes in this folder
    #[arg(long, value_name = "DIR")]
    pub keep_logs: Option<PathBuf>,
}

impl DemoArgs {
    /// Where the API is to be reached from outside of the namespaces; nowhere if nobody has the time to ask.
    pub(super) fn outside(&self) -> Option<SocketAddr> {
        if self.once && self.api_port.is_none() {
            return None;
        }
        let port = self.api_port.unwrap_or_else(|| {
            let usual = TcpListener::bind((Ipv4Addr::LOCALHOST, API_PORT));
            // Something else runs there: take any port, which is shown.
            usual.map_or(0, |_| API_PORT)
        });
        Some((Ipv4Addr::LOCALHOST, port).into())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        demo: DemoArgs,
    }

    #[test]
    fn the_api_is_reached_where_that_is_wanted() {
        let outside = |line: &[&str]| Program::try_parse_from(line).unwrap().demo.outside();
        assert_eq!(outside(&["demo", "--once"]), None);
        let wanted = outside(&["demo", "--once", "--api-port", "7001"]);
        assert_eq!(wanted, Some((Ipv4Addr::LOCALHOST, 7001).into()));
        assert_eq!(outside(&["demo", "--api-port", "7001"]), wanted);
    }
}
