//! What is written about requests and connections, and where it arrives.

use std::io::Read;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::path::Path;

use meshspan_model::kinds::mesh_access_log::PLAIN_OPERATORS;
use meshspan_model::policy::PolicyKind;
use meshspan_world::view::{DestinationPolicies, Protocol, Sidecar};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::app::App;
use crate::support::envoy::{PATIENCE, eventually};
use crate::support::inputs::*;
use crate::support::proxies::{Backend, Client, backend};
use crate::support::{static_config, validate};

const KIND: PolicyKind = PolicyKind::MeshAccessLog;

fn conf(backend: &Value) -> Value {
    json!({ "backends": [backend] })
}

/// Logs of traffic to a destination.
fn outgoing(backend: &Value) -> DestinationPolicies {
    policies([(KIND, conf(backend))])
}

/// Logs of traffic to an inbound that lets everybody in.
fn incoming(proxy: &mut Sidecar, backend: &Value) {
    let allow = json!({ "from": [{ "targetRef": { "kind": "Mesh" }, "default": { "action": "Allow" } }] });
    let spec = json!({ "rules": [{ "default": conf(backend) }] });
    KIND.kind().check(&spec).unwrap();
    proxy.inbound_policies = vec![inbound_policies(&[
        (PolicyKind::MeshTrafficPermission, allow),
        (KIND, spec),
    ])];
}

fn file(folder: &TempDir, name: &str, format: Value) -> Value {
    let path = folder.path().join(name);
    let mut file = json!({ "path": path.to_str().unwrap() });
    if !format.is_null() {
        file["format"] = format;
    }
    json!({ "type": "File", "file": file })
}

/// The first line of a file, as soon as it is there.
fn first_line(folder: &TempDir, name: &str) -> String {
    eventually("a line is written", || line_of(&folder.path().join(name)))
}

fn line_of(path: &Path) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    Some(text.split_once('\n')?.0.to_owned())
}

#[test]
fn both_proxies_write_a_line_about_a_request() {
    let folder = tempfile::tempdir().unwrap();
    let app = App::http("app");
    let server = Backend::start(app.port(), Protocol::Http, |proxy| {
        incoming(proxy, &file(&folder, "inbound", Value::Null));
    });
    let destination = backend(Protocol::Http, vec![own_zone(vec![ready(server.port())])]);
    let client = Client::start_with(&destination, &outgoing(&file(&folder, "outbound", Value::Null)));
    assert_eq!(client.ask_http().as_deref(), Ok("app"));

    let outbound = first_line(&folder, "outbound");
    let ends = format!(
        "\"service\" \"web\" \"kri_mzsvc_default___backend_main\" \"10.1.2.3\" \"127.0.0.1:{}\"",
        server.port()
    );
    assert!(outbound.contains("] default \"GET / HTTP/1.1\" 200 - 0 "), "{outbound}");
    assert!(outbound.ends_with(&ends), "{outbound}");
    let inbound = first_line(&folder, "inbound");
    assert!(inbound.contains("] default \"GET / HTTP/2\" 200 - 0 "), "{inbound}");
    assert!(inbound.contains("\"unknown\" \"backend\" \"127.0.0.1\""), "{inbound}");
}

#[test]
fn both_proxies_write_a_line_about_a_connection() {
    let folder = tempfile::tempdir().unwrap();
    let app = App::line("app");
    let server = Backend::start(app.port(), Protocol::Tcp, |proxy| {
        incoming(proxy, &file(&folder, "inbound", Value::Null));
    });
    let destination = backend(Protocol::Tcp, vec![own_zone(vec![ready(server.port())])]);
    let client = Client::start_with(&destination, &outgoing(&file(&folder, "outbound", Value::Null)));
    assert_eq!(client.ask_line().as_deref(), Some("app"));
    let outbound = first_line(&folder, "outbound");
    let path = format!(
        "] - default 10.1.2.3(web)->127.0.0.1:{}(kri_mzsvc_default___backend_main) took ",
        server.port()
    );
    assert!(outbound.contains(&path), "{outbound}");
    assert!(outbound.ends_with("ms, sent 11 bytes, received: 6 bytes"), "{outbound}");
    let inbound = first_line(&folder, "inbound");
    assert!(
        inbound.contains(&format!("(unknown)->127.0.0.1:{}(backend)", app.port())),
        "{inbound}"
    );
}

#[test]
fn a_line_has_the_form_of_the_policy() {
    let folder = tempfile::tempdir().unwrap();
    let app = App::http("app");
    let server = Backend::start(app.port(), Protocol::Http, |_| {});
    let destination = backend(Protocol::Http, vec![own_zone(vec![ready(server.port())])]);
    let fields = json!([
        { "key": "mesh", "value": "%KUMA_MESH%" },
        { "key": "code", "value": "%RESPONSE_CODE%" },
        { "key": "none", "value": "%REQ(x-none)%" },
        { "key": "text", "value": "100%% \"%REQ(:METHOD)%\"" },
    ]);
    let object = |omit: bool| json!({ "type": "Json", "json": fields, "omitEmptyValues": omit });
    let plain = |omit: bool| json!({ "type": "Plain", "plain": "%KUMA_MESH%|%REQ(x-none)%|", "omitEmptyValues": omit });
    for (name, format, expected) in [
        (
            "json",
            object(false),
            json!({ "mesh": "default", "code": 200, "none": null, "text": "100% \"GET\"" }),
        ),
        (
            "omitting json",
            object(true),
            json!({ "mesh": "default", "code": 200, "text": "100% \"GET\"" }),
        ),
        ("plain", plain(false), json!("default|-|")),
        ("omitting plain", plain(true), json!("default||")),
    ] {
        let client = Client::start_with(&destination, &outgoing(&file(&folder, name, format)));
        client.ask_http().unwrap();
        let line = first_line(&folder, name);
        let found = if name.ends_with("json") {
            serde_json::from_str(&line).unwrap()
        } else {
            Value::String(line)
        };
        assert_eq!(found, expected, "{name}");
    }
}

#[test]
fn records_reach_a_collector() {
    let collector = TcpListener::bind("127.0.0.1:0").unwrap();
    let backend_conf = json!({ "type": "OpenTelemetry", "openTelemetry": {
        "endpoint": collector.local_addr().unwrap().to_string(),
        "attributes": [{ "key": "direction", "value": "is %KUMA_TRAFFIC_DIRECTION%" }],
        "body": { "kvlistValue": { "values": [{ "key": "who", "value": { "stringValue": "by %KUMA_SOURCE_SERVICE%" } }] } },
    } });
    let app = App::http("app");
    let server = Backend::start(app.port(), Protocol::Http, |_| {});
    let destination = backend(Protocol::Http, vec![own_zone(vec![ready(server.port())])]);
    let client = Client::start_with(&destination, &outgoing(&backend_conf));
    client.ask_http().unwrap();
    let (mut stream, _) = collector.accept().unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // Frames of HTTP/2, in which messages stand as they are.
    read_until(&mut stream, &["PRI * HTTP/2.0", "is OUTBOUND", "by web"]);
}

#[test]
fn lines_for_tcp_reach_the_agent() {
    let app = App::line("app");
    let server = Backend::start(app.port(), Protocol::Tcp, |_| {});
    let destination = backend(Protocol::Tcp, vec![own_zone(vec![ready(server.port())])]);
    let format = json!({ "type": "Json", "json": [{ "key": "to", "value": "to %KUMA_DESTINATION_SERVICE%" }] });
    let backend_conf = json!({ "type": "Tcp", "tcp": { "address": "logs.example:514", "format": format } });
    let client = Client::start_with(&destination, &outgoing(&backend_conf));
    let agent = UnixListener::bind(static_config::log_socket(client.envoy.folder())).unwrap();
    assert_eq!(client.ask_line().as_deref(), Some("app"));
    let (mut stream, _) = agent.accept().unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    read_until(
        &mut stream,
        &["logs.example:514", "to kri_mzsvc_default___backend_main"],
    );
}

#[test]
fn traffic_flows_while_nobody_takes_logs() {
    let app = App::http("app");
    let server = Backend::start(app.port(), Protocol::Http, |_| {});
    let destination = backend(Protocol::Http, vec![own_zone(vec![ready(server.port())])]);
    for nowhere in [
        json!({ "type": "Tcp", "tcp": { "address": "127.0.0.1:1" } }),
        json!({ "type": "OpenTelemetry", "openTelemetry": { "endpoint": "127.0.0.1:1" } }),
    ] {
        let client = Client::start_with(&destination, &outgoing(&nowhere));
        for _ in 0..10 {
            assert_eq!(client.ask_http().as_deref(), Ok("app"));
        }
    }
}

/// Every operator that is accepted is one that Envoy takes, of requests and of connections.
#[test]
fn envoy_takes_every_operator() {
    let mut formats: Vec<_> = PLAIN_OPERATORS.iter().map(|name| format!("%{name}%")).collect();
    let with_parameters = [
        "REQ(X-A?:PATH):8",
        "REQUEST_HEADER(a)",
        "RESP(a)",
        "RESPONSE_HEADER(a)",
        "TRAILER(a)",
        "RESPONSE_TRAILER(a)",
        "START_TIME(%Y/%m %3f)",
        "START_TIME",
        "START_TIME_LOCAL(%E9S)",
        "EMIT_TIME",
        "EMIT_TIME_LOCAL",
        "DOWNSTREAM_PEER_CERT_V_START(%s)",
        "DOWNSTREAM_PEER_CERT_V_END",
        "UPSTREAM_PEER_CERT_V_START",
        "UPSTREAM_PEER_CERT_V_END",
        "DYNAMIC_METADATA(a:b):4",
        "ENVIRONMENT(HOME):4",
        "QUERY_PARAM(a):4",
        "CLUSTER_METADATA(a:b)",
        "UPSTREAM_METADATA(a)",
        "METADATA(ROUTE:a):4",
        "METADATA(VIRTUAL_HOST:a)",
        "METADATA(LISTENER_FILTER_CHAIN:a)",
        "FILTER_STATE(a:FIELD:b):4",
        "UPSTREAM_FILTER_STATE(a:PLAIN)",
        "COMMON_DURATION(DS_RX_BEG:DS_TX_END:ms)",
        "GRPC_STATUS(NUMBER)",
        "GRPC_STATUS",
        "REQUESTED_SERVER_NAME(SNI_FIRST)",
        "RESPONSE_CODE_DETAILS(ALLOW_WHITESPACES)",
        "PATH(NQ:ORIG):4",
        "QUERY_PARAMS(DECODED):4",
        "UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT(24)",
        "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT",
        "KUMA_SOURCE_ADDRESS",
        "KUMA_SOURCE_ADDRESS_WITHOUT_PORT",
    ];
    formats.extend(with_parameters.map(|operator| format!("%{operator}%")));
    let format = json!({ "type": "Plain", "plain": formats.join(" 100%% ") });
    let object: Vec<_> = formats
        .iter()
        .enumerate()
        .map(|(n, one)| json!({ "key": n.to_string(), "value": one }))
        .collect();
    for format in [format.clone(), json!({ "type": "Json", "json": &object[..120] })] {
        let backends = [
            json!({ "type": "File", "file": { "path": "/dev/null", "format": format } }),
            json!({ "type": "Tcp", "tcp": { "address": "logs:514", "format": format } }),
            json!({ "type": "OpenTelemetry", "openTelemetry": {
                "endpoint": "collector",
                "attributes": &object[..120],
                "body": formats.join(" "),
            } }),
        ];
        for backend in backends {
            for protocol in [Protocol::Http, Protocol::Tcp] {
                let mut proxy = sidecar("backend-1", vec![inbound("backend", "main", 80, 81, protocol)]);
                incoming(&mut proxy, &backend);
                let resources = meshspan_envoy::sidecar(&proxy, &OPTIONS);
                validate::resources(&resources).unwrap_or_else(|error| panic!("{protocol:?} {backend}: {error}"));
            }
        }
    }
}

#[test]
fn interception_logs_what_leaves_the_mesh() {
    let mut proxy = intercepted(
        sidecar("web-1", Vec::new()),
        meshspan_model::kinds::dataplane::IpFamilyMode::IPv4,
    );
    let backends = json!([
        { "type": "File", "file": { "path": "/dev/null" } },
        { "type": "OpenTelemetry", "openTelemetry": { "endpoint": "collector" } },
    ]);
    proxy.passthrough_confs = [(KIND, json!({ "backends": backends }))].into_iter().collect();
    let resources = meshspan_envoy::sidecar(&proxy, &OPTIONS);
    validate::resources(&resources).unwrap();
    let mentions = |name: &str, text: &str| {
        let found = resources.iter().find(|one| &*one.name == name).unwrap();
        String::from_utf8_lossy(&found.body).contains(text)
    };
    assert!(mentions(
        "self_transparentproxy_passthrough_outbound_ipv4",
        "(pass_through)"
    ));
    assert!(!mentions(
        "self_transparentproxy_passthrough_inbound_ipv4",
        "access_loggers"
    ));
    assert!(mentions("meshaccesslog:opentelemetry:own:collector:4317", "collector"));
}

/// Reads until all of these texts have come.
fn read_until(stream: &mut impl Read, texts: &[&str]) {
    let mut all = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let count = stream.read(&mut buffer).unwrap();
        all.extend_from_slice(&buffer[..count]);
        let text = String::from_utf8_lossy(&all);
        if texts.iter().all(|wanted| text.contains(wanted)) {
            return;
        }
        assert!(count > 0, "closed after {text:?}, without {texts:?}");
    }
}
