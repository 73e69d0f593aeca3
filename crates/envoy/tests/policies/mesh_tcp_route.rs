use meshspan_world::view::{Destination, DestinationPolicies, HttpRule, Protocol, RouteBackend};
use serde_json::json;

use crate::support::app::App;
use crate::support::inputs::*;
use crate::support::proxies::{Backend, Client};

fn plain(name: &str, protocol: Protocol, port: u16) -> Destination {
    with_localities(destination(name, "main", protocol), vec![own_zone(vec![ready(port)])])
}

fn share(destination: &Destination, weight: u32) -> RouteBackend {
    RouteBackend {
        weight,
        destination: Some(destination.key.clone()),
    }
}

fn nowhere(weight: u32) -> RouteBackend {
    RouteBackend {
        weight,
        destination: None,
    }
}

fn route(backends: Vec<RouteBackend>) -> DestinationPolicies {
    DestinationPolicies {
        tcp_backends: Some(backends),
        ..default_policies()
    }
}

#[test]
fn connections_go_to_backends_by_weight() {
    let (old_app, new_app) = (App::line("old"), App::line("new"));
    let old = plain("backend", Protocol::Tcp, old_app.port());
    let new = plain("new", Protocol::Tcp, new_app.port());
    let start = |backends| Client::start_among(&old, &route(backends), std::slice::from_ref(&new));

    let moved = start(vec![share(&new, 1)]);
    assert_eq!(moved.ask_line().as_deref(), Some("new"));
    let unmoved = start(Vec::new());
    assert_eq!(
        unmoved.ask_line().as_deref(),
        Some("old"),
        "no backend means the destination"
    );

    let split = start(vec![share(&old, 80), share(&new, 20)]);
    let to_new = (0..400)
        .filter(|_| split.ask_line().expect("no connection fails") == "new")
        .count();
    assert!((40..=120).contains(&to_new), "{to_new} of 400 went to the new one");
}

#[test]
fn the_share_of_a_backend_that_is_gone_is_reset() {
    let app = App::line("app");
    let service = plain("backend", Protocol::Tcp, app.port());
    let half = Client::start_with(&service, &route(vec![share(&service, 1), nowhere(1)]));
    let answered = (0..100).filter(|_| half.ask_line().is_some()).count();
    assert!((20..=80).contains(&answered), "{answered} of 100 were answered");
    for none in [vec![nowhere(1)], vec![share(&service, 0)]] {
        let client = Client::start_with(&service, &route(none));
        assert!((0..5).all(|_| client.ask_line().is_none()));
    }
}

#[test]
fn requests_are_bytes_unless_an_http_route_says_more() {
    let (old_app, new_app) = (App::http("old"), App::http("new"));
    let old_server = Backend::start(old_app.port(), Protocol::Http, |_| {});
    let new_server = Backend::start(new_app.port(), Protocol::Http, |_| {});
    let over_tls = |name, server: &Backend| {
        over_tls(
            plain(name, Protocol::Http, server.port()),
            &["spiffe://default/backend"],
        )
    };
    let (old, new) = (over_tls("backend", &old_server), over_tls("new", &new_server));
    let as_bytes = route(vec![share(&new, 1)]);
    let client = Client::start_among(&old, &as_bytes, std::slice::from_ref(&new));
    assert_eq!(client.ask_http().as_deref(), Ok("new"));
    assert_eq!(client.envoy.counter("tcp.*downstream_cx_total"), 1);

    let rule = HttpRule {
        rule: json!({ "matches": [{ "path": { "type": "Exact", "value": "/other" } }] }),
        name: "kri_mhttpr_default___other_".to_owned(),
        backends: Vec::new(),
        mirrors: Vec::new(),
        confs: default_policies().confs,
    };
    let both = DestinationPolicies {
        http_rules: Some(vec![rule]),
        ..as_bytes
    };
    let client = Client::start_among(&old, &both, &[new]);
    assert_eq!(client.ask_http().as_deref(), Ok("old"));
}
