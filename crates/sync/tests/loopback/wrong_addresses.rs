//! A zone whose settings name something that is no global control plane is never "connected", and says which setting.

use std::net::SocketAddr;

use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use meshspan_sync::zone::Trust;
use tokio::net::TcpListener;

use crate::system::{Global, Resources, Zone, tls};

const ADDRESS: &str = "KUMA_MULTIZONE_ZONE_GLOBAL_ADDRESS must name the port of a global control plane";

/// Answers every request with 404, as an API does to paths that it does not know.
async fn http_server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let service = hyper::service::service_fn(|_| async {
                    let mut response = http::Response::new("{\"status\": 404}".to_owned());
                    *response.status_mut() = http::StatusCode::NOT_FOUND;
                    Ok::<_, std::convert::Infallible>(response)
                });
                let served = Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
                drop(served);
            });
        }
    });
    address
}

#[tokio::test]
async fn an_http_server() {
    let address = http_server().await;
    let mut plain = Zone::start("west", &Resources::new(), address);
    plain.fails_with("an HTTP server answers there, with status 404").await;
    plain.fails_with(ADDRESS).await;
    let mut states = plain.state.clone();
    let mut with_tls = Zone::start_with("west", &Resources::new(), &format!("grpcs://{address}"), |_| {});
    with_tls.fails_with("does not speak TLS").await;
    // Over several attempts it was never called connected.
    for _ in 0..3 {
        states.changed().await.unwrap();
        assert!(!states.borrow().connected);
    }
    plain.stop().await;
    with_tls.stop().await;
}

#[tokio::test]
async fn tls_where_the_address_says_none() {
    let folder = tempfile::tempdir().unwrap();
    let config = tls(&folder.path().join("ca.pem"));
    let global = Global::start_at(&Resources::new(), "127.0.0.1:0".parse().unwrap(), |_| {}, Some(config)).await;
    let mut zone = Zone::start("west", &Resources::new(), global.address);
    zone.fails_with("if it speaks TLS the address starts with grpcs://")
        .await;
    // Trust in another global's certificate of the same name.
    let other = folder.path().join("other.pem");
    tls(&other);
    let address = format!("grpcs://{}", global.address);
    let trust = Trust::File(other);
    let mut mistaken = Zone::start_with("east", &Resources::new(), &address, |options| options.trust = trust);
    mistaken
        .fails_with("KUMA_MULTIZONE_ZONE_KDS_ROOT_CA_FILE must name a copy")
        .await;
    zone.stop().await;
    mistaken.stop().await;
    global.stop().await;
}
