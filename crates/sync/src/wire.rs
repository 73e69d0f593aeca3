//! A resource as it travels: `KumaResource` in a discovery `Resource` (`spec/zone-sync.md` §1.2, §1.3).

use std::sync::Arc;

use bytes::Bytes;
use meshspan_model::{Kind, Resource, Violations, name};
use prost::Message as _;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::key::WireKey;
use crate::payload::{self, PayloadError};
use crate::proto::discovery::{self, Any};
use crate::proto::kds::{KumaResource, kuma_resource::Meta};

const KUMA_RESOURCE: &str = "type.googleapis.com/kuma.mesh.v1alpha1.KumaResource";
const TYPE_PREFIX: &str = "type.googleapis.com/";

/// Hash of a resource's bytes, opaque to the peer.
pub type Version = Arc<str>;

/// A received resource that cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// The envelope is missing or broken.
    #[error("is no KumaResource: {0}")]
    Envelope(String),
    /// Name or mesh are not possible.
    #[error("{field}: {reason}")]
    Header {
        /// `name` or `mesh`.
        field: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// The payload cannot be read.
    #[error(transparent)]
    Payload(#[from] PayloadError),
    /// JSON of a spec or status that is none.
    #[error("{field} is no JSON: {detail}")]
    Json {
        /// `spec` or `status`.
        field: &'static str,
        /// What is wrong.
        detail: String,
    },
    /// The payload does not pass the checks of its kind.
    #[error(transparent)]
    Invalid(#[from] Violations),
}

/// Encodes a resource that has its travelling name and labels; its status only if `with_status`.
///
/// # Errors
/// [`PayloadError`] if the payload does not fit the protobuf form of its kind.
pub fn encode(resource: &Resource, with_status: bool) -> Result<discovery::Resource, PayloadError> {
    let spec = match payload::message_name(resource.kind) {
        Some(message) => {
            let value = Bytes::from(payload::to_protobuf(resource.kind, &resource.spec)?);
            Any {
                type_url: format!("{TYPE_PREFIX}{message}"),
                value,
            }
        }
        None => json(&resource.spec),
    };
    let status = resource
        .status
        .as_ref()
        .filter(|_| with_status && resource.kind.info().has_status)
        .map(json);
    let meta = Meta {
        name: resource.name.clone(),
        mesh: resource.mesh.clone(),
        version: String::new(),
        labels: resource.labels.clone(),
    };
    let bytes = Bytes::from(
        KumaResource {
            meta: Some(meta),
            spec: Some(spec),
            status,
        }
        .encode_to_vec(),
    );
    let version = Sha256::digest(&bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    Ok(discovery::Resource {
        version,
        resource: Some(Any {
            type_url: KUMA_RESOURCE.to_owned(),
            value: bytes,
        }),
        name: String::new(),
    })
}

fn json(value: &Value) -> Any {
    Any {
        type_url: String::new(),
        value: Bytes::from(value.to_string()),
    }
}

/// Name and mesh of a received resource, for messages about one that cannot be decoded further.
pub fn decode_key(resource: &discovery::Resource) -> Option<WireKey> {
    let meta = KumaResource::decode(resource.resource.as_ref()?.value.clone())
        .ok()?
        .meta?;
    Some(WireKey {
        mesh: meta.mesh,
        name: meta.name,
    })
}

/// Decodes and checks a resource of a type that was asked for. The payload has the checked form of its kind.
///
/// # Errors
/// [`DecodeError`] with what is wrong.
pub fn decode(kind: Kind, resource: &discovery::Resource) -> Result<Resource, DecodeError> {
    let any = resource
        .resource
        .as_ref()
        .ok_or_else(|| DecodeError::Envelope("resource is missing".to_owned()))?;
    let message = KumaResource::decode(any.value.clone()).map_err(|error| DecodeError::Envelope(error.to_string()))?;
    let meta = message
        .meta
        .ok_or_else(|| DecodeError::Envelope("meta is missing".to_owned()))?;
    let header = |field, result: Result<(), String>| result.map_err(|reason| DecodeError::Header { field, reason });
    // Old control planes allow more characters in names than we do.
    header("name", name::check_mesh_reference(&meta.name))?;
    if kind.is_mesh_scoped() {
        header("mesh", name::check_mesh_reference(&meta.mesh))?;
    }
    let spec = message.spec.unwrap_or_default();
    let payload = match payload::message_name(kind) {
        Some(expected) => {
            if spec.type_url.strip_prefix(TYPE_PREFIX) != Some(expected.as_str()) {
                return Err(DecodeError::Envelope(format!(
                    "spec has type_url \"{}\", must be {TYPE_PREFIX}{expected}",
                    spec.type_url
                )));
            }
            payload::from_protobuf(kind, &spec.value)?
        }
        None => parse_json("spec", &spec.value)?,
    };
    let mut decoded = Resource::new(kind, meta.mesh, meta.name, kind.check(&payload)?.spec);
    decoded.labels = meta.labels;
    if let Some(status) = message
        .status
        .filter(|status| kind.info().has_status && !status.value.is_empty())
    {
        decoded.status = Some(parse_json("status", &status.value)?);
    }
    Ok(decoded)
}

fn parse_json(field: &'static str, bytes: &[u8]) -> Result<Value, DecodeError> {
    serde_json::from_slice(bytes).map_err(|error| DecodeError::Json {
        field,
        detail: error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use meshspan_model::labels;
    use serde_json::json;

    use super::*;

    #[test]
    fn envelope_is_bit_exact() {
        let resource = Resource::new(Kind::Config, "", "kuma-cluster-id", json!({"config": "x"}))
            .with_label("b", "2")
            .with_label("a", "1");
        let encoded = encode(&resource, true).unwrap();
        let bytes = &encoded.resource.as_ref().unwrap().value;
        let type_url = b"type.googleapis.com/kuma.system.v1alpha1.Config";
        let mut meta = vec![0x0a, 15];
        meta.extend_from_slice(b"kuma-cluster-id");
        meta.extend_from_slice(&[
            0x32, 6, 0x0a, 1, b'a', 0x12, 1, b'1', 0x32, 6, 0x0a, 1, b'b', 0x12, 1, b'2',
        ]);
        let mut spec = vec![0x0a, type_url.len() as u8];
        spec.extend_from_slice(type_url);
        spec.extend_from_slice(&[0x12, 3, 0x0a, 1, b'x']);
        let mut expected = vec![0x0a, meta.len() as u8];
        expected.extend_from_slice(&meta);
        expected.extend_from_slice(&[0x12, spec.len() as u8]);
        expected.extend_from_slice(&spec);
        assert_eq!(bytes.as_ref(), expected);
        assert_eq!(encoded.version.len(), 64);
        assert_eq!(
            encoded.version,
            Sha256::digest(&expected)
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect::<String>()
        );
        assert_eq!(encoded.name, "");
    }

    #[test]
    fn plugin_kinds_travel_as_json_and_keep_their_status_if_asked() {
        let spec = json!({"state": "Available", "selector": {}, "ports": [{"port": 6379, "appProtocol": "tcp"}]});
        let mut resource = Resource::new(Kind::MeshService, "default", "redis", spec).with_label(labels::ZONE, "west");
        resource.status = Some(json!({"vips": [{"ip": "241.0.0.1"}]}));
        let with = decode(Kind::MeshService, &encode(&resource, true).unwrap()).unwrap();
        assert_eq!(
            (&with.spec, &with.status, &with.labels),
            (&resource.spec, &resource.status, &resource.labels)
        );
        let without = encode(&resource, false).unwrap();
        assert_eq!(decode(Kind::MeshService, &without).unwrap().status, None);
        let message = KumaResource::decode(without.resource.unwrap().value).unwrap();
        assert_eq!(message.spec.unwrap().type_url, "");
    }

    #[test]
    fn broken_resources_are_refused_with_the_reason() {
        let good = Resource::new(Kind::MeshService, "default", "redis", json!({"ports": [{"port": 0}]}));
        let error = decode(Kind::MeshService, &encode(&good, false).unwrap()).unwrap_err();
        assert!(error.to_string().contains("spec.ports[0].port"), "{error}");
        let nameless = Resource::new(Kind::MeshService, "default", "", json!({}));
        assert!(
            decode(Kind::MeshService, &encode(&nameless, false).unwrap())
                .unwrap_err()
                .to_string()
                .starts_with("name:")
        );
        let wrong = Resource::new(Kind::Config, "", "x", json!({"config": "x"}));
        assert!(
            decode(Kind::Mesh, &encode(&wrong, false).unwrap())
                .unwrap_err()
                .to_string()
                .contains("type_url")
        );
        assert!(decode(Kind::Mesh, &discovery::Resource::default()).is_err());
    }
}
