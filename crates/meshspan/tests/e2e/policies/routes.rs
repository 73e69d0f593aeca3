//! MeshHTTPRoute and MeshTCPRoute.

use anyhow::{Result, ensure};
use meshspan_demo::Deployment;
use meshspan_lab::{eventually, isolated};

use super::calls::remove;
use super::stages::TwoZones;
use crate::clients::LIMIT;
use crate::stage::{chapter, on_stage};

/// A route of a MeshMultiZoneService; `rules` is YAML on one line.
async fn route(mesh: &Deployment, kind: &str, service: &str, rules: &str) -> Result<()> {
    let document = format!(
        "type: {kind}
name: route
mesh: default
spec:
  to:
  - targetRef: {{kind: MeshMultiZoneService, labels: {{kuma.io/display-name: {service}}}}}
    rules: {rules}
"
    );
    mesh.global.apply(&document).await.map(|_| ())
}

fn backend(service: &str, port: u16, weight: u32) -> String {
    format!(
        "{{kind: MeshMultiZoneService, labels: {{kuma.io/display-name: {service}}}, port: {port}, weight: {weight}}}"
    )
}

#[test]
fn requests_and_connections_go_where_routes_say() {
    isolated(|| {
        on_stage(&["east", "west"], async |mesh| {
            let zones = TwoZones::start(mesh).await?;
            for (service, other, home, away) in [("near", "far", "east", "west"), ("far", "near", "west", "east")] {
                let one = zones.service(service).await?;
                let (own, its) = (backend(service, 8080, 1), backend(other, 8080, 1));

                chapter(&format!(
                    "{service}: one path goes elsewhere, with another path and a header"
                ));
                let rules = format!(
                    "[{{matches: [{{path: {{type: PathPrefix, value: /v2}}}}], default: {{filters: [{{type: URLRewrite, urlRewrite: {{path: {{type: ReplacePrefixMatch, replacePrefixMatch: /new}}}}}}, {{type: RequestHeaderModifier, requestHeaderModifier: {{set: [{{name: x-canary, value: 'yes'}}]}}}}], backendRefs: [{its}]}}}}]"
                );
                route(mesh, "MeshHTTPRoute", service, &rules).await?;
                one.answered_by("/v2/a", &[away]).await?;
                one.answered_by("/v1", &[home]).await?;
                one.answered_by("/v22", &[home]).await?;
                let answer: meshspan_lab::workload::Echo = serde_json::from_slice(one.get("/v2/a").await?.body())?;
                ensure!(answer.path == "/new/a", "{answer:?}");
                ensure!(
                    answer.headers.get("x-canary").map(String::as_str) == Some("yes"),
                    "{answer:?}"
                );

                chapter(&format!("{service}: half of the requests go elsewhere"));
                let rules = format!(
                    "[{{matches: [{{path: {{type: PathPrefix, value: /}}}}], default: {{backendRefs: [{own}, {its}]}}}}]"
                );
                route(mesh, "MeshHTTPRoute", service, &rules).await?;
                one.answered_by("/", &["east", "west"]).await?;
                let counts = one.zones("/", 100).await?;
                ensure!(counts.values().all(|count| (25..=75).contains(count)), "{counts:?}");

                chapter(&format!("{service}: a redirect, and a backend that does not exist"));
                let nowhere = backend("nowhere", 8080, 1);
                let rules = format!(
                    "[{{matches: [{{path: {{type: Exact, value: /old}}}}], default: {{filters: [{{type: RequestRedirect, requestRedirect: {{hostname: example.com, statusCode: 301}}}}]}}}}, {{matches: [{{path: {{type: PathPrefix, value: /broken}}}}], default: {{backendRefs: [{nowhere}]}}}}]"
                );
                route(mesh, "MeshHTTPRoute", service, &rules).await?;
                one.answers("/old", 301).await?;
                one.answers("/broken", 500).await?;
                one.answered_by("/", &[home]).await?;
                remove(mesh, "meshhttproute", "route").await?;
                one.answers("/broken", 200).await?;

                chapter(&format!("{service}: connections"));
                let tcp = format!("[{{default: {{backendRefs: [{}]}}}}]", backend(other, 6379, 1));
                eventually("Redis", LIMIT, || async {
                    ensure!(one.redis_zone().await? == home);
                    Ok(())
                })
                .await?;
                route(mesh, "MeshTCPRoute", service, &tcp).await?;
                eventually("Redis elsewhere", LIMIT, || async {
                    ensure!(one.redis_zone().await? == away);
                    Ok(())
                })
                .await?;
                remove(mesh, "meshtcproute", "route").await?;
            }
            Ok(())
        })
    });
}
