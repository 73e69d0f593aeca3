//! MeshExternalServices: services outside the mesh, which clients reach through this zone's egress (`spec/resources.md`
//! §2.9, `spec/dataplane.md` §3.4).

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use meshspan_model::kinds::mesh_external_service::tls::{DataSource, Source};
use meshspan_model::kinds::mesh_external_service::{MeshExternalService, MeshExternalServiceStatus};
use meshspan_model::kinds::mesh_service::{Condition, Vip};
use meshspan_model::kinds::secret::Secret;
use meshspan_model::kinds::zone_egress::EGRESS_SERVICE;
use meshspan_model::{Resource, ServiceIdentity, ServiceKind, Violations};

use super::reach::{NO_SYSTEM_NAMESPACE, through_egress, through_ingress};
use super::{Context, Names, Outcome, ServiceKey, names, status_value, stored_status};
use crate::address_range;
use crate::mesh_state::{MeshState, insert, remove};
use crate::sni::{kri_sni, sni};
use crate::view::{
    Destination, DestinationKey, EgressAccess, EgressRoute, External, ExternalCertificates, PeerTls, Protocol,
};

/// A MeshExternalService.
#[derive(Clone, Debug)]
pub(crate) struct ExternalEntry {
    pub(crate) resource: Arc<Resource>,
    pub(crate) spec: Arc<MeshExternalService>,
    pub(crate) status: MeshExternalServiceStatus,
    pub(crate) vip: Option<IpAddr>,
}

impl ExternalEntry {
    pub(super) fn load(resource: Arc<Resource>, old: Option<&Self>) -> Result<Self, Violations> {
        Ok(Self {
            spec: Arc::new(resource.parse()?),
            status: stored_status(&resource),
            resource,
            vip: old.and_then(|old| old.vip),
        })
    }

    pub(super) fn index(&self, mesh: &mut MeshState) {
        for secret in self.secrets() {
            insert(&mut mesh.index.secret_users, secret, &self.resource.name);
        }
    }

    pub(super) fn deindex(&self, mesh: &mut MeshState) {
        for secret in self.secrets() {
            remove(&mut mesh.index.secret_users, &secret, &self.resource.name);
        }
    }

    /// The Secrets that its certificates are in.
    fn secrets(&self) -> BTreeSet<String> {
        let verification = self.spec.tls().and_then(|tls| tls.verification.as_ref());
        let sources = verification.into_iter().flat_map(|verification| verification.sources());
        sources.filter_map(|(_, source)| source.secret.clone()).collect()
    }
}

/// Derives one that is there.
pub(super) fn derive(mesh: &mut MeshState, name: &str, vip: Option<IpAddr>, context: &Context<'_>) -> Outcome {
    if let Some(entry) = mesh.services.external_mut(name) {
        entry.vip = vip;
    }
    let Some(entry) = mesh.services.external(name) else {
        return Outcome::default();
    };
    let key = ServiceKey::new(ServiceKind::MeshExternalService, name);
    let destination = destination(mesh, entry, context);
    let status = status(mesh, entry, &destination, names(mesh, &key), context);
    Outcome {
        status: (status != entry.status).then(|| status_value(&status)),
        destinations: BTreeMap::from([(destination.key.clone(), destination)]),
        ..Outcome::default()
    }
}

/// Its only destination: one port, behind an egress.
fn destination(mesh: &MeshState, entry: &ExternalEntry, context: &Context<'_>) -> Destination {
    let identity = ServiceIdentity::of(ServiceKind::MeshExternalService, &entry.resource);
    let has_mtls = mesh.mesh.as_ref().is_some_and(|mesh| mesh.enabled_backend().is_some());
    let (zone, port) = (entry.resource.zone(), entry.spec.matched.port);
    // Egresses prove who they are and ask clients to: there is no way to them without mTLS.
    let locality = has_mtls.then(|| match zone {
        "" => through_egress(context.zone, context.egresses),
        own if own == context.zone => through_egress(own, context.egresses),
        other => through_ingress(other, true, context.ingresses),
    });
    Destination {
        key: DestinationKey {
            section: entry.spec.section(),
            service: identity.clone(),
        },
        zone: context.zone.to_owned(),
        port,
        vip: entry.vip,
        protocol: Protocol::parse(&entry.spec.matched.protocol),
        tls: has_mtls.then(|| PeerTls {
            spiffe_ids: BTreeSet::from([format!("spiffe://{}/{EGRESS_SERVICE}", identity.mesh)]),
            sni: server_name(&identity, port),
        }),
        localities: locality
            .into_iter()
            .filter(|locality| !locality.endpoints.is_empty())
            .collect(),
        egress: has_mtls.then(|| EgressRoute::External(Arc::new(external(mesh, entry)))),
    }
}

/// By which egresses tell it apart. The older form knows no zones, so that a zone's service would be taken for the one of that name that
/// all zones have.
fn server_name(identity: &ServiceIdentity, port: u32) -> String {
    let of_zone = || kri_sni(identity, &port.to_string()).filter(|_| !identity.zone.is_empty());
    of_zone().unwrap_or_else(|| sni(identity, port, NO_SYSTEM_NAMESPACE))
}

/// What egresses need to know of it.
fn external(mesh: &MeshState, entry: &ExternalEntry) -> External {
    External {
        service: entry.spec.clone(),
        access: access(mesh, &entry.resource.mesh),
        certificates: certificates(mesh, entry),
    }
}

/// MeshTrafficPermissions for egresses decide. Where there is none, the mesh says whether everybody may leave, or nobody.
fn access(mesh: &MeshState, name: &str) -> EgressAccess {
    let routing = mesh.mesh.as_ref().and_then(|mesh| mesh.routing.as_ref());
    let forbidden = routing.is_some_and(|routing| routing.default_forbid_mesh_external_service_access);
    match mesh.policies.of_egress(name) {
        Some(policies) => EgressAccess::Permitted(policies),
        None if forbidden => EgressAccess::Nobody,
        None => EgressAccess::Everybody,
    }
}

fn certificates(mesh: &MeshState, entry: &ExternalEntry) -> ExternalCertificates {
    let Some(verification) = entry.spec.tls().and_then(|tls| tls.verification.as_ref()) else {
        return ExternalCertificates::default();
    };
    let mut incomplete = false;
    let mut pem = |source: &Option<DataSource>| {
        let text = source.as_ref().map(|source| text(mesh, source))?;
        incomplete |= text.is_none();
        text
    };
    let (ca, cert, key) = (
        pem(&verification.ca_cert),
        pem(&verification.client_cert),
        pem(&verification.client_key),
    );
    ExternalCertificates {
        ca,
        client: cert.zip(key),
        incomplete,
    }
}

/// The text of a certificate or key, from wherever it is; `None` if it is not there.
fn text(mesh: &MeshState, source: &DataSource) -> Option<String> {
    let bytes = match source.source().ok()? {
        Source::Bytes(bytes) => bytes,
        Source::Secret(name) => {
            let secret: Secret = mesh.secrets.get(name)?.parse().ok()?;
            BASE64_STANDARD.decode(&secret.data).ok()?
        }
    };
    String::from_utf8(bytes).ok()
}

fn status(
    mesh: &MeshState,
    entry: &ExternalEntry,
    destination: &Destination,
    names: Names,
    context: &Context<'_>,
) -> MeshExternalServiceStatus {
    let kind = ServiceKind::MeshExternalService;
    let mut conditions = vec![reachable(mesh, entry, destination)];
    conditions.extend(address_range::condition(mesh, kind, entry.vip, context.range));
    MeshExternalServiceStatus {
        vip: entry.vip.map(|ip| Vip { ip: ip.to_string() }).unwrap_or_default(),
        addresses: names.addresses,
        hostname_generators: names.hostname_generators,
        conditions,
    }
}

/// Whether traffic has a way out. Whether the service itself answers is not known here.
fn reachable(mesh: &MeshState, entry: &ExternalEntry, destination: &Destination) -> Condition {
    let name = entry.resource.display_name();
    let has_mtls = mesh.mesh.as_ref().is_some_and(|mesh| mesh.enabled_backend().is_some());
    let outcome = if !has_mtls {
        Err((
            "MtlsDisabled",
            format!("mTLS is off in the mesh, so {name} cannot be reached through an egress: enable mtls in the Mesh"),
        ))
    } else if entry.spec.endpoints.is_empty() {
        Err((
            "NoEndpoints",
            format!("nothing says where {name} is: add spec.endpoints"),
        ))
    } else if certificates(mesh, entry).incomplete {
        let secrets = entry.secrets().into_iter().collect::<Vec<_>>().join(", ");
        Err((
            "CertificateMissing",
            format!(
                "a certificate or key of {name} is not here: create the Secrets that spec.tls.verification names ({}), with the base64 of PEM texts as data",
                secrets
            ),
        ))
    } else if destination.localities.is_empty() {
        Err((
            "NoZoneEgress",
            format!(
                "no zone egress serves in {}, through which {name} is reached: run one with `meshspan dp run --proxy-type egress`, see `meshspan inspect zoneegresses`",
                destination.zone
            ),
        ))
    } else {
        Ok((
            "ZoneEgressKnown",
            "clients reach it through the zone egress; whether the service answers is not checked".to_owned(),
        ))
    };
    Condition::new("Reachable", outcome)
}
