//! Who may be which zone, and for how long.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use http_body_util::StreamBody;
use hyper_util::rt::{TokioExecutor, TokioIo};
use meshspan_model::{Kind, Resource};
use meshspan_store::Snapshot;
use meshspan_sync::global::CheckToken;
use meshspan_sync::zone::ZoneToken;
use serde_json::json;
use time::OffsetDateTime;

use crate::system::{Global, Resources, Zone, token_of};

async fn global(change: impl FnOnce(&mut meshspan_sync::GlobalOptions)) -> Global {
    Global::start_at(&Resources::new(), "127.0.0.1:0".parse().unwrap(), change, None).await
}

fn zone(name: &str, global: &Global, token: Option<ZoneToken>) -> Zone {
    let address = format!("grpc://{}", global.address);
    Zone::start_with(name, &Resources::new(), &address, |options| options.token = token)
}

#[tokio::test]
async fn a_zone_without_a_token_of_its_own_is_told_what_to_do_and_leaves_nothing() {
    let global = global(|_| {}).await;
    let mut without = zone("west", &global, None);
    without
        .fails_with("meshspan generate zone-token --zone west --scope cp")
        .await;
    without.fails_with("KUMA_MULTIZONE_ZONE_KDS_AUTH_CP_TOKEN_PATH").await;
    let mut wrong = zone("west", &global, Some(ZoneToken::Inline(token_of("east"))));
    wrong.fails_with("wrong zone").await;
    assert!(global.resources.find(Kind::Zone, "west").is_none());
    assert!(wrong.resources.find(Kind::Mesh, "default").is_none());
    let mut right = zone(
        "west",
        &global,
        Some(ZoneToken::Inline(format!("Bearer {}", token_of("west")))),
    );
    right.connected().await;
    right.resources.arrival(Kind::Mesh, "default").await;
    global
        .resources
        .eventually("token noted", |snapshot: &Snapshot| {
            let insight = snapshot.list(Kind::ZoneInsight, None).next();
            insight.is_some_and(|insight| insight.resource.spec["subscriptions"][0]["authTokenProvided"] == true)
        })
        .await;
    for zone in [without, wrong, right] {
        zone.stop().await;
    }
    global.stop().await;
}

/// A unary call is read to its end before it is handled, so who calls must be known before.
#[tokio::test]
async fn nothing_of_a_call_without_a_token_is_read() {
    let global = global(|_| {}).await;
    let stream = tokio::net::TcpStream::connect(global.address).await.unwrap();
    let (mut calls, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .unwrap();
    let connection = tokio::spawn(connection);
    for _ in 0..300 {
        let half = futures::stream::iter([Ok::<_, std::io::Error>(hyper::body::Frame::data(Bytes::from(
            vec![0; 5 + 4000],
        )))]);
        let body = StreamBody::new(half.chain(futures::stream::pending()));
        let call = http::Request::post("http://global/kuma.mesh.v1alpha1.GlobalKDSService/HealthCheck")
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header("client-id", "west")
            .body(body)
            .unwrap();
        calls.ready().await.unwrap();
        let answer = calls.send_request(call).await.unwrap();
        assert_eq!(answer.headers()["grpc-status"], "16", "{answer:?}");
    }
    connection.abort();
    global.stop().await;
}

#[tokio::test]
async fn without_tokens_only_zones_that_exist_are_served() {
    let global = global(|options| options.check_token = None).await;
    let secret = Resource::new(Kind::Secret, "default", "ca", json!({"data": "eA=="}));
    global.resources.put(secret).await;
    global
        .resources
        .put(Resource::new(Kind::Zone, "", "east", json!({"enabled": true})))
        .await;
    let mut invented = zone("west", &global, None);
    invented.fails_with("zone \"west\" does not exist").await;
    assert!(invented.resources.find(Kind::Secret, "ca").is_none());
    let east = zone("east", &global, None);
    east.resources.arrival(Kind::Secret, "ca").await;
    assert!(global.resources.find(Kind::Zone, "west").is_none());
    for zone in [invented, east] {
        zone.stop().await;
    }
    global.stop().await;
}

/// Tokens that hold, each with the time of its expiry.
#[derive(Clone, Default)]
struct Holding(Arc<Mutex<BTreeMap<String, Option<OffsetDateTime>>>>);

impl Holding {
    fn set(&self, token: &str, expires: Option<OffsetDateTime>) {
        self.0.lock().unwrap().insert(token.to_owned(), expires);
    }

    fn check(&self) -> CheckToken {
        let holding = self.clone();
        Arc::new(move |_, token| match holding.0.lock().unwrap().get(token) {
            Some(Some(expires)) if *expires <= OffsetDateTime::now_utc() => Err("it is expired".to_owned()),
            Some(expires) => Ok(*expires),
            None => Err("it is revoked".to_owned()),
        })
    }
}

#[tokio::test]
async fn a_token_that_no_longer_holds_ends_the_connection_and_a_renewed_file_brings_it_back() {
    let holding = Holding::default();
    let check = holding.check();
    let global = global(|options| options.check_token = Some(check)).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    let renew = |token: &str, expires| {
        holding.set(token, expires);
        std::fs::write(&file, format!("{token}\n")).unwrap();
    };
    renew("first", Some(OffsetDateTime::now_utc() + Duration::from_secs(2)));
    let mut west = zone("west", &global, Some(ZoneToken::File(file.clone())));
    west.connected().await;
    west.fails_with("it is expired").await;
    renew("second", None);
    west.connected().await;

    // Revoked: the store's feed says that tokens may be worth something else.
    holding.0.lock().unwrap().remove("second");
    let revocations = Resource::new(
        Kind::GlobalSecret,
        "",
        "zone-token-revocations",
        json!({"data": "eA=="}),
    );
    global.resources.put(revocations).await;
    west.fails_with("it is revoked").await;
    west.disconnected().await;
    global.resources.online("west", false).await;
    let says_why = |snapshot: &Snapshot| {
        let insight = snapshot.list(Kind::ZoneInsight, None).next();
        let subscriptions = insight.map(|insight| insight.resource.spec["subscriptions"].to_string());
        let subscriptions = subscriptions.unwrap_or_default();
        subscriptions.contains("disconnectReason") && subscriptions.contains("it is revoked")
    };
    global.resources.eventually("the reason to be shown", says_why).await;
    std::fs::remove_file(&file).unwrap();
    west.fails_with("KUMA_MULTIZONE_ZONE_KDS_AUTH_CP_TOKEN_PATH").await;
    renew("third", None);
    west.connected().await;
    west.stop().await;
    global.stop().await;
}

#[tokio::test]
async fn what_a_zone_sends_wrongly_is_shown_until_it_is_right() {
    let global = global(|options| options.insight_interval = Duration::from_millis(20)).await;
    let mut west = zone("west", &global, Some(ZoneToken::Inline(token_of("west"))));
    west.connected().await;
    let service = |name: &str| Resource::new(Kind::MeshService, "unknown", name, json!({"state": "Available"}));
    west.resources.put(service("lost")).await;
    let shown = |snapshot: &Snapshot| {
        let insight = snapshot.list(Kind::ZoneInsight, None).next();
        let status = insight.map(|insight| insight.resource.spec["subscriptions"].to_string());
        status
            .unwrap_or_default()
            .contains("\\\"unknown\\\" does not exist on the global control plane")
    };
    global.resources.eventually("the refusal to be shown", shown).await;
    // When the mesh is there the resource comes without a change.
    global
        .resources
        .put(Resource::new(Kind::Mesh, "", "unknown", json!({})))
        .await;
    global.resources.arrival(Kind::MeshService, "lost").await;
    west.stop().await;
    global.stop().await;
}
