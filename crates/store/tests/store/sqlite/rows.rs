//! Rows that this release cannot make sense of are reported and left alone; all others are served.

use std::path::Path;

use meshspan_store::{Store, Write};
use sqlx::{ConnectOptions, Connection, Row, SqliteConnection, sqlite::SqliteConnectOptions};

use crate::fixture::{mesh, mesh_key, open, service, service_key};

async fn connect(path: &Path) -> SqliteConnection {
    SqliteConnectOptions::new().filename(path).connect().await.unwrap()
}

async fn execute(path: &Path, sql: &'static str) {
    let mut connection = connect(path).await;
    sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

/// Column `column` of the row named `name`, and how many rows there are with that name.
async fn read(path: &Path, column: &'static str, name: &str) -> Vec<Option<String>> {
    let mut connection = connect(path).await;
    let rows = sqlx::query("SELECT * FROM resources WHERE name = ?")
        .bind(name)
        .fetch_all(&mut connection)
        .await;
    let values = rows.unwrap().iter().map(|row| row.get(column)).collect();
    connection.close().await.unwrap();
    values
}

#[tokio::test]
async fn unknown_kinds_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("test.db");
    let store = open(&path).await;
    store
        .apply(vec![
            Write::create(mesh("default", 1)),
            Write::create(service("redis", 1)),
        ])
        .await
        .unwrap();
    store.close().await;
    execute(
        &path,
        "INSERT INTO resources SELECT 'MeshTeleport', 'default', 'beam', labels, '{\"to\":\"mars\"}', NULL, 7, 0, \
         creation_time, modification_time, NULL, NULL, NULL FROM resources WHERE name = 'redis';
         UPDATE resources SET owner_kind = 'MeshTeleport', owner_mesh = 'default', owner_name = 'beam' \
         WHERE name = 'redis'",
    )
    .await;

    let store = open(&path).await;
    let [skipped] = store.skipped() else {
        panic!("{:?}", store.skipped())
    };
    assert_eq!((skipped.kind.as_str(), skipped.name.as_str()), ("MeshTeleport", "beam"));
    assert!(skipped.reason.contains("kind"), "{}", skipped.reason);
    assert_eq!(store.list_all().len(), 2);
    store
        .apply(vec![
            Write::update(service("redis", 2)),
            Write::delete(mesh_key("default")),
        ])
        .await
        .unwrap();
    store.close().await;

    assert_eq!(
        read(&path, "spec", "beam").await,
        [Some("{\"to\":\"mars\"}".to_owned())]
    );
    assert_eq!(read(&path, "spec", "redis").await, [Some("{\"value\":2}".to_owned())]);
    assert_eq!(
        read(&path, "owner_name", "redis").await,
        [Some("beam".to_owned())],
        "its unknown owner is kept too"
    );
}

#[tokio::test]
async fn broken_rows_harm_only_themselves_and_can_be_repaired() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("test.db");
    let store = open(&path).await;
    let names = ["spec", "labels", "status", "times", "versions", "shape", "fine"];
    store
        .apply(names.iter().map(|name| Write::create(service(name, 1))).collect())
        .await
        .unwrap();
    store.close().await;
    execute(
        &path,
        "UPDATE resources SET spec = '{\"value\":' WHERE name = 'spec';
         UPDATE resources SET labels = '[1]' WHERE name = 'labels';
         UPDATE resources SET status = 'nonsense' WHERE name = 'status';
         UPDATE resources SET creation_time = 'yesterday' WHERE name = 'times';
         UPDATE resources SET spec_version = -1 WHERE name = 'versions';
         UPDATE resources SET spec = '[]' WHERE name = 'shape'",
    )
    .await;

    let store = open(&path).await;
    let served: Vec<_> = store.list_all().iter().map(|stored| stored.resource.key()).collect();
    assert_eq!(served, [service_key("fine")]);
    let skipped: Vec<_> = store
        .skipped()
        .iter()
        .map(|row| {
            assert_eq!((row.kind.as_str(), row.mesh.as_str()), ("MeshService", "default"));
            assert!(
                row.reason.contains("broken") && row.reason.contains("apply"),
                "{}",
                row.reason
            );
            row.name.as_str()
        })
        .collect();
    assert_eq!(skipped, ["labels", "shape", "spec", "status", "times", "versions"]);
    store.close().await;
    assert_eq!(
        read(&path, "spec", "spec").await,
        [Some("{\"value\":".to_owned())],
        "it is left as it was"
    );

    let store = open(&path).await;
    store
        .apply(vec![
            Write::upsert(service("spec", 2)),
            Write::create(service("status", 2)),
        ])
        .await
        .unwrap();
    store.close().await;
    let store = open(&path).await;
    assert_eq!(store.skipped().len(), 4);
    assert_eq!(store.get(&service_key("spec")).unwrap().resource.spec["value"], 2);
    assert_eq!(store.get(&service_key("status")).unwrap().status_version, 0);
}
