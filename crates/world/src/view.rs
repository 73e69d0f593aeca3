//! What projection reads: values that say where traffic goes, without a word about Envoy.
//!
//! One [`Destination`] is one port of one service as seen from this zone; it is shared by all proxies of the mesh.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use meshspan_model::kinds::dataplane::Dataplane;
use meshspan_model::kinds::mesh_external_service::MeshExternalService;
use meshspan_model::kinds::zone_egress::ZoneEgress;
use meshspan_model::kinds::zone_ingress::ZoneIngress;
use meshspan_model::policy::PolicyKind;
use meshspan_model::{Resource, ServiceIdentity, ServiceKind};
use meshspan_policy::{Confs, Fingerprint, InboundRules};
use serde_json::Value;

use crate::vips::VipRange;

mod fingerprint;

/// Addresses by hostname, names in lower case.
pub type DnsTable = BTreeMap<Arc<str>, Vec<IpAddr>>;

/// Changed records of a [`DnsTable`]; `None` for names that are gone.
pub type DnsChanges = BTreeMap<Arc<str>, Option<Vec<IpAddr>>>;

/// How traffic of a port is treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// Bytes; also `tls`, `kafka` and anything unknown.
    Tcp,
    /// HTTP/1.1 to the application.
    Http,
    /// HTTP/2 to the application.
    Http2,
    /// gRPC.
    Grpc,
}

impl Protocol {
    /// The protocol that `appProtocol` or `kuma.io/protocol` names (`spec/dataplane.md` §2.4).
    pub fn parse(name: &str) -> Self {
        match name {
            "http" => Protocol::Http,
            "http2" => Protocol::Http2,
            "grpc" => Protocol::Grpc,
            _ => Protocol::Tcp,
        }
    }

    /// True if requests are understood, not just bytes.
    pub fn is_http(self) -> bool {
        self != Protocol::Tcp
    }
}

/// Names one port of one service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DestinationKey {
    /// The service.
    pub service: ServiceIdentity,
    /// The port's name, else its number.
    pub section: String,
}

/// One port of one service as seen from this zone.
#[derive(Clone, Debug, PartialEq)]
pub struct Destination {
    /// Which port of which service.
    pub key: DestinationKey,
    /// The zone that sees it; it need not have an instance.
    pub zone: String,
    /// The number that clients use.
    pub port: u32,
    /// The service's virtual IP in this zone.
    pub vip: Option<IpAddr>,
    /// How its traffic is treated.
    pub protocol: Protocol,
    /// mTLS with these peers; `None` where traffic is plain.
    pub tls: Option<PeerTls>,
    /// Where it goes, by zone; the own zone first, then by name.
    pub localities: Vec<Locality>,
    /// What this zone's egresses do with its traffic; `None` if it does not go through them.
    pub egress: Option<EgressRoute>,
}

/// Where egresses send the traffic of a destination.
#[derive(Clone, Debug, PartialEq)]
pub enum EgressRoute {
    /// To the ingresses of other zones, without ending its TLS.
    Zones(Vec<Locality>),
    /// Out of the mesh.
    External(Arc<External>),
}

/// A service outside the mesh, as egresses see it.
#[derive(Clone, Debug, PartialEq)]
pub struct External {
    /// The service.
    pub service: Arc<MeshExternalService>,
    /// Who may reach it.
    pub access: EgressAccess,
    /// The certificates and keys that its `tls` names.
    pub certificates: ExternalCertificates,
}

/// Who may leave the mesh to a service.
#[derive(Clone, Debug, PartialEq)]
pub enum EgressAccess {
    /// Every identity of the mesh.
    Everybody,
    /// Nobody.
    Nobody,
    /// Whom the MeshTrafficPermissions for egresses let.
    Permitted(Arc<InboundPolicies>),
}

/// PEM texts for TLS with a service outside the mesh.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ExternalCertificates {
    /// CAs that are trusted instead of the system's.
    pub ca: Option<String>,
    /// The certificate and the key that the proxy shows.
    pub client: Option<(String, String)>,
    /// A certificate or key is named that is not there: nothing may be sent.
    pub incomplete: bool,
}

/// Keys stay out of logs.
impl std::fmt::Debug for ExternalCertificates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ExternalCertificates")
            .field("ca", &self.ca.is_some())
            .field("client", &self.client.is_some())
            .field("incomplete", &self.incomplete)
            .finish()
    }
}

impl Destination {
    /// True if some of its traffic goes through the ingress of another zone.
    pub fn goes_through_ingress(&self) -> bool {
        let mut localities = self.localities.iter();
        localities.any(|locality| locality.reach == Reach::Ingress)
    }

    /// True if other zones enter for it through the ingresses of this zone: multi-zone services, wherever they have instances,
    /// and services with instances here.
    pub fn is_behind_ingress(&self) -> bool {
        let has_instances = || self.localities.iter().any(|locality| locality.reach == Reach::Direct);
        let enters = match self.key.service.kind {
            ServiceKind::MeshMultiZoneService => true,
            ServiceKind::MeshService => has_instances(),
            // Each zone has a way out of its own.
            ServiceKind::MeshExternalService => false,
        };
        self.tls.is_some() && enters
    }
}

/// How the peers of a destination prove who they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerTls {
    /// Exact SPIFFE ids; the union over all zones.
    pub spiffe_ids: BTreeSet<String>,
    /// SNI by which zone ingresses route (`spec/dataplane.md` §3.3).
    pub sni: String,
}

/// What stands for all other zones where they are reached through an egress. No zone has this name (it is no DNS label).
pub const BEHIND_EGRESS: &str = "behind:egress";

/// How the endpoints of a locality are reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// They are the service's own proxies.
    Direct,
    /// They are the ingresses of another zone, behind which Envoy balances per connection.
    Ingress,
    /// They are the own zone's egresses.
    Egress,
}

/// The endpoints of one zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Locality {
    /// The zone; [`BEHIND_EGRESS`] where all other zones are reached through an egress.
    pub zone: String,
    /// 0 for the own zone, 1 for others.
    pub priority: u32,
    /// How its endpoints are reached.
    pub reach: Reach,
    /// The endpoints, ordered by address and port.
    pub endpoints: Vec<Endpoint>,
}

/// One address that Envoy dials.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Endpoint {
    /// Its IP.
    pub address: IpAddr,
    /// Its port.
    pub port: u32,
    /// False keeps it in the configuration as unhealthy, so that priorities see the true state of the zone.
    pub ready: bool,
    /// Tags of the inbound, and labels of its proxy where it has no such tag; empty for zone ingresses.
    pub tags: Arc<BTreeMap<String, String>>,
}

/// What policies say about the traffic of a class of proxies to one destination.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DestinationPolicies {
    /// What about the proxies themselves matters for these policies.
    pub client: Client,
    /// Confs of all kinds that have no routing rules.
    pub confs: Confs,
    /// Rules of MeshHTTPRoutes, those of higher precedence first; `None` if no route applies.
    pub http_rules: Option<Vec<HttpRule>>,
    /// Backends of the MeshTCPRoute; `None` if no route applies, empty if it names none, which means the destination.
    pub tcp_backends: Option<Vec<RouteBackend>>,
}

/// What about a proxy matters for its outgoing traffic. Left empty where no policy asks for it, so that proxies share.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Client {
    /// Its tags with the keys of `affinityTags`.
    pub tags: BTreeMap<String, String>,
}

/// A proxy as access logs call it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Source {
    /// `kuma.io/service` of its first inbound, else its name.
    pub service: String,
    /// `networking.address`.
    pub address: String,
}

impl Source {
    /// What a Dataplane is called.
    pub fn of(dataplane: &Dataplane, resource: &Resource) -> Self {
        let networking = &dataplane.networking;
        let service = networking.inbound.first().map_or("", |inbound| inbound.service());
        Self {
            service: match service {
                "" => resource.display_name().to_owned(),
                service => service.to_owned(),
            },
            address: networking.address.clone(),
        }
    }
}

/// A rule of a MeshHTTPRoute.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpRule {
    /// The rule, `{matches, default}`, in the newest form.
    pub rule: Value,
    /// KRI of the route that contributed to it, the one of highest precedence if there are several.
    pub name: String,
    /// `default.backendRefs`, in that order.
    pub backends: Vec<RouteBackend>,
    /// Backends of the `RequestMirror` filters, in that order.
    pub mirrors: Vec<RouteBackend>,
    /// What is said about the traffic that takes this route, instead of [`DestinationPolicies::confs`].
    pub confs: Confs,
}

/// Where a share of the traffic goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteBackend {
    /// The share, relative to the other backends; 0 means none.
    pub weight: u32,
    /// `None` if nothing fits the reference, or nothing does any more.
    pub destination: Option<DestinationKey>,
}

impl DestinationPolicies {
    /// The kinds of policies that say something, of all traffic or of a route; some of them several times.
    pub fn kinds(&self) -> impl Iterator<Item = PolicyKind> {
        let routes = self.http_rules.iter().flatten().map(|rule| &rule.confs);
        let confs = routes.chain([&self.confs]);
        confs.flat_map(|confs| confs.iter().map(|(kind, _)| kind))
    }

    /// Every destination that routes lead to.
    pub fn route_destinations(&self) -> impl Iterator<Item = &DestinationKey> {
        let rules = self.http_rules.iter().flatten();
        let http = rules.flat_map(|rule| rule.backends.iter().chain(&rule.mirrors));
        let tcp = self.tcp_backends.iter().flatten();
        http.chain(tcp).filter_map(|backend| backend.destination.as_ref())
    }
}

/// Names a class of proxies that have the same policies for their outgoing traffic.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClassKey {
    /// Of the policies that matched, by what they are, not what they say: an edit does not make another class.
    pub policies: Fingerprint,
    /// Of the proxies.
    pub client: Client,
}

/// What policies say about the traffic to one inbound, by kind.
pub type InboundPolicies = BTreeMap<PolicyKind, InboundRules>;

/// What a mesh demands of inbound connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InboundTls {
    /// Plaintext.
    Off,
    /// mTLS only.
    Strict,
    /// mTLS and plaintext.
    Permissive,
}

/// One listener for the application's outgoing traffic.
#[derive(Clone, Debug, PartialEq)]
pub struct Outbound {
    /// Where the application connects to: a VIP, or the address of an explicit outbound.
    pub address: IpAddr,
    /// Port that the application connects to.
    pub port: u32,
    /// True if Envoy binds the address; false if traffic is redirected to it.
    pub bind: bool,
    /// Where the traffic goes.
    pub destination: Arc<Destination>,
    /// What policies say about it.
    pub policies: Arc<DestinationPolicies>,
    /// Where it goes when nothing of the destination is left, in this order.
    pub fallbacks: Vec<DestinationKey>,
    /// What access logs call the proxy; `None` where that is said by its node, as in a listener that proxies share.
    pub source: Option<Source>,
}

/// What is particular to one sidecar: all but the destinations that it shares with its mesh.
#[derive(Clone, Debug, PartialEq)]
pub struct Sidecar {
    /// Its mesh.
    pub mesh: String,
    /// Its name.
    pub name: String,
    /// Its resource.
    pub dataplane: Arc<Dataplane>,
    /// Its zone.
    pub zone: String,
    /// What inbound connections must show where no MeshTLS says otherwise.
    pub inbound_tls: InboundTls,
    /// What policies say about each inbound of the Dataplane, in its order.
    pub inbound_policies: Vec<Arc<InboundPolicies>>,
    /// What policies say about traffic to destinations that the mesh does not know.
    pub passthrough_confs: Confs,
    /// What access logs call it.
    pub source: Source,
    /// Whether traffic to unknown destinations passes.
    pub passthrough: bool,
    /// Where virtual IPs lie. What goes there and has no destination never passes: nobody is there.
    pub vip_ranges: Vec<VipRange>,
    /// Explicit outbounds; empty with transparent proxying.
    pub outbounds: Vec<Outbound>,
}

impl Sidecar {
    /// What policies say about an inbound, by its place in the Dataplane.
    pub fn inbound_policies(&self, index: usize) -> &InboundPolicies {
        static NOTHING: InboundPolicies = InboundPolicies::new();
        self.inbound_policies.get(index).map_or(&NOTHING, |policies| policies)
    }
}

/// A sidecar and where its application may go.
#[derive(Clone, Debug, PartialEq)]
pub struct SidecarView {
    /// What is particular to it; `outbounds` is left for projection to fill from `outbounds` here.
    pub sidecar: Sidecar,
    /// True if it reaches every destination of its mesh by VIP; then it shares its outbound half with all such proxies.
    pub all_destinations: bool,
    /// The class whose policies apply to its outgoing traffic.
    pub class: ClassKey,
    /// The destinations of one that does not.
    pub outbounds: Vec<OutboundRef>,
}

impl SidecarView {
    /// The destinations of [`SidecarView::outbounds`].
    pub fn named(&self) -> impl Iterator<Item = &DestinationKey> {
        self.outbounds.iter().flat_map(OutboundRef::destinations)
    }
}

/// One destination of a proxy that does not reach them all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboundRef {
    /// Where the application connects to; the destination's VIP if absent.
    pub address: Option<IpAddr>,
    /// Port that the application connects to.
    pub port: u32,
    /// True if Envoy binds the address.
    pub bind: bool,
    /// Where the traffic goes.
    pub destination: DestinationKey,
    /// Where it goes when nothing of the destination is left, in this order.
    pub fallbacks: Vec<DestinationKey>,
}

impl OutboundRef {
    /// Everywhere it may go.
    pub fn destinations(&self) -> impl Iterator<Item = &DestinationKey> {
        [&self.destination].into_iter().chain(&self.fallbacks)
    }
}

/// A zone egress and what lies behind it: destinations of all meshes.
#[derive(Clone, Debug, PartialEq)]
pub struct Egress {
    /// Its name.
    pub name: String,
    /// Its zone.
    pub zone: String,
    /// Its resource.
    pub egress: Arc<ZoneEgress>,
    /// Destinations with an [`EgressRoute`].
    pub destinations: Vec<Arc<Destination>>,
}

/// A zone ingress and what lies behind it: destinations of all meshes, with the endpoints of this zone only.
#[derive(Clone, Debug, PartialEq)]
pub struct Ingress {
    /// Its name.
    pub name: String,
    /// Its zone.
    pub zone: String,
    /// Its resource.
    pub ingress: Arc<ZoneIngress>,
    /// Destinations with mTLS that have a locality in this zone, or none where the service has no instance here.
    pub destinations: Vec<Arc<Destination>>,
}
