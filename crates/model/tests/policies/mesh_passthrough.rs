use meshspan_model::Kind;
use serde_json::{Value, json};

use crate::fixtures::{self, assert_kept};

fn violations(conf: Value) -> Vec<String> {
    fixtures::violations(Kind::MeshPassthrough, json!({ "default": conf }))
}

fn violations_of_matches(matches: Value) -> Vec<String> {
    violations(json!({ "passthroughMode": "Matched", "appendMatch": matches }))
}

#[test]
fn all_that_can_be_said_is_accepted_and_kept() {
    let spec = r#"{
        "targetRef": {"kind": "Mesh", "proxyTypes": ["Sidecar"]},
        "default": {
            "passthroughMode": "Matched",
            "appendMatch": [
                {"type": "Domain", "value": "*.example.com", "protocol": "tls"},
                {"type": "Domain", "value": "API.example.com", "protocol": "grpc", "port": 443},
                {"type": "Domain", "value": "*.example.com", "protocol": "http", "port": 80},
                {"type": "IP", "value": "192.168.0.1"},
                {"type": "IP", "value": "fd00::1", "protocol": "mysql", "port": 3306},
                {"type": "CIDR", "value": "10.0.0.0/8", "protocol": "tcp", "port": 5432},
                {"type": "CIDR", "value": "10.0.0.0/8", "protocol": "tcp", "port": 5433, "note": "kept"}
            ]
        }
    }"#;
    assert_kept(Kind::MeshPassthrough, spec);
    assert_eq!(
        fixtures::warnings(Kind::MeshPassthrough, serde_json::from_str(spec).unwrap()),
        [
            "unknown field \"spec.default.appendMatch[6].note\" is ignored",
            "MeshPassthrough is stored and shown, but does not change traffic yet",
        ]
    );
    assert_kept(Kind::MeshPassthrough, r#"{"targetRef": {"kind": "Mesh"}}"#);
    for mode in ["All", "None"] {
        assert_eq!(violations(json!({ "passthroughMode": mode })), [""; 0]);
    }
}

#[test]
fn modes_types_and_protocols_are_named() {
    let unknown = violations(json!({ "passthroughMode": "Some" }));
    assert_eq!(
        unknown,
        ["spec.default.passthroughMode: is \"Some\", must be one of All, None, Matched"]
    );
    let unknown = violations_of_matches(json!([{ "type": "Host", "value": "a" }]));
    assert_eq!(
        unknown,
        ["spec.default.appendMatch[0].type: is \"Host\", must be one of Domain, IP, CIDR"]
    );
    let unknown = violations_of_matches(json!([{ "type": "IP", "value": "10.0.0.1", "protocol": "udp" }]));
    assert_eq!(
        unknown,
        ["spec.default.appendMatch[0].protocol: is \"udp\", must be one of tcp, tls, grpc, http, http2, mysql"]
    );
    assert_eq!(
        violations_of_matches(json!([{}])),
        [
            "spec.default.appendMatch[0].type: must be defined",
            "spec.default.appendMatch[0].value: must be defined",
        ]
    );
}

#[test]
fn values_fit_their_type() {
    let matches = json!([
        { "type": "IP", "value": "10.0.0.0/8" },
        { "type": "CIDR", "value": "10.0.0.1" },
        { "type": "CIDR", "value": "10.0.0.0/40" },
        { "type": "Domain", "value": "*example.com", "protocol": "tls" },
        { "type": "Domain", "value": "a b", "protocol": "tls" },
        { "type": "Domain", "value": "*", "protocol": "tls" },
    ]);
    assert_eq!(
        violations_of_matches(matches),
        [
            "spec.default.appendMatch[0].value: is \"10.0.0.0/8\", must be an IP address",
            "spec.default.appendMatch[1].value: is \"10.0.0.1\", must be a network such as 10.0.0.0/8",
            "spec.default.appendMatch[2].value: is \"10.0.0.0/40\", must be a network such as 10.0.0.0/8",
            "spec.default.appendMatch[3].value: is \"*example.com\", must be a DNS name, or \"*.\" and a DNS name",
            "spec.default.appendMatch[4].value: is \"a b\", must be a DNS name, or \"*.\" and a DNS name",
            "spec.default.appendMatch[5].value: is \"*\", must be a DNS name, or \"*.\" and a DNS name",
        ]
    );
}

#[test]
fn a_domain_needs_a_protocol_that_says_it() {
    let matches = json!([
        { "type": "Domain", "value": "a.example", "port": 80 },
        { "type": "Domain", "value": "b.example", "port": 3306, "protocol": "mysql" },
    ]);
    assert_eq!(
        violations_of_matches(matches),
        [
            "spec.default.appendMatch[0].protocol: is tcp, whose connections do not say which domain they are for; must be tls, http, http2 or grpc, or the match of type IP or CIDR",
            "spec.default.appendMatch[1].protocol: is mysql, whose connections do not say which domain they are for; must be tls, http, http2 or grpc, or the match of type IP or CIDR",
        ]
    );
}

#[test]
fn ports_exist_and_are_there_where_they_are_needed() {
    let matches = json!([
        { "type": "IP", "value": "10.0.0.1", "port": 0 },
        { "type": "IP", "value": "10.0.0.1", "port": 65536 },
        { "type": "IP", "value": "10.0.0.1", "protocol": "mysql" },
        { "type": "Domain", "value": "*.example.com", "protocol": "http2" },
    ]);
    assert_eq!(
        violations_of_matches(matches),
        [
            "spec.default.appendMatch[0].port: is 0, must be a port number from 1 to 65535",
            "spec.default.appendMatch[1].port: is 65536, must be a port number from 1 to 65535",
            "spec.default.appendMatch[2].port: must be defined with protocol mysql",
            "spec.default.appendMatch[3].port: must be defined for a wildcard with protocol http2",
        ]
    );
}

#[test]
fn matches_do_not_contradict_each_other() {
    let matches = json!([
        { "type": "Domain", "value": "a.example", "port": 80, "protocol": "http" },
        { "type": "Domain", "value": "b.example", "port": 80, "protocol": "grpc" },
        { "type": "Domain", "value": "c.example", "port": 81, "protocol": "grpc" },
        { "type": "Domain", "value": "a.example", "port": 80, "protocol": "tls" },
        { "type": "Domain", "value": "a.example", "port": 80, "protocol": "http" },
    ]);
    assert_eq!(
        violations_of_matches(matches),
        [
            "spec.default.appendMatch[1].protocol: is grpc, must be http as in an earlier match of the same port: requests of one port are read in one way",
            "spec.default.appendMatch[4].value: is \"a.example\", which an earlier match has with the same port and protocol; remove one of them",
        ]
    );
    // What is left out counts as what it means.
    let matches = json!([
        { "type": "IP", "value": "10.0.0.1" },
        { "type": "IP", "value": "10.0.0.1", "protocol": "tcp" },
    ]);
    assert_eq!(
        violations_of_matches(matches),
        [
            "spec.default.appendMatch[1].value: is \"10.0.0.1\", which an earlier match has with the same port and protocol; remove one of them"
        ]
    );
}
