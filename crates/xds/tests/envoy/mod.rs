//! A real Envoy for tests, and the few resources that the tests serve to it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::cluster::v3::cluster::{ClusterDiscoveryType, DiscoveryType, EdsClusterConfig};
use envoy_types::pb::envoy::config::core::v3::DataSource;
use envoy_types::pb::envoy::config::core::v3::address::Address as AddressKind;
use envoy_types::pb::envoy::config::core::v3::config_source::ConfigSourceSpecifier;
use envoy_types::pb::envoy::config::core::v3::data_source::Specifier;
use envoy_types::pb::envoy::config::core::v3::socket_address::PortSpecifier;
use envoy_types::pb::envoy::config::core::v3::{
    Address, AggregatedConfigSource, ApiVersion, ConfigSource, SocketAddress,
};
use envoy_types::pb::envoy::config::endpoint::v3::lb_endpoint::HostIdentifier;
use envoy_types::pb::envoy::config::endpoint::v3::{ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints};
use envoy_types::pb::envoy::config::listener::v3::filter::ConfigType;
use envoy_types::pb::envoy::config::listener::v3::{Filter, FilterChain, Listener};
use envoy_types::pb::envoy::config::route::v3::route::Action;
use envoy_types::pb::envoy::config::route::v3::route_match::PathSpecifier;
use envoy_types::pb::envoy::config::route::v3::{
    DirectResponseAction, Route, RouteConfiguration, RouteMatch, VirtualHost,
};
use envoy_types::pb::envoy::extensions::filters::http::router::v3::Router;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager::RouteSpecifier;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::http_filter::ConfigType as HttpConfigType;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, HttpFilter, Rds,
};
use envoy_types::pb::envoy::extensions::filters::network::tcp_proxy::v3::TcpProxy;
use envoy_types::pb::envoy::extensions::filters::network::tcp_proxy::v3::tcp_proxy::ClusterSpecifier;
use envoy_types::pb::google::protobuf::{Any, Duration};
use meshspan_xds::Resource;
use prost::{Message, Name};
use tempfile::TempDir;
use tokio::process::{Child, Command};

/// A running Envoy; killed when dropped.
pub struct Envoy {
    process: Child,
    folder: TempDir,
}

impl Envoy {
    /// Starts an Envoy that gets everything by delta ADS from `ads`, without TLS.
    pub fn start(ads: SocketAddr, token: &str) -> Self {
        let binary = find();
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("bootstrap.yaml");
        std::fs::write(&config, bootstrap(ads, token)).unwrap();
        let log = std::fs::File::create(folder.path().join("envoy.log")).unwrap();
        let process = Command::new(&binary)
            .arg("--config-path")
            .arg(&config)
            .args(["--disable-hot-restart", "--concurrency", "1", "--log-level", "info"])
            .args(["--component-log-level", "config:debug,upstream:debug"])
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {}: {error}", binary.display()));
        Self { process, folder }
    }

    /// Its log so far, for failing tests.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("envoy.log")).unwrap_or_default()
    }

    pub async fn stop(mut self) {
        self.process.kill().await.unwrap();
    }
}

/// `MESHSPAN_ENVOY`, then `envoy` in `PATH`, then the copy managed by `meshspan envoy install`.
fn find() -> PathBuf {
    if let Some(path) = std::env::var_os("MESHSPAN_ENVOY") {
        return path.into();
    }
    let in_path = std::env::var_os("PATH").and_then(|path| {
        std::env::split_paths(&path)
            .map(|folder| folder.join("envoy"))
            .find(|file| file.is_file())
    });
    in_path.or_else(managed).expect(
        "no Envoy found: run `meshspan envoy install`, put `envoy` into PATH, or name the binary in MESHSPAN_ENVOY",
    )
}

fn managed() -> Option<PathBuf> {
    let cache = Path::new(&std::env::var_os("HOME")?).join(".cache/meshspan/envoy");
    let versions = std::fs::read_dir(cache).ok()?;
    versions
        .filter_map(|version| Some(version.ok()?.path().join("envoy")))
        .find(|file| file.is_file())
}

fn bootstrap(ads: SocketAddr, token: &str) -> String {
    let (host, port) = (ads.ip(), ads.port());
    format!(
        r#"
node: {{ id: default.web, cluster: web }}
dynamic_resources:
  ads_config:
    api_type: DELTA_GRPC
    transport_api_version: V3
    set_node_on_first_message_only: true
    grpc_services:
    - envoy_grpc: {{ cluster_name: ads_cluster }}
      initial_metadata: [ {{ key: authorization, value: {token} }} ]
  cds_config: {{ ads: {{}}, resource_api_version: V3, initial_fetch_timeout: 0s }}
  lds_config: {{ ads: {{}}, resource_api_version: V3, initial_fetch_timeout: 0s }}
static_resources:
  clusters:
  - name: ads_cluster
    type: STATIC
    connect_timeout: 1s
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {{ http2_protocol_options: {{}} }}
    load_assignment:
      cluster_name: ads_cluster
      endpoints:
      - lb_endpoints:
        - endpoint: {{ address: {{ socket_address: {{ address: {host}, port_value: {port} }} }} }}
"#
    )
}

/// The ADS stream as a source, waited for without a time limit, so that a test sees if something never comes.
fn ads() -> ConfigSource {
    ConfigSource {
        config_source_specifier: Some(ConfigSourceSpecifier::Ads(AggregatedConfigSource {})),
        resource_api_version: ApiVersion::V3 as i32,
        initial_fetch_timeout: Some(Duration::default()),
        ..Default::default()
    }
}

/// A cluster that gets its endpoints by EDS.
pub fn cluster(name: &str, connect_timeout_seconds: i64) -> Resource {
    let cluster = Cluster {
        name: name.into(),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::Eds as i32)),
        eds_cluster_config: Some(EdsClusterConfig {
            eds_config: Some(ads()),
            service_name: String::new(),
        }),
        connect_timeout: Some(Duration {
            seconds: connect_timeout_seconds,
            nanos: 0,
        }),
        ..Default::default()
    };
    Resource::new(
        name,
        format!("timeout-{connect_timeout_seconds}"),
        cluster.encode_to_vec(),
    )
}

/// The one endpoint of a cluster.
pub fn endpoint(cluster: &str, target: SocketAddr) -> Resource {
    let endpoint = Endpoint {
        address: Some(address(target)),
        ..Default::default()
    };
    let endpoint = LbEndpoint {
        host_identifier: Some(HostIdentifier::Endpoint(endpoint)),
        ..Default::default()
    };
    let assignment = ClusterLoadAssignment {
        cluster_name: cluster.into(),
        endpoints: vec![LocalityLbEndpoints {
            lb_endpoints: vec![endpoint],
            ..Default::default()
        }],
        ..Default::default()
    };
    Resource::new(cluster, target.to_string(), assignment.encode_to_vec())
}

/// A listener that hands TCP connections to a cluster.
pub fn listener(name: &str, bind: SocketAddr, cluster: &str) -> Resource {
    let proxy = TcpProxy {
        stat_prefix: name.into(),
        cluster_specifier: Some(ClusterSpecifier::Cluster(cluster.into())),
        ..Default::default()
    };
    let filter = filter("envoy.filters.network.tcp_proxy", &proxy);
    Resource::new(
        name,
        format!("to-{cluster}"),
        listener_with(name, bind, filter).encode_to_vec(),
    )
}

/// An HTTP listener that gets its routes by RDS and says `server_name` in the `server` header.
pub fn http_listener(name: &str, bind: SocketAddr, routes: &str, server_name: &str) -> Resource {
    let router = HttpFilter {
        name: "envoy.filters.http.router".into(),
        config_type: Some(HttpConfigType::TypedConfig(pack(&Router::default()))),
        ..Default::default()
    };
    let rds = Rds {
        config_source: Some(ads()),
        route_config_name: routes.into(),
    };
    let manager = HttpConnectionManager {
        stat_prefix: name.into(),
        server_name: server_name.into(),
        route_specifier: Some(RouteSpecifier::Rds(rds)),
        http_filters: vec![router],
        // Or each closed connection lingers for a second.
        delayed_close_timeout: Some(Duration::default()),
        ..Default::default()
    };
    let filter = filter("envoy.filters.network.http_connection_manager", &manager);
    Resource::new(name, server_name, listener_with(name, bind, filter).encode_to_vec())
}

/// Routes that answer everything with `body`.
pub fn routes(name: &str, body: &str) -> Resource {
    let answer = DirectResponseAction {
        status: 200,
        body: Some(DataSource {
            specifier: Some(Specifier::InlineString(body.into())),
            ..Default::default()
        }),
        ..Default::default()
    };
    let all = RouteMatch {
        path_specifier: Some(PathSpecifier::Prefix("/".into())),
        ..Default::default()
    };
    let route = Route {
        r#match: Some(all),
        action: Some(Action::DirectResponse(answer)),
        ..Default::default()
    };
    let host = VirtualHost {
        name: "all".into(),
        domains: vec!["*".into()],
        routes: vec![route],
        ..Default::default()
    };
    let routes = RouteConfiguration {
        name: name.into(),
        virtual_hosts: vec![host],
        ..Default::default()
    };
    Resource::new(name, body, routes.encode_to_vec())
}

fn listener_with(name: &str, bind: SocketAddr, filter: Filter) -> Listener {
    Listener {
        name: name.into(),
        address: Some(address(bind)),
        filter_chains: vec![FilterChain {
            filters: vec![filter],
            ..Default::default()
        }],
        ..Default::default()
    }
}

fn filter<M: Message + Name>(name: &str, config: &M) -> Filter {
    Filter {
        name: name.into(),
        config_type: Some(ConfigType::TypedConfig(pack(config))),
    }
}

fn pack<M: Message + Name>(message: &M) -> Any {
    Any {
        type_url: format!("type.googleapis.com/{}", M::full_name()),
        value: message.encode_to_vec(),
    }
}

/// A listener that Envoy refuses: it has no filter chain.
pub fn bad_listener(name: &str, bind: SocketAddr) -> Resource {
    let listener = Listener {
        name: name.into(),
        address: Some(address(bind)),
        ..Default::default()
    };
    Resource::new(name, "bad", listener.encode_to_vec())
}

fn address(address: SocketAddr) -> Address {
    let socket = SocketAddress {
        address: address.ip().to_string(),
        port_specifier: Some(PortSpecifier::PortValue(address.port().into())),
        ..Default::default()
    };
    Address {
        address: Some(AddressKind::SocketAddress(socket)),
    }
}
