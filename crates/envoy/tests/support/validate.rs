//! Asking a real Envoy whether it takes a configuration, without starting it.

use std::process::Command;

use envoy_types::pb::envoy::config::bootstrap::v3::{Bootstrap, bootstrap::DynamicResources};
use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::core::v3 as core;
use meshspan_envoy::Encoded;
use prost::Message;

use super::binary::envoy_binary;
use super::static_config::static_resources;

/// Whether Envoy accepts the resources as they are, with a control plane as source of endpoints and secrets.
///
/// # Errors
/// What Envoy says.
pub fn resources(resources: &[Encoded]) -> Result<(), String> {
    with_clusters(resources, Vec::new())
}

/// As [`resources`], with further clusters.
///
/// # Errors
/// What Envoy says.
pub fn with_clusters(resources: &[Encoded], clusters: Vec<Cluster>) -> Result<(), String> {
    let mut all = static_resources(resources);
    all.clusters.extend(clusters);
    all.clusters.push(Cluster {
        name: "cp".to_owned(),
        ..Default::default()
    });
    let ads_config = core::ApiConfigSource {
        api_type: core::api_config_source::ApiType::DeltaGrpc.into(),
        transport_api_version: core::ApiVersion::V3.into(),
        grpc_services: vec![core::GrpcService {
            target_specifier: Some(core::grpc_service::TargetSpecifier::EnvoyGrpc(
                core::grpc_service::EnvoyGrpc {
                    cluster_name: "cp".to_owned(),
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

/// Whether Envoy accepts a bootstrap file of that name, whose ending says what is in it.
///
/// # Errors
/// What Envoy says, also of what it only warns about.
pub fn bootstrap_file(file: &str, content: &[u8]) -> Result<(), String> {
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
    let log = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        return Err(format!("Envoy rejects the configuration:\n{log}"));
    }
    if log.contains("deprecated") {
        return Err(format!("Envoy warns about the configuration:\n{log}"));
    }
    Ok(())
}
