//! Resolves the host names that stand in Dataplanes and ZoneIngresses, again and again: names have no change feed.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::Command;

/// How long an answer is used (`general.dnsCacheTTL`).
const CACHE_TTL: Duration = Duration::from_secs(10);
/// Longest time for one question.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Resolves whatever is in `names` until `stop`.
pub(super) async fn run(
    mut names: watch::Receiver<BTreeSet<String>>,
    commands: mpsc::Sender<Command>,
    stop: CancellationToken,
) {
    loop {
        let current = names.borrow_and_update().clone();
        let mut questions: FuturesUnordered<_> = current.iter().map(|name| resolve(name.clone())).collect();
        while let Some((name, address)) = questions.next().await {
            if commands.send(Command::Resolved { name, address }).await.is_err() {
                return;
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            changed = names.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(CACHE_TTL), if !current.is_empty() => {}
        }
    }
}

/// The smallest address, IPv4 first, so that several records do not make it jump about; `Err` keeps the last one.
async fn resolve(name: String) -> (String, Result<IpAddr, String>) {
    let answer = tokio::time::timeout(TIMEOUT, tokio::net::lookup_host((name.clone(), 0))).await;
    let address: Result<IpAddr, String> = match answer {
        Ok(Ok(addresses)) => addresses
            .map(|address| address.ip())
            .min()
            .ok_or_else(|| "no address".to_owned()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no answer within {} s", TIMEOUT.as_secs())),
    };
    (name, address)
}
