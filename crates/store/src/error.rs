//! What can go wrong, one variant for each thing that a caller or an operator can act on.

use std::path::PathBuf;

use meshspan_model::resource::ResourceKey;

/// Why a store did not do what was asked. After an error of [`Store::apply`](crate::Store::apply) nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// A resource to create is there already.
    #[error("{key} already exists")]
    AlreadyExists {
        /// Which one.
        key: ResourceKey,
    },
    /// A resource to change or delete is not there.
    #[error("{key} not found")]
    NotFound {
        /// Which one.
        key: ResourceKey,
    },
    /// The change is based on a version that is no longer the current one.
    #[error(
        "{key} was changed by someone else: the change is based on version {expected}, the current version is \
         {actual}; read it again and repeat the change"
    )]
    Conflict {
        /// Which one.
        key: ResourceKey,
        /// The version that the caller named.
        expected: u64,
        /// The version that is stored.
        actual: u64,
    },
    /// The owner of a resource to create is not there.
    #[error("{key} cannot be created because its owner {owner} does not exist")]
    MissingOwner {
        /// The resource to create.
        key: ResourceKey,
        /// The owner it names.
        owner: ResourceKey,
    },
    /// The database file, its folder or its file system does not allow writing.
    #[error(
        "database {} is read-only: make the file and its folder writable for this user, or choose another file with \
         KUMA_STORE_SQLITE_PATH", path.display()
    )]
    ReadOnly {
        /// The database file.
        path: PathBuf,
    },
    /// The database file cannot be opened or created.
    #[error(
        "database {} cannot be opened: {detail}; check the folder, the file and their owner and permissions, or choose \
         another file with KUMA_STORE_SQLITE_PATH", path.display()
    )]
    CannotOpen {
        /// The database file.
        path: PathBuf,
        /// What the operating system or SQLite says.
        detail: String,
    },
    /// Another process has the database open.
    #[error(
        "database {} is in use by another process: stop the other control plane, or choose another file with \
         KUMA_STORE_SQLITE_PATH", path.display()
    )]
    InUse {
        /// The database file.
        path: PathBuf,
    },
    /// There is no space left for the write. Reads go on; writes succeed again when there is space.
    #[error("database {} is full: free space on its disk; nothing was changed, repeat the write then", path.display())]
    Full {
        /// The database file.
        path: PathBuf,
    },
    /// The database file is damaged, or is no database of ours.
    #[error(
        "database {0} is not usable: {detail}; restore it from a backup, try `sqlite3 {0} .recover`, or move {0}, \
         {0}-wal and {0}-shm away to start with an empty store", path.display()
    )]
    Corrupt {
        /// The database file.
        path: PathBuf,
        /// What was found.
        detail: String,
    },
    /// The database file, or its log, was deleted or replaced while it was open.
    #[error(
        "{0} was deleted or replaced while this process has it open: nothing more is written, because it would be lost; what was \
         written before is still in /proc/{1}/fd for as long as this process runs. Put the file back or restore a backup, \
         then restart the control plane", path.display(), std::process::id()
    )]
    Gone {
        /// The file.
        path: PathBuf,
    },
    /// The database file is there and has no content.
    #[error(
        "database {0} is empty, as it is after a crash of the disk or a mistake, not after a start of ours: restore a \
         backup, or delete {0}, {0}-wal and {0}-shm to start with an empty store", path.display()
    )]
    Empty {
        /// The database file.
        path: PathBuf,
    },
    /// The database was written by a newer release.
    #[error(
        "database {} has schema version {found}, this release knows versions up to {known}: run the newer release, or \
         restore a backup made before the upgrade", path.display()
    )]
    Newer {
        /// The database file.
        path: PathBuf,
        /// The version in the file.
        found: i64,
        /// The latest version that this program knows.
        known: i64,
    },
    /// There is no file that could be copied.
    #[error(
        "this control plane keeps its resources in memory only (KUMA_STORE_TYPE=memory), so there is no database to copy: \
         keep documents instead, as `meshspan get meshes -o yaml` and the like print them, or use KUMA_STORE_TYPE=sqlite"
    )]
    InMemory,
    /// The store was closed.
    #[error("the store is closed because the control plane is stopping")]
    Closed,
    /// Any other failure of the medium.
    #[error("database {} failed: {detail}; nothing was changed, the write can be repeated", path.display())]
    Backend {
        /// The database file.
        path: PathBuf,
        /// What the database says.
        detail: String,
    },
}
