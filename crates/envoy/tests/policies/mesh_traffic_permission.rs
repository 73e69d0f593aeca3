//! Who gets through to an application, by the certificate that it shows.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use meshspan_envoy::{destination_cluster, destination_endpoints, names};
use meshspan_model::policy::PolicyKind;
use meshspan_world::view::{Endpoint, InboundPolicies, InboundTls, Protocol};
use serde_json::{Value, json};

use crate::support::app::App;
use crate::support::client::{exchange, get};
use crate::support::envoy::Envoy;
use crate::support::inputs::*;
use crate::support::proxies::{BACKEND_ID, Backend, Client, backend, certificates, certificates_with};

const WEB: &[(&str, &str)] = &[("kuma.io/service", "web"), ("version", "1")];
const WEB_2: &[(&str, &str)] = &[("kuma.io/service", "web"), ("version", "2")];
const ADMIN: &[(&str, &str)] = &[("kuma.io/service", "admin"), ("version", "1")];

/// What clients ask for in TLS.
const SNI: &str = "backend.example";

/// One server with an inbound for each case and protocol, so that no case sees what another one left.
struct Server {
    cases: usize,
    envoy: Envoy,
    _apps: [App; 2],
}

/// A client of all these inbounds.
struct Caller {
    envoy: Envoy,
}

const PROTOCOLS: [Protocol; 2] = [Protocol::Http, Protocol::Tcp];

/// Ports are chosen by the system, so that addresses have to tell listeners apart.
fn address(case: usize, protocol: Protocol) -> IpAddr {
    Ipv4Addr::new(
        127,
        0,
        1 + u8::from(protocol.is_http()),
        u8::try_from(case + 1).unwrap(),
    )
    .into()
}

fn section(case: usize, protocol: Protocol) -> String {
    format!("{}{case}", if protocol.is_http() { "http" } else { "tcp" })
}

/// Every inbound: case by case, both protocols.
fn inbounds(cases: usize) -> impl Iterator<Item = (usize, Protocol)> {
    (0..cases).flat_map(|case| PROTOCOLS.map(|protocol| (case, protocol)))
}

impl Server {
    fn start(cases: &[Vec<Value>]) -> Self {
        let apps = [App::http("app"), App::line("app")];
        let ports = [&apps[0], &apps[1]].map(App::port);
        let listen = |(case, protocol): (usize, Protocol)| {
            let app = ports[usize::from(!protocol.is_http())];
            let mut one = inbound("backend", &section(case, protocol), 0, app.into(), protocol);
            one.address = address(case, protocol).to_string();
            one
        };
        let mut proxy = sidecar("backend-1", inbounds(cases.len()).map(listen).collect());
        proxy.inbound_policies = cases
            .iter()
            .flat_map(|specs| [permissions(specs), permissions(specs)])
            .collect();
        let resources = [meshspan_envoy::sidecar(&proxy, &OPTIONS), certificates("backend")].concat();
        Self {
            cases: cases.len(),
            envoy: Envoy::start(&resources, "east"),
            _apps: apps,
        }
    }

    fn denied_in_the_shadow(&self) -> u64 {
        self.envoy.counter("rbac.shadow_denied")
    }
}

impl Caller {
    fn start(tags: &[(&str, &str)], server: &Server) -> Self {
        let said = policies([]);
        let mut proxy = sidecar("caller", Vec::new());
        for (case, protocol) in inbounds(server.cases) {
            let section = section(case, protocol);
            let at = server.envoy.address(&names::inbound(&section));
            let endpoint = Endpoint {
                address: at.ip(),
                ..ready(at.port())
            };
            let one = over_tls(destination("backend", &section, protocol), &[BACKEND_ID]);
            let mut one = with_localities(one, vec![own_zone(vec![endpoint])]);
            one.tls.as_mut().unwrap().sni = SNI.to_owned();
            proxy
                .outbounds
                .push(outbound_with(&one, &said, address(case, protocol), 0, true));
        }
        let mut resources = meshspan_envoy::sidecar(&proxy, &OPTIONS);
        for outbound in &proxy.outbounds {
            let destination = &*outbound.destination;
            resources.extend([
                destination_cluster(destination, &said),
                destination_endpoints(destination, &said),
            ]);
        }
        resources.extend(certificates_with(tags));
        Self {
            envoy: Envoy::start(&resources, "east"),
        }
    }

    /// True if both requests and connections get through; they must agree.
    fn gets_through(&self, case: usize) -> bool {
        let [http, tcp] = PROTOCOLS.map(|protocol| {
            let name = names::explicit_outbound(address(case, protocol), 0);
            self.envoy.address(&name)
        });
        let status = get(http, "/").unwrap().status;
        assert!([200, 403].contains(&status), "{status}");
        let answer = exchange(tcp, b"hello\n").is_ok_and(|answer| !answer.is_empty());
        assert_eq!(answer, status == 200, "HTTP {status}");
        answer
    }
}

fn permissions(specs: &[Value]) -> Arc<InboundPolicies> {
    let kind = PolicyKind::MeshTrafficPermission;
    for spec in specs {
        kind.kind().check(spec).unwrap();
    }
    let specs: Vec<_> = specs.iter().map(|spec| (kind, spec.clone())).collect();
    inbound_policies(&specs)
}

fn from(items: &[(Value, &str)]) -> Value {
    let items = items
        .iter()
        .map(|(target, action)| json!({ "targetRef": target, "default": { "action": action } }));
    json!({ "from": items.collect::<Vec<_>>() })
}

fn rule(conf: Value) -> Value {
    json!({ "rules": [{ "default": conf }] })
}

fn exact(id: &str) -> Value {
    json!([{ "spiffeID": { "type": "Exact", "value": id } }])
}

#[test]
fn clients_are_told_apart_by_service_tag_and_identity() {
    let mesh = json!({ "kind": "Mesh" });
    let service = |name: &str| json!({ "kind": "MeshService", "name": name });
    let prefix = |value: &str| json!([{ "spiffeID": { "type": "Prefix", "value": value } }]);
    let asked = |name: &str| json!({ "sni": { "type": "Exact", "value": name } });
    let web_asking = |name: &str| {
        json!([{
            "spiffeID": { "type": "Exact", "value": "spiffe://default/web" },
            "sni": { "type": "Exact", "value": name },
        }])
    };
    let cases = [
        ("nothing is said", vec![], [false, false, false]),
        ("all", vec![from(&[(mesh.clone(), "Allow")])], [true, true, true]),
        ("none", vec![from(&[(mesh.clone(), "Deny")])], [false, false, false]),
        (
            "a service",
            vec![from(&[(service("web"), "Allow")])],
            [true, true, false],
        ),
        (
            "a tag",
            vec![from(&[(
                json!({ "kind": "MeshSubset", "tags": { "version": "1" } }),
                "Allow",
            )])],
            [true, false, true],
        ),
        (
            "a service with a tag",
            vec![from(&[(
                json!({ "kind": "MeshServiceSubset", "name": "web", "tags": { "version": "2" } }),
                "Allow",
            )])],
            [false, true, false],
        ),
        (
            "all but a service",
            vec![from(&[(mesh.clone(), "Allow"), (service("web"), "Deny")])],
            [false, false, true],
        ),
        (
            "another service first, and then all",
            vec![from(&[(service("web"), "Deny"), (mesh, "Allow")])],
            [true, true, true],
        ),
        (
            "an identity",
            vec![rule(json!({ "allow": exact("spiffe://default/admin") }))],
            [false, false, true],
        ),
        (
            "the start of one",
            vec![rule(json!({ "allow": prefix("spiffe://default/w") }))],
            [true, true, false],
        ),
        (
            "all but an identity, in two policies",
            vec![
                rule(json!({ "allow": prefix("spiffe://default") })),
                rule(json!({ "deny": exact("spiffe://default/web") })),
            ],
            [false, false, true],
        ),
        (
            "whoever asks for the right name",
            vec![rule(json!({ "allow": [asked(SNI)] }))],
            [true, true, true],
        ),
        (
            "whoever asks for another name",
            vec![rule(json!({ "allow": [asked("other")] }))],
            [false, false, false],
        ),
        (
            "one who asks for the right name, and one for any",
            vec![
                rule(json!({ "allow": web_asking(SNI) })),
                rule(json!({ "allow": exact("spiffe://default/none") })),
            ],
            [true, true, false],
        ),
        (
            "all but one who asks for the right name",
            vec![rule(
                json!({ "allow": prefix("spiffe://default"), "deny": web_asking(SNI) }),
            )],
            [false, false, true],
        ),
    ];
    let specs: Vec<_> = cases.iter().map(|(_, specs, _)| specs.clone()).collect();
    let server = Server::start(&specs);
    let callers = [WEB, WEB_2, ADMIN].map(|tags| Caller::start(tags, &server));
    for (case, (what, _, expected)) in cases.iter().enumerate() {
        let found = [0, 1, 2].map(|caller: usize| callers[caller].gets_through(case));
        assert_eq!(found, *expected, "{what}");
    }
}

#[test]
fn a_shadow_denial_is_counted_and_harms_nobody() {
    let everyone = json!([{ "spiffeID": { "type": "Prefix", "value": "spiffe://default" } }]);
    let cases = [
        vec![from(&[
            (json!({ "kind": "Mesh" }), "Allow"),
            (json!({ "kind": "MeshService", "name": "web" }), "AllowWithShadowDeny"),
        ])],
        vec![rule(
            json!({ "allow": everyone, "allowWithShadowDeny": exact("spiffe://default/web") }),
        )],
    ];
    let server = Server::start(&cases);
    let [web, admin] = [WEB, ADMIN].map(|tags| Caller::start(tags, &server));
    for case in 0..cases.len() {
        assert!(admin.gets_through(case));
    }
    assert_eq!(server.denied_in_the_shadow(), 0);
    for case in 0..cases.len() {
        assert!(web.gets_through(case));
    }
    assert_eq!(
        server.denied_in_the_shadow(),
        4,
        "a request and a connection for each form"
    );
}

#[test]
fn those_without_an_identity_are_not_asked() {
    let app = App::http("app");
    let server = Backend::start(app.port(), Protocol::Http, |proxy| {
        proxy.inbound_tls = InboundTls::Permissive;
        proxy.inbound_policies = vec![permissions(&[])];
    });
    let address = SocketAddr::new(LOCALHOST, server.port());
    assert_eq!(get(address, "/").unwrap().status, 200);
    let destination = backend(Protocol::Http, vec![own_zone(vec![ready(server.port())])]);
    assert_eq!(Client::start(&destination).ask_http(), Err(403));
}
