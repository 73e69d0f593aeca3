//! What applications on a client host do and see.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http::{Request, Response};
use meshspan_demo::{Deployment, Machine, Question, Seen, Traffic, Workload};
use meshspan_lab::workload::Echo;
use meshspan_lab::{HttpConnection, HttpVersion, RedisConnection, eventually};

/// Longest time for a state to come true. Ample, because it says nothing about speed.
pub const LIMIT: Duration = Duration::from_secs(30);
/// How many answers make a claim.
pub const MANY: usize = 50;

/// A MeshMultiZoneService for the MeshServices of the same name.
pub fn multi_zone_service(name: &str, port: u16, protocol: &str) -> String {
    format!(
        "type: MeshMultiZoneService
name: {name}
mesh: default
spec:
  selector: {{meshService: {{matchLabels: {{kuma.io/display-name: {name}}}}}}}
  ports: [{{port: {port}, appProtocol: {protocol}}}]
"
    )
}

/// `name` in the names of MeshMultiZoneServices.
pub fn hostname(name: &str) -> String {
    format!("{name}.mzsvc.mesh.local")
}

/// Where an application on `client` finds a service by its name, once it does.
pub async fn look_up(client: &Workload, name: &str, port: u16) -> Result<SocketAddr> {
    let machine = client.machine();
    eventually(&format!("the name {name} on {}", machine.name()), LIMIT, || async {
        let found = machine.resolve(name).await?;
        let address = found
            .iter()
            .find(|address| address.is_ipv4())
            .with_context(|| format!("only {found:?}"))?;
        Ok(SocketAddr::from((*address, port)))
    })
    .await
}

/// An application that asks the Redis behind a name again and again.
pub async fn redis_traffic(client: &Workload, name: &str) -> Result<Traffic> {
    let to = look_up(client, &hostname(name), 6379).await?;
    Ok(Traffic::start(
        client.machine().clone(),
        Question::Redis,
        hostname(name),
        to,
    ))
}

/// An application that asks the HTTP service behind a name again and again.
pub async fn http_traffic(client: &Workload, name: &str) -> Result<Traffic> {
    let to = look_up(client, &hostname(name), 8080).await?;
    Ok(Traffic::start(
        client.machine().clone(),
        Question::Http,
        format!("{}:8080", hostname(name)),
        to,
    ))
}

/// After something happened, waits until `zone` answers, and then demands that it answers everything.
pub async fn settles(traffic: &Traffic, zone: &str) -> Result<()> {
    traffic.mark();
    let what = format!("answers of {zone}");
    let seen = traffic
        .wait(&what, LIMIT, |seen| seen.zone == zone && seen.streak >= MANY)
        .await?;
    println!(
        "   {zone} after {} failed and {:?} without an answer; before: {:?}",
        seen.failed, seen.gap, seen.answers
    );
    let calm = traffic.all_from(zone, MANY, LIMIT).await?;
    note_late(zone, &calm);
    Ok(())
}

/// Says which requests had no answer within a second although nothing happened. On a busy machine that may be the machine.
pub fn note_late(what: &str, seen: &Seen) {
    if seen.late > 0 {
        println!(
            "   {what}: {} of {} requests late, the slowest took {:?}",
            seen.late,
            seen.total(),
            seen.slowest
        );
    }
}

/// The zone that answers one new connection to a Redis.
pub async fn redis_zone(client: &Machine, to: SocketAddr) -> Result<String> {
    RedisConnection::over(client.connect(to).await?).zone().await
}

/// How often each zone answers `count` new connections to a Redis. Each must be answered.
pub async fn redis_zones(client: &Machine, to: SocketAddr, count: usize) -> Result<BTreeMap<String, usize>> {
    let mut zones = BTreeMap::new();
    for number in 0..count {
        let zone = redis_zone(client, to)
            .await
            .with_context(|| format!("request {number}, answers so far {zones:?}"))?;
        *zones.entry(zone).or_default() += 1;
    }
    Ok(zones)
}

/// Sends one HTTP request on a connection of its own.
pub async fn request(
    client: &Machine,
    to: SocketAddr,
    name: &str,
    version: HttpVersion,
    request: Request<Bytes>,
) -> Result<Response<Bytes>> {
    let authority = format!("{name}:{}", to.port());
    HttpConnection::over(client.connect(to).await?, &authority, version)
        .await?
        .send(request)
        .await
}

/// `GET /` over HTTP/1.1, answered by the echo service.
pub async fn echo(client: &Machine, to: SocketAddr, name: &str) -> Result<Echo> {
    let response = request(
        client,
        to,
        name,
        HttpVersion::Http1,
        Request::get("/").body(Bytes::new())?,
    )
    .await?;
    ensure!(
        response.status().is_success(),
        "status {}: {}",
        response.status(),
        String::from_utf8_lossy(response.body())
    );
    serde_json::from_slice(response.body()).context("the echo service answers in JSON")
}

/// Waits until a zone has matched `count` MeshServices.
pub async fn matched(mesh: &Deployment, zone: &str, name: &str, count: usize) -> Result<()> {
    eventually(&format!("{count} services behind {name} in {zone}"), LIMIT, || async {
        let service = mesh.zone(zone)?.multi_zone_service("default", name).await?;
        let found = service
            .pointer("/status/meshServices")
            .and_then(|list| list.as_array())
            .map_or(0, Vec::len);
        ensure!(found == count, "{service}");
        Ok(())
    })
    .await
}

/// Waits until a zone counts `count` healthy instances of one of its services.
pub async fn healthy(mesh: &Deployment, zone: &str, service: &str, count: u64) -> Result<()> {
    let path = format!("/meshes/default/meshservices/{service}");
    eventually(
        &format!("{count} healthy instances of {service} in {zone}"),
        LIMIT,
        || async {
            let service = mesh.zone(zone)?.control_plane.api().get(&path).await?;
            let found = service
                .pointer("/status/dataplaneProxies/healthy")
                .and_then(|count| count.as_u64());
            ensure!(found.unwrap_or(0) == count, "{service}");
            Ok(())
        },
    )
    .await
}
