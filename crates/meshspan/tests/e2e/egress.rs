//! Leaving a zone through its egress: to services outside the mesh, and to other zones where the mesh says so.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use http::{Request, StatusCode};
use meshspan_demo::{Deployment, Machine, Workload, WorkloadSpec};
use meshspan_lab::workload;
use meshspan_lab::{Host, HttpConnection, HttpVersion, eventually, isolated};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::clients::{LIMIT, echo, http_traffic, look_up, matched, multi_zone_service, request, settles};
use crate::stage::{chapter, on_stage};

const HTTP: u16 = 8000;
const HTTPS: u16 = 8443;
const TCP: u16 = 7000;
const GREETING: &str = "outside";

/// A host that belongs to no mesh: an HTTP service, the same with TLS, and one that greets whoever connects. Returns the
/// certificate of the second.
async fn outside(host: &Host) -> Result<String> {
    let at = |port| SocketAddr::from((host.address(), port));
    let plain = host.listen(at(HTTP)).await?;
    tokio::spawn(async move { workload::echo(plain, GREETING, "example").await });
    let greeter = host.listen(at(TCP)).await?;
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = greeter.accept().await {
            // Whoever is gone already hears nothing.
            let _ = stream.write_all(GREETING.as_bytes()).await;
        }
    });
    let own = rcgen::generate_simple_self_signed(["secure.example".to_owned()])?;
    let key = rustls::pki_types::PrivateKeyDer::Pkcs8(own.signing_key.serialize_der().into());
    let config = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![own.cert.der().clone()], key)?;
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let (secure, host, to) = (host.listen(at(HTTPS)).await?, host.clone(), at(HTTP));
    tokio::spawn(async move {
        while let Ok((stream, _)) = secure.accept().await {
            let (acceptor, host) = (acceptor.clone(), host.clone());
            tokio::spawn(async move {
                let mut stream = acceptor.accept(stream).await?;
                let mut behind = host.connect(to).await?;
                tokio::io::copy_bidirectional(&mut stream, &mut behind).await?;
                anyhow::Ok(())
            });
        }
    });
    Ok(own.cert.pem())
}

fn external(name: &str, port: u16, protocol: &str, endpoint: (&str, u16), tls: &str) -> String {
    let (address, endpoint_port) = endpoint;
    format!(
        "type: MeshExternalService
name: {name}
mesh: default
spec:
  match: {{type: HostnameGenerator, port: {port}, protocol: {protocol}}}
  endpoints: [{{address: {address}, port: {endpoint_port}}}]
{tls}"
    )
}

/// TLS with a name, trusting this certificate.
fn trusting(certificate: &str) -> String {
    let indented: String = certificate.lines().map(|line| format!("        {line}\n")).collect();
    format!(
        "  tls:
    enabled: true
    verification:
      serverName: secure.example
      caCert:
        inlineString: |
{}",
        indented.replace("        ", "          ")
    )
}

fn mesh_with(routing: &str) -> String {
    format!(
        "type: Mesh
name: default
meshServices: {{mode: Exclusive}}
networking: {{outbound: {{passthrough: false}}}}
mtls: {{enabledBackend: ca-1, backends: [{{name: ca-1, type: builtin}}]}}
routing: {{{routing}}}
"
    )
}

async fn external_name(client: &Workload, name: &str, port: u16) -> Result<SocketAddr> {
    look_up(client, &format!("{name}.extsvc.mesh.local"), port).await
}

async fn status(client: &Machine, to: SocketAddr, name: &str) -> Result<StatusCode> {
    let get = Request::get("/").body(Bytes::new())?;
    let response = request(client, to, name, HttpVersion::Http1, get).await?;
    Ok(response.status())
}

async fn has_status(client: &Machine, to: SocketAddr, name: &str, wanted: StatusCode) -> Result<()> {
    eventually(&format!("{name} answers {wanted}"), LIMIT, || async {
        let status = status(client, to, name).await?;
        ensure!(status == wanted, "{status}");
        Ok(())
    })
    .await
}

/// What is heard before the connection ends, or a moment without a word.
async fn heard(client: &Machine, to: SocketAddr) -> Result<String> {
    let mut stream = client.connect(to).await?;
    let mut heard = vec![0; GREETING.len()];
    // Reset, where nothing may pass.
    match tokio::time::timeout(LIMIT, stream.read_exact(&mut heard)).await {
        Ok(Ok(_)) => Ok(String::from_utf8(heard)?),
        Ok(Err(_)) => Ok(String::new()),
        Err(_) => anyhow::bail!("the connection to {to} stays open without a word"),
    }
}

/// What Envoy's admin interface on a host says.
async fn admin(machine: &Machine, path: &str) -> Result<String> {
    let to = SocketAddr::from(([127, 0, 0, 1], 9901));
    let mut connection = HttpConnection::over(machine.connect(to).await?, "localhost", HttpVersion::Http1).await?;
    let response = connection.send(Request::get(path).body(Bytes::new())?).await?;
    Ok(String::from_utf8(response.body().to_vec())?)
}

/// The condition of a MeshMultiZoneService in east.
async fn condition(mesh: &Deployment, name: &str, reason: &str) -> Result<()> {
    eventually(&format!("{name} says {reason}"), LIMIT, || async {
        let service = mesh.zone("east")?.multi_zone_service("default", name).await?;
        let conditions = service.pointer("/status/conditions").map(ToString::to_string);
        ensure!(conditions.unwrap_or_default().contains(reason), "{service}");
        Ok(())
    })
    .await
}

#[test]
fn the_mesh_and_the_zone_are_left_through_the_egress() {
    isolated(|| {
        on_stage(&["east", "west"], async |mesh| {
            let mut workloads = mesh
                .workloads(vec![
                    WorkloadSpec::echo("east", "echo-east", "http"),
                    WorkloadSpec::echo("west", "echo-west", "http"),
                    WorkloadSpec::client("east", "client"),
                ])
                .await?;
            let client = workloads.pop().context("three were started")?;
            let host = mesh.global.machine().host().context("in a lab")?.clone();
            let address = host.address().to_string();
            let certificate = outside(&host).await?;
            let stranger = rcgen::generate_simple_self_signed(["secure.example".to_owned()])?
                .cert
                .pem();
            mesh.global.apply(&mesh_with("")).await?;
            for document in [
                external("plain", 80, "http", (&address, HTTP), ""),
                // Nobody knows it, and nobody else is held up by that.
                external("nowhere", 80, "http", ("nowhere.example", HTTP), ""),
                external("secure", 80, "http", (&address, HTTPS), &trusting(&certificate)),
                external("forged", 80, "http", (&address, HTTPS), &trusting(&stranger)),
                external("legacy", TCP, "tcp", (&address, TCP), ""),
                multi_zone_service("echo", 8080, "http"),
            ] {
                mesh.global.apply(&document).await?;
            }
            matched(mesh, "east", "echo", 2).await?;

            chapter("nobody leaves without an egress");
            let plain = external_name(&client, "plain", 80).await?;
            has_status(client.machine(), plain, "plain", StatusCode::SERVICE_UNAVAILABLE).await?;
            let direct = SocketAddr::new(host.address().into(), TCP);
            ensure!(heard(client.machine(), direct).await?.is_empty(), "the mesh leaks");

            chapter("an HTTP, an HTTPS and a TCP service outside of the mesh");
            let mut egress = mesh.egress("east").await?;
            has_status(client.machine(), plain, "plain", StatusCode::OK).await?;
            let answer = echo(client.machine(), plain, "plain.extsvc.mesh.local").await?;
            ensure!(answer.zone == GREETING && answer.version == "HTTP/1.1", "{answer:?}");
            ensure!(answer.headers.get("host") == Some(&address), "{answer:?}");
            ensure!(!answer.headers.contains_key("x-forwarded-client-cert"), "{answer:?}");
            let secure = external_name(&client, "secure", 80).await?;
            has_status(client.machine(), secure, "secure", StatusCode::OK).await?;
            let forged = external_name(&client, "forged", 80).await?;
            has_status(client.machine(), forged, "forged", StatusCode::SERVICE_UNAVAILABLE).await?;
            let legacy = external_name(&client, "legacy", TCP).await?;
            ensure!(heard(client.machine(), legacy).await? == GREETING);
            ensure!(heard(client.machine(), direct).await?.is_empty(), "the mesh leaks");

            chapter("who may leave");
            mesh.global
                .apply(&mesh_with("defaultForbidMeshExternalServiceAccess: true"))
                .await?;
            has_status(client.machine(), plain, "plain", StatusCode::FORBIDDEN).await?;
            eventually("nobody is greeted", LIMIT, || async {
                ensure!(heard(client.machine(), legacy).await?.is_empty());
                Ok(())
            })
            .await?;
            let permission = |service: &str| {
                format!(
                    "type: MeshTrafficPermission
name: leave
mesh: default
spec:
  targetRef: {{kind: MeshSubset, tags: {{kuma.io/service: zone-egress}}}}
  from: [{{targetRef: {{kind: MeshSubset, tags: {{kuma.io/service: {service}}}}}, default: {{action: Allow}}}}]
"
                )
            };
            mesh.global.apply(&permission("client")).await?;
            has_status(client.machine(), plain, "plain", StatusCode::OK).await?;
            mesh.global.apply(&permission("somebody-else")).await?;
            has_status(client.machine(), plain, "plain", StatusCode::FORBIDDEN).await?;

            chapter("other zones are reached through the egress, and through nothing else");
            mesh.global.apply(&mesh_with("zoneEgress: true")).await?;
            condition(mesh, "echo", "ZoneEgressKnown").await?;
            let traffic = http_traffic(&client, "echo").await?;
            settles(&traffic, "east").await?;
            workloads[0].applications[0].kill().await?;
            settles(&traffic, "west").await?;
            let of_client = admin(client.machine(), "/clusters").await?;
            let ingress = format!("{}:10001", mesh.zone("west")?.ingress.machine().address());
            ensure!(!of_client.contains(&ingress), "the client knows {ingress}");
            let of_egress = admin(egress.machine(), "/clusters").await?;
            ensure!(
                of_egress.contains(&ingress),
                "the egress does not know {ingress}: {of_egress}"
            );

            chapter("the egress is gone: the own zone is unharmed, others fail at once and say why");
            workloads[0].applications[0].start_again().await?;
            settles(&traffic, "east").await?;
            egress.kill().await?;
            traffic.mark();
            traffic.all_from("east", 100, LIMIT).await?;
            condition(mesh, "echo", "NoZoneEgress").await?;
            traffic.all_from("east", 50, LIMIT).await?;
            has_status(client.machine(), plain, "plain", StatusCode::SERVICE_UNAVAILABLE).await?;
            egress.start_again().await?;
            condition(mesh, "echo", "ZoneEgressKnown").await?;
            workloads[0].applications[0].kill().await?;
            settles(&traffic, "west").await
        })
    });
}
