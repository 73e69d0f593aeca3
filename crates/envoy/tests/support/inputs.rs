//! Short ways to write the values that projection reads.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use meshspan_envoy::{BootstrapParams, ControlPlaneAddresses, Credential, ProxyOptions, bootstrap};
use meshspan_model::kinds::dataplane::{Dataplane, Inbound, IpFamilyMode, TransparentProxying};
use meshspan_model::kinds::zone_ingress::ZoneIngress;
use meshspan_model::labels::{TAG_PROTOCOL, TAG_SERVICE};
use meshspan_model::policy::PolicyKind;
use meshspan_model::{Resource, ServiceIdentity, ServiceKind};
use meshspan_policy::{Confs, InboundRules, Policy};
use meshspan_world::VipRange;
use meshspan_world::sni::sni;
use meshspan_world::view::{
    Destination, DestinationKey, DestinationPolicies, Endpoint, InboundPolicies, InboundTls, Ingress, Locality,
    Outbound, PeerTls, Protocol, Reach, Sidecar, Source,
};
use serde_json::{Value, json};

pub const MESH: &str = "default";
pub const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
pub const OPTIONS: ProxyOptions = ProxyOptions {
    socket_mark: 0,
    ipv6: true,
    system_ca: None,
};

pub fn protocol_name(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "tcp",
        Protocol::Http => "http",
        Protocol::Http2 => "http2",
        Protocol::Grpc => "grpc",
    }
}

/// Port `section` of the MeshMultiZoneService `name`, plain and without endpoints.
pub fn destination(name: &str, section: &str, protocol: Protocol) -> Destination {
    let service = ServiceIdentity {
        kind: ServiceKind::MeshMultiZoneService,
        mesh: MESH.to_owned(),
        zone: String::new(),
        namespace: String::new(),
        name: name.to_owned(),
    };
    Destination {
        key: DestinationKey {
            service,
            section: section.to_owned(),
        },
        zone: "east".to_owned(),
        port: 80,
        vip: Some("243.0.0.1".parse().unwrap()),
        protocol,
        tls: None,
        localities: Vec::new(),
        egress: None,
    }
}

/// The same over mutual TLS with workloads that have one of these SPIFFE ids.
pub fn over_tls(mut destination: Destination, spiffe_ids: &[&str]) -> Destination {
    destination.tls = Some(PeerTls {
        spiffe_ids: spiffe_ids.iter().map(|id| (*id).to_owned()).collect::<BTreeSet<_>>(),
        sni: sni(&destination.key.service, destination.port, ""),
    });
    destination
}

pub fn with_localities(mut destination: Destination, localities: Vec<Locality>) -> Destination {
    destination.localities = localities;
    destination
}

pub fn own_zone(endpoints: Vec<Endpoint>) -> Locality {
    Locality {
        zone: "east".to_owned(),
        priority: 0,
        reach: Reach::Direct,
        endpoints,
    }
}

pub fn other_zone(zone: &str, endpoints: Vec<Endpoint>) -> Locality {
    Locality {
        zone: zone.to_owned(),
        priority: 1,
        reach: Reach::Ingress,
        endpoints,
    }
}

pub fn ready(port: u16) -> Endpoint {
    Endpoint {
        address: LOCALHOST,
        port: port.into(),
        ready: true,
        tags: Arc::default(),
    }
}

pub fn unready(port: u16) -> Endpoint {
    Endpoint {
        ready: false,
        ..ready(port)
    }
}

/// Confs of all traffic to a destination.
pub fn policies<const N: usize>(confs: [(PolicyKind, Value); N]) -> DestinationPolicies {
    DestinationPolicies {
        confs: confs.into_iter().collect(),
        ..Default::default()
    }
}

/// What a new mesh says about its destinations.
pub fn default_policies() -> DestinationPolicies {
    let back_off = json!({ "baseInterval": "25ms", "maxInterval": "250ms" });
    let requests = json!({
        "numRetries": 5,
        "perTryTimeout": "16s",
        "backOff": back_off,
        "hostSelection": [{ "predicate": "OmitPreviousPriorities", "updateFrequency": 1 }],
    });
    let http = json!({ "requestTimeout": "15s", "streamIdleTimeout": "30m" });
    policies([
        (
            PolicyKind::MeshTimeout,
            json!({ "connectionTimeout": "2s", "idleTimeout": "1h", "http": http }),
        ),
        (
            PolicyKind::MeshRetry,
            json!({ "tcp": { "maxConnectAttempt": 5 }, "http": requests, "grpc": requests }),
        ),
    ])
}

pub fn outbound(destination: &Destination, address: IpAddr, port: u32, bind: bool) -> Outbound {
    outbound_with(destination, &default_policies(), address, port, bind)
}

pub fn outbound_with(
    destination: &Destination,
    policies: &DestinationPolicies,
    address: IpAddr,
    port: u32,
    bind: bool,
) -> Outbound {
    Outbound {
        address,
        port,
        bind,
        destination: Arc::new(destination.clone()),
        policies: Arc::new(policies.clone()),
        fallbacks: Vec::new(),
        source: None,
    }
}

/// The policies of an inbound, from items of `from` or `rules` with their confs.
pub fn inbound_policies(policies: &[(PolicyKind, Value)]) -> Arc<InboundPolicies> {
    let loaded: Vec<_> = policies
        .iter()
        .enumerate()
        .map(|(index, (kind, spec))| {
            let resource = Resource::new(kind.kind(), MESH, format!("policy-{index}"), spec.clone());
            Arc::new(Policy::load(*kind, Arc::new(resource)).unwrap())
        })
        .collect();
    Arc::new(InboundRules::of(&loaded))
}

/// Lets every client of the mesh in.
pub fn allow_all() -> Arc<InboundPolicies> {
    let from = json!([{ "targetRef": { "kind": "Mesh" }, "default": { "action": "Allow" } }]);
    inbound_policies(&[(PolicyKind::MeshTrafficPermission, json!({ "from": from }))])
}

pub fn inbound(service: &str, name: &str, port: u32, app_port: u32, protocol: Protocol) -> Inbound {
    Inbound {
        name: name.to_owned(),
        port,
        service_port: app_port,
        service_address: "127.0.0.1".to_owned(),
        tags: [(TAG_SERVICE, service), (TAG_PROTOCOL, protocol_name(protocol))]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into(),
        ..Default::default()
    }
}

/// A sidecar on loopback that takes mesh TLS from everyone.
pub fn sidecar(name: &str, inbounds: Vec<Inbound>) -> Sidecar {
    let mut dataplane = Dataplane::default();
    dataplane.networking.address = "127.0.0.1".to_owned();
    dataplane.networking.inbound = inbounds;
    Sidecar {
        mesh: MESH.to_owned(),
        name: name.to_owned(),
        zone: "east".to_owned(),
        inbound_tls: InboundTls::Strict,
        inbound_policies: vec![allow_all(); dataplane.networking.inbound.len()],
        passthrough_confs: Confs::new(),
        source: Source {
            service: "web".to_owned(),
            address: "127.0.0.1".to_owned(),
        },
        dataplane: Arc::new(dataplane),
        passthrough: true,
        vip_ranges: vec![
            VipRange::parse("243.0.0.0/8").unwrap(),
            VipRange::parse("fd00:fd00::/64").unwrap(),
        ],
        outbounds: Vec::new(),
    }
}

pub fn intercepted(mut sidecar: Sidecar, ip_family_mode: IpFamilyMode) -> Sidecar {
    Arc::make_mut(&mut sidecar.dataplane).networking.transparent_proxying = Some(TransparentProxying {
        redirect_port_inbound: 15006,
        redirect_port_outbound: 15001,
        ip_family_mode,
        ..Default::default()
    });
    sidecar
}

pub fn ingress(zone: &str, port: u32, destinations: Vec<Destination>) -> Ingress {
    let mut resource = ZoneIngress::default();
    resource.networking.address = "127.0.0.1".to_owned();
    resource.networking.port = port;
    Ingress {
        name: format!("ingress-{zone}"),
        zone: zone.to_owned(),
        ingress: Arc::new(resource),
        destinations: destinations.into_iter().map(Arc::new).collect(),
    }
}

/// A bootstrap for a sidecar whose control plane is at `xds_host`; `ca_pem` must be a certificate.
pub fn bootstrap_params(xds_host: &str, ca_pem: &str) -> BootstrapParams {
    BootstrapParams {
        proxy_type: bootstrap::ProxyType::Dataplane,
        mesh: MESH.to_owned(),
        name: "web-1".to_owned(),
        service: "web".to_owned(),
        source: None,
        zone: "east".to_owned(),
        admin_port: 9901,
        resource: "{\"type\":\"Dataplane\"}".to_owned(),
        version: serde_json::json!({ "kumaDp": { "version": "2.9.0" } }),
        features: vec!["feature-reuse-port".to_owned()],
        dynamic_metadata: [("team".to_owned(), "shop".to_owned())].into(),
        workdir: "/run/proxy".to_owned(),
        readiness_port: 9902,
        ipv6: true,
        system_ca_path: String::new(),
        socket_mark: 0,
        xds_host: xds_host.to_owned(),
        xds_addresses: ControlPlaneAddresses::Any,
        xds_port: 5678,
        ca_pem: ca_pem.to_owned(),
        credential: Credential::Token("token".to_owned()),
    }
}
