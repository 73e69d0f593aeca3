//! `-o`: tables, JSON and YAML.

use std::io::Write;

use anyhow::Context;
use clap::ValueEnum;
use serde_json::{Map, Value, json};

/// How results are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Aligned columns.
    #[default]
    Table,
    /// Aligned columns with more of them.
    Wide,
    /// The documents of the REST API, names and labels first.
    Yaml,
    /// The documents of the REST API.
    Json,
}

/// The fields that come first in YAML, so that a reader sees at once what it is.
const META: [&str; 7] = [
    "type",
    "mesh",
    "name",
    "creationTime",
    "modificationTime",
    "labels",
    "kri",
];

/// Writes a document as JSON or YAML; false if the format is a table, which the caller has to write.
///
/// # Errors
/// When the stream cannot be written.
pub fn write_document(out: &mut dyn Write, format: Format, document: &Value) -> anyhow::Result<bool> {
    match format {
        Format::Table | Format::Wide => return Ok(false),
        Format::Json => {
            serde_json::to_writer_pretty(&mut *out, document).context("cannot write the result")?;
            writeln!(out)?;
        }
        Format::Yaml => write_yaml(out, document)?,
    }
    Ok(true)
}

/// Writes one YAML document.
///
/// # Errors
/// When the stream cannot be written.
pub fn write_yaml(out: &mut dyn Write, document: &Value) -> anyhow::Result<()> {
    let text = serde_saphyr::to_string(&meta_first(document)).context("cannot write the result as YAML")?;
    write!(out, "{text}")?;
    if !text.ends_with('\n') {
        writeln!(out)?;
    }
    Ok(())
}

/// A complete list as the REST API would send it in one page.
pub fn list_document(items: &[Value]) -> Value {
    json!({ "total": items.len(), "items": items, "next": null })
}

fn meta_first(document: &Value) -> Value {
    let Some(object) = document.as_object() else {
        return document.clone();
    };
    if !object.contains_key("type")
        && let Some(items) = object.get("items").and_then(Value::as_array)
    {
        let mut list = object.clone();
        list.insert("items".into(), items.iter().map(meta_first).collect());
        return Value::Object(list);
    }
    let mut ordered = Map::new();
    for key in META {
        if let Some(value) = object.get(key) {
            ordered.insert(key.to_owned(), value.clone());
        }
    }
    for (key, value) in object {
        if !ordered.contains_key(key) {
            ordered.insert(key.clone(), value.clone());
        }
    }
    Value::Object(ordered)
}
