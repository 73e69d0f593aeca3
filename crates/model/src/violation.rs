//! What is wrong with a resource: every violation as a pair of field path and message.

use std::fmt;

/// One violation, for example `networking.address: must be defined`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Path of the field: `a.b[0].c`, map keys quoted as `labels["key"]`.
    pub field: String,
    /// What is wrong and what would be right.
    pub message: String,
}

/// The warning about a field that is not read.
pub(crate) fn unknown_field(path: &str) -> String {
    format!("unknown field \"{path}\" is ignored")
}

/// All violations found in one resource; never just the first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Violations(Vec<Violation>);

impl Violations {
    /// No violation yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Exactly one violation.
    pub fn one(field: impl Into<String>, message: impl Into<String>) -> Self {
        let mut violations = Self::new();
        violations.add(field, message);
        violations
    }

    /// Records a violation.
    pub fn add(&mut self, field: impl Into<String>, message: impl Into<String>) {
        self.0.push(Violation {
            field: field.into(),
            message: message.into(),
        });
    }

    /// Records all violations of `other`.
    pub fn extend(&mut self, other: Violations) {
        self.0.extend(other.0);
    }

    /// True if nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The violations in the order in which they were found.
    pub fn iter(&self) -> impl Iterator<Item = &Violation> {
        self.0.iter()
    }

    /// Adds fields that are unknown: beside a fault they are likely part of it, misplaced or misspelt.
    #[must_use]
    pub(crate) fn beside_unknown(mut self, unknown: &[String]) -> Self {
        for field in unknown {
            let name = field.rsplit('.').next().unwrap_or(field);
            let place = self
                .0
                .iter()
                .map(|violation| violation.field.as_str())
                .find(|wanted| *wanted != field && wanted.rsplit('.').next() == Some(name));
            let message = match place {
                Some(place) => format!("unknown field; it belongs to {place}"),
                None => "unknown field; is it misspelt, or in the wrong place?".to_owned(),
            };
            self.add(field.as_str(), message);
        }
        self
    }

    /// `Ok` if nothing is wrong.
    pub fn into_result(self) -> Result<(), Violations> {
        if self.is_empty() { Ok(()) } else { Err(self) }
    }
}

impl fmt::Display for Violations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, violation) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("; ")?;
            }
            match violation.field.as_str() {
                "" => f.write_str(&violation.message)?,
                field => write!(f, "{field}: {}", violation.message)?,
            }
        }
        Ok(())
    }
}

impl std::error::Error for Violations {}
