//! Whether a policy is well formed: everything about it but its confs, driven by the matrix.

use crate::Violations;
use crate::violation::unknown_field;
use serde_json::Value;

use super::backend_ref;
use super::document::{Document, FromItem, RuleItem, ToItem};
use super::matrix::{Part, PolicyInfo, PolicyKind, Routing, SYSTEM_ONLY};
use super::role::Role;
use super::target_kind::{TargetKind, one_of};
use super::target_ref::{Accepted, GATEWAY, Level, TargetRef};

/// Most items of one list of a policy.
pub const MAX_ITEMS: usize = 1024;

/// A policy that is well formed.
#[derive(Clone, Debug)]
pub struct Checked {
    /// Its parts.
    pub document: Document,
    /// What still works but should be written differently, for the user's eyes.
    pub warnings: Vec<String>,
}

/// Checks the `spec` of a policy. Confs are only required to be objects: their fields are the business of the kind.
///
/// # Errors
/// All violations, with paths from `spec`.
pub fn check(kind: PolicyKind, spec: &Value, role: Role) -> Result<Checked, Violations> {
    let mut unknown = Vec::new();
    let document = Document::parse(spec, &mut unknown)?;
    let unknown = unknown.iter().map(|path| unknown_field(path));
    let mut check = Check {
        kind,
        info: kind.info(),
        top: TargetKind::Mesh,
        top_ref: document.top(),
        violations: Violations::new(),
        warnings: unknown.collect(),
    };
    check.document(&document, role);
    check.violations.into_result()?;
    Ok(Checked {
        document,
        warnings: check.warnings,
    })
}

struct Check {
    kind: PolicyKind,
    info: &'static PolicyInfo,
    top: TargetKind,
    top_ref: TargetRef,
    violations: Violations,
    warnings: Vec<String>,
}

impl Check {
    fn document(&mut self, document: &Document, role: Role) {
        let accepted = Accepted {
            level: Level::Top,
            kinds: self.info.top,
            listener_tags: self.info.listener_tags,
        };
        // Items are only checked against a top level that is known.
        let Some(top) = self.top_ref.check(&accepted, "spec.targetRef", &mut self.violations) else {
            return;
        };
        self.top = top;
        if SYSTEM_ONLY.contains(&top) && role != Role::System {
            self.violations.add(
                "spec.targetRef.kind",
                format!("value is not supported: {top} may only be used in the system namespace"),
            );
        }
        self.warn_about_top();
        self.parts(document);
        self.length(document.to().len(), "spec.to");
        self.length(document.from().len(), "spec.from");
        self.length(document.rules().len(), "spec.rules");
        for (index, item) in document.to().iter().enumerate() {
            self.to(item, &format!("spec.to[{index}]"));
        }
        for (index, item) in document.from().iter().enumerate() {
            self.from(item, &format!("spec.from[{index}]"));
        }
        for (index, item) in document.rules().iter().enumerate() {
            self.rule(item, &format!("spec.rules[{index}]"));
        }
        if self.info.default {
            self.conf(document.default.as_ref(), "spec.default");
        }
    }

    fn length(&mut self, length: usize, path: &str) {
        if length > MAX_ITEMS {
            self.violations.add(
                path,
                format!("has {length} items, must have no more than {MAX_ITEMS}; write several policies"),
            );
        }
    }

    fn warn_about_top(&mut self) {
        let instead = match self.top {
            TargetKind::MeshSubset | TargetKind::MeshService | TargetKind::MeshServiceSubset => {
                "select proxies with kind Dataplane and labels"
            }
            TargetKind::MeshGateway => "there are no builtin gateways, the policy applies to nothing",
            TargetKind::MeshHTTPRoute => "name the route in spec.to[].targetRef",
            _ => return,
        };
        self.warnings
            .push(format!("spec.targetRef.kind: {} is deprecated: {instead}", self.top));
    }

    /// Which parts there are, and which may stand together.
    fn parts(&mut self, document: &Document) {
        let present = |part: Part| match part {
            Part::Default => document.default.is_some(),
            Part::From => document.from.is_some(),
            Part::Rules => document.rules.is_some(),
            Part::To => document.to.is_some(),
        };
        let filled = |part: Part| match part {
            Part::Default => document.default.is_some(),
            Part::From => !document.from().is_empty(),
            Part::Rules => !document.rules().is_empty(),
            Part::To => !document.to().is_empty(),
        };
        let own: Vec<_> = self.info.parts().collect();
        let fields: Vec<_> = own.iter().map(|part| part.field()).collect();
        for part in [Part::Default, Part::From, Part::Rules, Part::To] {
            if present(part) && !own.contains(&part) {
                self.violations.add(
                    format!("spec.{}", part.field()),
                    format!("{} has no such part, only {}", self.kind, fields.join(" and ")),
                );
            }
        }
        let required = self.info.required;
        if !required.is_empty() && !required.iter().any(|part| filled(*part)) {
            let required: Vec<_> = required.iter().map(|part| part.field()).collect();
            match required.as_slice() {
                [one] => self.violations.add(format!("spec.{one}"), "needs at least one item"),
                several => self.violations.add(
                    "spec",
                    format!("at least one of {} has to be defined", several.join(", ")),
                ),
            }
        }
        if filled(Part::Rules) && filled(Part::From) {
            self.violations
                .add("spec.from", "must not be set together with rules, its newer form");
        }
        if self.info.rules_exclude_to && filled(Part::Rules) && filled(Part::To) {
            self.violations
                .add("spec.to", "must not be set together with rules; write two policies");
        }
        if filled(Part::From) {
            if self.info.rules {
                self.warnings.push("spec.from is deprecated: use spec.rules".to_owned());
            }
            let route_or_gateway = matches!(self.top, TargetKind::MeshGateway | TargetKind::MeshHTTPRoute);
            if self.info.from_for_proxies_only && route_or_gateway {
                self.violations.add(
                    "spec.from",
                    format!("must not be set when spec.targetRef.kind is {}", self.top),
                );
            }
        }
        if self.info.split_by_proxy_type {
            self.split_by_proxy_type(filled(Part::To), filled(Part::From));
        }
    }

    fn split_by_proxy_type(&mut self, to: bool, from: bool) {
        let gateways = match self.top {
            TargetKind::MeshGateway | TargetKind::MeshHTTPRoute => true,
            TargetKind::Mesh | TargetKind::MeshSubset => self.top_ref.includes_proxy_type(GATEWAY),
            _ => false,
        };
        if to && !gateways {
            self.violations.add(
                "spec.to",
                "is about gateways, and spec.targetRef selects none; use from or rules",
            );
        }
        if from && gateways {
            self.violations.add(
                "spec.from",
                "is about sidecars, and spec.targetRef can select gateways; add proxyTypes: [Sidecar] to spec.targetRef",
            );
        }
    }

    fn to(&mut self, item: &ToItem, path: &str) {
        if self.info.to.is_empty() {
            return;
        }
        let has_field = |field: &str| item.default.as_ref().is_some_and(|conf| conf.get(field).is_some());
        let kinds = self.info.to_below(self.top, has_field);
        self.reference(item.target_ref.as_ref(), Level::To, kinds, path);
        let external = TargetKind::MeshExternalService;
        let is_external = item
            .target_ref
            .as_ref()
            .is_some_and(|target| target.kind == external.name());
        if is_external
            && self.top != TargetKind::Mesh
            && self.info.routing == Routing::None
            && kinds.contains(&external)
        {
            self.violations.add(
                format!("{path}.targetRef.kind"),
                format!("must not be {external} unless spec.targetRef.kind is Mesh, since its traffic leaves by a proxy that all share"),
            );
        }
        if item.hostnames.as_ref().is_some_and(|names| !names.is_empty()) && self.top != TargetKind::MeshGateway {
            self.violations.add(
                format!("{path}.hostnames"),
                "must not be set unless spec.targetRef.kind is MeshGateway",
            );
        }
        if self.info.routing == Routing::None {
            if item.rules.is_some() {
                self.violations.add(
                    format!("{path}.rules"),
                    format!("{} has no routing rules; use default", self.kind),
                );
            }
            self.conf(item.default.as_ref(), &format!("{path}.default"));
            return;
        }
        if item.default.is_some() {
            self.violations
                .add(format!("{path}.default"), "must not be set; a route has rules");
        }
        let rules = item.rules.as_deref().unwrap_or_default();
        self.length(rules.len(), &format!("{path}.rules"));
        if self.info.routing == Routing::Single && rules.len() > 1 {
            self.violations.add(
                format!("{path}.rules"),
                format!("has {} items, must have no more than 1", rules.len()),
            );
        }
        for (index, rule) in rules.iter().enumerate() {
            self.routing_rule(rule, &format!("{path}.rules[{index}]"));
        }
    }

    fn routing_rule(&mut self, rule: &Value, path: &str) {
        if !rule.is_object() {
            self.violations.add(path, "must be an object");
            return;
        }
        let matches = rule.get("matches").and_then(Value::as_array);
        if self.info.routing == Routing::ByMatches && matches.is_none_or(Vec::is_empty) {
            self.violations
                .add(format!("{path}.matches"), "must be an array with at least one item");
        }
        self.conf(rule.get("default"), &format!("{path}.default"));
        backend_ref::check_rule(rule, path, &mut self.violations);
    }

    fn from(&mut self, item: &FromItem, path: &str) {
        if self.info.from.is_empty() {
            return;
        }
        self.reference(item.target_ref.as_ref(), Level::From, self.info.from, path);
        self.conf(item.default.as_ref(), &format!("{path}.default"));
    }

    fn rule(&mut self, item: &RuleItem, path: &str) {
        if !self.info.rules {
            return;
        }
        let matches = item.matches.as_deref().unwrap_or_default();
        self.length(matches.len(), &format!("{path}.matches"));
        if !matches.is_empty() && !self.info.rule_matches {
            self.violations.add(
                format!("{path}.matches"),
                format!("must not be set: {} rules apply to all clients", self.kind),
            );
        }
        for (index, found) in matches.iter().enumerate() {
            found.check(&format!("{path}.matches[{index}]"), &mut self.violations);
        }
        self.conf(item.default.as_ref(), &format!("{path}.default"));
    }

    fn reference(&mut self, reference: Option<&TargetRef>, level: Level, kinds: &'static [TargetKind], path: &str) {
        let path = format!("{path}.targetRef");
        let accepted = Accepted {
            level,
            kinds,
            listener_tags: false,
        };
        match reference {
            Some(reference) => {
                reference.check(&accepted, &path, &mut self.violations);
            }
            None => self
                .violations
                .add(path, format!("must be defined, with kind {}", one_of(kinds))),
        }
    }

    fn conf(&mut self, conf: Option<&Value>, path: &str) {
        let Some(conf) = conf.filter(|conf| !conf.is_null()) else {
            return;
        };
        let Some(object) = conf.as_object() else {
            self.violations.add(path, "must be an object");
            return;
        };
        if self.top != TargetKind::Mesh {
            for field in self
                .info
                .mesh_only_fields
                .iter()
                .filter(|field| object.contains_key(**field))
            {
                self.violations.add(
                    format!("{path}.{field}"),
                    "must not be set unless spec.targetRef.kind is Mesh, since all proxies have to agree on it",
                );
            }
        }
    }
}
