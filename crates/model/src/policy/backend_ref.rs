//! `backendRefs` of routes: where requests go instead of to their destination (`spec/policies.md` §1.9).

use std::collections::BTreeMap;

use crate::Violations;
use crate::reading::readable;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::check::MAX_ITEMS;
use super::target_kind::TargetKind;
use super::target_ref::{Accepted, Level, TargetRef, check_tags};
use super::values::check_count;

/// One backend, as written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BackendRef {
    /// One of [`BACKEND_KINDS`] by name.
    pub kind: String,
    /// Name of the service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Kubernetes namespace of the service; the policy's own by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Labels that all must match, instead of name and namespace; the oldest match counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels: Option<BTreeMap<String, String>>,
    /// Tags of a MeshServiceSubset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tags: Option<BTreeMap<String, String>>,
    /// Share of the requests relative to the other backends; 1 by default, 0 for none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<u32>,
    /// Port of the service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u32>,
}

/// Kinds that a backend may have.
pub const BACKEND_KINDS: &[TargetKind] = &[
    TargetKind::MeshService,
    TargetKind::MeshServiceSubset,
    TargetKind::MeshExternalService,
    TargetKind::MeshMultiZoneService,
];

impl BackendRef {
    /// The weight, 1 if nothing is said.
    pub fn weight(&self) -> u32 {
        self.weight.unwrap_or(1)
    }

    /// The part that names a resource.
    pub fn target(&self) -> TargetRef {
        TargetRef {
            kind: self.kind.clone(),
            name: self.name.clone(),
            namespace: self.namespace.clone(),
            labels: self.labels.clone(),
            tags: self.tags.clone(),
            ..TargetRef::default()
        }
    }

    fn check(&self, path: &str, violations: &mut Violations) {
        let accepted = Accepted {
            level: Level::To,
            kinds: BACKEND_KINDS,
            listener_tags: false,
        };
        let kind = self.target().check(&accepted, path, violations);
        if kind == Some(TargetKind::MeshMultiZoneService) && self.port.is_none() {
            violations.add(
                format!("{path}.port"),
                format!("must be set with kind {}", TargetKind::MeshMultiZoneService),
            );
        }
        if let Some(port) = self.port.filter(|port| !(1..=65535).contains(port)) {
            violations.add(
                format!("{path}.port"),
                format!("is {port}, must be a port number from 1 to 65535"),
            );
        }
        if kind == Some(TargetKind::MeshServiceSubset) {
            check_tags(self.tags.iter().flatten(), &format!("{path}.tags"), violations);
        }
    }
}

/// Checks the backends of one routing rule, those of its filters too; `path` is that of the rule.
pub(crate) fn check_rule(rule: &Value, path: &str, violations: &mut Violations) {
    if let Some(backends) = rule.pointer("/default/backendRefs").and_then(Value::as_array) {
        check_list(backends, &format!("{path}.default.backendRefs"), violations);
    }
    visit(
        rule,
        path,
        &mut |value, path| match serde_path_to_error::deserialize::<_, BackendRef>(value) {
            Ok(backend) => backend.check(path, violations),
            Err(error) => {
                let field = match error.path().to_string().as_str() {
                    "." => path.to_owned(),
                    field => format!("{path}.{field}"),
                };
                violations.add(field, readable(&error.into_inner().to_string()));
            }
        },
    );
}

/// Envoy counts the shares of one rule together in 32 bits.
fn check_list(backends: &[Value], path: &str, violations: &mut Violations) {
    check_count(backends.len(), MAX_ITEMS, path, violations);
    let weights = backends
        .iter()
        .map(|backend| backend.get("weight").and_then(Value::as_u64).unwrap_or(1));
    let total = weights.fold(0_u64, u64::saturating_add);
    if total > u64::from(u32::MAX) {
        violations.add(
            path,
            format!("weights add up to {total}, must be no more than {}", u32::MAX),
        );
    }
}

fn visit(rule: &Value, path: &str, found: &mut dyn FnMut(&Value, &str)) {
    let Some(default) = rule.get("default") else { return };
    let list = |field: &str| {
        default
            .get(field)
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .enumerate()
    };
    for (index, backend) in list("backendRefs") {
        found(backend, &format!("{path}.default.backendRefs[{index}]"));
    }
    for (index, filter) in list("filters") {
        if let Some(backend) = filter.get("requestMirror").and_then(|mirror| mirror.get("backendRef")) {
            found(
                backend,
                &format!("{path}.default.filters[{index}].requestMirror.backendRef"),
            );
        }
    }
}

/// Replaces the backends of one routing rule, those of its filters too.
pub fn map_backends(rule: &mut Value, replace: &dyn Fn(&BackendRef) -> BackendRef) {
    let Some(default) = rule.get_mut("default").and_then(Value::as_object_mut) else {
        return;
    };
    let replace_in = |value: &mut Value| {
        if let Ok(backend) = BackendRef::deserialize(&*value)
            && let Ok(replaced) = serde_json::to_value(replace(&backend))
        {
            *value = replaced;
        }
    };
    for backend in default
        .get_mut("backendRefs")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        replace_in(backend);
    }
    for filter in default
        .get_mut("filters")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        if let Some(backend) = filter
            .get_mut("requestMirror")
            .and_then(|mirror| mirror.get_mut("backendRef"))
        {
            replace_in(backend);
        }
    }
}
