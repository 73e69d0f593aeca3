//! Random valid confs: one function a kind, here the table of them.
//!
//! They follow what `spec/policies.md` §2 calls valid and go to the edges of it. What the model refuses nevertheless is counted,
//! so that a generator that is no longer understood is noticed.

mod expressions;
mod load_balancing;
mod logs;
mod resilience;
mod routes;
mod security;
pub mod values;

use meshspan_model::policy::{Part, PolicyKind, TargetKind};
use serde_json::Value;

use crate::random::Random;

/// Where a conf stands.
#[derive(Clone, Copy)]
pub struct Place {
    pub part: Part,
    /// The kind at the top level.
    pub top: TargetKind,
    /// The kind of the destination, in `to`.
    pub to: Option<TargetKind>,
    /// Whether the destination is named with a section or by labels.
    pub narrow: bool,
}

impl Place {
    /// Whether it is about the requests of one route, not about connections.
    pub fn is_about_a_route(&self) -> bool {
        self.top == TargetKind::MeshHTTPRoute || self.to == Some(TargetKind::MeshHTTPRoute)
    }
}

/// What stands under `default`; for the kinds with routing rules, one of these.
pub type MakeConf = fn(&mut Random, &Place) -> Value;

/// The kinds that have an effect.
pub const KINDS: &[(PolicyKind, MakeConf)] = &[
    (PolicyKind::MeshHTTPRoute, routes::http_rule),
    (PolicyKind::MeshTCPRoute, routes::tcp_rule),
    (PolicyKind::MeshTLS, security::tls),
    (PolicyKind::MeshLoadBalancingStrategy, load_balancing::strategy),
    (PolicyKind::MeshAccessLog, logs::access_log),
    (PolicyKind::MeshTimeout, resilience::timeout),
    (PolicyKind::MeshTrafficPermission, security::traffic_permission),
    (PolicyKind::MeshCircuitBreaker, resilience::circuit_breaker),
    (PolicyKind::MeshHealthCheck, resilience::health_check),
    (PolicyKind::MeshRetry, resilience::retry),
];
