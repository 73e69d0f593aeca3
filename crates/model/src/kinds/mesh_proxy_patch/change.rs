//! One change of a kind of Envoy resources, and what its operation needs.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::json_patch::JsonPatch;
use crate::reading::yaml_error;
use crate::violation::Violations;

/// An operation on what a condition selects.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, bound(deserialize = "M: Deserialize<'de>"))]
pub struct Change<M> {
    /// Which resources; all if absent.
    #[serde(rename = "match", skip_serializing_if = "Option::is_none")]
    pub target: Option<M>,
    /// What happens to them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation: Option<Operation>,
    /// The Envoy message in YAML: what is added, or merged into what is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// Changes of single fields, instead of `value`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub json_patches: Option<Vec<JsonPatch>>,
}

impl<M> Default for Change<M> {
    fn default() -> Self {
        Self {
            target: None,
            operation: None,
            value: None,
            json_patches: None,
        }
    }
}

/// What happens to a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Operation {
    /// It is added.
    Add,
    /// It goes.
    Remove,
    /// It is changed.
    Patch,
    /// It is added before all others of its list.
    AddFirst,
    /// It is added after all others of its list.
    AddLast,
    /// It is added before the one that is named.
    AddBefore,
    /// It is added after the one that is named.
    AddAfter,
}

/// Operations on what stands in no list.
const OF_RESOURCES: [Operation; 3] = [Operation::Add, Operation::Remove, Operation::Patch];
/// Operations on what stands in a list, where the order matters.
const OF_FILTERS: [Operation; 6] = [
    Operation::AddFirst,
    Operation::AddLast,
    Operation::AddBefore,
    Operation::AddAfter,
    Operation::Remove,
    Operation::Patch,
];

impl Operation {
    /// The name as written.
    pub fn name(self) -> &'static str {
        match self {
            Operation::Add => "Add",
            Operation::Remove => "Remove",
            Operation::Patch => "Patch",
            Operation::AddFirst => "AddFirst",
            Operation::AddLast => "AddLast",
            Operation::AddBefore => "AddBefore",
            Operation::AddAfter => "AddAfter",
        }
    }

    fn adds(self) -> bool {
        !matches!(self, Operation::Remove | Operation::Patch)
    }
}

impl<M> Change<M> {
    /// Adds what is wrong with a change of clusters or listeners.
    pub(super) fn check_resource(&self, path: &str, violations: &mut Violations) {
        let operation = self.check_operation(&OF_RESOURCES, path, violations);
        if operation == Some(Operation::Add) && self.target.is_some() {
            violations.add(
                format!("{path}.match"),
                "must not be set with operation Add: nothing is there to match",
            );
        }
    }

    /// Adds what is wrong with a change of virtual hosts, which are added to the route configurations that match; `name`
    /// is the one that the condition names.
    pub(super) fn check_virtual_host(&self, name: Option<&str>, path: &str, violations: &mut Violations) {
        let operation = self.check_operation(&OF_RESOURCES, path, violations);
        if operation == Some(Operation::Add) && name.is_some() {
            violations.add(
                format!("{path}.match.name"),
                "must not be set with operation Add: nothing is there to match",
            );
        }
    }

    /// Adds what is wrong with a change of filters; `name` is the one that the condition names.
    pub(super) fn check_filter(&self, name: Option<&str>, path: &str, violations: &mut Violations) {
        let operation = self.check_operation(&OF_FILTERS, path, violations);
        if let Some(operation @ (Operation::AddBefore | Operation::AddAfter | Operation::Patch)) = operation
            && name.is_none_or(str::is_empty)
        {
            violations.add(
                format!("{path}.match.name"),
                format!(
                    "must be defined with operation {}: the name of a filter",
                    operation.name()
                ),
            );
        }
    }

    fn check_operation(&self, allowed: &[Operation], path: &str, violations: &mut Violations) -> Option<Operation> {
        let names: Vec<_> = allowed.iter().map(|operation| operation.name()).collect();
        let operation_path = format!("{path}.operation");
        let Some(operation) = self.operation else {
            violations.add(operation_path, format!("must be defined: {}", names.join(", ")));
            return None;
        };
        if !allowed.contains(&operation) {
            violations.add(
                operation_path,
                format!("is {}, must be one of {}", operation.name(), names.join(", ")),
            );
            return None;
        }
        let patches = self.json_patches.as_deref().unwrap_or_default();
        match operation {
            Operation::Remove => {
                for (field, is_set) in [("value", self.value.is_some()), ("jsonPatches", !patches.is_empty())] {
                    if is_set {
                        violations.add(format!("{path}.{field}"), "must not be set with operation Remove");
                    }
                }
            }
            Operation::Patch if self.value.is_some() != patches.is_empty() => {
                violations.add(path, "must have exactly one defined: value, jsonPatches");
            }
            operation if operation.adds() => {
                if !patches.is_empty() {
                    violations.add(
                        format!("{path}.jsonPatches"),
                        format!("must not be set with operation {}; use value", operation.name()),
                    );
                }
                if self.value.is_none() {
                    violations.add(
                        format!("{path}.value"),
                        format!("must be defined with operation {}", operation.name()),
                    );
                }
            }
            _ => {}
        }
        self.check_value(&format!("{path}.value"), violations);
        for (index, patch) in patches.iter().enumerate() {
            patch.check(&format!("{path}.jsonPatches[{index}]"), violations);
        }
        Some(operation)
    }

    fn check_value(&self, path: &str, violations: &mut Violations) {
        let Some(value) = &self.value else { return };
        match serde_saphyr::from_str::<Value>(value) {
            Ok(Value::Object(_)) => {}
            Ok(_) => violations.add(path, "must be an Envoy message in YAML: an object with its fields"),
            Err(error) => {
                // The first line says what and where; the others repeat the text.
                let text = yaml_error(&error);
                let reason = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
                violations.add(path, format!("must be an Envoy message in YAML: {reason}"));
            }
        }
    }
}
