//! What peers without a token can do to a control plane by connecting: nothing to others.

use std::net::SocketAddr;

use http::{Method, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use crate::support::{ControlPlane, Proxy, documents};

/// More than one peer may have.
const MANY: usize = 300;

async fn get(address: SocketAddr, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

#[tokio::test]
async fn silent_connections_keep_nobody_out() {
    let diagnostics = {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        socket.local_addr().unwrap().port()
    };
    let cp = ControlPlane::start_with(|settings| settings.diagnostics.server_port = diagnostics).await;
    let api = cp.addresses.api.unwrap();
    let mut silent = Vec::new();
    for _ in 0..MANY {
        silent.push(TcpStream::connect(api).await.unwrap());
    }
    // Some with half of a request line, some that begin HTTP/2 and say no more.
    for (index, stream) in silent.iter_mut().enumerate() {
        let start: &[u8] = match index % 3 {
            0 => b"",
            1 => b"GET / HT",
            _ => b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        };
        // Those beyond the limit are closed already.
        let _ = stream.write_all(start).await;
    }
    // The other ports do not notice.
    let ready = get(SocketAddr::from(([127, 0, 0, 1], diagnostics)), "/ready")
        .await
        .unwrap();
    assert!(ready.starts_with("HTTP/1.1 200"), "{ready}");
    let mut proxy = Proxy::start(&cp, &documents::dataplane("default", "redis-1", "redis", "10.0.0.1")).await;
    cp.marker("default", &mut [&mut proxy]).await;
    // Every one of them is closed, and then there is room again.
    for stream in &mut silent {
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest).await;
    }
    let (status, _) = cp.rest(Method::GET, "/meshes", None).await;
    assert_eq!(status, StatusCode::OK);
}

#[tokio::test]
async fn bodies_that_never_end_cost_so_much_memory_and_no_more() {
    let cp = ControlPlane::start().await;
    let api = cp.addresses.api.unwrap();
    let head = "PUT /meshes/m HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 4000000\r\n\r\n";
    let mut half_sent = Vec::new();
    // Each of them nearly as large as allowed, and together more than one peer may have.
    for _ in 0..6 {
        let mut stream = TcpStream::connect(api).await.unwrap();
        half_sent.push(tokio::spawn(async move {
            let mut body = head.as_bytes().to_vec();
            body.resize(3_900_000, b' ');
            // The control plane may answer before it has read all.
            let _ = stream.write_all(&body).await;
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer).await;
            String::from_utf8_lossy(&answer).into_owned()
        }));
    }
    let mut answers = Vec::new();
    for answer in half_sent {
        answers.push(answer.await.unwrap());
    }
    // Some did not fit beside the others and were refused, at best with an answer; those that fit did not come to an end in
    // time.
    let slow = answers
        .iter()
        .filter(|answer| answer.starts_with("HTTP/1.1 408"))
        .count();
    assert!((1..=4).contains(&slow), "{answers:?}");
    cp.apply(&documents::mesh("after")).await;
}

#[tokio::test]
async fn answers_that_nobody_reads_keep_nobody_out() {
    let cp = ControlPlane::start().await;
    let api = cp.addresses.api.unwrap();
    cp.apply(&documents::mesh("m")).await;
    // Another address than that of whoever else calls.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from(([127, 0, 0, 2], 0))).unwrap();
    let stream = socket.connect(api).await.unwrap();
    // No byte of an answer may be sent.
    let (sender, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
        .initial_stream_window_size(0)
        .handshake(TokioIo::new(stream))
        .await
        .unwrap();
    let connection = tokio::spawn(connection);
    let ask = || {
        let request = http::Request::get(format!("http://{api}/meshes")).body(String::new());
        let mut sender = sender.clone();
        async move {
            sender.ready().await.unwrap();
            sender.send_request(request.unwrap()).await.unwrap()
        }
    };
    let mut unread = Vec::new();
    let refused = loop {
        let answer = ask().await;
        if answer.status() != StatusCode::OK {
            break answer;
        }
        unread.push(answer);
        assert!(unread.len() < 30, "as many as one connection may ask");
    };
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(refused.headers()["retry-after"], "1");
    // Others are answered, and so is this one when it is done.
    let (status, _) = cp.rest(Method::GET, "/meshes", None).await;
    assert_eq!(status, StatusCode::OK);
    unread.pop();
    let again = ask().await;
    assert_eq!(again.status(), StatusCode::OK);
    connection.abort();
}
