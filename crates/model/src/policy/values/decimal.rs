//! Numbers that are written as a number or, where they have decimals, as a string: `50`, `"33.3"`.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::Value;

/// A finite number as written, with its value.
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd)]
pub struct Decimal(pub f64);

impl Decimal {
    /// The value.
    pub fn value(self) -> f64 {
        self.0
    }
}

impl std::fmt::Display for Decimal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for Decimal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // Whole numbers up to 2^53 are exact in both types.
        #[allow(clippy::cast_possible_truncation)]
        if self.0.fract() == 0.0 && self.0.abs() < 9e15 {
            serializer.serialize_i64(self.0 as i64)
        } else {
            serializer.serialize_str(&self.0.to_string())
        }
    }
}

impl<'de> Deserialize<'de> for Decimal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let written = Value::deserialize(deserializer)?;
        let value = match &written {
            Value::Number(number) => number.as_f64(),
            Value::String(text) => text.parse().ok(),
            _ => None,
        };
        value
            .filter(|value: &f64| value.is_finite())
            .map(Decimal)
            .ok_or_else(|| {
                de::Error::custom(format!(
                    "is {written}, must be a number, or a string with a number such as \"33.3\""
                ))
            })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn numbers_and_strings_are_read_and_nothing_else() {
        let read = |text: &str| serde_json::from_str::<Decimal>(text);
        assert_eq!(read("50").unwrap(), Decimal(50.0));
        assert_eq!(read("\"33.3\"").unwrap(), Decimal(33.3));
        for wrong in ["\"x\"", "\"NaN\"", "true", "[]", "\"\""] {
            let error = read(wrong).unwrap_err().to_string();
            assert!(error.contains("must be a number"), "{wrong}: {error}");
        }
        assert_eq!(serde_json::to_string(&Decimal(50.0)).unwrap(), "50");
        assert_eq!(serde_json::to_string(&Decimal(33.3)).unwrap(), "\"33.3\"");
    }
}
