//! Resources as canonical proto3 JSON, for people: field names in camelCase, each `Any` spelled out with its `@type`, keys in
//! alphabetical order. Equal resources give equal text.
//!
//! What Envoy's API marks as sensitive (private keys, passwords, tokens) never comes out: its text is replaced by `[redacted]`, its bytes by that
//! in base64, as Envoy's own dumps do. The result is therefore not a resource to be sent.
//!
//! The descriptors in `descriptors/` are generated; `descriptors/roots` says of which types there are any.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor, ReflectMessage as _, Value};
use serde_json::Value as Json;

use crate::encode::Encoded;

const REDACTED: &str = "[redacted]";
const ANY: &str = "google.protobuf.Any";

/// A resource that cannot be shown as JSON.
#[derive(Debug, thiserror::Error)]
pub enum JsonError {
    /// The resource holds a message of which the descriptors do not know.
    #[error(
        "there is no descriptor of {0}: add its file to crates/envoy/descriptors/roots and run `cargo run -p meshspan-xtask -- gen`"
    )]
    UnknownType(String),
    /// The bytes are no such message.
    #[error("no valid {message}: {detail}")]
    Bytes {
        /// Full name of the message.
        message: String,
        /// What is wrong.
        detail: String,
    },
}

/// Descriptors of messages, and which of their fields are secret.
struct Schema {
    pool: DescriptorPool,
    /// Full names of fields.
    sensitive: BTreeSet<String>,
}

static SCHEMA: LazyLock<Schema> = LazyLock::new(|| {
    let set = include_bytes!("../descriptors/envoy.binpb").as_slice();
    // A set that cannot be read, which a test rules out, knows no type.
    let pool = DescriptorPool::decode(set).unwrap_or_default();
    let sensitive = sensitive_fields(&pool);
    Schema { pool, sensitive }
});

fn sensitive_fields(pool: &DescriptorPool) -> BTreeSet<String> {
    let Some(mark) = pool.get_extension_by_name("udpa.annotations.sensitive") else {
        return BTreeSet::new();
    };
    pool.all_messages()
        .flat_map(|message| message.fields().collect::<Vec<_>>())
        .filter(|field| field.options().get_extension(&mark).as_bool() == Some(true))
        .map(|field| field.full_name().to_owned())
        .collect()
}

impl Encoded {
    /// The resource as JSON, without what is secret in it.
    ///
    /// # Errors
    /// [`JsonError`] if it holds a type that `descriptors/roots` does not lead to, or is not what it says it is.
    pub fn to_json(&self) -> Result<Json, JsonError> {
        let mut message = SCHEMA.decode(&self.resource_type.type_url(), &self.body)?;
        SCHEMA.redact(&mut message, false)?;
        let mut json = serde_json::to_value(&message).map_err(|error| JsonError::Bytes {
            message: message.descriptor().full_name().to_owned(),
            detail: error.to_string(),
        })?;
        // Maps come in random order.
        json.sort_all_objects();
        Ok(json)
    }
}

impl Schema {
    fn descriptor(&self, type_url: &str) -> Result<MessageDescriptor, JsonError> {
        let name = type_url.rsplit('/').next().unwrap_or_default();
        let found = self.pool.get_message_by_name(name);
        found.ok_or_else(|| JsonError::UnknownType(name.to_owned()))
    }

    fn decode(&self, type_url: &str, bytes: &[u8]) -> Result<DynamicMessage, JsonError> {
        let descriptor = self.descriptor(type_url)?;
        DynamicMessage::decode(descriptor.clone(), bytes).map_err(|error| JsonError::Bytes {
            message: descriptor.full_name().to_owned(),
            detail: error.to_string(),
        })
    }

    /// Replaces what is secret in `message`, however deep; everything if all of it is `secret`.
    fn redact(&self, message: &mut DynamicMessage, secret: bool) -> Result<(), JsonError> {
        if message.descriptor().full_name() == ANY {
            return self.redact_any(message, secret);
        }
        for (field, value) in message.fields_mut() {
            self.redact_value(value, secret || self.sensitive.contains(field.full_name()))?;
        }
        Ok(())
    }

    fn redact_any(&self, any: &mut DynamicMessage, secret: bool) -> Result<(), JsonError> {
        let type_url = any.get_field_by_name("type_url");
        let type_url = type_url
            .as_deref()
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned();
        let Some(bytes) = any.get_field_by_name_mut("value").and_then(Value::as_bytes_mut) else {
            return Ok(());
        };
        let mut inner = self.decode(&type_url, bytes)?;
        self.redact(&mut inner, secret)?;
        *bytes = inner.encode_to_vec().into();
        Ok(())
    }

    fn redact_value(&self, value: &mut Value, secret: bool) -> Result<(), JsonError> {
        match value {
            Value::Message(message) => self.redact(message, secret)?,
            Value::List(items) => items.iter_mut().try_for_each(|item| self.redact_value(item, secret))?,
            Value::Map(entries) => entries
                .values_mut()
                .try_for_each(|entry| self.redact_value(entry, secret))?,
            Value::String(text) if secret => REDACTED.clone_into(text),
            Value::Bytes(bytes) if secret => *bytes = REDACTED.as_bytes().into(),
            // A number or a choice is no secret.
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
    use super::*;
    use std::collections::HashMap;

    use envoy_types::pb::envoy::config::cluster::v3::Cluster;
    use envoy_types::pb::envoy::config::core::v3::{DataSource, Metadata, data_source};
    use envoy_types::pb::envoy::config::listener::v3::{Filter, FilterChain, Listener, filter};
    use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::{
        CommonTlsContext, DownstreamTlsContext, PrivateKeyProvider, TlsCertificate, private_key_provider,
    };
    use envoy_types::pb::google::protobuf::{Any, Struct};
    use envoy_types::util::pack_any;

    use crate::secrets;

    fn inline(text: &str) -> Option<DataSource> {
        Some(DataSource {
            specifier: Some(data_source::Specifier::InlineString(text.to_owned())),
            ..Default::default()
        })
    }

    fn listener_with(config: Any) -> Encoded {
        let filter = Filter {
            name: "f".to_owned(),
            config_type: Some(filter::ConfigType::TypedConfig(config)),
        };
        Encoded::listener(&Listener {
            name: "l".to_owned(),
            filter_chains: vec![FilterChain {
                filters: vec![filter],
                ..Default::default()
            }],
            ..Default::default()
        })
    }

    #[test]
    fn the_descriptors_are_read_and_say_what_is_secret() {
        let key = "envoy.extensions.transport_sockets.tls.v3.TlsCertificate.private_key";
        assert!(SCHEMA.sensitive.contains(key), "{:?}", SCHEMA.sensitive);
    }

    #[test]
    fn a_private_key_does_not_come_out() {
        let json = secrets::identity("default", "CHAIN", "KEY-KEY-KEY").to_json().unwrap();
        let certificate = &json["tlsCertificate"];
        // "CHAIN" and "[redacted]" in base64.
        assert_eq!(certificate["certificateChain"]["inlineBytes"], "Q0hBSU4=");
        assert_eq!(certificate["privateKey"]["inlineBytes"], "W3JlZGFjdGVkXQ==");
    }

    #[test]
    fn nor_does_one_deep_inside_of_a_listener() {
        let provider = PrivateKeyProvider {
            config_type: Some(private_key_provider::ConfigType::TypedConfig(pack_any(
                TlsCertificate {
                    certificate_chain: inline("SECRET-3"),
                    ..Default::default()
                },
            ))),
            ..Default::default()
        };
        let certificate = TlsCertificate {
            private_key: inline("SECRET-1"),
            password: inline("SECRET-2"),
            private_key_provider: Some(provider),
            certificate_chain: inline("PUBLIC"),
            ..Default::default()
        };
        let context = DownstreamTlsContext {
            common_tls_context: Some(CommonTlsContext {
                tls_certificates: vec![certificate],
                ..Default::default()
            }),
            ..Default::default()
        };
        let text = listener_with(pack_any(context)).to_json().unwrap().to_string();
        assert!(!text.contains("SECRET"), "{text}");
        assert!(text.contains("PUBLIC"), "{text}");
    }

    #[test]
    fn a_type_without_descriptor_is_named() {
        let config = Any {
            type_url: "type.googleapis.com/envoy.unknown.v3.Thing".to_owned(),
            value: Vec::new(),
        };
        let error = listener_with(config).to_json().unwrap_err().to_string();
        assert!(error.contains("envoy.unknown.v3.Thing: add its file"), "{error}");
        let mut broken = listener_with(pack_any(Cluster::default()));
        broken.body = vec![0xff].into();
        let error = broken.to_json().unwrap_err().to_string();
        assert!(
            error.starts_with("no valid envoy.config.listener.v3.Listener"),
            "{error}"
        );
    }

    #[test]
    fn equal_resources_give_equal_text() {
        let cluster = || {
            let names = ["d", "b", "a", "c", "f", "e"];
            let metadata: HashMap<_, _> = names.map(|name| (name.to_owned(), Struct::default())).into();
            Encoded::cluster(&Cluster {
                metadata: Some(Metadata {
                    filter_metadata: metadata,
                    ..Default::default()
                }),
                ..Default::default()
            })
        };
        let text = cluster().to_json().unwrap().to_string();
        assert!(
            text.contains(r#"{"a":{},"b":{},"c":{},"d":{},"e":{},"f":{}}"#),
            "{text}"
        );
        for _ in 0..10 {
            assert_eq!(cluster().to_json().unwrap().to_string(), text);
        }
    }
}
