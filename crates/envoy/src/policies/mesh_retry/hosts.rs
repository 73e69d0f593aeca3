//! Where retries go: `hostSelection`.
//!
//! To leave out hosts by their tags, Envoy compares metadata of hosts. They do not get their tags as such, since
//! resources must not hold maps of several entries (see [`crate::encode`]): a host gets a list of the sets of tags in
//! question that it has, each as one text, and a retry names the text.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use envoy_types::pb::envoy::config::core::v3::{Address, Metadata};
use envoy_types::pb::envoy::config::endpoint::v3::lb_endpoint::HostIdentifier;
use envoy_types::pb::envoy::config::endpoint::v3::{ClusterLoadAssignment, LbEndpoint};
use envoy_types::pb::envoy::config::route::v3::retry_policy::{
    RetryHostPredicate, RetryPriority, retry_host_predicate, retry_priority,
};
use envoy_types::pb::envoy::extensions::retry::host::omit_host_metadata::v3::OmitHostMetadataConfig;
use envoy_types::pb::envoy::extensions::retry::host::previous_hosts::v3::PreviousHostsPredicate;
use envoy_types::pb::envoy::extensions::retry::priority::previous_priorities::v3::PreviousPrioritiesConfig;
use envoy_types::pb::google::protobuf::{ListValue, Struct, Value, value};
use envoy_types::util::pack_any;
use meshspan_model::kinds::mesh_retry::{Conf, HostPredicate, HostSelection};
use meshspan_model::labels::TAG_ZONE;
use meshspan_world::view::{Destination, DestinationPolicies, Endpoint, Locality};
use prost::Name;

use crate::network::address;

/// Where Envoy looks for what it compares.
const NAMESPACE: &str = "envoy.lb";
const TAG_SETS: &str = "omitted-by-retries";

/// Where a conf does not say it, after how many attempts tried priorities are left out.
const UPDATE_FREQUENCY: i32 = 2;
/// Where a conf says nothing of hosts at all: each retry goes elsewhere.
const DEFAULT_UPDATE_FREQUENCY: i32 = 1;

type Tags = BTreeMap<String, String>;

pub(super) fn priorities(selection: Option<&[HostSelection]>) -> Option<RetryPriority> {
    let update_frequency = match selection {
        None => DEFAULT_UPDATE_FREQUENCY,
        Some(list) => {
            let by_priority = list
                .iter()
                .find(|one| one.predicate == Some(HostPredicate::OmitPreviousPriorities))?;
            by_priority.update_frequency.unwrap_or(UPDATE_FREQUENCY)
        }
    };
    let config = pack_any(PreviousPrioritiesConfig { update_frequency });
    Some(RetryPriority {
        name: "envoy.retry_priorities.previous_priorities".to_owned(),
        config_type: Some(retry_priority::ConfigType::TypedConfig(config)),
    })
}

pub(super) fn predicates(selection: Option<&[HostSelection]>) -> Vec<RetryHostPredicate> {
    let list = selection.unwrap_or_default().iter();
    list.filter_map(|one| match one.predicate? {
        HostPredicate::OmitPreviousHosts => Some(predicate("previous_hosts", PreviousHostsPredicate {})),
        HostPredicate::OmitHostsWithTags => {
            let metadata_match = metadata(text(one.tags.as_ref()?));
            Some(predicate(
                "omit_host_metadata",
                OmitHostMetadataConfig { metadata_match },
            ))
        }
        HostPredicate::OmitPreviousPriorities => None,
    })
    .collect()
}

/// All sets of tags by which retries to a destination, on whatever route, leave out hosts.
pub(crate) fn omitted_tags(policies: &DestinationPolicies) -> BTreeSet<Tags> {
    let of_routes = policies.http_rules.iter().flatten().map(|rule| &rule.confs);
    let confs = of_routes
        .chain([&policies.confs])
        .filter_map(|confs| confs.get::<Conf>());
    let selections = confs.flat_map(|conf| {
        let http = conf.http.and_then(|http| http.host_selection);
        let grpc = conf.grpc.and_then(|grpc| grpc.host_selection);
        http.into_iter().chain(grpc).flatten()
    });
    selections
        .filter(|one| one.predicate == Some(HostPredicate::OmitHostsWithTags))
        .filter_map(|one| one.tags)
        .collect()
}

/// Writes on each host which of these sets it has.
pub(super) fn mark(sets: &BTreeSet<Tags>, destination: &Destination, assignment: &mut ClusterLoadAssignment) {
    if sets.is_empty() {
        return;
    }
    for group in &mut assignment.endpoints {
        let zone = group.locality.as_ref().map(|locality| locality.zone.as_str());
        let Some(locality) = destination
            .localities
            .iter()
            .find(|one| Some(one.zone.as_str()) == zone)
        else {
            continue;
        };
        for host in &mut group.lb_endpoints {
            let Some(endpoint) = endpoint_at(locality, host) else {
                continue;
            };
            let of_host: Vec<_> = sets
                .iter()
                .filter(|tags| has(endpoint, locality, tags))
                .map(text)
                .collect();
            if !of_host.is_empty() {
                host.metadata = metadata(value::Kind::ListValue(ListValue {
                    values: of_host.into_iter().map(|kind| Value { kind: Some(kind) }).collect(),
                }));
            }
        }
    }
}

fn endpoint_at<'a>(locality: &'a Locality, host: &LbEndpoint) -> Option<&'a Endpoint> {
    let Some(HostIdentifier::Endpoint(found)) = &host.host_identifier else {
        return None;
    };
    let at = |endpoint: &Endpoint| -> Option<Address> { address(endpoint.address, endpoint.port) };
    locality.endpoints.iter().find(|endpoint| at(endpoint) == found.address)
}

/// Of instances in other zones nothing but their zone is known.
fn has(endpoint: &Endpoint, locality: &Locality, tags: &Tags) -> bool {
    tags.iter().all(|(key, value)| match endpoint.tags.get(key) {
        Some(found) => found == value,
        None => key == TAG_ZONE && locality.zone == *value,
    })
}

fn text(tags: &Tags) -> value::Kind {
    let pairs: Vec<_> = tags.iter().map(|(key, value)| format!("{key}={value}")).collect();
    value::Kind::StringValue(pairs.join("&"))
}

fn metadata(sets: value::Kind) -> Option<Metadata> {
    let fields = HashMap::from([(TAG_SETS.to_owned(), Value { kind: Some(sets) })]);
    Some(Metadata {
        filter_metadata: HashMap::from([(NAMESPACE.to_owned(), Struct { fields })]),
        ..Default::default()
    })
}

fn predicate(name: &str, config: impl Name) -> RetryHostPredicate {
    RetryHostPredicate {
        name: format!("envoy.retry_host_predicates.{name}"),
        config_type: Some(retry_host_predicate::ConfigType::TypedConfig(pack_any(config))),
    }
}
