//! The file that Envoy starts with (`spec/dataplane.md` §1.2): who it is, and where its control plane is.

mod credential;

use std::collections::BTreeMap;
use std::net::IpAddr;

use meshspan_model::kinds::mesh_access_log::sink_socket;
use meshspan_world::view::Source;
use serde_json::{Map, Value, json};

use crate::network::{SO_MARK, SOCKET_MARK_DESCRIPTION, SOL_SOCKET};
use crate::node_source;
use crate::policies::SINK_CLUSTER;

pub use credential::{Credential, injects_credentials};

/// Name of the cluster that leads to the control plane.
const ADS_CLUSTER: &str = "ads_cluster";
/// Name of the static secret by which the control plane is verified.
const ADS_VALIDATION: &str = "cp_validation_ctx";

/// What kind of proxy starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyType {
    /// A sidecar or delegated gateway.
    Dataplane,
    /// A zone ingress.
    Ingress,
    /// A zone egress.
    Egress,
}

impl ProxyType {
    fn as_str(self) -> &'static str {
        match self {
            Self::Dataplane => "dataplane",
            Self::Ingress => "ingress",
            Self::Egress => "egress",
        }
    }
}

/// Which addresses the name of the control plane has, as seen from the proxy's host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ControlPlaneAddresses {
    /// Both, or unknown.
    #[default]
    Any,
    /// IPv4 alone.
    Ipv4,
    /// IPv6 alone.
    Ipv6,
}

/// What a bootstrap is made of, mostly the fields of the agent's request (`spec/dataplane.md` §1.1).
#[derive(Clone)]
pub struct BootstrapParams {
    /// Kind of proxy.
    pub proxy_type: ProxyType,
    /// Mesh of a sidecar; "" for zone proxies.
    pub mesh: String,
    /// Name of the Dataplane or ZoneIngress.
    pub name: String,
    /// First `kuma.io/service` tag of a sidecar; zone proxies are called by their type instead.
    pub service: String,
    /// What access logs call a sidecar.
    pub source: Option<Source>,
    /// Zone of the control plane.
    pub zone: String,
    /// Port of Envoy's admin interface on 127.0.0.1.
    pub admin_port: u32,
    /// The resource as the agent rendered it, as JSON text; "" if it is in the store already.
    pub resource: String,
    /// `version` of the request.
    pub version: Value,
    /// `features` of the request.
    pub features: Vec<String>,
    /// `dynamicMetadata` of the request.
    pub dynamic_metadata: BTreeMap<String, String>,
    /// `workdir` of the request.
    pub workdir: String,
    /// `readinessPort` of the request; 0 for none.
    pub readiness_port: u32,
    /// `ipv6Enabled` of the request.
    pub ipv6: bool,
    /// `systemCaPath` of the request: file with the CAs that the host's system trusts; "" if there is none.
    pub system_ca_path: String,
    /// Mark of all Envoy's upstream sockets (`SO_MARK`), by which interception excludes them where it cannot go by user; 0 for
    /// none. Needs CAP_NET_ADMIN.
    pub socket_mark: u32,
    /// Host name or IP of the control plane, as in its certificate.
    pub xds_host: String,
    /// What kinds of addresses that name has.
    pub xds_addresses: ControlPlaneAddresses,
    /// Port of its xDS server.
    pub xds_port: u16,
    /// PEM of the CA that signed the control plane's certificate.
    pub ca_pem: String,
    /// How the proxy proves who it is.
    pub credential: Credential,
}

/// The bootstrap configuration as JSON, which is YAML too. May hold the token: store it with mode 0600.
pub fn bootstrap(params: &BootstrapParams) -> Value {
    json!({
        "node": {
            "id": format!("{}.{}", params.mesh, params.name),
            "cluster": match params.proxy_type {
                ProxyType::Dataplane => params.service.as_str(),
                zone_proxy @ (ProxyType::Ingress | ProxyType::Egress) => zone_proxy.as_str(),
            },
            "locality": { "zone": params.zone },
            "metadata": metadata(params),
        },
        "admin": { "address": socket_address("127.0.0.1", params.admin_port) },
        "dynamic_resources": {
            "lds_config": over_ads(),
            "cds_config": over_ads(),
            "ads_config": ads_config(params),
        },
        "static_resources": {
            "clusters": [ads_cluster(params), log_sink_cluster(params)],
            "secrets": secrets(params),
        },
        "layered_runtime": {
            "layers": [{
                "name": "kuma",
                "static_layer": {
                    "re2.max_program_size.error_level": u32::MAX,
                    "re2.max_program_size.warn_level": 1000,
                },
            }],
        },
        "stats_config": {
            "stats_tags": [
                { "tag_name": "name", "regex": "^grpc\\.((.+)\\.)" },
                { "tag_name": "status", "regex": "^grpc.*streams_closed(_([0-9]+))" },
                { "tag_name": "worker", "regex": "(worker_([0-9]+)\\.)" },
                { "tag_name": "listener", "regex": "((.+?)\\.)rbac\\." },
            ],
        },
        "cluster_manager": { "upstream_bind_config": upstream_binding(params.socket_mark) },
        "default_regex_engine": {
            "name": "envoy.regex_engines.google_re2",
            "typed_config": { "@type": "type.googleapis.com/envoy.extensions.regex_engines.v3.GoogleRE2" },
        },
    })
}

/// How sockets are bound for all clusters without a binding of their own, `ads_cluster` among them.
fn upstream_binding(socket_mark: u32) -> Value {
    if socket_mark == 0 {
        return Value::Null;
    }
    json!({ "socket_options": [{
        "description": SOCKET_MARK_DESCRIPTION,
        "level": SOL_SOCKET,
        "name": SO_MARK,
        "int_value": socket_mark,
        "state": "STATE_PREBIND",
    }] })
}

/// What the control plane gets back on the first request of a stream. Ports are strings, as in Kuma.
fn metadata(params: &BootstrapParams) -> Value {
    let mut metadata = Map::new();
    let mut set = |key: &str, value: Value| metadata.insert(key.to_owned(), value);
    set("dataplane.proxyType", json!(params.proxy_type.as_str()));
    set("dataplane.admin.port", json!(params.admin_port.to_string()));
    set("dataplane.admin.address", json!("127.0.0.1"));
    if params.readiness_port != 0 {
        set(
            "dataplane.readinessReporter.port",
            json!(params.readiness_port.to_string()),
        );
    }
    if !params.resource.is_empty() {
        set("dataplane.resource", json!(params.resource));
    }
    for (key, text) in params.source.iter().flat_map(node_source::metadata) {
        set(key, json!(text));
    }
    set("dynamicMetadata", json!(params.dynamic_metadata));
    set("version", params.version.clone());
    set("features", json!(params.features));
    set("workdir", json!(params.workdir));
    set("ipv6Enabled", json!(params.ipv6));
    if !params.system_ca_path.is_empty() {
        set("systemCaPath", json!(params.system_ca_path));
    }
    if params.socket_mark != 0 {
        set("socketMark", json!(params.socket_mark.to_string()));
    }
    Value::Object(metadata)
}

fn over_ads() -> Value {
    // Wait for the first configuration however long it takes: an empty one would be served as if it were meant.
    json!({ "ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": "0s" })
}

fn ads_config(params: &BootstrapParams) -> Value {
    json!({
        "api_type": "DELTA_GRPC",
        "transport_api_version": "V3",
        "set_node_on_first_message_only": true,
        "grpc_services": [{
            "envoy_grpc": {
                "cluster_name": ADS_CLUSTER,
                // Envoy's default waits half a second and up to half a minute.
                "retry_policy": { "retry_back_off": { "base_interval": "0.1s", "max_interval": "2s" } },
            },
            "initial_metadata": params.credential.metadata(),
        }],
    })
}

fn ads_cluster(params: &BootstrapParams) -> Value {
    let ip = params.xds_host.parse::<IpAddr>().ok();
    // An address is no server name (RFC 6066); an empty one is not sent.
    let sni = if ip.is_some() { "" } else { params.xds_host.as_str() };
    let tls = json!({
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
        "common_tls_context": {
            "tls_params": { "tls_minimum_protocol_version": "TLSv1_2" },
            "alpn_protocols": ["h2"],
            "validation_context_sds_secret_config": { "name": ADS_VALIDATION },
        },
        "sni": sni,
    });
    json!({
        "name": ADS_CLUSTER,
        "type": if ip.is_some() { "STATIC" } else { "STRICT_DNS" },
        "dns_lookup_family": dns_lookup_family(params),
        "connect_timeout": "1s",
        "lb_policy": "ROUND_ROBIN",
        "upstream_connection_options": {
            "tcp_keepalive": { "keepalive_probes": 3, "keepalive_time": 10, "keepalive_interval": 10 },
        },
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": { "http2_protocol_options": {
                    // A control plane that vanished without a word is noticed by this, and a new connection is made.
                    "connection_keepalive": { "interval": "5s", "timeout": "3s" },
                } },
                "http_filters": params.credential.filters(),
            },
        },
        "transport_socket": { "name": "envoy.transport_sockets.tls", "typed_config": tls },
        "load_assignment": {
            "cluster_name": ADS_CLUSTER,
            "endpoints": [{ "lb_endpoints": [{ "endpoint": {
                "address": socket_address(&params.xds_host, u32::from(params.xds_port)),
            } }] }],
        },
    })
}

/// Envoy's `AUTO` asks for IPv6 first, and for IPv4 only when it has an answer. A resolver that does not answer then keeps Envoy from the control
/// plane for minutes, even if the hosts file has its (IPv4) address.
fn dns_lookup_family(params: &BootstrapParams) -> &'static str {
    match params.xds_addresses {
        ControlPlaneAddresses::Ipv4 => "V4_ONLY",
        ControlPlaneAddresses::Ipv6 => "V6_ONLY",
        ControlPlaneAddresses::Any if params.ipv6 => "AUTO",
        ControlPlaneAddresses::Any => "V4_ONLY",
    }
}

/// The agent, which passes access logs on over TCP. Loggers name this cluster, so it is always there.
fn log_sink_cluster(params: &BootstrapParams) -> Value {
    let socket = sink_socket(&params.workdir);
    let endpoints =
        socket.map(|path| json!({ "lb_endpoints": [{ "endpoint": { "address": { "pipe": { "path": path } } } }] }));
    json!({
        "name": SINK_CLUSTER,
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": {
            "cluster_name": SINK_CLUSTER,
            "endpoints": Vec::from_iter(endpoints),
        },
    })
}

fn secrets(params: &BootstrapParams) -> Vec<Value> {
    let mut secrets = vec![control_plane_validation(params)];
    secrets.extend(params.credential.secret());
    secrets
}

fn control_plane_validation(params: &BootstrapParams) -> Value {
    let san_type = if params.xds_host.parse::<IpAddr>().is_ok() {
        "IP_ADDRESS"
    } else {
        "DNS"
    };
    json!({
        "name": ADS_VALIDATION,
        "validation_context": {
            "trusted_ca": { "inline_string": params.ca_pem },
            "match_typed_subject_alt_names": [{ "san_type": san_type, "matcher": { "exact": params.xds_host } }],
        },
    })
}

fn socket_address(address: &str, port: u32) -> Value {
    json!({ "socket_address": { "address": address, "port_value": port } })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::indexing_slicing)]
    use super::*;

    fn params() -> BootstrapParams {
        BootstrapParams {
            proxy_type: ProxyType::Dataplane,
            mesh: "default".to_owned(),
            name: "web-1".to_owned(),
            service: "web".to_owned(),
            source: None,
            zone: "east".to_owned(),
            admin_port: 9901,
            resource: String::new(),
            version: json!({}),
            features: Vec::new(),
            dynamic_metadata: BTreeMap::new(),
            workdir: "/run/proxy".to_owned(),
            readiness_port: 0,
            ipv6: true,
            system_ca_path: String::new(),
            socket_mark: 0,
            xds_host: "cp.example".to_owned(),
            xds_addresses: ControlPlaneAddresses::Any,
            xds_port: 5678,
            ca_pem: "PEM".to_owned(),
            credential: Credential::None,
        }
    }

    #[test]
    fn identity_of_the_node() {
        let sidecar = bootstrap(&params());
        assert_eq!(sidecar["node"]["id"], "default.web-1");
        assert_eq!(sidecar["node"]["cluster"], "web");
        assert_eq!(sidecar["node"]["locality"]["zone"], "east");
        assert_eq!(sidecar["node"]["metadata"]["dataplane.admin.port"], "9901");

        let ingress = BootstrapParams {
            proxy_type: ProxyType::Ingress,
            mesh: String::new(),
            ..params()
        };
        let ingress = bootstrap(&ingress);
        assert_eq!(ingress["node"]["id"], ".web-1");
        assert_eq!(ingress["node"]["cluster"], "ingress");
        assert_eq!(ingress["node"]["metadata"]["dataplane.proxyType"], "ingress");
    }

    #[test]
    fn the_control_plane_is_looked_up_in_the_family_that_exists() {
        let family = |xds_addresses, ipv6| {
            let params = BootstrapParams {
                xds_addresses,
                ipv6,
                ..params()
            };
            bootstrap(&params)["static_resources"]["clusters"][0]["dns_lookup_family"].clone()
        };
        assert_eq!(family(ControlPlaneAddresses::Any, true), "AUTO");
        assert_eq!(family(ControlPlaneAddresses::Any, false), "V4_ONLY");
        assert_eq!(family(ControlPlaneAddresses::Ipv4, true), "V4_ONLY");
        assert_eq!(family(ControlPlaneAddresses::Ipv6, true), "V6_ONLY");
    }

    #[test]
    fn access_logs_find_the_agent_where_a_socket_can_be() {
        let sink = |workdir: &str| {
            let params = BootstrapParams {
                workdir: workdir.to_owned(),
                ..params()
            };
            bootstrap(&params)["static_resources"]["clusters"][1].clone()
        };
        let there = sink("/run/proxy");
        assert_eq!(there["name"], SINK_CLUSTER);
        assert_eq!(
            there["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]["address"]["pipe"]["path"],
            "/run/proxy/access-log.sock"
        );
        for nowhere in ["", "relative", &format!("/{}", "x".repeat(100))] {
            assert_eq!(sink(nowhere)["load_assignment"]["endpoints"], json!([]), "{nowhere}");
        }
    }

    #[test]
    fn the_control_plane_is_verified_by_name_or_address() {
        let secret = |host: &str| {
            let params = BootstrapParams {
                xds_host: host.to_owned(),
                ..params()
            };
            let bootstrap = bootstrap(&params);
            (
                bootstrap["static_resources"]["clusters"][0].clone(),
                bootstrap["static_resources"]["secrets"][0].clone(),
            )
        };
        let (cluster, validation) = secret("cp.example");
        assert_eq!(cluster["type"], "STRICT_DNS");
        assert_eq!(cluster["transport_socket"]["typed_config"]["sni"], "cp.example");
        let san = &validation["validation_context"]["match_typed_subject_alt_names"][0];
        assert_eq!(
            (&san["san_type"], &san["matcher"]["exact"]),
            (&json!("DNS"), &json!("cp.example"))
        );

        let (cluster, validation) = secret("::1");
        assert_eq!(cluster["type"], "STATIC");
        assert_eq!(cluster["transport_socket"]["typed_config"]["sni"], "");
        assert_eq!(
            validation["validation_context"]["match_typed_subject_alt_names"][0]["san_type"],
            "IP_ADDRESS"
        );
    }
}
