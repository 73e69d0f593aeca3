//! Listeners without the access logs that Envoy cannot write: a log that fails costs the log, never the traffic.

use std::collections::BTreeSet;

use envoy_types::pb::envoy::config::accesslog::v3::{AccessLog, access_log};
use envoy_types::pb::envoy::config::listener::v3::{Filter, Listener, filter};
use envoy_types::pb::envoy::extensions::access_loggers::file::v3::FileAccessLog;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::HttpConnectionManager;
use envoy_types::pb::envoy::extensions::filters::network::tcp_proxy::v3::TcpProxy;
use envoy_types::util::pack_any;
use prost::{Message, Name};
use xxhash_rust::xxh3::xxh3_64;

use crate::encode::Encoded;

/// The file that Envoy could not open, from its reason for rejecting a listener: `unable to open file '…': …`.
pub fn unopened_file(message: &str) -> Option<&str> {
    let (_, rest) = message.split_once("unable to open file '")?;
    // The path itself may hold quotes.
    rest.rsplit_once("': ")
        .map(|(path, _)| path)
        .filter(|path| !path.is_empty())
}

/// A listener without logs to these files; `None` if it has none. `name`, `version` and `body` are those of the listener.
///
/// Its version follows from that of the whole listener and the files, because maps in it may be encoded in another order.
pub fn without_file_logs(name: &str, version: &str, body: &[u8], files: &BTreeSet<String>) -> Option<Encoded> {
    let mut listener = Listener::decode(body).ok()?;
    let mut removed = false;
    let chains = listener
        .filter_chains
        .iter_mut()
        .chain(&mut listener.default_filter_chain);
    for filter in chains.flat_map(|chain| &mut chain.filters) {
        removed |= edit(filter, |manager: &mut HttpConnectionManager| {
            retain(&mut manager.access_log, files)
        });
        removed |= edit(filter, |proxy: &mut TcpProxy| retain(&mut proxy.access_log, files));
    }
    let left_out: Vec<_> = files.iter().map(String::as_str).collect();
    removed.then(|| Encoded {
        name: name.into(),
        version: format!("{version}-{:016x}", xxh3_64(left_out.join("\0").as_bytes())).into(),
        ..Encoded::listener(&listener)
    })
}

/// Edits the configuration of a filter if it is of that type; true if it changed.
fn edit<M: Message + Name + Default>(filter: &mut Filter, edit: impl Fn(&mut M) -> bool) -> bool {
    let Some(filter::ConfigType::TypedConfig(config)) = &mut filter.config_type else {
        return false;
    };
    if config.type_url != M::type_url() {
        return false;
    }
    let Ok(mut message) = M::decode(config.value.as_slice()) else {
        return false;
    };
    let changed = edit(&mut message);
    if changed {
        *config = pack_any(message);
    }
    changed
}

/// Keeps the logs that go elsewhere; true if some went.
fn retain(logs: &mut Vec<AccessLog>, files: &BTreeSet<String>) -> bool {
    let before = logs.len();
    logs.retain(|log| !file_of(log).is_some_and(|file| files.contains(&file)));
    logs.len() != before
}

fn file_of(log: &AccessLog) -> Option<String> {
    let Some(access_log::ConfigType::TypedConfig(config)) = &log.config_type else {
        return None;
    };
    if config.type_url != FileAccessLog::type_url() {
        return None;
    }
    FileAccessLog::decode(config.value.as_slice()).ok().map(|log| log.path)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use envoy_types::pb::envoy::config::listener::v3::FilterChain;

    use super::*;

    #[test]
    fn the_file_is_found_in_what_envoy_says() {
        let rejected = |reason: &str| format!("Error adding/updating listener(s) self_inbound_dp_80: {reason}\n");
        for (reason, file) in [
            (
                "unable to open file '/a/x.log': No such file or directory",
                Some("/a/x.log"),
            ),
            (
                "unable to open file '/it's here': x': Permission denied",
                Some("/it's here': x"),
            ),
            ("cannot bind '10.0.0.1:80': Cannot assign requested address", None),
            ("unable to open file '", None),
        ] {
            assert_eq!(unopened_file(&rejected(reason)), file, "{reason}");
        }
    }

    fn logs(paths: &[&str]) -> Vec<AccessLog> {
        let log = |path: &&str| AccessLog {
            config_type: Some(access_log::ConfigType::TypedConfig(pack_any(FileAccessLog {
                path: (*path).to_owned(),
                ..Default::default()
            }))),
            ..Default::default()
        };
        paths.iter().map(log).collect()
    }

    fn listener(paths: &[&str]) -> Encoded {
        let filter = |config| FilterChain {
            filters: vec![Filter {
                config_type: Some(filter::ConfigType::TypedConfig(config)),
                ..Default::default()
            }],
            ..Default::default()
        };
        Encoded::listener(&Listener {
            name: "l".to_owned(),
            filter_chains: vec![filter(pack_any(TcpProxy {
                stat_prefix: "kept".to_owned(),
                access_log: logs(paths),
                ..Default::default()
            }))],
            default_filter_chain: Some(filter(pack_any(HttpConnectionManager {
                access_log: logs(paths),
                ..Default::default()
            }))),
            ..Default::default()
        })
    }

    #[test]
    fn only_logs_to_these_files_go_and_nothing_else() {
        let files = |files: &[&str]| files.iter().map(|file| (*file).to_owned()).collect::<BTreeSet<_>>();
        let whole = listener(&["/bad", "/good", "/worse"]);
        let without = |of: &[&str]| without_file_logs(&whole.name, &whole.version, &whole.body, &files(of));
        assert_eq!(without(&["/other"]), None);
        let one = without(&["/bad"]).unwrap();
        assert_eq!(one.body, listener(&["/good", "/worse"]).body);
        let two = without(&["/bad", "/worse"]).unwrap();
        assert_eq!(two.body, listener(&["/good"]).body);
        let versions: BTreeSet<_> = [&whole, &one, &two].map(|listener| &listener.version).into();
        assert_eq!(versions.len(), 3);
        assert_eq!(without(&["/bad"]).unwrap().version, one.version);
    }
}
