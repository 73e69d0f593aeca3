//! Two meshes with equal names share nothing.

use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use meshspan_xds::ResourceType;
use prost::Message as _;

use crate::support::documents::{
    PORT, cluster, dataplane, mesh_with_mtls, multi_zone_cluster, multi_zone_generator, multi_zone_service,
};
use crate::support::{Agent, ControlPlane, Proxy};

#[tokio::test]
async fn equal_services_of_two_meshes_never_mix() {
    let cp = ControlPlane::start().await;
    cp.put(multi_zone_generator("{{ .DisplayName }}.mzsvc.mesh.local"))
        .await;
    let mut proxies = Vec::new();
    for (mesh, address) in [("blue", "10.0.0.1"), ("green", "10.0.0.2")] {
        cp.apply(&mesh_with_mtls(mesh, "1h")).await;
        cp.put(multi_zone_service(mesh, "redis", "redis", PORT)).await;
        let proxy = Proxy::start(&cp, &dataplane(mesh, "redis-1", "redis", address)).await;
        proxies.push((mesh, address, proxy));
    }
    let mut addresses = Vec::new();
    let mut trusts = Vec::new();
    for (mesh, address, proxy) in &mut proxies {
        let names = [cluster(mesh, "redis"), multi_zone_cluster(mesh, "redis", PORT)];
        let other = if *mesh == "blue" { "green" } else { "blue" };
        let identity = format!("spiffe://{mesh}/redis");
        let says_whom_to_trust = |proxy: &Proxy, name: &str| {
            let Some((_, body)) = proxy.mirror.get(ResourceType::Cluster, name) else {
                return false;
            };
            contains(body, &identity)
        };
        proxy
            .until("both services with identities, ready", |proxy| {
                names.iter().all(|name| {
                    let ready = [(format!("{address}:{PORT}"), true)];
                    proxy.has_all_of(name) && says_whom_to_trust(proxy, name) && proxy.health(name) == ready
                }) && proxy.certificate().is_some()
            })
            .await;
        for name in &names {
            let (_, body) = proxy.mirror.get(ResourceType::Cluster, name).unwrap();
            assert!(Cluster::decode(body.clone()).is_ok());
            assert!(!contains(body, other), "{name} of {mesh} speaks of {other}");
            assert!(
                contains(body, &format!(".redis.{PORT}.{mesh}.")),
                "the server name holds the mesh"
            );
        }
        assert!(proxy.versions().keys().all(|(_, name)| !name.contains(other)));
        trusts.push(proxy.trust().unwrap());
        let mut agent = Agent::connect(&cp, mesh, "redis-1", None).await;
        agent
            .until("the name", |agent| agent.names.contains_key("redis.mzsvc.mesh.local"))
            .await;
        addresses.push(agent.names["redis.mzsvc.mesh.local"].clone());
    }
    assert_ne!(addresses[0], addresses[1], "one name, another address in each mesh");
    assert_ne!(trusts[0], trusts[1]);
}

fn contains(body: &[u8], text: &str) -> bool {
    body.windows(text.len()).any(|window| window == text.as_bytes())
}
