//! MeshTimeout.

use std::sync::Arc;

use meshspan_model::policy::PolicyKind::{self, MeshTimeout};
use meshspan_world::view::{DestinationPolicies, HttpRule, Protocol};
use serde_json::{Value, json};

use crate::support::app::App;
use crate::support::inputs::*;
use crate::support::projected::{cluster, first_route, http_options, inbound_with, outbound_filter, route_action};
use crate::support::proxies::{Backend, Client, backend};

const REQUESTS: [Protocol; 3] = [Protocol::Http, Protocol::Http2, Protocol::Grpc];

fn timeouts(conf: Value) -> DestinationPolicies {
    policies([(MeshTimeout, conf)])
}

fn everything() -> Value {
    json!({
        "connectionTimeout": "1s",
        "idleTimeout": "2s",
        "http": {
            "requestTimeout": "3s",
            "streamIdleTimeout": "4s",
            "maxStreamDuration": "5s",
            "maxConnectionDuration": "6s",
            "requestHeadersTimeout": "7s",
        },
    })
}

#[test]
fn every_timeout_of_a_destination_arrives_whatever_http_it_speaks() {
    for protocol in REQUESTS {
        let destination = destination("backend", "main", protocol);
        let policies = timeouts(everything());
        let cluster = cluster(&destination, &policies);
        assert_eq!(cluster["connectTimeout"], "1s", "{protocol:?}");
        let options = &http_options(&cluster)["commonHttpProtocolOptions"];
        assert_eq!(options["idleTimeout"], "2s", "{protocol:?}");
        assert_eq!(options["maxStreamDuration"], "5s", "{protocol:?}");
        assert_eq!(options["maxConnectionDuration"], "6s", "{protocol:?}");
        let manager = outbound_filter(&destination, &policies);
        assert_eq!(
            manager["commonHttpProtocolOptions"]["idleTimeout"], "0s",
            "{protocol:?}"
        );
        assert_eq!(manager["streamIdleTimeout"], "4s", "{protocol:?}");
        assert_eq!(manager["requestHeadersTimeout"], "7s", "{protocol:?}");
        let action = &first_route(&manager)["route"];
        assert_eq!(action["timeout"], "3s", "{protocol:?}");
        assert_eq!(action["idleTimeout"], "4s", "{protocol:?}");
    }
}

#[test]
fn what_is_not_said_is_as_if_there_were_no_policy() {
    let said_nothing = [
        DestinationPolicies::default(),
        timeouts(json!({ "http": { "maxStreamDuration": "0s" } })),
    ];
    for policies in said_nothing {
        let destination = destination("backend", "main", Protocol::Http);
        let cluster = cluster(&destination, &policies);
        assert_eq!(cluster["connectTimeout"], "5s");
        let options = &http_options(&cluster)["commonHttpProtocolOptions"];
        assert_eq!(options["idleTimeout"], "3600s");
        assert_eq!(options["maxStreamDuration"], Value::Null);
        assert_eq!(options["maxConnectionDuration"], Value::Null);
        let manager = outbound_filter(&destination, &policies);
        assert_eq!(manager["streamIdleTimeout"], "1800s");
        assert_eq!(manager["requestHeadersTimeout"], Value::Null);
        assert_eq!(first_route(&manager)["route"]["timeout"], "15s");
    }
}

#[test]
fn off_is_not_the_default() {
    let off = timeouts(json!({ "idleTimeout": "0s", "http": { "requestTimeout": "0s", "streamIdleTimeout": "0s" } }));
    let http = destination("backend", "main", Protocol::Http);
    let cluster = cluster(&http, &off);
    let options = &http_options(&cluster)["commonHttpProtocolOptions"];
    assert_eq!(options["idleTimeout"], "0s");
    let manager = outbound_filter(&http, &off);
    assert_eq!(manager["streamIdleTimeout"], "0s");
    assert_eq!(first_route(&manager)["route"]["timeout"], "0s");
    let tcp = destination("backend", "main", Protocol::Tcp);
    assert_eq!(outbound_filter(&tcp, &off)["idleTimeout"], "0s");
}

#[test]
fn less_than_envoy_can_count_is_not_off() {
    let tiny = timeouts(json!({ "connectionTimeout": "1ns", "http": { "requestTimeout": "250us" } }));
    let http = destination("backend", "main", Protocol::Http);
    assert_eq!(cluster(&http, &tiny)["connectTimeout"], "0.001s");
    assert_eq!(route_action(&http, &tiny)["timeout"], "0.001s");
}

#[test]
fn connections_of_bytes_have_two_timeouts() {
    let tcp = destination("backend", "main", Protocol::Tcp);
    let policies = timeouts(everything());
    assert_eq!(cluster(&tcp, &policies)["connectTimeout"], "1s");
    assert_eq!(outbound_filter(&tcp, &policies)["idleTimeout"], "2s");
    assert_eq!(
        outbound_filter(&tcp, &DestinationPolicies::default())["idleTimeout"],
        "3600s"
    );
}

#[test]
fn inbounds_have_their_own_on_every_chain() {
    for protocol in REQUESTS {
        let conf = json!({ "rules": [{ "default": everything() }] });
        let (cluster, filters) = inbound_with(protocol, &[(MeshTimeout, conf)]);
        assert_eq!(cluster["connectTimeout"], "1s", "{protocol:?}");
        let options = &http_options(&cluster)["commonHttpProtocolOptions"];
        assert_eq!(options["idleTimeout"], "2s", "{protocol:?}");
        assert_eq!(options["maxStreamDuration"], "5s", "{protocol:?}");
        let (managers, bytes): (Vec<_>, Vec<_>) = filters.iter().partition(|filter| filter["routeConfig"].is_object());
        assert_eq!(
            (managers.len(), bytes.len()),
            (2, 1),
            "of mesh TLS, plaintext, and the application's own TLS"
        );
        assert_eq!(bytes[0]["idleTimeout"], "2s", "{protocol:?}");
        for manager in managers {
            assert_eq!(
                manager["commonHttpProtocolOptions"]["idleTimeout"], "2s",
                "{protocol:?}"
            );
            assert_eq!(manager["streamIdleTimeout"], "4s", "{protocol:?}");
            assert_eq!(manager["requestHeadersTimeout"], "7s", "{protocol:?}");
            assert_eq!(first_route(manager)["route"]["timeout"], "3s", "{protocol:?}");
        }
    }
    for (rules, connect, idle) in [(None, "10s", "7200s"), (Some("20s"), "20s", "7200s")] {
        let conf = rules.map(|connect| json!({ "rules": [{ "default": { "connectionTimeout": connect } }] }));
        let all: Vec<_> = conf.into_iter().map(|conf| (MeshTimeout, conf)).collect();
        let (cluster, filters) = inbound_with(Protocol::Http, &all);
        assert_eq!(cluster["connectTimeout"], connect);
        for manager in filters.iter().filter(|filter| filter["routeConfig"].is_object()) {
            assert_eq!(manager["commonHttpProtocolOptions"]["idleTimeout"], idle);
            assert_eq!(manager["streamIdleTimeout"], "3600s");
            assert_eq!(first_route(manager)["route"]["timeout"], "0s");
        }
    }
}

#[test]
fn a_route_has_the_timeouts_of_its_own_traffic() {
    let conf = |timeout: &str| json!({ "http": { "requestTimeout": timeout } });
    let mut policies = timeouts(conf("10s"));
    policies.http_rules = Some(vec![HttpRule {
        rule: json!({ "matches": [{ "path": { "type": "PathPrefix", "value": "/slow" } }], "default": {} }),
        name: "kri_mhttpr_default___slow_".to_owned(),
        backends: Vec::new(),
        mirrors: Vec::new(),
        confs: [(MeshTimeout, conf("60s"))].into_iter().collect(),
    }]);
    let manager = outbound_filter(&destination("backend", "main", Protocol::Http), &policies);
    let routes = manager["routeConfig"]["virtualHosts"][0]["routes"].as_array().unwrap();
    let timeout_of = |is_slow: bool| {
        let found = routes
            .iter()
            .filter(|route| route["match"].to_string().contains("/slow") == is_slow);
        found.map(|route| route["route"]["timeout"].clone()).collect::<Vec<_>>()
    };
    assert!(timeout_of(true).iter().all(|timeout| timeout == "60s"), "{routes:?}");
    assert!(timeout_of(false).iter().all(|timeout| timeout == "10s"), "{routes:?}");
}

/// A proxy that gives up early answers while one that does not still waits.
#[test]
fn a_slow_answer_is_given_up_on_either_side() {
    let app = App::http("east");
    let patient = Backend::start(app.port(), Protocol::Http, |_| {});
    let impatient = Backend::start(app.port(), Protocol::Http, |proxy| {
        let rules = json!({ "rules": [{ "default": { "http": { "requestTimeout": "300ms" } } }] });
        let allow = json!({ "rules": [{ "default": { "action": "Allow" } }] });
        let all = [(MeshTimeout, rules), (PolicyKind::MeshTrafficPermission, allow)];
        proxy.inbound_policies = vec![Arc::clone(&inbound_policies(&all))];
    });
    let to = |server: &Backend| backend(Protocol::Http, vec![own_zone(vec![ready(server.port())])]);
    let forever = timeouts(json!({ "http": { "requestTimeout": "0s" } }));
    let waits = Client::start_with(&to(&patient), &forever);
    let by_client = Client::start_with(
        &to(&patient),
        &timeouts(json!({ "http": { "requestTimeout": "300ms" } })),
    );
    let by_server = Client::start_with(&to(&impatient), &forever);

    app.hold();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| waits.ask_http());
        assert_eq!(by_client.ask_http(), Err(504));
        assert_eq!(by_client.envoy.counter("upstream_rq_timeout"), 1);
        assert_eq!(by_server.ask_http(), Err(504));
        assert_eq!(by_server.envoy.counter("upstream_rq_timeout"), 0);
        assert!(!waiting.is_finished());
        app.release();
        assert_eq!(waiting.join().unwrap().as_deref(), Ok("east"));
    });
}
