#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use meshspan_model::labels;
use meshspan_store::{MemoryStore, Store};
use serde_json::json;

use super::*;

fn east() -> Receiver {
    let check_secret = |secret: &Resource| match secret.spec["data"].as_str() {
        Some("Z2FyYmFnZQ==") => Err("data: is garbage".to_owned()),
        _ => Ok(()),
    };
    Receiver::of_global("east", About::default(), Arc::new(check_secret))
}

fn of_west() -> Receiver {
    Receiver::of_zone("west", About::default(), std::sync::Arc::new(|_, _| Ok(())))
}

fn service(name: &str, port: u16) -> Resource {
    Resource::new(Kind::MeshService, "default", name, json!({"ports": [{"port": port}]}))
        .with_label(labels::ORIGIN, "global")
        .with_label(labels::ZONE, "west")
}

/// As zone west sends it.
fn sent_by_west(mesh: &str, display_name: &str, port: u16) -> Resource {
    let mut service = service(&name_from_west(mesh, display_name), port)
        .with_label(labels::ORIGIN, "zone")
        .with_label(labels::DISPLAY_NAME, display_name);
    service.mesh = mesh.to_owned();
    service
}

fn name_from_west(mesh: &str, display_name: &str) -> String {
    meshspan_model::name::synced(mesh, display_name, Some("west"), None)
}

fn response(resources: &[Resource], removed: &[&str]) -> DeltaDiscoveryResponse {
    DeltaDiscoveryResponse {
        type_url: "MeshService".to_owned(),
        nonce: "7".to_owned(),
        resources: resources
            .iter()
            .map(|resource| wire::encode(resource, true).unwrap())
            .collect(),
        removed_resources: removed.iter().map(|name| (*name).to_owned()).collect(),
        ..DeltaDiscoveryResponse::default()
    }
}

/// Receives, stores and answers, as the streams do.
async fn deliver(
    receiver: &mut Receiver,
    store: &MemoryStore,
    response: &DeltaDiscoveryResponse,
) -> DeltaDiscoveryRequest {
    let delivery = receiver.receive(response, &store.snapshot());
    store.apply(delivery.writes.clone()).await.unwrap();
    receiver.applied(&delivery)
}

fn names(store: &MemoryStore) -> Vec<String> {
    store
        .list(Kind::MeshService, None)
        .iter()
        .map(|stored| stored.resource.name.clone())
        .collect()
}

fn error(request: &DeltaDiscoveryRequest) -> &str {
    request
        .error_detail
        .as_ref()
        .map_or("", |detail| detail.message.as_str())
}

#[tokio::test]
async fn the_first_response_replaces_what_is_the_peers_and_nothing_else() {
    let store = MemoryStore::new();
    let local = Resource::new(Kind::MeshService, "default", "local", json!({}));
    store
        .apply(vec![Write::create(local), Write::create(service("old", 1))])
        .await
        .unwrap();
    let mut receiver = east();
    let request = &receiver
        .subscribe(&store.snapshot())
        .into_iter()
        .find(|request| request.type_url == "MeshService")
        .unwrap();
    assert_eq!(request.resource_names_subscribe, ["*"]);
    assert!(request.initial_resource_versions.is_empty() && request.response_nonce.is_empty());
    assert_eq!(request.node.as_ref().unwrap().id, "east");

    let ack = deliver(&mut receiver, &store, &response(&[service("new", 1)], &[])).await;
    assert_eq!(
        (ack.type_url.as_str(), ack.response_nonce.as_str(), error(&ack)),
        ("MeshService", "7", "")
    );
    assert!(ack.resource_names_subscribe.is_empty() && ack.node.unwrap().metadata.is_none());
    assert_eq!(names(&store), ["local", "new"]);

    // Later responses are deltas; a removal cannot touch what is local.
    deliver(
        &mut receiver,
        &store,
        &response(&[service("more", 1)], &["new.default", "local.default", "nonsense"]),
    )
    .await;
    assert_eq!(names(&store), ["local", "more"]);
}

#[tokio::test]
async fn local_status_is_never_touched() {
    let store = MemoryStore::new();
    let mut receiver = east();
    receiver.subscribe(&store.snapshot());
    deliver(&mut receiver, &store, &response(&[service("redis", 1)], &[])).await;
    let key = ResourceKey::new(Kind::MeshService, "default", "redis");
    let status = json!({"vips": [{"ip": "241.0.0.7"}]});
    store
        .apply(vec![Write::put_status(key.clone(), status.clone())])
        .await
        .unwrap();
    let mut changed = service("redis", 2);
    changed.status = Some(json!({"vips": []}));
    deliver(&mut receiver, &store, &response(&[changed], &[])).await;
    let stored = store.get(&key).unwrap();
    assert_eq!(stored.resource.status, Some(status));
    assert_eq!(stored.resource.spec["ports"][0]["port"], 2);
}

#[tokio::test]
async fn valid_resources_are_applied_and_invalid_ones_rejected_together() {
    let store = MemoryStore::new();
    let taken = Resource::new(Kind::MeshService, "default", "taken", json!({}));
    store.apply(vec![Write::create(taken)]).await.unwrap();
    let mut receiver = east();
    receiver.subscribe(&store.snapshot());
    deliver(&mut receiver, &store, &response(&[service("kept", 1)], &[])).await;
    let own = service("own", 1).with_label(labels::ZONE, "east");
    let nack = deliver(
        &mut receiver,
        &store,
        &response(&[service("kept", 0), service("taken", 1), own, service("good", 1)], &[]),
    )
    .await;
    assert_eq!(nack.resource_names_subscribe, ["*"]);
    for part in [
        "MeshService default/kept: spec.ports[0].port",
        "MeshService default/taken: a resource of this name exists here",
        "own: comes from this zone",
    ] {
        assert!(error(&nack).contains(part), "{}", error(&nack));
    }
    assert_eq!(names(&store), ["good", "kept", "taken"]);
    // The last good copy stays, also if the full state has an invalid one.
    let mut fresh = east();
    fresh.subscribe(&store.snapshot());
    deliver(&mut fresh, &store, &response(&[service("kept", 0)], &[])).await;
    assert_eq!(names(&store), ["kept", "taken"]);
}

#[tokio::test]
async fn a_new_stream_resumes_with_the_versions_of_what_is_still_there() {
    let store = MemoryStore::new();
    let mut receiver = east();
    receiver.subscribe(&store.snapshot());
    let full = response(&[service("a", 1), service("b", 1)], &[]);
    deliver(&mut receiver, &store, &full).await;
    store
        .apply(vec![Write::delete(ResourceKey::new(Kind::MeshService, "default", "b"))])
        .await
        .unwrap();
    let requests = receiver.subscribe(&store.snapshot());
    let request = requests
        .iter()
        .find(|request| request.type_url == "MeshService")
        .unwrap();
    let versions: Vec<_> = request.initial_resource_versions.iter().collect();
    assert_eq!(versions, [(&"a.default".to_owned(), &full.resources[0].version)]);
    // Now the first response is a delta: what it does not name stays.
    deliver(&mut receiver, &store, &response(&[], &[])).await;
    assert_eq!(names(&store), ["a"]);
    // Types of which nothing is known are still expected in full.
    let mesh = requests.iter().find(|request| request.type_url == "Mesh").unwrap();
    assert!(mesh.initial_resource_versions.is_empty());
}

#[tokio::test]
async fn the_global_keeps_status_and_owner_of_what_zones_send() {
    let store = MemoryStore::new();
    let mut receiver = of_west();
    receiver.subscribe(&store.snapshot());
    let mesh = Resource::new(Kind::Mesh, "", "default", json!({}));
    store.apply(vec![Write::create(mesh)]).await.unwrap();
    let mut sent = sent_by_west("default", "redis", 1);
    sent.status = Some(json!({"dataplaneProxies": {"total": 2}}));
    store
        .apply(vec![Write::create(Resource::new(Kind::Zone, "", "west", json!({})))])
        .await
        .unwrap();
    let taken = name_from_west("default", "taken");
    let east_owned = service(&taken, 1)
        .with_label(labels::ORIGIN, "zone")
        .with_label(labels::ZONE, "east");
    store.apply(vec![Write::create(east_owned)]).await.unwrap();
    let nack = deliver(
        &mut receiver,
        &store,
        &response(
            &[sent, sent_by_west("default", "taken", 2)],
            &[&format!("{taken}.default")],
        ),
    )
    .await;
    let expected = format!("MeshService default/{taken}: a resource of this name exists here");
    assert!(error(&nack).contains(&expected), "{}", error(&nack));
    let redis = name_from_west("default", "redis");
    let stored = store
        .get(&ResourceKey::new(Kind::MeshService, "default", redis.clone()))
        .unwrap();
    assert_eq!(stored.resource.status, Some(json!({"dataplaneProxies": {"total": 2}})));
    assert_eq!(
        (stored.resource.zone(), stored.resource.label(labels::ORIGIN)),
        ("west", "zone")
    );
    assert_eq!(stored.owner, Some(ResourceKey::new(Kind::Zone, "", "west")));
    assert_eq!(names(&store), [redis, taken]);
}

#[tokio::test]
async fn a_secret_that_holds_garbage_is_refused_alone() {
    let store = MemoryStore::new();
    let mut receiver = east();
    receiver.subscribe(&store.snapshot());
    for (kind, mesh, names) in [
        (Kind::Secret, "default", ["good", "bad"]),
        (
            Kind::GlobalSecret,
            "",
            ["zone-token-signing-public-key-1", "zone-token-signing-public-key-2"],
        ),
    ] {
        let secrets: Vec<_> = names
            .into_iter()
            .zip(["aGk=", "Z2FyYmFnZQ=="])
            .map(|(name, data)| Resource::new(kind, mesh, name, json!({ "data": data })))
            .collect();
        let mut full = response(&secrets, &[]);
        full.type_url = kind.name().to_owned();
        let nack = deliver(&mut receiver, &store, &full).await;
        let [good, bad] = names;
        assert!(
            error(&nack).ends_with(&format!("{bad}: data: is garbage")),
            "{}",
            error(&nack)
        );
        let stored = store.list(kind, None);
        assert_eq!(stored.len(), 1);
        assert_eq!(stored[0].resource.name, good);
    }
}

#[tokio::test]
async fn what_is_the_same_is_not_written() {
    let store = MemoryStore::new();
    let mut receiver = east();
    receiver.subscribe(&store.snapshot());
    let full = response(&[service("a", 1)], &[]);
    deliver(&mut receiver, &store, &full).await;
    let mut again = east();
    again.subscribe(&store.snapshot());
    assert!(again.receive(&full, &store.snapshot()).writes.is_empty());
}

#[test]
fn types_that_were_not_asked_for_are_rejected() {
    let mut receiver = of_west();
    let store = MemoryStore::new();
    receiver.subscribe(&store.snapshot());
    let mut response = response(&[], &[]);
    response.type_url = "Mesh".to_owned();
    let delivery = receiver.receive(&response, &store.snapshot());
    assert!(error(&receiver.applied(&delivery)).contains("\"Mesh\": was not asked for"));
}

#[tokio::test]
async fn what_a_zone_may_not_send_is_refused_one_by_one_until_it_is_right() {
    let store = MemoryStore::new();
    for (kind, name) in [(Kind::Zone, "west"), (Kind::Mesh, "default")] {
        let resource = Resource::new(kind, "", name, json!({}));
        store.apply(vec![Write::create(resource)]).await.unwrap();
    }
    let mut receiver = of_west();
    receiver.subscribe(&store.snapshot());
    let zones_own = |display_name| sent_by_west("default", display_name, 1);
    let lost = sent_by_west("unknown", "lost", 1);
    let name_of = |resource: &Resource| format!("MeshService {}/{}", resource.mesh, resource.name);
    let (liars_name, losts_name) = (name_of(&zones_own("liar")), name_of(&lost));
    let lost_on_the_wire = format!("{}.unknown", lost.name);
    let liar = zones_own("liar").with_label(labels::ZONE, "east");
    let full = response(&[zones_own("good"), liar, lost], &[]);
    let delivery = receiver.receive(&full, &store.snapshot());
    assert_eq!(delivery.obstacles, [Obstacle::MissingMesh("unknown".to_owned())].into());
    let nack = deliver(&mut receiver, &store, &full).await;
    for part in [
        format!("{liars_name}: labels[\"kuma.io/zone\"]"),
        format!("{losts_name}: mesh: \"unknown\" does not exist"),
    ] {
        assert!(error(&nack).contains(&part), "{}", error(&nack));
    }
    assert_eq!(names(&store), [name_from_west("default", "good")]);
    let refused = |receiver: &Receiver| {
        receiver
            .rejected()
            .map(|rejected| rejected.name.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(refused(&receiver), [liars_name, losts_name]);
    let ack = deliver(
        &mut receiver,
        &store,
        &response(&[zones_own("liar")], &[&lost_on_the_wire]),
    )
    .await;
    assert_eq!((error(&ack), refused(&receiver)), ("", Vec::new()));
}

fn part(resources: &[Resource]) -> DeltaDiscoveryResponse {
    DeltaDiscoveryResponse {
        system_version_info: PART.to_owned(),
        ..response(resources, &[])
    }
}

#[tokio::test]
async fn parts_replace_what_was_there_when_the_last_one_is_there() {
    let store = MemoryStore::new();
    for name in ["gone", "kept-1", "kept-2"] {
        store.apply(vec![Write::create(service(name, 1))]).await.unwrap();
    }
    let mut receiver = east();
    receiver.subscribe(&store.snapshot());
    deliver(&mut receiver, &store, &part(&[service("kept-1", 2)])).await;
    deliver(&mut receiver, &store, &part(&[service("new", 1)])).await;
    assert_eq!(names(&store), ["gone", "kept-1", "kept-2", "new"]);

    // If the stream ends before, everything is expected again.
    let requests = receiver.subscribe(&store.snapshot());
    let again = requests
        .iter()
        .find(|request| request.type_url == "MeshService")
        .unwrap();
    assert!(again.initial_resource_versions.is_empty());
    deliver(&mut receiver, &store, &part(&[service("kept-1", 2)])).await;
    deliver(&mut receiver, &store, &part(&[service("kept-2", 3)])).await;
    deliver(&mut receiver, &store, &response(&[], &[])).await;
    assert_eq!(names(&store), ["kept-1", "kept-2"]);
}

#[tokio::test]
async fn what_kept_a_resource_away_is_noticed_when_it_goes() {
    // In a zone, a resource of the zone's own has the name of one of the global's.
    let store = MemoryStore::new();
    let own = service("redis", 1)
        .with_label(labels::ORIGIN, "zone")
        .with_label(labels::ZONE, "east");
    let key = own.key();
    store.apply(vec![Write::create(own)]).await.unwrap();
    let mut receiver = east();
    receiver.subscribe(&store.snapshot());
    deliver(&mut receiver, &store, &response(&[service("redis", 2)], &[])).await;
    assert_eq!(receiver.unblocked(&store.snapshot()), None);
    store.apply(vec![Write::delete(key.clone())]).await.unwrap();
    assert_eq!(receiver.unblocked(&store.snapshot()), Some(&Obstacle::Taken(key)));
    receiver.subscribe(&store.snapshot());
    assert_eq!(receiver.unblocked(&store.snapshot()), None);

    // On the global, a mesh is missing.
    let zone = Resource::new(Kind::Zone, "", "west", json!({}));
    store.apply(vec![Write::create(zone)]).await.unwrap();
    let mut receiver = of_west();
    receiver.subscribe(&store.snapshot());
    deliver(
        &mut receiver,
        &store,
        &response(&[sent_by_west("late", "redis", 1)], &[]),
    )
    .await;
    assert_eq!(receiver.unblocked(&store.snapshot()), None);
    let mesh = Resource::new(Kind::Mesh, "", "late", json!({}));
    store.apply(vec![Write::create(mesh)]).await.unwrap();
    assert_eq!(
        receiver.unblocked(&store.snapshot()),
        Some(&Obstacle::MissingMesh("late".to_owned()))
    );
}

#[tokio::test]
async fn the_removal_of_what_was_rejected_is_heard_of_after_a_reconnect() {
    let store = MemoryStore::new();
    store.apply(vec![Write::create(service("kept", 1))]).await.unwrap();
    let mut receiver = east();
    receiver.subscribe(&store.snapshot());
    deliver(
        &mut receiver,
        &store,
        &response(&[service("kept", 0), service("good", 1)], &[]),
    )
    .await;
    let requests = receiver.subscribe(&store.snapshot());
    let request = requests
        .iter()
        .find(|request| request.type_url == "MeshService")
        .unwrap();
    assert_eq!(
        request.initial_resource_versions.get("kept.default"),
        Some(&String::new())
    );
}
