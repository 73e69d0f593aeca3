//! MeshCircuitBreaker.

use std::sync::Arc;

use meshspan_model::policy::PolicyKind::{self, MeshCircuitBreaker};
use meshspan_world::view::{DestinationPolicies, Protocol};
use serde_json::{Value, json};

use crate::support::app::App;
use crate::support::envoy::eventually;
use crate::support::inputs::*;
use crate::support::projected::{cluster, http_options, inbound_with};
use crate::support::proxies::{Backend, Client, backend};

fn breaker(conf: Value) -> DestinationPolicies {
    policies([(MeshCircuitBreaker, conf)])
}

fn projected(protocol: Protocol, policies: &DestinationPolicies) -> Value {
    cluster(&destination("backend", "main", protocol), policies)
}

#[test]
fn without_a_policy_limits_are_wide_and_the_unreachable_are_ejected_but_for_the_last() {
    let (requests, bytes) = (
        projected(Protocol::Grpc, &DestinationPolicies::default()),
        projected(Protocol::Tcp, &DestinationPolicies::default()),
    );
    for cluster in [&requests, &bytes] {
        assert_eq!(
            cluster["circuitBreakers"],
            json!({ "thresholds": [{
                "maxConnections": 1024, "maxPendingRequests": 1024, "maxRequests": 1024, "maxRetries": 1024,
            }] })
        );
        assert_eq!(cluster["outlierDetection"]["maxEjectionPercent"], 99);
        assert_eq!(cluster["outlierDetection"]["enforcingConsecutive5xx"], 0);
        assert_eq!(cluster["outlierDetection"]["splitExternalLocalOriginErrors"], true);
        assert_eq!(cluster["commonLbConfig"]["healthyPanicThreshold"], json!({}));
    }
    assert_eq!(requests["outlierDetection"]["consecutiveLocalOriginFailure"], 5);
    assert_eq!(bytes["outlierDetection"]["consecutiveLocalOriginFailure"], 1);
    // Of answers those alone count that say that the application is unreachable.
    let counted = &http_options(&requests)["outlierDetection"]["errorMatcher"];
    assert_eq!(
        counted["httpResponseHeadersMatch"]["headers"],
        json!([{ "name": "x-meshspan-application-unreachable", "presentMatch": true }])
    );
    let by_policy = projected(Protocol::Http, &breaker(json!({ "outlierDetection": {} })));
    assert_eq!(http_options(&by_policy)["outlierDetection"], Value::Null);
}

#[test]
fn limits_that_are_not_said_stay_as_they_are() {
    let all = json!({ "connectionLimits": {
        "maxConnections": 1, "maxConnectionPools": 2, "maxPendingRequests": 3, "maxRetries": 4, "maxRequests": 5,
    } });
    let found = projected(Protocol::Http, &breaker(all));
    assert_eq!(
        found["circuitBreakers"]["thresholds"],
        json!([{
            "maxConnections": 1, "maxConnectionPools": 2, "maxPendingRequests": 3, "maxRetries": 4, "maxRequests": 5,
            "trackRemaining": true,
        }])
    );
    let default = projected(Protocol::Http, &DestinationPolicies::default());
    assert_eq!(found["outlierDetection"], default["outlierDetection"]);
    let one = projected(
        Protocol::Http,
        &breaker(json!({ "connectionLimits": { "maxRequests": 5 } })),
    );
    assert_eq!(
        one["circuitBreakers"]["thresholds"],
        json!([{
            "maxConnections": 1024, "maxPendingRequests": 1024, "maxRetries": 1024, "maxRequests": 5,
            "trackRemaining": true,
        }])
    );
}

#[test]
fn every_setting_of_outlier_detection_arrives() {
    let conf = json!({ "outlierDetection": {
        "interval": "5s",
        "baseEjectionTime": "40s",
        "maxEjectionPercent": 30,
        "splitExternalAndLocalErrors": true,
        "healthyPanicThreshold": "33.3",
        "detectors": {
            "totalFailures": { "consecutive": 11 },
            "gatewayFailures": { "consecutive": 12 },
            "localOriginFailures": { "consecutive": 13 },
            "successRate": { "minimumHosts": 14, "requestVolume": 15, "standardDeviationFactor": "1.9" },
            "failurePercentage": { "minimumHosts": 16, "requestVolume": 17, "threshold": 85 },
        },
    } });
    let found = projected(Protocol::Http, &breaker(conf));
    assert_eq!(
        found["outlierDetection"],
        json!({
            "interval": "5s",
            "baseEjectionTime": "40s",
            "maxEjectionPercent": 30,
            "splitExternalLocalOriginErrors": true,
            "consecutive5xx": 11,
            "enforcingConsecutive5xx": 100,
            "consecutiveGatewayFailure": 12,
            "enforcingConsecutiveGatewayFailure": 100,
            "consecutiveLocalOriginFailure": 13,
            "enforcingConsecutiveLocalOriginFailure": 100,
            "successRateMinimumHosts": 14,
            "successRateRequestVolume": 15,
            "successRateStdevFactor": 1900,
            "enforcingSuccessRate": 100,
            "enforcingLocalOriginSuccessRate": 100,
            "failurePercentageMinimumHosts": 16,
            "failurePercentageRequestVolume": 17,
            "failurePercentageThreshold": 85,
            "enforcingFailurePercentage": 100,
            "enforcingFailurePercentageLocalOrigin": 100,
        })
    );
    assert_eq!(
        found["commonLbConfig"]["healthyPanicThreshold"],
        json!({ "value": 33.3 })
    );
    let default = projected(Protocol::Http, &DestinationPolicies::default());
    assert_eq!(found["circuitBreakers"], default["circuitBreakers"]);
}

#[test]
fn detectors_that_are_not_listed_are_off() {
    let names = [
        ("totalFailures", "enforcingConsecutive5xx"),
        ("gatewayFailures", "enforcingConsecutiveGatewayFailure"),
        ("localOriginFailures", "enforcingConsecutiveLocalOriginFailure"),
        ("successRate", "enforcingSuccessRate"),
        ("failurePercentage", "enforcingFailurePercentage"),
    ];
    for (listed, _) in names {
        let found = projected(
            Protocol::Http,
            &breaker(json!({ "outlierDetection": { "detectors": { listed: {} } } })),
        );
        let detection = &found["outlierDetection"];
        for (name, field) in names {
            assert_eq!(
                detection[field],
                if name == listed { 100 } else { 0 },
                "{listed}: {field}"
            );
        }
        // Times are as without a policy.
        assert_eq!(detection["interval"], "0.250s");
        assert_eq!(detection["baseEjectionTime"], "2s");
        assert_eq!(detection["maxEjectionPercent"], 99);
    }
    let off = projected(
        Protocol::Http,
        &breaker(json!({ "outlierDetection": { "disabled": true } })),
    );
    assert_eq!(off["outlierDetection"], Value::Null);
}

#[test]
fn inbounds_are_limited_by_their_own_rules() {
    let rules = |conf: Value| [(MeshCircuitBreaker, json!({ "rules": [{ "default": conf }] }))];
    let (cluster, _) = inbound_with(Protocol::Http, &[]);
    assert_eq!(cluster["circuitBreakers"], Value::Null);
    assert_eq!(cluster["outlierDetection"], Value::Null);
    let (cluster, _) = inbound_with(
        Protocol::Http,
        &rules(json!({ "connectionLimits": { "maxRequests": 5 } })),
    );
    assert_eq!(cluster["circuitBreakers"]["thresholds"][0]["maxRequests"], 5);
    assert_eq!(cluster["outlierDetection"], Value::Null);
    let detection = json!({ "outlierDetection": { "detectors": { "totalFailures": { "consecutive": 3 } } } });
    let (cluster, _) = inbound_with(Protocol::Http, &rules(detection));
    assert_eq!(cluster["outlierDetection"]["consecutive5xx"], 3);
}

/// With one request under way the next one fails at once, on whichever side the limit is.
#[test]
fn what_is_beyond_a_limit_fails_at_once() {
    let app = App::http("east");
    let limits = json!({ "connectionLimits": { "maxRequests": 1 } });
    let open = Backend::start(app.port(), Protocol::Http, |_| {});
    let limited = Backend::start(app.port(), Protocol::Http, |proxy| {
        let allow = json!({ "rules": [{ "default": { "action": "Allow" } }] });
        let all = [
            (MeshCircuitBreaker, json!({ "rules": [{ "default": limits }] })),
            (PolicyKind::MeshTrafficPermission, allow),
        ];
        proxy.inbound_policies = vec![Arc::clone(&inbound_policies(&all))];
    });
    let to = |server: &Backend| backend(Protocol::Http, vec![own_zone(vec![ready(server.port())])]);
    let by_client = (Client::start_with(&to(&open), &breaker(limits.clone())), &open);
    let by_server = (
        Client::start_with(&to(&limited), &DestinationPolicies::default()),
        &limited,
    );
    for (client, server) in [by_client, by_server] {
        app.hold();
        std::thread::scope(|scope| {
            let first = scope.spawn(|| client.ask_http());
            eventually("the first request is on its way", || {
                (server.envoy.counter("upstream_rq_active") == 1).then_some(())
            });
            assert_eq!(client.ask_http(), Err(503));
            assert!(!first.is_finished());
            app.release();
            assert_eq!(first.join().unwrap().as_deref(), Ok("east"));
        });
        assert_eq!(client.ask_http().as_deref(), Ok("east"));
    }
}

#[test]
fn only_listed_failures_eject() {
    let app = App::http("east");
    let server = Backend::start(app.port(), Protocol::Http, |_| {});
    let to = backend(Protocol::Http, vec![own_zone(vec![ready(server.port())])]);
    let detect = |detectors: Value| {
        breaker(
            json!({ "outlierDetection": { "baseEjectionTime": "1h", "maxEjectionPercent": 100, "detectors": detectors } }),
        )
    };
    app.set_status(500);
    let client = Client::start_with(&to, &detect(json!({ "totalFailures": { "consecutive": 2 } })));
    assert_eq!([client.ask_http(), client.ask_http()], [Err(500), Err(500)]);
    eventually("the endpoint is ejected", || {
        (client.ask_http() == Err(503)).then_some(())
    });
    assert_eq!(client.envoy.counter("outlier_detection.ejections_active"), 1);

    app.set_status(503);
    for policies in [
        detect(json!({ "localOriginFailures": { "consecutive": 1 } })),
        breaker(json!({ "outlierDetection": { "disabled": true } })),
    ] {
        let client = Client::start_with(&to, &policies);
        for _ in 0..20 {
            assert_eq!(client.ask_http(), Err(503));
        }
        assert_eq!(client.envoy.counter("outlier_detection.ejections_enforced_total"), 0);
    }
}
