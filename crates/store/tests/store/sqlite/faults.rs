//! Files that cannot be used, each with an error that names the file and what to do.

use std::fs::{self, File, Permissions};
use std::io::{Seek, SeekFrom, Write as _};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use meshspan_store::{SqliteOptions, SqliteStore, Store, StoreError, Write};
use sqlx::{ConnectOptions, sqlite::SqliteConnectOptions};
use tokio::io::{AsyncBufReadExt, BufReader};

use super::{DATABASE, child};
use crate::fixture::{mesh, open};

async fn open_error(path: &Path) -> StoreError {
    let options = SqliteOptions {
        busy_timeout: Duration::ZERO,
        ..SqliteOptions::new(path)
    };
    let error = SqliteStore::open(options).await.unwrap_err();
    assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
    error
}

#[tokio::test]
async fn a_missing_folder() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("missing/test.db");
    let error = open_error(&path).await;
    assert!(
        matches!(&error, StoreError::CannotOpen { detail, .. } if detail.contains("does not exist")),
        "{error}"
    );
}

#[tokio::test]
async fn a_folder_in_place_of_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let error = open_error(folder.path()).await;
    assert!(matches!(&error, StoreError::CannotOpen { .. }), "{error}");
}

#[tokio::test]
async fn a_read_only_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("test.db");
    let store = open(&path).await;
    store.apply(vec![Write::create(mesh("default", 1))]).await.unwrap();
    store.close().await;
    fs::set_permissions(&path, Permissions::from_mode(0o444)).unwrap();
    assert_eq!(open_error(&path).await, StoreError::ReadOnly { path: path.clone() });
    fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    assert_eq!(open(&path).await.list_all().len(), 1);
}

#[tokio::test]
async fn garbage() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("test.db");
    let garbage: Vec<u8> = (0..20_000_u32)
        .map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    fs::write(&path, &garbage).unwrap();
    let error = open_error(&path).await;
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
    assert_eq!(fs::read(&path).unwrap(), garbage, "it is left as it was");
}

#[tokio::test]
async fn an_empty_file_is_no_new_store() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("test.db");
    fs::write(&path, b"").unwrap();
    assert_eq!(open_error(&path).await, StoreError::Empty { path: path.clone() });
    assert_eq!(fs::metadata(&path).unwrap().len(), 0, "it is left as it was");
    // What is left of a first start that was killed.
    fs::write(folder.path().join("test.db-new"), b"").unwrap();
    open(&path).await.close().await;
    assert!(!folder.path().join("test.db-new").exists());
    fs::write(&path, b"").unwrap();
    assert_eq!(open_error(&path).await, StoreError::Empty { path });
}

#[tokio::test]
async fn a_file_that_is_deleted_or_replaced_takes_no_more_writes() {
    for file in ["test.db", "test.db-wal"] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("test.db");
        let store = open(&path).await;
        store.apply(vec![Write::create(mesh("before", 1))]).await.unwrap();
        let (file, aside) = (folder.path().join(file), folder.path().join("aside"));
        fs::rename(&file, &aside).unwrap();
        let gone = StoreError::Gone { path: file.clone() };
        let write = || vec![Write::create(mesh("after", 1))];
        assert_eq!(store.apply(write()).await.unwrap_err(), gone);
        fs::write(&file, b"").unwrap();
        assert_eq!(
            store.apply(write()).await.unwrap_err(),
            gone,
            "another one in its place"
        );
        assert_eq!(store.list_all().len(), 1, "reads go on");
        fs::rename(&aside, &file).unwrap();
        store.apply(write()).await.unwrap();
        store.close().await;
        assert_eq!(open(&path).await.list_all().len(), 2);
    }
}

#[tokio::test]
async fn damage_in_the_middle() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("test.db");
    let store = open(&path).await;
    store
        .apply(
            (0..2000)
                .map(|number| Write::create(mesh(&format!("m-{number}"), 1)))
                .collect(),
        )
        .await
        .unwrap();
    store.close().await;
    let mut file = File::options().write(true).open(&path).unwrap();
    let length = file.metadata().unwrap().len();
    assert!(length > 20 * 4096);
    file.seek(SeekFrom::Start(length / 4096 / 2 * 4096)).unwrap();
    file.write_all(&[0xff; 4096]).unwrap();
    drop(file);
    let error = open_error(&path).await;
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
}

#[tokio::test]
async fn the_database_of_another_program() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("test.db");
    execute(&path, "CREATE TABLE songs (title TEXT)").await;
    let error = open_error(&path).await;
    assert!(
        matches!(&error, StoreError::Corrupt { detail, .. } if detail.contains("another program")),
        "{error}"
    );
}

#[tokio::test]
async fn the_database_of_a_newer_release() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("test.db");
    open(&path).await.close().await;
    execute(&path, "UPDATE schema_version SET version = 1000").await;
    let error = open_error(&path).await;
    assert!(matches!(error, StoreError::Newer { found: 1000, .. }), "{error}");
}

#[tokio::test]
async fn a_file_that_this_process_uses_already() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("test.db");
    let store = open(&path).await;
    assert_eq!(open_error(&path).await, StoreError::InUse { path: path.clone() });
    // The attempt has not cost the first one its lock.
    assert_eq!(open_error(&path).await, StoreError::InUse { path: path.clone() });
    store.apply(vec![Write::create(mesh("default", 1))]).await.unwrap();
}

#[tokio::test]
async fn a_file_that_another_process_uses() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("test.db");
    let mut child = child("sqlite::faults::holder", &path);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    while let Some(line) = lines.next_line().await.unwrap() {
        if line == "holding" {
            break;
        }
    }
    assert_eq!(open_error(&path).await, StoreError::InUse { path: path.clone() });
    child.kill().await.unwrap();
    open(&path).await;
}

/// Holds the database open until it is killed.
#[tokio::test]
#[ignore = "the child of a_file_that_another_process_uses"]
async fn holder() {
    let Ok(path) = std::env::var(DATABASE) else { return };
    let _store = open(Path::new(&path)).await;
    println!("\nholding");
    std::future::pending::<()>().await;
}

/// Runs SQL behind the store's back.
async fn execute(path: &Path, sql: &'static str) {
    let mut connection = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .connect()
        .await
        .unwrap();
    sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
    sqlx::Connection::close(connection).await.unwrap();
}
