//! MeshRetry.

use std::sync::Arc;

use meshspan_envoy::endpoints_basis;
use meshspan_model::policy::PolicyKind::MeshRetry;
use meshspan_world::view::{DestinationPolicies, Endpoint, HttpRule, Protocol};
use serde_json::{Value, json};

use crate::support::app::{App, closed_port};
use crate::support::inputs::*;
use crate::support::projected::{endpoints, outbound_filter, route_action};
use crate::support::proxies::{Backend, Client, backend};

fn retries(conf: Value) -> DestinationPolicies {
    policies([(MeshRetry, conf)])
}

/// The retry policy for requests of a protocol.
fn policy(protocol: Protocol, conf: Value) -> Value {
    route_action(&destination("backend", "main", protocol), &retries(conf))["retryPolicy"].clone()
}

fn tagged(endpoint: Endpoint, tags: &[(&str, &str)]) -> Endpoint {
    let tags = tags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    Endpoint {
        tags: Arc::new(tags.collect()),
        ..endpoint
    }
}

#[test]
fn without_a_policy_nothing_is_tried_again() {
    let nothing = DestinationPolicies::default();
    for protocol in [Protocol::Http, Protocol::Http2, Protocol::Grpc] {
        let action = route_action(&destination("backend", "main", protocol), &nothing);
        assert_eq!(action["retryPolicy"], Value::Null, "{protocol:?}");
    }
    let proxy = outbound_filter(&destination("backend", "main", Protocol::Tcp), &nothing);
    assert_eq!(proxy["maxConnectAttempts"], Value::Null);
}

#[test]
fn what_is_not_said_has_defaults() {
    for protocol in [Protocol::Http, Protocol::Http2] {
        assert_eq!(
            policy(protocol, json!({ "http": { "numRetries": 3 } })),
            json!({
                "numRetries": 3,
                "retryOn": "gateway-error,connect-failure,refused-stream",
                "retryBackOff": { "baseInterval": "0.025s", "maxInterval": "0.250s" },
                "retryPriority": {
                    "name": "envoy.retry_priorities.previous_priorities",
                    "typedConfig": {
                        "@type": "type.googleapis.com/envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig",
                        "updateFrequency": 1,
                    },
                },
            }),
            "{protocol:?}"
        );
    }
    let grpc = policy(Protocol::Grpc, json!({ "grpc": { "perTryTimeout": "1s" } }));
    assert_eq!(grpc["numRetries"], 1);
    assert_eq!(
        grpc["retryOn"],
        "cancelled,connect-failure,gateway-error,refused-stream,reset,resource-exhausted,unavailable"
    );
    assert_eq!(grpc["retryPriority"]["typedConfig"]["updateFrequency"], 1);
}

#[test]
fn a_protocol_has_its_own_part() {
    let http = json!({ "http": { "numRetries": 3 } });
    let grpc = json!({ "grpc": { "numRetries": 4 } });
    assert_eq!(policy(Protocol::Grpc, http), Value::Null);
    assert_eq!(policy(Protocol::Http2, grpc.clone()), Value::Null);
    assert_eq!(policy(Protocol::Grpc, grpc)["numRetries"], 4);
}

#[test]
fn no_retries_are_none() {
    let none = json!({ "http": { "numRetries": 0, "retryOn": ["5xx"] }, "grpc": { "numRetries": 0 } });
    assert_eq!(policy(Protocol::Http, none.clone()), Value::Null);
    assert_eq!(policy(Protocol::Grpc, none), Value::Null);
}

#[test]
fn an_empty_list_of_conditions_is_none() {
    for (protocol, part) in [(Protocol::Http, "http"), (Protocol::Grpc, "grpc")] {
        assert_eq!(
            policy(protocol, json!({ part: { "numRetries": 2, "retryOn": [] } })),
            policy(protocol, json!({ part: { "numRetries": 2 } }))
        );
    }
}

#[test]
fn statuses_add_to_the_usual_conditions() {
    let found = policy(Protocol::Http, json!({ "http": { "retryOn": ["500"] } }));
    assert_eq!(
        found["retryOn"],
        "gateway-error,connect-failure,refused-stream,retriable-status-codes"
    );
}

#[test]
fn calls_that_meet_a_dead_endpoint_are_unavailable() {
    let app = App::http("east");
    let server = Backend::start(app.port(), Protocol::Http, |_| {});
    let hosts = vec![ready(closed_port()), ready(closed_port()), ready(server.port())];
    let client = Client::start_with(
        &backend(Protocol::Grpc, vec![own_zone(hosts)]),
        &retries(json!({ "grpc": { "numRetries": 5, "retryOn": ["Unavailable", "DeadlineExceeded"] } })),
    );
    for _ in 0..20 {
        assert_eq!(client.ask_http().as_deref(), Ok("east"));
    }
}

#[test]
fn every_condition_is_said_in_the_words_of_envoy() {
    let all = json!([
        "5xx",
        "GatewayError",
        "Reset",
        "Retriable4xx",
        "ConnectFailure",
        "EnvoyRatelimited",
        "RefusedStream",
        "Http3PostConnectFailure",
        "HttpMethodGet",
        "HttpMethodTrace",
        "429",
        "503"
    ]);
    let found = policy(
        Protocol::Http,
        json!({ "http": {
        "retryOn": all,
        "retriableRequestHeaders": [{ "type": "Prefix", "name": "x-again", "value": "y" }],
        "retriableResponseHeaders": [
            { "type": "Present", "name": "x-busy" },
            { "type": "Absent", "name": "x-done" },
            { "type": "RegularExpression", "name": "x-code", "value": "4.." },
            { "name": "x-exact", "value": "1" },
        ],
    } }),
    );
    assert_eq!(
        found["retryOn"],
        "5xx,gateway-error,reset,retriable-4xx,connect-failure,envoy-ratelimited,refused-stream,\
         http3-post-connect-failure,retriable-status-codes,retriable-headers"
    );
    assert_eq!(found["retriableStatusCodes"], json!([429, 503]));
    assert_eq!(
        found["retriableRequestHeaders"],
        json!([
            { "name": ":method", "stringMatch": { "exact": "GET" } },
            { "name": ":method", "stringMatch": { "exact": "TRACE" } },
            { "name": "x-again", "stringMatch": { "prefix": "y" } },
        ])
    );
    assert_eq!(
        found["retriableHeaders"],
        json!([
            { "name": "x-busy", "presentMatch": true },
            { "name": "x-done", "presentMatch": false },
            { "name": "x-code", "stringMatch": { "safeRegex": { "regex": "4.." } } },
            { "name": "x-exact", "stringMatch": { "exact": "1" } },
        ])
    );
    let all = json!([
        "Canceled",
        "DeadlineExceeded",
        "Internal",
        "ResourceExhausted",
        "Unavailable"
    ]);
    let found = policy(Protocol::Grpc, json!({ "grpc": { "retryOn": all } }));
    assert_eq!(
        found["retryOn"],
        "cancelled,deadline-exceeded,internal,resource-exhausted,unavailable,connect-failure,refused-stream,reset"
    );
}

#[test]
fn methods_alone_limit_the_usual_retries() {
    let found = policy(Protocol::Http, json!({ "http": { "retryOn": ["HttpMethodPut"] } }));
    assert_eq!(found["retryOn"], "gateway-error,connect-failure,refused-stream");
    assert_eq!(found["retriableRequestHeaders"][0]["stringMatch"]["exact"], "PUT");
}

#[test]
fn pauses_are_such_that_envoy_takes_them() {
    let pauses = |back_off: Value| {
        let found = policy(Protocol::Http, json!({ "http": { "backOff": back_off } }));
        let text = |field: &str| found["retryBackOff"][field].as_str().unwrap().to_owned();
        (text("baseInterval"), text("maxInterval"))
    };
    let pair = |base: &str, max: &str| (base.to_owned(), max.to_owned());
    assert_eq!(pauses(json!({ "baseInterval": "1s" })), pair("1s", "10s"));
    assert_eq!(pauses(json!({ "maxInterval": "1s" })), pair("0.025s", "1s"));
    assert_eq!(pauses(json!({ "maxInterval": "10ms" })), pair("0.010s", "0.010s"));
    // From two policies.
    assert_eq!(
        pauses(json!({ "baseInterval": "2s", "maxInterval": "1s" })),
        pair("1s", "1s")
    );

    let limited = |conf: Value| {
        policy(Protocol::Grpc, json!({ "grpc": { "rateLimitedBackOff": conf } }))["rateLimitedRetryBackOff"].clone()
    };
    let headers =
        json!([{ "name": "retry-after", "format": "Seconds" }, { "name": "x-at", "format": "UnixTimestamp" }]);
    assert_eq!(
        limited(json!({ "resetHeaders": headers })),
        json!({
            "resetHeaders": [{ "name": "retry-after" }, { "name": "x-at", "format": "UNIX_TIMESTAMP" }],
            "maxInterval": "300s",
        })
    );
    assert_eq!(limited(json!({ "maxInterval": "1s" })), Value::Null);
}

#[test]
fn attempts_have_a_timeout_and_hosts_a_choice() {
    let found = policy(
        Protocol::Http,
        json!({ "http": {
        "perTryTimeout": "2s",
        "hostSelection": [
            { "predicate": "OmitPreviousHosts" },
            { "predicate": "OmitPreviousPriorities" },
        ],
        "hostSelectionMaxAttempts": 5,
    } }),
    );
    assert_eq!(found["perTryTimeout"], "2s");
    assert_eq!(found["hostSelectionRetryMaxAttempts"], "5");
    assert_eq!(
        found["retryHostPredicate"][0]["name"],
        "envoy.retry_host_predicates.previous_hosts"
    );
    assert_eq!(found["retryPriority"]["typedConfig"]["updateFrequency"], 2);

    let anywhere = policy(
        Protocol::Http,
        json!({ "http": { "hostSelection": [], "perTryTimeout": "0s" } }),
    );
    assert_eq!(anywhere["retryPriority"], Value::Null);
    assert_eq!(anywhere["perTryTimeout"], Value::Null);
}

#[test]
fn hosts_that_are_left_out_by_tags_are_marked() {
    let omitting = |tags: Value| {
        let selection = json!([{ "predicate": "OmitHostsWithTags", "tags": tags }]);
        retries(json!({ "http": { "numRetries": 1, "hostSelection": selection } }))
    };
    let service = with_localities(
        destination("backend", "main", Protocol::Http),
        vec![
            own_zone(vec![
                tagged(ready(1), &[("team", "shop"), ("version", "v1")]),
                tagged(ready(2), &[("team", "core"), ("version", "v1")]),
            ]),
            other_zone("west", vec![ready(3)]),
        ],
    );
    let marks = |policies: &DestinationPolicies| -> Vec<Value> {
        let assignment = endpoints(&service, policies);
        let groups = assignment["endpoints"].as_array().unwrap().clone();
        let hosts = groups.iter().flat_map(|group| group["lbEndpoints"].as_array().unwrap());
        hosts
            .map(|host| host["metadata"]["filterMetadata"]["envoy.lb"]["omitted-by-retries"].clone())
            .collect()
    };
    let both = omitting(json!({ "version": "v1", "team": "shop" }));
    let action = route_action(&service, &both);
    let predicate = &action["retryPolicy"]["retryHostPredicate"][0];
    assert_eq!(predicate["name"], "envoy.retry_host_predicates.omit_host_metadata");
    assert_eq!(
        predicate["typedConfig"]["metadataMatch"]["filterMetadata"]["envoy.lb"],
        json!({ "omitted-by-retries": "team=shop&version=v1" })
    );
    assert_eq!(
        marks(&both),
        [json!(["team=shop&version=v1"]), Value::Null, Value::Null]
    );
    let zone = omitting(json!({ "kuma.io/zone": "west" }));
    assert_eq!(marks(&zone), [Value::Null, Value::Null, json!(["kuma.io/zone=west"])]);
    assert_eq!(marks(&default_policies()), [Value::Null, Value::Null, Value::Null]);

    // What is said of a route counts as well, and makes another list of endpoints.
    let of_route = DestinationPolicies {
        http_rules: Some(vec![HttpRule {
            rule: json!({ "matches": [], "default": {} }),
            name: String::new(),
            backends: Vec::new(),
            mirrors: Vec::new(),
            confs: both.confs.clone(),
        }]),
        ..Default::default()
    };
    assert_eq!(marks(&of_route), marks(&both));
    assert_eq!(endpoints_basis(&of_route), endpoints_basis(&both));
    assert_ne!(endpoints_basis(&of_route), endpoints_basis(&zone));
}

#[test]
fn connections_have_attempts() {
    let tcp = destination("backend", "main", Protocol::Tcp);
    let proxy = outbound_filter(&tcp, &retries(json!({ "tcp": { "maxConnectAttempt": 7 } })));
    assert_eq!(proxy["maxConnectAttempts"], 7);
    let proxy = outbound_filter(&tcp, &retries(json!({ "http": { "numRetries": 7 } })));
    assert_eq!(proxy["maxConnectAttempts"], Value::Null);
}

#[test]
fn a_failed_request_is_tried_as_often_as_said() {
    let app = App::http("east");
    let server = Backend::start(app.port(), Protocol::Http, |_| {});
    let to = |protocol| backend(protocol, vec![own_zone(vec![ready(server.port())])]);
    let http = |retry_on: Value| json!({ "http": { "numRetries": 2, "retryOn": retry_on } });
    for (protocol, status, conf, retried) in [
        (Protocol::Http, 500, http(json!(["500"])), 2),
        (Protocol::Http2, 500, http(json!(["5xx"])), 2),
        (Protocol::Http, 500, http(json!(["GatewayError"])), 0),
        (Protocol::Http, 500, http(json!(["5xx", "HttpMethodPost"])), 0),
        (
            Protocol::Http,
            500,
            http(json!(["5xx", "HttpMethodPost", "HttpMethodGet"])),
            2,
        ),
        (Protocol::Http, 503, json!({ "http": { "numRetries": 0 } }), 0),
        (Protocol::Grpc, 503, json!({ "grpc": { "numRetries": 3 } }), 3),
    ] {
        app.set_status(status);
        let client = Client::start_with(&to(protocol), &retries(conf.clone()));
        assert_eq!(client.ask_http(), Err(status), "{conf}");
        assert_eq!(
            client.envoy.counter("upstream_rq_retry"),
            retried,
            "{protocol:?} {conf}"
        );
    }
}

#[test]
fn retries_avoid_hosts_with_certain_tags() {
    let (bad, good) = (App::http("v1"), App::http("v2"));
    bad.set_status(500);
    let servers = [&bad, &bad, &good].map(|app| Backend::start(app.port(), Protocol::Http, |_| {}));
    let [first, second, third] = &servers;
    let hosts = vec![
        tagged(ready(first.port()), &[("version", "v1")]),
        tagged(ready(second.port()), &[("version", "v1")]),
        tagged(ready(third.port()), &[("version", "v2")]),
    ];
    let client = Client::start_with(
        &backend(Protocol::Http, vec![own_zone(hosts)]),
        &retries(json!({ "http": {
            "numRetries": 1,
            "retryOn": ["500"],
            "hostSelection": [{ "predicate": "OmitHostsWithTags", "tags": { "version": "v1" } }],
            "hostSelectionMaxAttempts": 10,
        } })),
    );
    for _ in 0..9 {
        assert_eq!(client.ask_http().as_deref(), Ok("v2"));
    }
    assert!(client.envoy.counter("upstream_rq_retry") > 0);
}

#[test]
fn a_connection_is_tried_again_only_where_a_policy_says_so() {
    let app = App::line("east");
    let server = Backend::start(app.port(), Protocol::Tcp, |_| {});
    let hosts = vec![ready(closed_port()), ready(closed_port()), ready(server.port())];
    let service = backend(Protocol::Tcp, vec![own_zone(hosts)]);
    let client = Client::start_with(&service, &retries(json!({ "tcp": { "maxConnectAttempt": 5 } })));
    for _ in 0..5 {
        assert_eq!(client.ask_line().as_deref(), Some("east"));
    }
    let client = Client::start_with(&service, &DestinationPolicies::default());
    let failed = (0..3).filter(|_| client.ask_line().is_none()).count();
    assert!(failed >= 1, "no host is dead");
}
