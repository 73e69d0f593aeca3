//! A database that has no more room: writes fail with a clear error and leave nothing behind, and go on when there
//! is room again.

use std::path::Path;
use std::sync::Arc;

use meshspan_model::resource::Resource;
use meshspan_store::{SqliteOptions, SqliteStore, Store, StoreError, Write};
use serde_json::json;

use crate::fixture::{mesh, mesh_key, open};

async fn open_small(path: &Path) -> SqliteStore {
    SqliteStore::open(SqliteOptions {
        max_bytes: Some(40 * 4096),
        ..SqliteOptions::new(path)
    })
    .await
    .unwrap()
}

fn large(name: &str) -> Resource {
    Resource {
        spec: json!({ "padding": "x".repeat(3000) }),
        ..mesh(name, 0)
    }
}

#[tokio::test]
async fn writes_fail_until_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("test.db");
    let store = open_small(&path).await;
    let mut stored = 0;
    let error = loop {
        match store.apply(vec![Write::create(large(&format!("m-{stored}")))]).await {
            Ok(_) => stored += 1,
            Err(error) => break error,
        }
        assert!(stored < 100, "it never gets full");
    };
    assert_eq!(error, StoreError::Full { path: path.clone() });
    assert!(error.to_string().contains("free space"), "{error}");
    assert_eq!(store.list_all().len(), stored);

    store
        .apply(vec![Write::delete(mesh_key("m-0")), Write::delete(mesh_key("m-1"))])
        .await
        .unwrap();
    store.apply(vec![Write::create(large("again"))]).await.unwrap();
    let before = store.list_all();
    store.close().await;
    assert_eq!(open(&path).await.list_all(), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_that_share_a_commit_fail_or_succeed_each_as_a_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("test.db");
    let store = Arc::new(open_small(&path).await);
    let callers: Vec<_> = (0..60)
        .map(|caller| {
            let store = store.clone();
            tokio::spawn(async move {
                let names = [format!("a-{caller}"), format!("b-{caller}")];
                (
                    names.clone(),
                    store
                        .apply(names.iter().map(|name| Write::create(large(name))).collect())
                        .await,
                )
            })
        })
        .collect();
    let (mut done, mut failed) = (0, 0);
    for caller in callers {
        let (names, outcome) = caller.await.unwrap();
        match &outcome {
            Ok(_) => done += 1,
            Err(error) => {
                assert_eq!(error, &StoreError::Full { path: path.clone() });
                failed += 1;
            }
        }
        for name in names {
            assert_eq!(store.get(&mesh_key(&name)).is_some(), outcome.is_ok());
        }
    }
    assert!(failed > 0, "there was room for all");
    assert_eq!(store.list_all().len(), 2 * done);
    let before = store.list_all();
    store.close().await;
    assert_eq!(open(&path).await.list_all(), before);
}
