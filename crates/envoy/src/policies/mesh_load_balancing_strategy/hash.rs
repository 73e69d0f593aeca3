//! What consistent hashing looks at, in requests and in connections.

use envoy_types::pb::envoy::config::route::v3::route_action::HashPolicy as RouteHashPolicy;
use envoy_types::pb::envoy::config::route::v3::route_action::hash_policy as route;
use envoy_types::pb::envoy::r#type::v3::HashPolicy as ConnectionHashPolicy;
use envoy_types::pb::envoy::r#type::v3::hash_policy as connection;
use meshspan_model::kinds::mesh_load_balancing_strategy::{HashPolicy, HashPolicyType};

use crate::wkt::time;

/// For a route, in the same order.
pub(super) fn of_requests(policies: &[HashPolicy]) -> Vec<RouteHashPolicy> {
    policies.iter().filter_map(of_request).collect()
}

/// `None` if it hashes nothing.
fn of_request(policy: &HashPolicy) -> Option<RouteHashPolicy> {
    let specifier = match policy.kind? {
        HashPolicyType::Header => route::PolicySpecifier::Header(route::Header {
            header_name: policy.header.as_ref()?.name.to_ascii_lowercase(),
            ..Default::default()
        }),
        HashPolicyType::Cookie => {
            let cookie = policy.cookie.as_ref()?;
            route::PolicySpecifier::Cookie(route::Cookie {
                name: cookie.name.clone(),
                ttl: cookie.ttl.and_then(|ttl| time(ttl.0)),
                path: cookie.path.clone().unwrap_or_default(),
                ..Default::default()
            })
        }
        HashPolicyType::Connection if hashes_source(policy) => {
            route::PolicySpecifier::ConnectionProperties(route::ConnectionProperties { source_ip: true })
        }
        HashPolicyType::Connection => return None,
        HashPolicyType::QueryParameter => route::PolicySpecifier::QueryParameter(route::QueryParameter {
            name: policy.query_parameter.as_ref()?.name.clone(),
        }),
        HashPolicyType::FilterState => route::PolicySpecifier::FilterState(route::FilterState {
            key: policy.filter_state.as_ref()?.key.clone(),
        }),
    };
    Some(RouteHashPolicy {
        terminal: policy.terminal.unwrap_or_default(),
        policy_specifier: Some(specifier),
    })
}

/// For connections: Envoy takes one, so the first that looks at more than requests counts.
pub(super) fn of_connections(policies: &[HashPolicy]) -> Vec<ConnectionHashPolicy> {
    policies.iter().find_map(of_connection).into_iter().collect()
}

fn of_connection(policy: &HashPolicy) -> Option<ConnectionHashPolicy> {
    let specifier = match policy.kind? {
        HashPolicyType::Connection if hashes_source(policy) => {
            connection::PolicySpecifier::SourceIp(connection::SourceIp {})
        }
        HashPolicyType::FilterState => connection::PolicySpecifier::FilterState(connection::FilterState {
            key: policy.filter_state.as_ref()?.key.clone(),
        }),
        _ => return None,
    };
    Some(ConnectionHashPolicy {
        policy_specifier: Some(specifier),
    })
}

fn hashes_source(policy: &HashPolicy) -> bool {
    policy
        .connection
        .as_ref()
        .is_some_and(|connection| connection.source_ip == Some(true))
}
