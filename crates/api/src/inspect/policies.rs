//! Effective policies of a proxy, each with the items that it came from (`spec/http-api.md` §2.4).
//!
//! Beyond the compatible fields, every effective conf says in `origins` which item of a policy contributed (`item`) and
//! in `decidedBy` which one decided each field, and `_policies` of a proxy lists in `matched` all policies that apply to
//! any part of it. Parameters of ours, for `_policies` of a proxy:
//!
//! | parameter | meaning |
//! |---|---|
//! | `destination` | adds `outbounds`: what applies to traffic to this service, by display name, name or KRI |
//! | `kind` | only services of this kind, if several kinds have one of that name |
//! | `port` | only this port, by name or number; all ports without it |
//!
//! A destination is any service of the mesh, whether or not the proxy may reach it.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::get;
use meshspan_model::kri::Kri;
use meshspan_model::policy::{PolicyKind, Routing};
use meshspan_policy::{Effective, InboundRules, Policy, PolicyId};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::describe::{decided_by, item, items, meta};
use super::inspected::Inspected;
use super::outbound::Outbound;
use super::silenced::is_silenced;
use crate::error::{ApiError, COULD_NOT_RETRIEVE};
use crate::path::Target;
use crate::query::Query;
use crate::response;
use crate::state::ApiState;

/// The parts of a proxy that a path names.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Part {
    /// An inbound or an outbound.
    part: String,
    /// A route that the outbound takes.
    route: String,
}

/// What is asked about a proxy.
#[derive(Clone, Copy)]
enum Question {
    Proxy,
    Inbound,
    Outbound,
    Routes,
    Route,
}

pub(super) fn routes() -> Router<ApiState> {
    let proxy = "/meshes/{mesh}/dataplanes/{name}";
    let questions = [
        ("_policies", Question::Proxy),
        ("_inbounds/{part}/_policies", Question::Inbound),
        ("_outbounds/{part}/_policies", Question::Outbound),
        ("_outbounds/{part}/_routes", Question::Routes),
        ("_outbounds/{part}/_routes/{route}/_policies", Question::Route),
    ];
    questions.into_iter().fold(Router::new(), |router, (path, question)| {
        let handler = move |State(state): State<ApiState>,
                            Path(target): Path<Target>,
                            Path(part): Path<Part>,
                            query: Query| async move {
            answer(question, &state, &target, &part, &query)
        };
        router.route(&format!("{proxy}/{path}"), get(handler))
    })
}

fn answer(
    question: Question,
    state: &ApiState,
    target: &Target,
    part: &Part,
    query: &Query,
) -> Result<Response, ApiError> {
    let snapshot = state.store.snapshot();
    let proxy = Inspected::of(state, target, query, &snapshot)?;
    let outbound = || proxy.outbound(&part.part);
    let answer = match question {
        Question::Proxy => proxy.overview(query)?,
        Question::Inbound => json!({ "policies": proxy.of_inbound(&part.part)? }),
        Question::Outbound => json!({ "policies": proxy.of_outbound(&outbound()?, &[]) }),
        Question::Routes => json!({ "routes": proxy.routes_of(&outbound()?) }),
        Question::Route => json!({ "policies": proxy.of_outbound(&outbound()?, &[proxy.route(&part.route)?]) }),
    };
    Ok(response::ok(&answer))
}

impl Inspected<'_> {
    fn overview(&self, query: &Query) -> Result<Value, ApiError> {
        let whole = self.effective.whole.iter();
        let policies: Vec<Value> = whole
            .map(|(kind, effective)| self.policy(*kind, effective, effective.conf.clone()))
            .collect();
        let matched: Vec<Value> = self.matched.iter().map(|policy| self.matched_policy(policy)).collect();
        let warnings = self.matched.iter().flat_map(|policy| {
            let missing = self.mesh.missing(policy);
            let about = |missing| format!("{} {}: {missing}", policy.id.kind, policy.resource.display_name());
            missing.into_iter().map(about)
        });
        let silenced = self.silenced().map(|(kind, silenced)| format!("{kind} {silenced}"));
        let warnings: Vec<String> = warnings.chain(silenced).collect();
        let mut overview = Map::new();
        overview.insert("policies".into(), policies.into());
        if matched.is_empty() {
            overview.insert("message".into(), "no policy applies to this proxy".into());
        }
        overview.insert("matched".into(), matched.into());
        if !warnings.is_empty() {
            overview.insert("warnings".into(), json!(warnings));
        }
        if let Some(name) = query.first("destination") {
            let outbounds = self.outbounds(name, query.first("kind"), query.first("port"))?;
            let outbounds: Vec<Value> = outbounds
                .iter()
                .map(|outbound| self.outbound_in_full(outbound))
                .collect();
            overview.insert("outbounds".into(), outbounds.into());
        }
        Ok(Value::Object(overview))
    }

    /// A policy and the parts of the proxy that it applies to.
    fn matched_policy(&self, policy: &Policy) -> Value {
        let matched = &self.effective.matched;
        let is_among = |policies: &[Arc<Policy>]| policies.iter().any(|found| found.id == policy.id);
        let mut parts = Vec::new();
        if is_among(&matched.whole) {
            parts.push("proxy".to_owned());
        }
        for (inbound, policies) in self.dataplane.networking.inbound.iter().zip(&matched.inbounds) {
            if is_among(policies) && !is_silenced(policy, policies) {
                parts.push(format!("inbound {}", inbound.section()));
            }
        }
        if is_among(&matched.outbound) {
            parts.push("outbound".to_owned());
        }
        let mut written = meta(&policy.resource);
        if let Some(object) = written.as_object_mut() {
            object.insert("kri".into(), policy.kri().into());
            object.insert("role".into(), policy.role.name().into());
            object.insert("shadow".into(), policy.shadow.into());
            object.insert("appliesTo".into(), json!(parts));
        }
        written
    }

    fn outbound_in_full(&self, outbound: &Outbound<'_>) -> Value {
        json!({
            "kri": outbound.kri(),
            "resource": meta(outbound.resource),
            "port": outbound.port,
            "policies": self.of_outbound(outbound, &[]),
            "routes": self.routes_of(outbound),
        })
    }

    /// What applies to traffic to an outbound that takes these routes.
    fn of_outbound(&self, outbound: &Outbound<'_>, routes: &[PolicyId]) -> Vec<Value> {
        let kinds = PolicyKind::ALL
            .iter()
            .filter(|kind| kind.info().routing == Routing::None);
        let policies = kinds.filter_map(|kind| {
            let effective = self.effective.to(*kind, outbound.service, &outbound.section, routes)?;
            let conf = json!([effective.conf]);
            Some(self.policy(*kind, &effective, conf))
        });
        policies.collect()
    }

    fn policy(&self, kind: PolicyKind, effective: &Effective, conf: Value) -> Value {
        json!({
            "kind": kind.name(),
            "conf": conf,
            "origins": items(effective, &self.mesh.policies),
            "decidedBy": decided_by(effective, &self.mesh.policies),
        })
    }

    fn routes_of(&self, outbound: &Outbound<'_>) -> Vec<Value> {
        let kinds = PolicyKind::ALL
            .iter()
            .filter(|kind| kind.info().routing != Routing::None);
        let routes = kinds.filter_map(|kind| {
            let effective = self.effective.to(*kind, outbound.service, &outbound.section, &[])?;
            let rules = effective.conf.get("rules").and_then(Value::as_array);
            let rules = rules.into_iter().flatten().zip(effective.rule_origins());
            let rules: Vec<Value> = rules
                .map(|(rule, origins)| {
                    let origins: Vec<Value> = origins
                        .into_iter()
                        .map(|origin| item(origin, &self.mesh.policies))
                        .collect();
                    json!({
                        "kri": origins.last().and_then(|origin| origin.get("kri")),
                        "matches": rule.get("matches").cloned().unwrap_or_else(|| json!([])),
                        "conf": rule.get("default").cloned().unwrap_or_else(|| json!({})),
                        "origins": origins,
                    })
                })
                .collect();
            Some(json!({
                "kind": kind.name(),
                "rules": rules,
                "origins": items(&effective, &self.mesh.policies),
            }))
        });
        routes.collect()
    }

    /// The route of a KRI, which must be one that applies to the proxy.
    fn route(&self, text: &str) -> Result<PolicyId, ApiError> {
        let kri = parse_kri(text)?.to_string();
        let mut routes = self.effective.matched.outbound.iter();
        let found = routes.find(|policy| policy.id.kind.info().routing != Routing::None && policy.kri() == kri);
        let found = found.ok_or_else(|| ApiError::not_found(COULD_NOT_RETRIEVE))?;
        Ok(found.id.clone())
    }

    /// What applies to traffic that comes in at an inbound, which is named by its KRI, by `self_inbound_dp_<section>` or
    /// by its section: its name or port.
    fn of_inbound(&self, text: &str) -> Result<Vec<Value>, ApiError> {
        let position = self.inbound_position(text)?;
        let kinds = PolicyKind::ALL.iter();
        let policies = kinds.filter_map(|kind| {
            let rules = self.effective.inbound(*kind, position)?;
            (!rules.rules.is_empty()).then(|| self.inbound_policy(*kind, rules))
        });
        Ok(policies.collect())
    }

    fn inbound_position(&self, text: &str) -> Result<usize, ApiError> {
        let absent = || ApiError::not_found(COULD_NOT_RETRIEVE);
        let section = if text.starts_with("kri_") {
            let kri = parse_kri(text)?;
            let proxy = Kri {
                section: String::new(),
                ..kri.clone()
            };
            if self.resource.kri() != Some(proxy) {
                return Err(absent());
            }
            kri.section
        } else {
            text.strip_prefix("self_inbound_dp_").unwrap_or(text).to_owned()
        };
        let mut inbounds = self.dataplane.networking.inbound.iter();
        inbounds
            .position(|inbound| inbound.section() == section || inbound.port.to_string() == section)
            .ok_or_else(absent)
    }

    fn inbound_policy(&self, kind: PolicyKind, inbound: &InboundRules) -> Value {
        let policies = &self.mesh.policies;
        let mut all: Vec<Value> = Vec::new();
        let rules: Vec<Value> = inbound
            .rules
            .iter()
            .map(|rule| {
                let origins = items(&rule.effective, policies);
                let mut written = Map::new();
                if let Some(decisive) = origins.last().and_then(|origin| origin.get("kri")) {
                    written.insert("kri".into(), decisive.clone());
                }
                if !rule.clients.is_all() {
                    written.insert("match".into(), json!(rule.clients));
                }
                written.insert("conf".into(), rule.effective.conf.clone());
                for origin in &origins {
                    if !all.contains(origin) {
                        all.push(origin.clone());
                    }
                }
                written.insert("origins".into(), origins.into());
                written.insert("decidedBy".into(), decided_by(&rule.effective, policies).into());
                Value::Object(written)
            })
            .collect();
        json!({"kind": kind.name(), "rules": rules, "origins": all})
    }
}

/// A KRI in a path.
pub(super) fn parse_kri(text: &str) -> Result<Kri, ApiError> {
    text.parse().map_err(|error| ApiError::bad_request(format!("{error}")))
}
