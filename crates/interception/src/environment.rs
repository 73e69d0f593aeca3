//! Settings from environment variables.
//!
//! The name of a variable is derived from the path of the setting: `redirect.dns.captureAll` is
//! `KUMA_TRANSPARENT_PROXY_REDIRECT_DNS_CAPTURE_ALL`.

use std::cell::RefCell;

use meshspan_model::environment::Variables;
use serde_json::{Map, Value};

use crate::error::Error;
use crate::settings::{Layer, Settings};

const PREFIX: &str = "KUMA_TRANSPARENT_PROXY";
const ORIGIN: &str = "environment";

/// The layer of all variables that are set. `variable` looks one up.
pub fn layer(variable: &dyn Fn(&str) -> Option<String>) -> Result<Layer, Error> {
    let value = collect(&shape()?, PREFIX, variable)?.unwrap_or_else(|| Value::Object(Map::new()));
    Ok(Layer {
        origin: ORIGIN.to_owned(),
        value,
    })
}

/// All settings with their defaults.
fn shape() -> Result<Value, Error> {
    serde_json::to_value(Settings::default()).map_err(|error| Error::Settings {
        origin: ORIGIN.to_owned(),
        reason: error.to_string(),
    })
}

/// Warnings about names in `environment` that look like settings and are none.
///
/// # Errors
/// The first that must not be ignored.
pub fn unknown(environment: impl Iterator<Item = String>) -> Result<Vec<String>, Error> {
    let known = RefCell::new(Vec::new());
    collect(&shape()?, PREFIX, &|name| {
        known.borrow_mut().push(name.to_owned());
        None
    })?;
    let variables = Variables {
        program: "transparent interception",
        known: known.into_inner(),
        own: &["KUMA_TRANSPARENT_PROXY_"],
        foreign: &[],
    };
    Ok(variables.check(environment)?)
}

/// The values set for `shape`, whose default tells the type, or `None` if none is.
fn collect(shape: &Value, name: &str, variable: &dyn Fn(&str) -> Option<String>) -> Result<Option<Value>, Error> {
    if let Value::Object(fields) = shape {
        let mut set = Map::new();
        for (key, field) in fields {
            let name = format!("{name}_{}", screaming(key));
            if let Some(value) = collect(field, &name, variable)? {
                set.insert(key.clone(), value);
            }
        }
        return Ok((!set.is_empty()).then_some(Value::Object(set)));
    }
    let Some(text) = variable(name) else {
        return Ok(None);
    };
    let value = match shape {
        Value::Bool(_) => Value::Bool(
            text.trim()
                .parse()
                .map_err(|_| Error::invalid(name, &text, "is not true or false"))?,
        ),
        Value::Number(_) => Value::from(
            text.trim()
                .parse::<u32>()
                .map_err(|_| Error::invalid(name, &text, "is not a whole number"))?,
        ),
        Value::Array(_) => {
            // Entries such as `tcp:80,443:1000` contain commas themselves.
            let separator = if name.ends_with("_FOR_UIDS") { ';' } else { ',' };
            text.split(separator)
                .map(str::trim)
                .filter(|entry| !entry.is_empty())
                .map(Value::from)
                .collect()
        }
        _ => Value::from(text),
    };
    Ok(Some(value))
}

/// `excludePortsForUIDs` → `EXCLUDE_PORTS_FOR_UIDS`, `kumaDPUser` → `KUMA_DP_USER`.
fn screaming(key: &str) -> String {
    let chars: Vec<char> = key.chars().collect();
    let mut name = String::new();
    for (index, &c) in chars.iter().enumerate() {
        let previous = index.checked_sub(1).and_then(|i| chars.get(i));
        let next = chars.get(index + 1);
        let starts_word = c.is_uppercase()
            && previous.is_some_and(|p| {
                // A plural s after an abbreviation (UIDs) does not start a word at its last capital.
                let plural = next == Some(&'s') && chars.get(index + 2).is_none_or(|n| n.is_uppercase());
                p.is_lowercase() || (next.is_some_and(|n| n.is_lowercase()) && !plural)
            });
        if starts_word {
            name.push('_');
        }
        name.extend(c.to_uppercase());
    }
    name
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
    use super::*;

    #[test]
    fn names() {
        for (key, name) in [
            ("kumaDPUser", "KUMA_DP_USER"),
            ("ipFamilyMode", "IP_FAMILY_MODE"),
            ("excludePortsForUIDs", "EXCLUDE_PORTS_FOR_UIDS"),
            ("excludePortsForIPs", "EXCLUDE_PORTS_FOR_IPS"),
            ("insertRedirectInsteadOfAppend", "INSERT_REDIRECT_INSTEAD_OF_APPEND"),
            ("storeFirewalld", "STORE_FIREWALLD"),
            ("wait", "WAIT"),
        ] {
            assert_eq!(screaming(key), name);
        }
    }

    #[test]
    fn values_are_typed_by_the_default() {
        let set = |name: &str| {
            let value = match name {
                "KUMA_TRANSPARENT_PROXY_REDIRECT_DNS_CAPTURE_ALL" => "true",
                "KUMA_TRANSPARENT_PROXY_REDIRECT_INBOUND_PORT" => "25006",
                "KUMA_TRANSPARENT_PROXY_REDIRECT_INBOUND_EXCLUDE_PORTS" => "22, 80-90",
                "KUMA_TRANSPARENT_PROXY_REDIRECT_OUTBOUND_EXCLUDE_PORTS_FOR_UIDS" => "tcp:1,2:3;4",
                "KUMA_TRANSPARENT_PROXY_KUMA_DP_USER" => "1234",
                _ => return None,
            };
            Some(value.to_owned())
        };
        let settings = Settings::from_layers([layer(&set).unwrap()]).unwrap();
        assert!(settings.redirect.dns.capture_all);
        assert_eq!(settings.redirect.inbound.port, 25006);
        assert_eq!(settings.redirect.inbound.exclude_ports.0, ["22", "80-90"]);
        assert_eq!(settings.redirect.outbound.exclude_ports_for_uids, ["tcp:1,2:3", "4"]);
        assert_eq!(settings.kuma_dp_user, "1234");
    }

    #[test]
    fn a_mistyped_variable_is_reported() {
        let names = [
            "KUMA_TRANSPARENT_PROXY_WAIT",
            "KUMA_TRANSPARENT_PROXY_REDIRECT_DNS_ENABLE",
            "KUMA_MODE",
        ];
        let warnings = unknown(names.iter().map(|name| (*name).to_owned())).unwrap();
        assert_eq!(
            warnings,
            [
                "variable KUMA_TRANSPARENT_PROXY_REDIRECT_DNS_ENABLE is no setting of transparent interception and is ignored; did you mean \
              KUMA_TRANSPARENT_PROXY_REDIRECT_DNS_ENABLED?"
            ]
        );
    }

    #[test]
    fn a_bad_value_names_the_variable() {
        let set = |name: &str| (name == "KUMA_TRANSPARENT_PROXY_WAIT").then(|| "soon".to_owned());
        let Err(error) = layer(&set) else { panic!("accepted") };
        assert_eq!(
            error.to_string(),
            "KUMA_TRANSPARENT_PROXY_WAIT: \"soon\" is not a whole number"
        );
    }
}
