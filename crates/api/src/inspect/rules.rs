//! `_rules`: everything that policies say about a proxy, by kind (`spec/http-api.md` §3.6).
//!
//! `toRules`, which are about services known by a tag alone, are always empty: there are no such services here.

use axum::Router;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::get;
use meshspan_model::kinds::dataplane::Inbound;
use meshspan_model::policy::PolicyKind;
use meshspan_policy::{Effective, InboundRule, InboundRules, MAX_RULES, NamedDestination};
use serde_json::{Map, Value, json};

use super::describe::{meta, policy_meta};
use super::inspected::Inspected;
use crate::error::ApiError;
use crate::path::Target;
use crate::query::Query;
use crate::response;
use crate::state::ApiState;

pub(super) fn routes() -> Router<ApiState> {
    Router::new().route("/meshes/{mesh}/dataplanes/{name}/_rules", get(rules))
}

async fn rules(State(state): State<ApiState>, Path(target): Path<Target>, query: Query) -> Result<Response, ApiError> {
    let snapshot = state.store.snapshot();
    let inspected = Inspected::of(&state, &target, &query, &snapshot)?;
    let rules: Vec<Value> = PolicyKind::ALL
        .iter()
        .filter_map(|kind| inspected.of_kind(*kind))
        .collect();
    Ok(response::ok(&json!({
        "resource": meta(inspected.resource),
        "rules": rules,
        "httpMatches": [],
    })))
}

impl Inspected<'_> {
    /// What policies of a kind say; `None` if none of them applies.
    fn of_kind(&self, kind: PolicyKind) -> Option<Value> {
        let matched: Vec<_> = self.matched.iter().filter(|policy| policy.id.kind == kind).collect();
        if matched.is_empty() {
            return None;
        }
        let mut warnings: Vec<String> = matched
            .iter()
            .flat_map(|policy| {
                let missing = self.mesh.missing(policy);
                missing
                    .into_iter()
                    .map(|missing| format!("{}: {missing}", policy.resource.display_name()))
            })
            .collect();
        warnings.extend(
            self.silenced()
                .filter_map(|(of, silenced)| (of == kind).then_some(silenced)),
        );
        warnings.extend(self.cut_off(kind));
        let mut rules = Map::new();
        rules.insert("type".into(), kind.name().into());
        rules.insert("toRules".into(), json!([]));
        rules.insert("toResourceRules".into(), self.to_resource_rules(kind));
        rules.insert(
            "fromRules".into(),
            self.by_inbound(kind, &|rules| self.rules_by_tags(rules)),
        );
        rules.insert(
            "inboundRules".into(),
            self.by_inbound(kind, &|rules| self.rules_by_match(rules)),
        );
        if let Some(whole) = self.effective.whole.get(&kind) {
            let rule = json!({"conf": whole.conf, "origin": self.metas(whole)});
            rules.insert("proxyRule".into(), rule);
        }
        rules.insert("warnings".into(), json!(warnings));
        Some(Value::Object(rules))
    }

    /// Inbounds of which there are more rules than are computed.
    fn cut_off(&self, kind: PolicyKind) -> impl Iterator<Item = String> {
        let inbounds = self.dataplane.networking.inbound.iter().enumerate();
        inbounds.filter_map(move |(position, inbound)| {
            let rules = self.effective.inbound(kind, position)?;
            (!rules.is_complete).then(|| {
                format!(
                    "inbound {}: clients are told apart in more than {MAX_RULES} ways, of which only the first count",
                    inbound.section()
                )
            })
        })
    }

    fn to_resource_rules(&self, kind: PolicyKind) -> Value {
        let entries = self.effective.outbound.entries(kind);
        let rules = entries.iter().map(|(destination, effective)| {
            json!({
                "resourceMeta": self.destination_meta(destination),
                "resourceSectionName": destination.section.as_deref().unwrap_or_default(),
                "conf": [effective.conf],
                "origin": self.items(effective),
            })
        });
        rules.collect()
    }

    fn destination_meta(&self, destination: &NamedDestination) -> Value {
        let resource = destination
            .service
            .as_ref()
            .and_then(|service| self.mesh.destinations().get(service));
        match resource {
            Some(resource) => meta(resource),
            // Said of all destinations.
            None => json!({"type": "Mesh", "mesh": self.resource.mesh, "name": self.resource.mesh, "labels": {}}),
        }
    }

    fn by_inbound(&self, kind: PolicyKind, write: &dyn Fn(&InboundRules) -> Vec<Value>) -> Value {
        let inbounds = self.dataplane.networking.inbound.iter().enumerate();
        let rules = inbounds.filter_map(|(position, inbound)| {
            let rules = write(self.effective.inbound(kind, position)?);
            (!rules.is_empty()).then(|| json!({"inbound": inbound_meta(inbound), "rules": rules}))
        });
        rules.collect()
    }

    /// In the older form: clients are told apart by tags only.
    fn rules_by_tags(&self, rules: &InboundRules) -> Vec<Value> {
        let by_tags = |rule: &&InboundRule| rule.clients.spiffe_id.is_none() && rule.clients.sni.is_none();
        let rules = rules.rules.iter().filter(by_tags).map(|rule| {
            let tags = rule.clients.tags.iter();
            let matchers: Vec<Value> = tags
                .map(|(key, value)| json!({"key": key, "value": value, "not": false}))
                .collect();
            json!({"matchers": matchers, "conf": rule.effective.conf, "origin": self.metas(&rule.effective)})
        });
        rules.collect()
    }

    fn rules_by_match(&self, rules: &InboundRules) -> Vec<Value> {
        let rules = rules.rules.iter().map(|rule| {
            let mut written = Map::new();
            if !rule.clients.is_all() {
                written.insert("match".into(), json!(rule.clients));
            }
            written.insert("conf".into(), json!([rule.effective.conf]));
            written.insert("origin".into(), self.items(&rule.effective));
            Value::Object(written)
        });
        rules.collect()
    }

    /// The policies that contributed, each once; later ones override earlier ones.
    fn metas(&self, effective: &Effective) -> Value {
        let mut policies: Vec<_> = effective.origins().collect();
        policies.dedup_by(|a, b| a.policy == b.policy);
        let metas = policies
            .into_iter()
            .map(|origin| policy_meta(origin, &self.mesh.policies));
        metas.collect()
    }

    fn items(&self, effective: &Effective) -> Value {
        let items = effective
            .origins()
            .map(|origin| json!({"resourceMeta": policy_meta(origin, &self.mesh.policies), "ruleIndex": origin.index}));
        items.collect()
    }
}

fn inbound_meta(inbound: &Inbound) -> Value {
    let mut meta = Map::new();
    if !inbound.name.is_empty() {
        meta.insert("name".into(), inbound.name.as_str().into());
    }
    meta.insert("port".into(), inbound.port.into());
    meta.insert("tags".into(), json!(inbound.tags));
    Value::Object(meta)
}
