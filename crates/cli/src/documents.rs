//! `-f`: files, folders and standard input as checked resources.
//!
//! Everything is read and checked before anything is sent, and all problems are reported at once.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use meshspan_model::document::{self, MAX_DOCUMENT};
use meshspan_model::{Resource, Shape, labels, name};
use serde_json::{Map, Value, json};

use crate::variables;

/// Deepest folder below a given one that is read; deeper ones are most likely a link that leads back.
const MAX_DEPTH: usize = 32;

/// Most files that one command reads.
const MAX_FILES: usize = 10_000;

/// Namespaces in which Kubernetes control planes of Kuma and Kong Mesh keep their own resources.
const SYSTEM_NAMESPACES: [&str; 2] = ["kuma-system", "kong-mesh-system"];

/// A resource that a user wrote.
#[derive(Clone, Debug)]
pub struct Document {
    /// Where it stands, for people.
    pub origin: String,
    /// What it says, with defaults filled in.
    pub resource: Resource,
    /// What is sent: Universal form, payload exactly as written, so that a newer server sees fields that this program does not know.
    pub body: Value,
    /// Unknown fields and the like.
    pub warnings: Vec<String>,
    /// False if the payload says more than `resource` does.
    pub is_understood: bool,
}

impl fmt::Display for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.resource.key().fmt(f)
    }
}

/// Everything that is wrong with what was read.
#[derive(Clone, Debug, Default, PartialEq, Eq, thiserror::Error)]
pub struct Unreadable {
    /// Each with its place.
    pub problems: Vec<String>,
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "nothing was sent, because not everything could be read:")?;
        self.problems.iter().try_for_each(|problem| write!(f, "\n{problem}"))
    }
}

/// Reads every document of every source, in the order given. A source is a file, a folder (everything below it named `*.yaml`, `*.yml` or
/// `*.json`, sorted by path, hidden folders left out) or `-` for `input`.
///
/// # Errors
/// All problems of all sources.
pub fn read(
    sources: &[String],
    variables: &BTreeMap<String, String>,
    input: &mut dyn Read,
) -> Result<Vec<Document>, Unreadable> {
    let mut documents = Vec::new();
    let mut problems = Vec::new();
    for source in sources {
        let texts = if source == "-" {
            vec![("standard input".to_owned(), read_text(input).map_err(|e| e.to_string()))]
        } else {
            read_path(Path::new(source))
        };
        for (origin, text) in texts {
            let parsed = text.and_then(|text| parse(&origin, &text, variables));
            match parsed {
                Ok(results) => {
                    for result in results {
                        match result {
                            Ok(document) => documents.push(document),
                            Err(problem) => problems.push(problem),
                        }
                    }
                }
                Err(problem) => problems.push(format!("{origin}: {problem}")),
            }
        }
    }
    if documents.is_empty() && problems.is_empty() {
        problems.push(format!("{}: no document in it", sources.join(", ")));
    }
    if problems.is_empty() {
        Ok(documents)
    } else {
        Err(Unreadable { problems })
    }
}

fn read_path(path: &Path) -> Vec<(String, Result<String, String>)> {
    let origin = path.display().to_string();
    if !path.is_dir() {
        return vec![(origin, read_file(path))];
    }
    let mut files = Vec::new();
    if let Err(problem) = collect(path, 0, &mut files) {
        return vec![(origin, Err(problem))];
    }
    if files.is_empty() {
        let problem = "no file named *.yaml, *.yml or *.json in this folder".to_owned();
        return vec![(origin, Err(problem))];
    }
    files.sort();
    files
        .into_iter()
        .map(|file| (file.display().to_string(), read_file(&file)))
        .collect()
}

fn collect(folder: &Path, depth: usize, files: &mut Vec<PathBuf>) -> Result<(), String> {
    if depth > MAX_DEPTH {
        return Err(format!(
            "{} is more than {MAX_DEPTH} folders deep: does a link lead back?",
            folder.display()
        ));
    }
    let unreadable = |error: io::Error| format!("{} cannot be read: {error}", folder.display());
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        let path = entry.path();
        if path.is_dir() {
            if !entry.file_name().to_string_lossy().starts_with('.') {
                collect(&path, depth + 1, files)?;
            }
        } else if path
            .extension()
            .is_some_and(|ext| ext == "yaml" || ext == "yml" || ext == "json")
        {
            files.push(path);
        }
        if files.len() > MAX_FILES {
            return Err(format!("more than {MAX_FILES} files: apply parts of this folder"));
        }
    }
    Ok(())
}

fn read_file(path: &Path) -> Result<String, String> {
    let mut file = fs::File::open(path).map_err(|error| format!("cannot be read: {error}"))?;
    read_text(&mut file).map_err(|error| format!("cannot be read: {error}"))
}

fn read_text(from: &mut dyn Read) -> io::Result<String> {
    let mut text = String::new();
    // One byte more than allowed, so that the parser says that it is too much.
    from.take(MAX_DOCUMENT as u64 + 1).read_to_string(&mut text)?;
    Ok(text)
}

fn parse(
    origin: &str,
    text: &str,
    variables: &BTreeMap<String, String>,
) -> Result<Vec<Result<Document, String>>, String> {
    let text = variables::render(text, variables).map_err(|error| error.to_string())?;
    let values = document::split(&text).map_err(|error| error.to_string())?;
    let values: Vec<Value> = values.into_iter().flat_map(list_items).collect();
    let several = values.len() > 1;
    let place = |index: usize| match several {
        true => format!("{origin}, document {}", index + 1),
        false => origin.to_owned(),
    };
    let documents = values.iter().enumerate();
    Ok(documents.map(|(index, value)| check(place(index), value)).collect())
}

/// The items of a list as `get -o yaml` prints it; anything else as it is.
fn list_items(value: Value) -> Vec<Value> {
    match value {
        Value::Object(mut list) if !list.contains_key("type") && !list.contains_key("kind") => {
            match list.get_mut("items").map(Value::take) {
                Some(Value::Array(items)) => items,
                _ => vec![Value::Object(list)],
            }
        }
        other => vec![other],
    }
}

fn check(origin: String, value: &Value) -> Result<Document, String> {
    let parsed = document::read(value).map_err(|violations| {
        let mut problem = format!("{origin}: {} is not valid", describe(value));
        for violation in violations.iter() {
            match violation.field.as_str() {
                "" => problem.push_str(&format!("\n* {}", violation.message)),
                field => problem.push_str(&format!("\n* {field}: {}", violation.message)),
            }
        }
        problem
    })?;
    let mut resource = parsed.resource;
    strip_system_namespace(value, &mut resource);
    let is_understood = parsed.warnings.is_empty();
    let mut warnings = parsed.warnings;
    warnings.extend(namespace_warning(value, &resource));
    let body = universal(value, &resource);
    Ok(Document {
        origin,
        resource,
        body,
        warnings,
        is_understood,
    })
}

/// What is wrong with the name and the labels of a document, as far as that can be known without a control plane.
pub fn problems_of_names(document: &Document) -> Vec<String> {
    let resource = &document.resource;
    let mut problems = Vec::new();
    if let Err(reason) = name::check_resource_name(resource) {
        problems.push(format!("{document}: name: {reason}"));
    }
    for (key, value) in &resource.labels {
        let is_name = key == labels::DISPLAY_NAME;
        for reason in [name::check_label_key(key), name::check_label_value(value)] {
            if let (Err(reason), false) = (reason, is_name) {
                problems.push(format!("{document}: labels[\"{key}\"]: {reason}"));
            }
        }
    }
    problems
}

/// Kind and name as far as a document that is not valid has them.
fn describe(value: &Value) -> String {
    let text = |pointer: &str| value.pointer(pointer).and_then(Value::as_str);
    let kind = text("/type").or_else(|| text("/kind")).unwrap_or("the document");
    match text("/name").or_else(|| text("/metadata/name")) {
        Some(name) => format!("{kind} {name}"),
        None => kind.to_owned(),
    }
}

/// The Kubernetes form of a resource in the system namespace is the same resource as its Universal form.
///
/// Only Universal control planes take writes through the REST API (on Kubernetes it is read-only), and they know no system
/// namespace, so the core name `<name>.kuma-system` never makes sense here. The display name that goes with it is what the server
/// computes anyway.
fn strip_system_namespace(value: &Value, resource: &mut Resource) {
    let namespace = value
        .pointer("/metadata/namespace")
        .and_then(Value::as_str)
        .unwrap_or_default();
    if !SYSTEM_NAMESPACES.contains(&namespace) {
        return;
    }
    if let Some(name) = resource
        .name
        .strip_suffix(namespace)
        .and_then(|name| name.strip_suffix('.'))
    {
        resource.name = name.to_owned();
        resource.labels.remove(labels::NAMESPACE);
        if resource.labels.get(labels::DISPLAY_NAME) == Some(&resource.name) {
            resource.labels.remove(labels::DISPLAY_NAME);
        }
    }
}

/// What becomes of `metadata.namespace`, where that may surprise.
fn namespace_warning(value: &Value, resource: &Resource) -> Option<String> {
    let namespace = value.pointer("/metadata/namespace").and_then(Value::as_str)?;
    if namespace.is_empty() || SYSTEM_NAMESPACES.contains(&namespace) {
        return None;
    }
    Some(match resource.namespace() {
        "" => format!(
            "metadata.namespace: a {} belongs to no namespace; \"{namespace}\" is ignored",
            resource.kind
        ),
        _ => format!(
            "metadata.namespace: there are no namespaces outside of Kubernetes; it becomes label {} and the end of the name, \"{}\"",
            labels::NAMESPACE,
            resource.name
        ),
    })
}

/// The Universal form with the payload as written; no status, no times: both belong to the server.
fn universal(value: &Value, resource: &Resource) -> Value {
    const HEADER: [&str; 8] = [
        "type",
        "name",
        "mesh",
        "labels",
        "creationTime",
        "modificationTime",
        "kri",
        "status",
    ];
    let mut body = Map::new();
    body.insert("type".into(), resource.kind.name().into());
    if resource.kind.is_mesh_scoped() {
        body.insert("mesh".into(), resource.mesh.as_str().into());
    }
    body.insert("name".into(), resource.name.as_str().into());
    if !resource.labels.is_empty() {
        body.insert("labels".into(), json!(resource.labels));
    }
    let is_kubernetes = value.get("apiVersion").is_some();
    let payload = if is_kubernetes { value.get("spec") } else { Some(value) };
    match resource.kind.info().shape {
        Shape::Spec => {
            let spec = value.get("spec").cloned().unwrap_or_else(|| json!({}));
            body.insert("spec".into(), spec);
        }
        Shape::Flat => {
            for (key, field) in payload.and_then(Value::as_object).into_iter().flatten() {
                if !HEADER.contains(&key.as_str()) {
                    body.insert(key.clone(), field.clone());
                }
            }
        }
    }
    Value::Object(body)
}
