//! Body of `POST /bootstrap` (spec/dataplane.md §1.1).

use crate::proxy::Proxy;
use serde::Serialize;
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// What the control plane needs to make Envoy's bootstrap configuration. Without `Debug`: it holds the token.
#[derive(Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct BootstrapRequest {
    mesh: String,
    name: String,
    proxy_type: &'static str,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) dataplane_token: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) dataplane_token_path: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    dataplane_resource: String,
    version: Version,
    pub(crate) ca_cert: String,
    dynamic_metadata: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) readiness_port: u32,
    operating_system: &'static str,
    features: Vec<String>,
    pub(crate) resources: ProxyResources,
    pub(crate) workdir: String,
    pub(crate) metrics_resources: MetricsResources,
    pub(crate) system_ca_path: String,
    #[serde(rename = "ipv6Enabled")]
    pub(crate) ipv6_enabled: bool,
    /// Not in Kuma: Envoy's upstream sockets get this `SO_MARK`.
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) socket_mark: u32,
    /// Not in Kuma: `ipv4` or `ipv6` if the name of the control plane has such addresses alone, else empty. Envoy then asks for no others.
    #[serde(skip_serializing_if = "str::is_empty")]
    control_plane_addresses: &'static str,
    /// Not in Kuma: where Envoy finds the token, instead of in its bootstrap.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) token_secret: Option<TokenSecretLocation>,
}

/// A secret in a file of SDS form.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct TokenSecretLocation {
    pub(crate) name: &'static str,
    /// Absolute.
    pub(crate) path: String,
}

#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ProxyResources {
    pub(crate) max_heap_size_bytes: u64,
}

#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct MetricsResources {
    pub(crate) cert_path: String,
    pub(crate) key_path: String,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct Version {
    kuma_dp: AgentVersion,
    envoy: EnvoyVersion,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct AgentVersion {
    version: String,
    git_tag: String,
    git_commit: String,
    build_date: String,
}

/// Envoy's version as it reports it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct EnvoyVersion {
    /// As `1.40.0`.
    pub(crate) version: String,
    /// The five parts, as `<commit>/1.40.0/Clean/RELEASE/BoringSSL`.
    pub(crate) build: String,
    kuma_dp_compatible: bool,
}

impl EnvoyVersion {
    pub(crate) fn new(version: String, build: String) -> Self {
        Self {
            version,
            build,
            kuma_dp_compatible: true,
        }
    }
}

impl BootstrapRequest {
    /// The fields that every proxy has; the rest starts empty.
    pub(crate) fn new(proxy: &Proxy, agent: String, envoy: EnvoyVersion) -> Self {
        Self {
            mesh: proxy.mesh.clone(),
            name: proxy.name.clone(),
            proxy_type: proxy.proxy_type.as_str(),
            dataplane_token: String::new(),
            dataplane_token_path: String::new(),
            dataplane_resource: proxy.resource.clone().unwrap_or_default(),
            version: Version {
                kuma_dp: AgentVersion {
                    version: agent,
                    git_tag: String::new(),
                    git_commit: String::new(),
                    build_date: String::new(),
                },
                envoy,
            },
            ca_cert: String::new(),
            dynamic_metadata: BTreeMap::new(),
            readiness_port: 0,
            operating_system: std::env::consts::OS,
            features: Vec::new(),
            resources: ProxyResources::default(),
            workdir: String::new(),
            metrics_resources: MetricsResources::default(),
            system_ca_path: String::new(),
            ipv6_enabled: false,
            socket_mark: 0,
            control_plane_addresses: "",
            token_secret: None,
        }
    }

    /// The request for a control plane whose name has these addresses.
    pub(crate) fn with_control_plane_at(mut self, addresses: &[SocketAddr]) -> Self {
        let ipv4 = addresses.iter().any(SocketAddr::is_ipv4);
        let ipv6 = addresses.iter().any(SocketAddr::is_ipv6);
        self.control_plane_addresses = match (ipv4, ipv6) {
            (true, false) => "ipv4",
            (false, true) => "ipv6",
            _ => "",
        };
        self
    }
}

fn is_zero(value: &u32) -> bool {
    *value == 0
}
