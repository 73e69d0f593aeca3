//! `POST /bootstrap`: what an Envoy starts with (`spec/dataplane.md` §1.1).

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{ConnectInfo, DefaultBodyLimit, State};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::{HeaderMap, StatusCode, Uri, header};
use meshspan_envoy::bootstrap::{ProxyType, injects_credentials};
use meshspan_envoy::{BootstrapParams, ControlPlaneAddresses, Credential};
use meshspan_log_limit::shown;
use meshspan_model::Kind;
use meshspan_model::kinds::dataplane::Dataplane;
use meshspan_model::kinds::zone_egress::ZoneEgress;
use meshspan_model::kinds::zone_ingress::ZoneIngress;
use meshspan_world::view::Source;
use serde::Deserialize;
use serde_json::{Value, json};

use super::ads::{MAX_ID, peer_key};
use super::{DataPlane, auth, registration};
use crate::proxy_key::ProxyKey;
use meshspan_model::ProxyKind;

/// Largest request, in bytes.
const MAX_BODY: usize = 1 << 20;

/// What an agent asks with. Fields that this control plane has no use for are ignored.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Request {
    mesh: String,
    name: String,
    proxy_type: String,
    dataplane_token: String,
    dataplane_resource: String,
    version: Value,
    ca_cert: String,
    dynamic_metadata: BTreeMap<String, String>,
    readiness_port: u32,
    features: Vec<String>,
    workdir: String,
    ipv6_enabled: Option<bool>,
    /// File with the CAs that the host's system trusts.
    system_ca_path: String,
    socket_mark: u32,
    /// `ipv4` or `ipv6` if the control plane's name has such addresses alone for the agent. Not in Kuma, whose control plane looks its own
    /// name up, which another host may resolve differently.
    control_plane_addresses: String,
    token_secret: Option<TokenSecret>,
}

/// Where the agent keeps the proxy's token as an Envoy secret. Not in Kuma.
#[derive(Deserialize)]
struct TokenSecret {
    name: String,
    path: String,
}

/// The route.
pub(super) fn router(plane: Arc<DataPlane>) -> Router {
    Router::new()
        .route("/bootstrap", post(handle))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(plane)
}

/// A refusal: status and text for the agent's user.
type Refusal = (StatusCode, String);

async fn handle(
    State(plane): State<Arc<DataPlane>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if let Err(reason) = meshspan_api::check_host(&uri, &headers) {
        return (StatusCode::BAD_REQUEST, reason).into_response();
    }
    let host = meshspan_api::host_of(&uri, &headers).unwrap_or_default();
    match answer(&plane, host, &body) {
        Ok(Answer { bootstrap, address }) => {
            let text = serde_json::to_string_pretty(&bootstrap).unwrap_or_default();
            let wants_json = headers
                .get(header::ACCEPT)
                .and_then(|accept| accept.to_str().ok())
                .is_some_and(|accept| accept.contains("application/json"));
            if !wants_json {
                return ([(header::CONTENT_TYPE, "text/x-yaml")], text).into_response();
            }
            let answer = json!({
                "bootstrap": BASE64_STANDARD.encode(text),
                "kumaSidecarConfiguration": { "networking": { "address": address }, "metrics": { "aggregate": [] } },
            });
            axum::Json(answer).into_response()
        }
        Err((status, text)) => {
            if let Some(suppressed) = plane.log_limit.allows(&peer_key(Some(peer))) {
                tracing::warn!(%status, %peer, reason = shown(&text), suppressed, "no bootstrap for a proxy");
            }
            (status, text).into_response()
        }
    }
}

/// What a proxy starts with.
struct Answer {
    bootstrap: Value,
    /// `networking.address` of its resource.
    address: String,
}

fn answer(plane: &DataPlane, host: &str, body: &[u8]) -> Result<Answer, Refusal> {
    let request: Request =
        serde_json::from_slice(body).map_err(|error| (StatusCode::BAD_REQUEST, format!("invalid request: {error}")))?;
    let invalid = |text: String| (StatusCode::UNPROCESSABLE_ENTITY, text);
    let id = ProxyKey::of_type(&request.proxy_type, &request.mesh, &request.name)
        .map_err(|reason| invalid(format!("proxyType: {reason}")))?;
    if id.name.is_empty() {
        return Err(invalid("name: must be defined".to_owned()));
    }
    if id.mesh.len() + id.name.len() > MAX_ID {
        return Err(invalid(format!(
            "name: mesh and name have {} bytes together, at most {MAX_ID} are allowed",
            id.mesh.len() + id.name.len()
        )));
    }
    let token = request.dataplane_token.trim();
    if token.is_empty() && auth::required(plane, id.kind) {
        auth::check(plane, &id, None, None).map_err(|status| invalid(status.message().to_owned()))?;
    }
    if id.kind.resource().is_mesh_scoped()
        && plane
            .store
            .get(&meshspan_model::ResourceKey::new(Kind::Mesh, "", id.mesh.as_str()))
            .is_none()
    {
        return Err(invalid(format!(
            "mesh: \"{}\" does not exist: create it on the global control plane",
            id.mesh
        )));
    }
    let resource = if request.dataplane_resource.is_empty() {
        let stored = plane
            .store
            .get(&id.resource())
            .ok_or((StatusCode::NOT_FOUND, String::new()))?;
        (*stored.resource).clone()
    } else {
        let mut resource = registration::read(&id, &request.dataplane_resource)
            .map_err(|text| invalid(format!("dataplaneResource: {text}")))?;
        let snapshot = plane.store.snapshot();
        let existing = snapshot.get(&id.resource()).map(|stored| &*stored.resource);
        registration::complete(plane, id.kind, &mut resource, existing, &snapshot)
            .map_err(|text| invalid(format!("dataplaneResource: {text}")))?;
        resource
    };
    let (proxy_type, service, source, admin_port, address) = match id.kind {
        ProxyKind::Sidecar => {
            let dataplane: Dataplane = resource.parse().map_err(|violations| invalid(violations.to_string()))?;
            auth::check(plane, &id, Some(token), Some(&dataplane))
                .map_err(|status| invalid(status.message().to_owned()))?;
            let service = dataplane
                .tags()
                .remove(meshspan_model::labels::TAG_SERVICE)
                .and_then(|values| values.into_iter().next());
            (
                ProxyType::Dataplane,
                service.unwrap_or_default(),
                Some(Source::of(&dataplane, &resource)),
                dataplane.admin_port(),
                dataplane.networking.address,
            )
        }
        ProxyKind::ZoneIngress => {
            let ingress: ZoneIngress = resource.parse().map_err(|violations| invalid(violations.to_string()))?;
            auth::check(plane, &id, Some(token), None).map_err(|status| invalid(status.message().to_owned()))?;
            (
                ProxyType::Ingress,
                String::new(),
                None,
                ingress.admin_port(),
                ingress.networking.address,
            )
        }
        ProxyKind::ZoneEgress => {
            let egress: ZoneEgress = resource.parse().map_err(|violations| invalid(violations.to_string()))?;
            auth::check(plane, &id, Some(token), None).map_err(|status| invalid(status.message().to_owned()))?;
            (
                ProxyType::Egress,
                String::new(),
                None,
                egress.admin_port(),
                egress.networking.address,
            )
        }
    };
    let (xds_host, xds_port) = split_host(host, plane.settings.dp_server.port);
    check_host(plane, &xds_host)?;
    let credential = credential(token, request.token_secret, &request.version).map_err(invalid)?;
    let params = BootstrapParams {
        proxy_type,
        mesh: id.mesh,
        name: id.name,
        service,
        source,
        zone: plane.zone().to_owned(),
        admin_port,
        resource: request.dataplane_resource,
        version: request.version,
        features: request.features,
        dynamic_metadata: request.dynamic_metadata,
        workdir: request.workdir,
        readiness_port: request.readiness_port,
        ipv6: request.ipv6_enabled.unwrap_or(true),
        system_ca_path: request.system_ca_path,
        socket_mark: request.socket_mark,
        xds_host,
        xds_addresses: match request.control_plane_addresses.as_str() {
            "ipv4" => ControlPlaneAddresses::Ipv4,
            "ipv6" => ControlPlaneAddresses::Ipv6,
            _ => ControlPlaneAddresses::Any,
        },
        xds_port,
        ca_pem: if request.ca_cert.is_empty() {
            plane.ca_pem.clone()
        } else {
            request.ca_cert
        },
        credential,
    };
    Ok(Answer {
        bootstrap: meshspan_envoy::bootstrap(&params),
        address,
    })
}

/// How the proxy's Envoy will show its token.
fn credential(token: &str, secret: Option<TokenSecret>, version: &Value) -> Result<Credential, String> {
    let envoy = version.pointer("/envoy/version").and_then(Value::as_str);
    match secret {
        _ if token.is_empty() => Ok(Credential::None),
        _ if !injects_credentials(envoy.unwrap_or_default()) => Ok(Credential::Metadata(token.to_owned())),
        None => Ok(Credential::Token(token.to_owned())),
        Some(TokenSecret { name, path }) if !name.is_empty() && path.starts_with('/') => {
            Ok(Credential::File { name, path })
        }
        Some(TokenSecret { path, .. }) => Err(format!(
            "tokenSecret: must have a name and an absolute path, path is \"{path}\""
        )),
    }
}

fn split_host(host: &str, default_port: u16) -> (String, u16) {
    let authority = host.parse::<http::uri::Authority>();
    match authority {
        Ok(authority) => (
            authority.host().trim_matches(['[', ']']).to_owned(),
            authority.port_u16().unwrap_or(default_port),
        ),
        Err(_) => (host.to_owned(), default_port),
    }
}

/// Envoy will verify the control plane by the name that the agent used, so a wrong one is said now, not by a silent
/// handshake failure later.
fn check_host(plane: &DataPlane, host: &str) -> Result<(), Refusal> {
    let bad = |reason: String| (StatusCode::BAD_REQUEST, reason);
    let name = rustls_pki_types::ServerName::try_from(host.to_owned())
        .map_err(|_| bad(format!("Host: \"{host}\" is not a host name or address")))?;
    let certificate = rustls::server::ParsedCertificate::try_from(&plane.certificate)
        .map_err(|error| bad(format!("server certificate: {error}")))?;
    rustls::client::verify_server_name(&certificate, &name).map_err(|_| {
        bad(format!(
            "the control plane is called {host} by the proxy, but that name is not in its certificate: add it to KUMA_GENERAL_TLS_NAMES and remove the old certificate files, or use another --cp-address"
        ))
    })
}
