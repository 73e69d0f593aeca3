//! The proxy's token: text given on the command line, or a file that is read again at each use so that a renewed token
//! takes effect without a restart.

use crate::args::Secret;
use std::path::{Path, PathBuf};

/// Tokens are well under 2 kB; a larger file is a mistake.
const MAX_TOKEN_BYTES: u64 = 64 * 1024;

#[derive(Debug, Clone)]
pub(crate) enum Token {
    /// Authentication is off at the control plane.
    None,
    Text(Secret),
    File(PathBuf),
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum TokenError {
    #[error("token file {}: cannot be read", path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("token file {}: {reason}; write the output of `meshspan generate dataplane-token` into it", path.display())]
    Invalid { path: PathBuf, reason: &'static str },
}

impl Token {
    /// The token as it is sent, without surrounding white space; `None` when the proxy has none.
    pub(crate) fn read(&self) -> Result<Option<String>, TokenError> {
        match self {
            Self::None => Ok(None),
            Self::Text(secret) => Ok(Some(secret.expose().trim().to_owned())),
            Self::File(path) => read_file(path).map(Some),
        }
    }

    pub(crate) fn path(&self) -> Option<&Path> {
        match self {
            Self::File(path) => Some(path),
            Self::None | Self::Text(_) => None,
        }
    }
}

fn read_file(path: &Path) -> Result<String, TokenError> {
    use std::io::Read;
    let unreadable = |source| TokenError::Unreadable {
        path: path.to_owned(),
        source,
    };
    let invalid = |reason| TokenError::Invalid {
        path: path.to_owned(),
        reason,
    };
    let file = std::fs::File::open(path).map_err(unreadable)?;
    let mut text = String::new();
    file.take(MAX_TOKEN_BYTES + 1)
        .read_to_string(&mut text)
        .map_err(unreadable)?;
    if text.len() as u64 > MAX_TOKEN_BYTES {
        return Err(invalid("is larger than 64 KiB"));
    }
    match text.trim() {
        "" => Err(invalid("is empty")),
        token => Ok(token.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::Token;

    #[test]
    fn a_file_is_read_again_and_trimmed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        let token = Token::File(path.clone());
        std::fs::write(&path, "one\n").unwrap();
        assert_eq!(token.read().unwrap().unwrap(), "one");
        std::fs::write(&path, "two\n").unwrap();
        assert_eq!(token.read().unwrap().unwrap(), "two");
        std::fs::write(&path, "\n").unwrap();
        assert!(token.read().unwrap_err().to_string().contains("is empty"));
    }
}
