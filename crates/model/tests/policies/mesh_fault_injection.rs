use meshspan_model::Kind;
use serde_json::{Value, json};

use crate::fixtures::{self, assert_kept};

fn violations(fault: Value) -> Vec<String> {
    let spec =
        json!({ "rules": [{ "default": { "http": [{ "abort": { "httpStatus": 500, "percentage": 1 } }, fault] } }] });
    fixtures::violations(Kind::MeshFaultInjection, spec)
}

const PATH: &str = "spec.rules[0].default.http[1]";

#[test]
fn all_that_can_be_said_is_accepted_and_kept() {
    let spec = r#"{
        "targetRef": {"kind": "MeshSubset", "tags": {"app": "backend"}, "proxyTypes": ["Sidecar"]},
        "from": [{"targetRef": {"kind": "MeshService", "name": "web"}, "default": {"http": [
            {"abort": {"httpStatus": 503, "percentage": "2.5"}},
            {"delay": {"value": "0s", "percentage": 100}, "seed": 7},
            {"responseBandwidth": {"limit": "50 Mbps", "percentage": 0}, "delay": {"value": "5s", "percentage": "33"}}
        ]}}]
    }"#;
    assert_kept(Kind::MeshFaultInjection, spec);
    let warnings = fixtures::warnings(Kind::MeshFaultInjection, serde_json::from_str(spec).unwrap());
    for expected in [
        "unknown field \"spec.from[0].default.http[1].seed\" is ignored",
        "MeshFaultInjection is stored and shown, but does not change traffic yet",
    ] {
        assert!(warnings.contains(&expected.to_owned()), "{warnings:?}");
    }
    assert_kept(Kind::MeshFaultInjection, r#"{"rules": [{"default": {"http": []}}]}"#);
}

#[test]
fn a_fault_is_something_that_happens_to_a_share_of_requests() {
    assert_eq!(
        violations(json!({})),
        [format!(
            "{PATH}: must have at least one defined: abort, delay, responseBandwidth"
        )]
    );
    assert_eq!(
        violations(json!({ "abort": {}, "delay": {}, "responseBandwidth": {} })),
        [
            format!("{PATH}.abort.percentage: must be defined"),
            format!("{PATH}.delay.percentage: must be defined"),
            format!("{PATH}.responseBandwidth.percentage: must be defined"),
            format!("{PATH}.abort.httpStatus: must be defined"),
            format!("{PATH}.delay.value: must be defined"),
            format!("{PATH}.responseBandwidth.limit: must be defined"),
        ]
    );
    for (share, shown) in [(json!(101), "101"), (json!("100.1"), "100.1"), (json!(-1), "-1")] {
        assert_eq!(
            violations(json!({ "delay": { "value": "1s", "percentage": share } })),
            [format!("{PATH}.delay.percentage: is {shown}, must be 0 to 100")]
        );
    }
    assert_eq!(
        violations(json!({ "delay": { "value": "1s", "percentage": "half" } })),
        [format!(
            "{PATH}.delay.percentage: is \"half\", must be a number, or a string with a number such as \"33.3\""
        )]
    );
}

#[test]
fn aborts_have_a_status_and_delays_a_duration() {
    for (status, reason) in [
        (99, "is 99, must be at least 100"),
        (600, "is 600, must be at most 599"),
    ] {
        assert_eq!(
            violations(json!({ "abort": { "httpStatus": status, "percentage": 1 } })),
            [format!("{PATH}.abort.httpStatus: {reason}")]
        );
    }
    assert_eq!(
        violations(json!({ "delay": { "value": "-1s", "percentage": 1 } })),
        [format!(
            "{PATH}.delay.value: invalid duration \"-1s\": use for example 250ms, 5s or 1h30m"
        )]
    );
}

#[test]
fn bandwidths_have_a_unit() {
    let limit = |limit: &str| violations(json!({ "responseBandwidth": { "limit": limit, "percentage": 1 } }));
    for fits in ["1kbps", "50Mbps", "50 Mbps", "1Gbps"] {
        assert_eq!(limit(fits), [""; 0], "{fits}");
    }
    for wrong in [
        "",
        "10",
        "kbps",
        "0kbps",
        "10bps",
        "1.5Mbps",
        "-1kbps",
        "10  kbps",
        "99999999999999999999kbps",
        "99999999999999999Gbps",
    ] {
        assert_eq!(
            limit(wrong),
            [format!(
                "{PATH}.responseBandwidth.limit: is \"{wrong}\", must be a whole number above 0 with unit kbps, Mbps or Gbps, such as 50Mbps"
            )]
        );
    }
}
