//! The payload of each kind: one file a kind, one serde type for API, store, sync and world.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::kind::{Kind, Shape};
use crate::policy::relative_path;
use crate::reading::readable;
use crate::violation::{Violations, unknown_field};

pub mod config;
pub mod dataplane;
pub mod dataplane_insight;
pub mod hostname_generator;
pub mod mesh;
pub mod mesh_access_log;
pub mod mesh_circuit_breaker;
pub mod mesh_external_service;
pub mod mesh_fault_injection;
pub mod mesh_health_check;
pub mod mesh_http_route;
pub mod mesh_load_balancing_strategy;
pub mod mesh_metric;
pub mod mesh_multi_zone_service;
pub mod mesh_multi_zone_service_insight;
pub mod mesh_passthrough;
pub mod mesh_proxy_patch;
pub mod mesh_rate_limit;
pub mod mesh_retry;
pub mod mesh_service;
pub mod mesh_tcp_route;
pub mod mesh_timeout;
pub mod mesh_tls;
pub mod mesh_trace;
pub mod mesh_traffic_permission;
mod number;
pub mod presence;
mod prometheus;
pub mod secret;
pub mod zone;
pub mod zone_egress;
pub mod zone_ingress;
pub mod zone_insight;

/// A typed payload.
pub trait Spec: Serialize + DeserializeOwned + Default + Clone + Send + Sync + 'static {
    /// The kind whose payload this is.
    const KIND: Kind;

    /// Fills in what the schema prescribes where the user said nothing.
    fn set_defaults(&mut self) {}

    /// Adds what the user should know about a valid payload; `root` as in [`Spec::validate`].
    fn warn(&self, _root: &str, _warnings: &mut Vec<String>) {}

    /// Adds every violation; `root` is the prefix of all paths: `spec.` or "".
    fn validate(&self, root: &str, violations: &mut Violations);

    /// Parses a payload, fills in schema defaults and checks it.
    ///
    /// # Errors
    /// All violations.
    fn check_payload(payload: &Value) -> Result<Checked, Violations> {
        check::<Self>(payload)
    }

    /// The payload as JSON. Never fails: our types have string keys only; should that ever break, the result is null,
    /// which no reader accepts.
    fn to_value(&self) -> Value {
        serde_json::to_value(self).unwrap_or(Value::Null)
    }

    /// Parses without semantic checks.
    ///
    /// # Errors
    /// The path of the first field whose type does not fit.
    fn from_value(value: &Value) -> Result<Self, Violations> {
        parse(value, &mut |_| ())
    }
}

/// A payload that passed all checks.
#[derive(Clone, Debug)]
pub struct Checked {
    /// The payload with defaults filled in and unknown fields dropped.
    pub spec: Value,
    /// Unknown fields and fields that act otherwise than their name says, for the user's eyes.
    pub warnings: Vec<String>,
}

fn check<T: Spec>(payload: &Value) -> Result<Checked, Violations> {
    let root = root_of(T::KIND);
    let mut unknown = Vec::new();
    let parsed = parse(payload, &mut |path| unknown.push(format!("{root}{path}")));
    let mut spec: T = parsed.map_err(|violations| violations.beside_unknown(&unknown))?;
    spec.set_defaults();
    let mut violations = Violations::new();
    spec.validate(root, &mut violations);
    violations
        .into_result()
        .map_err(|violations| violations.beside_unknown(&unknown))?;
    let mut warnings: Vec<_> = unknown.iter().map(|path| unknown_field(path)).collect();
    spec.warn(root, &mut warnings);
    Ok(Checked {
        spec: spec.to_value(),
        warnings,
    })
}

fn parse<T: Spec>(payload: &Value, unknown: &mut dyn FnMut(String)) -> Result<T, Violations> {
    let root = root_of(T::KIND);
    if !payload.is_object() {
        return Err(Violations::one(
            root.trim_end_matches('.'),
            format!("must be an object, is {}", type_of(payload)),
        ));
    }
    let mut track = serde_path_to_error::Track::new();
    let tracked = serde_path_to_error::Deserializer::new(payload, &mut track);
    let result = serde_ignored::deserialize(tracked, |path| unknown(relative_path(&path)));
    result.map_err(|error| {
        let path = track.path().to_string();
        let path = if path == "." {
            root.trim_end_matches('.').to_owned()
        } else {
            format!("{root}{path}")
        };
        Violations::one(path, readable(&error.to_string()))
    })
}

fn root_of(kind: Kind) -> &'static str {
    match kind.info().shape {
        Shape::Spec => "spec.",
        Shape::Flat => "",
    }
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "absent",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// For `skip_serializing_if`: true for the value that proto3 JSON and our own kinds leave out.
pub(crate) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Checks a port number.
pub(crate) fn check_port(port: u32, path: impl Into<String>, violations: &mut Violations) {
    if !(1..=65535).contains(&port) {
        violations.add(path, format!("is {port}, must be a port number from 1 to 65535"));
    }
}
