//! Files of the zone's connection: read at each connection, so that they can be replaced, and bounded, for a name may
//! lead anywhere.

use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// Largest token, in bytes.
const MAX_TOKEN: u64 = 16 * 1024;
/// Largest file with root certificates, in bytes.
pub(super) const MAX_ROOTS: u64 = 4 * 1024 * 1024;

/// The zone token of scope `cp`.
#[derive(Clone, PartialEq, Eq)]
pub enum ZoneToken {
    /// The token itself (`multizone.zone.kds.auth.cpTokenInline`).
    Inline(String),
    /// A file that holds it (`multizone.zone.kds.auth.cpTokenPath`).
    File(PathBuf),
}

impl fmt::Debug for ZoneToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inline(_) => f.write_str("Inline"),
            Self::File(path) => write!(f, "File({})", path.display()),
        }
    }
}

impl ZoneToken {
    /// The token as it is now.
    ///
    /// # Errors
    /// Why a file cannot be used, with its setting.
    pub fn read(&self) -> Result<String, String> {
        let token = match self {
            Self::Inline(token) => token.clone(),
            Self::File(path) => read(path, MAX_TOKEN)
                .and_then(|bytes| String::from_utf8(bytes).map_err(|_| "is no text".to_owned()))
                .map_err(|reason| self.problem(&reason))?,
        };
        match token.trim() {
            "" => Err(self.problem("holds no token")),
            token if token.bytes().any(|byte| !byte.is_ascii_graphic() && byte != b' ') => Err(self
                .problem("holds more than a token: it must be one line as `meshspan generate zone-token` prints it")),
            token => Ok(token.to_owned()),
        }
    }

    fn problem(&self, reason: &str) -> String {
        match self {
            Self::Inline(_) => format!("KUMA_MULTIZONE_ZONE_KDS_AUTH_CP_TOKEN_INLINE (the zone's token) {reason}"),
            Self::File(path) => format!(
                "KUMA_MULTIZONE_ZONE_KDS_AUTH_CP_TOKEN_PATH (the zone's token): {} {reason}",
                path.display()
            ),
        }
    }
}

/// A regular file of at most `max` bytes.
pub(super) fn read(path: &Path, max: u64) -> Result<Vec<u8>, String> {
    let cannot = |error: std::io::Error| format!("cannot be read: {error}");
    // Before it is opened: opening a pipe waits for whoever writes into it.
    if !std::fs::metadata(path).map_err(cannot)?.is_file() {
        return Err("is no regular file".to_owned());
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(cannot)?;
    file.take(max + 1).read_to_end(&mut bytes).map_err(cannot)?;
    if bytes.len() as u64 > max {
        return Err(format!("has more than {max} bytes"));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;

    #[test]
    fn a_token_is_one_line_of_a_small_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let token = ZoneToken::File(path.clone());
        assert!(token.read().unwrap_err().contains("cannot be read"));
        for (content, expected) in [
            (" a.b.c\n".to_owned(), Ok("a.b.c")),
            ("Bearer a.b.c".to_owned(), Ok("Bearer a.b.c")),
            (" \n".to_owned(), Err("holds no token")),
            ("a\nb".to_owned(), Err("more than a token")),
            ("a".repeat(20_000), Err("has more than 16384 bytes")),
        ] {
            std::fs::write(&path, content).unwrap();
            match (token.read(), expected) {
                (Ok(read), Ok(expected)) => assert_eq!(read, expected),
                (Err(read), Err(expected)) => {
                    assert!(
                        read.contains(expected) && read.contains("KUMA_MULTIZONE_ZONE_KDS_AUTH_CP_TOKEN_PATH"),
                        "{read}"
                    );
                }
                other => panic!("{other:?}"),
            }
        }
        assert!(
            ZoneToken::File("/dev/zero".into())
                .read()
                .unwrap_err()
                .contains("no regular file")
        );
        assert_eq!(format!("{:?}", ZoneToken::Inline("secret".into())), "Inline");
    }
}
