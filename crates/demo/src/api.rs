//! The REST API of a control plane, asked from the host on which it runs, where callers are administrators.

use std::net::SocketAddr;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http::{Method, Request, StatusCode};
use meshspan_lab::{HttpConnection, HttpVersion};
use serde_json::Value;

use crate::machine::Machine;

/// A client of one control plane.
#[derive(Debug, Clone)]
pub struct Api {
    machine: Machine,
    address: SocketAddr,
}

impl Api {
    pub(crate) fn new(machine: Machine, port: u16) -> Self {
        Self {
            machine,
            address: (std::net::Ipv4Addr::LOCALHOST, port).into(),
        }
    }

    /// Where it is, as seen from the host of the control plane.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A resource, list or other document.
    ///
    /// # Errors
    /// No connection, a status other than 200, or no JSON.
    pub async fn get(&self, path: &str) -> Result<Value> {
        let body = self.expect(Method::GET, path, Bytes::new()).await?;
        serde_json::from_slice(&body).with_context(|| format!("the answer to GET {path} is not JSON"))
    }

    /// Creates or updates a resource.
    ///
    /// # Errors
    /// No connection, or the control plane refuses it.
    pub async fn put(&self, path: &str, resource: &Value) -> Result<()> {
        self.expect(Method::PUT, path, resource.to_string().into())
            .await
            .map(drop)
    }

    /// Deletes a resource.
    ///
    /// # Errors
    /// No connection, or there is no such resource.
    pub async fn delete(&self, path: &str) -> Result<()> {
        self.expect(Method::DELETE, path, Bytes::new()).await.map(drop)
    }

    /// Posts `body` and returns the answer as text.
    ///
    /// # Errors
    /// No connection, or the control plane refuses.
    pub async fn post(&self, path: &str, body: &Value) -> Result<String> {
        let answer = self.expect(Method::POST, path, body.to_string().into()).await?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }

    /// Sends a request; any status is an answer.
    ///
    /// # Errors
    /// No connection.
    pub async fn request(&self, method: Method, path: &str, body: Bytes) -> Result<(StatusCode, Bytes)> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", "application/json")
            .body(body)?;
        let stream = self.machine.connect(self.address).await?;
        let mut connection = HttpConnection::over(stream, &self.address.to_string(), HttpVersion::Http1).await?;
        let response = connection.send(request).await?;
        Ok((response.status(), response.into_body()))
    }

    async fn expect(&self, method: Method, path: &str, body: Bytes) -> Result<Bytes> {
        let what = format!("{method} {path} on {}", self.machine.name());
        let (status, body) = self.request(method, path, body).await.with_context(|| what.clone())?;
        if !status.is_success() {
            bail!("{what}: {status}: {}", String::from_utf8_lossy(&body));
        }
        Ok(body)
    }
}
