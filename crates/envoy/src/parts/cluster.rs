//! A cluster under construction.

use std::collections::HashMap;

use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::UpstreamTlsContext;
use envoy_types::pb::envoy::extensions::upstreams::http::v3::HttpProtocolOptions;
use envoy_types::util::pack_any;

use crate::encode::Encoded;
use crate::tls;

/// A cluster and what it holds packed.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct ClusterParts {
    /// All but the following.
    pub(crate) cluster: Cluster,
    /// Of its connections, if it carries requests.
    pub(crate) http: Option<HttpProtocolOptions>,
    /// Mesh TLS, client side.
    pub(crate) tls: Option<UpstreamTlsContext>,
}

impl ClusterParts {
    /// The cluster as a whole.
    pub(crate) fn build(self) -> Cluster {
        let mut cluster = self.cluster;
        if let Some(options) = self.http {
            let name = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions".to_owned();
            cluster.typed_extension_protocol_options = HashMap::from([(name, pack_any(options))]);
        }
        if let Some(context) = self.tls {
            cluster.transport_socket = Some(tls::transport_socket(context));
        }
        cluster
    }

    pub(crate) fn encode(self) -> Encoded {
        Encoded::cluster(&self.build())
    }
}
