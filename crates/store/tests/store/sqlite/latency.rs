//! A measurement, not a test: `cargo test -p meshspan-store --release --test store latency -- --ignored --nocapture`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use meshspan_store::{Store, Write};
use serde_json::json;

use crate::fixture::{open, service, service_key};

const WRITES: u64 = 500;

fn report(what: &str, mut times: Vec<Duration>) {
    times.sort();
    let at = |percent: usize| times[(times.len() * percent / 100).min(times.len() - 1)];
    println!(
        "{what}: p50 {:?}, p99 {:?}, max {:?} over {}",
        at(50),
        at(99),
        at(100),
        times.len()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "prints the latency of status writes on this disk"]
async fn status_writes() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let store = Arc::new(open(&folder.path().join("test.db")).await);
    store
        .apply(
            (0..WRITES)
                .map(|number| Write::create(service(&format!("s-{number}"), 1)))
                .collect(),
        )
        .await
        .unwrap();

    let mut times = Vec::new();
    for number in 0..WRITES {
        let begun = Instant::now();
        let status = json!({ "vips": [{ "ip": "241.0.0.1" }], "number": number });
        store
            .apply(vec![Write::put_status(service_key(&format!("s-{number}")), status)])
            .await
            .unwrap();
        times.push(begun.elapsed());
    }
    report("one after the other", times);

    let begun = Instant::now();
    let callers: Vec<_> = (0..WRITES)
        .map(|number| {
            let store = store.clone();
            tokio::spawn(async move {
                let begun = Instant::now();
                let write = Write::put_status(service_key(&format!("s-{number}")), json!({ "again": number }));
                store.apply(vec![write]).await.unwrap();
                begun.elapsed()
            })
        })
        .collect();
    let mut times = Vec::new();
    for caller in callers {
        times.push(caller.await.unwrap());
    }
    println!("all at once: {:?} for {WRITES}", begun.elapsed());
    report("all at once", times);
}
