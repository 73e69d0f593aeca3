//! `cp backup` against the API of a real control plane with a database, and against servers that fail.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use clap::Parser;
use meshspan_api::default_resources::ensure_defaults;
use meshspan_api::{Mode, Settings};
use meshspan_cli::backup::BackupArgs;
use meshspan_cli::{Command, Connected};
use meshspan_store::{SqliteOptions, SqliteStore, Store};

use crate::real_api::RealApi;
use crate::support::{ControlPlane, NOW, Ran, run_command};

#[derive(Parser)]
struct CpBackup {
    #[command(flatten)]
    command: Connected<BackupArgs>,
}

async fn backup(url: &str, file: &Path) -> Ran {
    let line = ["backup", "--no-config", "--address", url, file.to_str().unwrap()];
    run_command(Command::Backup(CpBackup::try_parse_from(line).unwrap().command), "").await
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

#[tokio::test]
async fn the_copy_of_a_running_control_plane_can_be_used_in_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(SqliteOptions::new(folder.path().join("meshspan.db"))).await;
    let store = Arc::new(store.unwrap());
    let settings = Settings::new(Mode::Global);
    ensure_defaults(store.as_ref(), &settings, NOW).await.unwrap();
    let api = RealApi::over(store.clone(), settings).await;

    let target = tempfile::tempdir().unwrap();
    let file = target.path().join("copy.db");
    fs::write(&file, "an older one").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let out = backup(&api.url, &file).await.done();
    assert!(out.contains("copy.db") && out.contains("tls-key.pem"), "{out}");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(names(target.path()), ["copy.db"]);
    let restored = SqliteStore::open(SqliteOptions::new(&file)).await.unwrap();
    assert_eq!(restored.list_all(), store.list_all());
    assert!(!restored.list_all().is_empty());
}

#[tokio::test]
async fn nothing_is_left_of_a_copy_that_fails() {
    let target = tempfile::tempdir().unwrap();
    let file = target.path().join("copy.db");
    let in_memory = RealApi::start_as(Mode::Global).await;
    let error = backup(&in_memory.url, &file).await.error();
    assert!(error.contains("KUMA_STORE_TYPE=memory"), "{error}");

    let strange = ControlPlane::start().await;
    for (status, body, expected) in [
        (404, "404: Page Not Found", "another program, or an older version"),
        (200, "{}", "it is no application/vnd.sqlite3"),
        (
            403,
            r#"{"title":"Access Denied","detail":"user x cannot copy the store"}"#,
            "cannot copy the store",
        ),
    ] {
        strange.answer("GET /_backup", status, body);
        let error = backup(&strange.url, &file).await.error();
        assert!(error.contains(expected), "{error}");
    }
    assert!(names(target.path()).is_empty());

    let error = backup(&strange.url, target.path()).await.error();
    assert!(error.contains("is a folder"), "{error}");
    let error = backup(&strange.url, &target.path().join("nowhere/copy.db"))
        .await
        .error();
    assert!(error.contains("cannot write to folder"), "{error}");
}

#[tokio::test]
async fn a_copy_that_breaks_off_is_no_copy() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = [0; 4096];
        assert!(stream.read(&mut request).await.unwrap() > 0);
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/vnd.sqlite3\r\ncontent-length: 1000\r\n\r\n";
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(b"SQLite format 3").await.unwrap();
    });
    let target = tempfile::tempdir().unwrap();
    let error = backup(&url, &target.path().join("copy.db")).await.error();
    assert!(error.contains("it breaks off"), "{error}");
    assert!(names(target.path()).is_empty());
    server.await.unwrap();
}
