//! Formats of access logs: text with `%OPERATORS%` that Envoy fills in, and `%KUMA_…%` placeholders that the control
//! plane fills in before (`spec/policies.md` §2.12).
//!
//! A format that Envoy cannot read costs the whole listener, so nothing that might be one is accepted.

use thiserror::Error;

use super::operators::{Syntax, syntax};

/// Longest format in bytes.
pub const MAX_FORMAT: usize = 16 << 10;

/// A piece of a format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// What goes to Envoy as it is: text, in which `%%` stands for a percent sign, or an operator.
    Envoy(&'a str),
    /// What the control plane knows.
    Placeholder(Placeholder),
}

macro_rules! placeholders {
    ($($(#[$doc:meta])* $variant:ident $name:literal)*) => {
        /// What the control plane knows of a request or connection.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Placeholder { $($(#[$doc])* $variant,)* }

        impl Placeholder {
            const ALL: &'static [(&'static str, Placeholder)] = &[$(($name, Placeholder::$variant),)*];
        }
    };
}

placeholders! {
    /// Address of the client, with port 0 for compatibility.
    SourceAddress "KUMA_SOURCE_ADDRESS"
    /// Address of the client.
    SourceAddressWithoutPort "KUMA_SOURCE_ADDRESS_WITHOUT_PORT"
    /// Service of the client.
    SourceService "KUMA_SOURCE_SERVICE"
    /// Service that is called.
    DestinationService "KUMA_DESTINATION_SERVICE"
    /// Mesh of both.
    Mesh "KUMA_MESH"
    /// `INBOUND` or `OUTBOUND`, as the proxy that logs sees it.
    TrafficDirection "KUMA_TRAFFIC_DIRECTION"
}

/// Why a format is refused.
#[derive(Debug, PartialEq, Eq, Error)]
pub enum FormatError {
    /// Longer than [`MAX_FORMAT`].
    #[error("has {0} bytes, must have no more than {MAX_FORMAT}")]
    TooLong(usize),
    /// A percent sign alone.
    #[error(
        "\"{0}\" starts no operator: write %NAME%, %NAME(parameters)% or %NAME(parameters):length%, and %% for a percent sign"
    )]
    Stray(String),
    /// No such operator.
    #[error("%{0}% is no operator of Envoy 1.40; see its list of access log command operators")]
    UnknownOperator(String),
    /// No such placeholder.
    #[error("%{0}% is no placeholder, must be one of {known}", known = known_placeholders())]
    UnknownPlaceholder(String),
    /// An operator that may be wrong in ways that only Envoy sees.
    #[error("%{0}(…)% is not supported: a mistake in its parameters would make proxies refuse their listeners")]
    Unchecked(String),
    /// Parameters that Envoy would not take.
    #[error("%{operator}% {expected}")]
    Parameters {
        /// The operator.
        operator: String,
        /// What it takes.
        expected: &'static str,
    },
}

fn known_placeholders() -> String {
    let names: Vec<_> = Placeholder::ALL.iter().map(|(name, _)| format!("%{name}%")).collect();
    names.join(", ")
}

/// Splits a format into its pieces. Joined again, with text for the placeholders, they are a format that Envoy takes.
///
/// # Errors
/// What is wrong with it.
pub fn parse(format: &str) -> Result<Vec<Piece<'_>>, FormatError> {
    if format.len() > MAX_FORMAT {
        return Err(FormatError::TooLong(format.len()));
    }
    let mut pieces = Vec::new();
    let mut rest = format;
    while !rest.is_empty() {
        let Some(percent) = rest.find('%') else {
            pieces.push(Piece::Envoy(rest));
            break;
        };
        let (text, operator) = rest.split_at(percent);
        if !text.is_empty() {
            pieces.push(Piece::Envoy(text));
        }
        let length = if operator.starts_with("%%") {
            pieces.push(Piece::Envoy("%%"));
            2
        } else {
            let command = Command::parse(operator).ok_or_else(|| FormatError::Stray(excerpt(operator)))?;
            let (written, _) = operator.split_at_checked(command.length).unwrap_or((operator, ""));
            pieces.push(command.piece(written)?);
            command.length
        };
        rest = operator.get(length..).unwrap_or_default();
    }
    Ok(pieces)
}

/// Text as part of a format.
pub fn escape(text: &str) -> String {
    text.replace('%', "%%")
}

/// `%NAME(parameters):max_length%`.
struct Command<'a> {
    name: &'a str,
    parameters: Option<&'a str>,
    has_max_length: bool,
    /// In bytes, from the first percent sign to behind the last one.
    length: usize,
}

impl<'a> Command<'a> {
    /// The operator that `text` starts with. Parameters end at the first `)` behind which the operator ends.
    fn parse(text: &'a str) -> Option<Self> {
        let inner = text.strip_prefix('%')?;
        let end = inner.find(|c: char| !(c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_'))?;
        let (name, after) = inner.split_at(end);
        if name.is_empty() {
            return None;
        }
        let (parameters, (has_max_length, rest)) = match after.strip_prefix('(') {
            None => (None, Self::end(after)?),
            Some(in_parentheses) => in_parentheses
                .match_indices([')', '\n'])
                .take_while(|(_, found)| *found == ")")
                .find_map(|(index, _)| {
                    let (parameters, end) = in_parentheses.split_at(index);
                    Some((Some(parameters), Self::end(end.strip_prefix(')')?)?))
                })?,
        };
        Some(Self {
            name,
            parameters,
            has_max_length,
            length: text.len() - rest.len(),
        })
    }

    /// Reads `:max_length%` or `%`; returns whether there is a length, and what follows.
    fn end(text: &str) -> Option<(bool, &str)> {
        if let Some(rest) = text.strip_prefix('%') {
            return Some((false, rest));
        }
        let (digits, rest) = text.strip_prefix(':')?.split_once('%')?;
        let is_number = digits.bytes().all(|byte| byte.is_ascii_digit()) && digits.parse::<u64>().is_ok();
        is_number.then_some((true, rest))
    }

    fn piece(&self, written: &'a str) -> Result<Piece<'a>, FormatError> {
        if self.name.starts_with("KUMA_") {
            return self.placeholder();
        }
        let Some(syntax) = syntax(self.name) else {
            return Err(FormatError::UnknownOperator(self.name.to_owned()));
        };
        if syntax == Syntax::Unchecked {
            return Err(FormatError::Unchecked(self.name.to_owned()));
        }
        syntax
            .check(self.parameters.unwrap_or_default(), self.has_max_length)
            .map_err(|expected| self.refuse(expected))?;
        Ok(Piece::Envoy(written))
    }

    fn placeholder(&self) -> Result<Piece<'a>, FormatError> {
        let Some((_, placeholder)) = Placeholder::ALL.iter().find(|(name, _)| *name == self.name) else {
            return Err(FormatError::UnknownPlaceholder(self.name.to_owned()));
        };
        if self.parameters.is_some() || self.has_max_length {
            return Err(self.refuse("takes neither parameters nor a length"));
        }
        Ok(Piece::Placeholder(*placeholder))
    }

    fn refuse(&self, expected: &'static str) -> FormatError {
        FormatError::Parameters {
            operator: self.name.to_owned(),
            expected,
        }
    }
}

/// The start of a text, for a message.
fn excerpt(text: &str) -> String {
    const SHOWN: usize = 40;
    let mut shown: String = text.chars().take(SHOWN).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn pieces_joined_are_what_was_written() {
        let format = "100%% [%START_TIME(%Y/%m)%] %REQ(X-A?:PATH):8%%KUMA_MESH% é%%";
        let pieces = parse(format).unwrap();
        let joined: String = pieces
            .iter()
            .map(|piece| match piece {
                Piece::Envoy(text) => *text,
                Piece::Placeholder(placeholder) => {
                    assert_eq!(*placeholder, Placeholder::Mesh);
                    "%KUMA_MESH%"
                }
            })
            .collect();
        assert_eq!(joined, format);
        assert!(pieces.contains(&Piece::Envoy("%REQ(X-A?:PATH):8%")), "{pieces:?}");
        // Two percent signs are one, so what follows is text and the last sign is alone.
        assert!(matches!(parse("%%DURATION%"), Err(FormatError::Stray(_))));
    }

    #[test]
    fn parameters_end_where_the_operator_ends() {
        assert_eq!(
            parse("%DYNAMIC_METADATA(a)b):4%)%%").unwrap(),
            [
                Piece::Envoy("%DYNAMIC_METADATA(a)b):4%"),
                Piece::Envoy(")"),
                Piece::Envoy("%%")
            ]
        );
        for stray in [
            "%",
            "100%",
            "%DURATION",
            "%duration%",
            "%REQ(a",
            "%REQ(a)",
            "%REQ(a\n)%",
            "%DURATION:x%",
            "% %",
        ] {
            assert!(matches!(parse(stray), Err(FormatError::Stray(_))), "{stray}");
        }
    }

    #[test]
    fn a_format_is_bounded() {
        assert!(parse(&"x".repeat(MAX_FORMAT)).is_ok());
        assert_eq!(
            parse(&"x".repeat(MAX_FORMAT + 1)).unwrap_err(),
            FormatError::TooLong(MAX_FORMAT + 1)
        );
    }
}
