//! A control plane in this process.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, StatusCode};
use hyper_util::rt::TokioIo;
use meshspan_model::duration::GoDuration;
use meshspan_model::kinds::Spec;
use meshspan_model::kinds::dataplane_insight::{DataplaneInsight, DiscoverySubscription};
use meshspan_model::{Kind, Resource, ResourceKey};
use meshspan_server::Addresses;
use meshspan_server::Components;
use meshspan_server::settings::{Mode, ProxyAuth, Settings};
use meshspan_store::{MemoryStore, Snapshot, SqliteOptions, SqliteStore, Store, Stored, Write};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::transport::{Channel, Endpoint};

use super::{PATIENCE, Proxy, documents, http::send};

/// The zone of the control plane.
pub const ZONE: &str = "east";

/// Running until it is stopped or dropped.
pub struct ControlPlane {
    pub store: Arc<dyn Store>,
    pub addresses: Addresses,
    pub folder: Arc<TempDir>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// Settings of a zone on its own that takes free ports, asks proxies for no token and keeps its files in `folder`.
pub fn settings(folder: &Path) -> Settings {
    let mut settings = Settings {
        mode: Mode::Zone,
        ..Settings::default()
    };
    settings.api_server.http.port = 0;
    settings.api_server.http.interface = "127.0.0.1".into();
    settings.api_server.https.enabled = false;
    settings.api_server.authn.tokens.bootstrap_admin_token = false;
    settings.dp_server.port = 0;
    settings.dp_server.authn.dp_proxy.auth_type = ProxyAuth::None;
    settings.dp_server.authn.zone_proxy.auth_type = ProxyAuth::None;
    settings.diagnostics.server_port = 0;
    settings.multizone.zone.name = ZONE.into();
    settings.general.work_dir = folder.to_str().unwrap().into();
    settings
}

/// Installs the one crypto provider; every test calls it before it uses TLS.
pub fn crypto() {
    // Only the first test of the process does; the others find it done.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}

impl ControlPlane {
    /// With an empty store in memory.
    pub async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    /// With changed settings.
    pub async fn start_with(change: impl FnOnce(&mut Settings)) -> Self {
        let folder = Arc::new(TempDir::new().unwrap());
        Self::start_on(Arc::new(MemoryStore::new()), folder, change).await
    }

    /// On a store that may hold something already.
    pub async fn start_on(store: Arc<dyn Store>, folder: Arc<TempDir>, change: impl FnOnce(&mut Settings)) -> Self {
        crypto();
        let mut settings = settings(folder.path());
        change(&mut settings);
        let components = Components::new();
        let (stop, tasks) = (components.stop().clone(), components.tasks().clone());
        let addresses = meshspan_server::start(settings, store.clone(), &components)
            .await
            .unwrap();
        Self {
            store,
            addresses,
            folder,
            stop,
            tasks,
        }
    }

    /// With a database in `folder`.
    pub async fn start_on_file(folder: Arc<TempDir>) -> (Self, Arc<SqliteStore>) {
        let store = SqliteStore::open(SqliteOptions::new(folder.path().join("test.db")))
            .await
            .unwrap();
        let store = Arc::new(store);
        (Self::start_on(store.clone(), folder, |_| {}).await, store)
    }

    /// Stops it as a signal would, and waits for the end.
    pub async fn stop(self) {
        self.stop.cancel();
        self.tasks.close();
        tokio::time::timeout(PATIENCE, self.tasks.wait())
            .await
            .expect("every task ends when the control plane stops");
    }

    pub fn ca_pem(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("ca.pem")).unwrap()
    }

    fn port(&self) -> u16 {
        self.addresses.data_plane.unwrap().port()
    }

    /// TLS to the data plane server, speaking `protocol` (`h2`, `http/1.1`).
    pub async fn connect(&self, protocol: &str) -> TlsStream<TcpStream> {
        connect(self.port(), &self.ca_pem(), protocol).await.unwrap()
    }

    /// A connection for gRPC; each call makes another one.
    pub async fn channel(&self) -> Channel {
        let (port, ca) = (self.port(), self.ca_pem());
        let connector = tower::service_fn(move |_| {
            let ca = ca.clone();
            async move { connect(port, &ca, "h2").await.map(TokioIo::new) }
        });
        Endpoint::from_static("http://localhost")
            .connect_with_connector(connector)
            .await
            .unwrap()
    }

    /// Asks the REST API as a caller from this host.
    pub async fn rest(&self, method: Method, path: &str, body: Option<&Value>) -> (StatusCode, String) {
        let stream = TcpStream::connect(self.addresses.api.unwrap()).await.unwrap();
        let body = body.map(Value::to_string).unwrap_or_default();
        let request = http::Request::builder()
            .method(method)
            .uri(path)
            .header("host", "localhost")
            .header("content-type", "application/json")
            .body(body)
            .unwrap();
        let (parts, body) = send(stream, request).await;
        (parts.status, body)
    }

    /// Creates or replaces a resource through the REST API, as `apply` does.
    pub async fn apply(&self, document: &Value) {
        let resource = meshspan_model::document::read(document).unwrap().resource;
        let info = resource.kind.info();
        let path = match resource.mesh.as_str() {
            "" => format!("/{}/{}", info.path, resource.name),
            mesh => format!("/meshes/{mesh}/{}/{}", info.path, resource.name),
        };
        let (status, body) = self.rest(Method::PUT, &path, Some(document)).await;
        assert!(status.is_success(), "{path}: {status} {body}");
    }

    /// Writes to the store, as zone synchronisation does.
    pub async fn put(&self, resource: Resource) {
        let owner = (!resource.mesh.is_empty()).then(|| ResourceKey::new(Kind::Mesh, "", resource.mesh.as_str()));
        self.store.apply(vec![Write::Upsert { resource, owner }]).await.unwrap();
    }

    pub async fn delete(&self, kind: Kind, mesh: &str, name: &str) {
        let key = ResourceKey::new(kind, mesh, name);
        self.store.apply(vec![Write::delete(key)]).await.unwrap();
    }

    pub fn find(&self, kind: Kind, mesh: &str, name: &str) -> Option<Arc<Stored>> {
        self.store.get(&ResourceKey::new(kind, mesh, name))
    }

    /// The payload of a resource that must be there.
    pub fn spec<T: Spec>(&self, mesh: &str, name: &str) -> T {
        let stored = self.find(T::KIND, mesh, name);
        let stored = stored.unwrap_or_else(|| panic!("no {} {mesh}/{name}", T::KIND));
        stored.resource.parse().unwrap()
    }

    /// Waits until the store shows what is expected.
    pub async fn until<T>(&self, what: &str, look: impl Fn(&Snapshot) -> Option<T>) -> T {
        let mut changes = self.store.subscribe();
        let wait = async {
            loop {
                if let Some(found) = look(changes.snapshot()) {
                    return found;
                }
                changes.next().await.expect("the store lives");
            }
        };
        match tokio::time::timeout(PATIENCE, wait).await {
            Ok(found) => found,
            Err(_) => panic!("never seen: {what}"),
        }
    }

    /// Waits until a resource is gone.
    pub async fn gone(&self, kind: Kind, mesh: &str, name: &str) {
        let key = ResourceKey::new(kind, mesh, name);
        self.until(&format!("{key} gone"), |snapshot| {
            snapshot.get(&key).is_none().then_some(())
        })
        .await;
    }

    /// Waits until a payload fulfils a condition.
    pub async fn until_spec<T: Spec>(&self, what: &str, mesh: &str, name: &str, holds: impl Fn(&T) -> bool) -> T {
        let key = ResourceKey::new(T::KIND, mesh, name);
        self.until(what, |snapshot| {
            let spec = snapshot.get(&key)?.resource.parse::<T>().ok()?;
            holds(&spec).then_some(spec)
        })
        .await
    }

    /// Waits until the newest connection in a proxy's insight fulfils a condition.
    pub async fn until_insight(
        &self,
        mesh: &str,
        name: &str,
        holds: impl Fn(&DiscoverySubscription) -> bool,
    ) -> DataplaneInsight {
        self.until_spec("the insight", mesh, name, |insight: &DataplaneInsight| {
            insight.subscriptions.last().is_some_and(&holds)
        })
        .await
    }

    /// Creates a service that nothing matches and waits until each of these proxies of `mesh` has it. Streams keep
    /// their order, so that whatever was to be sent before has been sent then.
    pub async fn marker(&self, mesh: &str, proxies: &mut [&mut Proxy]) {
        let name = format!("marker-{}", uuid::Uuid::new_v4().simple());
        self.put(documents::multi_zone_service(mesh, &name, "none", 80)).await;
        let cluster = documents::multi_zone_cluster(mesh, &name, 80);
        for proxy in proxies {
            proxy.until("the marker", |proxy| proxy.has_all_of(&cluster)).await;
        }
    }

    /// Lets everything come to rest: what is stored as a consequence of a marker's round is seen by the next one.
    pub async fn settle(&self, mesh: &str, proxies: &mut [&mut Proxy]) {
        for _ in 0..4 {
            self.marker(mesh, proxies).await;
        }
        for proxy in proxies {
            proxy.sent.clear();
        }
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn connect(port: u16, ca_pem: &str, protocol: &str) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(ca_pem.as_bytes()).unwrap())
        .unwrap();
    let mut config = rustls::ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
    let stream = TcpStream::connect(("127.0.0.1", port)).await?;
    tokio_rustls::TlsConnector::from(Arc::new(config))
        .connect(ServerName::try_from("localhost").unwrap(), stream)
        .await
}

/// A setting in milliseconds.
pub fn millis(millis: u64) -> GoDuration {
    GoDuration(Duration::from_millis(millis))
}
