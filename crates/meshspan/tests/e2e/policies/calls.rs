//! Calls of a service and what is expected of them.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use anyhow::{Result, ensure};
use bytes::Bytes;
use http::{Request, Response};
use meshspan_demo::{Deployment, Machine};
use meshspan_lab::{HttpVersion, eventually};

use super::stages::{HTTP, REDIS};
use crate::clients::{LIMIT, hostname, redis_zone, request};

/// A service as a client reaches it.
#[derive(Clone)]
pub struct Service {
    client: Machine,
    /// Its display name.
    pub name: String,
    hostname: String,
    address: IpAddr,
}

impl Service {
    /// The service `name` at its VIP.
    pub fn new(client: &Machine, name: &str, address: IpAddr) -> Self {
        Self {
            client: client.clone(),
            name: name.to_owned(),
            hostname: hostname(name),
            address,
        }
    }

    /// Where its Redis is.
    pub fn redis(&self) -> SocketAddr {
        (self.address, REDIS).into()
    }

    /// `GET` with headers, on a connection of its own.
    pub async fn get_with(&self, path: &str, headers: &[(&str, &str)]) -> Result<Response<Bytes>> {
        let mut get = Request::get(path);
        for (name, value) in headers {
            get = get.header(*name, *value);
        }
        let to = (self.address, HTTP).into();
        request(
            &self.client,
            to,
            &self.hostname,
            HttpVersion::Http1,
            get.body(Bytes::new())?,
        )
        .await
    }

    /// `GET` on a connection of its own.
    pub async fn get(&self, path: &str) -> Result<Response<Bytes>> {
        self.get_with(path, &[]).await
    }

    /// Waits until a path answers with a status.
    pub async fn answers(&self, path: &str, status: u16) -> Result<()> {
        eventually(&format!("status {status} of {}{path}", self.name), LIMIT, || async {
            let answer = self.get(path).await?;
            ensure!(answer.status() == status, "status {}", answer.status());
            Ok(())
        })
        .await
    }

    /// The zone that answers a request.
    pub async fn zone(&self, path: &str, headers: &[(&str, &str)]) -> Result<String> {
        let answer = self.get_with(path, headers).await?;
        ensure!(answer.status().is_success(), "status {}", answer.status());
        let zone = answer
            .headers()
            .get("x-zone")
            .map(|zone| zone.to_str().map(str::to_owned));
        Ok(zone.transpose()?.unwrap_or_default())
    }

    /// How many of `count` requests each zone answers. Each must be answered.
    pub async fn zones(&self, path: &str, count: usize) -> Result<BTreeMap<String, usize>> {
        let mut zones = BTreeMap::new();
        for _ in 0..count {
            *zones.entry(self.zone(path, &[]).await?).or_default() += 1;
        }
        Ok(zones)
    }

    /// Waits until exactly these zones answer.
    pub async fn answered_by(&self, path: &str, expected: &[&str]) -> Result<()> {
        eventually(
            &format!("{expected:?} to answer {}{path}", self.name),
            LIMIT,
            || async {
                let zones = self.zones(path, 20).await?;
                let found: Vec<_> = zones.keys().map(String::as_str).collect();
                ensure!(found == expected, "{zones:?}");
                Ok(())
            },
        )
        .await
    }

    /// The zone whose Redis answers.
    pub async fn redis_zone(&self) -> Result<String> {
        redis_zone(&self.client, self.redis()).await
    }
}

/// A policy for the traffic to a MeshMultiZoneService of the mesh `default`; `default` is YAML on one line.
pub fn policy_to(kind: &str, name: &str, service: &str, default: &str) -> String {
    format!(
        "type: {kind}
name: {name}
mesh: default
spec:
  to:
  - targetRef: {{kind: MeshMultiZoneService, labels: {{kuma.io/display-name: {service}}}}}
    default: {default}
"
    )
}

/// Removes a policy.
pub async fn remove(mesh: &Deployment, kind: &str, name: &str) -> Result<()> {
    mesh.global.client(&["delete", kind, name]).await.map(|_| ())
}
