//! What a peer says it can do (`spec/zone-sync.md` §1.4). Behaviour depends on features, never on version strings.

use std::collections::BTreeSet;

/// One feature of a zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Feature {
    /// Knows zone tokens; nothing depends on it.
    ZoneToken,
    /// Takes and sends names with a hash.
    HashSuffix,
    /// Understands hostname generators that select MeshMultiZoneServices.
    HostnameGeneratorMultiZone,
    /// Understands policies that other zones produce.
    ProducerPolicyFlow,
    /// Understands policies without a top-level `targetRef`.
    OptionalTopLevelTargetRef,
    /// Calls `HealthCheck` regularly.
    ZonePingHealth,
}

impl Feature {
    /// Those of `Node.metadata`.
    pub const OF_NODE: &'static [Feature] = &[
        Feature::ZoneToken,
        Feature::HashSuffix,
        Feature::HostnameGeneratorMultiZone,
        Feature::ProducerPolicyFlow,
        Feature::OptionalTopLevelTargetRef,
    ];
    /// Those of the request header `features`.
    pub const OF_HEADER: &'static [Feature] = &[Feature::ZonePingHealth, Feature::HashSuffix];

    /// As it is written on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Feature::ZoneToken => "zone-token",
            Feature::HashSuffix => "hash-suffix",
            Feature::HostnameGeneratorMultiZone => "hg-mz-selector",
            Feature::ProducerPolicyFlow => "producer-policy-flow",
            Feature::OptionalTopLevelTargetRef => "optional-top-level-target-ref",
            Feature::ZonePingHealth => "zone-ping-health",
        }
    }

    /// The known ones among `names`.
    pub fn parse_all<'a>(names: impl IntoIterator<Item = &'a str>) -> BTreeSet<Feature> {
        let known = || Self::OF_NODE.iter().chain(Self::OF_HEADER).copied();
        names
            .into_iter()
            .filter_map(|name| known().find(|feature| feature.name() == name))
            .collect()
    }
}
