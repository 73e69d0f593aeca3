//! The policies that a new mesh starts with (`spec/policies.md` §2.17). They are created once, with the mesh: what the user
//! changes stays changed, and what the user deletes stays deleted.
//!
//! Three values are not those of the reference, all for services that span zones: a connection is given up after 2 s
//! instead of 5 s, so that another zone is tried while the caller still waits; retries are limited like requests instead
//! of to 3 at a time, so that they survive the loss of a zone under load; and a retry leaves the zone that failed.

use meshspan_model::kinds::mesh::Mesh;
use meshspan_model::policy::{PolicyKind, Role};
use meshspan_model::{Resource, labels};
use serde_json::{Value, json};

use crate::rules::policy::set_role;
use crate::settings::Mode;

/// The first policies of a mesh, but for the kinds that it declines in `skipCreatingInitialPolicies`.
pub(crate) fn of_mesh(mesh: &str, spec: &Mesh, mode: &Mode) -> Vec<Resource> {
    let declined = &spec.skip_creating_initial_policies;
    let wanted = |kind: PolicyKind| !declined.iter().any(|name| name == "*" || name == kind.name());
    let all = [
        (PolicyKind::MeshTimeout, "mesh-timeout-all", timeout()),
        (PolicyKind::MeshTimeout, "mesh-gateways-timeout-all", gateway_timeout()),
        (
            PolicyKind::MeshCircuitBreaker,
            "mesh-circuit-breaker-all",
            circuit_breaker(),
        ),
        (PolicyKind::MeshRetry, "mesh-retry-all", retry()),
    ];
    all.into_iter()
        .filter(|(kind, ..)| wanted(*kind))
        .map(|(kind, prefix, spec)| {
            let mut policy = Resource::new(kind.kind(), mesh, format!("{prefix}-{mesh}"), spec);
            labels::compute(policy.kind, mesh, &policy.name, mode.role(), &mut policy.labels);
            set_role(&mut policy, Role::System);
            policy
        })
        .collect()
}

/// In the older form `from`, so that zones of every version read it.
fn timeout() -> Value {
    json!({
        "targetRef": {"kind": "Mesh", "proxyTypes": ["Sidecar"]},
        "from": [{
            "targetRef": {"kind": "Mesh"},
            "default": {
                "connectionTimeout": "10s",
                "idleTimeout": "2h",
                "http": {"requestTimeout": "0s", "streamIdleTimeout": "1h", "maxStreamDuration": "0s"},
            },
        }],
        "to": [{
            "targetRef": {"kind": "Mesh"},
            "default": {
                "connectionTimeout": "2s",
                "idleTimeout": "1h",
                "http": {"requestTimeout": "15s", "streamIdleTimeout": "30m"},
            },
        }],
    })
}

/// For delegated gateways, whose clients are strangers: less patience with what they begin and do not finish.
fn gateway_timeout() -> Value {
    json!({
        "targetRef": {"kind": "Mesh", "proxyTypes": ["Gateway"]},
        "from": [{
            "targetRef": {"kind": "Mesh"},
            "default": {
                "idleTimeout": "5m",
                "http": {"streamIdleTimeout": "5s", "requestHeadersTimeout": "500ms"},
            },
        }],
        "to": [{
            "targetRef": {"kind": "Mesh"},
            "default": {
                "connectionTimeout": "2s",
                "idleTimeout": "1h",
                "http": {"streamIdleTimeout": "5s"},
            },
        }],
    })
}

fn circuit_breaker() -> Value {
    let limits = json!({
        "maxConnections": 1024,
        "maxPendingRequests": 1024,
        "maxRequests": 1024,
        "maxRetries": 1024,
    });
    to_mesh(json!({ "connectionLimits": limits }))
}

fn retry() -> Value {
    let requests = json!({
        "numRetries": 5,
        "perTryTimeout": "16s",
        "backOff": {"baseInterval": "25ms", "maxInterval": "250ms"},
        "hostSelection": [{"predicate": "OmitPreviousPriorities", "updateFrequency": 1}],
    });
    to_mesh(json!({"tcp": {"maxConnectAttempt": 5}, "http": requests, "grpc": requests}))
}

fn to_mesh(conf: Value) -> Value {
    json!({
        "targetRef": {"kind": "Mesh"},
        "to": [{"targetRef": {"kind": "Mesh"}, "default": conf}],
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::panic)]
    use super::*;

    fn names(declined: &[&str]) -> Vec<String> {
        let spec = Mesh {
            skip_creating_initial_policies: declined.iter().map(|name| (*name).to_owned()).collect(),
            ..Mesh::default()
        };
        let policies = of_mesh("shop", &spec, &Mode::Global);
        policies.into_iter().map(|policy| policy.name).collect()
    }

    #[test]
    fn all_are_valid() {
        for policy in of_mesh("default", &Mesh::default(), &Mode::Global) {
            let checked = policy.kind.check(&policy.spec);
            let warnings = checked
                .unwrap_or_else(|error| panic!("{}: {error}", policy.name))
                .warnings;
            let is_expected = |warning: &String| warning == "spec.from is deprecated: use spec.rules";
            assert!(warnings.iter().all(is_expected), "{}: {warnings:?}", policy.name);
        }
    }

    #[test]
    fn a_mesh_can_decline_them() {
        assert_eq!(
            names(&[]),
            [
                "mesh-timeout-all-shop",
                "mesh-gateways-timeout-all-shop",
                "mesh-circuit-breaker-all-shop",
                "mesh-retry-all-shop"
            ]
        );
        assert_eq!(
            names(&["MeshRetry", "MeshTrace"]),
            [
                "mesh-timeout-all-shop",
                "mesh-gateways-timeout-all-shop",
                "mesh-circuit-breaker-all-shop"
            ]
        );
        assert!(names(&["*"]).is_empty());
    }
}
