//! Documents as users of the reference write them: what is taken, what is refused, and by which field.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use meshspan_model::policy::{PolicyKind, Routing, TargetKind};
use meshspan_model::{Kind, document};
use serde_json::{Value, json};

fn fields(document: &Value) -> Vec<String> {
    match document::read(document) {
        Ok(_) => Vec::new(),
        Err(violations) => violations.iter().map(|violation| violation.field.clone()).collect(),
    }
}

fn warnings(document: &Value) -> Vec<String> {
    document::read(document)
        .unwrap_or_else(|violations| panic!("{violations}"))
        .warnings
}

fn dataplane(networking: Value) -> Value {
    let mut document = json!({
        "type": "Dataplane", "mesh": "default", "name": "web-1",
        "networking": {
            "address": "10.0.0.1",
            "inbound": [{"port": 80, "tags": {"kuma.io/service": "web"}}],
        },
    });
    for (field, value) in networking.as_object().unwrap() {
        document["networking"][field] = value.clone();
    }
    document
}

#[test]
fn numbers_of_protobuf_kinds_may_be_strings() {
    let text = dataplane(json!({
        "inbound": [{
            "port": "8080", "servicePort": "80", "tags": {"kuma.io/service": "web"},
            "serviceProbe": {"unhealthyThreshold": "3", "tcp": {}},
        }],
        "outbound": [{"port": 81.0, "backendRef": {"kind": "MeshService", "name": "a", "port": "1"}}],
        "admin": {"port": "9902"},
    }));
    let spec = document::read(&text).unwrap().resource.spec;
    assert_eq!(spec["networking"]["inbound"][0]["port"], 8080);
    assert_eq!(
        spec["networking"]["inbound"][0]["serviceProbe"]["unhealthyThreshold"],
        3
    );
    assert_eq!(spec["networking"]["outbound"][0]["port"], 81);
    for wrong in [
        json!("x"),
        json!("-1"),
        json!("+80"),
        json!(1.5),
        json!(-1),
        json!(true),
        json!("4294967296"),
    ] {
        let document = dataplane(json!({"inbound": [{"port": wrong, "tags": {"kuma.io/service": "web"}}]}));
        assert_eq!(fields(&document), ["networking.inbound[0].port"], "{wrong}");
    }
    let ingress = json!({"type": "ZoneIngress", "name": "i", "networking": {
        "port": "10001", "advertisedAddress": "10.0.0.9", "advertisedPort": "20001",
    }});
    assert_eq!(
        document::read(&ingress).unwrap().resource.spec["networking"]["advertisedPort"],
        20001
    );
}

#[test]
fn null_is_absent() {
    let service = json!({
        "type": "MeshService", "mesh": "default", "name": "a", "labels": {"team": null},
        "spec": {"identities": null, "selector": {"dataplaneTags": {"kuma.io/service": "a"}}, "ports": [{"port": 80, "targetPort": null}]},
    });
    let parsed = document::read(&service).unwrap().resource;
    assert!(parsed.labels.is_empty());
    assert_eq!(parsed.spec.get("identities"), None);
    assert_eq!(parsed.spec["ports"][0].get("targetPort"), None);
    let policy = json!({"to": [{"targetRef": {"kind": "Mesh", "name": null}, "default": {"idleTimeout": null, "http": {"requestTimeout": "1s"}}}], "from": null});
    let stored = Kind::MeshTimeout.check(&policy).unwrap().spec;
    assert_eq!(
        stored,
        json!({"to": [{"targetRef": {"kind": "Mesh"}, "default": {"http": {"requestTimeout": "1s"}}}]})
    );
    assert_eq!(
        fields(&json!({"type": "Mesh", "name": "a", "mtls": null, "logging": null})),
        [""; 0]
    );
    let kubernetes = json!({"apiVersion": "kuma.io/v1alpha1", "kind": "Mesh", "metadata": {"name": "a", "labels": null}, "spec": null});
    assert_eq!(fields(&kubernetes), [""; 0]);
}

#[test]
fn what_the_reference_refuses_in_a_dataplane_is_refused() {
    let with = |field: &str, value: Value| {
        let mut document = dataplane(json!({}));
        document[field] = value;
        document
    };
    for (document, expected) in [
        (
            with(
                "probes",
                json!({"port": 9000, "endpoints": [{"inboundPort": 80, "inboundPath": "/a", "path": "/b"}]}),
            ),
            "",
        ),
        (with("probes", json!({"port": 0})), "probes.port"),
        (
            with(
                "probes",
                json!({"port": 1, "endpoints": [{"inboundPort": 0, "inboundPath": "/a", "path": "/b"}]}),
            ),
            "probes.endpoints[0].inboundPort",
        ),
        (
            with(
                "probes",
                json!({"port": 1, "endpoints": [{"inboundPort": 1, "inboundPath": "a", "path": "/b"}]}),
            ),
            "probes.endpoints[0].inboundPath",
        ),
        (
            with(
                "metrics",
                json!({"type": "prometheus", "conf": {"port": 5670, "path": "/m"}}),
            ),
            "",
        ),
        (with("metrics", json!({"type": "statsd"})), "metrics.type"),
        (
            with("metrics", json!({"type": "prometheus", "conf": {"port": 70000}})),
            "metrics.conf.port",
        ),
        (
            dataplane(
                json!({"inbound": [], "gateway": {"tags": {"kuma.io/service": "edge", "kuma.io/protocol": "http"}}}),
            ),
            "networking.gateway.tags[\"kuma.io/protocol\"]",
        ),
        (
            dataplane(
                json!({"inbound": [], "gateway": {"tags": {"kuma.io/service": "edge", "kuma.io/protocol": "tcp"}}}),
            ),
            "",
        ),
        (dataplane(json!({"address": "::ffff:0.0.0.0"})), "networking.address"),
        (dataplane(json!({"address": "0.0.0.0"})), "networking.address"),
        (
            dataplane(json!({"advertisedAddress": "::ffff:0.0.0.0"})),
            "networking.advertisedAddress",
        ),
        (
            dataplane(
                json!({"inbound": [{"address": "::ffff:0.0.0.0", "port": 80, "tags": {"kuma.io/service": "a"}}]}),
            ),
            "networking.inbound[0].address",
        ),
        (
            dataplane(json!({"inbound": [{"address": "0.0.0.0", "port": 80, "tags": {"kuma.io/service": "a"}}]})),
            "",
        ),
    ] {
        let found = fields(&document);
        assert_eq!(found.join(" "), expected, "{document}");
    }
}

#[test]
fn outbounds_beside_interception_are_ignored_and_that_is_said() {
    let document = dataplane(json!({
        "outbound": [{"port": 1, "backendRef": {"kind": "MeshService", "name": "a", "port": 1}}],
        "transparentProxying": {"redirectPortInbound": 15006, "redirectPortOutbound": 15001},
    }));
    let found = warnings(&document);
    assert!(
        found.len() == 1 && found[0].starts_with("networking.outbound: is ignored"),
        "{found:?}"
    );
}

#[test]
fn policies_about_external_services_are_for_the_whole_mesh() {
    let external = json!({"kind": "MeshExternalService", "name": "bank"});
    for (kind, conf) in [
        (Kind::MeshTimeout, json!({"idleTimeout": "1s"})),
        (Kind::MeshRetry, json!({"http": {"numRetries": 1}})),
        (Kind::MeshHealthCheck, json!({"tcp": {}})),
        (
            Kind::MeshCircuitBreaker,
            json!({"connectionLimits": {"maxRequests": 1}}),
        ),
        (Kind::MeshAccessLog, json!({"backends": []})),
    ] {
        let spec = |top: &str| json!({"targetRef": {"kind": top}, "to": [{"targetRef": external, "default": conf}]});
        assert!(kind.check(&spec("Mesh")).is_ok(), "{kind}");
        let violations = kind.check(&spec("Dataplane")).unwrap_err();
        let found: Vec<_> = violations.iter().map(|violation| violation.field.as_str()).collect();
        assert_eq!(found, ["spec.to[0].targetRef.kind"], "{kind}");
    }
    // Also for kinds that are not above, whatever else their confs need.
    let takes_external = |kind: &&PolicyKind| {
        let info = kind.info();
        info.routing == Routing::None && info.to.contains(&TargetKind::MeshExternalService)
    };
    for kind in PolicyKind::ALL.iter().filter(takes_external) {
        for (top, is_refused) in [
            ("Mesh", false),
            ("MeshSubset", true),
            ("MeshService", true),
            ("Dataplane", true),
        ] {
            let spec = json!({"targetRef": {"kind": top}, "to": [{"targetRef": external, "default": {}}]});
            let violations = kind.kind().check(&spec).err().unwrap_or_default();
            let found = violations.iter().any(|violation| {
                violation.field == "spec.to[0].targetRef.kind"
                    && violation.message.contains("unless spec.targetRef.kind is Mesh")
            });
            assert_eq!(found, is_refused, "{kind:?} below {top}: {violations}");
        }
    }
}

#[test]
fn fields_in_the_wrong_place_are_named() {
    let said = |document: &Value| document::read(document).unwrap_err().to_string();
    let ports = json!([{"port": 80}]);
    let service = |spec: Value| json!({"type": "MeshMultiZoneService", "mesh": "default", "name": "a", "spec": spec});
    let nested = said(&service(
        json!({"selector": {"matchLabels": {"a": "b"}}, "ports": ports}),
    ));
    assert!(
        nested
            .contains("spec.selector.matchLabels: unknown field; it belongs to spec.selector.meshService.matchLabels"),
        "{nested}"
    );
    let misspelt = said(&service(
        json!({"selector": {"meshService": {"matchLabels": {"a": "b"}}}, "port": ports}),
    ));
    assert!(misspelt.contains("spec.port: unknown field"), "{misspelt}");
    let mut beside = service(json!(null));
    beside["selector"] = json!({});
    assert!(said(&beside).contains("selector: unknown field"), "{}", said(&beside));
    let policy = json!({"type": "MeshRetry", "mesh": "default", "name": "a", "spec": {"to": [{"targetRef": {"kind": "Mesh"}, "default": {"numRetries": 5}}]}});
    assert!(
        said(&policy).contains("spec.to[0].default.numRetries: unknown field"),
        "{}",
        said(&policy)
    );
}

#[test]
fn messages_are_for_whoever_wrote_the_document() {
    let number = dataplane(json!({"inbound": [{"port": 80, "tags": {"kuma.io/service": 3_788_745.0}}]}));
    let said = document::read(&number).unwrap_err().to_string();
    assert!(said.ends_with("is 3788745.0, must be a string; quote it"), "{said}");
    let twice = document::split("type: Mesh\nname: a\nname: b\n")
        .unwrap_err()
        .to_string();
    assert!(twice.contains("duplicate") && !twice.contains("Options"), "{twice}");
    let twice = document::parse_json(br#"{"type": "Mesh", "a": {"b": 1, "b": 2}}"#)
        .unwrap_err()
        .to_string();
    assert!(
        twice.contains("key \"b\" stands there more than once at line 1"),
        "{twice}"
    );
    let deep = "[".repeat(100_000);
    assert!(document::parse_json(deep.as_bytes()).is_err());
    let value = json!({"a": [1, -2, 1.5, true, null, "x", {"b": {}}]});
    assert_eq!(document::parse_json(value.to_string().as_bytes()).unwrap(), value);
}

#[test]
fn secrets_of_the_control_plane_have_both_paths() {
    for path in ["global-secrets", "globalsecrets"] {
        assert_eq!(Kind::from_path(path), Some(Kind::GlobalSecret));
    }
}

#[test]
fn a_service_has_so_many_ports_and_no_more() {
    for (kind, selector) in [
        ("MeshService", json!({})),
        (
            "MeshMultiZoneService",
            json!({"meshService": {"matchLabels": {"kuma.io/display-name": "a"}}}),
        ),
    ] {
        let refused = |count: u32| {
            let ports: Vec<_> = (1..=count).map(|port| json!({"port": port})).collect();
            let payload = json!({"selector": selector, "ports": ports});
            Kind::from_name(kind).unwrap().check(&payload).err()
        };
        assert_eq!(refused(100), None, "{kind}");
        let violations = refused(40_000).unwrap();
        let said: Vec<_> = violations
            .iter()
            .map(|found| (found.field.as_str(), found.message.as_str()))
            .collect();
        let expected = "has 40000 ports, at most 100 are allowed: make another service of the others";
        assert_eq!(said, [("spec.ports", expected)], "{kind}");
    }
}

#[test]
fn identities_of_a_service_are_bounded() {
    let refused = |count: usize, length: usize| {
        let identities = vec![json!({"type": "ServiceTag", "value": "x".repeat(length)}); count];
        let checked = Kind::MeshService.check(&json!({"identities": identities}));
        checked
            .err()
            .map(|violations| violations.to_string())
            .unwrap_or_default()
    };
    assert_eq!(refused(1000, 63), "");
    assert!(refused(1001, 1).contains("spec.identities: has 1001 entries, at most 1000"));
    assert!(refused(2, 500_000).contains("spec.identities[0].value: has 500000 bytes"));
}

#[test]
fn no_sidecar_has_the_identity_of_egresses() {
    let dataplane = |service: &str| json!({ "networking": { "address": "10.0.0.1", "inbound": [{ "port": 80, "tags": { "kuma.io/service": service } }] } });
    assert_eq!(Kind::Dataplane.check(&dataplane("zone-egress-2")).err(), None);
    let violations = Kind::Dataplane.check(&dataplane("zone-egress")).unwrap_err();
    let fields: Vec<_> = violations.iter().map(|violation| violation.field.as_str()).collect();
    assert_eq!(fields, ["networking.inbound[0].tags[\"kuma.io/service\"]"]);
}
