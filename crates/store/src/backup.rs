//! A copy of a whole store, to be kept elsewhere.

use std::fs::File;

/// A copy of all that a store holds at one moment, secrets among it, in the form that the store opens again.
#[derive(Debug)]
pub struct Backup {
    /// From its beginning. It has no name in the file system and ends with this value.
    pub file: File,
    /// Its size.
    pub bytes: u64,
}
