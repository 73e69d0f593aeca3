//! A control plane's API over a memory store, with a clock that stands still.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::BodyExt;
use meshspan_api::{ApiState, Mode, ProxyConfigs, Settings, router};
use meshspan_model::policy::PolicyKind;
use meshspan_model::{Kind, Resource, ResourceKey};
use meshspan_store::{Clock, MemoryStore, Store, StoreOptions, Write};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::macros::datetime;
use tower::ServiceExt;

pub const NOW: OffsetDateTime = datetime!(2026-03-01 12:00 UTC);

pub fn global() -> Mode {
    Mode::Global
}

pub fn zone() -> Mode {
    Mode::Zone {
        name: "east".to_owned(),
        federated: false,
    }
}

pub fn federated() -> Mode {
    Mode::Zone {
        name: "east".to_owned(),
        federated: true,
    }
}

pub struct Api {
    pub store: Arc<MemoryStore>,
    pub settings: Settings,
    pub router: Router,
}

pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        assert_eq!(self.headers[header::CONTENT_TYPE], "application/json", "{}", self.text);
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    /// Asserts the status, with the body in the message.
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        self
    }

    /// The fields at fault, after asserting that both generations of the error object agree.
    pub fn fields(&self) -> Vec<String> {
        let body = self.json();
        assert_eq!(body["detail"], body["details"]);
        let new = body["invalid_parameters"].as_array().cloned().unwrap_or_default();
        let old = body["causes"].as_array().cloned().unwrap_or_default();
        let pairs = |list: &[Value], message: &str| -> Vec<(Value, Value)> {
            list.iter()
                .map(|entry| (entry["field"].clone(), entry[message].clone()))
                .collect()
        };
        assert_eq!(pairs(&new, "reason"), pairs(&old, "message"));
        new.iter()
            .map(|entry| entry["field"].as_str().unwrap().to_owned())
            .collect()
    }
}

pub fn memory_store() -> Arc<MemoryStore> {
    let clock: Clock = Arc::new(|| NOW);
    Arc::new(MemoryStore::with_options(StoreOptions {
        clock,
        ..StoreOptions::default()
    }))
}

impl Api {
    pub fn new(mode: Mode) -> Self {
        Self::with(Settings::new(mode))
    }

    pub fn with(settings: Settings) -> Self {
        let store = memory_store();
        Self::over(settings, store.clone(), store)
    }

    /// Requests go to `front`, which keeps its resources in `store`.
    pub fn over(settings: Settings, front: Arc<dyn Store>, store: Arc<MemoryStore>) -> Self {
        Self::telling(settings, front, store, None)
    }

    /// As [`Api::over`], with somebody who tells what proxies are sent.
    pub fn telling(
        settings: Settings,
        front: Arc<dyn Store>,
        store: Arc<MemoryStore>,
        proxy_configs: Option<Arc<dyn ProxyConfigs>>,
    ) -> Self {
        let state = ApiState {
            store: front,
            settings: Arc::new(settings.clone()),
            clock: Arc::new(|| NOW),
            proxy_configs,
            log_limit: Arc::default(),
            write_turns: Arc::default(),
        };
        Self {
            store,
            settings,
            router: router(state),
        }
    }

    /// With a mesh that has no secrets, which saves the time for keys.
    pub async fn with_mesh(mode: Mode) -> Self {
        let api = Self::new(mode);
        api.seed(Resource::new(Kind::Mesh, "", "default", json!({}))).await;
        api
    }

    pub async fn seed(&self, resource: Resource) {
        self.store.apply(vec![Write::upsert(resource)]).await.unwrap();
    }

    pub fn stored(&self, kind: Kind, mesh: &str, name: &str) -> Option<Arc<Resource>> {
        self.store
            .get(&ResourceKey::new(kind, mesh, name))
            .map(|stored| stored.resource.clone())
    }

    /// A request as the administrator on the same machine.
    pub fn admin(&self, method: Method, path: &str) -> http::request::Builder {
        Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "localhost:5681")
            .extension(ConnectInfo(SocketAddr::from(([127, 0, 0, 1], 40000))))
    }

    /// A request from another machine, without a token.
    pub fn anonymous(&self, method: Method, path: &str) -> http::request::Builder {
        Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "cp.example:5681")
            .extension(ConnectInfo(SocketAddr::from(([10, 0, 0, 7], 40000))))
    }

    pub async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        Answer {
            status: parts.status,
            headers: parts.headers,
            text: String::from_utf8(bytes.to_vec()).unwrap(),
        }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(self.admin(Method::GET, path).body(Body::empty()).unwrap())
            .await
    }

    pub async fn put(&self, path: &str, body: &Value) -> Answer {
        self.send_json(self.admin(Method::PUT, path), body).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send_json(self.admin(Method::POST, path), body).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.send(self.admin(Method::DELETE, path).body(Body::empty()).unwrap())
            .await
    }

    pub async fn send_json(&self, builder: http::request::Builder, body: &Value) -> Answer {
        let request = builder
            .header(header::CONTENT_TYPE, "application/json")
            .body(Body::from(body.to_string()));
        self.send(request.unwrap()).await
    }
}

/// A valid document of a kind, named `a`; `None` for kinds that users do not write.
pub fn document(kind: Kind) -> Option<Value> {
    let payload = payload(kind)?;
    let mut document = json!({"type": kind.name(), "name": "a"});
    if kind.is_mesh_scoped() {
        document["mesh"] = "default".into();
    }
    match kind.info().shape {
        meshspan_model::Shape::Spec => {
            document["labels"] = json!({});
            document["spec"] = payload;
        }
        meshspan_model::Shape::Flat => {
            for (key, value) in payload.as_object().unwrap() {
                document[key] = value.clone();
            }
        }
    }
    Some(document)
}

fn payload(kind: Kind) -> Option<Value> {
    Some(match kind {
        Kind::Mesh | Kind::Zone => json!({}),
        Kind::Dataplane => json!({"networking": {
            "address": "10.0.0.1",
            "inbound": [{"port": 8080, "tags": {"kuma.io/service": "web"}}],
        }}),
        Kind::ZoneIngress => json!({"networking": {
            "address": "10.0.0.2", "port": 10001, "advertisedAddress": "192.0.2.2", "advertisedPort": 10001,
        }}),
        Kind::ZoneEgress => json!({"networking": {"address": "10.0.0.3", "port": 10002}}),
        Kind::MeshExternalService => json!({
            "match": {"port": 443, "protocol": "http"},
            "endpoints": [{"address": "bank.example.com", "port": 443}],
        }),
        Kind::MeshService => json!({
            "selector": {"dataplaneTags": {"kuma.io/service": "web"}},
            "ports": [{"port": 8080}],
        }),
        Kind::MeshMultiZoneService => json!({
            "selector": {"meshService": {"matchLabels": {"kuma.io/display-name": "web"}}},
            "ports": [{"port": 8080}],
        }),
        Kind::HostnameGenerator => json!({"selector": {"meshService": {}}, "template": "{{ .DisplayName }}.mesh"}),
        Kind::Secret | Kind::GlobalSecret => json!({"data": "c2VjcmV0"}),
        Kind::MeshTrafficPermission => json!({
            "targetRef": {"kind": "Mesh"},
            "from": [{"targetRef": {"kind": "Mesh"}, "default": {"action": "Allow"}}],
        }),
        Kind::MeshHTTPRoute => json!({"to": [{
            "targetRef": {"kind": "MeshService", "name": "web"},
            "rules": [{"matches": [{"path": {"type": "PathPrefix", "value": "/v2"}}], "default": {"backendRefs": [backend()]}}],
        }]}),
        Kind::MeshTCPRoute => json!({"to": [{
            "targetRef": {"kind": "MeshService", "name": "web"},
            "rules": [{"default": {"backendRefs": [backend()]}}],
        }]}),
        Kind::MeshTLS => json!({"rules": [{"default": {"mode": "Strict"}}]}),
        Kind::MeshFaultInjection => {
            json!({"rules": [{"default": {"http": [{"abort": {"httpStatus": 500, "percentage": 50}}]}}]})
        }
        Kind::MeshRateLimit => json!({"rules": [{
            "default": {"local": {"http": {"requestRate": {"num": 5, "interval": "1s"}}}},
        }]}),
        Kind::MeshLoadBalancingStrategy => to_mesh(json!({"loadBalancer": {"type": "Random"}})),
        Kind::MeshAccessLog => to_mesh(json!({"backends": []})),
        Kind::MeshTimeout => to_mesh(json!({"idleTimeout": "20s"})),
        Kind::MeshCircuitBreaker => to_mesh(json!({"connectionLimits": {"maxConnections": 10}})),
        Kind::MeshHealthCheck => to_mesh(json!({"interval": "10s", "tcp": {}})),
        Kind::MeshRetry => to_mesh(json!({"http": {"numRetries": 3}})),
        Kind::MeshPassthrough => json!({"default": {"passthroughMode": "None"}}),
        Kind::MeshTrace => json!({"default": {"backends": []}}),
        Kind::MeshMetric => json!({"default": {"sidecar": {"includeUnused": true}}}),
        Kind::MeshProxyPatch => json!({"default": {"appendModifications": [
            {"cluster": {"operation": "Remove", "match": {"name": "a"}}},
        ]}}),
        Kind::DataplaneInsight
        | Kind::ZoneInsight
        | Kind::ZoneIngressInsight
        | Kind::ZoneEgressInsight
        | Kind::MeshMultiZoneServiceInsight
        | Kind::Config => return None,
    })
}

fn to_mesh(conf: Value) -> Value {
    json!({"to": [{"targetRef": {"kind": "Mesh"}, "default": conf}]})
}

fn backend() -> Value {
    json!({"kind": "MeshService", "name": "web", "port": 8080})
}

/// The answer to a PUT without the warnings of policies, which depend on what else there is.
pub fn ignore_policy_warnings(kind: Kind, mut answer: Value) -> Value {
    if PolicyKind::of(kind).is_some() {
        answer.as_object_mut().unwrap().remove("warnings");
    }
    answer
}

/// The path of the list of a kind, in mesh `default`.
pub fn list_path(kind: Kind) -> String {
    let path = kind.info().path;
    if kind.is_mesh_scoped() {
        format!("/meshes/default/{path}")
    } else {
        format!("/{path}")
    }
}

/// A dataplane with one inbound.
pub fn dataplane(name: &str, service: &str) -> Value {
    json!({
        "type": "Dataplane",
        "mesh": "default",
        "name": name,
        "networking": {
            "address": "10.0.0.1",
            "inbound": [{"port": 8080, "tags": {"kuma.io/service": service}}],
        },
    })
}
