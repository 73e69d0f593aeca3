//! Proxies as they run in a mesh: real Envoys with the resources of a sidecar or ingress, and certificates of one CA.

use std::net::SocketAddr;
use std::sync::LazyLock;

use meshspan_envoy::{
    Encoded, destination_cluster, destination_endpoints, names, outbound_clusters, outbound_listener, secrets,
};
use meshspan_identity::{Ca, WorkloadRequest};
use meshspan_world::view::{Destination, DestinationPolicies, Locality, Outbound, Protocol, Sidecar};
use time::{Duration, OffsetDateTime};

use super::client::{exchange, get};
use super::envoy::Envoy;
use super::inputs::*;

static CA: LazyLock<Ca> =
    LazyLock::new(|| Ca::generate_builtin(MESH, 2048, OffsetDateTime::now_utc(), Duration::days(1)).unwrap());
pub const BACKEND_ID: &str = "spiffe://default/backend";

/// The secrets of a proxy of `service`.
pub fn certificates(service: &str) -> Vec<Encoded> {
    certificates_with(&[("kuma.io/service", service)])
}

/// The secrets of a proxy with these tags.
pub fn certificates_with(tags: &[(&str, &str)]) -> Vec<Encoded> {
    let tags = tags
        .iter()
        .map(|(key, value)| ((*key).to_owned(), [(*value).to_owned()].into()))
        .collect();
    let request = WorkloadRequest::for_dataplane(MESH, tags, OffsetDateTime::now_utc(), Duration::hours(1)).unwrap();
    let cert = CA.issue_workload(&request).unwrap();
    vec![
        secrets::identity(MESH, &cert.cert_chain_pem, &cert.key_pem),
        secrets::trust_bundle(MESH, CA.cert_pem()),
    ]
}

/// A sidecar of the service `backend` in front of one application.
pub struct Backend {
    pub envoy: Envoy,
}

impl Backend {
    pub fn start(app_port: u16, protocol: Protocol, adapt: impl FnOnce(&mut Sidecar)) -> Self {
        let mut proxy = sidecar(
            "backend-1",
            vec![inbound("backend", "main", 0, app_port.into(), protocol)],
        );
        adapt(&mut proxy);
        let resources = [meshspan_envoy::sidecar(&proxy, &OPTIONS), certificates("backend")].concat();
        Self {
            envoy: Envoy::start(&resources, "east"),
        }
    }

    pub fn port(&self) -> u16 {
        self.envoy.port("self_inbound_dp_main")
    }
}

/// The service as clients see it.
pub fn backend(protocol: Protocol, localities: Vec<Locality>) -> Destination {
    with_localities(
        over_tls(destination("backend", "main", protocol), &[BACKEND_ID]),
        localities,
    )
}

/// A sidecar of the service `web`, whose application reaches one destination at [`Client::address`].
pub struct Client {
    pub envoy: Envoy,
    pub address: SocketAddr,
}

impl Client {
    /// With what a new mesh says.
    pub fn start(destination: &Destination) -> Self {
        Self::start_with(destination, &default_policies())
    }

    pub fn start_with(destination: &Destination, policies: &DestinationPolicies) -> Self {
        Self::start_as(&[("kuma.io/service", "web")], destination, policies)
    }

    /// Of a proxy with these tags.
    pub fn start_as(tags: &[(&str, &str)], destination: &Destination, policies: &DestinationPolicies) -> Self {
        Self::start_with_others(tags, destination, policies, &[])
    }

    /// With other destinations, to which routes may lead.
    pub fn start_among(destination: &Destination, policies: &DestinationPolicies, others: &[Destination]) -> Self {
        Self::start_with_others(&[("kuma.io/service", "web")], destination, policies, others)
    }

    /// Behind the destination stands another.
    pub fn start_with_fallback(destination: &Destination, fallback: &Destination) -> Self {
        let outbound = Outbound {
            fallbacks: vec![fallback.key.clone()],
            ..outbound(destination, LOCALHOST, 0, true)
        };
        Self::start_outbound(&[("kuma.io/service", "web")], outbound, std::slice::from_ref(fallback))
    }

    fn start_with_others(
        tags: &[(&str, &str)],
        destination: &Destination,
        policies: &DestinationPolicies,
        others: &[Destination],
    ) -> Self {
        Self::start_outbound(tags, outbound_with(destination, policies, LOCALHOST, 0, true), others)
    }

    fn start_outbound(tags: &[(&str, &str)], outbound: Outbound, others: &[Destination]) -> Self {
        let (destination, policies) = (&*outbound.destination.clone(), &*outbound.policies.clone());
        let mut proxy = sidecar("web-1", Vec::new());
        proxy.outbounds = vec![outbound];
        let mut resources = meshspan_envoy::sidecar(&proxy, &OPTIONS);
        resources.extend([
            destination_cluster(destination, policies),
            destination_endpoints(destination, policies),
        ]);
        resources.extend(outbound_clusters(destination, policies));
        for other in others {
            let policies = default_policies();
            resources.extend([
                destination_cluster(other, &policies),
                destination_endpoints(other, &policies),
            ]);
        }
        resources.extend(certificates_with(tags));
        let envoy = Envoy::start(&resources, "east");
        let address = envoy.address(&outbound_listener(&proxy.outbounds[0]).name);
        Self { envoy, address }
    }

    /// The application that answers, or the status of the failure.
    pub fn ask_http(&self) -> Result<String, u16> {
        let response = get(self.address, "/").unwrap();
        if response.status != 200 {
            return Err(response.status);
        }
        Ok(response.body.lines().next().unwrap().to_owned())
    }

    /// The application that answers; `None` if the connection is closed without an answer.
    pub fn ask_line(&self) -> Option<String> {
        let answer = String::from_utf8(exchange(self.address, b"hello\n").ok()?).unwrap();
        Some(answer.split_once(": hello")?.0.to_owned())
    }
}

/// An ingress of `zone` with one backend behind it.
pub fn ingress_envoy(zone: &str, backends: &[&Backend], protocol: Protocol) -> Envoy {
    let local = Locality {
        zone: zone.to_owned(),
        ..own_zone(backends.iter().map(|one| ready(one.port())).collect())
    };
    Envoy::start(
        &meshspan_envoy::ingress(&ingress(zone, 0, vec![backend(protocol, vec![local])])),
        zone,
    )
}

pub fn ingress_port(envoy: &Envoy, zone: &str) -> u16 {
    envoy.port(&names::ingress_listener(&format!("ingress-{zone}")))
}
