//! Generates the services of zone sync and the descriptors of the payloads from `proto/`, without protoc.

use std::error::Error;
use std::path::PathBuf;

use prost::Message as _;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let services = protox::compile(["kuma/mesh/v1alpha1/kds.proto"], ["proto"])?;
    tonic_prost_build::configure()
        .compile_well_known_types(true)
        .include_file("all.rs")
        .bytes(".google.protobuf.Any")
        .btree_map(".")
        .extern_path(
            ".envoy.config.core.v3.Node",
            "::envoy_types::pb::envoy::config::core::v3::Node",
        )
        .extern_path(".google.rpc.Status", "::envoy_types::pb::google::rpc::Status")
        .compile_fds(services)?;
    let payloads = [
        "kuma/mesh/v1alpha1/mesh.proto",
        "kuma/mesh/v1alpha1/dataplane.proto",
        "kuma/mesh/v1alpha1/dataplane_insight.proto",
        "kuma/mesh/v1alpha1/zone_egress.proto",
        "kuma/mesh/v1alpha1/zone_ingress.proto",
        "kuma/system/v1alpha1/system.proto",
    ];
    let descriptors = protox::compile(payloads, ["proto"])?;
    let out = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);
    std::fs::write(out.join("payloads.bin"), descriptors.encode_to_vec())?;
    Ok(())
}
