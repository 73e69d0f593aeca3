//! Rows of the table `resources`: reading all of them once, writing single ones.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::Path;
use std::sync::Arc;

use futures::TryStreamExt;
use meshspan_model::kind::Kind;
use meshspan_model::resource::{Resource, ResourceKey};
use serde_json::Value;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::failure;
use crate::{Change, StoreError, Stored};

const SELECT: &str = "SELECT kind, mesh, name, labels, spec, status, spec_version, status_version, creation_time, \
     modification_time, owner_kind, owner_mesh, owner_name FROM resources";

/// Replaces a row that was skipped at open and is not in memory, if there is one: writing a broken resource anew
/// repairs it.
const REPLACE: &str = "INSERT OR REPLACE INTO resources (kind, mesh, name, labels, spec, status, spec_version, \
     status_version, creation_time, modification_time, owner_kind, owner_mesh, owner_name) \
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)";

/// Leaves the owner alone, which may be of a kind that only a newer release knows.
const UPDATE: &str = "UPDATE resources SET labels = ?4, spec = ?5, status = ?6, spec_version = ?7, \
     status_version = ?8, creation_time = ?9, modification_time = ?10 WHERE kind = ?1 AND mesh = ?2 AND name = ?3";

const DELETE: &str = "DELETE FROM resources WHERE kind = ?1 AND mesh = ?2 AND name = ?3";

/// A row that was found at open and is kept in the file as it is, but not served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SkippedRow {
    /// Column `kind`, not necessarily one that this release knows.
    pub kind: String,
    /// Column `mesh`.
    pub mesh: String,
    /// Column `name`.
    pub name: String,
    /// Why it was skipped, and what to do about it.
    pub reason: String,
}

/// Reads all rows.
pub(super) async fn load(
    connection: &mut SqliteConnection,
    path: &Path,
) -> Result<(Vec<Stored>, Vec<SkippedRow>), StoreError> {
    let (mut resources, mut skipped) = (Vec::new(), Vec::new());
    let mut rows = sqlx::query(SELECT).fetch(connection);
    while let Some(row) = rows.try_next().await.map_err(|error| failure::of(path, &error))? {
        match decode(&row) {
            Ok(stored) => resources.push(stored),
            Err(reason) => skipped.push(SkippedRow {
                kind: row.try_get("kind").unwrap_or_default(),
                mesh: row.try_get("mesh").unwrap_or_default(),
                name: row.try_get("name").unwrap_or_default(),
                reason,
            }),
        }
    }
    Ok((resources, skipped))
}

fn decode(row: &SqliteRow) -> Result<Stored, String> {
    let kind: String = column(row, "kind")?;
    let Some(kind) = Kind::from_name(&kind) else {
        return Err("its kind is not known to this release; it is kept for the release that wrote it".to_owned());
    };
    let labels: String = column(row, "labels")?;
    let labels: BTreeMap<String, String> = serde_json::from_str(&labels).map_err(|error| broken("labels", error))?;
    let spec: Value = json("spec", &column::<String>(row, "spec")?)?;
    if !spec.is_object() {
        return Err(broken("spec", "not a JSON object"));
    }
    let status = column::<Option<String>>(row, "status")?
        .map(|status| json("status", &status))
        .transpose()?;
    let resource = Resource {
        kind,
        mesh: column(row, "mesh")?,
        name: column(row, "name")?,
        labels,
        spec,
        status,
        creation_time: time(row, "creation_time")?,
        modification_time: time(row, "modification_time")?,
    };
    let owner_kind: Option<String> = column(row, "owner_kind")?;
    let owner = match owner_kind.as_deref().and_then(Kind::from_name) {
        Some(kind) => Some(ResourceKey {
            kind,
            mesh: column(row, "owner_mesh")?,
            name: column(row, "owner_name")?,
        }),
        None => None,
    };
    Ok(Stored {
        resource: Arc::new(resource),
        spec_version: version(row, "spec_version")?,
        status_version: version(row, "status_version")?,
        owner,
    })
}

fn column<'r, T>(row: &'r SqliteRow, name: &str) -> Result<T, String>
where
    T: sqlx::Decode<'r, sqlx::Sqlite> + sqlx::Type<sqlx::Sqlite>,
{
    row.try_get(name).map_err(|error| broken(name, error))
}

fn json(name: &str, text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|error| broken(name, error))
}

fn time(row: &SqliteRow, name: &str) -> Result<OffsetDateTime, String> {
    let text: String = column(row, name)?;
    OffsetDateTime::parse(&text, &Rfc3339).map_err(|error| broken(name, error))
}

fn version(row: &SqliteRow, name: &str) -> Result<u64, String> {
    let version: i64 = column(row, name)?;
    u64::try_from(version).map_err(|error| broken(name, error))
}

fn broken(column: &str, error: impl Display) -> String {
    format!("its column {column} is broken ({error}); apply the resource again to replace it")
}

/// Brings the row of one key from `before` to `after`, within the transaction that is open.
pub(super) async fn write(connection: &mut SqliteConnection, path: &Path, change: &Change) -> Result<(), StoreError> {
    let key = &change.key;
    let query = |sql: &'static str| sqlx::query(sql).bind(key.kind.name()).bind(&key.mesh).bind(&key.name);
    let (query, must_exist) = match (&change.before, &change.after) {
        (_, None) => (query(DELETE), true),
        (Some(before), Some(after)) if before.owner == after.owner => {
            let row = EncodedRow::of(after, path)?;
            (row.bind(query(UPDATE)), true)
        }
        (_, Some(after)) => {
            let row = EncodedRow::of(after, path)?;
            let owner = after.owner.as_ref();
            let query = row
                .bind(query(REPLACE))
                .bind(owner.map(|owner| owner.kind.name()))
                .bind(owner.map(|owner| owner.mesh.as_str()))
                .bind(owner.map(|owner| owner.name.as_str()));
            (query, false)
        }
    };
    let done = query
        .execute(connection)
        .await
        .map_err(|error| failure::of(path, &error))?;
    if must_exist && done.rows_affected() != 1 {
        let detail = format!("the row of {key} has disappeared");
        return Err(StoreError::Corrupt {
            path: path.to_owned(),
            detail,
        });
    }
    Ok(())
}

/// The columns after the key, up to the times.
struct EncodedRow {
    labels: String,
    spec: String,
    status: Option<String>,
    spec_version: i64,
    status_version: i64,
    creation_time: String,
    modification_time: String,
}

type Query<'q> = sqlx::query::Query<'q, sqlx::Sqlite, sqlx::sqlite::SqliteArguments>;

impl EncodedRow {
    fn of(stored: &Stored, path: &Path) -> Result<Self, StoreError> {
        let resource = &stored.resource;
        let failed = |error: &dyn Display| StoreError::Backend {
            path: path.to_owned(),
            detail: format!("{} cannot be encoded: {error}", resource.key()),
        };
        Ok(Self {
            labels: serde_json::to_string(&resource.labels).map_err(|error| failed(&error))?,
            spec: resource.spec.to_string(),
            status: resource.status.as_ref().map(Value::to_string),
            spec_version: i64::try_from(stored.spec_version).map_err(|error| failed(&error))?,
            status_version: i64::try_from(stored.status_version).map_err(|error| failed(&error))?,
            creation_time: resource
                .creation_time
                .format(&Rfc3339)
                .map_err(|error| failed(&error))?,
            modification_time: resource
                .modification_time
                .format(&Rfc3339)
                .map_err(|error| failed(&error))?,
        })
    }

    fn bind(self, query: Query<'_>) -> Query<'_> {
        query
            .bind(self.labels)
            .bind(self.spec)
            .bind(self.status)
            .bind(self.spec_version)
            .bind(self.status_version)
            .bind(self.creation_time)
            .bind(self.modification_time)
    }
}
