//! What Envoy understood, as text to be reviewed: its own dump of the resources in `tests/golden/`.
//!
//! Defaults that Envoy does not print are not there. To accept a change, run with `UPDATE_GOLDEN=1` and read the diff.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod support;

use std::path::Path;

use meshspan_envoy::{Encoded, destination_cluster, destination_endpoints, outbound_listener, secrets};
use meshspan_identity::{Ca, WorkloadRequest};
use meshspan_model::kinds::dataplane::IpFamilyMode;
use meshspan_world::view::{Destination, InboundTls, Protocol};
use serde_json::{Value, json};
use support::envoy::Envoy;
use support::inputs::*;
use time::{Duration, OffsetDateTime};

/// The dump of all listeners and clusters is that of the file `tests/golden/<name>.json`.
fn check(name: &str, resources: Vec<Encoded>) {
    let resources = [resources, certificates()].concat();
    resources.iter().for_each(has_json);
    let envoy = Envoy::start(&resources, "east");
    let dump: Value = serde_json::from_str(&envoy.admin("/config_dump?include_eds").body).unwrap();
    let all: Vec<_> = dump["configs"].as_array().unwrap().iter().collect();
    let pick = |list: &str, item: &str| -> Vec<Value> {
        let lists = all.iter().filter_map(|config| config[list].as_array());
        let mut items: Vec<_> = lists
            .flatten()
            .map(|entry| entry.pointer(item).unwrap().clone())
            .collect();
        // Belongs to the bootstrap.
        items.retain(|item| item["name"] != "access_log_sink" && item["cluster_name"] != "access_log_sink");
        items.sort_by_key(|item| {
            item["name"]
                .as_str()
                .or(item["cluster_name"].as_str())
                .map(str::to_owned)
        });
        items
    };
    let mut actual = json!({
        "listeners": pick("dynamic_listeners", "/active_state/listener"),
        "clusters": pick("static_clusters", "/cluster"),
        "endpoints": pick("static_endpoint_configs", "/endpoint_config"),
    });
    forget_test_files(&mut actual);

    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/{name}.json"));
    let text = serde_json::to_string_pretty(&actual).unwrap() + "\n";
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        text == golden,
        "{name} differs from {}; UPDATE_GOLDEN=1 accepts this:\n{text}",
        path.display()
    );
}

/// It can be shown as JSON, complete and without its private key.
fn has_json(resource: &Encoded) {
    let json = resource.to_json().unwrap();
    let name = json.get("name").or(json.get("clusterName"));
    assert_eq!(name.and_then(Value::as_str), Some(&*resource.name), "{json}");
    assert_eq!(json, resource.to_json().unwrap());
    assert!(!json.to_string().contains("PRIVATE KEY"), "{json}");
    assert_all_expanded(&json);
}

/// What remained of an `Any` would be the fields of that message itself.
fn assert_all_expanded(json: &Value) {
    match json {
        Value::Array(items) => items.iter().for_each(assert_all_expanded),
        Value::Object(fields) => {
            assert!(!fields.contains_key("typeUrl"), "{json}");
            fields.values().for_each(assert_all_expanded);
        }
        _ => {}
    }
}

/// Endpoints come from a file in these tests, as they come from the control plane otherwise.
fn forget_test_files(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(forget_test_files),
        Value::Object(fields) => {
            fields.remove("path_config_source");
            fields.values_mut().for_each(forget_test_files);
        }
        _ => {}
    }
}

fn certificates() -> Vec<Encoded> {
    let now = OffsetDateTime::now_utc();
    let ca = Ca::generate_builtin(MESH, 2048, now, Duration::days(1)).unwrap();
    let tags = [("kuma.io/service".to_owned(), ["web".to_owned()].into())].into();
    let request = WorkloadRequest::for_dataplane(MESH, tags, now, Duration::hours(1)).unwrap();
    let cert = ca.issue_workload(&request).unwrap();
    vec![
        secrets::identity(MESH, &cert.cert_chain_pem, &cert.key_pem),
        secrets::trust_bundle(MESH, ca.cert_pem()),
    ]
}

fn two_zones(protocol: Protocol) -> Destination {
    let here = own_zone(vec![ready(1001), unready(1002)]);
    let there = other_zone("west", vec![ready(10001)]);
    let ids = ["spiffe://default/backend", "spiffe://default/backend-west"];
    with_localities(
        over_tls(destination("backend", "main", protocol), &ids),
        vec![here, there],
    )
}

fn shared(destination: &Destination) -> Vec<Encoded> {
    vec![
        destination_cluster(destination, &default_policies()),
        destination_endpoints(destination, &default_policies()),
        outbound_listener(&outbound(destination, "243.0.0.1".parse().unwrap(), 80, false)),
    ]
}

#[test]
fn what_is_packed_two_deep_is_spelled_out() {
    let listener = outbound_listener(&outbound(&two_zones(Protocol::Http), LOCALHOST, 80, false));
    let json = listener.to_json().unwrap();
    let manager = &json["filterChains"][0]["filters"][0]["typedConfig"];
    assert!(
        manager["@type"].as_str().unwrap().ends_with(".HttpConnectionManager"),
        "{json}"
    );
    let router = &manager["httpFilters"][0]["typedConfig"];
    assert_eq!(
        router["@type"],
        "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
    );
    let retries = &manager["routeConfig"]["virtualHosts"][0]["routes"][0]["route"]["retryPolicy"];
    assert_eq!(retries["retryPriority"]["typedConfig"]["updateFrequency"], 1);
}

#[test]
fn http_destination() {
    check("http_destination", shared(&two_zones(Protocol::Http)));
}

#[test]
fn grpc_destination() {
    check("grpc_destination", shared(&two_zones(Protocol::Grpc)));
}

#[test]
fn tcp_destination() {
    check("tcp_destination", shared(&two_zones(Protocol::Tcp)));
}

#[test]
fn permissive_http_inbound() {
    let mut one = sidecar("web-1", vec![inbound("web", "http", 0, 8080, Protocol::Http)]);
    one.inbound_tls = InboundTls::Permissive;
    check("permissive_http_inbound", meshspan_envoy::sidecar(&one, &OPTIONS));
}

#[test]
fn intercepted_tcp_inbound() {
    let mut tcp = inbound("web", "", 6379, 0, Protocol::Tcp);
    tcp.service_address = String::new();
    let mut one = intercepted(sidecar("web-1", vec![tcp]), IpFamilyMode::IPv4);
    let dataplane = std::sync::Arc::make_mut(&mut one.dataplane);
    dataplane.networking.address = "10.0.0.1".to_owned();
    // Listeners for redirected traffic would be bound in this test.
    let transparent = dataplane.networking.transparent_proxying.as_mut().unwrap();
    transparent.redirect_port_inbound = 0;
    transparent.redirect_port_outbound = 0;
    check("intercepted_tcp_inbound", meshspan_envoy::sidecar(&one, &OPTIONS));
}

#[test]
fn zone_ingress() {
    let redis = over_tls(destination("redis", "6379", Protocol::Tcp), &["spiffe://default/redis"]);
    let resources = meshspan_envoy::ingress(&ingress("east", 0, vec![two_zones(Protocol::Http), redis]));
    check("zone_ingress", resources);
}

#[test]
fn ingress_without_destinations() {
    check(
        "ingress_without_destinations",
        meshspan_envoy::ingress(&ingress("east", 0, Vec::new())),
    );
}
