//! Timeouts, retries, circuit breakers, health checks.

use serde_json::{Value, json};

use super::Place;
use super::values::{
    count, duration, flag, header_matches, header_modifier, header_name, percent, positive, positive_duration, text,
    whole_percent, with,
};
use crate::random::Random;

pub fn timeout(random: &mut Random, place: &Place) -> Value {
    if place.is_about_a_route() {
        let http = random.some(&[("requestTimeout", duration), ("streamIdleTimeout", duration)]);
        return json!({ "http": http });
    }
    random.some(&[
        ("connectionTimeout", positive_duration),
        ("idleTimeout", duration),
        ("http", |random| {
            random.some(&[
                ("requestTimeout", duration),
                ("streamIdleTimeout", duration),
                ("maxStreamDuration", duration),
                ("maxConnectionDuration", duration),
                ("requestHeadersTimeout", duration),
            ])
        }),
    ])
}

pub fn retry(random: &mut Random, place: &Place) -> Value {
    if place.is_about_a_route() {
        return random.some(&[("http", http_retry), ("grpc", grpc_retry)]);
    }
    random.some(&[
        ("tcp", |random| json!({ "maxConnectAttempt": positive(random) })),
        ("http", http_retry),
        ("grpc", grpc_retry),
    ])
}

fn http_retry(random: &mut Random) -> Value {
    random.some(&[
        ("numRetries", count),
        ("perTryTimeout", duration),
        ("backOff", back_off),
        ("rateLimitedBackOff", rate_limited_back_off),
        ("retryOn", |random| {
            let on = [
                "5xx",
                "GatewayError",
                "Reset",
                "Retriable4xx",
                "ConnectFailure",
                "EnvoyRatelimited",
                "RefusedStream",
                "Http3PostConnectFailure",
                "HttpMethodGet",
                "HttpMethodPost",
                "HttpMethodConnect",
                "503",
                "429",
                "500",
            ];
            random.several(&on, 1).into()
        }),
        ("retriableRequestHeaders", header_matches),
        ("retriableResponseHeaders", header_matches),
        ("hostSelection", |random| {
            let mut predicates = random.several(
                &[
                    json!({"predicate": "OmitPreviousHosts"}),
                    json!({"predicate": "OmitHostsWithTags", "tags": {"version": "v1", "team": "shop"}}),
                    json!({"predicate": "OmitHostsWithTags", "tags": {"version": "v2"}}),
                    json!({"predicate": "OmitPreviousPriorities"}),
                ],
                1,
            );
            for predicate in &mut predicates {
                if predicate["predicate"] == "OmitPreviousPriorities" && random.chance(50) {
                    predicate["updateFrequency"] = positive(random);
                }
            }
            predicates.into()
        }),
        ("hostSelectionMaxAttempts", positive),
    ])
}

fn grpc_retry(random: &mut Random) -> Value {
    random.some(&[
        ("numRetries", count),
        ("perTryTimeout", duration),
        ("backOff", back_off),
        ("rateLimitedBackOff", rate_limited_back_off),
        ("retryOn", |random| {
            let on = [
                "Canceled",
                "DeadlineExceeded",
                "Internal",
                "ResourceExhausted",
                "Unavailable",
            ];
            random.several(&on, 1).into()
        }),
    ])
}

fn back_off(random: &mut Random) -> Value {
    // Together only in this order; the merge of two policies may have them otherwise.
    random.one_of(&[
        json!({ "baseInterval": "100ms" }),
        json!({ "baseInterval": "2h" }),
        json!({ "maxInterval": "1ms" }),
        json!({ "maxInterval": "1h" }),
        json!({ "baseInterval": "10ms", "maxInterval": "10ms" }),
        json!({ "baseInterval": "250us", "maxInterval": "1s" }),
    ])
}

fn rate_limited_back_off(random: &mut Random) -> Value {
    let headers = random.list(
        1,
        2,
        |random| json!({ "name": header_name(random), "format": random.one_of(&["Seconds", "UnixTimestamp"]) }),
    );
    with(
        random.maybe(&[("maxInterval", positive_duration)]),
        json!({ "resetHeaders": headers }),
    )
}

pub fn circuit_breaker(random: &mut Random, _: &Place) -> Value {
    random.some(&[
        ("connectionLimits", |random| {
            random.some(&[
                ("maxConnections", positive),
                ("maxConnectionPools", positive),
                ("maxPendingRequests", positive),
                ("maxRetries", positive),
                ("maxRequests", positive),
            ])
        }),
        ("outlierDetection", |random| {
            let detectors = random.some(&[
                ("totalFailures", |random| random.maybe(&[("consecutive", positive)])),
                ("gatewayFailures", |random| random.maybe(&[("consecutive", positive)])),
                ("localOriginFailures", |random| {
                    random.maybe(&[("consecutive", positive)])
                }),
                ("successRate", |random| {
                    random.maybe(&[
                        ("minimumHosts", positive),
                        ("requestVolume", positive),
                        ("standardDeviationFactor", |random| {
                            random.one_of(&["1.9", "0.5", "3", "0", "0.0001", "4294967.295"])
                        }),
                    ])
                }),
                ("failurePercentage", |random| {
                    random.maybe(&[
                        ("minimumHosts", positive),
                        ("requestVolume", positive),
                        ("threshold", whole_percent),
                    ])
                }),
            ]);
            let rest = random.maybe(&[
                ("disabled", flag),
                ("interval", positive_duration),
                ("baseEjectionTime", positive_duration),
                ("maxEjectionPercent", whole_percent),
                ("splitExternalAndLocalErrors", flag),
                ("healthyPanicThreshold", percent),
            ]);
            with(rest, json!({ "detectors": detectors }))
        }),
    ])
}

pub fn health_check(random: &mut Random, _: &Place) -> Value {
    let checks = random.some(&[
        ("tcp", |random| {
            random.maybe(&[
                ("disabled", flag),
                ("send", |random| random.one_of(&["cGluZw==", "UElORw0K"])),
                ("receive", |random| {
                    random.list(1, 2, |random| random.one_of(&["cG9uZw==", "UE9ORw0K"]))
                }),
            ])
        }),
        ("http", |random| {
            random.maybe(&[
                ("disabled", flag),
                ("path", |random| random.one_of(&["/", "/health", "/a%20b?c=%20#d"])),
                ("requestHeadersToAdd", |random| header_modifier(random, false)),
                ("expectedStatuses", |random| {
                    random.several(&[200, 204, 301, 404, 503, 100, 599], 1).into()
                }),
            ])
        }),
        ("grpc", |random| {
            random.maybe(&[
                ("disabled", flag),
                ("serviceName", text),
                ("authority", |random| random.one_of(&["orders.mesh", "orders.mesh:80"])),
            ])
        }),
    ]);
    let rest = random.maybe(&[
        ("interval", positive_duration),
        ("timeout", positive_duration),
        ("unhealthyThreshold", positive),
        ("healthyThreshold", positive),
        ("initialJitter", positive_duration),
        ("intervalJitter", positive_duration),
        ("intervalJitterPercent", whole_percent),
        ("noTrafficInterval", positive_duration),
        ("healthyPanicThreshold", percent),
        ("failTrafficOnPanic", flag),
        ("eventLogPath", |random| {
            random.one_of(&["/dev/null", "/tmp/health.log"])
        }),
        ("alwaysLogHealthCheckFailures", flag),
        ("reuseConnection", flag),
    ]);
    with(rest, checks)
}
