//! Routes of HTTP requests (`spec/policies.md` §2.6).
//!
//! Each match of a rule becomes a route, the most precise first; requests that none takes go to the destination. Here is
//! the list of routes; which requests a route takes is made in [`matches`], what it changes about them in [`filters`].

mod filters;
mod matches;
#[cfg(test)]
mod tests;

use std::cmp::Reverse;

use envoy_types::pb::envoy::config::route::v3::route::Action;
use envoy_types::pb::envoy::config::route::v3::route_action::{ClusterNotFoundResponseCode, ClusterSpecifier};
use envoy_types::pb::envoy::config::route::v3::weighted_cluster::ClusterWeight;
use envoy_types::pb::envoy::config::route::v3::{Route, RouteAction, RouteMatch, WeightedCluster};
use meshspan_model::kinds::mesh_http_route::filters::Filter;
use meshspan_model::kinds::mesh_http_route::matches::Match;
use meshspan_model::kinds::mesh_http_route::{Conf, Rule};
use meshspan_world::view::HttpRule;

use super::shares::{Share, shares};
use super::{Effect, Towards};
use crate::http::everything_to;
use crate::names;
use crate::parts::{Chain, RouteParts};
use crate::wkt::uint;

/// [`Effect`] of the kind.
pub(crate) struct MeshHTTPRoute;

impl Effect for MeshHTTPRoute {
    type Conf = Conf;

    fn outbound<'a>(_conf: Option<&Conf>, to: &Towards<'a>, chain: &mut Chain<'a>) {
        if let (Chain::Http(http), Some(rules)) = (chain, &to.policies.http_rules) {
            http.routes = routes(rules, to);
        }
    }
}

/// The routes of all rules. The order of rules, which is that of precedence, decides between equally precise matches.
fn routes<'a>(rules: &'a [HttpRule], to: &Towards<'a>) -> Vec<RouteParts<'a>> {
    let destination = names::destination(&to.destination.key);
    // Rules are checked one by one before they are stored, so one that cannot be read is nobody's input.
    let parsed: Vec<(Rule, &'a HttpRule)> = rules
        .iter()
        .filter_map(|rule| Some((serde_json::from_value(rule.rule.clone()).ok()?, rule)))
        .collect();
    let mut matched: Vec<(&Match, &Rule, &'a HttpRule)> = parsed
        .iter()
        .flat_map(|(parsed, rule)| {
            let matches = parsed.matches.iter().flatten();
            matches.map(move |found| (found, parsed, *rule))
        })
        .collect();
    matched.sort_by_key(|(found, ..)| Reverse(matches::precision(found)));
    let takes_everything = matched.iter().any(|(found, ..)| matches::is_everything(found));
    let mut routes: Vec<_> = matched
        .into_iter()
        .flat_map(|(found, parsed, rule)| {
            let shares = shares_of(rule, &destination);
            matches::route_matches(found).map(move |found| RouteParts {
                route: route(found, parsed, rule, &shares),
                confs: &rule.confs,
            })
        })
        .collect();
    if !takes_everything {
        routes.push(RouteParts {
            route: everything_to(&destination),
            confs: &to.policies.confs,
        });
    }
    routes
}

fn shares_of(rule: &HttpRule, destination: &str) -> Vec<Share> {
    if rule.backends.is_empty() {
        return vec![Share {
            cluster: destination.to_owned(),
            weight: 1,
        }];
    }
    shares(&rule.backends)
}

fn route(found: RouteMatch, parsed: &Rule, rule: &HttpRule, shares: &[Share]) -> Route {
    let mut route = Route {
        name: rule.name.clone(),
        r#match: Some(found),
        action: Some(Action::Route(forward(shares))),
        ..Default::default()
    };
    let filters: &[Filter] = parsed
        .default
        .as_ref()
        .and_then(|default| default.filters.as_deref())
        .unwrap_or_default();
    let mut mirrors = rule.mirrors.iter();
    for filter in filters {
        filters::apply(filter, &mut mirrors, &mut route);
    }
    route
}

/// Shares that go nowhere are answered with 500. Where there are none Envoy's own 503 stays, for clusters on their way.
fn forward(shares: &[Share]) -> RouteAction {
    let mut action = RouteAction {
        cluster_specifier: Some(specifier(shares)),
        ..Default::default()
    };
    if shares.iter().any(Share::fails) {
        action.set_cluster_not_found_response_code(ClusterNotFoundResponseCode::InternalServerError);
    }
    action
}

fn specifier(shares: &[Share]) -> ClusterSpecifier {
    if let [only] = shares {
        return ClusterSpecifier::Cluster(only.cluster.clone());
    }
    let weighted = shares.iter().map(|share| ClusterWeight {
        name: share.cluster.clone(),
        weight: uint(share.weight),
        ..Default::default()
    });
    ClusterSpecifier::WeightedClusters(WeightedCluster {
        clusters: weighted.collect(),
        ..Default::default()
    })
}
