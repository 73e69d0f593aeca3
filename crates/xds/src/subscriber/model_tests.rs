//! Whatever happens in whatever order: once everything is answered, the client holds what the snapshot says.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use proptest::prelude::*;

use super::*;
use crate::client::Mirror;
use crate::proto::ads::Status as ErrorDetail;
use crate::resource::Resource;
use ResourceType::{Cluster, Endpoint, Listener, Route};

const NAMES: [&str; 4] = ["n0", "n1", "n2", "n3"];

#[derive(Clone, Debug)]
enum Step {
    /// Sets a version; 0 removes, 9 is one that the client refuses.
    Set(ResourceType, usize, u8),
    Subscribe(ResourceType, usize),
    Unsubscribe(ResourceType, usize),
    /// The client reads and answers the oldest response it has not read.
    Answer,
    Reconnect,
}

fn step() -> impl Strategy<Value = Step> {
    let ty = || prop::sample::select(ResourceType::ALL.to_vec());
    let named = || prop::sample::select(vec![Endpoint, ResourceType::Secret, Route]);
    let version = prop_oneof![4 => 1..4u8, 2 => Just(0), 1 => Just(9)];
    prop_oneof![
        6 => (ty(), 0..NAMES.len(), version).prop_map(|(ty, name, version)| Step::Set(ty, name, version)),
        3 => (named(), 0..NAMES.len()).prop_map(|(ty, name)| Step::Subscribe(ty, name)),
        1 => (named(), 0..NAMES.len()).prop_map(|(ty, name)| Step::Unsubscribe(ty, name)),
        6 => Just(Step::Answer),
        1 => Just(Step::Reconnect),
    ]
}

/// A client of all types: clusters and listeners by wildcard, the others by name.
struct World {
    subscriber: Subscriber,
    snapshot: Snapshot,
    wire: VecDeque<DeltaDiscoveryResponse>,
    mirror: Mirror,
    wanted: BTreeSet<(ResourceType, &'static str)>,
    /// The rejections reported last.
    reported: BTreeMap<ResourceType, Vec<Arc<str>>>,
    /// The listeners that the client runs, as reported.
    listeners: BTreeSet<Arc<str>>,
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            subscriber: Subscriber::new(),
            snapshot: Snapshot::default(),
            wire: VecDeque::new(),
            mirror: Mirror::default(),
            wanted: BTreeSet::new(),
            reported: BTreeMap::new(),
            listeners: BTreeSet::new(),
        };
        world.connect();
        world
    }

    fn connect(&mut self) {
        self.subscriber = Subscriber::new();
        self.wire.clear();
        self.reported.clear();
        self.listeners.clear();
        for ty in ResourceType::ALL {
            let names: Vec<String> = self.wanted(ty).map(str::to_owned).collect();
            if ty.is_wildcard() || !names.is_empty() {
                let initial_resource_versions = self.mirror.versions(ty);
                let request = DeltaDiscoveryRequest {
                    initial_resource_versions,
                    ..request(ty, names)
                };
                self.send(&request);
            }
        }
        let actions = self.subscriber.on_change(self.snapshot.clone(), &Changes::All);
        self.receive(actions);
    }

    fn wanted(&self, ty: ResourceType) -> impl Iterator<Item = &'static str> {
        self.wanted
            .iter()
            .filter(move |(wanted, _)| *wanted == ty)
            .map(|(_, name)| *name)
    }

    fn send(&mut self, request: &DeltaDiscoveryRequest) {
        let actions = self.subscriber.on_request(request);
        self.receive(actions);
    }

    fn receive(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Send(response) => {
                    let under_way = self
                        .wire
                        .iter()
                        .filter(|other| other.type_url == response.type_url)
                        .count();
                    assert_eq!(under_way, 0, "two responses of a type in flight");
                    self.wire.push_back(response);
                }
                Action::Reject(status) => unreachable!("{status}"),
                Action::Acked { .. } | Action::Nacked { .. } | Action::CaughtUp => {}
                Action::Listeners(holdings) => {
                    if holdings.first {
                        self.listeners.clear();
                    }
                    for name in &holdings.removed {
                        self.listeners.remove(name);
                    }
                    self.listeners.extend(holdings.added);
                }
                Action::Rejections { ty, rejected } => {
                    self.reported
                        .insert(ty, rejected.into_iter().map(|(name, _)| name).collect());
                }
            }
        }
    }

    /// As Envoy: good resources of a refused response are kept, bad ones leave what was there.
    fn answer(&mut self) -> bool {
        let Some(mut response) = self.wire.pop_front() else {
            return false;
        };
        let ty = ResourceType::from_type_url(&response.type_url).unwrap();
        let bad = response.resources.iter().any(|resource| resource.version == "9");
        response.resources.retain(|resource| resource.version != "9");
        if !ty.is_wildcard() {
            let wanted: BTreeSet<_> = self.wanted(ty).collect();
            response
                .resources
                .retain(|resource| wanted.contains(resource.name.as_str()));
        }
        self.mirror.apply(&response);
        let error = ErrorDetail {
            code: 13,
            message: "bad".into(),
            details: vec![],
        };
        let answer = DeltaDiscoveryRequest {
            response_nonce: response.nonce,
            error_detail: bad.then_some(error),
            ..request(ty, vec![])
        };
        self.send(&answer);
        true
    }

    fn perform(&mut self, step: Step) {
        match step {
            Step::Set(ty, name, version) => {
                let name = NAMES[name];
                if version == 0 {
                    self.snapshot.own.remove(ty, name);
                } else {
                    self.snapshot
                        .own
                        .insert(ty, Resource::new(name, version.to_string(), ""));
                }
                let changes = Changes::from_iter([(ty, name.into())]);
                let actions = self.subscriber.on_change(self.snapshot.clone(), &changes);
                self.receive(actions);
            }
            Step::Subscribe(ty, name) => {
                self.wanted.insert((ty, NAMES[name]));
                self.send(&request(ty, vec![NAMES[name].into()]));
            }
            Step::Unsubscribe(ty, name) => {
                self.wanted.remove(&(ty, NAMES[name]));
                self.mirror.forget(ty, NAMES[name]);
                let unsubscribe = vec![NAMES[name].to_owned()];
                self.send(&DeltaDiscoveryRequest {
                    resource_names_unsubscribe: unsubscribe,
                    ..request(ty, vec![])
                });
            }
            Step::Answer => {
                self.answer();
            }
            Step::Reconnect => self.connect(),
        }
    }

    fn check(&self) {
        assert!(
            self.subscriber.is_in_sync() || self.is_pinned(),
            "something is left to send"
        );
        let runs: BTreeSet<String> = self.mirror.versions(Listener).into_keys().collect();
        let noted: BTreeSet<String> = self.listeners.iter().map(ToString::to_string).collect();
        assert!(noted.is_subset(&runs), "{noted:?}, but the client runs {runs:?}");
        for unnoted in runs.difference(&noted) {
            // It came with a refused response, and the next version of it was refused alone: nobody can know that it runs.
            let mut rejected = self.subscriber.rejected(Listener);
            assert!(rejected.any(|(name, _)| **name == **unnoted), "{unnoted} runs");
        }
        for ty in ResourceType::ALL {
            let rejected: Vec<_> = self.subscriber.rejected(ty).map(|(name, _)| name.clone()).collect();
            assert_eq!(self.reported.get(&ty).cloned().unwrap_or_default(), rejected);
            for name in NAMES {
                if !ty.is_wildcard() && !self.wanted.contains(&(ty, name)) {
                    continue;
                }
                let due = self
                    .snapshot
                    .get(ty, name)
                    .map(|resource| resource.version().to_string());
                let has = self.mirror.get(ty, name).map(|(version, _)| version.to_owned());
                match due.as_deref() {
                    Some("9") => {
                        assert!(self.subscriber.rejected(ty).any(|(rejected, _)| &**rejected == name));
                    }
                    None if self.is_pinned() => {}
                    _ => assert_eq!(has, due, "{ty} {name}"),
                }
            }
        }
    }

    /// An older listener or route still runs, so what it may refer to stays.
    fn is_pinned(&self) -> bool {
        let older = |ty| {
            self.subscriber
                .rejected(ty)
                .any(|(name, _)| self.mirror.get(ty, name).is_some())
        };
        older(Listener) || older(Route) || older(Cluster)
    }
}

fn request(ty: ResourceType, names: Vec<String>) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        type_url: ty.type_url().to_owned(),
        resource_names_subscribe: names,
        ..Default::default()
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: ProptestConfig::default().cases.max(1000),
        // What was found is kept as a transcript.
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn the_client_ends_with_the_snapshot(steps in prop::collection::vec(step(), 0..80)) {
        let mut world = World::new();
        for step in steps {
            world.perform(step);
        }
        let mut answers = 0;
        while world.answer() {
            answers += 1;
            assert!(answers < 1000, "the conversation does not end");
        }
        world.check();
    }
}
