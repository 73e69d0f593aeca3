//! The five resource types that are served, and one value for each of them.

use std::fmt;

/// A resource type of Envoy's discovery API, in the order in which updates are safe to send ("make before break",
/// xDS protocol, *Eventual consistency considerations*): what is referred to comes before what refers to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ResourceType {
    /// `envoy.config.cluster.v3.Cluster` (CDS).
    Cluster,
    /// `envoy.config.endpoint.v3.ClusterLoadAssignment` (EDS).
    Endpoint,
    /// `envoy.extensions.transport_sockets.tls.v3.Secret` (SDS).
    Secret,
    /// `envoy.config.listener.v3.Listener` (LDS).
    Listener,
    /// `envoy.config.route.v3.RouteConfiguration` (RDS).
    Route,
}

impl ResourceType {
    /// Every type, in sending order.
    pub const ALL: [Self; 5] = [Self::Cluster, Self::Endpoint, Self::Secret, Self::Listener, Self::Route];

    /// The type URL used in requests, in responses and in `Any`.
    pub const fn type_url(self) -> &'static str {
        match self {
            Self::Cluster => "type.googleapis.com/envoy.config.cluster.v3.Cluster",
            Self::Endpoint => "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
            Self::Secret => "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
            Self::Listener => "type.googleapis.com/envoy.config.listener.v3.Listener",
            Self::Route => "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
        }
    }

    /// The type of a type URL, `None` for a type that is not served.
    pub fn from_type_url(type_url: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|ty| ty.type_url() == type_url)
    }

    /// Whether a first request without names means "everything" (the protocol's legacy wildcard), as Envoy asks for
    /// clusters and listeners. The other types are subscribed to by name.
    pub const fn is_wildcard(self) -> bool {
        matches!(self, Self::Cluster | Self::Listener)
    }

    /// The discovery service's short name, for logs, metrics and insights: `cds`, `eds`, `sds`, `lds`, `rds`.
    pub const fn short_name(self) -> &'static str {
        match self {
            Self::Cluster => "cds",
            Self::Endpoint => "eds",
            Self::Secret => "sds",
            Self::Listener => "lds",
            Self::Route => "rds",
        }
    }
}

impl fmt::Display for ResourceType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.short_name())
    }
}

/// One value for each resource type.
#[derive(Clone, Debug, Default)]
pub(crate) struct PerType<T> {
    cluster: T,
    endpoint: T,
    secret: T,
    listener: T,
    route: T,
}

impl<T> PerType<T> {
    pub(crate) const fn get(&self, ty: ResourceType) -> &T {
        match ty {
            ResourceType::Cluster => &self.cluster,
            ResourceType::Endpoint => &self.endpoint,
            ResourceType::Secret => &self.secret,
            ResourceType::Listener => &self.listener,
            ResourceType::Route => &self.route,
        }
    }

    pub(crate) const fn get_mut(&mut self, ty: ResourceType) -> &mut T {
        match ty {
            ResourceType::Cluster => &mut self.cluster,
            ResourceType::Endpoint => &mut self.endpoint,
            ResourceType::Secret => &mut self.secret,
            ResourceType::Listener => &mut self.listener,
            ResourceType::Route => &mut self.route,
        }
    }
}

#[cfg(test)]
mod tests {
    use envoy_types::pb::envoy::config::{
        cluster::v3::Cluster, endpoint::v3::ClusterLoadAssignment, listener::v3::Listener,
        route::v3::RouteConfiguration,
    };
    use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::Secret;
    use prost::Name;

    use super::*;

    #[test]
    fn type_urls_are_those_of_the_envoy_api() {
        assert_eq!(
            ResourceType::Cluster.type_url(),
            format!("type.googleapis.com/{}", Cluster::full_name())
        );
        assert_eq!(
            ResourceType::Endpoint.type_url(),
            format!("type.googleapis.com/{}", ClusterLoadAssignment::full_name())
        );
        assert_eq!(
            ResourceType::Secret.type_url(),
            format!("type.googleapis.com/{}", Secret::full_name())
        );
        assert_eq!(
            ResourceType::Listener.type_url(),
            format!("type.googleapis.com/{}", Listener::full_name())
        );
        assert_eq!(
            ResourceType::Route.type_url(),
            format!("type.googleapis.com/{}", RouteConfiguration::full_name())
        );
    }

    #[test]
    fn a_type_url_leads_back_to_its_type() {
        for ty in ResourceType::ALL {
            assert_eq!(ResourceType::from_type_url(ty.type_url()), Some(ty));
        }
        assert_eq!(
            ResourceType::from_type_url("type.googleapis.com/envoy.service.runtime.v3.Runtime"),
            None
        );
    }
}
