//! The protocol's rules, each as a conversation: what the client says, and the actions that follow.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::collections::HashMap;

use super::*;
use crate::proto::ads::Status as ErrorDetail;
use crate::resource::Resource;
use ResourceType::{Cluster, Endpoint, Listener, Route, Secret};

/// A stream and the snapshot behind it. Each step returns the actions, one line each.
#[derive(Default)]
struct Talk {
    subscriber: Subscriber,
    snapshot: Snapshot,
}

impl Talk {
    /// Starts with resources written as `name@version`.
    fn with(resources: &[(ResourceType, &str)]) -> Self {
        let mut talk = Self::default();
        talk.edit(resources);
        let actions = talk.subscriber.on_change(talk.snapshot.clone(), &Changes::All);
        assert!(actions.is_empty());
        talk
    }

    fn edit(&mut self, edits: &[(ResourceType, &str)]) -> Changes {
        let edit = |(ty, text): &(ResourceType, &str)| {
            let name: Arc<str> = text.split('@').next().unwrap().into();
            match text.split_once('@') {
                Some((_, version)) => {
                    self.snapshot
                        .own
                        .insert(*ty, Resource::new(name.clone(), version, text.to_string()));
                }
                None => {
                    self.snapshot.own.remove(*ty, &name);
                }
            }
            (*ty, name)
        };
        edits.iter().map(edit).collect()
    }

    /// Publishes edits: `name@version` sets a resource, `name` removes it.
    fn change(&mut self, edits: &[(ResourceType, &str)]) -> Vec<String> {
        let changes = self.edit(edits);
        lines(self.subscriber.on_change(self.snapshot.clone(), &changes))
    }

    fn request(&mut self, request: DeltaDiscoveryRequest) -> Vec<String> {
        lines(self.subscriber.on_request(&request))
    }

    fn subscribe(&mut self, ty: ResourceType, names: &[&str]) -> Vec<String> {
        self.request(DeltaDiscoveryRequest {
            resource_names_subscribe: owned(names),
            ..of(ty)
        })
    }

    fn unsubscribe(&mut self, ty: ResourceType, names: &[&str]) -> Vec<String> {
        self.request(DeltaDiscoveryRequest {
            resource_names_unsubscribe: owned(names),
            ..of(ty)
        })
    }

    fn resume(&mut self, ty: ResourceType, names: &[&str], held: &[(&str, &str)]) -> Vec<String> {
        let held: HashMap<_, _> = held
            .iter()
            .map(|(name, version)| ((*name).into(), (*version).into()))
            .collect();
        self.request(DeltaDiscoveryRequest {
            resource_names_subscribe: owned(names),
            initial_resource_versions: held,
            ..of(ty)
        })
    }

    fn ack(&mut self, ty: ResourceType, nonce: &str) -> Vec<String> {
        self.request(DeltaDiscoveryRequest {
            response_nonce: nonce.to_owned(),
            ..of(ty)
        })
    }

    fn nack(&mut self, ty: ResourceType, nonce: &str, message: &str) -> Vec<String> {
        let error = ErrorDetail {
            code: 13,
            message: message.to_owned(),
            details: vec![],
        };
        self.request(DeltaDiscoveryRequest {
            response_nonce: nonce.to_owned(),
            error_detail: Some(error),
            ..of(ty)
        })
    }
}

fn of(ty: ResourceType) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        type_url: ty.type_url().to_owned(),
        ..Default::default()
    }
}

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// What is sent and answered; what is noted of listeners has tests of its own.
fn lines(actions: Vec<Action>) -> Vec<String> {
    let is_noted = |action: &&Action| matches!(action, Action::Listeners(_) | Action::CaughtUp);
    let others = actions.iter().filter(|action| !is_noted(action));
    others.map(|action| format!("{action:?}")).collect()
}

const NOTHING: [&str; 0] = [];

#[test]
fn nothing_is_sent_before_the_first_snapshot() {
    let mut talk = Talk::default();
    assert_eq!(talk.subscribe(Cluster, &[]), NOTHING);
    assert_eq!(talk.subscribe(Endpoint, &["a"]), NOTHING);
    assert_eq!(
        talk.change(&[(Cluster, "a@1"), (Endpoint, "a@1")]),
        ["send cds 1: +a@1", "send eds 2: +a@1"]
    );
}

#[test]
fn a_first_request_without_names_asks_for_all_clusters() {
    let mut talk = Talk::with(&[(Cluster, "a@1"), (Cluster, "b@1")]);
    assert_eq!(talk.subscribe(Cluster, &[]), ["send cds 1: +a@1 +b@1"]);
    assert_eq!(talk.ack(Cluster, "1"), ["acked cds 1"]);
    assert_eq!(
        talk.change(&[(Cluster, "c@1"), (Cluster, "a")]),
        ["send cds 2: +c@1 -a"]
    );
}

#[test]
fn a_first_wildcard_is_answered_even_if_there_is_nothing() {
    let mut talk = Talk::with(&[]);
    assert_eq!(talk.subscribe(Listener, &[]), ["send lds 1:"]);
    assert_eq!(talk.ack(Listener, "1"), ["acked lds 1"]);
    assert!(talk.subscriber.is_in_sync());
}

#[test]
fn named_types_have_no_legacy_wildcard() {
    let mut talk = Talk::with(&[(Endpoint, "a@1")]);
    assert_eq!(talk.subscribe(Endpoint, &[]), NOTHING);
    assert_eq!(talk.subscribe(Endpoint, &["a"]), ["send eds 1: +a@1"]);
}

#[test]
fn a_first_request_with_names_is_no_wildcard_and_later_silence_neither() {
    let mut talk = Talk::with(&[(Cluster, "a@1"), (Cluster, "b@1")]);
    assert_eq!(talk.subscribe(Cluster, &["a"]), ["send cds 1: +a@1"]);
    talk.ack(Cluster, "1");
    assert_eq!(talk.unsubscribe(Cluster, &["a"]), NOTHING);
    assert_eq!(talk.subscribe(Cluster, &[]), NOTHING);
    assert_eq!(talk.change(&[(Cluster, "b@2")]), NOTHING);
}

#[test]
fn a_star_can_be_added_and_taken_back_beside_names() {
    let mut talk = Talk::with(&[(Cluster, "a@1"), (Cluster, "b@1")]);
    talk.subscribe(Cluster, &["a"]);
    talk.ack(Cluster, "1");
    assert_eq!(talk.subscribe(Cluster, &["*"]), ["send cds 2: +b@1"]);
    talk.ack(Cluster, "2");
    assert_eq!(talk.unsubscribe(Cluster, &["*"]), NOTHING);
    assert_eq!(talk.change(&[(Cluster, "a@2"), (Cluster, "b@2")]), ["send cds 3: +a@2"]);
}

#[test]
fn a_name_unsubscribed_under_a_wildcard_is_answered() {
    let mut talk = Talk::with(&[(Cluster, "a@1")]);
    talk.subscribe(Cluster, &["*", "a", "gone"]);
    talk.ack(Cluster, "1");
    assert_eq!(talk.unsubscribe(Cluster, &["a", "gone"]), ["send cds 2: +a@1 -gone"]);
}

#[test]
fn an_unsubscribed_name_is_no_longer_sent() {
    let mut talk = Talk::with(&[(Endpoint, "a@1"), (Endpoint, "b@1")]);
    talk.subscribe(Endpoint, &["a", "b"]);
    talk.ack(Endpoint, "1");
    assert_eq!(talk.unsubscribe(Endpoint, &["a", "never-subscribed"]), NOTHING);
    assert_eq!(
        talk.change(&[(Endpoint, "a@2"), (Endpoint, "b@2")]),
        ["send eds 2: +b@2"]
    );
}

#[test]
fn an_unknown_name_is_answered_as_removed_and_sent_once_it_exists() {
    let mut talk = Talk::with(&[]);
    assert_eq!(talk.subscribe(Endpoint, &["a"]), ["send eds 1: -a"]);
    talk.ack(Endpoint, "1");
    assert_eq!(talk.change(&[(Endpoint, "a@1")]), ["send eds 2: +a@1"]);
}

#[test]
fn asking_again_for_a_name_sends_it_again() {
    let mut talk = Talk::with(&[(Endpoint, "a@1")]);
    talk.subscribe(Endpoint, &["a"]);
    talk.ack(Endpoint, "1");
    assert_eq!(talk.subscribe(Endpoint, &["a"]), ["send eds 2: +a@1"]);
}

#[test]
fn a_client_that_comes_back_gets_only_differences_and_removals() {
    let mut talk = Talk::with(&[
        (Cluster, "same@1"),
        (Cluster, "newer@2"),
        (Cluster, "new@1"),
        (Listener, "l@1"),
    ]);
    // Clusters go only after listeners are known to do without them.
    assert_eq!(
        talk.resume(Cluster, &[], &[("same", "1"), ("newer", "1"), ("gone", "1")]),
        ["send cds 1: +new@1 +newer@2"]
    );
    assert_eq!(talk.ack(Cluster, "1"), ["acked cds 1"]);
    assert_eq!(talk.resume(Listener, &[], &[("l", "1")]), ["send cds 2: -gone"]);
}

#[test]
fn a_client_that_comes_back_with_everything_hears_nothing() {
    let all = [(Cluster, "a@1"), (Endpoint, "a@1"), (Secret, "s@1"), (Listener, "l@1")];
    for snapshot_first in [true, false] {
        let mut talk = if snapshot_first {
            Talk::with(&all)
        } else {
            Talk::default()
        };
        assert_eq!(talk.resume(Cluster, &[], &[("a", "1")]), NOTHING);
        assert_eq!(talk.resume(Endpoint, &["a"], &[("a", "1")]), NOTHING);
        assert_eq!(talk.resume(Secret, &["s"], &[("s", "1")]), NOTHING);
        assert_eq!(talk.resume(Listener, &[], &[("l", "1")]), NOTHING);
        assert_eq!(talk.change(&all), NOTHING);
        assert!(talk.subscriber.is_in_sync());
    }
}

#[test]
fn what_a_client_runs_of_listeners_is_noted_once_it_has_said_so() {
    let mut talk = Talk::with(&[(Cluster, "c@1"), (Listener, "a@1"), (Listener, "b@1")]);
    let noted = |talk: &mut Talk, request: DeltaDiscoveryRequest| -> Vec<String> {
        let actions = talk.subscriber.on_request(&request);
        let noted = actions
            .iter()
            .filter(|action| matches!(action, Action::Listeners(_) | Action::CaughtUp));
        noted.map(|action| format!("{action:?}")).collect()
    };
    let answer = |nonce: &str, error: Option<&str>| DeltaDiscoveryRequest {
        response_nonce: nonce.to_owned(),
        error_detail: error.map(|message| ErrorDetail {
            code: 13,
            message: message.to_owned(),
            details: vec![],
        }),
        ..of(Listener)
    };
    assert_eq!(noted(&mut talk, of(Listener)), ["listeners at first:"]);
    // Both were in one response: the bad one is found first.
    assert_eq!(noted(&mut talk, answer("1", Some("b: bad"))), NOTHING);
    assert_eq!(noted(&mut talk, answer("2", None)), ["listeners: +a"]);
    assert_eq!(noted(&mut talk, answer("3", Some("b: bad"))), ["caught up"]);
    // A later version that is refused leaves the accepted one in use.
    talk.change(&[(Listener, "a@2")]);
    assert_eq!(noted(&mut talk, answer("4", Some("no"))), NOTHING);
    talk.change(&[(Listener, "b@2")]);
    assert_eq!(noted(&mut talk, answer("5", None)), ["listeners: +b"]);
    let changes = talk.edit(&[(Listener, "a")]);
    let actions = talk.subscriber.on_change(talk.snapshot.clone(), &changes);
    let actions: Vec<_> = actions.iter().map(|action| format!("{action:?}")).collect();
    assert_eq!(actions, ["send lds 6: -a", "rejections lds []", "listeners: -a"]);
}

#[test]
fn a_client_that_comes_back_says_which_listeners_it_runs() {
    let mut talk = Talk::with(&[(Listener, "a@1"), (Listener, "b@1")]);
    let request = DeltaDiscoveryRequest {
        initial_resource_versions: HashMap::from([("a".to_owned(), "1".to_owned()), ("b".to_owned(), "1".to_owned())]),
        ..of(Listener)
    };
    let actions: Vec<_> = talk
        .subscriber
        .on_request(&request)
        .iter()
        .map(|action| format!("{action:?}"))
        .collect();
    assert_eq!(actions, ["listeners at first: +a +b", "caught up"]);
}

#[test]
fn a_client_that_comes_back_before_the_snapshot_gets_only_differences() {
    let mut talk = Talk::default();
    talk.resume(Cluster, &[], &[("a", "1")]);
    talk.resume(Endpoint, &["a", "b"], &[("a", "1"), ("b", "1")]);
    let sent = talk.change(&[(Cluster, "a@1"), (Endpoint, "a@1"), (Endpoint, "b@2")]);
    assert_eq!(sent, ["send eds 1: +b@2"]);
}

#[test]
fn names_the_client_had_but_no_longer_wants_are_forgotten() {
    let mut talk = Talk::with(&[(Endpoint, "a@1"), (Cluster, "a@1")]);
    talk.resume(Cluster, &[], &[("a", "1")]);
    assert_eq!(talk.resume(Endpoint, &["a"], &[("a", "1"), ("old", "1")]), NOTHING);
}

#[test]
fn endpoints_asked_for_before_clusters_are_sent_in_full() {
    let mut talk = Talk::with(&[(Endpoint, "a@1")]);
    assert_eq!(talk.resume(Endpoint, &["a"], &[("a", "1")]), ["send eds 1: +a@1"]);
}

#[test]
fn changes_during_flight_are_merged_and_the_latest_wins() {
    let mut talk = Talk::with(&[(Cluster, "a@1")]);
    talk.subscribe(Cluster, &[]);
    assert_eq!(talk.change(&[(Cluster, "a@2"), (Cluster, "b@1")]), NOTHING);
    assert_eq!(talk.change(&[(Cluster, "a@3"), (Cluster, "c@1")]), NOTHING);
    assert_eq!(talk.change(&[(Cluster, "c")]), NOTHING);
    assert_eq!(talk.ack(Cluster, "1"), ["acked cds 1", "send cds 2: +a@3 +b@1"]);
}

#[test]
fn a_change_taken_back_during_flight_is_not_sent() {
    let mut talk = Talk::with(&[(Cluster, "a@1")]);
    talk.subscribe(Cluster, &[]);
    talk.change(&[(Cluster, "a@2")]);
    talk.change(&[(Cluster, "a@1")]);
    assert_eq!(talk.ack(Cluster, "1"), ["acked cds 1"]);
    assert!(talk.subscriber.is_in_sync());
}

#[test]
fn an_unchanged_version_is_not_sent_again() {
    let mut talk = Talk::with(&[(Cluster, "a@1")]);
    talk.subscribe(Cluster, &[]);
    talk.ack(Cluster, "1");
    assert_eq!(talk.change(&[(Cluster, "a@1")]), NOTHING);
    let snapshot = talk.snapshot.clone();
    assert!(talk.subscriber.on_change(snapshot, &Changes::All).is_empty());
}

#[test]
fn stale_nonces_settle_nothing_but_their_subscriptions_count() {
    let mut talk = Talk::with(&[(Endpoint, "a@1"), (Endpoint, "b@1")]);
    talk.subscribe(Endpoint, &["a"]);
    let request = DeltaDiscoveryRequest {
        response_nonce: "99".into(),
        resource_names_subscribe: owned(&["b"]),
        ..of(Endpoint)
    };
    assert_eq!(talk.request(request), NOTHING);
    assert_eq!(talk.nack(Endpoint, "0", "old"), NOTHING);
    assert_eq!(talk.ack(Endpoint, "1"), ["acked eds 1", "send eds 2: +b@1"]);
}

#[test]
fn listeners_wait_until_new_clusters_are_accepted() {
    let mut talk = Talk::with(&[]);
    talk.subscribe(Cluster, &[]);
    talk.ack(Cluster, "1");
    talk.subscribe(Listener, &[]);
    talk.ack(Listener, "2");
    assert_eq!(
        talk.change(&[(Listener, "l@1"), (Cluster, "a@1"), (Endpoint, "a@1")]),
        ["send cds 3: +a@1"]
    );
    // Envoy asks for the endpoints before it acknowledges the cluster.
    assert_eq!(talk.subscribe(Endpoint, &["a"]), ["send eds 4: +a@1"]);
    assert_eq!(talk.ack(Cluster, "3"), ["acked cds 3"]);
    assert_eq!(talk.ack(Endpoint, "4"), ["acked eds 4", "send lds 5: +l@1"]);
}

#[test]
fn listeners_do_not_wait_for_clusters_the_client_already_runs() {
    let mut talk = Talk::with(&[(Cluster, "a@1")]);
    talk.subscribe(Cluster, &[]);
    talk.ack(Cluster, "1");
    talk.subscribe(Listener, &[]);
    talk.ack(Listener, "2");
    assert_eq!(
        talk.change(&[(Cluster, "a@2"), (Listener, "l@1")]),
        ["send cds 3: +a@2", "send lds 4: +l@1"]
    );
}

#[test]
fn clusters_are_removed_when_listeners_and_routes_do_without_them() {
    let mut talk = Talk::with(&[(Cluster, "a@1"), (Listener, "l@1"), (Route, "r@1")]);
    talk.subscribe(Cluster, &[]);
    talk.ack(Cluster, "1");
    talk.subscribe(Listener, &[]);
    talk.ack(Listener, "2");
    talk.subscribe(Route, &["r"]);
    talk.ack(Route, "3");
    assert_eq!(
        talk.change(&[(Cluster, "a"), (Listener, "l"), (Route, "r@2")]),
        ["send lds 4: -l", "send rds 5: +r@2"]
    );
    assert_eq!(talk.ack(Listener, "4"), ["acked lds 4"]);
    assert_eq!(talk.ack(Route, "5"), ["acked rds 5", "send cds 6: -a"]);
}

#[test]
fn clusters_stay_while_the_client_runs_an_older_listener() {
    let mut talk = Talk::with(&[(Cluster, "a@1"), (Listener, "l@1")]);
    talk.subscribe(Cluster, &[]);
    talk.ack(Cluster, "1");
    talk.subscribe(Listener, &[]);
    talk.ack(Listener, "2");
    assert_eq!(
        talk.change(&[(Cluster, "a"), (Listener, "l@bad")]),
        ["send lds 3: +l@bad"]
    );
    assert_eq!(
        talk.nack(Listener, "3", "l: no"),
        ["nacked lds 3 [l]: l: no", "rejections lds [l@bad]"]
    );
    assert_eq!(talk.change(&[(Listener, "l@3")]), ["send lds 4: +l@3"]);
    assert_eq!(
        talk.ack(Listener, "4"),
        ["acked lds 4", "send cds 5: -a", "rejections lds []"]
    );
}

#[test]
fn a_refused_new_listener_keeps_no_cluster() {
    let mut talk = Talk::with(&[(Cluster, "a@1"), (Listener, "l@bad")]);
    talk.subscribe(Cluster, &[]);
    talk.ack(Cluster, "1");
    talk.subscribe(Listener, &[]);
    talk.nack(Listener, "2", "no");
    assert_eq!(talk.change(&[(Cluster, "a")]), ["send cds 3: -a"]);
}

#[test]
fn a_replaced_listener_goes_together_with_its_replacement() {
    let mut talk = Talk::with(&[(Listener, "old@1")]);
    talk.subscribe(Cluster, &[]);
    talk.ack(Cluster, "1");
    talk.subscribe(Listener, &[]);
    talk.ack(Listener, "2");
    assert_eq!(
        talk.change(&[(Cluster, "a@1"), (Listener, "old"), (Listener, "new@1")]),
        ["send cds 3: +a@1"]
    );
    assert_eq!(talk.ack(Cluster, "3"), ["acked cds 3", "send lds 4: +new@1 -old"]);
}

#[test]
fn a_changed_cluster_gets_its_endpoints_again() {
    let mut talk = Talk::with(&[(Cluster, "a@1"), (Cluster, "b@1"), (Endpoint, "a@1"), (Endpoint, "b@1")]);
    talk.subscribe(Cluster, &[]);
    talk.subscribe(Endpoint, &["a", "b"]);
    talk.ack(Endpoint, "2");
    talk.ack(Cluster, "1");
    assert_eq!(
        talk.change(&[(Cluster, "a@2")]),
        ["send cds 3: +a@2", "send eds 4: +a@1"]
    );
}

#[test]
fn a_refused_version_is_not_repeated_until_it_changes() {
    let mut talk = Talk::with(&[(Cluster, "a@bad")]);
    talk.subscribe(Cluster, &[]);
    assert_eq!(
        talk.nack(Cluster, "1", "a: no"),
        ["nacked cds 1 [a]: a: no", "rejections cds [a@bad]"]
    );
    let rejected: Vec<_> = talk.subscriber.rejected(Cluster).collect();
    assert_eq!(rejected.len(), 1);
    assert_eq!(
        rejected[0].1,
        &Rejection {
            version: "bad".into(),
            message: "a: no".into()
        }
    );

    assert_eq!(
        talk.change(&[(Cluster, "a@bad"), (Cluster, "b@1")]),
        ["send cds 2: +b@1"]
    );
    talk.ack(Cluster, "2");
    let snapshot = talk.snapshot.clone();
    assert!(talk.subscriber.on_change(snapshot, &Changes::All).is_empty());
    assert_eq!(talk.change(&[(Cluster, "a@2")]), ["send cds 3: +a@2"]);
    assert_eq!(talk.ack(Cluster, "3"), ["acked cds 3", "rejections cds []"]);
    assert_eq!(talk.subscriber.rejected(Cluster).count(), 0);
}

#[test]
fn a_refused_version_that_comes_back_gets_a_second_chance() {
    let mut talk = Talk::with(&[(Cluster, "a@bad")]);
    talk.subscribe(Cluster, &[]);
    talk.nack(Cluster, "1", "no");
    assert_eq!(talk.change(&[(Cluster, "a@1")]), ["send cds 2: +a@1"]);
    assert_eq!(talk.change(&[(Cluster, "a@bad")]), NOTHING);
    assert_eq!(
        talk.ack(Cluster, "2"),
        ["acked cds 2", "send cds 3: +a@bad", "rejections cds []"]
    );
}

#[test]
fn going_back_to_the_last_good_version_sends_it() {
    let mut talk = Talk::with(&[(Cluster, "a@1")]);
    talk.subscribe(Cluster, &[]);
    talk.ack(Cluster, "1");
    talk.change(&[(Cluster, "a@bad")]);
    talk.nack(Cluster, "2", "no");
    assert_eq!(talk.change(&[(Cluster, "a@1")]), ["send cds 3: +a@1"]);
}

#[test]
fn the_bad_one_of_many_is_found_and_the_others_are_delivered() {
    let mut talk = Talk::with(&[(Listener, "web@1"), (Listener, "db@bad"), (Listener, "api@1")]);
    assert_eq!(talk.subscribe(Listener, &[]), ["send lds 1: +api@1 +db@bad +web@1"]);
    assert_eq!(
        talk.nack(Listener, "1", "Error adding/updating listener(s) db: no"),
        [
            "nacked lds 1 [api db web]: Error adding/updating listener(s) db: no",
            "send lds 2: +api@1 +web@1"
        ]
    );
    assert_eq!(talk.ack(Listener, "2"), ["acked lds 2", "send lds 3: +db@bad"]);
    assert_eq!(
        talk.nack(Listener, "3", "db: no"),
        ["nacked lds 3 [db]: db: no", "rejections lds [db@bad]"]
    );
    assert_eq!(
        talk.subscriber
            .rejected(Listener)
            .map(|(name, _)| &**name)
            .collect::<Vec<_>>(),
        ["db"]
    );
    assert!(talk.subscriber.is_in_sync());
}

#[test]
fn a_refused_resource_that_is_gone_is_no_longer_reported() {
    let mut talk = Talk::with(&[(Cluster, "a@bad"), (Cluster, "b@bad"), (Endpoint, "a@bad")]);
    talk.subscribe(Cluster, &["a", "*"]);
    talk.nack(Cluster, "1", "a: no");
    talk.nack(Cluster, "2", "no");
    assert_eq!(
        talk.nack(Cluster, "3", "no"),
        ["nacked cds 3 [a]: no", "rejections cds [a@bad b@bad]"]
    );
    assert_eq!(
        talk.change(&[(Cluster, "a")]),
        ["send cds 4: -a", "rejections cds [b@bad]"]
    );
    talk.ack(Cluster, "4");
    assert_eq!(talk.unsubscribe(Cluster, &["*"]), ["rejections cds []"]);

    assert_eq!(talk.subscribe(Endpoint, &["a"]), ["send eds 5: +a@bad"]);
    assert_eq!(
        talk.nack(Endpoint, "5", "no"),
        ["nacked eds 5 [a]: no", "rejections eds [a@bad]"]
    );
    assert_eq!(talk.unsubscribe(Endpoint, &["a"]), ["rejections eds []"]);
}

#[test]
fn a_resource_removed_while_the_bad_one_is_searched_is_removed() {
    let mut talk = Talk::with(&[(Endpoint, "a1@1"), (Endpoint, "b1@bad")]);
    talk.subscribe(Endpoint, &["a1", "b1"]);
    talk.nack(Endpoint, "1", "no clue");
    assert_eq!(talk.change(&[(Endpoint, "b1")]), NOTHING);
    assert_eq!(talk.ack(Endpoint, "2"), ["acked eds 2", "send eds 3: -b1"]);
}

#[test]
fn a_resource_that_goes_and_comes_back_while_the_bad_one_is_searched_is_sent() {
    let mut talk = Talk::with(&[(Cluster, "a1@bad"), (Cluster, "b1@1")]);
    talk.subscribe(Cluster, &[]);
    assert_eq!(talk.subscribe(Listener, &[]), NOTHING);
    assert_eq!(talk.change(&[(Cluster, "b1")]), NOTHING);
    assert_eq!(talk.nack(Cluster, "1", "no clue")[1], "send cds 2: +a1@bad");
    assert_eq!(
        talk.nack(Cluster, "2", "no"),
        ["nacked cds 2 [a1]: no", "send lds 3:", "rejections cds [a1@bad]"]
    );
    assert_eq!(talk.change(&[(Cluster, "b1@1")]), ["send cds 4: +b1@1"]);
}

#[test]
fn types_that_are_not_served_have_no_resources_and_end_nothing() {
    let mut talk = Talk::with(&[(Cluster, "a@1")]);
    let other = |nonce: &str, names: &[&str]| DeltaDiscoveryRequest {
        type_url: "type.googleapis.com/envoy.service.runtime.v3.Runtime".into(),
        resource_names_subscribe: owned(names),
        response_nonce: nonce.into(),
        ..Default::default()
    };
    let sent = talk.request(other("", &["layer", "*"]));
    assert_eq!(
        sent,
        ["send type.googleapis.com/envoy.service.runtime.v3.Runtime 1: -layer"]
    );
    assert_eq!(talk.request(other("1", &[])), NOTHING);
    assert_eq!(talk.subscribe(Cluster, &[]), ["send cds 2: +a@1"]);
}

#[test]
fn a_large_set_is_sent_in_parts() {
    let mut talk = Talk::default();
    let body = vec![0; 1 << 20];
    for name in ["a", "b", "c"] {
        talk.snapshot
            .shared
            .insert(Cluster, Resource::new(name, "1", body.clone()));
    }
    talk.edit(&[(Listener, "l@1")]);
    talk.subscribe(Cluster, &[]);
    talk.subscribe(Listener, &[]);
    let first = lines(talk.subscriber.on_change(talk.snapshot.clone(), &Changes::All));
    assert_eq!(first, ["send cds 1: +a@1 +b@1"]);
    assert_eq!(talk.ack(Cluster, "1"), ["acked cds 1", "send cds 2: +c@1"]);
    assert_eq!(talk.ack(Cluster, "2"), ["acked cds 2", "send lds 3: +l@1"]);
}

#[test]
fn secrets_are_removed_after_the_clusters_that_use_them() {
    let mut talk = Talk::with(&[(Cluster, "a@1"), (Secret, "s@1")]);
    talk.subscribe(Cluster, &[]);
    talk.ack(Cluster, "1");
    talk.subscribe(Secret, &["s"]);
    talk.ack(Secret, "2");
    assert_eq!(talk.change(&[(Cluster, "a@2"), (Secret, "s")]), ["send cds 3: +a@2"]);
    assert_eq!(talk.ack(Cluster, "3"), ["acked cds 3", "send sds 4: -s"]);
}

#[test]
fn a_resource_that_is_not_made_yet_is_requested_and_waits_alone() {
    let requests = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let requested = || requests.load(std::sync::atomic::Ordering::SeqCst);
    let deferred = |version: &str| {
        let requests = requests.clone();
        Resource::deferred("key", version, move || {
            requests.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        })
    };
    let changed = Changes::from_iter([(Secret, "key".into())]);
    let mut talk = Talk::with(&[(Secret, "trust@1")]);
    let key = deferred("1");
    talk.snapshot.own.insert(Secret, key.clone());
    lines(talk.subscriber.on_change(talk.snapshot.clone(), &changed));
    assert_eq!(requested(), 0, "nobody is subscribed");
    assert_eq!(talk.subscribe(Secret, &["key", "trust"]), ["send sds 1: +trust@1"]);
    assert_eq!(talk.ack(Secret, "1"), ["acked sds 1"]);
    key.fulfil("body");
    let sent = lines(talk.subscriber.on_change(talk.snapshot.clone(), &changed));
    assert_eq!(sent, ["send sds 2: +key@1"]);
    assert_eq!(talk.ack(Secret, "2"), ["acked sds 2"]);

    // One that comes back with it needs none.
    let before = requested();
    let mut again = Talk {
        snapshot: talk.snapshot.clone(),
        ..Talk::default()
    };
    again.snapshot.own.insert(Secret, deferred("1"));
    again.subscriber.on_change(again.snapshot.clone(), &Changes::All);
    assert_eq!(
        again.resume(Secret, &["key", "trust"], &[("key", "1"), ("trust", "1")]),
        [] as [&str; 0]
    );
    assert_eq!(requested(), before);
    // The version that it has is not taken away while the next one is made.
    again.snapshot.own.insert(Secret, deferred("2"));
    assert_eq!(
        lines(again.subscriber.on_change(again.snapshot.clone(), &changed)),
        [] as [&str; 0]
    );
    assert!(requested() > before);
}

#[test]
fn limits_end_the_stream() {
    let mut talk = Talk::with(&[]);
    let names: Vec<String> = (0..=MAX_NAMES_PER_TYPE).map(|n| n.to_string()).collect();
    let actions = talk.request(DeltaDiscoveryRequest {
        resource_names_subscribe: names,
        ..of(Endpoint)
    });
    assert!(
        actions[0].starts_with("reject: resource_names_subscribe: more than 100000 names"),
        "{actions:?}"
    );
    let actions = talk.subscribe(Secret, &["x".repeat(MAX_NAME_BYTES + 1).as_str()]);
    assert!(
        actions[0].starts_with("reject: resource_names_subscribe: a name has 4097 bytes"),
        "{actions:?}"
    );
}
