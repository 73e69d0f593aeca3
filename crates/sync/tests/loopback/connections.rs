//! Connections: restarts, tokens, TLS, duplicate names, insights.

use std::sync::Arc;

use hyper_util::rt::{TokioExecutor, TokioIo};
use meshspan_model::{Kind, Resource, ResourceKey};
use meshspan_store::{Store as _, Write};
use meshspan_sync::global::{AskError, AskedProxy};
use meshspan_sync::zone::{AdminFormat, AdminQuestion, EnvoyAdmin, Trust};
use serde_json::json;
use tokio::net::TcpSocket;

use crate::system::{Global, Resources, Zone, about, tls};

fn service(name: &str) -> Resource {
    Resource::new(
        Kind::MeshService,
        "default",
        name,
        json!({"state": "Available", "ports": [{"port": 1, "appProtocol": "tcp"}]}),
    )
}

#[tokio::test]
async fn the_global_notes_who_is_connected() {
    let global = Global::start(&Resources::new()).await;
    let mut west = Zone::start("west", &Resources::new(), global.address);
    west.connected().await;
    global.resources.online("west", true).await;
    let zone = global.resources.find(Kind::Zone, "west").unwrap();
    assert_eq!(zone.resource.spec, json!({"enabled": true}));
    let insight = global.resources.insight("west");
    let subscription = &insight.subscriptions[0];
    assert_eq!(
        (
            subscription.global_instance_id.as_str(),
            subscription.zone_instance_id.as_str()
        ),
        ("global-1", "west-cp")
    );
    let version = &subscription.version.as_ref().unwrap().kuma_cp;
    assert_eq!(
        (version.version.as_str(), version.kuma_cp_global_compatible),
        ("2.9.13", true)
    );
    assert_eq!(subscription.config, r#"{"store":{"type":"memory"}}"#);
    west.stop().await;
    global.resources.online("west", false).await;
    let stats = &global.resources.insight("west").subscriptions[0].status;
    assert!(
        stats.total.responses_sent > 0 && stats.stat.contains_key("Mesh"),
        "{stats:?}"
    );
    global.stop().await;
}

#[tokio::test]
async fn after_a_restart_of_the_global_zones_are_back_and_nothing_is_rewritten() {
    let resources = Resources::new();
    let global = Global::start(&resources).await;
    let address = global.address;
    resources.put(Resource::new(Kind::Mesh, "", "default", json!({}))).await;
    let mut west = Zone::start("west", &Resources::new(), address);
    west.connected().await;
    west.resources.put(service("redis")).await;
    resources.arrival(Kind::MeshService, "redis").await;
    west.resources.arrival(Kind::Mesh, "default").await;
    let version = |resources: &Resources, kind| resources.0.list(kind, None)[0].spec_version;
    let before = (
        version(&resources, Kind::MeshService),
        version(&west.resources, Kind::Mesh),
    );
    global.stop().await;
    west.disconnected().await;
    let local = west.resources.find(Kind::MeshService, "redis");
    assert!(local.is_some(), "a zone works on without its global");
    west.resources.put(service("offline")).await;

    let global = Global::start_at(&resources, address, |_| {}, None).await;
    resources.arrival(Kind::MeshService, "offline").await;
    resources.online("west", true).await;
    assert_eq!(
        (
            version(&resources, Kind::MeshService),
            version(&west.resources, Kind::Mesh)
        ),
        before
    );
    west.stop().await;
    global.stop().await;
}

#[tokio::test]
async fn after_a_restart_of_a_zone_both_sides_agree_again() {
    let global = Global::start(&Resources::new()).await;
    let resources = Resources::new();
    let mut west = Zone::start("west", &resources, global.address);
    west.connected().await;
    resources.put(service("old")).await;
    global.resources.arrival(Kind::MeshService, "old").await;
    global
        .resources
        .put(Resource::new(Kind::Mesh, "", "old", json!({})))
        .await;
    resources.arrival(Kind::Mesh, "old").await;
    west.stop().await;
    global.resources.online("west", false).await;

    resources
        .write(Write::delete(ResourceKey::new(Kind::MeshService, "default", "old")))
        .await;
    resources.put(service("new")).await;
    global
        .resources
        .write(Write::delete(ResourceKey::new(Kind::Mesh, "", "old")))
        .await;
    global
        .resources
        .put(Resource::new(Kind::Mesh, "", "new", json!({})))
        .await;
    let mut west = Zone::start("west", &resources, global.address);
    west.connected().await;
    global.resources.arrival(Kind::MeshService, "new").await;
    global.resources.departure(Kind::MeshService, "old").await;
    resources.arrival(Kind::Mesh, "new").await;
    resources.departure(Kind::Mesh, "old").await;
    west.stop().await;
    global.stop().await;
}

#[tokio::test]
async fn a_zone_that_is_deleted_while_connected_recreates_everything() {
    let global = Global::start(&Resources::new()).await;
    let mut west = Zone::start("west", &Resources::new(), global.address);
    west.connected().await;
    west.resources.put(service("redis")).await;
    global.resources.arrival(Kind::MeshService, "redis").await;
    global
        .resources
        .write(Write::delete(ResourceKey::new(Kind::Zone, "", "west")))
        .await;
    assert!(
        global.resources.find(Kind::MeshService, "redis").is_none(),
        "goes with its zone"
    );
    // Nothing changes in the zone, yet all of it is back.
    global.resources.arrival(Kind::MeshService, "redis").await;
    assert!(
        west.state
            .borrow()
            .last_error
            .as_ref()
            .is_some_and(|error| error.contains("was deleted"))
    );
    west.stop().await;
    global.stop().await;
}

#[tokio::test]
async fn a_second_control_plane_with_the_name_of_a_living_zone_is_refused() {
    let global = Global::start(&Resources::new()).await;
    let address = format!("grpc://{}", global.address);
    let mut first = Zone::start("west", &Resources::new(), global.address);
    first.connected().await;
    first.resources.put(service("redis")).await;
    global.resources.arrival(Kind::MeshService, "redis").await;
    let mut second = Zone::start_with("west", &Resources::new(), &address, |options| {
        options.about = about("impostor")
    });
    second
        .fails_with("zone name \"west\" is already connected: control plane west-cp")
        .await;
    assert!(first.state.borrow().connected && global.resources.find(Kind::MeshService, "redis").is_some());
    // When the first is gone the second gets the name.
    first.stop().await;
    second.connected().await;
    global.resources.departure(Kind::MeshService, "redis").await;
    second.stop().await;
    global.stop().await;
}

#[tokio::test]
async fn the_same_control_plane_replaces_its_older_connection() {
    let global = Global::start(&Resources::new()).await;
    let resources = Resources::new();
    let mut first = Zone::start("west", &resources, global.address);
    first.connected().await;
    let mut second = Zone::start("west", &resources, global.address);
    first.fails_with("replaces this one").await;
    first.stop().await;
    second.connected().await;
    global.resources.online("west", true).await;
    second.stop().await;
    global.stop().await;
}

#[tokio::test]
async fn tls_is_verified_unless_told_otherwise() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ca.pem");
    let config = tls(&file);
    let global = Global::start_at(&Resources::new(), "127.0.0.1:0".parse().unwrap(), |_| {}, Some(config)).await;
    let address = format!("grpcs://{}", global.address);
    let zone = |name: &str, trust| Zone::start_with(name, &Resources::new(), &address, |options| options.trust = trust);
    let mut verified = zone("verified", Trust::File(file));
    verified.connected().await;
    let mut unchecked = zone("unchecked", Trust::SkipVerify);
    unchecked.connected().await;
    let mut unknown = zone("unknown", Trust::System);
    unknown
        .fails_with("is not signed by a root certificate of this system")
        .await;
    unknown.fails_with("KUMA_MULTIZONE_ZONE_KDS_ROOT_CA_FILE").await;
    let mut missing = zone("missing", Trust::File(folder.path().join("none.pem")));
    missing.fails_with("none.pem").await;
    for zone in [verified, unchecked, unknown, missing] {
        zone.stop().await;
    }
    global.stop().await;
}

#[tokio::test]
async fn a_zone_without_a_global_says_so() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let mut zone = Zone::start("west", &Resources::new(), address);
    zone.fails_with("cannot connect to 127.0.0.1").await;
    zone.stop().await;
}

/// A wire between zone and global that can be cut without either end being told.
struct Wire {
    address: std::net::SocketAddr,
    cut: tokio::sync::watch::Sender<bool>,
}

impl Wire {
    async fn to(target: std::net::SocketAddr) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let cut = tokio::sync::watch::Sender::new(false);
        let cuts = cut.subscribe();
        tokio::spawn(async move {
            while let Ok((mut zone, _)) = listener.accept().await {
                let mut cuts = cuts.clone();
                tokio::spawn(async move {
                    let mut global = tokio::net::TcpStream::connect(target).await.unwrap();
                    let is_cut = async { cuts.wait_for(|cut| *cut).await.is_ok() };
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut zone, &mut global) => return,
                        _ = is_cut => {}
                    }
                    // Both sockets stay open and silent for as long as the test holds the wire.
                    let _ = cuts.changed().await;
                });
            }
        });
        Self { address, cut }
    }
}

#[tokio::test]
async fn a_peer_that_vanishes_without_a_word_is_noticed_on_both_sides() {
    let global = Global::start(&Resources::new()).await;
    let wire = Wire::to(global.address).await;
    let mut west = Zone::start("west", &Resources::new(), wire.address);
    west.connected().await;
    global.resources.online("west", true).await;
    wire.cut.send_replace(true);
    global.resources.online("west", false).await;
    west.fails_with("did not answer").await;
    assert!(!west.state.borrow().connected);
    west.stop().await;
    global.stop().await;
}

/// Answers with the question.
struct Echo;

impl EnvoyAdmin for Echo {
    fn answer(
        &self,
        question: AdminQuestion,
        resource_type: String,
        mesh: String,
        name: String,
    ) -> futures::future::BoxFuture<'static, Result<Vec<u8>, String>> {
        let known = name != "unknown";
        let text = format!("{question:?} {resource_type} {mesh} {name}");
        Box::pin(async move {
            if known {
                Ok(text.into_bytes())
            } else {
                Err(format!("no proxy {name}"))
            }
        })
    }
}

#[tokio::test]
async fn the_global_can_ask_about_envoys_of_a_zone() {
    let global = Global::start(&Resources::new()).await;
    let address = format!("grpc://{}", global.address);
    let proxy = |name: &str| AskedProxy {
        resource_type: "Dataplane".into(),
        mesh: "default".into(),
        name: name.into(),
    };
    let config = AdminQuestion::Config { include_eds: true };
    assert_eq!(
        global.sync.ask("west", config, proxy("web")).await,
        Err(AskError::NotConnected("west".into()))
    );
    let mut west = Zone::start_with("west", &Resources::new(), &address, |options| {
        options.admin = Arc::new(Echo)
    });
    west.connected().await;
    for question in [
        config,
        AdminQuestion::Stats(AdminFormat::Json),
        AdminQuestion::Clusters(AdminFormat::Text),
    ] {
        // The stream for questions may open a moment after the others.
        let answer = loop {
            match global.sync.ask("west", question, proxy("web")).await {
                Err(AskError::NotConnected(_)) => tokio::task::yield_now().await,
                answer => break answer.unwrap(),
            }
        };
        assert_eq!(
            String::from_utf8(answer).unwrap(),
            format!("{question:?} Dataplane default web")
        );
    }
    let refused = global.sync.ask("west", config, proxy("unknown")).await;
    assert_eq!(
        refused,
        Err(AskError::Refused {
            zone: "west".into(),
            message: "no proxy unknown".into()
        })
    );
    west.stop().await;
    global.stop().await;
}

#[tokio::test]
async fn strangers_keep_no_zone_away() {
    let global = Global::start(&Resources::new()).await;
    let address = global.address;
    // From an address of their own, each with a call that is refused, and alive from then on.
    let stranger = || async move {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
        let stream = TokioIo::new(socket.connect(address).await.unwrap());
        let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), stream)
            .await
            .unwrap();
        let connection = tokio::spawn(connection);
        let call = http::Request::post(format!(
            "http://{address}/kuma.mesh.v1alpha1.KDSSyncService/GlobalToZoneSync"
        ))
        .header("content-type", "application/grpc")
        .header("client-id", "nobody")
        .body(String::new());
        let answer = sender.send_request(call.unwrap()).await;
        (answer.is_ok(), sender, connection)
    };
    let mut strangers = Vec::new();
    let refused = loop {
        let stranger = stranger().await;
        if !stranger.0 {
            break stranger;
        }
        strangers.push(stranger);
        assert!(strangers.len() < 100, "one address has no more than some");
    };
    // Closed at once.
    let _ = refused.2.await.unwrap();
    let mut west = Zone::start("west", &Resources::new(), address);
    west.connected().await;
    // All of them are closed, and the zone is not.
    for (_, _sender, connection) in strangers {
        let _ = connection.await.unwrap();
    }
    assert!(west.state.borrow().connected);
    assert!(stranger().await.0, "there is room again");
    west.stop().await;
    global.stop().await;
}
