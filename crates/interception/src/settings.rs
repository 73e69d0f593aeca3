//! What a user can set, in the form of the configuration file.
//!
//! Precedence: flags over environment over file over defaults. Each layer is a JSON document of the same shape; they are merged key by
//! key and read once, so a setting exists in one place: a field of [`Settings`].

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::Error;

/// Largest configuration file that is read, in bytes.
pub const MAX_FILE_BYTES: u64 = 1 << 20;

/// The configuration file (`spec/dataplane.md` §7).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Settings {
    /// User that runs Envoy and the agent: id or name. Empty: id 5678 if such a user exists, else the user `kuma-dp`.
    #[serde(rename = "kumaDPUser", deserialize_with = "text_or_number")]
    pub kuma_dp_user: String,
    /// Ours: exclude sockets with this mark instead of those of [`Settings::kuma_dp_user`]; 0 is off.
    #[serde(rename = "kumaDPMark")]
    pub kuma_dp_mark: u32,
    /// `dualstack`, `ipv4` or `ipv6`.
    pub ip_family_mode: String,
    /// Which traffic goes where.
    pub redirect: Redirect,
    /// Logging of packets by the kernel.
    pub log: Log,
    /// Seconds to wait for the lock of iptables; 0 waits for ever.
    pub wait: u32,
    /// Microseconds between two attempts to take the lock; 0 leaves it to iptables.
    pub wait_interval: u32,
    /// What to do when iptables is busy.
    pub retry: Retry,
    /// Comments on rules.
    pub comments: Comments,
    /// Make the rules permanent in firewalld. Not supported, must be false.
    pub store_firewalld: bool,
    /// Drop packets that conntrack finds invalid.
    pub drop_invalid_packets: bool,
    /// Print each program that is run.
    pub verbose: bool,
    /// Print the rules and change nothing.
    pub dry_run: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            kuma_dp_user: String::new(),
            kuma_dp_mark: 0,
            ip_family_mode: "dualstack".to_owned(),
            redirect: Redirect::default(),
            log: Log::default(),
            wait: 5,
            wait_interval: 0,
            retry: Retry::default(),
            comments: Comments::default(),
            store_firewalld: false,
            drop_invalid_packets: false,
            verbose: false,
            dry_run: false,
        }
    }
}

/// `redirect`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Redirect {
    /// Traffic to the application.
    pub inbound: TrafficSettings,
    /// Traffic of the application.
    pub outbound: TrafficSettings,
    /// Queries of the application.
    pub dns: DnsSettings,
    /// Bridges of containers and virtual machines.
    pub vnet: VnetSettings,
}

impl Default for Redirect {
    fn default() -> Self {
        Self {
            inbound: TrafficSettings::to_port(15006),
            outbound: TrafficSettings::to_port(15001),
            dns: DnsSettings::default(),
            vnet: VnetSettings::default(),
        }
    }
}

/// `redirect.inbound` and `redirect.outbound`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct TrafficSettings {
    /// Whether this direction is intercepted.
    pub enabled: bool,
    /// Envoy's port for it.
    pub port: u32,
    /// Only these ports.
    pub include_ports: Ports,
    /// Not these ports, even if they are among `include_ports`.
    pub exclude_ports: Ports,
    /// Outbound only: `protocol:ports:uids`.
    #[serde(rename = "excludePortsForUIDs")]
    pub exclude_ports_for_uids: Vec<String>,
    /// Inbound: source addresses; outbound: destination addresses.
    #[serde(rename = "excludePortsForIPs")]
    pub exclude_ports_for_ips: Vec<String>,
    /// Insert our jump before the rules that are there instead of after them.
    pub insert_redirect_instead_of_append: bool,
}

impl TrafficSettings {
    fn to_port(port: u32) -> Self {
        Self {
            enabled: true,
            port,
            include_ports: Ports::default(),
            exclude_ports: Ports::default(),
            exclude_ports_for_uids: Vec::new(),
            exclude_ports_for_ips: Vec::new(),
            insert_redirect_instead_of_append: false,
        }
    }
}

/// A list of ports: a YAML list of numbers or texts, one number, or one text with commas.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "PortsForm")]
pub struct Ports(pub Vec<String>);

#[derive(Deserialize)]
#[serde(untagged)]
enum PortsForm {
    Number(i64),
    Text(String),
    List(Vec<TextOrNumber>),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum TextOrNumber {
    Number(i64),
    Text(String),
}

impl From<PortsForm> for Ports {
    fn from(form: PortsForm) -> Self {
        let texts: Vec<String> = match form {
            PortsForm::Number(number) => vec![number.to_string()],
            PortsForm::Text(text) => text.split(',').map(str::to_owned).collect(),
            PortsForm::List(list) => list
                .into_iter()
                .map(|port| match port {
                    TextOrNumber::Number(number) => number.to_string(),
                    TextOrNumber::Text(text) => text,
                })
                .collect(),
        };
        Self(
            texts
                .iter()
                .map(|text| text.trim().to_owned())
                .filter(|text| !text.is_empty())
                .collect(),
        )
    }
}

/// `redirect.dns`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct DnsSettings {
    /// Intercept queries to the servers of `resolv_config_path`.
    pub enabled: bool,
    /// The agent's port.
    pub port: u32,
    /// Intercept queries to any server; implies `enabled`.
    pub capture_all: bool,
    /// Leave the raw table alone.
    pub skip_conntrack_zone_split: bool,
    /// Where the application's name servers are listed.
    pub resolv_config_path: String,
}

impl Default for DnsSettings {
    fn default() -> Self {
        Self {
            enabled: false,
            port: 15053,
            capture_all: false,
            skip_conntrack_zone_split: false,
            resolv_config_path: "/etc/resolv.conf".to_owned(),
        }
    }
}

/// `redirect.vnet`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct VnetSettings {
    /// `interface:CIDR`
    pub networks: Vec<String>,
}

/// `log`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Log {
    /// Log each packet that enters our rules.
    pub enabled: bool,
    /// syslog level, 0-7.
    pub level: u8,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            enabled: false,
            level: 7,
        }
    }
}

/// `retry`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Retry {
    /// Attempts after the first.
    pub max_retries: u32,
    /// Pause between attempts: `2s`, `500ms`.
    pub sleep_between_retries: String,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            max_retries: 4,
            sleep_between_retries: "2s".to_owned(),
        }
    }
}

/// `comments`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Comments {
    /// Install rules without comments.
    pub disabled: bool,
}

fn text_or_number<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(match TextOrNumber::deserialize(deserializer)? {
        TextOrNumber::Number(number) => number.to_string(),
        TextOrNumber::Text(text) => text,
    })
}

/// One layer of settings: where it comes from, and a JSON object with any of the keys of [`Settings`].
pub struct Layer {
    /// Shown in errors.
    pub origin: String,
    /// The document.
    pub value: Value,
}

impl Layer {
    /// Reads a YAML or JSON document; an empty one changes nothing.
    pub fn parse(origin: &str, text: &str) -> Result<Self, Error> {
        let value: Value = serde_saphyr::from_str(text).map_err(|error| Error::Settings {
            origin: origin.to_owned(),
            reason: error.render_with_formatter(&serde_saphyr::UserMessageFormatter),
        })?;
        match value {
            Value::Null => Ok(Value::Object(serde_json::Map::new())),
            Value::Object(_) => Ok(value),
            _ => Err(Error::Settings {
                origin: origin.to_owned(),
                reason: "the document is not a mapping of settings".to_owned(),
            }),
        }
        .map(|value| Self {
            origin: origin.to_owned(),
            value,
        })
    }
}

impl Settings {
    /// Merges `layers`, later ones winning, over the defaults.
    ///
    /// # Errors
    /// [`Error::Settings`] with the origin of the first layer that has an unknown key or a value of the wrong type.
    pub fn from_layers(layers: impl IntoIterator<Item = Layer>) -> Result<Self, Error> {
        let wrong = |origin: &str, error: serde_json::Error| Error::Settings {
            origin: origin.to_owned(),
            reason: error.to_string(),
        };
        let mut settings = Self::default();
        for layer in layers {
            let mut merged = serde_json::to_value(&settings).map_err(|error| wrong(&layer.origin, error))?;
            merge(&mut merged, layer.value);
            settings = serde_json::from_value(merged).map_err(|error| wrong(&layer.origin, error))?;
        }
        Ok(settings)
    }
}

fn merge(base: &mut Value, over: Value) {
    match (base, over) {
        (Value::Object(base), Value::Object(over)) => {
            for (key, value) in over {
                merge(base.entry(key).or_insert(Value::Null), value);
            }
        }
        // A key without a value leaves the setting as it is.
        (_, Value::Null) => {}
        (base, over) => *base = over,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
    use super::*;

    #[test]
    fn later_layers_win_key_by_key() {
        let file = Layer::parse(
            "f.yaml",
            "kumaDPUser: envoy\nredirect:\n  inbound: {port: 1, excludePorts: [1, '2-3']}\n",
        )
        .unwrap();
        let flags = Layer::parse("flags", r#"{"redirect":{"inbound":{"port":2}}}"#).unwrap();
        let settings = Settings::from_layers([file, flags]).unwrap();
        assert_eq!(settings.kuma_dp_user, "envoy");
        assert_eq!(settings.redirect.inbound.port, 2);
        assert_eq!(settings.redirect.inbound.exclude_ports.0, ["1", "2-3"]);
        assert_eq!(settings.redirect.outbound.port, 15001);
    }

    #[test]
    fn unknown_keys_and_wrong_types_name_the_origin() {
        for text in ["redirectt: {}", "wait: soon", "redirect: {inbound: {port: -1}}"] {
            let layer = Layer::parse("tproxy.yaml", text).unwrap();
            let message = Settings::from_layers([layer]).unwrap_err().to_string();
            assert!(message.starts_with("tproxy.yaml: "), "{message}");
        }
        assert!(Layer::parse("tproxy.yaml", "- a").is_err());
        assert!(Layer::parse("tproxy.yaml", "{").is_err());
        assert!(Layer::parse("tproxy.yaml", "").is_ok());
    }
}
