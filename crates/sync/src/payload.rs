//! Payloads of flat kinds as protobuf: canonical proto3 JSON to bytes and back, with the descriptors of `proto/`.

use std::sync::LazyLock;

use meshspan_model::duration;
use meshspan_model::kind::{Kind, Shape};
use prost_reflect::{DescriptorPool, DeserializeOptions, DynamicMessage, Kind as FieldKind, MessageDescriptor};
use serde_json::{Number, Value};

mod deterministic;

/// A payload that cannot be converted.
#[derive(Debug, thiserror::Error)]
pub enum PayloadError {
    /// The kind has no protobuf form.
    #[error("{0} has no protobuf form")]
    NoMessage(Kind),
    /// The JSON does not fit the message.
    #[error("the payload does not fit {message}: {detail}")]
    Json {
        /// Full name of the message.
        message: String,
        /// What does not fit, with the place.
        detail: String,
    },
    /// The bytes are no such message.
    #[error("the payload is no valid {message}: {detail}")]
    Bytes {
        /// Full name of the message.
        message: String,
        /// What is wrong.
        detail: String,
    },
}

static POOL: LazyLock<Option<DescriptorPool>> =
    LazyLock::new(|| DescriptorPool::decode(include_bytes!(concat!(env!("OUT_DIR"), "/payloads.bin")).as_slice()).ok());

/// Full name of the message of a flat kind; `None` for kinds that travel as JSON.
pub fn message_name(kind: Kind) -> Option<String> {
    if kind.info().shape == Shape::Spec {
        return None;
    }
    Some(match kind {
        Kind::Secret | Kind::GlobalSecret => "kuma.system.v1alpha1.Secret".to_owned(),
        Kind::Config | Kind::Zone | Kind::ZoneInsight => format!("kuma.system.v1alpha1.{kind}"),
        _ => format!("kuma.mesh.v1alpha1.{kind}"),
    })
}

fn descriptor(kind: Kind) -> Result<MessageDescriptor, PayloadError> {
    let name = message_name(kind).ok_or(PayloadError::NoMessage(kind))?;
    POOL.as_ref()
        .and_then(|pool| pool.get_message_by_name(&name))
        .ok_or(PayloadError::NoMessage(kind))
}

/// Encodes a payload; equal payloads give equal bytes. Unknown fields are left out.
///
/// # Errors
/// [`PayloadError`] if a value does not fit its field.
pub fn to_protobuf(kind: Kind, payload: &Value) -> Result<Vec<u8>, PayloadError> {
    let descriptor = descriptor(kind)?;
    let mut json = payload.clone();
    canonical_durations(&mut json, &descriptor);
    let options = DeserializeOptions::new().deny_unknown_fields(false);
    let message = DynamicMessage::deserialize_with_options(descriptor.clone(), json, &options).map_err(|error| {
        PayloadError::Json {
            message: descriptor.full_name().to_owned(),
            detail: error.to_string(),
        }
    })?;
    Ok(deterministic::encode(&message))
}

/// Decodes a payload into JSON; unknown fields are left out.
///
/// # Errors
/// [`PayloadError`] if the bytes are no such message.
pub fn from_protobuf(kind: Kind, bytes: &[u8]) -> Result<Value, PayloadError> {
    let descriptor = descriptor(kind)?;
    let name = descriptor.full_name().to_owned();
    let message = DynamicMessage::decode(descriptor, bytes).map_err(|error| PayloadError::Bytes {
        message: name.clone(),
        detail: error.to_string(),
    })?;
    let mut json = serde_json::to_value(&message).map_err(|error| PayloadError::Bytes {
        message: name,
        detail: error.to_string(),
    })?;
    integers(&mut json);
    if kind == Kind::Mesh {
        explicit_mesh_services_mode(&mut json);
    }
    Ok(json)
}

/// proto3 JSON leaves out the zero value `Disabled`, while for us an absent mode means `Exclusive`.
fn explicit_mesh_services_mode(mesh: &mut Value) {
    if let Some(services) = mesh.get_mut("meshServices").and_then(Value::as_object_mut) {
        services.entry("mode").or_insert_with(|| "Disabled".into());
    }
}

/// Users write durations as Go does (`1m30s`), proto3 JSON knows only seconds (`90s`).
fn canonical_durations(json: &mut Value, descriptor: &MessageDescriptor) {
    let Some(object) = json.as_object_mut() else { return };
    for field in descriptor.fields() {
        let FieldKind::Message(message) = field.kind() else {
            continue;
        };
        for name in [field.json_name(), field.name()] {
            let Some(value) = object.get_mut(name) else { continue };
            match value {
                Value::Array(items) => items.iter_mut().for_each(|item| canonical_duration(item, &message)),
                value => canonical_duration(value, &message),
            }
        }
    }
}

fn canonical_duration(value: &mut Value, message: &MessageDescriptor) {
    if message.full_name() == "google.protobuf.Duration" {
        if let Some(duration) = value.as_str().and_then(|text| duration::parse(text).ok()) {
            *value = match duration.subsec_nanos() {
                0 => format!("{}s", duration.as_secs()),
                nanos => format!("{}.{nanos:09}s", duration.as_secs()),
            }
            .into();
        }
    } else if !message.is_map_entry() && message.package_name() != "google.protobuf" {
        canonical_durations(value, message);
    }
}

/// Numbers of a `Struct` are doubles; those without a fraction are printed as integers, as the reference does.
fn integers(json: &mut Value) {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    match json {
        Value::Number(number) => {
            if let Some(value) = number
                .as_f64()
                .filter(|value| number.is_f64() && value.fract() == 0.0 && value.abs() <= EXACT)
            {
                #[allow(clippy::cast_possible_truncation, reason = "checked to be integral and within 2^53")]
                let integer = value as i64;
                *number = Number::from(integer);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(integers),
        Value::Object(fields) => fields.values_mut().for_each(integers),
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
#[path = "payload/tests.rs"]
mod tests;
