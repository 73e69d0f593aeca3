//! Fingerprints: 128-bit hashes of JSON that do not depend on the order of fields.

use std::fmt;

use serde_json::Value;
use xxhash_rust::xxh3::Xxh3;

/// A fingerprint. Equal content has equal fingerprints, in every process and release; the reverse is taken for granted
/// at 128 bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(pub u128);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// Collects content.
#[derive(Default)]
pub struct Fingerprinter(Xxh3);

impl Fingerprinter {
    /// Nothing collected yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a text. Its length goes along, so that neighbours cannot run into each other.
    pub fn text(&mut self, text: &str) -> &mut Self {
        self.number(text.len() as u128);
        self.0.update(text.as_bytes());
        self
    }

    /// Adds a number, such as another fingerprint or a count.
    pub fn number(&mut self, number: u128) -> &mut Self {
        self.0.update(&number.to_le_bytes());
        self
    }

    /// Adds JSON; objects by sorted field.
    pub fn json(&mut self, value: &Value) -> &mut Self {
        match value {
            Value::Null => self.text("null"),
            Value::Bool(value) => self.text(if *value { "true" } else { "false" }),
            Value::Number(number) => self.text("#").text(&number.to_string()),
            Value::String(text) => self.text("\"").text(text),
            Value::Array(items) => {
                self.text("[").number(items.len() as u128);
                for item in items {
                    self.json(item);
                }
                self
            }
            Value::Object(fields) => {
                self.text("{").number(fields.len() as u128);
                let mut fields: Vec<_> = fields.iter().collect();
                fields.sort_by_key(|(field, _)| field.as_str());
                for (field, value) in fields {
                    self.text(field).json(value);
                }
                self
            }
        }
    }

    /// The fingerprint of what was collected.
    pub fn finish(&self) -> Fingerprint {
        Fingerprint(self.0.digest128())
    }
}
