//! A scripted Envoy: it asks for what an Envoy asks for, accepts what it gets, and remembers what was sent.

use std::collections::{BTreeMap, BTreeSet};

use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::core::v3::HealthStatus;
use envoy_types::pb::envoy::config::core::v3::address::Address;
use envoy_types::pb::envoy::config::core::v3::socket_address::PortSpecifier;
use envoy_types::pb::envoy::config::endpoint::v3::ClusterLoadAssignment;
use envoy_types::pb::envoy::config::endpoint::v3::lb_endpoint::HostIdentifier;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::{Secret, secret};
use envoy_types::pb::google::protobuf::value::Kind as ProtoKind;
use envoy_types::pb::google::protobuf::{Struct, Value as ProtoValue};
use meshspan_model::kinds::dataplane::Dataplane;
use meshspan_world::view::Source;
use meshspan_xds::ResourceType::{self, Cluster as CDS, Endpoint as EDS, Listener as LDS, Secret as SDS};
use meshspan_xds::client::{AdsClient, Mirror};
use meshspan_xds::proto::ads::{DeltaDiscoveryResponse, Node};
use prost::Message as _;
use serde_json::Value;
use tonic::{Code, Status};

use super::{ControlPlane, PATIENCE};

/// One resource that was sent, or said to be gone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sent {
    pub ty: ResourceType,
    pub name: String,
    pub removed: bool,
}

/// An endpoint as Envoy sees it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Endpoint {
    pub address: String,
    pub healthy: bool,
    pub priority: u32,
    pub zone: String,
}

pub struct Proxy {
    client: AdsClient,
    mesh: String,
    pub mirror: Mirror,
    pub sent: Vec<Sent>,
    watched: BTreeSet<String>,
    refuse: Option<(String, String)>,
    unopened: Option<String>,
}

/// A proxy that goes its own way.
pub struct Driven(tokio::task::JoinHandle<()>);

impl Drop for Driven {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What an Envoy holds when it reconnects.
#[derive(Default)]
pub struct Held {
    mirror: Mirror,
    watched: BTreeSet<String>,
}

fn node(mesh: &str, name: &str, resource: Option<&Value>) -> Node {
    let text = |text: String| ProtoValue {
        kind: Some(ProtoKind::StringValue(text)),
    };
    let mut metadata = Struct::default();
    let proxy_type = if mesh.is_empty() { "ingress" } else { "dataplane" };
    metadata
        .fields
        .insert("dataplane.proxyType".into(), text(proxy_type.into()));
    if let Some(resource) = resource {
        for (key, value) in says_source(resource) {
            metadata.fields.insert(key.into(), text(value));
        }
        metadata
            .fields
            .insert("dataplane.resource".into(), text(resource.to_string()));
    }
    Node {
        id: format!("{mesh}.{name}"),
        metadata: Some(metadata),
        ..Node::default()
    }
}

/// What the bootstrap of a sidecar says of it for access logs.
fn says_source(resource: &Value) -> BTreeMap<&'static str, String> {
    let Ok(parsed) = meshspan_model::document::read(resource) else {
        return BTreeMap::new();
    };
    match parsed.resource.parse::<Dataplane>() {
        Ok(dataplane) => meshspan_envoy::node_source::metadata(&Source::of(&dataplane, &parsed.resource)),
        Err(_) => BTreeMap::new(),
    }
}

impl Proxy {
    /// Connects and waits for the first answer.
    pub async fn connect(
        cp: &ControlPlane,
        mesh: &str,
        name: &str,
        resource: Option<&Value>,
        token: Option<&str>,
    ) -> Result<Self, Status> {
        Self::reconnect(cp, mesh, name, resource, token, Held::default()).await
    }

    /// Connects with a resource, without a token.
    pub async fn start(cp: &ControlPlane, resource: &Value) -> Self {
        let [mesh, name] = ["mesh", "name"].map(|field| resource[field].as_str().unwrap_or_default());
        Self::connect(cp, mesh, name, Some(resource), None).await.unwrap()
    }

    /// Connects with what it held before.
    pub async fn reconnect(
        cp: &ControlPlane,
        mesh: &str,
        name: &str,
        resource: Option<&Value>,
        token: Option<&str>,
        held: Held,
    ) -> Result<Self, Status> {
        let mut proxy = Self::open(cp, mesh, name, resource, token, held).await?;
        proxy.step().await?;
        Ok(proxy)
    }

    /// Connects without waiting for an answer: one who holds everything may get none.
    pub async fn open(
        cp: &ControlPlane,
        mesh: &str,
        name: &str,
        resource: Option<&Value>,
        token: Option<&str>,
        held: Held,
    ) -> Result<Self, Status> {
        let mut client = AdsClient::new(cp.channel().await, node(mesh, name, resource), token)?;
        client.resume(CDS, &[], held.mirror.versions(CDS)).await?;
        if !held.watched.is_empty() {
            let names: Vec<_> = held.watched.iter().map(String::as_str).collect();
            client.resume(EDS, &names, held.mirror.versions(EDS)).await?;
        }
        if !mesh.is_empty() {
            let secrets = secret_names(mesh);
            let names: Vec<_> = secrets.iter().map(String::as_str).collect();
            client.resume(SDS, &names, held.mirror.versions(SDS)).await?;
        }
        client.resume(LDS, &[], held.mirror.versions(LDS)).await?;
        Ok(Self {
            client,
            mesh: mesh.to_owned(),
            mirror: held.mirror,
            sent: Vec::new(),
            watched: held.watched,
            refuse: None,
            unopened: None,
        })
    }

    /// Takes and accepts whatever comes from now on, until the value is dropped, which breaks the connection off.
    pub fn driven(mut self) -> Driven {
        Driven(tokio::spawn(async move {
            // A test that breaks off its proxies leaves streams that end.
            while self.take().await.is_ok() {}
        }))
    }

    /// Breaks the connection off.
    pub fn kill(self) -> Held {
        Held {
            mirror: self.mirror,
            watched: self.watched,
        }
    }

    /// From now on refuses every version of a cluster or listener.
    pub fn refuse(&mut self, name: &str, message: &str) {
        self.refuse = Some((name.to_owned(), message.to_owned()));
    }

    /// From now on refuses listeners that name this file, as an Envoy that cannot open it.
    pub fn cannot_open(&mut self, file: &str) {
        self.unopened = Some(file.to_owned());
    }

    /// From now on accepts everything.
    pub fn accept(&mut self) {
        self.refuse = None;
    }

    /// Takes one response, which must come.
    pub async fn step(&mut self) -> Result<(), Status> {
        match tokio::time::timeout(PATIENCE, self.take()).await {
            Ok(taken) => taken,
            Err(_) => panic!("nothing comes; so far {:?}", self.sent),
        }
    }

    async fn take(&mut self) -> Result<(), Status> {
        let Some(response) = self.client.next().await? else {
            return Err(Status::new(Code::Ok, "the control plane ended the stream"));
        };
        let ty = ResourceType::from_type_url(&response.type_url).unwrap();
        let updated = response.resources.iter().map(|resource| (&resource.name, false));
        let removed = response.removed_resources.iter().map(|name| (name, true));
        self.sent.extend(updated.chain(removed).map(|(name, removed)| Sent {
            ty,
            name: name.clone(),
            removed,
        }));
        if let Some((name, message)) = &self.refuse
            && matches!(ty, CDS | LDS)
            && response.resources.iter().any(|resource| resource.name == *name)
        {
            // Why a stream has ended is said by the next response.
            let _ = self.client.nack(&response, message).await;
            return Ok(());
        }
        if let Some(file) = &self.unopened
            && ty == LDS
            && let Some(bad) = response.resources.iter().find(|resource| names_file(resource, file))
        {
            let message = format!(
                "Error adding/updating listener(s) {}: unable to open file '{file}': No such file or directory\n",
                bad.name
            );
            let _ = self.client.nack(&response, &message).await;
            return Ok(());
        }
        self.mirror.apply(&response);
        if ty == CDS {
            let _ = self.watch_endpoints(&response).await;
        }
        let _ = self.client.ack(&response).await;
        Ok(())
    }

    /// Follows the endpoints of the clusters that have them discovered.
    async fn watch_endpoints(&mut self, response: &DeltaDiscoveryResponse) -> Result<(), Status> {
        let new: Vec<&str> = response
            .resources
            .iter()
            .filter(|resource| {
                let body = &resource.resource.as_ref().unwrap().value;
                Cluster::decode(body.clone()).unwrap().eds_cluster_config.is_some()
            })
            .map(|resource| resource.name.as_str())
            .filter(|name| !self.watched.contains(*name))
            .collect();
        if !new.is_empty() {
            self.client.subscribe(EDS, &new).await?;
            self.watched.extend(new.into_iter().map(str::to_owned));
        }
        let gone: Vec<&str> = response
            .removed_resources
            .iter()
            .map(String::as_str)
            .filter(|name| self.watched.contains(*name))
            .collect();
        if !gone.is_empty() {
            self.client.unsubscribe(EDS, &gone).await?;
            for name in gone {
                self.watched.remove(name);
                self.mirror.forget(EDS, name);
            }
        }
        Ok(())
    }

    /// Takes responses until a condition holds.
    pub async fn until(&mut self, what: &str, holds: impl Fn(&Self) -> bool) {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while !holds(self) {
            let taken = tokio::time::timeout_at(deadline, self.step()).await;
            match taken {
                Ok(Ok(())) => {}
                Ok(Err(status)) => panic!("waiting for {what}: {status}"),
                Err(_) => panic!("never seen: {what}; so far {:?}", self.sent),
            }
        }
    }

    /// Takes responses until the control plane ends the stream, and returns why.
    pub async fn end(mut self) -> Status {
        loop {
            if let Err(status) = self.step().await {
                return status;
            }
        }
    }

    pub fn has(&self, ty: ResourceType, name: &str) -> bool {
        self.mirror.get(ty, name).is_some()
    }

    /// True if a destination has arrived: cluster, endpoints, listener.
    pub fn has_all_of(&self, destination: &str) -> bool {
        [CDS, EDS, LDS].into_iter().all(|ty| self.has(ty, destination))
    }

    pub fn version(&self, ty: ResourceType, name: &str) -> String {
        self.mirror
            .get(ty, name)
            .map(|(version, _)| version.to_owned())
            .unwrap_or_default()
    }

    /// The versions of everything it holds.
    pub fn versions(&self) -> BTreeMap<(ResourceType, String), String> {
        let of_type = |ty| {
            let versions = self.mirror.versions(ty);
            versions.into_iter().map(move |(name, version)| ((ty, name), version))
        };
        [CDS, EDS, SDS, LDS].into_iter().flat_map(of_type).collect()
    }

    /// The endpoints of a cluster, in order.
    pub fn endpoints(&self, cluster: &str) -> Vec<Endpoint> {
        let Some((_, body)) = self.mirror.get(EDS, cluster) else {
            return Vec::new();
        };
        let assignment = ClusterLoadAssignment::decode(body.clone()).unwrap();
        let mut endpoints = Vec::new();
        for locality in assignment.endpoints {
            for endpoint in locality.lb_endpoints {
                let healthy = endpoint.health_status == i32::from(HealthStatus::Healthy);
                let Some(HostIdentifier::Endpoint(host)) = endpoint.host_identifier else {
                    continue;
                };
                let Some(Address::SocketAddress(socket)) = host.address.and_then(|address| address.address) else {
                    continue;
                };
                let Some(PortSpecifier::PortValue(port)) = socket.port_specifier else {
                    continue;
                };
                endpoints.push(Endpoint {
                    address: format!("{}:{port}", socket.address),
                    healthy,
                    priority: locality.priority,
                    zone: locality.locality.clone().unwrap_or_default().zone,
                });
            }
        }
        endpoints
    }

    /// Address and health of a cluster's endpoints.
    pub fn health(&self, cluster: &str) -> Vec<(String, bool)> {
        let endpoints = self.endpoints(cluster).into_iter();
        endpoints.map(|endpoint| (endpoint.address, endpoint.healthy)).collect()
    }

    /// What was sent since the last [`ControlPlane::settle`], without markers, each once.
    pub fn since_settled(&self) -> Vec<Sent> {
        let relevant = self.sent.iter().filter(|sent| !sent.name.contains("marker-"));
        let all: BTreeSet<_> = relevant.cloned().collect();
        all.into_iter().collect()
    }

    /// The PEM chain of its certificate.
    pub fn certificate(&self) -> Option<String> {
        self.secret(&secret_names(&self.mesh)[0], |secret| match secret {
            secret::Type::TlsCertificate(certificate) => certificate.certificate_chain,
            _ => None,
        })
    }

    /// The PEM of what it trusts.
    pub fn trust(&self) -> Option<String> {
        self.secret(&secret_names(&self.mesh)[1], |secret| match secret {
            secret::Type::ValidationContext(context) => context.trusted_ca,
            _ => None,
        })
    }

    fn secret(
        &self,
        name: &str,
        part: impl Fn(secret::Type) -> Option<envoy_types::pb::envoy::config::core::v3::DataSource>,
    ) -> Option<String> {
        use envoy_types::pb::envoy::config::core::v3::data_source::Specifier;
        let (_, body) = self.mirror.get(SDS, name)?;
        match part(Secret::decode(body.clone()).unwrap().r#type?)?.specifier? {
            Specifier::InlineBytes(bytes) => Some(String::from_utf8(bytes).unwrap()),
            Specifier::InlineString(text) => Some(text),
            _ => None,
        }
    }
}

fn names_file(resource: &meshspan_xds::proto::ads::Resource, file: &str) -> bool {
    let body = &resource.resource.as_ref().unwrap().value;
    body.windows(file.len()).any(|part| part == file.as_bytes())
}

fn secret_names(mesh: &str) -> [String; 2] {
    [format!("identity_cert:secret:{mesh}"), format!("mesh_ca:secret:{mesh}")]
}

/// A resource that was sent.
pub fn updated(ty: ResourceType, name: &str) -> Sent {
    Sent {
        ty,
        name: name.to_owned(),
        removed: false,
    }
}

/// A resource that was taken away.
pub fn removed(ty: ResourceType, name: &str) -> Sent {
    Sent {
        ty,
        name: name.to_owned(),
        removed: true,
    }
}
