//! MeshTrafficPermission: nothing is allowed until it is said.

use anyhow::{Result, ensure};
use meshspan_demo::{Deployment, WorkloadSpec};
use meshspan_lab::{eventually, isolated};

use super::calls::{Service, remove};
use super::stages::{HTTP, TwoZones};
use crate::clients::{LIMIT, hostname, look_up};
use crate::stage::{chapter, on_stage};

/// Permission to reach `near` and `far`; `clients` is YAML on one line.
fn permission(clients: &str) -> String {
    format!(
        "type: MeshTrafficPermission
name: some
mesh: default
spec:
  targetRef: {{kind: Mesh}}
  {clients}
"
    )
}

#[test]
fn only_those_who_may_get_in() {
    isolated(|| {
        on_stage(&["east", "west"], async |mesh| {
            let zones = TwoZones::start(mesh).await?;
            let other = mesh
                .workload(WorkloadSpec::client("east", "stranger").service("stranger"))
                .await?;
            let address = look_up(&other, &hostname("far"), HTTP).await?.ip();
            let strange = Service::new(other.machine(), "far", address);
            strange.answers("/", 200).await?;

            chapter("deny by default");
            remove(mesh, "meshtrafficpermission", "allow-all").await?;
            everyone(&zones, 403).await?;
            nobody_is_said_to_be_allowed(mesh).await?;

            chapter("a service, in the old form");
            let one = "from: [{targetRef: {kind: MeshService, name: client}, default: {action: Allow}}]";
            mesh.global.apply(&permission(one)).await?;
            everyone(&zones, 200).await?;
            strange.answers("/", 403).await?;
            refused(&strange).await?;

            chapter("all but a service, in the old form");
            let but = "from: [{targetRef: {kind: Mesh}, default: {action: Allow}}, {targetRef: {kind: MeshSubset, tags: {kuma.io/service: client}}, default: {action: Deny}}]";
            mesh.global.apply(&permission(but)).await?;
            everyone(&zones, 403).await?;
            strange.answers("/", 200).await?;

            chapter("an identity, in the new form");
            let exact = "rules: [{default: {allow: [{spiffeID: {type: Exact, value: \"spiffe://default/client\"}}]}}]";
            mesh.global.apply(&permission(exact)).await?;
            everyone(&zones, 200).await?;
            strange.answers("/", 403).await?;

            chapter("denial comes before permission");
            let denied = "rules: [{default: {allow: [{spiffeID: {type: Prefix, value: \"spiffe://default\"}}], deny: [{spiffeID: {type: Exact, value: \"spiffe://default/stranger\"}}]}}]";
            mesh.global.apply(&permission(denied)).await?;
            everyone(&zones, 200).await?;
            strange.answers("/", 403).await?;
            remove(mesh, "meshtrafficpermission", "some").await?;
            everyone(&zones, 403).await?;
            allow_all(mesh).await?;
            everyone(&zones, 200).await
        })
    });
}

/// The zone says that nothing is allowed, and its proxies whom they refused.
async fn nobody_is_said_to_be_allowed(mesh: &Deployment) -> Result<()> {
    let api = mesh.zone("east")?.control_plane.api();
    eventually("the condition of the services", LIMIT, || async {
        let services = api.get("/meshes/default/meshservices").await?.to_string();
        ensure!(services.contains("NobodyAllowed"), "{services}");
        Ok(())
    })
    .await?;
    // The agent looks now and then, and what it saw is stored with other counters.
    eventually("a note of those who were refused", 2 * LIMIT, || async {
        let proxies = api.get("/meshes/default/dataplanes/_overview").await?.to_string();
        ensure!(proxies.contains("lastDenied"), "{proxies}");
        Ok(())
    })
    .await
}

async fn allow_all(mesh: &Deployment) -> Result<()> {
    let all = permission("rules: [{default: {allow: [{spiffeID: {type: Prefix, value: \"spiffe://default\"}}]}}]");
    mesh.global.apply(&all).await.map(|_| ())
}

/// Waits until the client's requests have this status, and Redis agrees.
async fn everyone(zones: &TwoZones, status: u16) -> Result<()> {
    for service in zones.near_and_far().await? {
        service.answers("/", status).await?;
        if status == 200 {
            eventually("Redis to answer", LIMIT, || service.redis_zone()).await?;
        } else {
            refused(&service).await?;
        }
    }
    Ok(())
}

async fn refused(service: &Service) -> Result<()> {
    eventually("Redis to refuse", LIMIT, || async {
        let answer = service.redis_zone().await;
        ensure!(answer.is_err(), "{answer:?}");
        Ok(())
    })
    .await
}
