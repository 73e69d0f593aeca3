//! What a peer may create, change and delete in our store (`spec/zone-sync.md` §3.3). Everything else is ours, and no
//! message of a peer touches it.

use meshspan_model::kind::Shape;
use meshspan_model::{Kind, Resource, labels};

use crate::outgoing::{CLUSTER_ID, ZONE_PUBLIC_KEY, names_zone, proxy_zone};

/// Whose messages these are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// We are the zone of this name and the messages come from the global.
    FromGlobal {
        /// Our zone.
        zone: String,
    },
    /// We are the global and the messages come from the zone of this name.
    FromZone {
        /// Its zone.
        zone: String,
    },
}

impl Scope {
    /// The zone at the other end, or our own.
    pub fn zone(&self) -> &str {
        match self {
            Scope::FromGlobal { zone } | Scope::FromZone { zone } => zone,
        }
    }

    /// The kinds to ask for, in the order in which they should arrive: a mesh before what is in it.
    pub fn kinds(&self) -> impl Iterator<Item = Kind> {
        let from_global = matches!(self, Scope::FromGlobal { .. });
        Kind::ALL.iter().copied().filter(move |kind| {
            let sync = kind.info().sync;
            if from_global {
                sync.global_to_zones || sync.zone_to_zones
            } else {
                sync.zone_to_global
            }
        })
    }

    /// True if a stored resource belongs to the peer.
    pub fn contains(&self, stored: &Resource) -> bool {
        match self {
            Scope::FromZone { zone } => stored.zone() == zone && stored.label(labels::ORIGIN) == labels::ORIGIN_ZONE,
            Scope::FromGlobal { zone } => match stored.kind {
                Kind::Config => stored.name == CLUSTER_ID,
                Kind::GlobalSecret => stored.name.starts_with(ZONE_PUBLIC_KEY),
                // Only those of other zones come from there.
                kind if names_zone(kind) => !["", zone.as_str()].contains(&proxy_zone(stored)),
                kind if kind.info().sync.zone_to_global => stored.label(labels::ORIGIN) == labels::ORIGIN_GLOBAL,
                // A zone cannot author these, so what it has from before its federation gives way to the global's;
                // except services that say that they were made here.
                kind => kind.info().shape == Shape::Flat || stored.label(labels::ORIGIN) != labels::ORIGIN_ZONE,
            },
        }
    }

    /// Marks a received resource as the peer's (§2.3). `None` if the peer may not send it at all, with the reason.
    pub(crate) fn adopt(&self, mut received: Resource) -> Result<Resource, String> {
        match self {
            Scope::FromZone { zone } => {
                received
                    .labels
                    .insert(labels::ORIGIN.to_owned(), labels::ORIGIN_ZONE.to_owned());
                received.labels.insert(labels::ZONE.to_owned(), zone.clone());
                if names_zone(received.kind)
                    && let Some(spec) = received.spec.as_object_mut()
                {
                    spec.insert("zone".to_owned(), zone.as_str().into());
                }
            }
            Scope::FromGlobal { zone } => {
                received
                    .labels
                    .insert(labels::ORIGIN.to_owned(), labels::ORIGIN_GLOBAL.to_owned());
                received.status = None;
                if received.kind.info().sync.zone_to_zones && (received.zone() == zone || proxy_zone(&received) == zone)
                {
                    return Err(format!("comes from this zone, \"{zone}\", itself"));
                }
            }
        }
        if self.contains(&received) {
            Ok(received)
        } else {
            Err("is not the peer's to send".to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use serde_json::json;

    use super::*;

    fn resource(kind: Kind, name: &str, origin: &str, zone: &str) -> Resource {
        let mut resource = Resource::new(kind, "default", name, json!({}));
        if !origin.is_empty() {
            resource = resource.with_label(labels::ORIGIN, origin);
        }
        if !zone.is_empty() {
            resource = resource.with_label(labels::ZONE, zone);
        }
        resource
    }

    #[test]
    fn a_zone_gives_way_only_where_the_global_rules() {
        let scope = Scope::FromGlobal { zone: "east".into() };
        for (kind, name, origin, zone, expected) in [
            (Kind::MeshService, "redis", "", "", false),
            (Kind::MeshService, "redis", "zone", "east", false),
            (Kind::MeshService, "redis-x", "global", "west", true),
            (Kind::Mesh, "default", "", "", true),
            (Kind::Secret, "default.ca", "", "", true),
            (Kind::MeshMultiZoneService, "redis", "zone", "", false),
            (Kind::MeshMultiZoneService, "redis", "", "", true),
            (Kind::Config, "kuma-cluster-id", "", "", true),
            (Kind::Config, "cp-catalog", "", "", false),
            (Kind::GlobalSecret, "zone-token-signing-public-key-1", "", "", true),
            (Kind::GlobalSecret, "user-token-signing-key-1", "", "", false),
            (Kind::MeshTrafficPermission, "mine", "zone", "", false),
            (Kind::MeshTrafficPermission, "theirs", "global", "", true),
        ] {
            assert_eq!(
                scope.contains(&resource(kind, name, origin, zone)),
                expected,
                "{kind} {name} {origin}"
            );
        }
        for (origin, expected) in [("", false), ("zone", false), ("global", true)] {
            let external = resource(Kind::MeshExternalService, "bank", origin, "");
            assert_eq!(scope.contains(&external), expected, "{origin}");
        }
        let egress = Resource::new(Kind::ZoneEgress, "", "e", json!({"zone": "east"}));
        assert!(!scope.contains(&egress));
        let ingress = |zone: &str| Resource::new(Kind::ZoneIngress, "", "i", json!({"zone": zone}));
        assert!(scope.contains(&ingress("west")));
        assert!(!scope.contains(&ingress("east")) && !scope.contains(&ingress("")));
    }

    #[test]
    fn a_zone_rules_only_its_own_copies_on_the_global() {
        let scope = Scope::FromZone { zone: "west".into() };
        assert!(scope.contains(&resource(Kind::MeshService, "a", "zone", "west")));
        assert!(!scope.contains(&resource(Kind::MeshService, "a", "zone", "east")));
        assert!(!scope.contains(&resource(Kind::MeshTrafficPermission, "a", "global", "west")));
        assert!(!scope.contains(&resource(Kind::MeshTrafficPermission, "a", "", "")));
        let adopted = scope.adopt(resource(Kind::MeshService, "a", "global", "east"));
        assert_eq!(
            adopted.map(|resource| (resource.zone().to_owned(), resource.label(labels::ORIGIN).to_owned())),
            Ok(("west".into(), "zone".into()))
        );
        for kind in [Kind::ZoneIngress, Kind::ZoneEgress] {
            let proxy = Resource::new(kind, "", "proxy", json!({"networking": {"port": 1}}));
            assert_eq!(scope.adopt(proxy).unwrap().spec["zone"], "west", "{kind}");
        }
        assert!(
            Scope::FromGlobal { zone: "west".into() }
                .adopt(resource(Kind::MeshService, "a", "", "west"))
                .is_err()
        );
    }
}
