//! Turns projected resources into a bootstrap that needs no control plane.
//!
//! Clusters read their endpoints from files that a test may replace while Envoy runs, certificates are static; nothing
//! else differs from what a control plane would send.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use envoy_types::pb::envoy::config::bootstrap::v3::bootstrap::{DynamicResources, StaticResources};
use envoy_types::pb::envoy::config::bootstrap::v3::{Admin, Bootstrap};
use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::config::endpoint::v3::{
    ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints, lb_endpoint,
};
use envoy_types::pb::envoy::config::listener::v3::Listener;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::common_tls_context::ValidationContextType;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::{
    CommonTlsContext, DownstreamTlsContext, Secret, UpstreamTlsContext,
};
use envoy_types::pb::envoy::service::discovery::v3::DiscoveryResponse;
use envoy_types::pb::google::protobuf::value::Kind;
use envoy_types::pb::google::protobuf::{Any, Struct, Value};
use envoy_types::util::pack_any;
use meshspan_envoy::{Encoded, ResourceType};
use meshspan_world::view::Source;
use prost::{Message, Name};

pub fn decode<T: Message + Default>(resource: &Encoded) -> T {
    T::decode(resource.body.as_ref()).unwrap()
}

/// Resources by their type, exactly as projected.
pub fn static_resources(resources: &[Encoded]) -> StaticResources {
    let mut all = StaticResources::default();
    for resource in resources {
        match resource.resource_type {
            ResourceType::Cluster => all.clusters.push(decode(resource)),
            ResourceType::Listener => all.listeners.push(decode(resource)),
            ResourceType::Secret => all.secrets.push(decode::<Secret>(resource)),
            ResourceType::Endpoint => {}
        }
    }
    all
}

/// A bootstrap around `resources`. Files of endpoints go to `folder`.
pub fn bootstrap(resources: &[Encoded], zone: &str, folder: &Path) -> Bootstrap {
    let mut all = static_resources(resources);
    for cluster in &mut all.clusters {
        endpoints_from_file(cluster, folder);
        static_upstream_tls(cluster);
    }
    all.clusters.push(log_sink(folder));
    let listeners = std::mem::take(&mut all.listeners);
    write_listeners(listeners, folder);
    for resource in resources
        .iter()
        .filter(|resource| resource.resource_type == ResourceType::Endpoint)
    {
        write_endpoints(resource, folder);
    }
    Bootstrap {
        node: Some(core::Node {
            id: "test".to_owned(),
            cluster: "test".to_owned(),
            locality: Some(core::Locality {
                zone: zone.to_owned(),
                ..Default::default()
            }),
            metadata: Some(says_source("web", "10.1.2.3")),
            ..Default::default()
        }),
        admin: Some(Admin {
            address: Some(any_port()),
            ..Default::default()
        }),
        static_resources: Some(all),
        dynamic_resources: Some(DynamicResources {
            lds_config: from_file(listeners_file(folder)),
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// Replaces the listeners, in one step, which Envoy notices at once.
pub fn write_listeners(listeners: Vec<Listener>, folder: &Path) {
    let resources = listeners.into_iter().map(|mut listener| {
        static_downstream_tls(&mut listener);
        pack_any(listener)
    });
    let response = DiscoveryResponse {
        resources: resources.collect(),
        type_url: Listener::type_url(),
        ..Default::default()
    };
    replace(&listeners_file(folder), &response, folder);
}

/// Where the agent of a proxy with this folder takes lines of access logs.
pub fn log_socket(folder: &Path) -> PathBuf {
    folder.join("access-log.sock")
}

/// The way to the agent, as the real bootstrap has it.
pub fn log_sink(folder: &Path) -> Cluster {
    let path = log_socket(folder).to_str().unwrap().to_owned();
    let endpoint = Endpoint {
        address: Some(core::Address {
            address: Some(core::address::Address::Pipe(core::Pipe { path, mode: 0 })),
        }),
        ..Default::default()
    };
    let name = "access_log_sink".to_owned();
    Cluster {
        load_assignment: Some(ClusterLoadAssignment {
            cluster_name: name.clone(),
            endpoints: vec![LocalityLbEndpoints {
                lb_endpoints: vec![LbEndpoint {
                    host_identifier: Some(lb_endpoint::HostIdentifier::Endpoint(endpoint)),
                    ..Default::default()
                }],
                ..Default::default()
            }],
            ..Default::default()
        }),
        name,
        ..Default::default()
    }
}

/// Replaces what Envoy reads its endpoints from, in one step, which it notices at once.
pub fn write_endpoints(endpoints: &Encoded, folder: &Path) {
    let assignment: ClusterLoadAssignment = decode(endpoints);
    let response = DiscoveryResponse {
        version_info: endpoints.version.to_string(),
        resources: vec![pack_any(assignment)],
        type_url: ClusterLoadAssignment::type_url(),
        ..Default::default()
    };
    replace(&endpoints_file(&endpoints.name, folder), &response, folder);
}

fn replace(file: &Path, response: &DiscoveryResponse, folder: &Path) {
    let fresh = folder.join("fresh.tmp");
    std::fs::write(&fresh, response.encode_to_vec()).unwrap();
    std::fs::rename(fresh, file).unwrap();
}

fn listeners_file(folder: &Path) -> PathBuf {
    folder.join("listeners.pb")
}

fn endpoints_file(cluster: &str, folder: &Path) -> PathBuf {
    folder.join(format!("{cluster}.pb"))
}

fn endpoints_from_file(cluster: &mut Cluster, folder: &Path) {
    if let Some(eds) = &mut cluster.eds_cluster_config {
        let name = if eds.service_name.is_empty() {
            &cluster.name
        } else {
            &eds.service_name
        };
        eds.eds_config = from_file(endpoints_file(name, folder));
    }
}

fn from_file(path: PathBuf) -> Option<core::ConfigSource> {
    let source = core::PathConfigSource {
        path: path.to_str().unwrap().to_owned(),
        ..Default::default()
    };
    Some(core::ConfigSource {
        resource_api_version: core::ApiVersion::V3.into(),
        config_source_specifier: Some(core::config_source::ConfigSourceSpecifier::PathConfigSource(source)),
        ..Default::default()
    })
}

/// Lets a cluster take its certificates from the static ones.
pub fn static_upstream_tls(cluster: &mut Cluster) {
    edit_tls::<UpstreamTlsContext>(&mut cluster.transport_socket, |context| &mut context.common_tls_context);
}

fn static_downstream_tls(listener: &mut Listener) {
    for chain in listener
        .filter_chains
        .iter_mut()
        .chain(&mut listener.default_filter_chain)
    {
        edit_tls::<DownstreamTlsContext>(&mut chain.transport_socket, |context| &mut context.common_tls_context);
    }
}

/// A secret without a source is looked up among the static ones.
fn edit_tls<T: Message + Name + Default>(
    socket: &mut Option<core::TransportSocket>,
    common: impl Fn(&mut T) -> &mut Option<CommonTlsContext>,
) {
    let Some(core::TransportSocket {
        config_type: Some(config),
        ..
    }) = socket
    else {
        return;
    };
    let core::transport_socket::ConfigType::TypedConfig(Any { value, .. }) = config;
    let mut context = T::decode(value.as_slice()).unwrap();
    let tls = common(&mut context).as_mut().unwrap();
    for secret in &mut tls.tls_certificate_sds_secret_configs {
        secret.sds_config = None;
    }
    if let Some(ValidationContextType::CombinedValidationContext(validation)) = &mut tls.validation_context_type {
        validation
            .validation_context_sds_secret_config
            .as_mut()
            .unwrap()
            .sds_config = None;
    }
    *config = core::transport_socket::ConfigType::TypedConfig(pack_any(context));
}

pub fn any_port() -> core::Address {
    core::Address {
        address: Some(core::address::Address::SocketAddress(core::SocketAddress {
            address: "127.0.0.1".to_owned(),
            port_specifier: Some(core::socket_address::PortSpecifier::PortValue(0)),
            ..Default::default()
        })),
    }
}

/// Names of all resources of a type.
pub fn names(resources: &[Encoded], resource_type: ResourceType) -> Vec<String> {
    let of_type = resources
        .iter()
        .filter(|resource| resource.resource_type == resource_type);
    let counted: BTreeMap<String, ()> = of_type
        .clone()
        .map(|resource| (resource.name.to_string(), ()))
        .collect();
    assert_eq!(
        counted.len(),
        of_type.count(),
        "names of {resource_type:?} must be unique"
    );
    counted.into_keys().collect()
}

/// The metadata of a node that says what access logs call its proxy.
fn says_source(service: &str, address: &str) -> Struct {
    let source = Source {
        service: service.to_owned(),
        address: address.to_owned(),
    };
    let text = |text: String| Value {
        kind: Some(Kind::StringValue(text)),
    };
    let fields = meshspan_envoy::node_source::metadata(&source).into_iter();
    Struct {
        fields: fields.map(|(key, value)| (key.to_owned(), text(value))).collect(),
    }
}
