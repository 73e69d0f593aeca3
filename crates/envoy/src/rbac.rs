//! Who may connect (`spec/dataplane.md` §5.2). Only for chains with mesh TLS: elsewhere clients have no identity.

use std::collections::HashMap;

use envoy_types::pb::envoy::config::listener::v3::Filter;
use envoy_types::pb::envoy::config::rbac::v3::{self as config, permission, principal, rbac};
use envoy_types::pb::envoy::extensions::filters::http::rbac::v3::Rbac as HttpRbac;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::HttpFilter;
use envoy_types::pb::envoy::extensions::filters::network::rbac::v3::Rbac as NetworkRbac;

use crate::http::http_filter;
use crate::names;
use crate::network::network_filter;

/// Name of the one policy, as it appears in access logs.
const POLICY: &str = "MeshTrafficPermission";

/// Decides per connection, at its first byte.
pub(crate) fn network(listener: &str, allowed: bool) -> Filter {
    let config = NetworkRbac {
        rules: Some(rules(allowed)),
        stat_prefix: format!("{}.", names::stat_prefix(listener)),
        ..Default::default()
    };
    network_filter("envoy.filters.network.rbac", config)
}

/// Decides per request; refused ones get 403.
pub(crate) fn http(allowed: bool) -> HttpFilter {
    http_filter(
        "envoy.filters.http.rbac",
        HttpRbac {
            rules: Some(rules(allowed)),
            ..Default::default()
        },
    )
}

fn rules(allowed: bool) -> config::Rbac {
    let anyone = config::Policy {
        permissions: vec![config::Permission {
            rule: Some(permission::Rule::Any(true)),
        }],
        principals: vec![config::Principal {
            identifier: Some(principal::Identifier::Any(true)),
        }],
        ..Default::default()
    };
    // Action ALLOW without a policy that matches is a denial.
    let policies = if allowed {
        HashMap::from([(POLICY.to_owned(), anyone)])
    } else {
        HashMap::new()
    };
    config::Rbac {
        action: rbac::Action::Allow.into(),
        policies,
        ..Default::default()
    }
}
