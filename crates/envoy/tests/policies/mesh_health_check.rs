//! MeshHealthCheck.

use meshspan_model::policy::PolicyKind::MeshHealthCheck;
use meshspan_world::view::{DestinationPolicies, InboundTls, Protocol};
use serde_json::{Value, json};

use crate::support::app::App;
use crate::support::envoy::eventually;
use crate::support::inputs::*;
use crate::support::projected::cluster;
use crate::support::proxies::{Backend, Client, backend};

/// Healthy endpoints of the destination, as Envoy counts them.
const HEALTHY: &str = "backend_main.membership_healthy";

fn checks(conf: Value) -> DestinationPolicies {
    policies([(MeshHealthCheck, conf)])
}

fn projected(protocol: Protocol, conf: Value) -> Value {
    cluster(&destination("backend", "main", protocol), &checks(conf))
}

#[test]
fn without_a_policy_nothing_is_checked() {
    let cluster = cluster(
        &destination("backend", "main", Protocol::Http),
        &DestinationPolicies::default(),
    );
    assert_eq!(cluster["healthChecks"], Value::Null);
    assert_eq!(cluster["ignoreHealthOnHostRemoval"], Value::Null);
}

#[test]
fn what_is_not_said_has_defaults() {
    let cluster = projected(Protocol::Http2, json!({ "http": {} }));
    assert_eq!(
        cluster["healthChecks"],
        json!([{
            "interval": "60s",
            "timeout": "15s",
            "unhealthyThreshold": 5,
            "healthyThreshold": 1,
            "httpHealthCheck": { "path": "/", "codecClientType": "HTTP2" },
        }])
    );
    assert_eq!(cluster["ignoreHealthOnHostRemoval"], true);
    assert_eq!(cluster["commonLbConfig"]["healthyPanicThreshold"], json!({}));
}

#[test]
fn every_setting_arrives() {
    let cluster = projected(
        Protocol::Http,
        json!({
            "interval": "1s",
            "timeout": "2s",
            "unhealthyThreshold": 3,
            "healthyThreshold": 4,
            "initialJitter": "5s",
            "intervalJitter": "6s",
            "intervalJitterPercent": 7,
            "healthyPanicThreshold": "62.9",
            "failTrafficOnPanic": false,
            "eventLogPath": "/dev/null",
            "alwaysLogHealthCheckFailures": true,
            "noTrafficInterval": "8s",
            "reuseConnection": false,
            "http": {
                "path": "/health",
                "requestHeadersToAdd": {
                    "set": [{ "name": "x-share", "value": "100%" }],
                    "add": [{ "name": "x-from", "value": "mesh" }],
                },
                "expectedStatuses": [200, 404],
            },
        }),
    );
    assert_eq!(
        cluster["healthChecks"],
        json!([{
            "interval": "1s",
            "timeout": "2s",
            "unhealthyThreshold": 3,
            "healthyThreshold": 4,
            "initialJitter": "5s",
            "intervalJitter": "6s",
            "intervalJitterPercent": 7,
            "alwaysLogHealthCheckFailures": true,
            "noTrafficInterval": "8s",
            "reuseConnection": false,
            "eventLogger": [{
                "name": "envoy.health_check.event_sinks.file",
                "typedConfig": {
                    "@type": "type.googleapis.com/envoy.extensions.health_check.event_sinks.file.v3.HealthCheckEventFileSink",
                    "eventLogPath": "/dev/null",
                },
            }],
            "httpHealthCheck": {
                "path": "/health",
                "codecClientType": "HTTP2",
                "expectedStatuses": [{ "start": "200", "end": "201" }, { "start": "404", "end": "405" }],
                "requestHeadersToAdd": [
                    { "header": { "key": "x-share", "value": "100%%" }, "appendAction": "OVERWRITE_IF_EXISTS_OR_ADD" },
                    { "header": { "key": "x-from", "value": "mesh" } },
                ],
            },
        }])
    );
    assert_eq!(
        cluster["commonLbConfig"]["healthyPanicThreshold"],
        json!({ "value": 62.9 })
    );
    let strict = projected(
        Protocol::Http,
        json!({ "healthyPanicThreshold": 50, "failTrafficOnPanic": true, "http": {} }),
    );
    assert_eq!(strict["commonLbConfig"]["healthyPanicThreshold"], json!({}));
}

#[test]
fn the_check_is_the_one_closest_to_the_protocol() {
    let off = json!({ "disabled": true });
    for (protocol, conf, expected) in [
        (
            Protocol::Http,
            json!({ "tcp": {}, "http": {}, "grpc": {} }),
            "httpHealthCheck",
        ),
        (
            Protocol::Http2,
            json!({ "tcp": {}, "http": {}, "grpc": {} }),
            "httpHealthCheck",
        ),
        (
            Protocol::Grpc,
            json!({ "tcp": {}, "http": {}, "grpc": {} }),
            "grpcHealthCheck",
        ),
        (
            Protocol::Tcp,
            json!({ "tcp": {}, "http": {}, "grpc": {} }),
            "tcpHealthCheck",
        ),
        (Protocol::Http, json!({ "tcp": {}, "http": off }), "tcpHealthCheck"),
        (Protocol::Grpc, json!({ "tcp": {}, "http": {} }), "tcpHealthCheck"),
        (Protocol::Http, json!({ "tcp": off, "http": off }), ""),
        (Protocol::Http, json!({ "grpc": {} }), ""),
        (Protocol::Tcp, json!({ "http": {} }), ""),
        (Protocol::Tcp, json!({ "tcp": off, "http": {} }), ""),
    ] {
        let cluster = projected(protocol, conf.clone());
        let kinds = ["httpHealthCheck", "grpcHealthCheck", "tcpHealthCheck"];
        let found: String = kinds
            .into_iter()
            .filter(|kind| !cluster["healthChecks"][0][kind].is_null())
            .collect();
        assert_eq!(found, expected, "{protocol:?} {conf}");
    }
    let call = json!({ "grpc": { "serviceName": "shop.Cart", "authority": "cart:80" } });
    assert_eq!(
        projected(Protocol::Grpc, call)["healthChecks"][0]["grpcHealthCheck"],
        json!({ "serviceName": "shop.Cart", "authority": "cart:80" })
    );
}

#[test]
fn payloads_are_base64() {
    let conf = json!({ "tcp": { "send": "UElORw0K", "receive": ["UE8=", "Tkc="] } });
    assert_eq!(
        projected(Protocol::Tcp, conf)["healthChecks"][0]["tcpHealthCheck"],
        json!({ "send": { "text": "50494e470d0a" }, "receive": [{ "text": "504f" }, { "text": "4e47" }] })
    );
}

/// Often enough for a test, whether there is traffic or not.
fn often(mut conf: Value) -> Value {
    conf["interval"] = "100ms".into();
    conf["noTrafficInterval"] = "100ms".into();
    conf["unhealthyThreshold"] = 1.into();
    conf
}

#[test]
fn an_unhealthy_application_gets_no_requests_until_it_recovers() {
    let (first, second) = (App::http("first"), App::http("second"));
    let servers = [&first, &second].map(|app| {
        // Checks are mesh traffic too, or a Permissive proxy would take them for the application's own TLS.
        Backend::start(app.port(), Protocol::Http, |proxy| {
            proxy.inbound_tls = InboundTls::Permissive;
        })
    });
    let hosts = servers.iter().map(|server| ready(server.port())).collect();
    let client = Client::start_with(
        &backend(Protocol::Http, vec![own_zone(hosts)]),
        &checks(often(json!({ "http": { "path": "/health" } }))),
    );
    let healthy = |count: u64| {
        eventually("checks say so", || {
            (client.envoy.counter(HEALTHY) == count).then_some(())
        });
    };
    healthy(2);
    second.set_status(503);
    healthy(1);
    for _ in 0..10 {
        assert_eq!(client.ask_http().as_deref(), Ok("first"));
    }
    second.set_status(200);
    healthy(2);
    eventually("both answer again", || {
        (client.ask_http().as_deref() == Ok("second")).then_some(())
    });
}

#[test]
fn bytes_are_sent_and_expected() {
    let app = App::line("east");
    let server = Backend::start(app.port(), Protocol::Tcp, |_| {});
    // "ping" and a line end; "east: ping", "west: ping". The application closes after its answer, which would be a failure
    // on a connection that is to be used again.
    for (receive, healthy) in [("ZWFzdDogcGluZw==", 1), ("d2VzdDogcGluZw==", 0)] {
        let client = Client::start_with(
            &backend(Protocol::Tcp, vec![own_zone(vec![ready(server.port())])]),
            &checks(often(json!({
                "reuseConnection": false,
                "tcp": { "send": "cGluZwo=", "receive": [receive] },
            }))),
        );
        let outcome = if healthy == 1 { "success" } else { "failure" };
        eventually("it is checked", || {
            (client.envoy.counter(&format!("health_check.{outcome}")) > 0).then_some(())
        });
        eventually("the result counts", || {
            (client.envoy.counter(HEALTHY) == healthy).then_some(())
        });
        assert_eq!(client.ask_line().is_some(), healthy == 1);
    }
}
