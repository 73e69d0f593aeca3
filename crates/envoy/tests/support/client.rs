//! A client as an application would be: one connection a request.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};

use super::envoy::PATIENCE;

#[derive(Debug)]
pub struct Response {
    pub status: u16,
    pub head: String,
    pub body: String,
}

/// `GET path`, over a connection of its own.
pub fn get(address: SocketAddr, path: &str) -> io::Result<Response> {
    get_with(address, path, &[])
}

/// `GET path` with these headers, over a connection of its own.
pub fn get_with(address: SocketAddr, path: &str, headers: &[(&str, &str)]) -> io::Result<Response> {
    send(address, "GET", path, headers)
}

/// A request without a body, over a connection of its own.
pub fn send(address: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)]) -> io::Result<Response> {
    let headers: String = headers
        .iter()
        .map(|(name, value)| format!("{name}: {value}\r\n"))
        .collect();
    let request = format!("{method} {path} HTTP/1.1\r\nhost: service\r\n{headers}connection: close\r\n\r\n");
    let text = String::from_utf8_lossy(&exchange(address, request.as_bytes())?).into_owned();
    let (head, body) = text
        .split_once("\r\n\r\n")
        .ok_or_else(|| io::Error::other(format!("no response: {text:?}")))?;
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
    let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
    let body = if chunked { dechunk(body) } else { body.to_owned() };
    Ok(Response {
        status,
        head: head.to_owned(),
        body,
    })
}

/// Sends `bytes` and reads until the other side closes.
pub fn exchange(address: SocketAddr, bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(bytes)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(answer)
}

fn dechunk(mut body: &str) -> String {
    let mut whole = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap();
        whole.push_str(&rest[..size]);
        body = rest[size..].trim_start_matches("\r\n");
        if size == 0 {
            break;
        }
    }
    whole
}
