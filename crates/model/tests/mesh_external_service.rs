//! MeshExternalService and ZoneEgress: what is taken, what is refused and by which field, what users are warned of.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use meshspan_model::kinds::mesh_external_service::tls::Source;
use meshspan_model::kinds::mesh_external_service::{MeshExternalService, MeshExternalServiceStatus};
use meshspan_model::{Kind, Spec as _};
use serde_json::{Value, json};

fn violations(kind: Kind, spec: &Value) -> Vec<String> {
    match kind.check(spec) {
        Ok(_) => Vec::new(),
        Err(found) => found
            .iter()
            .map(|found| format!("{}: {}", found.field, found.message))
            .collect(),
    }
}

fn service(changes: &Value) -> Value {
    let mut spec = json!({
        "match": {"type": "HostnameGenerator", "port": 443, "protocol": "http"},
        "endpoints": [{"address": "bank.example.com", "port": 8443}],
    });
    for (field, value) in changes.as_object().unwrap() {
        spec[field] = value.clone();
    }
    spec
}

fn verification(value: Value) -> Value {
    service(&json!({"tls": {"enabled": true, "verification": value}}))
}

#[test]
fn every_field_is_kept_as_it_is_written() {
    let full = service(&json!({
        "endpoints": [
            {"address": "Bank.example.com.", "port": 8443, "priority": 0},
            {"address": "_srv.example.com", "port": 1},
            {"address": "10.0.0.1", "port": 65535, "priority": 128},
            {"address": "fd00::1", "port": 443},
        ],
        "tls": {
            "enabled": true, "allowRenegotiation": true,
            "version": {"min": "TLS12", "max": "TLSAuto"},
            "verification": {
                "mode": "Secured", "serverName": "api.example.com",
                "subjectAltNames": [{"type": "Exact", "value": "a"}, {"type": "Prefix", "value": "spiffe://b/"}],
                "caCert": {"secret": "bank-ca"}, "clientCert": {"inline": "cGVt"}, "clientKey": {"inlineString": "pem"},
            },
        },
    }));
    let checked = Kind::MeshExternalService.check(&full).unwrap();
    assert_eq!((checked.spec, checked.warnings), (full, Vec::<String>::new()));
}

#[test]
fn what_is_not_said_is_filled_in() {
    let short = json!({"match": {"port": 443}, "tls": {"enabled": true, "verification": {"subjectAltNames": [{"value": "a"}]}}});
    let checked = Kind::MeshExternalService.check(&short).unwrap();
    assert_eq!(
        checked.spec,
        json!({
            "match": {"type": "HostnameGenerator", "port": 443, "protocol": "tcp"},
            "tls": {"enabled": true, "verification": {"mode": "Secured", "subjectAltNames": [{"type": "Exact", "value": "a"}]}},
        })
    );
    assert_eq!(
        checked.warnings,
        ["spec.endpoints: is empty, so that clients get no answer (503)"]
    );
}

#[test]
fn every_violation_names_its_field() {
    for (changes, expected) in [
        (
            json!({"match": {"port": 0, "protocol": "tcp"}}),
            vec!["spec.match.port: is 0, must be a port number from 1 to 65535"],
        ),
        (
            json!({"match": {"port": 1, "protocol": "kafka"}}),
            vec!["spec.match.protocol: is \"kafka\", must be one of tcp, grpc, http, http2"],
        ),
        (
            json!({"match": {"type": "Hostname", "port": 1}}),
            vec!["spec.match.type: is \"Hostname\", must be HostnameGenerator"],
        ),
        (
            json!({"endpoints": [
                {"address": "127.0.0.1", "port": 1}, {"address": "::ffff:127.0.0.1", "port": 1}, {"address": "LocalHost.", "port": 1},
                {"address": "224.0.0.1", "port": 1},
            ]}),
            vec![
                "spec.endpoints[0].address: is \"127.0.0.1\", must not be the host of the egress itself, where its own admin interface is: use an address of another host, or another address of this one",
                "spec.endpoints[1].address: is \"::ffff:127.0.0.1\", must not be the host of the egress itself, where its own admin interface is: use an address of another host, or another address of this one",
                "spec.endpoints[2].address: is \"LocalHost.\", must not be the host of the egress itself, where its own admin interface is: use an address of another host, or another address of this one",
                "spec.endpoints[3].address: is \"224.0.0.1\", must be an address that can be dialled",
            ],
        ),
        (
            json!({"endpoints": [
                {"address": "", "port": 1}, {"address": "0.0.0.0", "port": 1}, {"address": "1.2.3", "port": 1},
                {"address": "a b", "port": 1}, {"address": "unix:///run/x.sock", "port": 1}, {"address": "a..b", "port": 70000},
                {"address": "a", "port": 1, "priority": 129},
            ]}),
            vec![
                "spec.endpoints[0].address: must be defined",
                "spec.endpoints[1].address: is \"0.0.0.0\", must be an address that can be dialled",
                "spec.endpoints[2].address: is \"1.2.3\", must be an IP address or a DNS name",
                "spec.endpoints[3].address: is \"a b\", must be an IP address or a DNS name",
                "spec.endpoints[4].address: is \"unix:///run/x.sock\", must be an IP address or a DNS name: paths of Unix sockets \
                 are not supported",
                "spec.endpoints[5].address: is \"a..b\", must be an IP address or a DNS name",
                "spec.endpoints[5].port: is 70000, must be a port number from 1 to 65535",
                "spec.endpoints[6].priority: is 129, must be no more than 128",
            ],
        ),
        (
            json!({"extension": {"type": ""}}),
            vec!["spec.extension.type: must not be empty"],
        ),
        (
            json!({"extension": {"type": "Lambda", "config": {"a": 1}}, "endpoints": [{"address": ""}]}),
            vec![
                "spec.extension.type: is \"Lambda\", but this control plane has no extensions; remove extension and say where the \
                 service is in endpoints",
            ],
        ),
        (
            json!({"tls": {"version": {"min": "TLS13", "max": "TLS12"}}}),
            vec!["spec.tls.version.min: is TLS13, must not be newer than max, which is TLS12"],
        ),
        (
            json!({"tls": {"version": {"max": "TLS14"}}}),
            vec!["spec.tls.version.max: is \"TLS14\", must be one of TLSAuto, TLS10, TLS11, TLS12, TLS13"],
        ),
        (
            json!({"tls": {"verification": {"mode": "None"}}}),
            vec!["spec.tls.verification.mode: is \"None\", must be one of Secured, SkipSAN, SkipCA, SkipAll"],
        ),
        (
            json!({"tls": {"verification": {"subjectAltNames": [{"type": "Suffix", "value": "a"}]}}}),
            vec!["spec.tls.verification.subjectAltNames[0].type: is \"Suffix\", must be Exact or Prefix"],
        ),
        (
            json!({"tls": {"verification": {
                "serverName": "10.0.0.1", "subjectAltNames": [{"value": ""}],
                "caCert": {}, "clientCert": {"secret": "a", "inline": "cGVt"}, "clientKey": {"inline": "not base64"},
            }}}),
            vec![
                "spec.tls.verification.serverName: is \"10.0.0.1\", must be a DNS name",
                "spec.tls.verification.subjectAltNames[0].value: must be defined",
                "spec.tls.verification.caCert: must have exactly one of secret, inline, inlineString",
                "spec.tls.verification.clientCert: must have exactly one of secret, inline, inlineString",
                "spec.tls.verification.clientKey.inline: must be base64",
            ],
        ),
        (
            json!({"tls": {"verification": {"clientCert": {"secret": "a"}}}}),
            vec!["spec.tls.verification.clientKey: must be defined when clientCert is defined"],
        ),
        (
            json!({"tls": {"verification": {"clientKey": {"secret": "a"}}}}),
            vec!["spec.tls.verification.clientCert: must be defined when clientKey is defined"],
        ),
    ] {
        assert_eq!(
            violations(Kind::MeshExternalService, &service(&changes)),
            expected,
            "{changes}"
        );
    }
}

#[test]
fn what_is_verified_less_than_one_may_think_is_said() {
    let by_address = json!([{"address": "10.0.0.1", "port": 443}]);
    for (spec, expected) in [
        (
            service(&json!({"tls": {"verification": {}}})),
            "spec.tls: has no effect unless spec.tls.enabled is true",
        ),
        (
            verification(json!({"mode": "SkipAll"})),
            "spec.tls.verification.mode: is SkipAll, so that anybody",
        ),
        (
            verification(json!({"mode": "SkipCA"})),
            "spec.tls.verification.mode: is SkipCA, so that anybody",
        ),
        (
            verification(json!({"mode": "SkipSAN"})),
            "spec.tls.verification.mode: is SkipSAN, so that whoever",
        ),
        (
            service(&json!({"endpoints": by_address, "tls": {"enabled": true}})),
            "spec.tls.verification: the first endpoint has no DNS name",
        ),
    ] {
        let warnings = Kind::MeshExternalService.check(&spec).unwrap().warnings;
        let [warning] = warnings.as_slice() else {
            panic!("{warnings:?}")
        };
        assert!(warning.starts_with(expected), "{warning}");
    }
    for quiet in [
        verification(json!({})),
        verification(json!({"serverName": "a.example.com"})),
    ] {
        assert_eq!(
            Kind::MeshExternalService.check(&quiet).unwrap().warnings,
            Vec::<String>::new()
        );
    }
}

#[test]
fn the_server_name_is_the_given_one_or_the_first_endpoint() {
    let name = |spec: &Value| {
        MeshExternalService::from_value(spec)
            .unwrap()
            .server_name()
            .map(str::to_owned)
    };
    assert_eq!(name(&service(&json!({}))).as_deref(), Some("bank.example.com"));
    assert_eq!(
        name(&verification(json!({"serverName": "api"}))).as_deref(),
        Some("api")
    );
    let by_address = json!({"endpoints": [{"address": "::1", "port": 1}, {"address": "a", "port": 1}]});
    assert_eq!(name(&service(&by_address)), None);
}

#[test]
fn keys_stay_out_of_debug_output() {
    let key = json!({"clientKey": {"inlineString": "PRIVATE"}, "clientCert": {"inline": "UFJJVkFURQ=="}});
    let service = MeshExternalService::from_value(&verification(key)).unwrap();
    let shown = format!("{service:?}");
    assert!(!shown.contains("PRIVATE") && !shown.contains("UFJJVkFURQ"), "{shown}");
    let verification = service.tls().unwrap().verification.clone().unwrap();
    for (_, source) in verification.sources() {
        assert!(source.source().unwrap() == Source::Bytes(b"PRIVATE".to_vec()));
    }
}

#[test]
fn the_virtual_ip_in_a_status_is_singular() {
    let written = json!({
        "vip": {"ip": "242.0.0.1"},
        "addresses": [{"hostname": "bank.extsvc.mesh.local", "origin": "HostnameGenerator", "hostnameGeneratorRef": {"coreName": "g"}}],
    });
    let status: MeshExternalServiceStatus = serde_json::from_value(written.clone()).unwrap();
    assert_eq!(status.vip.ip, "242.0.0.1");
    assert_eq!(serde_json::to_value(&status).unwrap(), written);
    assert_eq!(
        serde_json::to_value(MeshExternalServiceStatus::default()).unwrap(),
        json!({})
    );
}

#[test]
fn zone_egresses_are_checked_as_zone_ingresses_are() {
    let full = json!({"zone": "east", "networking": {"address": "10.0.0.1", "port": 10002, "admin": {"port": 9901}}});
    assert_eq!(Kind::ZoneEgress.check(&full).unwrap().spec, full);
    for (networking, expected) in [
        (json!({"port": "10002"}), vec![]),
        (
            json!({}),
            vec!["networking.port: is 0, must be a port number from 1 to 65535"],
        ),
        (
            json!({"address": "a b", "port": 1}),
            vec!["networking.address: is \"a b\", must be an IP address or a DNS name"],
        ),
        (
            json!({"address": "127.0.0.1", "port": 9901}),
            vec!["networking.admin.port: is also the port of the egress"],
        ),
    ] {
        assert_eq!(
            violations(Kind::ZoneEgress, &json!({"networking": networking})),
            expected
        );
    }
}
