#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use serde_json::json;

use super::*;

/// A payload of each flat kind with every field that its typed form knows.
fn complete(kind: Kind) -> Value {
    let tags = json!({"kuma.io/service": "redis", "kuma.io/protocol": "tcp", "a": "b"});
    let stats = json!({"responsesSent": "9007199254740993", "responsesAcknowledged": "2", "responsesRejected": "1"});
    let subscriptions = json!([{
        "id": "s", "controlPlaneInstanceId": "cp", "connectTime": "2026-11-23T18:00:00.123456789Z",
        "disconnectTime": "2026-11-23T19:00:00Z", "generation": 7,
        "status": {
            "lastUpdateTime": "2026-11-23T18:00:01.5Z", "total": stats, "cds": stats, "eds": stats, "lds": stats, "rds": stats,
            "rejections": [{"type": "cluster", "names": ["a", "b"], "message": "no"}]
        },
        "version": {
            "kumaDp": {"version": "1", "gitTag": "t", "gitCommit": "c", "buildDate": "d", "kumaCpCompatible": true},
            "envoy": {"version": "1.40", "build": "b", "kumaDpCompatible": true},
            "dependencies": {"coredns": "1", "b": "2"}
        }
    }]);
    let presence = json!({"registered": true, "state": "Held", "reason": "r", "tokenExpires": "2026-11-24T18:00:00Z", "listeners": {"inbounds": ["80", "main"]}, "unopenedLogs": ["/x"]});
    match kind {
        Kind::Mesh => json!({
            "mtls": {"enabledBackend": "ca-1", "skipValidation": true, "backends": [{
                "name": "ca-1", "type": "builtin", "mode": "PERMISSIVE",
                "dpCert": {"rotation": {"expiration": "1d"}, "requestTimeout": "90s"},
                "conf": {"caCert": {"RSAbits": 2048, "expiration": "10y", "half": 0.5, "list": [1, "two", null, true]}},
                "rootChain": {"requestTimeout": "10s"}
            }]},
            "networking": {"outbound": {"passthrough": false}},
            "routing": {"localityAwareLoadBalancing": true, "zoneEgress": true, "defaultForbidMeshExternalServiceAccess": true},
            "constraints": {"dataplaneProxy": {"requirements": [{"tags": tags}], "restrictions": [{"tags": tags}]}},
            "skipCreatingInitialPolicies": ["*"],
            "meshServices": {"mode": "Disabled"},
            "logging": {"defaultBackend": "l", "backends": [{"name": "l", "format": "f", "type": "file", "conf": {"path": "/x"}}]},
            "tracing": {"defaultBackend": "t", "backends": [{"name": "t", "sampling": 12.5, "type": "zipkin", "conf": {"url": "u"}}]},
            "metrics": {"enabledBackend": "m", "backends": [{"name": "m", "type": "prometheus", "conf": {"port": 5670}}]}
        }),
        Kind::Dataplane => json!({
            "networking": {
                "address": "10.0.0.1", "advertisedAddress": "192.0.2.1",
                "inbound": [{
                    "name": "main", "port": 80, "servicePort": 8080, "serviceAddress": "127.0.0.1", "address": "10.0.0.2",
                    "tags": tags, "state": "NotReady", "health": {"ready": true},
                    "serviceProbe": {"interval": "1m30s", "timeout": "250ms", "unhealthyThreshold": 2, "healthyThreshold": 3, "tcp": {}}
                }],
                "outbound": [
                    {"address": "127.0.0.2", "port": 81, "backendRef": {"kind": "MeshService", "name": "x", "labels": tags, "port": 1}},
                    {"port": 82, "tags": tags}
                ],
                "gateway": {"tags": tags, "type": "BUILTIN"},
                "transparentProxying": {
                    "redirectPortInbound": 15006, "redirectPortOutbound": 15001, "ipFamilyMode": "IPv4",
                    "directAccessServices": ["*"], "reachableServices": ["s"],
                    "reachableBackends": {"refs": [{"kind": "MeshService", "name": "n", "namespace": "ns", "port": 5, "labels": tags}]}
                },
                "admin": {"port": 9901}
            },
            "metrics": {"name": "m", "type": "prometheus", "conf": {"port": 1}},
            "probes": {"port": 9000, "endpoints": [{"inboundPort": 1, "inboundPath": "/a", "path": "/b"}]}
        }),
        Kind::DataplaneInsight => json!({
            "subscriptions": subscriptions,
            "mTLS": {
                "certificateExpirationTime": "2026-11-24T18:00:00Z", "lastCertificateRegeneration": "2026-11-23T18:00:00Z",
                "certificateRegenerations": 3, "issuedBackend": "ca-1", "supportedBackends": ["ca-1", "ca-2"]
            },
            "inbounds": [{"port": 80, "notReady": "refused", "denied": "9007199254740993", "lastDenied": "2026-11-23T18:00:00Z"}],
            "presence": presence, "problems": ["p", "q"]
        }),
        Kind::ZoneIngressInsight | Kind::ZoneEgressInsight => {
            json!({"subscriptions": subscriptions, "presence": presence, "problems": ["p"]})
        }
        Kind::ZoneIngress => json!({
            "zone": "west",
            "networking": {"address": "10.0.0.1", "port": 10001, "advertisedAddress": "192.0.2.1", "advertisedPort": 30001, "admin": {"port": 9901}},
            "availableServices": [{"tags": tags, "instances": 2, "mesh": "default", "externalService": true}]
        }),
        Kind::ZoneEgress => json!({
            "zone": "west", "networking": {"address": "10.0.0.1", "port": 10002, "admin": {"port": 9901}}
        }),
        Kind::Secret | Kind::GlobalSecret => json!({"data": "aGVsbG8="}),
        Kind::Config => json!({"config": "x"}),
        Kind::Zone => json!({"enabled": false}),
        Kind::ZoneInsight => json!({
            "subscriptions": [{
                "id": "s", "globalInstanceId": "g", "zoneInstanceId": "z", "connectTime": "2026-11-23T18:00:00Z",
                "disconnectTime": "2026-11-23T19:00:00Z", "generation": 1,
                "status": {"lastUpdateTime": "2026-11-23T18:00:00Z", "total": stats, "stat": {"Mesh": stats, "Secret": stats}},
                "version": {"kumaCp": {"version": "1", "gitTag": "t", "gitCommit": "c", "buildDate": "d", "kumaCpGlobalCompatible": true}},
                "config": "{}", "authTokenProvided": true
            }],
            "envoyAdminStreams": {"configDumpGlobalInstanceId": "a", "statsGlobalInstanceId": "b", "clustersGlobalInstanceId": "c"},
            "healthCheck": {"time": "2026-11-23T18:00:00Z"}
        }),
        other => panic!("no sample of {other}"),
    }
}

/// The payload as the typed form of its kind prints it.
fn typed(kind: Kind, payload: &Value) -> Value {
    use meshspan_model::Spec;
    use meshspan_model::kinds::*;
    fn of<T: Spec>(payload: &Value) -> Value {
        T::from_value(payload).unwrap().to_value()
    }
    match kind {
        Kind::Mesh => of::<mesh::Mesh>(payload),
        Kind::Dataplane => of::<dataplane::Dataplane>(payload),
        Kind::DataplaneInsight => of::<dataplane_insight::DataplaneInsight>(payload),
        Kind::ZoneIngressInsight => of::<dataplane_insight::ZoneIngressInsight>(payload),
        Kind::ZoneEgressInsight => of::<dataplane_insight::ZoneEgressInsight>(payload),
        Kind::ZoneEgress => of::<zone_egress::ZoneEgress>(payload),
        Kind::ZoneIngress => of::<zone_ingress::ZoneIngress>(payload),
        Kind::Secret => of::<secret::Secret>(payload),
        Kind::GlobalSecret => of::<secret::GlobalSecret>(payload),
        Kind::Config => of::<config::Config>(payload),
        Kind::Zone => of::<zone::Zone>(payload),
        Kind::ZoneInsight => of::<zone_insight::ZoneInsight>(payload),
        other => panic!("{other} is not flat"),
    }
}

/// Paths of all leaves, lists included.
fn leaves(value: &Value, path: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => fields
            .iter()
            .for_each(|(name, value)| leaves(value, &format!("{path}.{name}"), found)),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .for_each(|(index, value)| leaves(value, &format!("{path}[{index}]"), found)),
        _ => found.push(path.to_owned()),
    }
}

#[test]
fn every_field_of_every_flat_kind_survives() {
    for kind in Kind::ALL.iter().copied().filter(|kind| message_name(*kind).is_some()) {
        let sample = complete(kind);
        let before = typed(kind, &sample);
        let (mut written, mut known) = (Vec::new(), Vec::new());
        leaves(&sample, "", &mut written);
        leaves(&before, "", &mut known);
        written.sort();
        known.sort();
        assert_eq!(
            written, known,
            "the sample of {kind} names a field that its typed form does not know"
        );
        let back = from_protobuf(kind, &to_protobuf(kind, &before).unwrap()).unwrap();
        assert_eq!(typed(kind, &back), before, "{kind}");
    }
}

#[test]
fn equal_payloads_give_equal_bytes() {
    let sample = complete(Kind::Dataplane);
    let first = to_protobuf(Kind::Dataplane, &sample).unwrap();
    for _ in 0..20 {
        assert_eq!(to_protobuf(Kind::Dataplane, &sample).unwrap(), first);
    }
}

#[test]
fn bytes_are_those_of_the_reference() {
    // ZoneIngress { zone: "w", networking { address: "a", port: 1 }, availableServices { tags {"b":"2","a":"1"} } }
    let payload = json!({"zone": "w", "networking": {"address": "a", "port": 1}, "availableServices": [{"tags": {"b": "2", "a": "1"}}]});
    let bytes = to_protobuf(Kind::ZoneIngress, &payload).unwrap();
    let expected = [
        &[0x0a, 1, b'w'][..],
        &[0x12, 5, 0x0a, 1, b'a', 0x18, 1],
        &[
            0x1a, 16, 0x0a, 6, 0x0a, 1, b'a', 0x12, 1, b'1', 0x0a, 6, 0x0a, 1, b'b', 0x12, 1, b'2',
        ],
    ];
    assert_eq!(bytes, expected.concat());
    // ZoneEgress { zone: "w", networking { address: "a", port: 1, admin { port: 2 } } }
    let payload = json!({"zone": "w", "networking": {"address": "a", "port": 1, "admin": {"port": 2}}});
    assert_eq!(
        to_protobuf(Kind::ZoneEgress, &payload).unwrap(),
        [
            &[0x0a, 1, b'w'][..],
            &[0x12, 9, 0x0a, 1, b'a', 0x10, 1, 0x1a, 2, 0x08, 2]
        ]
        .concat()
    );
    // Secret { data: BytesValue("hi") }
    assert_eq!(
        to_protobuf(Kind::Secret, &json!({"data": "aGk="})).unwrap(),
        [0x0a, 4, 0x0a, 2, b'h', b'i']
    );
}

#[test]
fn unknown_fields_are_tolerated_and_wrong_values_are_named() {
    assert_eq!(
        to_protobuf(Kind::Config, &json!({"config": "x", "new": 1})).unwrap(),
        [0x0a, 1, b'x']
    );
    // Field 15, a varint that no version knows.
    assert_eq!(
        from_protobuf(Kind::Config, &[0x0a, 1, b'x', 0x78, 1]).unwrap(),
        json!({"config": "x"})
    );
    let error = to_protobuf(Kind::Zone, &json!({"enabled": "perhaps"})).unwrap_err();
    assert!(error.to_string().contains("kuma.system.v1alpha1.Zone"), "{error}");
    assert!(from_protobuf(Kind::Zone, &[0xff]).is_err());
}
