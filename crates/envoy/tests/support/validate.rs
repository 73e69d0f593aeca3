//! Asking a real Envoy whether it takes a configuration, without starting it.

use std::process::Command;

use envoy_types::pb::envoy::config::bootstrap::v3::{Bootstrap, bootstrap::DynamicResources};
use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::core::v3 as core;
use meshspan_envoy::Encoded;
use prost::Message;

use super::binary::envoy_binary;
use super::inputs::bootstrap_params;
use super::static_config::{static_resources, static_upstream_tls};

/// Whether Envoy accepts the resources as they are, with the clusters of a proxy's bootstrap, among them a control plane as
/// source of endpoints and secrets. Returns what Envoy only warns about.
///
/// # Errors
/// What Envoy says.
pub fn resources(resources: &[Encoded]) -> Result<String, String> {
    let mut all = static_resources(resources);
    for cluster in &mut all.clusters {
        // Those that need no endpoints from elsewhere are warmed at once, before there is a control plane.
        if cluster.eds_cluster_config.is_none() {
            static_upstream_tls(cluster);
        }
    }
    let proxy = meshspan_envoy::bootstrap(&bootstrap_params("127.0.0.1", ""));
    let of_bootstrap: Vec<_> = proxy["static_resources"]["clusters"]
        .as_array()
        .unwrap()
        .iter()
        .map(|cluster| cluster["name"].as_str().unwrap().to_owned())
        .collect();
    let control_plane = of_bootstrap[0].clone();
    all.clusters.extend(of_bootstrap.into_iter().map(|name| Cluster {
        name,
        ..Default::default()
    }));
    let ads_config = core::ApiConfigSource {
        api_type: core::api_config_source::ApiType::DeltaGrpc.into(),
        transport_api_version: core::ApiVersion::V3.into(),
        grpc_services: vec![core::GrpcService {
            target_specifier: Some(core::grpc_service::TargetSpecifier::EnvoyGrpc(
                core::grpc_service::EnvoyGrpc {
                    cluster_name: control_plane,
                    ..Default::default()
                },
            )),
            ..Default::default()
        }],
        ..Default::default()
    };
    let bootstrap = Bootstrap {
        node: Some(core::Node {
            id: "test".to_owned(),
            cluster: "test".to_owned(),
            ..Default::default()
        }),
        static_resources: Some(all),
        dynamic_resources: Some(DynamicResources {
            ads_config: Some(ads_config),
            ..Default::default()
        }),
        ..Default::default()
    };
    bootstrap_file("bootstrap.pb", &bootstrap.encode_to_vec())
}

/// Whether Envoy accepts a bootstrap file of that name, whose ending says what is in it. Returns what Envoy only warns about.
///
/// # Errors
/// What Envoy says.
pub fn bootstrap_file(file: &str, content: &[u8]) -> Result<String, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(file);
    std::fs::write(&path, content).unwrap();
    let output = Command::new(envoy_binary())
        .args([
            "--mode",
            "validate",
            "--log-level",
            "warning",
            "--config-path",
            path.to_str().unwrap(),
        ])
        .output()
        .unwrap();
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() {
        Ok(log)
    } else {
        Err(format!("Envoy rejects the configuration:\n{log}"))
    }
}
