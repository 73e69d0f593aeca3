//! Durations as users write them: Go's (`1h30m`, `250ms`), proto3 JSON's (`5s`) and the longer units of certificates.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A duration in Go's notation; prints as Go does (`1m0s`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GoDuration(pub Duration);

/// Longest duration in Go's notation: Go's own limit, and Envoy's, in whole hours.
const MAX: Duration = Duration::from_secs(2_562_047 * 3600);

/// Parses Go's notation: one or more decimal numbers with a unit of `ns us µs ms s m h`, or `0`.
///
/// # Errors
/// What would be right.
pub fn parse(text: &str) -> Result<Duration, String> {
    let units = [
        ("ns", 1e-9),
        ("us", 1e-6),
        ("µs", 1e-6),
        ("ms", 1e-3),
        ("s", 1.0),
        ("m", 60.0),
        ("h", 3600.0),
    ];
    match parse_units(text, &units) {
        Some(duration) if duration <= MAX => Ok(duration),
        Some(_) => Err(format!(
            "duration \"{text}\" is too long: use at most {}",
            GoDuration(MAX)
        )),
        None => Err(format!(
            "invalid duration \"{text}\": use for example 250ms, 5s or 1h30m"
        )),
    }
}

/// Parses the notation of certificate lifetimes: digits and a unit of `y w d h m s ms`, or `0`.
///
/// # Errors
/// What would be right.
pub fn parse_long(text: &str) -> Result<time::Duration, String> {
    const DAY: f64 = 86_400.0;
    let units = [
        ("ms", 1e-3),
        ("s", 1.0),
        ("m", 60.0),
        ("h", 3600.0),
        ("d", DAY),
        ("w", 7.0 * DAY),
        ("y", 365.0 * DAY),
    ];
    parse_units(text, &units)
        .and_then(|duration| time::Duration::try_from(duration).ok())
        .ok_or_else(|| format!("invalid duration \"{text}\": use for example 24h, 30d or 10y"))
}

fn parse_units(text: &str, units: &[(&str, f64)]) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut rest = text;
    let mut seconds = 0.0_f64;
    while !rest.is_empty() {
        let number_end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(number_end);
        let unit_end = after
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_end);
        let factor = units.iter().find(|(name, _)| *name == unit)?.1;
        seconds += number.parse::<f64>().ok()? * factor;
        rest = after;
    }
    if text.is_empty() {
        None
    } else {
        Duration::try_from_secs_f64(seconds).ok()
    }
}

impl fmt::Display for GoDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.0.as_nanos();
        if nanos == 0 {
            return f.write_str("0s");
        }
        if nanos < 1_000_000_000 {
            let (unit, size) = match nanos {
                0..1_000 => ("ns", 1),
                1_000..1_000_000 => ("µs", 1_000),
                _ => ("ms", 1_000_000),
            };
            return write!(f, "{}{unit}", decimal(nanos, size));
        }
        let seconds = self.0.as_secs();
        let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
        if hours > 0 {
            write!(f, "{hours}h")?;
        }
        if hours > 0 || minutes > 0 {
            write!(f, "{minutes}m")?;
        }
        write!(f, "{}s", decimal(nanos % 60_000_000_000, 1_000_000_000))
    }
}

fn decimal(value: u128, size: u128) -> String {
    let (whole, part) = (value / size, value % size);
    if part == 0 {
        return whole.to_string();
    }
    let digits = size.ilog10() as usize;
    format!("{whole}.{part:0digits$}").trim_end_matches('0').to_owned()
}

impl Serialize for GoDuration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for GoDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse(&text).map(GoDuration).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn parses_and_prints_as_go() {
        for (text, millis, printed) in [
            ("5s", 5_000, "5s"),
            ("1m", 60_000, "1m0s"),
            ("1h30m", 5_400_000, "1h30m0s"),
            ("250ms", 250, "250ms"),
            ("1.5s", 1_500, "1.5s"),
            ("0", 0, "0s"),
        ] {
            let duration = parse(text).unwrap();
            assert_eq!(duration.as_millis(), millis, "{text}");
            assert_eq!(GoDuration(duration).to_string(), printed);
        }
        for bad in ["", "5", "s", "5x", "-5s", "1e9s", "99999999999999999999h"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_duration_ends_where_go_and_envoy_end() {
        assert_eq!(parse("2562047h").unwrap(), MAX);
        for longer in ["2562047h0.001s", "99999999999h"] {
            let error = parse(longer).unwrap_err();
            assert!(error.ends_with("is too long: use at most 2562047h0m0s"), "{error}");
        }
    }

    #[test]
    fn parses_certificate_lifetimes() {
        assert_eq!(parse_long("10y").unwrap(), time::Duration::days(3650));
        assert_eq!(parse_long("24h").unwrap(), time::Duration::hours(24));
        assert!(parse_long("").is_err());
    }
}
