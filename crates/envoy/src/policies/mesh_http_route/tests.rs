//! Rules, and the Envoy routes that come of them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use envoy_types::pb::envoy::config::route::v3::route_match::PathSpecifier;
use meshspan_model::{ServiceIdentity, ServiceKind};
use meshspan_policy::Confs;
use meshspan_world::view::{Destination, DestinationKey, DestinationPolicies, Protocol, RouteBackend};
use serde_json::{Value, json};

use super::*;
use crate::http;

fn key(name: &str) -> DestinationKey {
    DestinationKey {
        service: ServiceIdentity {
            kind: ServiceKind::MeshMultiZoneService,
            mesh: "default".to_owned(),
            zone: String::new(),
            namespace: String::new(),
            name: name.to_owned(),
        },
        section: "http".to_owned(),
    }
}

fn to(name: &str, weight: u32) -> RouteBackend {
    RouteBackend {
        weight,
        destination: Some(key(name)),
    }
}

fn nowhere(weight: u32) -> RouteBackend {
    RouteBackend {
        weight,
        destination: None,
    }
}

/// A rule for all matches.
fn rule(name: &str, matches: Value, filters: Value) -> HttpRule {
    HttpRule {
        rule: json!({ "matches": matches, "default": { "filters": filters } }),
        name: name.to_owned(),
        backends: Vec::new(),
        mirrors: Vec::new(),
        confs: Confs::new(),
    }
}

fn with_backends(backends: Vec<RouteBackend>) -> HttpRule {
    HttpRule {
        backends,
        ..rule("r", json!([{}]), json!([]))
    }
}

fn path(how: &str, value: &str) -> Value {
    json!({ "path": { "type": how, "value": value } })
}

/// The routes of a destination with these rules.
fn routes_of(rules: Vec<HttpRule>) -> Vec<Route> {
    let destination = Destination {
        key: key("backend"),
        zone: "east".to_owned(),
        port: 80,
        vip: None,
        protocol: Protocol::Http,
        tls: None,
        localities: Vec::new(),
        egress: None,
    };
    let policies = DestinationPolicies {
        http_rules: Some(rules),
        ..Default::default()
    };
    let to = Towards {
        destination: &destination,
        policies: &policies,
        source: None,
    };
    let chain = http::outbound_chain(
        "listener",
        "kri_mzsvc_default___backend_http",
        "backend",
        Protocol::Http,
        &policies.confs,
    );
    let mut chain = Chain::Http(Box::new(chain));
    MeshHTTPRoute::outbound(None, &to, &mut chain);
    let Chain::Http(chain) = chain else {
        panic!("a chain keeps its protocol")
    };
    chain.routes.into_iter().map(|parts| parts.route).collect()
}

/// Routes as `name path`, with `=` for whole paths and `~` for expressions.
fn in_order(rules: Vec<HttpRule>) -> Vec<String> {
    let text = |route: Route| {
        let path = match route.r#match.unwrap().path_specifier.unwrap() {
            PathSpecifier::Path(path) => format!("={path}"),
            PathSpecifier::Prefix(prefix) => prefix,
            PathSpecifier::SafeRegex(regex) => format!("~{}", regex.regex),
            other => panic!("{other:?}"),
        };
        format!("{} {path}", route.name).trim().to_owned()
    };
    routes_of(rules).into_iter().map(text).collect()
}

fn forwarded(route: &Route) -> &RouteAction {
    match &route.action {
        Some(Action::Route(action)) => action,
        other => panic!("{other:?}"),
    }
}

#[test]
fn precise_matches_come_first_and_the_destination_last() {
    let header = json!([{ "name": "x", "value": "1" }]);
    let params = json!([{ "name": "q", "value": "1" }]);
    let one = |name: &str, found: Value| rule(name, json!([found]), json!([]));
    assert_eq!(
        in_order(vec![
            one("any", json!({ "headers": header })),
            one("regex", path("RegularExpression", "/a/very/long/.*")),
            one("short", path("PathPrefix", "/a")),
            one("long", path("PathPrefix", "/a/b")),
            one("exact", path("Exact", "/a")),
            one("exact too", path("Exact", "/a")),
            one(
                "params",
                json!({ "path": { "type": "Exact", "value": "/a" }, "queryParams": params })
            ),
            one(
                "headers",
                json!({ "path": { "type": "Exact", "value": "/a" }, "headers": header })
            ),
            one(
                "method",
                json!({ "path": { "type": "Exact", "value": "/a" }, "method": "GET" })
            ),
        ]),
        [
            "method =/a",
            "headers =/a",
            "params =/a",
            "exact =/a",
            "exact too =/a",
            "long =/a/b",
            "long /a/b/",
            "short =/a",
            "short /a/",
            "regex ~/a/very/long/.*",
            "any /",
            "/",
        ]
    );
}

#[test]
fn a_route_for_everything_leaves_nothing_to_add() {
    let everything = |matches: Value| in_order(vec![rule("r", matches, json!([]))]);
    assert_eq!(everything(json!([{}])), ["r /"]);
    assert_eq!(everything(json!([path("PathPrefix", "/")])), ["r /"]);
    assert_eq!(everything(json!([path("Exact", "/")])), ["r =/", "/"]);
    assert_eq!(everything(json!([{ "method": "GET" }])), ["r /", "/"]);
    assert_eq!(in_order(Vec::new()), ["/"]);
}

#[test]
fn backends_are_clusters_with_their_weights() {
    let weighted = |backends| {
        let routes = routes_of(vec![with_backends(backends)]);
        let action = forwarded(&routes[0]);
        let shares = match action.cluster_specifier.clone().unwrap() {
            ClusterSpecifier::Cluster(name) => vec![(name, 0)],
            ClusterSpecifier::WeightedClusters(all) => all
                .clusters
                .into_iter()
                .map(|one| (one.name, one.weight.unwrap().value))
                .collect(),
            other => panic!("{other:?}"),
        };
        let code = action.cluster_not_found_response_code();
        (shares, code == ClusterNotFoundResponseCode::InternalServerError)
    };
    let cluster = |name: &str| format!("kri_mzsvc_default___{name}_http");
    let missing = || names::NO_CLUSTER.to_owned();
    assert_eq!(weighted(vec![]), (vec![(cluster("backend"), 0)], false));
    assert_eq!(weighted(vec![to("a", 7)]), (vec![(cluster("a"), 0)], false));
    assert_eq!(
        weighted(vec![to("a", 9), to("b", 1), to("c", 0)]),
        (vec![(cluster("a"), 9), (cluster("b"), 1)], false)
    );
    assert_eq!(
        weighted(vec![to("a", 9), nowhere(1)]),
        (vec![(cluster("a"), 9), (missing(), 1)], true)
    );
    assert_eq!(weighted(vec![nowhere(3)]), (vec![(missing(), 0)], true));
    assert_eq!(weighted(vec![to("a", 0)]), (vec![(missing(), 0)], true));
}

#[test]
fn the_part_of_a_path_that_matched_is_replaced() {
    let replaced = |prefix: &str, new: &str| {
        let rewrite = json!({ "type": "ReplacePrefixMatch", "replacePrefixMatch": new });
        let filters = json!([{ "type": "URLRewrite", "urlRewrite": { "path": rewrite } }]);
        let routes = routes_of(vec![rule("r", json!([path("PathPrefix", prefix)]), filters)]);
        let own = routes.iter().filter(|route| route.name == "r");
        own.map(|route| forwarded(route).prefix_rewrite.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(replaced("/a", "/b"), ["/b", "/b/"]);
    assert_eq!(replaced("/a", "/b/"), ["/b", "/b/"]);
    assert_eq!(replaced("/a", "/"), ["/", "/"]);
    assert_eq!(replaced("/a", ""), ["/", "/"]);
    assert_eq!(replaced("/", "/b"), ["/b/"]);
    assert_eq!(replaced("/", "/"), ["/"]);
}

#[test]
fn of_several_rewrites_the_last_counts() {
    let full = json!({ "type": "ReplaceFullPath", "replaceFullPath": "/\\1" });
    let prefix = json!({ "type": "ReplacePrefixMatch", "replacePrefixMatch": "/b" });
    let rewritten = |paths: [&Value; 2]| {
        let filters = paths.map(|path| json!({ "type": "URLRewrite", "urlRewrite": { "path": path } }));
        let routes = routes_of(vec![rule("r", json!([path("PathPrefix", "/")]), json!(filters))]);
        let action = forwarded(&routes[0]);
        let full = action.regex_rewrite.clone().map(|rewrite| rewrite.substitution);
        (action.prefix_rewrite.clone(), full)
    };
    assert_eq!(rewritten([&full, &prefix]), ("/b/".to_owned(), None));
    assert_eq!(rewritten([&prefix, &full]), (String::new(), Some("/\\\\1".to_owned())));
}

#[test]
fn mirrors_keep_to_their_filters() {
    let mirror = |percentage: Value| {
        let backend = json!({ "kind": "MeshService", "name": "x" });
        json!({ "type": "RequestMirror", "requestMirror": { "percentage": percentage, "backendRef": backend } })
    };
    let filters = json!([
        mirror(json!(0)),
        mirror(json!("33.3")),
        mirror(json!(50)),
        mirror(Value::Null)
    ]);
    let with_mirrors = HttpRule {
        mirrors: vec![to("a", 1), to("b", 1), nowhere(1), to("d", 1)],
        ..rule("r", json!([{}]), filters)
    };
    let routes = routes_of(vec![with_mirrors]);
    let mirrors: Vec<_> = forwarded(&routes[0])
        .request_mirror_policies
        .iter()
        .map(|mirror| {
            let share = mirror.runtime_fraction.clone().unwrap().default_value.unwrap();
            (mirror.cluster.as_str(), share.numerator)
        })
        .collect();
    assert_eq!(
        mirrors,
        [
            ("kri_mzsvc_default___b_http", 333_000),
            ("kri_mzsvc_default___d_http", 1_000_000)
        ]
    );
}

#[test]
fn a_redirect_forwards_nothing() {
    let filters = json!([
        { "type": "RequestRedirect", "requestRedirect": {} },
        { "type": "URLRewrite", "urlRewrite": { "hostname": "a" } },
    ]);
    let routes = routes_of(vec![rule("r", json!([{}]), filters)]);
    let Some(Action::Redirect(redirect)) = &routes[0].action else {
        panic!("{routes:?}")
    };
    assert_eq!(redirect.response_code, 1, "302 where nothing is said");
}
