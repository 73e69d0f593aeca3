//! Generates the two services of this crate from `proto/`, without protoc.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let files = ["meshspan/agent/v1/agent.proto", "envoy/service/discovery/v3/ads.proto"];
    let descriptors = protox::compile(files, ["proto"])?;
    tonic_prost_build::configure()
        .compile_well_known_types(true)
        .include_file("all.rs")
        .bytes(".google.protobuf.Any")
        .extern_path(
            ".envoy.config.core.v3.Node",
            "::envoy_types::pb::envoy::config::core::v3::Node",
        )
        .extern_path(".google.rpc.Status", "::envoy_types::pb::google::rpc::Status")
        .compile_fds(descriptors)?;
    Ok(())
}
