//! The Kubernetes form, hand-made MeshServices with more labels, several named ports, another range of addresses.

use anyhow::{Result, ensure};
use meshspan_demo::{ApplicationKind, DeploymentOptions, WorkloadPort, WorkloadSpec};
use meshspan_lab::{eventually, isolated};
use serde_json::json;

use crate::clients::{LIMIT, echo, hostname, look_up, matched, redis_zone};
use crate::stage::{chapter, on_stage, on_stage_with};

const KUBERNETES_FORM: &str = "
apiVersion: kuma.io/v1alpha1
kind: MeshMultiZoneService
metadata:
  name: redis
  namespace: kuma-system
  labels:
    kuma.io/mesh: default
spec:
  selector:
    meshService:
      matchLabels:
        kuma.io/display-name: redis-cache
        k8s.kuma.io/namespace: redis-system
  ports:
  - {name: redis-non-tls, port: 16739, appProtocol: tcp}
  - {name: status, port: 80, appProtocol: http}
";

#[test]
fn kubernetes_form_hand_made_services_named_ports_and_another_range() {
    let options = DeploymentOptions {
        zones: vec![("east", "KUMA_IPAM_MESH_MULTI_ZONE_SERVICE_CIDR", "253.4.0.0/16")],
        ..DeploymentOptions::default()
    };
    isolated(|| {
        on_stage_with(&["east", "west"], &options, async |mesh| {
            let port = |name: &str, number, protocol: &str, application| WorkloadPort {
                name: name.to_owned(),
                number,
                protocol: protocol.to_owned(),
                application: Some(application),
            };
            let ports = vec![
                port("main", 6379, "tcp", ApplicationKind::Redis),
                port("info", 8080, "http", ApplicationKind::Echo),
            ];
            let _west = mesh.workload(WorkloadSpec::redis("west", "redis").ports(ports)).await?;
            let client = mesh.workload(WorkloadSpec::client("east", "client")).await?;

            chapter("a hand-made MeshService with a namespace label and named ports in west");
            let by_hand = |name: &str, namespace: &str| {
                json!({
                    "type": "MeshService", "mesh": "default", "name": name,
                    "labels": { "kuma.io/origin": "zone", "k8s.kuma.io/namespace": namespace, "kuma.io/display-name": "redis-cache" },
                    "spec": {
                        "selector": { "dataplaneTags": { "kuma.io/service": "redis" } },
                        "ports": [
                            { "name": "redis-non-tls", "port": 16739, "targetPort": 6379, "appProtocol": "tcp" },
                            { "name": "status", "port": 80, "targetPort": 8080, "appProtocol": "http" },
                        ],
                    },
                })
            };
            let api = mesh.zone("west")?.control_plane.api();
            for (name, namespace) in [
                ("redis-cache.redis-system", "redis-system"),
                ("redis-cache.elsewhere", "elsewhere"),
            ] {
                api.put(
                    &format!("/meshes/default/meshservices/{name}"),
                    &by_hand(name, namespace),
                )
                .await?;
            }

            chapter("both labels select: one of the two");
            mesh.global.apply(KUBERNETES_FORM).await?;
            matched(mesh, "east", "redis", 1).await?;

            chapter("each named port reaches its application");
            let name = hostname("redis");
            let redis = look_up(&client, &name, 16739).await?;
            eventually("redis", LIMIT, || async {
                ensure!(redis_zone(client.machine(), redis).await? == "west");
                Ok(())
            })
            .await?;
            let status = (redis.ip(), 80).into();
            let answer = eventually("status", LIMIT, || echo(client.machine(), status, &name)).await?;
            ensure!(answer.zone == "west", "{answer:?}");

            chapter("the zone with another range gives an address of it, the other zone does not");
            ensure!(redis.ip().to_string().starts_with("253.4."), "{redis}");
            let west = mesh.zone("west")?;
            let vip = eventually("a VIP in west", LIMIT, || west.vip("default", "redis")).await?;
            ensure!(vip.starts_with("243."), "{vip}");
            Ok(())
        })
    });
}

#[test]
fn what_is_wrong_is_said_and_changes_nothing() {
    isolated(|| on_stage(&["east"], async |mesh| refusals(mesh).await));
}

async fn refusals(mesh: &meshspan_demo::Deployment) -> Result<()> {
    let valid = crate::clients::multi_zone_service("redis", 6379, "tcp");
    let before = mesh.global.api().get("/meshmultizoneservices").await?;
    for (document, complaint) in [
        ("type: MeshMultiZoneService\nname: [", "applied.yaml"),
        (
            "type: MeshMultiZoneServise\nname: redis\nmesh: default\nspec: {}",
            "MeshMultiZoneServise",
        ),
        (valid.replace("mesh: default", "mesh: absent").as_str(), "absent"),
        (
            valid.replace("kuma.io/display-name: redis", "").as_str(),
            "spec.selector.meshService.matchLabels",
        ),
        (
            valid.replace("{port: 6379, appProtocol: tcp}", "").as_str(),
            "spec.ports",
        ),
        (valid.replace("6379", "99999").as_str(), "spec.ports[0].port"),
        (valid.replace("name: redis\n", "name: Redis_1\n").as_str(), "name"),
    ] {
        let Err(error) = mesh.global.apply(document).await else {
            anyhow::bail!("was accepted:\n{document}")
        };
        ensure!(
            format!("{error:#}").contains(complaint),
            "{complaint:?} is not in: {error:#}"
        );
    }
    let after = mesh.global.api().get("/meshmultizoneservices").await?;
    ensure!(before == after, "{before} became {after}");
    Ok(())
}
