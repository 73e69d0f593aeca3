use meshspan_model::Kind;
use serde_json::{Value, json};

use crate::fixtures;

fn violations(conf: Value) -> Vec<String> {
    fixtures::violations(Kind::MeshTLS, json!({"rules": [{"default": conf}]}))
}

#[test]
fn every_value_is_taken() {
    for conf in [
        json!({}),
        json!({"mode": "Strict"}),
        json!({"mode": "Permissive", "tlsVersion": {"min": "TLS12", "max": "TLS13"}}),
        json!({"tlsVersion": {"min": "TLS13", "max": "TLSAuto"}}),
        json!({"tlsVersion": {"min": "TLSAuto", "max": "TLS12"}}),
        json!({"tlsVersion": {"min": "TLS10"}}),
        json!({"tlsVersion": {"min": "TLS11"}}),
        json!({"tlsCiphers": [
            "ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-ECDSA-CHACHA20-POLY1305",
            "ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-RSA-AES256-GCM-SHA384", "ECDHE-RSA-CHACHA20-POLY1305",
        ]}),
    ] {
        assert_eq!(violations(conf.clone()), [""; 0], "{conf}");
        let old = json!({"from": [{"targetRef": {"kind": "Mesh"}, "default": conf}]});
        assert_eq!(fixtures::violations(Kind::MeshTLS, old), [""; 0]);
    }
}

#[test]
fn versions_are_a_range_in_which_something_can_connect() {
    assert_eq!(
        violations(json!({"tlsVersion": {"min": "TLS13", "max": "TLS12"}})),
        ["spec.rules[0].default.tlsVersion: min is TLS13 and max is TLS12; min must not be newer than max"]
    );
    assert_eq!(
        violations(json!({"tlsVersion": {"max": "TLS11"}})),
        [
            "spec.rules[0].default.tlsVersion.max: is TLS11, for which Envoy has no cipher left, so nothing could \
             connect; must be TLS12 or TLS13"
        ]
    );
}

#[test]
fn unknown_values_are_named_with_those_that_exist() {
    for (conf, path, known) in [
        (json!({"mode": "STRICT"}), "mode", "Strict"),
        (json!({"tlsVersion": {"min": "1.2"}}), "tlsVersion.min", "TLS12"),
        (
            json!({"tlsCiphers": ["AES128-SHA"]}),
            "tlsCiphers[0]",
            "ECDHE-RSA-AES128-GCM-SHA256",
        ),
    ] {
        let found = violations(conf);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(
            found[0].starts_with(&format!("spec.rules[0].default.{path}: ")) && found[0].contains(known),
            "{found:?}"
        );
    }
    let twice = json!({"tlsCiphers": ["ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-GCM-SHA256"]});
    assert_eq!(
        violations(twice),
        ["spec.rules[0].default.tlsCiphers[1]: is ECDHE-RSA-AES128-GCM-SHA256 again, which must be listed once"]
    );
}

#[test]
fn what_both_sides_must_agree_on_is_said_for_the_whole_mesh() {
    let some = json!({
        "targetRef": {"kind": "Dataplane", "labels": {"app": "web"}},
        "rules": [{"default": {"mode": "Strict", "tlsVersion": {"min": "TLS13"}}}],
    });
    let found = fixtures::violations(Kind::MeshTLS, some);
    assert!(
        found.len() == 1 && found[0].starts_with("spec.rules[0].default.tlsVersion: must not be set unless"),
        "{found:?}"
    );
}
