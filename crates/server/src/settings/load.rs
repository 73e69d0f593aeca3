//! Reads settings: a tree of defaults, overlaid by a file and by variables whose names follow from the path.

use std::collections::BTreeMap;
use std::path::Path;

use meshspan_model::environment::Unknown;
use serde_json::{Map, Value};

use super::Settings;
use super::names;
use crate::files;

/// Largest settings file, in bytes.
const MAX_FILE: u64 = 1 << 20;

/// Why settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The file cannot be read.
    #[error("settings file {path}: {source}")]
    Read {
        /// Its path.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// The file is too large or no YAML object.
    #[error("settings file {path}: {reason}")]
    Syntax {
        /// Its path.
        path: String,
        /// Why.
        reason: String,
    },
    /// A setting has a wrong value.
    #[error("setting {field}: {reason}")]
    Value {
        /// Path of the setting, or name of the variable.
        field: String,
        /// What is wrong and what would be right.
        reason: String,
    },
    /// A name that is none, and that must not be ignored.
    #[error(
        "{field} is no setting of this control plane, and is not ignored, because its name says that it is about who may do what{hint}"
    )]
    Unknown {
        /// The variable, or the path in the file.
        field: String,
        /// What may be meant.
        hint: String,
    },
}

/// Settings from an optional file and the variables given, with warnings about unknown names.
///
/// # Errors
/// The first setting that cannot be used, or an unknown one that seems to be about access, tokens or TLS.
pub fn load(
    file: Option<&Path>,
    environment: impl Iterator<Item = (String, String)>,
) -> Result<(Settings, Vec<String>), SettingsError> {
    let defaults = serde_json::to_value(Settings::default()).map_err(|error| value_error("", error))?;
    let mut leaves = Vec::new();
    collect_leaves(&defaults, &mut Vec::new(), &mut leaves);
    let mut loading = Loading {
        tree: defaults.clone(),
        known: leaves.iter().map(|path| path.join(".")).collect(),
        warnings: Vec::new(),
    };
    if let Some(path) = file {
        let mut over = read(path)?;
        // Kong Mesh has its own settings in a section of their own.
        if let Some(kmesh) = over.as_object_mut().and_then(|over| over.remove("kmesh")) {
            loading.take(&defaults, kmesh, &mut Vec::new())?;
        }
        loading.take(&defaults, over, &mut Vec::new())?;
    }
    let mut set_by = BTreeMap::new();
    for (name, text) in environment.filter(|(name, _)| names::concerns_us(name)) {
        let Some((path, joined)) = leaves
            .iter()
            .zip(&loading.known)
            .find(|(_, joined)| names::sets(&name, joined))
        else {
            loading.unknown(&format!("variable {name}"), &name)?;
            continue;
        };
        if let Some((other, said)) = set_by.insert(joined.clone(), (name.clone(), text.clone()))
            && said != text
        {
            let reason = format!("and {other} say different things about {joined}; set one of them");
            return Err(SettingsError::Value { field: name, reason });
        }
        set(&mut loading.tree, &defaults, path, &name, &text)?;
    }
    let settings = serde_path_to_error::deserialize::<_, Settings>(loading.tree).map_err(|error| {
        let path = error.path().to_string();
        with_variable(value_error(&path, error.into_inner()), &set_by)
    })?;
    super::check::check(&settings).map_err(|error| with_variable(error, &set_by))?;
    Ok((settings, loading.warnings))
}

/// Names the variable as well where a setting has its value from one.
fn with_variable(error: SettingsError, set_by: &BTreeMap<String, (String, String)>) -> SettingsError {
    match error {
        SettingsError::Value { field, reason } => match set_by.get(&field) {
            Some((name, _)) => SettingsError::Value {
                field,
                reason: format!("{reason} (variable {name})"),
            },
            None => SettingsError::Value { field, reason },
        },
        other => other,
    }
}

struct Loading {
    tree: Value,
    /// Paths of all settings.
    known: Vec<String>,
    warnings: Vec<String>,
}

impl Loading {
    /// Lays a part of the file over the tree.
    fn take(&mut self, known: &Value, over: Value, path: &mut Vec<String>) -> Result<(), SettingsError> {
        match (known, over) {
            // What is absent and what is null mean the default.
            (_, Value::Null) => {}
            (Value::Object(known), Value::Object(over)) => {
                for (key, value) in over {
                    path.push(key);
                    match path.last().and_then(|key| known.get(key)) {
                        Some(known) => self.take(known, value, path)?,
                        None => {
                            let joined = path.join(".");
                            self.unknown(&format!("setting {joined} in the settings file"), &joined)?;
                        }
                    }
                    path.pop();
                }
            }
            (_, over) => {
                let place = path
                    .iter()
                    .try_fold(&mut self.tree, |place, key| place.get_mut(key.as_str()));
                if let Some(place) = place {
                    *place = over;
                }
            }
        }
        Ok(())
    }

    fn unknown(&mut self, shown: &str, name: &str) -> Result<(), SettingsError> {
        let Unknown { meant, sensitive } = names::unknown(name, self.known.iter().map(String::as_str));
        let question = meant
            .map(|meant| format!("; did you mean {meant}?"))
            .unwrap_or_default();
        if sensitive {
            return Err(SettingsError::Unknown {
                field: shown.to_owned(),
                hint: match question.as_str() {
                    "" => "; remove it".to_owned(),
                    question => question.to_owned(),
                },
            });
        }
        self.warnings.push(format!("unknown {shown} is ignored{question}"));
        Ok(())
    }
}

fn value_error(field: &str, error: serde_json::Error) -> SettingsError {
    SettingsError::Value {
        field: field.to_owned(),
        reason: error.to_string(),
    }
}

fn read(path: &Path) -> Result<Value, SettingsError> {
    let name = path.display().to_string();
    let syntax = |reason: String| SettingsError::Syntax {
        path: name.clone(),
        reason,
    };
    let text = files::read(path, MAX_FILE).map_err(|source| SettingsError::Read {
        path: name.clone(),
        source,
    })?;
    let value: Value = serde_saphyr::from_str(&text)
        .map_err(|error| syntax(error.render_with_formatter(&serde_saphyr::UserMessageFormatter)))?;
    match value {
        Value::Object(_) => Ok(value),
        Value::Null => Ok(Value::Object(Map::new())),
        _ => Err(syntax("must be an object, for example \"mode: global\"".to_owned())),
    }
}

fn collect_leaves(value: &Value, path: &mut Vec<String>, leaves: &mut Vec<Vec<String>>) {
    match value {
        Value::Object(object) => {
            for (key, value) in object {
                path.push(key.clone());
                collect_leaves(value, path, leaves);
                path.pop();
            }
        }
        _ => leaves.push(path.clone()),
    }
}

fn set(tree: &mut Value, defaults: &Value, path: &[String], name: &str, text: &str) -> Result<(), SettingsError> {
    let default = path
        .iter()
        .fold(defaults, |value, key| value.get(key).unwrap_or(&Value::Null));
    let wrong = |expected: &str| SettingsError::Value {
        field: name.to_owned(),
        reason: format!("is \"{text}\", must be {expected}"),
    };
    let value = match default {
        Value::Bool(_) => Value::Bool(text.parse().map_err(|_| wrong("true or false"))?),
        Value::Number(_) => Value::from(text.parse::<u64>().map_err(|_| wrong("a number"))?),
        Value::Array(_) => text.split(',').map(str::trim).filter(|part| !part.is_empty()).collect(),
        _ => Value::from(text),
    };
    let mut place = tree;
    for key in path {
        match place {
            Value::Object(object) => place = object.entry(key.clone()).or_insert(Value::Null),
            _ => return Err(wrong("below an object, which the settings file replaced")),
        }
    }
    *place = value;
    Ok(())
}

#[cfg(test)]
#[path = "load_tests.rs"]
mod tests;
