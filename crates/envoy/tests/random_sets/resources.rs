//! A random mesh without policies: its Mesh, and what runs in its zones.

use serde_json::{Value, json};

use crate::confs::values::with;
use crate::names::{MESH, MULTI_ZONE, OTHER_ZONES, PORTS, SERVICES, ZONE};
use crate::random::Random;

const PROTOCOLS: &[&str] = &["http", "http2", "grpc", "tcp", "tls", "kafka"];

/// Values of `kuma.io/service` that are no names.
const ODD_SERVICES: &[&str] = &["web_shop_svc_80", "A.b-c:9"];

/// Documents as they are stored, with the labels that control planes compute.
pub fn documents(random: &mut Random) -> Vec<Value> {
    let mut documents = vec![mesh(random)];
    documents.extend((0..random.between(1, 3)).map(|index| dataplane(random, index)));
    for service in SERVICES {
        if random.chance(30) {
            documents.push(local_service(random, service));
        }
        for zone in OTHER_ZONES {
            if random.chance(60) {
                documents.push(remote_service(random, service, zone));
            }
        }
    }
    documents.extend(MULTI_ZONE.iter().map(|name| multi_zone(random, name)));
    for zone in OTHER_ZONES {
        if random.chance(80) {
            documents.push(ingress(random, zone));
        }
    }
    if random.chance(60) {
        documents.push(ingress(random, ZONE));
    }
    documents
}

fn mesh(random: &mut Random) -> Value {
    let mut mesh = json!({ "type": "Mesh", "name": MESH });
    if random.chance(75) {
        let mut backend = json!({ "name": "ca-1", "type": "builtin" });
        if random.chance(40) {
            backend["mode"] = "PERMISSIVE".into();
        }
        mesh["mtls"] = json!({ "enabledBackend": "ca-1", "backends": [backend] });
    }
    if random.chance(30) {
        mesh["networking"] = json!({ "outbound": { "passthrough": random.chance(50) } });
    }
    mesh
}

fn dataplane(random: &mut Random, index: usize) -> Value {
    let address = match random.below(20) {
        0..4 => format!("fd00::{}", index + 1),
        4 => "proxy.example".to_owned(),
        _ => format!("10.0.0.{}", index + 1),
    };
    let mut networking = json!({ "address": address });
    if random.chance(10) {
        let service = random.one_of(SERVICES);
        networking["gateway"] = json!({ "tags": { "kuma.io/service": service } });
    } else {
        let first = random.between(1000, 1500);
        let inbounds = (0..random.between(1, 3)).map(|number| inbound(random, first + number, number));
        networking["inbound"] = inbounds.collect();
    }
    match random.below(3) {
        0 => {
            networking["outbound"] = (0..random.below(4))
                .map(|number| outbound(random, 20000 + number))
                .collect()
        }
        1 => networking["transparentProxying"] = intercepted(random),
        _ => {
            let refs = random.list(0, 3, reachable);
            networking["transparentProxying"] =
                with(intercepted(random), json!({ "reachableBackends": { "refs": refs } }));
        }
    }
    json!({
        "type": "Dataplane", "mesh": MESH, "name": format!("proxy-{index}"),
        "labels": { "kuma.io/origin": "zone", "kuma.io/zone": ZONE, "app": random.one_of(SERVICES) },
        "networking": networking,
    })
}

fn inbound(random: &mut Random, port: usize, number: usize) -> Value {
    let mut tags = random.maybe(&[
        ("version", |random| random.one_of(&["v1", "v2"])),
        ("team", |random| random.one_of(&["shop", "core"])),
        ("kuma.io/protocol", |random| random.one_of(PROTOCOLS)),
    ]);
    let services = if random.chance(90) { SERVICES } else { ODD_SERVICES };
    tags["kuma.io/service"] = random.one_of(services);
    tags["kuma.io/zone"] = ZONE.into();
    let rest = random.maybe(&[
        ("serviceAddress", |random| {
            random.one_of(&["127.0.0.1", "::1", "10.9.9.9"])
        }),
        ("servicePort", |random| random.one_of(&[8080, 9000])),
        ("state", |random| random.one_of(&["Ready", "NotReady", "Ignored"])),
        ("address", |random| {
            random.one_of(&["10.0.0.77", "fd00::77", "127.0.0.1"])
        }),
        ("serviceProbe", |_| json!({ "tcp": {} })),
    ]);
    let mut inbound = with(rest, json!({ "port": port, "tags": tags }));
    if random.chance(60) {
        // Not always unique.
        let names = ["http", "main", "other"];
        inbound["name"] = if random.chance(90) {
            names[number].into()
        } else {
            random.one_of(&names)
        };
    }
    inbound
}

fn outbound(random: &mut Random, port: usize) -> Value {
    let service = if random.chance(50) {
        json!({ "kind": "MeshService", "name": random.one_of(SERVICES), "port": random.one_of(PORTS) })
    } else {
        json!({
            "kind": "MeshMultiZoneService",
            "labels": { "kuma.io/display-name": random.one_of(MULTI_ZONE) },
            "port": random.one_of(PORTS),
        })
    };
    let mut outbound = json!({ "port": port, "backendRef": service });
    if random.chance(30) {
        outbound["address"] = random.one_of(&["127.0.0.1", "::1", "127.0.0.9"]);
    }
    outbound
}

fn intercepted(random: &mut Random) -> Value {
    let rest = random.maybe(&[("ipFamilyMode", |random| {
        random.one_of(&["UnSpecified", "DualStack", "IPv4", "IPv6"])
    })]);
    with(
        rest,
        json!({ "redirectPortInbound": 15006, "redirectPortOutbound": 15001 }),
    )
}

fn reachable(random: &mut Random) -> Value {
    let rest = random.maybe(&[("port", |random| random.one_of(PORTS))]);
    let service = if random.chance(50) {
        json!({ "kind": "MeshService", "name": random.one_of(SERVICES) })
    } else {
        json!({ "kind": "MeshMultiZoneService", "labels": { "kuma.io/display-name": random.one_of(MULTI_ZONE) } })
    };
    with(rest, service)
}

fn port_of_service(random: &mut Random, number: u32) -> Value {
    let mut port = random.maybe(&[("appProtocol", |random| random.one_of(PROTOCOLS))]);
    port["port"] = number.into();
    if random.chance(60) {
        port["name"] = match number {
            80 => "http",
            6379 => "main",
            _ => "last",
        }
        .into();
    }
    port
}

fn ports(random: &mut Random) -> Vec<Value> {
    let numbers = random.several(PORTS, 1);
    numbers
        .into_iter()
        .map(|number| port_of_service(random, number))
        .collect()
}

fn local_service(random: &mut Random, name: &str) -> Value {
    let mut ports = ports(random);
    for port in &mut ports {
        if random.chance(70) {
            port["targetPort"] = random.one_of(&["http", "main"]);
        }
    }
    let selector = if random.chance(50) {
        json!({ "dataplaneTags": { "kuma.io/service": name } })
    } else {
        json!({ "dataplaneTags": { "version": "v1" } })
    };
    json!({
        "type": "MeshService", "mesh": MESH, "name": name,
        "labels": { "kuma.io/origin": "zone", "kuma.io/zone": ZONE, "kuma.io/display-name": name, "kuma.io/env": "universal" },
        "spec": { "selector": selector, "ports": ports },
    })
}

fn remote_service(random: &mut Random, name: &str, zone: &str) -> Value {
    let identities = random.list(0, 2, |random| {
        if random.chance(70) {
            json!({ "type": "ServiceTag", "value": random.one_of(SERVICES) })
        } else {
            json!({ "type": "SpiffeID", "value": "spiffe://default/someone" })
        }
    });
    json!({
        "type": "MeshService", "mesh": MESH, "name": format!("{name}-{zone}"),
        "labels": { "kuma.io/origin": "global", "kuma.io/zone": zone, "kuma.io/display-name": name, "kuma.io/env": "universal" },
        "spec": { "state": random.one_of(&["Available", "Unavailable"]), "ports": ports(random), "identities": identities },
    })
}

fn multi_zone(random: &mut Random, name: &str) -> Value {
    let selected = if random.chance(80) {
        json!({ "kuma.io/display-name": random.one_of(SERVICES) })
    } else {
        json!({ "kuma.io/env": "universal" })
    };
    json!({
        "type": "MeshMultiZoneService", "mesh": MESH, "name": name,
        "labels": { "kuma.io/origin": "global", "kuma.io/display-name": name },
        "spec": { "selector": { "meshService": { "matchLabels": selected } }, "ports": ports(random) },
    })
}

fn ingress(random: &mut Random, zone: &str) -> Value {
    let last = random.between(1, 250);
    json!({
        "type": "ZoneIngress", "name": format!("ingress-{zone}"), "zone": zone,
        "labels": { "kuma.io/origin": if zone == ZONE { "zone" } else { "global" }, "kuma.io/zone": zone },
        "networking": {
            "address": "10.0.0.200", "port": 10001,
            "advertisedAddress": format!("192.168.0.{last}"), "advertisedPort": 10001,
        },
    })
}
