//! Random changes, answers and reconnects: zones end with exactly what the global offers them, and what is local is
//! never touched.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use futures::FutureExt as _;
use meshspan_model::{Kind, Resource, ResourceKey, labels};
use meshspan_store::{MemoryStore, Store, Write};
use meshspan_sync::About;
use meshspan_sync::outbox::{Outbox, Peer};
use meshspan_sync::outgoing::Direction;
use meshspan_sync::proto::discovery::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use meshspan_sync::receiver::Receiver;
use meshspan_sync::sender::Sender;
use proptest::prelude::*;
use serde_json::json;

#[derive(Clone, Debug)]
enum Step {
    Put {
        which: usize,
        value: u16,
    },
    Remove {
        which: usize,
    },
    EnableWest(bool),
    /// The zone takes one response.
    Deliver,
    /// The global takes one request.
    Answer,
    /// The global is told of changes.
    Notice,
    Reconnect,
    /// The zone's process forgets what it knows, its store stays.
    Restart,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..8_usize, 1..4_u16).prop_map(|(which, value)| Step::Put { which, value }),
        2 => (0..8_usize).prop_map(|which| Step::Remove { which }),
        1 => any::<bool>().prop_map(Step::EnableWest),
        4 => Just(Step::Deliver),
        4 => Just(Step::Answer),
        4 => Just(Step::Notice),
        1 => Just(Step::Reconnect),
        1 => Just(Step::Restart),
    ];
    prop::collection::vec(step, 0..60)
}

/// One of eight resources of the global; `value` 3 makes an invalid one.
fn resource(which: usize, value: u16) -> Resource {
    let port = if value == 3 { 0 } else { value };
    let name = ["a", "b"][which % 2];
    match which / 2 {
        0 => Resource::new(
            Kind::Mesh,
            "",
            name,
            json!({"skipCreatingInitialPolicies": [value.to_string()]}),
        ),
        1 => service(name, "west", port),
        2 => service(name, "east", port),
        _ => {
            let spec = json!({"selector": {"meshService": {"matchLabels": {"a": "b"}}}, "ports": [{"port": port, "appProtocol": "tcp"}]});
            Resource::new(Kind::MeshMultiZoneService, "default", name, spec)
        }
    }
}

fn service(name: &str, zone: &str, port: u16) -> Resource {
    Resource::new(
        Kind::MeshService,
        "default",
        format!("{name}-{zone}"),
        json!({"state": "Available", "selector": {}, "ports": [{"port": port, "appProtocol": "tcp"}]}),
    )
    .with_label(labels::ORIGIN, "zone")
    .with_label(labels::ZONE, zone)
}

struct System {
    outbox: Outbox,
    offered: BTreeMap<ResourceKey, Resource>,
    west_enabled: bool,
    sender: Sender,
    receiver: Receiver,
    store: MemoryStore,
    requests: VecDeque<DeltaDiscoveryRequest>,
    responses: VecDeque<DeltaDiscoveryResponse>,
}

/// Takes one or two resources in a message, so that full states come in parts.
const MAX_MESSAGE: usize = 1600;

fn sender(outbox: &Outbox) -> Sender {
    Sender::new(
        "global",
        Peer {
            zone: "east".into(),
            ..Peer::default()
        },
        MAX_MESSAGE,
        outbox,
    )
}

fn receiver() -> Receiver {
    Receiver::of_global("east", About::default(), Arc::new(|_| Ok(())))
}

impl System {
    fn new(local: &[Resource]) -> Self {
        let outbox = Outbox::new(Direction::ToZones {
            public_key_of: Arc::new(|key| Ok(key.to_vec())),
        });
        let store = MemoryStore::new();
        store
            .apply(local.iter().cloned().map(Write::create).collect())
            .now_or_never()
            .unwrap()
            .unwrap();
        let mut system = Self {
            sender: sender(&outbox),
            outbox,
            offered: BTreeMap::new(),
            west_enabled: true,
            receiver: receiver(),
            store,
            requests: VecDeque::new(),
            responses: VecDeque::new(),
        };
        system.connect();
        system
    }

    fn connect(&mut self) {
        self.sender = sender(&self.outbox);
        self.responses.clear();
        self.requests = self.receiver.subscribe(&self.store.snapshot()).into();
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Put { which, value } => {
                let resource = resource(*which, *value);
                self.outbox.apply(&resource.key(), Some(&resource)).unwrap();
                self.offered.insert(resource.key(), resource);
            }
            Step::Remove { which } => {
                let key = resource(*which, 1).key();
                self.outbox.apply(&key, None).unwrap();
                self.offered.remove(&key);
            }
            Step::EnableWest(enabled) => {
                let zone = Resource::new(Kind::Zone, "", "west", json!({"enabled": enabled}));
                self.outbox.apply(&zone.key(), Some(&zone)).unwrap();
                self.west_enabled = *enabled;
            }
            Step::Deliver => {
                if let Some(response) = self.responses.pop_front() {
                    let delivery = self.receiver.receive(&response, &self.store.snapshot());
                    self.store
                        .apply(delivery.writes.clone())
                        .now_or_never()
                        .unwrap()
                        .unwrap();
                    self.requests.push_back(self.receiver.applied(&delivery));
                }
            }
            Step::Answer => {
                if let Some(request) = self.requests.pop_front() {
                    self.responses
                        .extend(self.sender.on_request(&request, &self.outbox).response);
                }
            }
            Step::Notice => self.responses.extend(self.sender.on_change(&self.outbox)),
            Step::Reconnect => self.connect(),
            Step::Restart => {
                self.receiver = receiver();
                self.connect();
            }
        }
        let mut under_way = BTreeMap::new();
        for response in &self.responses {
            *under_way.entry(response.type_url.clone()).or_insert(0) += 1;
        }
        assert!(
            under_way.values().all(|count| *count <= 1),
            "more than one response of a type under way: {under_way:?}"
        );
    }

    fn settle(&mut self) {
        self.step(&Step::Notice);
        while !self.requests.is_empty() || !self.responses.is_empty() {
            self.step(&Step::Answer);
            self.step(&Step::Deliver);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn zones_converge(steps in steps()) {
        let local = [
            Resource::new(Kind::MeshService, "default", "mine", json!({})),
            Resource::new(Kind::MeshService, "default", "mine-too", json!({})).with_label(labels::ORIGIN, "zone").with_label(labels::ZONE, "east"),
            Resource::new(Kind::GlobalSecret, "", "admin-user-token", json!({"data": "aGk="})),
        ];
        let mut system = System::new(&local);
        for step in &steps {
            system.step(step);
        }
        system.settle();
        for resource in &local {
            let stored = system.store.get(&resource.key()).expect("local resources stay");
            prop_assert_eq!(&stored.resource.spec, &resource.spec);
            prop_assert_eq!(&stored.resource.labels, &resource.labels);
        }
        // Every valid resource that is offered to east is there as it is, and nothing else; of an invalid one there may
        // be an older copy.
        let remote: Vec<_> = system.store.list_all().into_iter().filter(|stored| stored.resource.label(labels::ORIGIN) == "global").collect();
        let mut expected = 0;
        for offered in system.offered.values() {
            let visible = offered.zone() != "east" && (offered.zone() != "west" || system.west_enabled);
            let copy = remote.iter().find(|stored| {
                stored.resource.kind == offered.kind && (stored.resource.display_name() == offered.name) && stored.resource.zone() == offered.zone()
            });
            if !visible {
                prop_assert!(copy.is_none(), "{} is not for east", offered.key());
            } else if offered.kind.check(&offered.spec).is_ok() {
                prop_assert_eq!(copy.map(|copy| &copy.resource.spec), Some(&offered.spec), "{}", offered.key());
                expected += 1;
            } else {
                expected += usize::from(copy.is_some());
            }
        }
        prop_assert_eq!(remote.len(), expected);
    }
}
