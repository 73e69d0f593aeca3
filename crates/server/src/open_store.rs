//! Which store a control plane keeps its resources in.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use meshspan_store::{MemoryStore, SqliteOptions, SqliteStore, Store};

use crate::settings::{Settings, StoreType};
use crate::tls;

/// Opens it.
///
/// # Errors
/// Why it cannot be opened, with the remedy.
pub async fn open_store(settings: &Settings) -> Result<Arc<dyn Store>> {
    Ok(match settings.store.store_type {
        StoreType::Memory => Arc::new(MemoryStore::new()),
        StoreType::Sqlite => {
            let path = match settings.store.sqlite.path.as_str() {
                "" => settings.work_dir().join("meshspan.db"),
                path => PathBuf::from(path),
            };
            if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
                std::fs::create_dir_all(folder).with_context(|| {
                    format!(
                        "cannot create {}: set KUMA_GENERAL_WORK_DIR or KUMA_STORE_SQLITE_PATH to a writable place",
                        folder.display()
                    )
                })?;
            }
            warn_of_a_lost_store(&path, &settings.work_dir().join(tls::CA_FILE));
            let store = SqliteStore::open(SqliteOptions::new(&path)).await?;
            for row in store.skipped() {
                tracing::error!(?row, "a stored row cannot be used and is left out");
            }
            tracing::info!(path = %path.display(), "opened the store");
            Arc::new(store)
        }
    })
}

/// A control plane that begins anew beside its old certificates looks as if nothing had happened, and no token holds.
fn warn_of_a_lost_store(store: &Path, ca: &Path) {
    if !store.exists() && ca.exists() {
        tracing::warn!(
            "there is no store {}, so this control plane begins with new meshes, keys and tokens, though {} is there from an earlier one: \
             if the store was lost, stop now and restore it from a backup",
            store.display(),
            ca.display()
        );
    }
}
