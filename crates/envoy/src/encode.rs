//! Encoded resources and their versions.
//!
//! A resource is encoded once, here, into bytes that all streams share. Its version is a hash of these bytes. That is
//! sound although protobuf maps encode in random order, because **no message of this crate holds a map with more than
//! one entry**; a property test encodes many resources again and again to keep it so. Where Envoy needs more entries,
//! [`merged`] makes one message of several.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::endpoint::v3::ClusterLoadAssignment;
use envoy_types::pb::envoy::config::listener::v3::Listener;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::Secret;
use envoy_types::pb::google::protobuf::Any;
use prost::{Message, Name};
use xxhash_rust::xxh3::xxh3_128;

/// The types of resources that are made here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ResourceType {
    /// `envoy.config.cluster.v3.Cluster`.
    Cluster,
    /// `envoy.config.endpoint.v3.ClusterLoadAssignment`.
    Endpoint,
    /// `envoy.config.listener.v3.Listener`.
    Listener,
    /// `envoy.extensions.transport_sockets.tls.v3.Secret`.
    Secret,
}

impl ResourceType {
    /// The type URL in discovery requests and in the `Any` around a resource.
    pub fn type_url(self) -> String {
        match self {
            Self::Cluster => Cluster::type_url(),
            Self::Endpoint => ClusterLoadAssignment::type_url(),
            Self::Listener => Listener::type_url(),
            Self::Secret => Secret::type_url(),
        }
    }
}

/// One resource, ready to be sent; a clone costs three reference counts.
#[derive(Clone, PartialEq, Eq)]
pub struct Encoded {
    /// Its type.
    pub resource_type: ResourceType,
    /// The name that Envoy asks for.
    pub name: Arc<str>,
    /// Hash of the content: equal for equal content, also after a restart.
    pub version: Arc<str>,
    /// The message itself, not the `Any` around it.
    pub body: Bytes,
}

impl Encoded {
    pub(crate) fn cluster(cluster: &Cluster) -> Self {
        Self::new(ResourceType::Cluster, &cluster.name, cluster)
    }

    pub(crate) fn endpoints(assignment: &ClusterLoadAssignment) -> Self {
        Self::new(ResourceType::Endpoint, &assignment.cluster_name, assignment)
    }

    pub(crate) fn listener(listener: &Listener) -> Self {
        Self::new(ResourceType::Listener, &listener.name, listener)
    }

    pub(crate) fn secret(secret: &Secret) -> Self {
        Self::new(ResourceType::Secret, &secret.name, secret)
    }

    fn new(resource_type: ResourceType, name: &str, message: &impl Message) -> Self {
        let body = Bytes::from(message.encode_to_vec());
        let version = format!("{:032x}", xxh3_128(&body));
        Self {
            resource_type,
            name: name.into(),
            version: version.into(),
            body,
        }
    }
}

/// One message from parts of it, in that order: encodings of protobuf messages one after the other are the encoding of
/// the merged message. Maps of the parts are united, so that each part may hold one entry.
pub(crate) fn merged<M: Message + Name>(parts: impl IntoIterator<Item = M>) -> Any {
    let mut value = Vec::new();
    for part in parts {
        value.extend(part.encode_to_vec());
    }
    Any {
        type_url: M::type_url(),
        value,
    }
}

/// Without the body, which may be a private key.
impl fmt::Debug for Encoded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} {}@{} ({} bytes)",
            self.resource_type,
            self.name,
            self.version,
            self.body.len()
        )
    }
}
