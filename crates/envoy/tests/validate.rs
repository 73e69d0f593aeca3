//! Everything that is projected is accepted by a real Envoy, word for word as a control plane would send it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod support;

use meshspan_envoy::{
    BootstrapParams, Credential, Encoded, ProxyOptions, bootstrap, destination_cluster, outbound_listener, secrets,
};
use meshspan_identity::{Ca, WorkloadRequest};
use meshspan_model::ServiceKind;
use meshspan_model::kinds::dataplane::IpFamilyMode;
use meshspan_world::view::{
    Destination, Egress, EgressAccess, EgressRoute, External, ExternalCertificates, InboundTls, Protocol,
};
use serde_json::json;
use std::sync::Arc;
use support::inputs::*;
use support::{static_config, validate};
use time::{Duration, OffsetDateTime};

const PROTOCOLS: [Protocol; 4] = [Protocol::Tcp, Protocol::Http, Protocol::Http2, Protocol::Grpc];
const ID: &str = "spiffe://default/backend";

#[test]
fn destinations() {
    let mut resources = Vec::new();
    let mut explicit_port = 1000;
    for protocol in PROTOCOLS {
        for (variant, encrypted, remote) in [("plain", false, false), ("tls", true, false), ("cross", true, true)] {
            let section = format!("{}-{variant}", protocol_name(protocol));
            let mut one = destination("backend", &section, protocol);
            if encrypted {
                one = over_tls(one, &[ID, "spiffe://default/other"]);
            }
            let mut localities = vec![own_zone(vec![ready(1), unready(2)])];
            if remote {
                localities.push(other_zone("west", vec![ready(3)]));
            }
            let one = with_localities(one, localities);
            resources.push(destination_cluster(&one, &default_policies()));
            explicit_port += 1;
            resources.push(outbound_listener(&outbound(
                &one,
                "243.0.0.1".parse().unwrap(),
                explicit_port,
                false,
            )));
            resources.push(outbound_listener(&outbound(
                &one,
                "::1".parse().unwrap(),
                explicit_port,
                true,
            )));
        }
    }
    accepts(&resources);
}

#[test]
fn nobody_to_trust() {
    let without_ids = over_tls(destination("backend", "http", Protocol::Http), &[]);
    accepts(&[destination_cluster(&without_ids, &default_policies())]);
}

#[test]
fn sidecars() {
    let inbounds = || {
        let mut all: Vec<_> = PROTOCOLS
            .iter()
            .zip(8000..)
            .map(|(&protocol, port)| inbound("web", protocol_name(protocol), port, port + 1000, protocol))
            .collect();
        // The application on the address of the host: dialled from 127.0.0.6.
        all[0].service_address = String::new();
        all
    };
    let options = ProxyOptions {
        socket_mark: 4660,
        ipv6: true,
        system_ca: None,
    };
    for inbound_tls in [InboundTls::Off, InboundTls::Strict, InboundTls::Permissive] {
        for (allowed, passthrough, family) in [
            (true, true, Some(IpFamilyMode::DualStack)),
            (false, false, Some(IpFamilyMode::IPv4)),
            (true, true, None),
        ] {
            let mut one = sidecar("web-1", inbounds());
            std::sync::Arc::make_mut(&mut one.dataplane).networking.address = "10.0.0.1".to_owned();
            one.inbound_tls = inbound_tls;
            if !allowed {
                one.inbound_policies.clear();
            }
            one.passthrough = passthrough;
            match family {
                Some(mode) => one = intercepted(one, mode),
                None => {
                    let backend = destination("backend", "http", Protocol::Http);
                    one.outbounds = vec![
                        outbound(&backend, LOCALHOST, 80, true),
                        outbound(&backend, LOCALHOST, 81, true),
                    ];
                }
            }
            accepts(&meshspan_envoy::sidecar(&one, &options));
        }
    }
}

#[test]
fn ingresses() {
    let backend = || over_tls(destination("backend", "http", Protocol::Http), &[ID]);
    let redis = over_tls(destination("redis", "6379", Protocol::Tcp), &[ID]);
    let plain = destination("plain", "http", Protocol::Http);
    // Another destination with the same server name must not cost the listener.
    let mut twin = backend();
    twin.key.section = "twin".to_owned();
    accepts(&meshspan_envoy::ingress(&ingress(
        "east",
        10001,
        vec![backend(), redis, plain.clone(), twin, backend()],
    )));
    accepts(&meshspan_envoy::ingress(&ingress("east", 10001, Vec::new())));
    accepts(&meshspan_envoy::ingress(&ingress("east", 10001, vec![plain])));
}

#[test]
fn egresses() {
    let ca = Ca::generate_builtin(MESH, 2048, OffsetDateTime::now_utc(), Duration::days(1)).unwrap();
    let service = |name: &str, protocol: Protocol, spec: serde_json::Value| {
        let mut one = over_tls(destination(name, "443", protocol), &["spiffe://default/zone-egress"]);
        one.key.service.kind = ServiceKind::MeshExternalService;
        let mut certificates = ExternalCertificates::default();
        if spec["tls"]["verification"]["caCert"].is_object() {
            certificates.ca = Some(ca.cert_pem().to_owned());
        }
        one.egress = Some(EgressRoute::External(Arc::new(External {
            service: Arc::new(serde_json::from_value(spec).unwrap()),
            access: EgressAccess::Everybody,
            certificates,
        })));
        one
    };
    let named =
        json!([{ "address": "example.com", "port": 443 }, { "address": "10.0.0.1", "port": 443, "priority": 7 }]);
    let mut destinations = Vec::new();
    for (number, protocol) in PROTOCOLS.into_iter().enumerate() {
        destinations.push(service(
            &format!("plain-{number}"),
            protocol,
            json!({ "endpoints": named }),
        ));
    }
    let modes = ["Secured", "SkipSAN", "SkipCA", "SkipAll"];
    for (number, mode) in modes.into_iter().enumerate() {
        for ca in [json!(null), json!({ "secret": "ca" })] {
            let verification = json!({ "mode": mode, "caCert": ca,
                "subjectAltNames": [{ "value": "example.com" }, { "type": "Prefix", "value": "spiffe://" }] });
            let tls = json!({ "enabled": true, "version": { "min": "TLS12", "max": "TLS13" }, "allowRenegotiation": true,
                "verification": verification });
            let name = format!("tls-{number}-{}", ca.is_null());
            destinations.push(service(
                &name,
                Protocol::Http,
                json!({ "endpoints": named, "tls": tls }),
            ));
        }
    }
    let mut nowhere = service("nowhere", Protocol::Tcp, json!({ "endpoints": [] }));
    if let Some(EgressRoute::External(external)) = &mut nowhere.egress {
        Arc::make_mut(external).access = EgressAccess::Nobody;
    }
    destinations.push(nowhere);
    let mut remote = over_tls(destination("redis", "6379", Protocol::Tcp), &[ID]);
    remote.egress = Some(EgressRoute::Zones(vec![other_zone("west", vec![ready(3)])]));
    destinations.push(remote);
    let egress = |destinations: Vec<Destination>| Egress {
        name: "egress-1".to_owned(),
        zone: "east".to_owned(),
        egress: Arc::new(
            serde_json::from_value(json!({ "networking": { "address": "127.0.0.1", "port": 10002 } })).unwrap(),
        ),
        destinations: destinations.into_iter().map(Arc::new).collect(),
    };
    let options = ProxyOptions {
        system_ca: Some("/etc/ssl/certs/ca-certificates.crt".into()),
        ..OPTIONS
    };
    let mut resources: Vec<_> = destinations.iter().flat_map(meshspan_envoy::egress_shared).collect();
    resources.extend(meshspan_envoy::egress(&egress(destinations), &options));
    let text = format!("{:?}", resources.iter().map(Encoded::to_json).collect::<Vec<_>>());
    assert!(!text.contains("BEGIN PRIVATE KEY"));
    accepts(&resources);
    accepts(&meshspan_envoy::egress(&egress(Vec::new()), &OPTIONS));
}

#[test]
fn certificates() {
    let now = OffsetDateTime::now_utc();
    let ca = Ca::generate_builtin(MESH, 2048, now, Duration::days(1)).unwrap();
    let request = WorkloadRequest::for_dataplane(
        MESH,
        [("kuma.io/service".to_owned(), ["web".to_owned()].into())].into(),
        now,
        Duration::hours(1),
    );
    let cert = ca.issue_workload(&request.unwrap()).unwrap();
    accepts(&[
        secrets::identity(MESH, &cert.cert_chain_pem, &cert.key_pem),
        secrets::trust_bundle(MESH, ca.cert_pem()),
    ]);
}

#[test]
fn bootstraps() {
    let ca = Ca::generate_builtin(MESH, 2048, OffsetDateTime::now_utc(), Duration::days(1)).unwrap();
    for host in ["localhost", "127.0.0.1", "::1"] {
        for socket_mark in [0, 4660] {
            let params = BootstrapParams {
                socket_mark,
                ..bootstrap_params(host, ca.cert_pem())
            };
            accepts_file("bootstrap.yaml", &bootstrap(&params));
        }
    }
    let mut old = bootstrap_params("localhost", ca.cert_pem());
    old.credential = Credential::Metadata("token".to_owned());
    accepts_file("bootstrap.json", &bootstrap(&old));
    let mut zone_ingress = bootstrap_params("localhost", ca.cert_pem());
    zone_ingress.proxy_type = bootstrap::ProxyType::Ingress;
    zone_ingress.mesh = String::new();
    zone_ingress.credential = Credential::None;
    accepts_file("bootstrap.json", &bootstrap(&zone_ingress));
}

#[test]
fn names_are_unique() {
    let mut one = intercepted(
        sidecar("web-1", vec![inbound("web", "a", 1, 2, Protocol::Tcp)]),
        IpFamilyMode::DualStack,
    );
    let backend = destination("backend", "http", Protocol::Http);
    one.outbounds = vec![
        outbound(&backend, LOCALHOST, 80, true),
        outbound(&backend, LOCALHOST, 80, true),
    ];
    let resources = meshspan_envoy::sidecar(&one, &OPTIONS);
    let listeners = static_config::names(&resources, meshspan_envoy::ResourceType::Listener);
    assert_eq!(
        listeners,
        [
            "outbound:127.0.0.1:80",
            "self_inbound_dp_a",
            "self_transparentproxy_passthrough_inbound_ipv4",
            "self_transparentproxy_passthrough_inbound_ipv6",
            "self_transparentproxy_passthrough_outbound_ipv4",
            "self_transparentproxy_passthrough_outbound_ipv6",
        ]
    );
    static_config::names(&resources, meshspan_envoy::ResourceType::Cluster);
}

/// Envoy accepts the resources as they are, and finds nothing in them that it will not understand for long.
fn accepts(resources: &[Encoded]) {
    without_warning(validate::resources(resources));
}

fn accepts_file(name: &str, bootstrap: &serde_json::Value) {
    without_warning(validate::bootstrap_file(name, bootstrap.to_string().as_bytes()));
}

fn without_warning(answer: Result<String, String>) {
    let log = answer.unwrap_or_else(|error| panic!("{error}"));
    assert!(
        !log.contains("deprecated"),
        "Envoy warns about the configuration:\n{log}"
    );
}
