//! Lists of revoked token ids, as secrets hold them.

use std::collections::BTreeSet;

/// Ids (`jti`) of tokens that are no longer accepted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Revocations {
    ids: BTreeSet<String>,
}

/// What stands in a revocation list and is no id of a token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RevocationsError {
    /// Not UTF-8.
    #[error("it is not text: store the ids (jti) of the tokens, separated by commas")]
    NotText,
    /// An id that no token can have been meant by.
    #[error("{0:?} is not the id of a token: store the ids (jti) of the tokens, separated by commas")]
    NotAnId(String),
}

/// Ids are UUIDs where they are made here; others may make longer ones.
const MAX_ID_BYTES: usize = 256;

impl Revocations {
    /// Reads the data of a revocation secret: ids separated by commas. Space around an id, the newline that editors leave at
    /// the end for instance, does not count. What is not text matches no token; the ids around it count, because a damaged
    /// list must neither let revoked tokens in again nor lock out all others.
    pub fn parse(data: &[u8]) -> Self {
        let text = String::from_utf8_lossy(data);
        let ids = text
            .split(',')
            .map(str::trim)
            .filter(|id| !id.is_empty())
            .map(str::to_owned);
        Self { ids: ids.collect() }
    }

    /// Whether the data can be meant as a revocation list, before it is stored.
    ///
    /// # Errors
    /// The first entry that is no id: not printable ASCII, white space within, or longer than 256 bytes.
    pub fn check(data: &[u8]) -> Result<(), RevocationsError> {
        let text = std::str::from_utf8(data).map_err(|_| RevocationsError::NotText)?;
        let is_id = |id: &str| id.len() <= MAX_ID_BYTES && id.bytes().all(|byte| byte.is_ascii_graphic());
        match text.split(',').map(str::trim).find(|id| !is_id(id)) {
            Some(id) => Err(RevocationsError::NotAnId(id.chars().take(60).collect())),
            None => Ok(()),
        }
    }

    /// Whether the token with this id is revoked.
    pub fn contains(&self, id: &str) -> bool {
        self.ids.contains(id)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn reads_what_people_store() {
        for data in ["a,b", "a,b\n", " a , b \r\n", ",a,,b,"] {
            assert_eq!(Revocations::check(data.as_bytes()), Ok(()));
            let list = Revocations::parse(data.as_bytes());
            assert!(list.contains("a") && list.contains("b"), "{data:?}");
            assert!(!list.contains("") && !list.contains("ab"), "{data:?}");
        }
        for data in ["", "\n", ","] {
            assert_eq!(Revocations::check(data.as_bytes()), Ok(()));
            assert_eq!(Revocations::parse(data.as_bytes()), Revocations::default());
        }
    }

    #[test]
    fn garbage_is_not_stored_and_harms_no_other_id() {
        for data in [
            b"a\nb".as_slice(),
            b"a b",
            b"a,\x00",
            "a,\u{e4}".as_bytes(),
            &[b'a'; 257],
        ] {
            assert!(
                matches!(Revocations::check(data), Err(RevocationsError::NotAnId(_))),
                "{data:?}"
            );
        }
        assert_eq!(Revocations::check(&[0xff]), Err(RevocationsError::NotText));
        assert!(Revocations::parse(b"\xff\xfe,a").contains("a"));
    }
}
