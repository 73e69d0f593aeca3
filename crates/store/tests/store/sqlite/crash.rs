//! kill -9 at any moment: all that was acknowledged is there, and nothing is there by half.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use meshspan_model::kind::Kind;
use meshspan_model::resource::{Resource, ResourceKey};
use meshspan_store::{SqliteStore, Store, Write};
use serde_json::json;
use tokio::io::{AsyncBufReadExt, BufReader};

use super::{DATABASE, child};
use crate::fixture::{mesh, mesh_key, open};

fn dataplane(mesh: &str) -> Resource {
    Resource::new(Kind::Dataplane, mesh, "dp", json!({ "padding": "x".repeat(500) }))
}

fn dataplane_key(mesh: &str) -> ResourceKey {
    ResourceKey::new(Kind::Dataplane, mesh, "dp")
}

/// Several tasks that create and delete groups of resources that belong together, saying before and after what they
/// do, until they are killed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the child of kill_at_any_moment_loses_nothing"]
async fn writer() {
    let Ok(path) = std::env::var(DATABASE) else { return };
    let store = Arc::new(open(Path::new(&path)).await);
    let run = store.list(Kind::Mesh, None).len();
    let tasks: Vec<_> = (0..4)
        .map(|task| {
            let store = store.clone();
            tokio::spawn(async move { write_for_ever(&store, &format!("{run}-{task}")).await })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
}

async fn write_for_ever(store: &SqliteStore, prefix: &str) {
    for number in 0.. {
        let name = format!("m-{prefix}-{number}");
        let writes = vec![
            Write::create(mesh(&name, 1)),
            Write::Create {
                resource: dataplane(&name),
                owner: Some(mesh_key(&name)),
            },
            Write::put_status(dataplane_key(&name), json!({ "ready": true })),
        ];
        store.apply(writes).await.unwrap();
        println!("\ncreated {name}");
        if number % 3 == 0 {
            println!("\ndeleting {name}");
            store.apply(vec![Write::delete(mesh_key(&name))]).await.unwrap();
            println!("\ndeleted {name}");
        }
    }
}

#[tokio::test]
async fn kill_at_any_moment_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("test.db");
    let (mut created, mut deleting, mut deleted) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for lines_before_kill in [1, 90, 7, 400, 33, 150] {
        let mut child = child("sqlite::crash::writer", &path);
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut seen = 0;
        while let Some(line) = lines.next_line().await.unwrap() {
            let set = match line.split_once(' ') {
                Some(("created", _)) => &mut created,
                Some(("deleting", _)) => &mut deleting,
                Some(("deleted", _)) => &mut deleted,
                _ => continue,
            };
            set.insert(line.split_once(' ').unwrap().1.to_owned());
            seen += 1;
            if seen == lines_before_kill {
                child.start_kill().unwrap();
            }
        }
        assert!(seen >= lines_before_kill, "the child ended by itself");
        assert!(!child.wait().await.unwrap().success());

        let store = open(&path).await;
        assert!(store.skipped().is_empty());
        for name in &created {
            let there = store.get(&mesh_key(name)).is_some();
            assert!(there || deleting.contains(name), "{name} was acknowledged and is lost");
            assert!(!there || !deleted.contains(name), "{name} was deleted and is back");
        }
        for stored in store.list(Kind::Mesh, None) {
            let dataplane = store
                .get(&dataplane_key(&stored.resource.name))
                .expect("a transaction was done by half");
            assert_eq!(dataplane.resource.status, Some(json!({ "ready": true })));
        }
        assert_eq!(
            store.list(Kind::Mesh, None).len(),
            store.list(Kind::Dataplane, None).len()
        );
        store.close().await;
    }
}
