//! How a rejected response is taken apart until the bad resource stands alone.
//!
//! Envoy rejects a whole response for one bad resource. For clusters and listeners it still applies the good ones, for
//! endpoints, routes and secrets those after the bad one are lost, and in both cases only the message says which it was.

use std::sync::Arc;

/// The parts in which the resources of a rejected response are sent again. Each is smaller than the whole; one resource
/// alone has no parts.
///
/// Names found in the client's message are under suspicion and go alone; if that does not narrow it down, halves.
pub(super) fn parts(names: &[Arc<str>], message: &str) -> Vec<Vec<Arc<str>>> {
    if names.len() < 2 {
        return Vec::new();
    }
    let (suspects, others): (Vec<_>, Vec<_>) = names.iter().cloned().partition(|name| message.contains(&**name));
    if suspects.is_empty() || others.is_empty() {
        let (left, right) = names.split_at(names.len() / 2);
        return vec![left.to_vec(), right.to_vec()];
    }
    std::iter::once(others)
        .chain(suspects.into_iter().map(|name| vec![name]))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(names: &str, message: &str) -> Vec<String> {
        let names: Vec<Arc<str>> = names.split(' ').map(Into::into).collect();
        parts(&names, message).into_iter().map(|part| part.join(" ")).collect()
    }

    #[test]
    fn suspects_are_sent_alone_after_the_others() {
        assert_eq!(
            split("web db api", "Error adding/updating listener(s) db: bad"),
            ["web api", "db"]
        );
    }

    #[test]
    fn without_a_clue_halves_are_sent() {
        assert_eq!(split("a1 b1 c1", "no"), ["a1", "b1 c1"]);
        assert_eq!(split("a1 b1", "a1 and b1"), ["a1", "b1"]);
    }

    #[test]
    fn one_resource_is_the_end() {
        assert!(split("a1", "a1: bad").is_empty());
    }
}
