#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::sync::Arc;

use meshspan_model::{Resource, labels};
use serde_json::json;

use super::*;
use crate::feature::Feature;
use crate::node::About;
use crate::outgoing::Direction;
use crate::proto::discovery::Status;

fn global(resources: &[Resource]) -> Outbox {
    let mut outbox = Outbox::new(Direction::ToZones {
        public_key_of: Arc::new(|key| Ok(key.to_vec())),
    });
    for resource in resources {
        put(&mut outbox, resource);
    }
    outbox
}

fn put(outbox: &mut Outbox, resource: &Resource) {
    outbox.apply(&resource.key(), Some(resource)).unwrap();
}

fn remove(outbox: &mut Outbox, resource: &Resource) {
    outbox.apply(&resource.key(), None).unwrap();
}

fn mesh(name: &str, skip: &str) -> Resource {
    Resource::new(Kind::Mesh, "", name, json!({"skipCreatingInitialPolicies": [skip]}))
}

fn service(name: &str, zone: &str, state: &str) -> Resource {
    Resource::new(
        Kind::MeshService,
        "default",
        format!("{name}-{zone}"),
        json!({"state": state}),
    )
    .with_label(labels::ORIGIN, "zone")
    .with_label(labels::ZONE, zone)
    .with_label(labels::DISPLAY_NAME, name)
}

fn zone(name: &str, enabled: bool) -> Resource {
    Resource::new(Kind::Zone, "", name, json!({"enabled": enabled}))
}

fn sender(zone: &str, outbox: &Outbox) -> Sender {
    sender_of(crate::MAX_MESSAGE, zone, outbox)
}

fn sender_of(max_message: usize, zone: &str, outbox: &Outbox) -> Sender {
    Sender::new(
        "global",
        Peer {
            zone: zone.to_owned(),
            features: BTreeSet::new(),
        },
        max_message,
        outbox,
    )
}

fn subscribe(kind: &str) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        node: Some(node::describe("east", &About::default())),
        type_url: kind.to_owned(),
        resource_names_subscribe: vec!["*".to_owned()],
        ..DeltaDiscoveryRequest::default()
    }
}

fn ack(response: &DeltaDiscoveryResponse) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        node: Some(node::plain("east")),
        type_url: response.type_url.clone(),
        response_nonce: response.nonce.clone(),
        ..DeltaDiscoveryRequest::default()
    }
}

fn nack(response: &DeltaDiscoveryResponse, message: &str) -> DeltaDiscoveryRequest {
    let error_detail = Some(Status {
        message: message.to_owned(),
        ..Status::default()
    });
    DeltaDiscoveryRequest {
        resource_names_subscribe: vec!["*".to_owned()],
        error_detail,
        ..ack(response)
    }
}

fn names(response: &DeltaDiscoveryResponse) -> Vec<String> {
    response
        .resources
        .iter()
        .map(|resource| crate::wire::decode_key(resource).unwrap().to_string())
        .collect()
}

#[test]
fn full_state_then_deltas_with_one_response_under_way() {
    let mut outbox = global(&[mesh("default", "a"), mesh("other", "a")]);
    let mut sender = sender("east", &outbox);
    let first = sender.on_request(&subscribe("Mesh"), &outbox).response.unwrap();
    assert_eq!((first.nonce.as_str(), first.type_url.as_str()), ("1", "Mesh"));
    assert_eq!(first.control_plane.as_ref().unwrap().identifier, "global");
    assert_eq!(names(&first), ["default.", "other."]);

    // Three changes while the first response is under way become one delta.
    put(&mut outbox, &mesh("default", "b"));
    assert_eq!(sender.on_change(&outbox), []);
    put(&mut outbox, &mesh("default", "c"));
    remove(&mut outbox, &mesh("other", "a"));
    assert_eq!(sender.on_change(&outbox), []);
    let delta = sender.on_request(&ack(&first), &outbox).response.unwrap();
    assert_eq!(
        (delta.nonce.as_str(), names(&delta), delta.removed_resources.clone()),
        ("2", vec!["default.".to_owned()], vec!["other.".to_owned()])
    );
    assert_eq!(sender.on_request(&ack(&delta), &outbox), Reaction::default());

    // There and back again is no change.
    put(&mut outbox, &mesh("default", "x"));
    put(&mut outbox, &mesh("default", "c"));
    assert_eq!(sender.on_change(&outbox), []);
    // An answer to something else, or a second one, is ignored.
    assert_eq!(sender.on_request(&ack(&first), &outbox), Reaction::default());
    let stats = sender.stats().next().unwrap();
    assert_eq!(
        (stats.0, stats.1.responses_sent, stats.1.responses_acknowledged),
        (Kind::Mesh, 2, 2)
    );
}

#[test]
fn empty_types_get_an_empty_response_and_unknown_types_silence() {
    let outbox = global(&[]);
    let mut sender = sender("east", &outbox);
    let empty = sender.on_request(&subscribe("MeshService"), &outbox).response.unwrap();
    assert!(empty.resources.is_empty() && empty.removed_resources.is_empty());
    for kind in ["MeshGateway", "Dataplane", "Zone", ""] {
        assert_eq!(
            sender.on_request(&subscribe(kind), &outbox),
            Reaction::default(),
            "{kind}"
        );
    }
}

#[test]
fn what_was_rejected_is_sent_again_only_after_a_change() {
    let mut outbox = global(&[mesh("default", "a")]);
    let mut sender = sender("east", &outbox);
    let first = sender.on_request(&subscribe("Mesh"), &outbox).response.unwrap();
    let reaction = sender.on_request(&nack(&first, "no"), &outbox);
    assert_eq!(
        reaction,
        Reaction {
            response: None,
            rejection: Some("no".to_owned())
        }
    );
    put(&mut outbox, &mesh("default", "b"));
    assert_eq!(sender.on_change(&outbox).len(), 1);
}

#[test]
fn a_resumed_stream_gets_only_differences() {
    let outbox = global(&[mesh("a", "1"), mesh("b", "1"), mesh("c", "1")]);
    let mut before = sender("east", &outbox);
    let full = before.on_request(&subscribe("Mesh"), &outbox).response.unwrap();
    let versions = full.resources.iter().map(|resource| {
        (
            crate::wire::decode_key(resource).unwrap().to_string(),
            resource.version.clone(),
        )
    });
    let mut request = subscribe("Mesh");
    request.initial_resource_versions = versions.collect();
    request.initial_resource_versions.remove("c.");
    request
        .initial_resource_versions
        .insert("gone.".to_owned(), "1".to_owned());
    request
        .initial_resource_versions
        .insert("b.".to_owned(), "old".to_owned());
    let resumed = sender("east", &outbox).on_request(&request, &outbox).response.unwrap();
    assert_eq!(
        (names(&resumed), resumed.removed_resources),
        (vec!["b.".to_owned(), "c.".to_owned()], vec!["gone.".to_owned()])
    );
}

#[test]
fn services_reach_other_zones_while_their_zone_is_enabled() {
    let mut outbox = global(&[
        zone("west", true),
        service("redis", "west", "Available"),
        service("redis", "east", "Available"),
    ]);
    let mut east = sender("east", &outbox);
    let first = east.on_request(&subscribe("MeshService"), &outbox).response.unwrap();
    assert_eq!(names(&first), ["redis-f8xz8bddwx8b5c22.default"]);
    east.on_request(&ack(&first), &outbox);
    let mut west = sender("west", &outbox);
    assert_eq!(
        names(&west.on_request(&subscribe("MeshService"), &outbox).response.unwrap()),
        ["redis-cd75xf46x4b2zx4x.default"]
    );

    put(&mut outbox, &zone("west", false));
    let gone = east.on_change(&outbox);
    assert_eq!(gone[0].removed_resources, ["redis-f8xz8bddwx8b5c22.default"]);
    assert_eq!(west.on_change(&outbox), []);
    east.on_request(&ack(&gone[0]), &outbox);
    put(&mut outbox, &service("redis", "west", "Unavailable"));
    assert_eq!(east.on_change(&outbox), []);
    put(&mut outbox, &zone("west", true));
    assert_eq!(names(&east.on_change(&outbox)[0]), ["redis-f8xz8bddwx8b5c22.default"]);
}

#[test]
fn features_decide_what_a_zone_gets() {
    let generator = json!({"selector": {"meshMultiZoneService": {"matchLabels": {}}}, "template": "x"});
    let outbox = global(&[Resource::new(Kind::HostnameGenerator, "", "generator", generator)]);
    let mut old = subscribe("HostnameGenerator");
    old.node = Some(node::plain("east"));
    assert_eq!(
        sender("east", &outbox)
            .on_request(&old, &outbox)
            .response
            .unwrap()
            .resources,
        []
    );
    let new = sender("east", &outbox)
        .on_request(&subscribe("HostnameGenerator"), &outbox)
        .response
        .unwrap();
    assert_eq!(new.resources.len(), 1);
    assert!(Feature::OF_NODE.contains(&Feature::HostnameGeneratorMultiZone));
}

#[test]
fn a_stream_that_fell_behind_the_log_catches_up() {
    let mut outbox = global(&[mesh("stays", "1"), mesh("goes", "1")]);
    let mut sender = sender("east", &outbox);
    let first = sender.on_request(&subscribe("Mesh"), &outbox).response.unwrap();
    sender.on_request(&ack(&first), &outbox);
    remove(&mut outbox, &mesh("goes", "1"));
    for round in 0..10_100 {
        put(&mut outbox, &mesh("busy", &round.to_string()));
    }
    let caught_up = sender.on_change(&outbox);
    assert_eq!(
        (names(&caught_up[0]), caught_up[0].removed_resources.clone()),
        (vec!["busy.".to_owned()], vec!["goes.".to_owned()])
    );
}

#[test]
fn two_resources_with_one_travelling_name_do_not_flap() {
    let first = Resource::new(Kind::MeshMultiZoneService, "default", "a", json!({"ports": [1]}))
        .with_label(labels::DISPLAY_NAME, "redis");
    let second = Resource::new(Kind::MeshMultiZoneService, "default", "b", json!({"ports": [2]}))
        .with_label(labels::DISPLAY_NAME, "redis");
    let mut outbox = global(&[first.clone(), second]);
    let mut sender = sender("east", &outbox);
    let full = sender
        .on_request(&subscribe("MeshMultiZoneService"), &outbox)
        .response
        .unwrap();
    assert_eq!(full.resources.len(), 1);
    sender.on_request(&ack(&full), &outbox);
    remove(&mut outbox, &first);
    let other = sender.on_change(&outbox);
    assert_eq!((other[0].resources.len(), other[0].removed_resources.len()), (1, 0));
}

fn secret(name: &str, bytes: usize) -> Resource {
    Resource::new(Kind::Secret, "default", name, json!({"data": "A".repeat(bytes)}))
}

#[test]
fn large_deltas_are_sent_in_parts() {
    let mut outbox = global(&[]);
    let mut sender = sender("east", &outbox);
    let empty = sender.on_request(&subscribe("Secret"), &outbox).response.unwrap();
    sender.on_request(&ack(&empty), &outbox);
    for name in ["a", "b", "c"] {
        put(&mut outbox, &secret(name, 2 * 1024 * 1024));
    }
    let part = sender.on_change(&outbox);
    assert_eq!(names(&part[0]), ["a.default", "b.default"]);
    let rest = sender.on_request(&ack(&part[0]), &outbox).response.unwrap();
    assert_eq!(names(&rest), ["c.default"]);
    assert_eq!(
        (part[0].system_version_info.as_str(), rest.system_version_info.as_str()),
        ("", "")
    );
}

#[test]
fn no_message_is_larger_than_the_peer_takes_and_the_last_part_of_a_full_state_ends_it() {
    const MAX: usize = 100_000;
    let mut outbox = global(&[secret("huge", 200_000)]);
    for index in 0..40 {
        put(&mut outbox, &secret(&format!("s{index:02}"), 30_000));
    }
    let mut sender = sender_of(MAX, "east", &outbox);
    let mut part = sender.on_request(&subscribe("Secret"), &outbox).response.unwrap();
    let (mut sent, mut parts) = (Vec::new(), 1);
    while part.system_version_info == PART {
        assert!(part.encoded_len() <= MAX);
        sent.extend(names(&part));
        // Other kinds do not wait.
        if parts == 1 {
            let meshes = sender.on_request(&subscribe("Mesh"), &outbox).response.unwrap();
            assert_eq!(meshes.system_version_info, "");
            // What changes while parts are under way is in the rest.
            put(&mut outbox, &secret("t", 4));
            remove(&mut outbox, &secret("s39", 4));
            assert_eq!(sender.on_change(&outbox), []);
        }
        // An answer that says no does not stop the rest.
        part = sender.on_request(&nack(&part, "no"), &outbox).response.unwrap();
        parts += 1;
    }
    assert!(part.encoded_len() <= MAX);
    sent.extend(names(&part));
    let expected: Vec<String> = (0..39)
        .map(|index| format!("s{index:02}.default"))
        .chain(["t.default".to_owned()])
        .collect();
    assert_eq!(sent, expected, "all but the one that no message can hold");
    assert!(parts >= 10);
    assert_eq!(sender.on_request(&ack(&part), &outbox), Reaction::default());
    put(&mut outbox, &secret("huge", 12));
    assert_eq!(names(&sender.on_change(&outbox)[0]), ["huge.default"]);
}
