//! What leaves a control plane, and as what: the filters of `spec/zone-sync.md` §2.2, the changes in flight of §2.3
//! and the names of §2.4.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use meshspan_model::kinds::hostname_generator::HostnameGenerator;
use meshspan_model::policy::{Document, PolicyKind, Role, TargetKind};
use meshspan_model::{Kind, ProxyKind, Resource, labels, name};
use serde_json::Value;

use crate::feature::Feature;

/// The only Config that zones get.
pub const CLUSTER_ID: &str = "kuma-cluster-id";
/// GlobalSecrets with the keys that sign zone tokens; they never leave the global.
pub const ZONE_SIGNING_KEY: &str = "zone-token-signing-key";
/// GlobalSecrets in zones with the public halves of these keys.
pub const ZONE_PUBLIC_KEY: &str = "zone-token-signing-public-key";

/// Makes the public key (PEM) of a signing key; the server gives it, as keys are not known here.
pub type PublicKeyOf = Arc<dyn Fn(&[u8]) -> Result<Vec<u8>, String> + Send + Sync>;

/// Which way the resources of an outbox travel.
#[derive(Clone)]
pub enum Direction {
    /// From the global to its zones.
    ToZones {
        /// Converts signing keys.
        public_key_of: PublicKeyOf,
    },
    /// From the zone of this name to its global.
    ToGlobal {
        /// The zone.
        zone: String,
    },
}

impl fmt::Debug for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Direction::ToZones { .. } => f.write_str("ToZones"),
            Direction::ToGlobal { zone } => write!(f, "ToGlobal({zone})"),
        }
    }
}

impl Direction {
    /// True for kinds that may travel this way at all.
    pub fn carries(&self, kind: Kind) -> bool {
        let sync = kind.info().sync;
        match self {
            Direction::ToZones { .. } => sync.global_to_zones || sync.zone_to_zones,
            Direction::ToGlobal { .. } => sync.zone_to_global,
        }
    }
}

/// Who gets a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Audience {
    /// Every peer.
    Everyone,
    /// Every zone but the one it comes from, while that one is enabled.
    OthersThan(String),
    /// One other zone, while the one it comes from is enabled.
    Only {
        /// The zone that gets it.
        zone: String,
        /// The zone that it comes from.
        from: String,
    },
}

impl Audience {
    /// The zone that a resource comes from, if a zone made it.
    pub(crate) fn origin(&self) -> Option<&str> {
        match self {
            Audience::Everyone => None,
            Audience::OthersThan(zone) | Audience::Only { from: zone, .. } => Some(zone),
        }
    }
}

/// A resource ready to be encoded.
#[derive(Clone, Debug, PartialEq)]
pub struct Outgoing {
    /// With its travelling name, labels and payload.
    pub resource: Resource,
    /// Who gets it.
    pub audience: Audience,
    /// Peers without this feature do not get it.
    pub needs: Option<Feature>,
}

/// What becomes of a resource on its way; `None` if it stays.
///
/// # Errors
/// Why a resource that should leave cannot.
pub fn outgoing(resource: &Resource, direction: &Direction) -> Result<Option<Outgoing>, String> {
    if !direction.carries(resource.kind) || resource.label(labels::KDS_SYNC) == "disabled" {
        return Ok(None);
    }
    match direction {
        Direction::ToGlobal { zone } => Ok(to_global(resource, zone)),
        Direction::ToZones { public_key_of } => to_zones(resource, public_key_of),
    }
}

fn to_global(resource: &Resource, zone: &str) -> Option<Outgoing> {
    let own = match resource.kind.proxy() {
        Some(ProxyKind::Sidecar) => true,
        Some(ProxyKind::ZoneIngress | ProxyKind::ZoneEgress) => ["", zone].contains(&proxy_zone(resource)),
        None if resource.kind.info().is_insight => true,
        None => resource.is_local(labels::ORIGIN_ZONE),
    };
    if !own {
        return None;
    }
    let mut resource = resource.clone();
    resource
        .labels
        .insert(labels::ORIGIN.to_owned(), labels::ORIGIN_ZONE.to_owned());
    resource.labels.insert(labels::ZONE.to_owned(), zone.to_owned());
    resource.labels.remove(labels::DELETION_GRACE_PERIOD_STARTED_AT);
    if resource.kind.info().is_insight {
        drop_generations(&mut resource.spec);
    }
    hash_name(&mut resource);
    Some(Outgoing {
        resource,
        audience: Audience::Everyone,
        needs: None,
    })
}

fn to_zones(resource: &Resource, public_key_of: &PublicKeyOf) -> Result<Option<Outgoing>, String> {
    let sync = resource.kind.info().sync;
    let audience = if resource.is_local(labels::ORIGIN_GLOBAL) && sync.global_to_zones {
        Audience::Everyone
    } else if !resource.is_local(labels::ORIGIN_GLOBAL) && sync.zone_to_zones {
        match PolicyKind::of(resource.kind) {
            None => Audience::OthersThan(zone_of(resource).to_owned()),
            Some(_) => match producer_audience(resource) {
                Some(audience) => audience,
                None => return Ok(None),
            },
        }
    } else {
        return Ok(None);
    };
    let mut copy = resource.clone();
    copy.status = None;
    match resource.kind {
        Kind::Config if resource.name != CLUSTER_ID => return Ok(None),
        Kind::GlobalSecret => match resource.name.strip_prefix(ZONE_SIGNING_KEY) {
            Some(rest) => {
                copy.name = format!("{ZONE_PUBLIC_KEY}{rest}");
                copy.spec = public_key(resource, public_key_of)?;
            }
            None => return Ok(None),
        },
        _ => {}
    }
    copy.labels
        .insert(labels::ORIGIN.to_owned(), labels::ORIGIN_GLOBAL.to_owned());
    if !matches!(copy.kind, Kind::Mesh | Kind::Secret | Kind::GlobalSecret | Kind::Config) {
        hash_name(&mut copy);
    }
    let needs = needs(&copy);
    Ok(Some(Outgoing {
        resource: copy,
        audience,
        needs,
    }))
}

fn public_key(secret: &Resource, public_key_of: &PublicKeyOf) -> Result<Value, String> {
    let data = secret.spec.get("data").and_then(Value::as_str).unwrap_or_default();
    let key = BASE64
        .decode(data)
        .map_err(|error| format!("data of {} is no base64: {error}", secret.name))?;
    let public = public_key_of(&key).map_err(|reason| format!("{} is no signing key: {reason}", secret.name))?;
    Ok(serde_json::json!({ "data": BASE64.encode(public) }))
}

/// Renames to the name of the synced copy; starts from the display name, so that it can be applied again.
fn hash_name(resource: &mut Resource) {
    let display_name = resource.display_name().to_owned();
    resource.name = name::synced(
        &resource.mesh,
        &display_name,
        resource.labels.get(labels::ZONE).map(String::as_str),
        resource.labels.get(labels::NAMESPACE).map(String::as_str),
    );
    resource.labels.insert(labels::DISPLAY_NAME.to_owned(), display_name);
}

/// Other zones get a policy of a zone only if it speaks for a service, to clients everywhere; that the zone says so is not
/// enough.
fn producer_audience(policy: &Resource) -> Option<Audience> {
    let document = Document::parse(&policy.spec, &mut Vec::new()).ok()?;
    let computed = Role::of(&document, policy.namespace(), "").ok()?;
    if Role::from_label(policy.label(labels::POLICY_ROLE)) != Role::Producer || computed != Role::Producer {
        return None;
    }
    let from = zone_of(policy).to_owned();
    let top = document.top();
    let narrowed = (document.top_kind() == TargetKind::MeshSubset)
        .then(|| top.tags?.remove(labels::TAG_ZONE))
        .flatten();
    Some(match narrowed {
        None => Audience::OthersThan(from),
        Some(zone) => Audience::Only { zone, from },
    })
}

/// The zone that a zone-originated resource comes from.
fn zone_of(resource: &Resource) -> &str {
    match (proxy_zone(resource), resource.zone()) {
        ("", "") => resource.name.split('.').next().unwrap_or_default(),
        ("", label) => label,
        (proxy, _) => proxy,
    }
}

/// True for kinds whose payload says of which zone they are: the proxies at the edge of a zone.
pub(crate) fn names_zone(kind: Kind) -> bool {
    match kind.proxy() {
        Some(ProxyKind::ZoneIngress | ProxyKind::ZoneEgress) => true,
        Some(ProxyKind::Sidecar) | None => false,
    }
}

/// `zone` in the payload of a ZoneIngress or ZoneEgress, or "".
pub(crate) fn proxy_zone(resource: &Resource) -> &str {
    if !names_zone(resource.kind) {
        return "";
    }
    resource.spec.get("zone").and_then(Value::as_str).unwrap_or_default()
}

fn needs(resource: &Resource) -> Option<Feature> {
    match resource.kind {
        Kind::HostnameGenerator => {
            let generator = resource.parse::<HostnameGenerator>().ok()?;
            generator
                .selector
                .mesh_multi_zone_service
                .map(|_| Feature::HostnameGeneratorMultiZone)
        }
        kind if PolicyKind::of(kind).is_some() => {
            if Role::from_label(resource.label(labels::POLICY_ROLE)) == Role::Producer {
                return Some(Feature::ProducerPolicyFlow);
            }
            let top = resource.spec.get("targetRef").filter(|top| !top.is_null());
            top.is_none().then_some(Feature::OptionalTopLevelTargetRef)
        }
        _ => None,
    }
}

/// Heartbeats of connections mean nothing elsewhere.
fn drop_generations(insight: &mut Value) {
    let subscriptions = insight.get_mut("subscriptions").and_then(Value::as_array_mut);
    for subscription in subscriptions.into_iter().flatten().filter_map(Value::as_object_mut) {
        subscription.remove("generation");
    }
}

#[cfg(test)]
#[path = "outgoing/tests.rs"]
mod tests;
