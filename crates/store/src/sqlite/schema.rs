//! The tables, and how a file written by an older release gets them.

use std::path::Path;

use sqlx::SqliteConnection;

use super::failure;
use crate::StoreError;

/// Each brings the schema from its index to the next version. Only ever append.
const MIGRATIONS: &[&str] = &[include_str!("migrations/0001_resources.sql")];

const VERSION_TABLE: &str = "CREATE TABLE IF NOT EXISTS schema_version (
    id      INTEGER PRIMARY KEY CHECK (id = 1),
    version INTEGER NOT NULL
) STRICT";

/// Brings the schema up to date, all in one transaction. Also proves that the file can be written.
pub(super) async fn migrate(connection: &mut SqliteConnection, path: &Path) -> Result<(), StoreError> {
    let failed = |error| failure::of(path, &error);
    execute(connection, "BEGIN IMMEDIATE").await.map_err(failed)?;
    let tables: Vec<String> = sqlx::query_scalar("SELECT name FROM sqlite_schema WHERE type = 'table'")
        .fetch_all(&mut *connection)
        .await
        .map_err(failed)?;
    if !tables.is_empty() && !tables.iter().any(|table| table == "schema_version") {
        let detail = "it belongs to another program".to_owned();
        return Err(StoreError::Corrupt {
            path: path.to_owned(),
            detail,
        });
    }
    execute(connection, VERSION_TABLE).await.map_err(failed)?;
    let found: Option<i64> = sqlx::query_scalar("SELECT version FROM schema_version")
        .fetch_optional(&mut *connection)
        .await
        .map_err(failed)?;
    let found = found.unwrap_or(0);
    let known = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
    let done = match usize::try_from(found) {
        Ok(_) if found > known => {
            return Err(StoreError::Newer {
                path: path.to_owned(),
                found,
                known,
            });
        }
        Ok(done) => done,
        Err(_) => {
            let detail = format!("its schema version is {found}");
            return Err(StoreError::Corrupt {
                path: path.to_owned(),
                detail,
            });
        }
    };
    for migration in MIGRATIONS.iter().skip(done) {
        execute(connection, migration).await.map_err(failed)?;
    }
    if found != known {
        sqlx::query("INSERT INTO schema_version (id, version) VALUES (1, ?1) ON CONFLICT DO UPDATE SET version = ?1")
            .bind(known)
            .execute(&mut *connection)
            .await
            .map_err(failed)?;
    }
    execute(connection, "COMMIT").await.map_err(failed)
}

async fn execute(connection: &mut SqliteConnection, sql: &'static str) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(sql).execute(connection).await.map(drop)
}
