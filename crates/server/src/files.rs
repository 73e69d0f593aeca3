//! Files that settings name: bounded, for a name may lead anywhere.

use std::fs::File;
use std::io::{Error, ErrorKind, Read as _, Result};
use std::path::Path;

/// Largest file with certificates or keys, in bytes.
pub(crate) const MAX_PEM: u64 = 1 << 20;

/// A text of at most `max` bytes.
pub(crate) fn read(path: &Path, max: u64) -> Result<String> {
    let mut text = String::new();
    File::open(path)?.take(max + 1).read_to_string(&mut text)?;
    if text.len() as u64 > max {
        return Err(Error::new(
            ErrorKind::FileTooLarge,
            format!("is too large: at most {max} bytes are read"),
        ));
    }
    Ok(text)
}
