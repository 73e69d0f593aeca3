//! Control planes as the tests start and stop them.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use meshspan_model::kinds::zone_insight::{CpVersion, ZoneInsight};
use meshspan_model::{Kind, Resource, ResourceKey};
use meshspan_store::{MemoryStore, Snapshot, Store, Stored, Write};
use meshspan_sync::About;
use meshspan_sync::global::{GlobalOptions, GlobalSync};
use meshspan_sync::zone::{ConnectionState, ZoneOptions, ZoneSync, ZoneToken};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// How long a test waits before it says what did not happen.
const PATIENCE: Duration = Duration::from_secs(20);

pub fn about(instance: &str) -> About {
    About {
        instance_id: instance.to_owned(),
        version: CpVersion {
            version: "2.9.13".to_owned(),
            ..CpVersion::default()
        },
        config: r#"{"store":{"type":"memory"}}"#.to_owned(),
    }
}

/// What a zone shows to prove who it is.
pub fn token_of(zone: &str) -> String {
    format!("token-of-{zone}")
}

/// A control plane's store, with ways to change it and to wait.
#[derive(Clone)]
pub struct Resources(pub Arc<MemoryStore>);

impl Resources {
    pub fn new() -> Self {
        Self(Arc::new(MemoryStore::new()))
    }

    pub async fn put(&self, resource: Resource) {
        self.write(Write::upsert(resource)).await;
    }

    pub async fn write(&self, write: Write) {
        self.0.apply(vec![write]).await.unwrap();
    }

    pub fn find(&self, kind: Kind, display_name: &str) -> Option<Arc<Stored>> {
        self.0
            .list(kind, None)
            .into_iter()
            .find(|stored| stored.resource.display_name() == display_name)
    }

    /// Core names of all resources of a kind.
    pub fn names(&self, kind: Kind) -> Vec<String> {
        self.0
            .list(kind, None)
            .iter()
            .map(|stored| stored.resource.name.clone())
            .collect()
    }

    /// Waits until the store is so.
    pub async fn eventually(&self, what: &str, is_so: impl Fn(&Snapshot) -> bool) {
        let mut subscription = self.0.subscribe();
        let reached = tokio::time::timeout(PATIENCE, async {
            while !is_so(subscription.snapshot()) {
                subscription.next().await.expect("the store lives");
            }
        });
        if reached.await.is_err() {
            let names: Vec<String> = subscription
                .snapshot()
                .iter()
                .map(|stored| format!("{} {:?}", stored.resource.key(), stored.resource.labels))
                .collect();
            panic!("{what} did not happen; there are {names:#?}");
        }
    }

    /// Waits for a resource with this display name, and gives it.
    pub async fn arrival(&self, kind: Kind, display_name: &str) -> Arc<Stored> {
        let found = |snapshot: &Snapshot| {
            snapshot
                .list(kind, None)
                .any(|stored| stored.resource.display_name() == display_name)
        };
        self.eventually(&format!("arrival of {kind} {display_name}"), found)
            .await;
        self.find(kind, display_name).unwrap()
    }

    pub async fn departure(&self, kind: Kind, display_name: &str) {
        let gone = |snapshot: &Snapshot| {
            !snapshot
                .list(kind, None)
                .any(|stored| stored.resource.display_name() == display_name)
        };
        self.eventually(&format!("departure of {kind} {display_name}"), gone)
            .await;
    }

    pub fn insight(&self, zone: &str) -> ZoneInsight {
        self.0
            .get(&ResourceKey::new(Kind::ZoneInsight, "", zone))
            .map(|stored| stored.resource.parse().unwrap())
            .unwrap_or_default()
    }

    pub async fn online(&self, zone: &str, expected: bool) {
        let key = ResourceKey::new(Kind::ZoneInsight, "", zone);
        let is_so = |snapshot: &Snapshot| {
            let insight = snapshot
                .get(&key)
                .map(|stored| stored.resource.parse::<ZoneInsight>().unwrap());
            insight.is_some_and(|insight| insight.is_online()) == expected
        };
        self.eventually(&format!("zone {zone} online: {expected}"), is_so).await;
    }
}

pub struct Global {
    pub resources: Resources,
    pub address: SocketAddr,
    pub sync: GlobalSync,
    cancel: CancellationToken,
    serving: JoinHandle<()>,
}

impl Global {
    pub async fn start(resources: &Resources) -> Self {
        Self::start_at(resources, "127.0.0.1:0".parse().unwrap(), |_| {}, None).await
    }

    pub async fn start_at(
        resources: &Resources,
        address: SocketAddr,
        change: impl FnOnce(&mut GlobalOptions),
        tls: Option<Arc<rustls::ServerConfig>>,
    ) -> Self {
        let public_key_of = Arc::new(|key: &[u8]| {
            if key == b"private" {
                Ok(b"public".to_vec())
            } else {
                Err("no key".to_owned())
            }
        });
        let mut options = GlobalOptions::new(about("global-1"), public_key_of);
        options.check_token = Some(Arc::new(|zone, token| match token == token_of(zone) {
            true => Ok(None),
            false => Err("wrong zone".to_owned()),
        }));
        change(&mut options);
        // As every global has; what zones send lies in it.
        if resources.find(Kind::Mesh, "default").is_none() {
            resources
                .put(Resource::new(Kind::Mesh, "", "default", serde_json::json!({})))
                .await;
        }
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let cancel = CancellationToken::new();
        let store: Arc<dyn Store> = resources.0.clone();
        let sync = GlobalSync::start(store, options, cancel.clone()).await.unwrap();
        let server = sync.clone();
        let serving = tokio::spawn(async move { server.serve(listener, tls).await.unwrap() });
        Self {
            resources: resources.clone(),
            address,
            sync,
            cancel,
            serving,
        }
    }

    pub async fn stop(self) {
        self.cancel.cancel();
        self.serving.await.unwrap();
    }
}

pub struct Zone {
    pub resources: Resources,
    pub state: watch::Receiver<ConnectionState>,
    cancel: CancellationToken,
    running: JoinHandle<()>,
}

impl Zone {
    pub fn start(name: &str, resources: &Resources, global: SocketAddr) -> Self {
        Self::start_with(name, resources, &format!("grpc://{global}"), |_| {})
    }

    pub fn start_with(name: &str, resources: &Resources, global: &str, change: impl FnOnce(&mut ZoneOptions)) -> Self {
        let mut options = ZoneOptions::new(name, about(&format!("{name}-cp")), global, Arc::new(|_| Ok(())));
        options.longest_pause = Duration::from_millis(500);
        options.token = Some(ZoneToken::Inline(token_of(name)));
        change(&mut options);
        let sync = ZoneSync::new(options, resources.0.clone()).unwrap();
        let state = sync.state();
        let cancel = CancellationToken::new();
        let token = cancel.clone();
        let running = tokio::spawn(async move { sync.run(token).await });
        Self {
            resources: resources.clone(),
            state,
            cancel,
            running,
        }
    }

    pub async fn connected(&mut self) {
        self.reaches("connected", |state| state.connected).await;
    }

    pub async fn disconnected(&mut self) {
        self.reaches("disconnected", |state| !state.connected).await;
    }

    /// Waits for an error with these words; only for errors that stay or come again.
    pub async fn fails_with(&mut self, words: &str) {
        self.reaches(words, |state| {
            state.last_error.as_ref().is_some_and(|error| error.contains(words))
        })
        .await;
    }

    async fn reaches(&mut self, what: &str, is_so: impl Fn(&ConnectionState) -> bool) {
        let waiting = tokio::time::timeout(PATIENCE, self.state.wait_for(|state| is_so(state)));
        let reached = waiting.await.map(|state| state.is_ok());
        assert_eq!(reached.ok(), Some(true), "{what}: {:?}", self.state.borrow());
    }

    pub async fn stop(self) {
        self.cancel.cancel();
        self.running.await.unwrap();
    }
}

/// A self-signed certificate for 127.0.0.1 and its server settings; the certificate is also written to a file.
pub fn tls(file: &Path) -> Arc<rustls::ServerConfig> {
    let certified = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    std::fs::write(file, certified.cert.pem()).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(certified.signing_key.serialize_der()).unwrap();
    let mut config =
        rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certified.cert.der().clone()], key)
            .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    Arc::new(config)
}
