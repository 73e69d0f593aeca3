//! Texts of peers in our messages are bounded.

/// Longest text of a peer in a line of the log, in bytes.
pub(crate) const MAX_LOGGED: usize = 2048;

/// The text, cut after `max` bytes.
pub(crate) fn bounded(text: &str, max: usize) -> String {
    match text.split_at_checked(text.floor_char_boundary(max)) {
        Some((start, rest)) if !rest.is_empty() => format!("{start} …"),
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_cut_between_characters() {
        assert_eq!(bounded("abc", 3), "abc");
        assert_eq!(bounded("äöü", 3), "ä …");
    }
}
