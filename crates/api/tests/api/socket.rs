//! Over a real socket, as a control plane serves it.

use std::net::SocketAddr;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::harness::{Api, zone};

async fn exchange(address: SocketAddr, request: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

#[tokio::test]
async fn a_local_client_is_admin() {
    let api = Api::new(zone());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = api.router.clone().into_make_service_with_connect_info::<SocketAddr>();
    let server = tokio::spawn(async move { axum::serve(listener, service).await });

    let (head, body) = exchange(
        address,
        &format!("GET /who-am-i HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"),
    )
    .await;
    assert!(head.starts_with("HTTP/1.1 200 OK"), "{head}");
    assert_eq!(
        serde_json::from_str::<Value>(&body).unwrap()["name"],
        "mesh-system:admin"
    );

    let secret = json!({"type": "GlobalSecret", "name": "a", "data": "YQ=="}).to_string();
    let put = format!(
        "PUT /global-secrets/a HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{secret}",
        secret.len()
    );
    let (head, body) = exchange(address, &put).await;
    assert!(head.starts_with("HTTP/1.1 201 Created"), "{head}");
    assert_eq!(body, "{}\n");
    let proxied = put.replace("Connection: close", "X-Forwarded-For: 10.0.0.9\r\nConnection: close");
    let (head, _) = exchange(address, &proxied).await;
    assert!(head.starts_with("HTTP/1.1 403 Forbidden"), "{head}");
    server.abort();
}
