//! The client commands against the API of a real control plane, over a socket.

use std::net::SocketAddr;
use std::sync::Arc;

use meshspan_api::default_resources::ensure_defaults;
use meshspan_api::{ApiState, Mode, Settings, router};
use meshspan_cli::Outcome;
use meshspan_store::{MemoryStore, Store};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::support::{NOW, Ran, run_line};

pub struct RealApi {
    pub url: String,
    _tasks: JoinSet<()>,
}

impl RealApi {
    async fn start() -> Self {
        Self::start_as(Mode::Global).await
    }

    pub async fn start_as(mode: Mode) -> Self {
        let settings = Settings::new(mode);
        let store = Arc::new(MemoryStore::new());
        ensure_defaults(store.as_ref(), &settings, NOW).await.unwrap();
        Self::over(store, settings).await
    }

    /// The API over a store that has its default resources.
    pub async fn over(store: Arc<dyn Store>, settings: Settings) -> Self {
        let state = ApiState {
            store,
            settings: Arc::new(settings),
            clock: Arc::new(|| NOW),
            proxy_configs: None,
            log_limit: Arc::default(),
            write_turns: Arc::default(),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let service = router(state).into_make_service_with_connect_info::<SocketAddr>();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { axum::serve(listener, service).await.unwrap() });
        Self { url, _tasks: tasks }
    }

    pub async fn run(&self, line: &[&str], input: &str) -> Ran {
        let line = [&["--no-config", "--address", &self.url], line].concat();
        run_line(&line, input).await
    }
}

const UNIVERSAL: &str = "
type: MeshMultiZoneService
name: redis
mesh: default
spec:
  selector: {meshService: {matchLabels: {kuma.io/display-name: redis}}}
  ports: [{port: 6379}]
";

const KUBERNETES: &str = "
apiVersion: kuma.io/v1alpha1
kind: MeshMultiZoneService
metadata: {name: redis, namespace: kuma-system, labels: {kuma.io/mesh: default}}
spec:
  selector: {meshService: {matchLabels: {kuma.io/display-name: redis}}}
  ports: [{port: 6379, appProtocol: tcp}]
";

#[tokio::test]
async fn life_of_a_service() {
    let api = RealApi::start().await;
    let apply = ["apply", "-f", "-"];
    let verb = async |text: &str| {
        let out = api.run(&apply, text).await.done();
        out.trim_start_matches("MeshMultiZoneService default/redis ")
            .trim_end()
            .to_owned()
    };
    assert_eq!(verb(UNIVERSAL).await, "created");
    assert_eq!(verb(UNIVERSAL).await, "unchanged");
    assert_eq!(verb(KUBERNETES).await, "unchanged");
    assert_eq!(verb(&UNIVERSAL.replace("6379", "6380")).await, "updated");

    let out = api.run(&["get", "mzsvc"], "").await.done();
    assert!(out.contains("\ndefault   redis   "), "{out}");
    let yaml = api.run(&["get", "mzsvc", "redis", "-o", "yaml"], "").await.done();
    assert!(yaml.contains("port: 6380"), "{yaml}");
    assert_eq!(verb(&yaml).await, "unchanged");

    let out = api.run(&["inspect", "services"], "").await.done();
    assert!(out.contains("redis   -     -           6380/tcp"), "{out}");
    let out = api.run(&["inspect", "meshmultizoneservice", "redis"], "").await.done();
    assert!(out.contains("Selector:    kuma.io/display-name=redis"), "{out}");
    assert!(out.contains("Services: none"), "{out}");

    api.run(&["delete", "mzsvc", "redis"], "").await.done();
    let error = api.run(&["get", "mzsvc", "redis"], "").await.error();
    assert!(
        error.starts_with("there is no MeshMultiZoneService named redis"),
        "{error}"
    );
}

#[tokio::test]
async fn every_list_and_table() {
    let api = RealApi::start().await;
    for kind in meshspan_model::Kind::ALL.iter().filter(|kind| kind.info().in_api) {
        api.run(&["get", kind.info().path], "").await.done();
        api.run(&["get", kind.info().singular, "-A", "-o", "wide"], "")
            .await
            .done();
    }
    for table in [
        "dataplanes",
        "zones",
        "zone-ingresses",
        "zoneegresses",
        "meshes",
        "services",
        "meshservices",
        "meshmultizoneservices",
        "meshexternalservices",
    ] {
        api.run(&["inspect", table], "").await.done();
        api.run(&["inspect", table, "-o", "json"], "").await.done();
    }
    assert!(
        api.run(&["version"], "")
            .await
            .done()
            .contains(", compatible with Kuma ")
    );
}

#[tokio::test]
async fn tokens_and_refusals() {
    let api = RealApi::start().await;
    for line in [
        &["generate", "dataplane-token", "--name", "redis-1", "--valid-for", "24h"][..],
        &["generate", "zone-token", "--zone", "east", "--valid-for", "24h"],
        &["generate", "user-token", "--name", "ann", "--valid-for", "24h"],
    ] {
        let token = api.run(line, "").await.done();
        assert_eq!(token.split('.').count(), 3, "{token}");
    }
    let elsewhere = UNIVERSAL.replace("mesh: default", "mesh: nowhere");
    let ran = api.run(&["apply", "-f", "-"], &elsewhere).await;
    assert!(
        ran.err.starts_with("MeshMultiZoneService nowhere/redis failed: "),
        "{}",
        ran.err
    );
    let error = api.run(&["--token", "nonsense", "get", "meshes"], "").await.error();
    assert!(error.contains("--token"), "{error}");
}

#[tokio::test]
async fn dry_run_finds_what_the_server_would_refuse_and_apply_writes_all_or_nothing() {
    let api = RealApi::start().await;
    let raw_pem = "
type: Mesh
name: shop
mtls:
  enabledBackend: ca
  backends:
  - name: ca
    type: provided
    conf:
      cert: {inline: '-----BEGIN CERTIFICATE-----'}
      key: {inline: '-----BEGIN PRIVATE KEY-----'}
";
    let label = UNIVERSAL.replace(
        "mesh: default",
        "mesh: default\nlabels: {team: a b, kuma.io/display-name: other}",
    );
    let name = UNIVERSAL.replace("name: redis\n", "name: my_redis\n");
    let good = "type: MeshTimeout\nname: t\nmesh: default\nspec: {to: [{targetRef: {kind: Mesh}, default: {idleTimeout: 1s}}]}\n";
    let no_mesh = UNIVERSAL.replace("mesh: default", "mesh: nowhere");
    for (bad, field) in [
        (raw_pem, "mtls.backends[0].conf.cert"),
        (label.as_str(), "labels[\"team\"]"),
        (label.as_str(), "labels[\"kuma.io/display-name\"]"),
        (name.as_str(), "* name: "),
        (no_mesh.as_str(), "Failed to retrieve Mesh"),
    ] {
        let text = format!("{good}---\n{bad}");
        for line in [&["apply", "-f", "-", "--dry-run"][..], &["apply", "-f", "-"]] {
            let ran = api.run(line, &text).await;
            assert_eq!(ran.outcome, Ok(Outcome::SomeFailed), "{bad}");
            assert!(ran.err.contains(field), "{field} is missing in {}", ran.err);
        }
        let found = api.run(&["get", "meshtimeout", "t"], "").await;
        assert!(found.outcome.is_err(), "nothing was written: {}", found.out);
    }
    let with_mesh = format!("{good}---\n{}---\ntype: Mesh\nname: nowhere\n", no_mesh);
    for line in [&["apply", "-f", "-", "--dry-run"][..], &["apply", "-f", "-"]] {
        let ran = api.run(line, &with_mesh).await;
        assert_eq!(ran.outcome, Ok(Outcome::Done), "{}", ran.err);
    }
}
