//! Copies of a database that is in use.

use std::fs::{self, File};
use std::io::{Read, Write as _};
use std::os::unix::fs::PermissionsExt;

use meshspan_store::{MemoryStore, SqliteOptions, SqliteStore, Store, StoreError, Write};

use crate::fixture::{dataplane, mesh, mesh_key, open};

#[tokio::test]
async fn a_copy_of_a_store_in_use_opens_as_a_store_of_the_same_content() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("test.db");
    let store = open(&path).await;
    let owned = Write::Create {
        resource: dataplane("dp"),
        owner: Some(mesh_key("default")),
    };
    store
        .apply(vec![Write::create(mesh("default", 1)), owned])
        .await
        .unwrap();
    let before = store.list_all();
    let mut backup = store.backup().await.unwrap();
    // What comes later is not in it, and goes on.
    store.apply(vec![Write::update(mesh("default", 2))]).await.unwrap();
    let mut bytes = Vec::new();
    backup.file.read_to_end(&mut bytes).unwrap();
    assert_eq!(u64::try_from(bytes.len()).unwrap(), backup.bytes);
    assert_eq!(backup.file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let names: Vec<_> = fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.contains("backup"))
        .collect();
    assert!(names.is_empty(), "left behind: {names:?}");

    let restored = folder.path().join("restored.db");
    File::create(&restored).unwrap().write_all(&bytes).unwrap();
    let restored = open(&restored).await;
    assert_eq!(restored.list_all(), before);
    restored.apply(vec![Write::delete(mesh_key("default"))]).await.unwrap();
    assert!(restored.list_all().is_empty(), "owners still own");
}

#[tokio::test]
async fn a_copy_that_was_cut_off_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder.path().join("test.db")).await;
    for name in 0..200 {
        store
            .apply(vec![Write::create(mesh(&format!("mesh-{name}"), name))])
            .await
            .unwrap();
    }
    let mut backup = store.backup().await.unwrap();
    let mut bytes = Vec::new();
    backup.file.read_to_end(&mut bytes).unwrap();
    bytes.truncate(bytes.len() / 2);
    let cut = folder.path().join("cut.db");
    fs::write(&cut, bytes).unwrap();
    let error = SqliteStore::open(SqliteOptions::new(&cut)).await.unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
}

#[tokio::test]
async fn what_cannot_be_copied_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("test.db");
    let store = open(&path).await;
    store.apply(vec![Write::create(mesh("default", 1))]).await.unwrap();
    // A folder of the name that a copy has.
    fs::create_dir(folder.path().join("test.db-backup")).unwrap();
    let error = store.backup().await.unwrap_err();
    assert!(matches!(error, StoreError::Backend { .. }), "{error}");
    fs::remove_dir(folder.path().join("test.db-backup")).unwrap();
    store.backup().await.unwrap();
    fs::remove_file(&path).unwrap();
    assert!(matches!(store.backup().await, Err(StoreError::Gone { .. })));
    assert_eq!(MemoryStore::new().backup().await.unwrap_err(), StoreError::InMemory);
    store.close().await;
    assert_eq!(store.backup().await.unwrap_err(), StoreError::Closed);
}
