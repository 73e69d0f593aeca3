//! What the policies of a class say about one destination.

use std::sync::Arc;

use meshspan_model::policy::{ClientInputs, PolicyKind, Routing};
use meshspan_policy::{Confs, Effective, OutboundRules, Policy, PolicyId, Services, resolve_backend};
use serde_json::Value;

use crate::view::{Client, DestinationKey, DestinationPolicies, HttpRule, RouteBackend};

/// What is known when a destination is looked up.
pub(super) struct About<'a> {
    pub(super) rules: &'a OutboundRules,
    pub(super) policies: &'a [Arc<Policy>],
    pub(super) targets: &'a Services,
    pub(super) client: &'a Client,
}

/// What is said of every destination. Routes are always about particular ones.
pub(super) fn everywhere(rules: &OutboundRules, client: &Client) -> DestinationPolicies {
    let confs = unrouted(rules)
        .filter_map(|kind| Some((kind, rules.everywhere(kind)?.conf)))
        .collect();
    of(confs, None, None, client)
}

impl About<'_> {
    pub(super) fn destination(&self, key: &DestinationKey) -> DestinationPolicies {
        let http_rules = self.lookup(PolicyKind::MeshHTTPRoute, key, &[]).map(|effective| {
            let origins = effective.rule_origins();
            let rules = list(&effective.conf, "/rules").iter().zip(origins);
            rules
                .map(|(rule, origins)| {
                    let routes: Vec<_> = origins.iter().map(|origin| origin.policy.clone()).collect();
                    self.http_rule(key, rule, &routes)
                })
                .collect()
        });
        let tcp_backends = self.lookup(PolicyKind::MeshTCPRoute, key, &[]).map(|effective| {
            let backends = list(&effective.conf, "/rules/0/default/backendRefs").iter();
            backends.map(|backend| self.backend(key, backend)).collect()
        });
        of(self.confs(key, &[]), http_rules, tcp_backends, self.client)
    }

    fn lookup(&self, kind: PolicyKind, key: &DestinationKey, routes: &[PolicyId]) -> Option<Effective> {
        self.rules.lookup(kind, &key.service, &key.section, routes)
    }

    fn confs(&self, key: &DestinationKey, routes: &[PolicyId]) -> Confs {
        unrouted(self.rules)
            .filter_map(|kind| Some((kind, self.lookup(kind, key, routes)?.conf)))
            .collect()
    }

    /// `routes` are the policies that contributed to the rule, that of highest precedence last.
    fn http_rule(&self, key: &DestinationKey, rule: &Value, routes: &[PolicyId]) -> HttpRule {
        let contributed = |policy: &&Arc<Policy>| Some(&policy.id) == routes.last();
        let mirrors = list(rule, "/default/filters")
            .iter()
            .filter(|filter| filter.get("type").and_then(Value::as_str) == Some("RequestMirror"));
        HttpRule {
            rule: rule.clone(),
            name: self
                .policies
                .iter()
                .find(contributed)
                .map(|policy| policy.kri())
                .unwrap_or_default(),
            backends: list(rule, "/default/backendRefs")
                .iter()
                .map(|backend| self.backend(key, backend))
                .collect(),
            mirrors: mirrors
                .map(|filter| {
                    let backend = filter.pointer("/requestMirror/backendRef");
                    self.backend(key, backend.unwrap_or(&Value::Null))
                })
                .collect(),
            confs: self.confs(key, routes),
        }
    }

    fn backend(&self, key: &DestinationKey, reference: &Value) -> RouteBackend {
        let weight = reference.get("weight").and_then(Value::as_u64).unwrap_or(1);
        match resolve_backend(reference, &key.service.mesh, self.targets) {
            Ok(backend) => RouteBackend {
                weight: backend.weight,
                destination: Some(DestinationKey {
                    service: backend.service,
                    section: backend.section,
                }),
            },
            Err(_) => RouteBackend {
                weight: u32::try_from(weight).unwrap_or(u32::MAX),
                destination: None,
            },
        }
    }
}

/// Kinds of policies about outgoing traffic that do not route it.
fn unrouted(rules: &OutboundRules) -> impl Iterator<Item = PolicyKind> + '_ {
    rules.kinds().filter(|kind| kind.info().routing == Routing::None)
}

fn of(
    confs: Confs,
    http_rules: Option<Vec<HttpRule>>,
    tcp_backends: Option<Vec<RouteBackend>>,
    client: &Client,
) -> DestinationPolicies {
    let mut policies = DestinationPolicies {
        confs,
        http_rules,
        tcp_backends,
        client: Client::default(),
    };
    // What no policy asks for would only keep proxies from sharing.
    let asks_for_tags = |kind: PolicyKind| matches!(kind.info().client, ClientInputs::Tags(_));
    if policies.kinds().any(asks_for_tags) {
        policies.client.tags.clone_from(&client.tags);
    }
    policies
}

fn list<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    value
        .pointer(pointer)
        .and_then(Value::as_array)
        .map(Vec::as_slice)
        .unwrap_or_default()
}
