//! MeshCircuitBreaker.

use meshspan_model::Kind;
use serde_json::{Value, json};

use crate::fixtures::{violations, warnings};

fn to(conf: Value) -> Value {
    json!({ "to": [{ "targetRef": { "kind": "Mesh" }, "default": conf }] })
}

fn outlier(field: &str, value: Value) -> Value {
    let mut detection = json!({ "detectors": { "totalFailures": {} } });
    detection[field] = value;
    json!({ "outlierDetection": detection })
}

#[test]
fn every_field_is_accepted_in_every_part() {
    let conf = json!({
        "connectionLimits": {
            "maxConnections": 1,
            "maxConnectionPools": 2,
            "maxPendingRequests": 3,
            "maxRetries": 4,
            "maxRequests": 5,
        },
        "outlierDetection": {
            "disabled": false,
            "interval": "5s",
            "baseEjectionTime": "30s",
            "maxEjectionPercent": 100,
            "splitExternalAndLocalErrors": true,
            "healthyPanicThreshold": "33.3",
            "detectors": {
                "totalFailures": { "consecutive": 10 },
                "gatewayFailures": { "consecutive": 10 },
                "localOriginFailures": { "consecutive": 10 },
                "successRate": { "minimumHosts": 5, "requestVolume": 10, "standardDeviationFactor": "1.9" },
                "failurePercentage": { "minimumHosts": 5, "requestVolume": 10, "threshold": 85 },
            },
        },
    });
    assert_eq!(warnings(Kind::MeshCircuitBreaker, to(conf.clone())), [""; 0]);
    assert_eq!(
        warnings(Kind::MeshCircuitBreaker, json!({ "rules": [{ "default": conf }] })),
        [""; 0]
    );
    for valid in [
        json!({ "connectionLimits": { "maxRequests": 1 } }),
        json!({ "connectionLimits": {} }),
        json!({ "outlierDetection": { "disabled": true } }),
        json!({ "outlierDetection": { "detectors": { "gatewayFailures": {} } } }),
    ] {
        assert_eq!(violations(Kind::MeshCircuitBreaker, to(valid)), [""; 0]);
    }
}

#[test]
fn wrong_values_are_named() {
    for (conf, expected) in [
        (
            json!({}),
            "default: must have at least one defined: connectionLimits, outlierDetection",
        ),
        (
            outlier("interval", json!("0s")),
            "default.outlierDetection.interval: is 0s, must be greater than 0",
        ),
        (
            outlier("baseEjectionTime", json!("0s")),
            "default.outlierDetection.baseEjectionTime: is 0s, must be greater than 0",
        ),
        (
            outlier("maxEjectionPercent", json!(101)),
            "default.outlierDetection.maxEjectionPercent: is 101, must be at most 100",
        ),
        (
            outlier("healthyPanicThreshold", json!("100.1")),
            "default.outlierDetection.healthyPanicThreshold: is 100.1, must be 0 to 100",
        ),
        (
            json!({ "outlierDetection": { "interval": "1s" } }),
            "default.outlierDetection.detectors: must be defined, with at least one of totalFailures, \
             gatewayFailures, localOriginFailures, successRate, failurePercentage; or set disabled: true",
        ),
        (
            outlier("detectors", json!({})),
            "default.outlierDetection.detectors: must have at least one defined: totalFailures, gatewayFailures, \
             localOriginFailures, successRate, failurePercentage",
        ),
        (
            outlier("detectors", json!({ "successRate": { "standardDeviationFactor": -1 } })),
            "default.outlierDetection.detectors.successRate.standardDeviationFactor: is -1, must be at least 0",
        ),
        (
            outlier("detectors", json!({ "failurePercentage": { "threshold": 101 } })),
            "default.outlierDetection.detectors.failurePercentage.threshold: is 101, must be at most 100",
        ),
    ] {
        let expected = format!("spec.to[0].{expected}");
        assert_eq!(violations(Kind::MeshCircuitBreaker, to(conf)), [expected]);
    }
}

#[test]
fn counts_are_at_least_one() {
    let limits = [
        "maxConnections",
        "maxConnectionPools",
        "maxPendingRequests",
        "maxRetries",
        "maxRequests",
    ];
    for limit in limits {
        assert_eq!(
            violations(
                Kind::MeshCircuitBreaker,
                to(json!({ "connectionLimits": { limit: 0 } }))
            ),
            [format!(
                "spec.to[0].default.connectionLimits.{limit}: is 0, must be at least 1"
            )]
        );
    }
    for (detector, field) in [
        ("totalFailures", "consecutive"),
        ("gatewayFailures", "consecutive"),
        ("localOriginFailures", "consecutive"),
        ("successRate", "minimumHosts"),
        ("successRate", "requestVolume"),
        ("failurePercentage", "minimumHosts"),
        ("failurePercentage", "requestVolume"),
    ] {
        assert_eq!(
            violations(
                Kind::MeshCircuitBreaker,
                to(outlier("detectors", json!({ detector: { field: 0 } })))
            ),
            [format!(
                "spec.to[0].default.outlierDetection.detectors.{detector}.{field}: is 0, must be at least 1"
            )]
        );
    }
}

#[test]
fn a_factor_that_nothing_reaches_is_said() {
    let factor = |factor: Value| {
        let detectors = json!({ "successRate": { "standardDeviationFactor": factor } });
        warnings(Kind::MeshCircuitBreaker, to(outlier("detectors", detectors)))
    };
    assert_eq!(factor(json!(1000)), [""; 0]);
    let said = factor(json!(1900));
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(
        said[0].contains("standardDeviationFactor: 1900 acts as 1000"),
        "{said:?}"
    );
}
