//! Lists of revoked token ids, as secrets hold them.

use std::collections::BTreeSet;

/// Ids (`jti`) of tokens that are no longer accepted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Revocations {
    ids: BTreeSet<String>,
}

/// A revocation list that cannot be read. Treat it as a fault of the control plane: without the list nobody knows which
/// tokens hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("revocation list is not text: store token ids separated by commas")]
pub struct RevocationsError;

impl Revocations {
    /// Reads the data of a revocation secret: ids separated by commas. Space around an id, the newline that editors leave at
    /// the end for instance, does not count.
    ///
    /// # Errors
    /// When the data is not UTF-8.
    pub fn parse(data: &[u8]) -> Result<Self, RevocationsError> {
        let text = std::str::from_utf8(data).map_err(|_| RevocationsError)?;
        let ids = text
            .split(',')
            .map(str::trim)
            .filter(|id| !id.is_empty())
            .map(str::to_owned);
        Ok(Self { ids: ids.collect() })
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
            let list = Revocations::parse(data.as_bytes()).unwrap();
            assert!(list.contains("a") && list.contains("b"), "{data:?}");
            assert!(!list.contains("") && !list.contains("ab"), "{data:?}");
        }
        for data in ["", "\n", ","] {
            assert_eq!(Revocations::parse(data.as_bytes()).unwrap(), Revocations::default());
        }
        assert_eq!(Revocations::parse(&[0xff]), Err(RevocationsError));
    }
}
