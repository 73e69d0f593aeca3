//! A set of documents: how it is made, and whether Envoy takes what follows from it.

use std::panic::{AssertUnwindSafe, catch_unwind};

use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::cluster::v3::cluster::{ClusterDiscoveryType, DiscoveryType};
use envoy_types::pb::envoy::config::endpoint::v3::ClusterLoadAssignment;
use meshspan_envoy::{Encoded, ResourceType};
use meshspan_model::{Resource, document};
use serde_json::Value;

use crate::control_plane::ControlPlane;
use crate::random::Random;
use crate::support::static_config::decode;
use crate::support::validate;
use crate::{policies, resources};

/// Documents that stand in a control plane together.
pub type Set = Vec<Value>;

/// What is wrong.
pub struct Rejection {
    /// The proxy, if it is one's.
    pub proxy: String,
    /// What Envoy, or whoever failed before it, says.
    pub message: String,
}

/// The set of a seed, and how many documents were left out of it because they are not valid.
pub fn generate(seed: u64) -> (Set, usize) {
    let random = &mut Random::new(seed);
    let mut set = mesh(random);
    if random.chance(20) {
        let other = mesh(random)
            .into_iter()
            .filter(|document| document["type"] != "ZoneIngress");
        set.extend(other.map(into_other_mesh));
    }
    let all = set.len();
    set.retain(|document| document::read(document).is_ok());
    let refused = all - set.len();
    (set, refused)
}

fn mesh(random: &mut Random) -> Set {
    let mut set = resources::documents(random);
    set.extend(policies::documents(random));
    set
}

fn into_other_mesh(mut document: Value) -> Value {
    let field = if document["type"] == "Mesh" { "name" } else { "mesh" };
    document[field] = "other".into();
    document
}

/// Whether Envoy takes what every proxy of the set gets. A set with a document that is not valid need not be taken.
///
/// # Errors
/// The first proxy that does not.
pub fn verify(set: &Set) -> Result<(), Rejection> {
    let read: Result<Vec<Resource>, _> = set
        .iter()
        .map(|document| Ok(document::read(document)?.resource))
        .collect();
    let Ok(resources) = read.map_err(|_: meshspan_model::Violations| ()) else {
        return Ok(());
    };
    let projected = catch_unwind(AssertUnwindSafe(|| {
        let control_plane = ControlPlane::of(resources)?;
        // Once more, since maps of messages encode in random order.
        Ok((control_plane.proxies(), control_plane.proxies()))
    }));
    let failed = |message| Rejection {
        proxy: String::new(),
        message,
    };
    let (proxies, again) = projected
        .map_err(|panic| failed(format!("panicked: {}", panic_message(&*panic))))?
        .map_err(failed)?;
    for ((proxy, resources), (_, again)) in proxies.iter().zip(&again) {
        verify_proxy(resources, again).map_err(|message| Rejection {
            proxy: proxy.clone(),
            message,
        })?;
    }
    Ok(())
}

fn verify_proxy(resources: &[Encoded], again: &[Encoded]) -> Result<(), String> {
    for (one, other) in resources.iter().zip(again) {
        if one.version != other.version {
            return Err(format!("has another version when it is made again: {one:?}"));
        }
        one.to_json().map_err(|error| format!("{error}, in {one:?}"))?;
    }
    validate::with_clusters(resources, with_endpoints(resources)).map(|_| ())
}

/// Clusters once more with their endpoints inside, which Envoy would otherwise ask for only when it runs.
fn with_endpoints(resources: &[Encoded]) -> Vec<Cluster> {
    let of_type = |resource_type| resources.iter().filter(move |one| one.resource_type == resource_type);
    of_type(ResourceType::Endpoint)
        .filter_map(|endpoints| {
            let cluster = of_type(ResourceType::Cluster).find(|cluster| cluster.name == endpoints.name)?;
            Some((decode::<Cluster>(cluster), decode::<ClusterLoadAssignment>(endpoints)))
        })
        .map(|(cluster, mut assignment)| {
            let name = format!("{}#static", cluster.name);
            assignment.cluster_name.clone_from(&name);
            Cluster {
                name,
                eds_cluster_config: None,
                cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::Static.into())),
                load_assignment: Some(assignment),
                // Envoy makes such clusters before there is anyone to ask for certificates.
                transport_socket: None,
                ..cluster
            }
        })
        .collect()
}

fn panic_message(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or(panic.downcast_ref::<&str>().copied())
        .unwrap_or("without a message")
}
