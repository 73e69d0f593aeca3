//! The RBAC filters of Envoy, for requests and for connections.
//!
//! Envoy's filter takes one action. So denials get a filter of their own, before the one that lets clients in: that one
//! refuses everybody else.

use std::collections::HashMap;

use envoy_types::pb::envoy::config::listener::v3::Filter;
use envoy_types::pb::envoy::config::rbac::v3::rbac::Action;
use envoy_types::pb::envoy::config::rbac::v3::{Permission, Policy, Principal, Rbac, permission};
use envoy_types::pb::envoy::extensions::filters::http::rbac::v3::Rbac as HttpRbac;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::HttpFilter;
use envoy_types::pb::envoy::extensions::filters::network::rbac::v3::Rbac as NetworkRbac;
use envoy_types::pb::envoy::r#type::matcher::v3::StringMatcher;
use envoy_types::pb::envoy::r#type::matcher::v3::string_matcher::MatchPattern;

use super::clients::{Clients, Decisions};
use crate::encode::merged;
use crate::http::packed_http_filter;
use crate::names;
use crate::network::packed_network_filter;

/// Name of the policies, as it appears in access logs and metadata.
const POLICY: &str = "MeshTrafficPermission";

/// What one filter does.
struct Rules {
    action: Action,
    clients: Clients,
    /// Clients that are counted and reported as refused, without consequences.
    reported: Clients,
}

/// The filters that the decisions make necessary, by the end of their names.
fn filters(decisions: Decisions) -> Vec<(&'static str, Rules)> {
    let denied = (!decisions.denied.is_empty()).then_some((
        ".deny",
        Rules {
            action: Action::Deny,
            clients: decisions.denied,
            reported: Clients::new(),
        },
    ));
    let allowed = (
        "",
        Rules {
            // Without a policy that matches it is a denial.
            action: Action::Allow,
            clients: decisions.allowed,
            reported: decisions.reported,
        },
    );
    denied.into_iter().chain([allowed]).collect()
}

/// Decides per request; refused ones get 403.
pub(super) fn http(decisions: Decisions) -> Vec<HttpFilter> {
    let filter = |(suffix, rules): (&str, Rules)| {
        let parts = rules.parts().map(|(rules, shadow_rules)| HttpRbac {
            rules,
            shadow_rules,
            ..Default::default()
        });
        packed_http_filter(&format!("envoy.filters.http.rbac{suffix}"), merged(parts))
    };
    filters(decisions).into_iter().map(filter).collect()
}

/// Decides per connection, at its first byte.
pub(super) fn network(listener: &str, decisions: Decisions) -> Vec<Filter> {
    let filter = |(suffix, rules): (&str, Rules)| {
        let parts = rules.parts().map(|(rules, shadow_rules)| NetworkRbac {
            rules,
            shadow_rules,
            stat_prefix: format!("{}{suffix}.", names::stat_prefix(listener)),
            ..Default::default()
        });
        packed_network_filter(&format!("envoy.filters.network.rbac{suffix}"), merged(parts))
    };
    filters(decisions).into_iter().map(filter).collect()
}

impl Rules {
    /// Rules and shadow rules in parts, none of which holds more than one policy.
    fn parts(self) -> impl Iterator<Item = (Option<Rbac>, Option<Rbac>)> {
        let whole = Rbac {
            action: self.action.into(),
            ..Default::default()
        };
        let action = self.action;
        let clients = self.clients.into_iter();
        let reported = self.reported.into_iter();
        [(Some(whole), None)]
            .into_iter()
            .chain(clients.map(move |(sni, principals)| (Some(one_policy(action, sni, principals)), None)))
            .chain(reported.map(|(sni, principals)| (None, Some(one_policy(Action::Deny, sni, principals)))))
    }
}

fn one_policy(action: Action, sni: Option<String>, principals: Vec<Principal>) -> Rbac {
    let (name, rule) = match sni {
        None => (POLICY.to_owned(), permission::Rule::Any(true)),
        Some(sni) => (
            format!("{POLICY}/{sni}"),
            permission::Rule::RequestedServerName(StringMatcher {
                match_pattern: Some(MatchPattern::Exact(sni)),
                ..Default::default()
            }),
        ),
    };
    let policy = Policy {
        permissions: vec![Permission { rule: Some(rule) }],
        principals,
        ..Default::default()
    };
    Rbac {
        action: action.into(),
        policies: HashMap::from([(name, policy)]),
        ..Default::default()
    }
}
