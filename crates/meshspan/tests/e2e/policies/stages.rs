//! The meshes on which policies are tried.

use std::net::IpAddr;

use anyhow::{Context, Result};
use meshspan_demo::{ApplicationKind, Deployment, Workload, WorkloadPort, WorkloadSpec};

use super::calls::Service;
use crate::clients::{hostname, look_up, multi_zone_service};

/// Port of the HTTP service.
pub const HTTP: u16 = 8080;
/// Port of the Redis.
pub const REDIS: u16 = 6379;

/// An HTTP service and a Redis in one.
fn both(zone: &str, name: &str, service: &str) -> WorkloadSpec {
    let port = |number, protocol: &str, application| WorkloadPort {
        name: String::new(),
        number,
        protocol: protocol.to_owned(),
        application: Some(application),
    };
    WorkloadSpec::echo(zone, name, "http").service(service).ports(vec![
        port(HTTP, "http", ApplicationKind::Echo),
        port(REDIS, "tcp", ApplicationKind::Redis),
    ])
}

/// `near` in east, `far` in west, `everywhere` in both; and a client in east.
pub struct TwoZones {
    /// The client.
    pub client: Workload,
    /// Behind the services.
    workloads: Vec<Workload>,
}

impl TwoZones {
    /// Starts everything in a mesh with the zones east and west.
    pub async fn start(mesh: &mut Deployment) -> Result<Self> {
        let client = mesh.workload(WorkloadSpec::client("east", "client")).await?;
        let workloads = mesh
            .workloads(vec![
                both("east", "near", "near"),
                both("west", "far", "far"),
                both("east", "everywhere", "everywhere"),
                both("west", "everywhere", "everywhere"),
            ])
            .await?;
        for name in ["near", "far", "everywhere"] {
            let port = |number: u16, protocol: &str| format!("{{port: {number}, appProtocol: {protocol}}}");
            let ports = format!("[{}, {}]", port(HTTP, "http"), port(REDIS, "tcp"));
            let one = multi_zone_service(name, HTTP, "http");
            let document = one.replace("[{port: 8080, appProtocol: http}]", &ports);
            mesh.global.apply(&document).await?;
        }
        let started = Self { client, workloads };
        for name in ["near", "far", "everywhere"] {
            started.service(name).await?.answers("/", 200).await?;
        }
        Ok(started)
    }

    /// Where the instance of `near` listens, without any name or VIP.
    pub fn instance_of_near(&self) -> Result<IpAddr> {
        let near = self.workloads.first().context("no workload")?;
        Ok(near.machine().address().into())
    }

    /// A MeshMultiZoneService as the client reaches it.
    pub async fn service(&self, name: &str) -> Result<Service> {
        let http = look_up(&self.client, &hostname(name), HTTP).await?;
        Ok(Service::new(self.client.machine(), name, http.ip()))
    }

    /// The service with an instance in the client's zone, and the one without.
    pub async fn near_and_far(&self) -> Result<[Service; 2]> {
        Ok([self.service("near").await?, self.service("far").await?])
    }
}
