//! The resolvers of the host and the domains that its programs append to names: resolv.conf(5).

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

const PORT: u16 = 53;
/// More than the three that the C library uses; a bound all the same.
const MAX_RESOLVERS: usize = 8;
/// The C library has no limit; a bound all the same.
const MAX_SEARCH_DOMAINS: usize = 32;
const MAX_FILE_BYTES: u64 = 64 * 1024;
/// How often a use looks whether the file has changed (a laptop changes networks, DHCP renews).
const CHECK_EVERY: Duration = Duration::from_secs(2);

/// The list in the file, read again when the file changes.
#[derive(Debug)]
pub(super) struct ResolvConf {
    path: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    checked: Instant,
    version: Option<(SystemTime, u64)>,
    content: Arc<Content>,
}

/// What the file says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Content {
    /// In the file's order.
    pub(super) resolvers: Vec<SocketAddr>,
    /// Lower case, without final dot.
    pub(super) search: Vec<String>,
}

impl ResolvConf {
    pub(super) fn new(path: &Path) -> Self {
        let state = State {
            checked: Instant::now(),
            version: version(path),
            content: read(path),
        };
        Self {
            path: path.to_owned(),
            state: Mutex::new(state),
        }
    }

    /// The file as it is, or was a moment ago.
    pub(super) fn content(&self) -> Arc<Content> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.checked.elapsed() > CHECK_EVERY {
            state.checked = Instant::now();
            let version = version(&self.path);
            if version != state.version {
                state.version = version;
                state.content = read(&self.path);
            }
        }
        state.content.clone()
    }
}

fn version(path: &Path) -> Option<(SystemTime, u64)> {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}

fn read(path: &Path) -> Arc<Content> {
    use std::io::Read;
    let mut text = String::new();
    let outcome = std::fs::File::open(path).and_then(|file| file.take(MAX_FILE_BYTES).read_to_string(&mut text));
    if let Err(error) = outcome {
        tracing::warn!(path = %path.display(), "cannot read the list of DNS resolvers: {error}; only mesh names resolve");
        return Arc::default();
    }
    let content = Content {
        resolvers: parse(&text),
        search: parse_search(&text),
    };
    tracing::info!(path = %path.display(), resolvers = ?content.resolvers, search = ?content.search, "DNS resolvers for names outside the mesh");
    content.into()
}

/// The last `search` or `domain` line counts.
fn parse_search(text: &str) -> Vec<String> {
    let mut lines = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        match words.next()? {
            "search" => Some(words.take(MAX_SEARCH_DOMAINS).collect::<Vec<_>>()),
            "domain" => Some(words.take(1).collect()),
            _ => None,
        }
    });
    let domains = lines.next_back().unwrap_or_default();
    domains
        .into_iter()
        .map(|domain| domain.trim_matches('.').to_ascii_lowercase())
        .filter(|domain| !domain.is_empty())
        .collect()
}

/// Takes `nameserver <ip>` and, as OpenBSD and musl-based tools write it, `nameserver [<ip>]:<port>`.
fn parse(text: &str) -> Vec<SocketAddr> {
    let entries = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        words.next().filter(|word| *word == "nameserver")?;
        words.next()
    });
    let addresses = entries.filter_map(|entry| {
        let bracketed = entry.strip_prefix('[').and_then(|rest| rest.split_once("]:"));
        let address = match bracketed {
            Some((ip, port)) => ip.parse::<IpAddr>().ok().zip(port.parse().ok()),
            None => entry.parse::<IpAddr>().ok().map(|ip| (ip, PORT)),
        };
        if address.is_none() {
            tracing::warn!(entry, "resolv.conf: a nameserver that is not an IP address is ignored");
        }
        address.map(SocketAddr::from)
    });
    addresses.take(MAX_RESOLVERS).collect()
}

#[cfg(test)]
mod tests {
    use super::{parse, parse_search};

    #[test]
    fn nameservers_in_order() {
        let text = "# comment\nsearch example.org\nnameserver 10.0.0.2\n nameserver fd00::1 # v6\n\
                    nameserver [127.0.0.1]:5353\nnameserver fe80::1%eth0\noptions ndots:2\nnameserver";
        let found: Vec<String> = parse(text).iter().map(ToString::to_string).collect();
        assert_eq!(found, ["10.0.0.2:53", "[fd00::1]:53", "127.0.0.1:5353"]);
    }

    #[test]
    fn the_last_search_list_counts() {
        let text = "domain old.example\nnameserver 10.0.0.2\nsearch svc.Corp.example. corp.example .\n";
        assert_eq!(parse_search(text), ["svc.corp.example", "corp.example"]);
        assert_eq!(
            parse_search("search a.example\ndomain b.example c.example"),
            ["b.example"]
        );
        assert!(parse_search("nameserver 10.0.0.2").is_empty());
    }
}
