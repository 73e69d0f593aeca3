//! A set of documents: how it is made, and whether Envoy takes what follows from it.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::LazyLock;

use meshspan_envoy::{Encoded, ResourceType};
use meshspan_identity::Ca;
use meshspan_model::{Resource, document};
use serde_json::{Value, json};
use time::{Duration, OffsetDateTime};

use crate::control_plane::ControlPlane;
use crate::names::MESH;
use crate::random::Random;
use crate::support::inputs::bootstrap_params;
use crate::support::validate;
use crate::{policies, resources};

/// Documents that stand in a control plane together.
pub type Set = Vec<Value>;

/// What is wrong.
#[derive(Clone)]
pub struct Rejection {
    /// The proxy, if it is one's.
    pub proxy: String,
    /// What Envoy, or whoever failed before it, says.
    pub message: String,
}

/// The set of a seed, without documents that turned out not to be valid.
pub fn generate(seed: u64) -> Set {
    let random = &mut Random::new(seed);
    let mut set = mesh(random);
    if random.chance(20) {
        let other = mesh(random)
            .into_iter()
            .filter(|document| document["type"] != "ZoneIngress");
        set.extend(other.map(into_other_mesh));
    }
    set.retain(|document| document::read(document).is_ok());
    set
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
    let Some(resources) = read(set) else { return Ok(()) };
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

fn read(set: &Set) -> Option<Vec<Resource>> {
    set.iter()
        .map(|document| Some(document::read(document).ok()?.resource))
        .collect()
}

/// Versions of what each proxy of a set gets.
pub fn versions(set: &Set) -> BTreeSet<String> {
    let proxies = ControlPlane::of(read(set).unwrap()).unwrap().proxies();
    let of_proxy = |(proxy, resources): (String, Vec<Encoded>)| -> Vec<String> {
        resources
            .iter()
            .map(|resource| format!("{proxy} {resource:?}"))
            .collect()
    };
    proxies.into_iter().flat_map(of_proxy).collect()
}

fn verify_proxy(resources: &[Encoded], again: &[Encoded]) -> Result<(), String> {
    for (one, other) in resources.iter().zip(again) {
        if one.version != other.version {
            return Err(format!("has another version when it is made again: {one:?}"));
        }
    }
    let config = in_bootstrap(resources)?;
    validate::bootstrap_file("bootstrap.json", config.to_string().as_bytes()).map(|_| ())
}

/// A proxy's own bootstrap, with what the control plane sends it as if it stood there.
fn in_bootstrap(resources: &[Encoded]) -> Result<Value, String> {
    let of_type = |resource_type| {
        let some = resources.iter().filter(move |one| one.resource_type == resource_type);
        some.map(|one| one.to_json().map_err(|error| format!("{error}, in {one:?}")))
    };
    let clusters: Vec<Value> = of_type(ResourceType::Cluster).collect::<Result<_, _>>()?;
    let endpoints: Vec<Value> = of_type(ResourceType::Endpoint).collect::<Result<_, _>>()?;
    let mut config = BOOTSTRAP.clone();
    let mut add = |list: &str, item: Value| {
        let resources = config["static_resources"].as_object_mut().unwrap();
        let list = resources.entry(list).or_insert_with(|| json!([]));
        list.as_array_mut().unwrap().push(item);
    };
    for listener in of_type(ResourceType::Listener) {
        add("listeners", listener?);
    }
    for endpoints in endpoints {
        let cluster = clusters
            .iter()
            .find(|cluster| cluster["name"] == endpoints["clusterName"]);
        cluster
            .into_iter()
            .for_each(|cluster| add("clusters", with_endpoints(cluster.clone(), endpoints.clone())));
    }
    clusters.into_iter().for_each(|cluster| add("clusters", cluster));
    Ok(config)
}

/// The cluster once more with its endpoints inside, which Envoy would otherwise ask for only when it runs.
fn with_endpoints(mut cluster: Value, mut endpoints: Value) -> Value {
    let name = format!("{} with endpoints", cluster["name"].as_str().unwrap());
    endpoints["clusterName"] = name.clone().into();
    cluster["name"] = name.into();
    cluster["type"] = "STATIC".into();
    cluster["loadAssignment"] = endpoints;
    let cluster_fields = cluster.as_object_mut().unwrap();
    cluster_fields.shift_remove("edsClusterConfig");
    // Envoy makes such clusters before there is anyone to ask for certificates.
    cluster_fields.shift_remove("transportSocket");
    cluster
}

static BOOTSTRAP: LazyLock<Value> = LazyLock::new(|| {
    let ca = Ca::generate_builtin(MESH, 2048, OffsetDateTime::now_utc(), Duration::days(1)).unwrap();
    meshspan_envoy::bootstrap(&bootstrap_params("127.0.0.1", ca.cert_pem()))
});

fn panic_message(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or(panic.downcast_ref::<&str>().copied())
        .unwrap_or("without a message")
}
