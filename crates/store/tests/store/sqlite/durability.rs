//! What was acknowledged is there after the file is opened again.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use meshspan_model::kind::Kind;
use meshspan_model::resource::{Resource, ResourceKey};
use meshspan_store::{Store, StoreError, Write};
use serde_json::json;

use crate::fixture::{dataplane, mesh, mesh_key, open, service, service_key};

#[tokio::test]
async fn everything_is_the_same_after_reopening() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("test.db");
    let store = open(&path).await;
    let mut odd = service("odd", 1).with_label("weird/Läbel", "\"quoted\" 'and' \u{0}\n");
    odd.spec = json!({ "z": [1, 2.5, -3, null, true], "a": { "nested": "ünï\u{1F980}" }, "big": u64::MAX });
    let writes = vec![
        Write::create(mesh("default", 1)),
        Write::Create {
            resource: dataplane("dp"),
            owner: Some(mesh_key("default")),
        },
        Write::create(odd.clone()),
        Write::update(mesh("default", 2)),
        Write::put_status(odd.key(), json!({ "vips": [{ "ip": "241.0.0.1" }] })),
        Write::create(service("deleted", 1)),
    ];
    store.apply(writes).await.unwrap();
    store.apply(vec![Write::delete(service_key("deleted"))]).await.unwrap();
    let before = store.list_all();
    store.close().await;

    let store = open(&path).await;
    assert_eq!(store.list_all(), before);
    assert!(store.skipped().is_empty());
    assert_eq!(store.snapshot().revision(), 0);
    let reloaded = store.get(&odd.key()).unwrap();
    assert_eq!(
        reloaded.resource.spec.to_string(),
        odd.spec.to_string(),
        "fields keep their order"
    );

    // Versions go on where they were, and owners still own.
    store
        .apply(vec![Write::Update {
            resource: mesh("default", 3),
            expected: Some(2),
        }])
        .await
        .unwrap();
    store.apply(vec![Write::delete(mesh_key("default"))]).await.unwrap();
    store.close().await;
    let store = open(&path).await;
    assert_eq!(store.list_all(), [reloaded]);
}

#[tokio::test]
async fn a_recreated_resource_keeps_its_new_owner() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("test.db");
    let store = open(&path).await;
    let owned = |owner: &str| Write::Create {
        resource: service("redis", 1),
        owner: Some(mesh_key(owner)),
    };
    store
        .apply(vec![
            Write::create(mesh("a", 1)),
            Write::create(mesh("b", 1)),
            owned("a"),
        ])
        .await
        .unwrap();
    store
        .apply(vec![Write::delete(service_key("redis")), owned("b")])
        .await
        .unwrap();
    store.close().await;
    assert_eq!(
        open(&path).await.get(&service_key("redis")).unwrap().owner,
        Some(mesh_key("b"))
    );
}

#[tokio::test]
async fn a_dropped_store_lets_go_of_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("test.db");
    let store = open(&path).await;
    store.apply(vec![Write::create(mesh("default", 1))]).await.unwrap();
    drop(store);
    // Waits for the lock as long as it has to.
    assert_eq!(open(&path).await.list_all().len(), 1);
}

#[tokio::test]
async fn a_closed_store_reads_but_does_not_write() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder.path().join("test.db")).await;
    store.apply(vec![Write::create(mesh("default", 1))]).await.unwrap();
    store.close().await;
    store.close().await;
    assert_eq!(
        store.apply(vec![Write::create(mesh("other", 1))]).await,
        Err(StoreError::Closed)
    );
    assert_eq!(store.list_all().len(), 1);
}

#[tokio::test]
async fn nobody_else_can_read_the_files() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("test.db");
    let modes = || {
        fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap())
            .map(|entry| {
                (
                    entry.file_name(),
                    entry.metadata().unwrap().permissions().mode() & 0o777,
                )
            })
            .collect::<Vec<_>>()
    };
    let secret = Resource::new(Kind::GlobalSecret, "", "key", json!({ "data": "AAAA" }));
    let store = open(&path).await;
    store.apply(vec![Write::create(secret.clone())]).await.unwrap();
    assert!(modes().len() >= 2, "the log is there: {:?}", modes());
    assert!(modes().iter().all(|(_, mode)| *mode == 0o600), "{:?}", modes());
    store.close().await;

    fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
    let store = open(&path).await;
    let update = Resource {
        spec: json!({ "data": "BBBB" }),
        ..secret
    };
    store.apply(vec![Write::update(update)]).await.unwrap();
    assert!(modes().iter().all(|(_, mode)| *mode == 0o600), "{:?}", modes());
    assert!(store.get(&ResourceKey::new(Kind::GlobalSecret, "", "key")).is_some());
}
