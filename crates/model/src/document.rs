//! The documents that users write and read: YAML or JSON, Universal or Kubernetes form (`spec/resources.md` §1.1, §1.2).

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::kind::{Kind, Shape};
use crate::labels;
use crate::reading::{UniqueKeys, yaml_error};
use crate::resource::Resource;
use crate::violation::{Violations, unknown_field};

/// Largest document that is read, in bytes.
pub const MAX_DOCUMENT: usize = 4 << 20;

const API_VERSION: &str = "kuma.io/v1alpha1";
const DEFAULT_MESH: &str = "default";

/// A document as a resource, with what the user should know about it.
#[derive(Clone, Debug)]
pub struct Parsed {
    /// The resource; its status is what the document says.
    pub resource: Resource,
    /// Unknown fields and the like.
    pub warnings: Vec<String>,
}

/// Why a text holds no documents.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SyntaxError {
    /// Larger than [`MAX_DOCUMENT`].
    #[error("the text has {0} bytes, at most {MAX_DOCUMENT} are read; split it into several files")]
    TooLarge(usize),
    /// Neither YAML nor JSON.
    #[error("invalid YAML: {0}")]
    Yaml(String),
    /// No JSON, or an object has a key twice.
    #[error("invalid JSON: {0}")]
    Json(String),
}

/// Splits a text into documents; empty documents are left out. JSON is YAML.
///
/// # Errors
/// Where the text stops being YAML.
pub fn split(text: &str) -> Result<Vec<Value>, SyntaxError> {
    if text.len() > MAX_DOCUMENT {
        return Err(SyntaxError::TooLarge(text.len()));
    }
    let documents: Vec<Value> =
        serde_saphyr::from_multiple(text).map_err(|error| SyntaxError::Yaml(yaml_error(&error)))?;
    Ok(documents.into_iter().filter(|document| !document.is_null()).collect())
}

/// Parses one JSON document. A key that an object has twice is refused, as in YAML: one of the values would be lost.
///
/// # Errors
/// Where the text stops being JSON.
pub fn parse_json(text: &[u8]) -> Result<Value, SyntaxError> {
    if text.len() > MAX_DOCUMENT {
        return Err(SyntaxError::TooLarge(text.len()));
    }
    match serde_json::from_slice(text) {
        Ok(UniqueKeys(value)) => Ok(value),
        Err(error) => Err(SyntaxError::Json(error.to_string())),
    }
}

/// Reads one document in either form and checks it, header and payload.
///
/// # Errors
/// All violations.
pub fn read(document: &Value) -> Result<Parsed, Violations> {
    let Some(object) = document.as_object() else {
        return Err(Violations::one(
            "",
            "a resource must be an object with type and name, or apiVersion, kind and metadata",
        ));
    };
    if object.contains_key("apiVersion") || object.contains_key("kind") {
        read_kubernetes(object)
    } else {
        read_universal(object)
    }
}

fn read_universal(object: &Map<String, Value>) -> Result<Parsed, Violations> {
    let mut violations = Violations::new();
    let kind = read_kind(object, "type", &mut violations);
    let name = read_text(object, "name", "name", &mut violations).unwrap_or_default();
    if name.is_empty() && violations.iter().all(|violation| violation.field != "name") {
        violations.add("name", "must be defined");
    }
    let mesh = read_text(object, "mesh", "mesh", &mut violations);
    let labels = read_labels(object, "labels", &mut violations);
    let Some(kind) = kind else {
        return Err(violations);
    };
    let mesh = check_mesh(kind, mesh, "mesh", &mut violations);
    let (payload, status) = match kind.info().shape {
        Shape::Spec => {
            let status = object.get("status").filter(|status| !status.is_null()).cloned();
            (object.get("spec").cloned().unwrap_or(Value::Null), status)
        }
        Shape::Flat => {
            let mut payload = object.clone();
            for header in [
                "type",
                "name",
                "mesh",
                "labels",
                "creationTime",
                "modificationTime",
                "kri",
            ] {
                payload.shift_remove(header);
            }
            (Value::Object(payload), None)
        }
    };
    let unknown = match kind.info().shape {
        Shape::Spec => unknown_fields(
            object,
            &[
                "type",
                "name",
                "mesh",
                "labels",
                "creationTime",
                "modificationTime",
                "kri",
                "spec",
                "status",
            ],
        ),
        Shape::Flat => Vec::new(),
    };
    finish(kind, mesh, name, labels, &payload, status, unknown, violations)
}

fn read_kubernetes(object: &Map<String, Value>) -> Result<Parsed, Violations> {
    let mut violations = Violations::new();
    match object.get("apiVersion").and_then(Value::as_str) {
        Some(API_VERSION) => {}
        Some("v1") if secret_kind(object).is_some() => {}
        Some(other) => violations.add("apiVersion", format!("is \"{other}\", must be \"{API_VERSION}\"")),
        None => violations.add("apiVersion", format!("must be \"{API_VERSION}\"")),
    }
    let kind = match secret_kind(object) {
        Some(kind) => Some(kind),
        None => read_kind(object, "kind", &mut violations),
    };
    let empty = Map::new();
    let metadata = match object.get("metadata") {
        Some(Value::Object(metadata)) => metadata,
        None | Some(Value::Null) => {
            violations.add("metadata", "must be defined");
            &empty
        }
        Some(_) => {
            violations.add("metadata", "must be an object");
            &empty
        }
    };
    let name = read_text(metadata, "name", "metadata.name", &mut violations).unwrap_or_default();
    if name.is_empty() {
        violations.add("metadata.name", "must be defined");
    }
    let namespace = read_text(metadata, "namespace", "metadata.namespace", &mut violations);
    let mut labels = read_labels(metadata, "metadata.labels", &mut violations);
    if let Some(display) = metadata
        .get("annotations")
        .and_then(|annotations| annotations.get(labels::DISPLAY_NAME))
        .and_then(Value::as_str)
    {
        labels.insert(labels::DISPLAY_NAME.to_owned(), display.to_owned());
    }
    let Some(kind) = kind else {
        return Err(violations);
    };
    let is_core_secret = secret_kind(object).is_some();
    let mesh = match kind.info().shape {
        _ if is_core_secret => labels.remove(labels::MESH).or_else(|| Some(DEFAULT_MESH.to_owned())),
        Shape::Spec => labels
            .get(labels::MESH)
            .cloned()
            .or_else(|| Some(DEFAULT_MESH.to_owned())),
        Shape::Flat => read_text(object, "mesh", "mesh", &mut violations),
    };
    let mesh = check_mesh(kind, mesh.filter(|_| kind.is_mesh_scoped()), "mesh", &mut violations);
    let status = object.get("status").filter(|status| !status.is_null()).cloned();
    let payload = match object.get("spec") {
        _ if is_core_secret => {
            let value = object.get("data").and_then(|data| data.get("value"));
            json!({ "data": value.cloned().unwrap_or_default() })
        }
        Some(spec) if !spec.is_null() => spec.clone(),
        _ if kind.info().shape == Shape::Flat => json!({}),
        _ => Value::Null,
    };
    let known: &[&str] = match is_core_secret {
        true => &["apiVersion", "kind", "metadata", "type", "data"],
        false => &["apiVersion", "kind", "metadata", "mesh", "spec", "status"],
    };
    let unknown = unknown_fields(object, known);
    // Secrets and cluster-scoped kinds keep their plain name.
    let is_plain = is_core_secret || matches!(kind, Kind::Mesh | Kind::Zone);
    let core_name = match namespace.as_deref() {
        Some(namespace) if !namespace.is_empty() && !is_plain => {
            labels
                .entry(labels::DISPLAY_NAME.to_owned())
                .or_insert_with(|| name.clone());
            labels
                .entry(labels::NAMESPACE.to_owned())
                .or_insert_with(|| namespace.to_owned());
            format!("{name}.{namespace}")
        }
        _ => name,
    };
    finish(kind, mesh, core_name, labels, &payload, status, unknown, violations)
}

#[allow(clippy::too_many_arguments)]
fn finish(
    kind: Kind,
    mesh: String,
    name: String,
    labels: BTreeMap<String, String>,
    payload: &Value,
    status: Option<Value>,
    unknown: Vec<String>,
    mut violations: Violations,
) -> Result<Parsed, Violations> {
    let checked = kind.check(payload).map_err(|found| {
        let mut all = std::mem::take(&mut violations);
        all.extend(found);
        all.beside_unknown(&unknown)
    })?;
    violations.into_result().map_err(|all| all.beside_unknown(&unknown))?;
    let mut warnings: Vec<_> = unknown.iter().map(|path| unknown_field(path)).collect();
    warnings.extend(checked.warnings);
    let mut resource = Resource::new(kind, mesh, name, checked.spec);
    resource.labels = labels;
    resource.status = status.filter(|_| kind.info().has_status);
    Ok(Parsed { resource, warnings })
}

fn read_kind(object: &Map<String, Value>, field: &str, violations: &mut Violations) -> Option<Kind> {
    let text = read_text(object, field, field, violations)?;
    let kind = Kind::from_name(&text).filter(|kind| kind.info().in_api);
    if kind.is_none() {
        let known: Vec<_> = Kind::ALL
            .iter()
            .filter(|kind| kind.info().in_api)
            .map(|kind| kind.name())
            .collect();
        violations.add(
            field,
            format!("unknown kind \"{text}\", known are {}", known.join(", ")),
        );
    }
    kind
}

fn read_text(object: &Map<String, Value>, key: &str, path: &str, violations: &mut Violations) -> Option<String> {
    match object.get(key) {
        Some(Value::String(text)) => Some(text.clone()),
        None | Some(Value::Null) => {
            if matches!(key, "type" | "kind") {
                violations.add(path, "must be defined");
            }
            None
        }
        Some(_) => {
            violations.add(path, "must be a string; quote it");
            None
        }
    }
}

fn read_labels(object: &Map<String, Value>, path: &str, violations: &mut Violations) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::new();
    match object.get("labels") {
        None | Some(Value::Null) => {}
        Some(Value::Object(given)) => {
            for (key, value) in given {
                match value {
                    Value::Null => {}
                    Value::String(text) => {
                        labels.insert(key.clone(), text.clone());
                    }
                    _ => violations.add(format!("{path}[\"{key}\"]"), "must be a string; quote it"),
                }
            }
        }
        Some(_) => violations.add(path, "must be an object of strings"),
    }
    labels
}

fn check_mesh(kind: Kind, mesh: Option<String>, path: &str, violations: &mut Violations) -> String {
    if !kind.is_mesh_scoped() {
        if mesh.is_some_and(|mesh| !mesh.is_empty()) {
            violations.add(path, format!("must be absent: a {kind} does not belong to a mesh"));
        }
        return String::new();
    }
    let mesh = mesh.unwrap_or_default();
    if mesh.is_empty() {
        violations.add(path, "must be defined");
    } else if let Err(reason) = crate::name::check_mesh_reference(&mesh) {
        violations.add(path, reason);
    }
    mesh
}

fn unknown_fields(object: &Map<String, Value>, known: &[&str]) -> Vec<String> {
    let unknown = object.keys().filter(|key| !known.contains(&key.as_str()));
    unknown.cloned().collect()
}

/// The Universal form.
pub fn universal(resource: &Resource) -> Value {
    let mut object = Map::new();
    object.insert("type".into(), resource.kind.name().into());
    if resource.kind.is_mesh_scoped() {
        object.insert("mesh".into(), resource.mesh.as_str().into());
    }
    object.insert("name".into(), resource.name.as_str().into());
    object.insert("creationTime".into(), timestamp(resource.creation_time).into());
    object.insert("modificationTime".into(), timestamp(resource.modification_time).into());
    if !resource.labels.is_empty() {
        object.insert("labels".into(), json!(resource.labels));
    }
    if let Some(kri) = resource.kri() {
        object.insert("kri".into(), kri.to_string().into());
    }
    match resource.kind.info().shape {
        Shape::Flat => {
            for (key, value) in resource.spec.as_object().into_iter().flatten() {
                object.insert(key.clone(), value.clone());
            }
        }
        Shape::Spec => {
            object.insert("spec".into(), resource.spec.clone());
            if resource.kind.info().has_status {
                object.insert("status".into(), resource.status.clone().unwrap_or_else(|| json!({})));
            }
        }
    }
    Value::Object(object)
}

/// The Kubernetes form; `system_namespace` is where resources without a namespace of their own live.
pub fn kubernetes(resource: &Resource, system_namespace: &str) -> Value {
    let cluster_scoped = matches!(resource.kind, Kind::Mesh | Kind::Zone | Kind::ZoneInsight);
    let (name, namespace) = match resource.name.rsplit_once('.') {
        Some((name, namespace)) if resource.namespace() == namespace || system_namespace == namespace => {
            (name, namespace)
        }
        _ => (resource.name.as_str(), system_namespace),
    };
    let mut metadata = Map::new();
    metadata.insert(
        "name".into(),
        if cluster_scoped { resource.name.as_str() } else { name }.into(),
    );
    if !cluster_scoped {
        metadata.insert("namespace".into(), namespace.into());
    }
    metadata.insert("creationTimestamp".into(), timestamp(resource.creation_time).into());
    let mut labels = resource.labels.clone();
    if let Some(display) = labels.remove(labels::DISPLAY_NAME) {
        metadata.insert("annotations".into(), json!({ labels::DISPLAY_NAME: display }));
    }
    if resource.kind.is_mesh_scoped() {
        labels
            .entry(labels::MESH.to_owned())
            .or_insert_with(|| resource.mesh.clone());
    }
    if let Some(secret_type) = secret_type(resource.kind) {
        metadata.insert("labels".into(), json!(labels));
        let data = resource.spec.get("data").cloned().unwrap_or_default();
        return json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": secret_type, "data": {"value": data}});
    }
    if !labels.is_empty() {
        metadata.insert("labels".into(), json!(labels));
    }
    let mut object = Map::new();
    object.insert("apiVersion".into(), API_VERSION.into());
    object.insert("kind".into(), resource.kind.name().into());
    if resource.kind.is_mesh_scoped() && resource.kind.info().shape == Shape::Flat {
        object.insert("mesh".into(), resource.mesh.as_str().into());
    }
    object.insert("metadata".into(), Value::Object(metadata));
    object.insert("spec".into(), resource.spec.clone());
    if let Some(status) = &resource.status {
        object.insert("status".into(), status.clone());
    }
    Value::Object(object)
}

/// The kind of a core/v1 Secret that holds a secret of ours.
fn secret_kind(object: &Map<String, Value>) -> Option<Kind> {
    if object.get("kind").and_then(Value::as_str) != Some("Secret") {
        return None;
    }
    let wanted = object.get("type").and_then(Value::as_str)?;
    [Kind::Secret, Kind::GlobalSecret]
        .into_iter()
        .find(|kind| secret_type(*kind) == Some(wanted))
}

fn secret_type(kind: Kind) -> Option<&'static str> {
    match kind {
        Kind::Secret => Some("system.kuma.io/secret"),
        Kind::GlobalSecret => Some("system.kuma.io/global-secret"),
        _ => None,
    }
}

/// RFC 3339 in UTC. Never fails for times that a store can hold; years beyond 9999 print as the epoch.
pub fn timestamp(time: OffsetDateTime) -> String {
    time.to_offset(time::UtcOffset::UTC)
        .format(&Rfc3339)
        .unwrap_or_else(|_| "1970-01-01T00:00:00Z".to_owned())
}

#[cfg(test)]
#[path = "document_tests.rs"]
mod tests;
