//! The support matrix: one row per policy kind, read by validation, translation, matching, merging, schema and tests.
//!
//! Facts: `spec/policies.md` §1.3 for what 2.9 accepts, widened by the newer forms: `Dataplane` at the top level,
//! `rules`, `MeshHTTPRoute` in `to`. Builtin gateways do not exist here; references to them are accepted and match
//! nothing.

use super::target_kind::TargetKind::{
    self, Dataplane, Mesh, MeshExternalService, MeshGateway, MeshHTTPRoute, MeshMultiZoneService, MeshService,
    MeshServiceSubset, MeshSubset,
};
use crate::kind::Kind;

/// A part of a policy's `spec` that carries configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// `spec.default`: the proxy as a whole.
    Default,
    /// `spec.from`: incoming traffic by client, the old form of `rules`.
    From,
    /// `spec.rules`: incoming traffic.
    Rules,
    /// `spec.to`: outgoing traffic by destination.
    To,
}

impl Part {
    /// The field below `spec`.
    pub fn field(self) -> &'static str {
        match self {
            Part::Default => "default",
            Part::From => "from",
            Part::Rules => "rules",
            Part::To => "to",
        }
    }
}

/// What `to` may refer to where the top level is a particular kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Narrowed {
    /// The kind at the top level.
    pub top: TargetKind,
    /// Applies only to items whose conf has this field; always if empty.
    pub with_field: &'static str,
    /// What is left.
    pub to: &'static [TargetKind],
}

/// How a conf holds routing rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Routing {
    /// It does not; `to` items have a `default`.
    None,
    /// `to[].rules[]` merged by their `matches`.
    ByMatches,
    /// `to[].rules[]`, at most one, replaced as a whole.
    Single,
}

/// One row of the matrix.
#[derive(Debug)]
pub struct PolicyInfo {
    /// The name as in `type:`.
    pub name: &'static str,
    /// What it is for, in a few words with a full stop.
    pub about: &'static str,
    /// True while policies of this kind are stored, checked and shown, but change no traffic yet.
    pub stored_only: bool,
    /// Kinds at the top level.
    pub top: &'static [TargetKind],
    /// Whether a top-level MeshGateway may name listeners by `tags`.
    pub listener_tags: bool,
    /// Kinds in `to`; empty if there is no `to`.
    pub to: &'static [TargetKind],
    /// Exceptions to `to` by top-level kind.
    pub narrowed: &'static [Narrowed],
    /// Kinds in `from`; empty if there is no `from`.
    pub from: &'static [TargetKind],
    /// Whether `from` is refused below a top-level MeshGateway or MeshHTTPRoute.
    pub from_for_proxies_only: bool,
    /// Whether there are inbound `rules`.
    pub rules: bool,
    /// Whether on an inbound that policies with `rules` are about, `from` of other policies does not count.
    pub rules_replace_from: bool,
    /// Whether an inbound rule may select clients by `matches`.
    pub rule_matches: bool,
    /// Whether `rules` and `to` in one policy exclude each other.
    pub rules_exclude_to: bool,
    /// Whether there is a proxy-wide `default`.
    pub default: bool,
    /// Whether `to` items hold routing rules.
    pub routing: Routing,
    /// Of these parts at least one item is required; empty if none is.
    pub required: &'static [Part],
    /// `to` is about gateways and `from` about sidecars, so the top level has to say which it selects.
    pub split_by_proxy_type: bool,
    /// Fields of a conf that need a top-level Mesh, since they must be the same on both sides.
    pub mesh_only_fields: &'static [&'static str],
    /// Fields of a conf whose lists are appended when merging, beside all that start with `append`.
    pub appended: &'static [&'static str],
    /// What about a client the effect depends on, beside its being a member of its class.
    pub client: ClientInputs,
    /// What is said of every destination holds for traffic to destinations that the mesh does not know, too.
    pub passthrough: bool,
}

/// What about a client the effect of a policy on its outgoing traffic depends on. Clients that differ in nothing else share what is
/// made of a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientInputs {
    /// Nothing.
    Nothing,
    /// Its tags, of which the keys stand in the confs: in the objects of the list at this JSON pointer, as `key`.
    Tags(&'static str),
    /// What it is called. Envoy knows that from its node, so that clients share all the same.
    Name,
}

impl PolicyInfo {
    /// A row with nothing allowed, on which the others are built.
    const NOTHING: PolicyInfo = PolicyInfo {
        name: "",
        about: "",
        stored_only: false,
        top: &[],
        listener_tags: false,
        to: &[],
        narrowed: &[],
        from: &[],
        from_for_proxies_only: false,
        rules: false,
        rules_replace_from: false,
        rule_matches: false,
        rules_exclude_to: false,
        default: false,
        routing: Routing::None,
        required: &[],
        split_by_proxy_type: false,
        mesh_only_fields: &[],
        appended: &[],
        client: ClientInputs::Nothing,
        passthrough: false,
    };

    /// The parts that policies of this kind have.
    pub fn parts(&self) -> impl Iterator<Item = Part> + '_ {
        [Part::Default, Part::From, Part::Rules, Part::To]
            .into_iter()
            .filter(|part| match part {
                Part::Default => self.default,
                Part::From => !self.from.is_empty(),
                Part::Rules => self.rules,
                Part::To => !self.to.is_empty(),
            })
    }

    /// What an item of `to` may refer to, given the top-level kind and a test for fields of its conf.
    pub fn to_below(&self, top: TargetKind, has_field: impl Fn(&str) -> bool) -> &'static [TargetKind] {
        self.narrowed
            .iter()
            .find(|narrowed| narrowed.top == top && (narrowed.with_field.is_empty() || has_field(narrowed.with_field)))
            .map_or(self.to, |narrowed| narrowed.to)
    }
}

/// Top-level kinds that only policies of the system may use, since they reach proxies of others (`spec/policies.md`
/// §1.3, note 1).
pub const SYSTEM_ONLY: [TargetKind; 2] = [MeshGateway, MeshHTTPRoute];

macro_rules! matrix {
    ($(#[doc = $about:literal] $variant:ident { $($field:ident: $value:expr),* $(,)? })*) => {
        /// A kind of policy; everything known about it is in [`PolicyKind::info`]. The derived order is the order in
        /// which effects are applied (`spec/policies.md` §1.11).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum PolicyKind { $(#[doc = $about] $variant,)* }

        impl PolicyKind {
            /// All kinds, in the order in which they are applied.
            pub const ALL: &'static [PolicyKind] = &[$(PolicyKind::$variant,)*];

            /// The kind of resource.
            pub const fn kind(self) -> Kind {
                match self {
                    $(PolicyKind::$variant => Kind::$variant,)*
                }
            }

            /// The row of the matrix.
            pub fn info(self) -> &'static PolicyInfo {
                match self {
                    $(PolicyKind::$variant => {
                        static INFO: PolicyInfo = PolicyInfo {
                            name: stringify!($variant),
                            about: $about.trim_ascii(),
                            $($field: $value,)*
                            ..PolicyInfo::NOTHING
                        };
                        &INFO
                    })*
                }
            }
        }
    };
}

/// Proxies, of builtin gateways too.
const PROXIES: &[TargetKind] = &[Mesh, MeshSubset, MeshGateway, Dataplane, MeshService, MeshServiceSubset];
/// Proxies, or those of a route.
const PROXIES_OR_ROUTE: &[TargetKind] = &[
    Mesh,
    MeshSubset,
    MeshGateway,
    Dataplane,
    MeshService,
    MeshServiceSubset,
    MeshHTTPRoute,
];
const MESH: &[TargetKind] = &[Mesh];
const MESH_OR_EXTERNAL: &[TargetKind] = &[Mesh, MeshExternalService];
const MESH_OR_SERVICES: &[TargetKind] = &[Mesh, MeshService, MeshExternalService, MeshMultiZoneService];
const ANYTHING: &[TargetKind] = &[
    Mesh,
    MeshService,
    MeshExternalService,
    MeshMultiZoneService,
    MeshHTTPRoute,
];
const SERVICES: &[TargetKind] = &[MeshService, MeshExternalService, MeshMultiZoneService];
const CLIENTS: &[TargetKind] = &[Mesh, MeshSubset, MeshService, MeshServiceSubset];

const fn below(top: TargetKind, to: &'static [TargetKind]) -> Narrowed {
    Narrowed {
        top,
        with_field: "",
        to,
    }
}

matrix! {
    /// Routes HTTP requests.
    MeshHTTPRoute {
        top: PROXIES, listener_tags: true,
        to: SERVICES, narrowed: &[below(MeshGateway, MESH)],
        routing: Routing::ByMatches,
    }
    /// Routes TCP connections.
    MeshTCPRoute {
        top: PROXIES, listener_tags: true,
        to: SERVICES, narrowed: &[below(MeshGateway, MESH)],
        routing: Routing::Single,
    }
    /// TLS of inbounds.
    MeshTLS {
        top: &[Mesh, MeshSubset, Dataplane],
        from: MESH, rules: true,
        mesh_only_fields: &["tlsVersion", "tlsCiphers"],
    }
    /// How endpoints are chosen, within and across zones.
    MeshLoadBalancingStrategy {
        client: ClientInputs::Tags("/localityAwareness/localZone/affinityTags"),
        top: PROXIES, listener_tags: true,
        to: ANYTHING,
        narrowed: &[Narrowed { top: MeshGateway, with_field: "loadBalancer", to: MESH }],
        required: &[Part::To],
    }
    /// Traffic to destinations outside the mesh.
    MeshPassthrough {
        stored_only: true,
        top: &[Mesh, MeshSubset, Dataplane],
        default: true,
    }
    /// Access logs.
    MeshAccessLog {
        client: ClientInputs::Name,
        passthrough: true,
        top: PROXIES, listener_tags: true,
        to: ANYTHING, narrowed: &[below(MeshGateway, MESH)],
        from: MESH, rules: true, rules_exclude_to: true,
        required: &[Part::To, Part::From, Part::Rules],
    }
    /// Traces.
    MeshTrace {
        stored_only: true,
        top: PROXIES,
        default: true,
    }
    /// Injected faults.
    MeshFaultInjection {
        stored_only: true,
        top: PROXIES, listener_tags: true,
        to: MESH, from: CLIENTS, rules: true, rule_matches: true,
        split_by_proxy_type: true,
    }
    /// Limits of request and connection rates.
    MeshRateLimit {
        stored_only: true,
        top: PROXIES_OR_ROUTE, listener_tags: true,
        to: MESH, from: MESH, rules: true, rules_exclude_to: true,
        split_by_proxy_type: true,
    }
    /// Timeouts.
    MeshTimeout {
        top: PROXIES_OR_ROUTE, listener_tags: true,
        to: ANYTHING,
        narrowed: &[below(MeshGateway, MESH_OR_EXTERNAL), below(MeshHTTPRoute, MESH_OR_EXTERNAL)],
        from: MESH, from_for_proxies_only: true, rules: true, rules_exclude_to: true,
        required: &[Part::To, Part::From, Part::Rules],
    }
    /// Who may call whom.
    MeshTrafficPermission {
        top: &[Mesh, MeshSubset, Dataplane, MeshService, MeshServiceSubset],
        from: CLIENTS, rules: true, rules_replace_from: true,
        required: &[Part::From, Part::Rules],
        appended: &["deny", "allow", "allowWithShadowDeny"],
    }
    /// Limits of connections, and ejection of failing endpoints.
    MeshCircuitBreaker {
        top: PROXIES, listener_tags: true,
        to: MESH_OR_SERVICES, from: MESH, rules: true,
        required: &[Part::To, Part::From, Part::Rules],
    }
    /// Active health checks.
    MeshHealthCheck {
        top: PROXIES, listener_tags: true,
        to: MESH_OR_SERVICES,
    }
    /// Retries.
    MeshRetry {
        top: PROXIES_OR_ROUTE, listener_tags: true,
        to: ANYTHING,
        narrowed: &[below(MeshGateway, MESH_OR_EXTERNAL), below(MeshHTTPRoute, MESH_OR_EXTERNAL)],
        required: &[Part::To],
    }
    /// Metrics.
    MeshMetric {
        stored_only: true,
        top: PROXIES, listener_tags: true,
        default: true,
    }
    /// Changes to generated Envoy resources.
    MeshProxyPatch {
        stored_only: true,
        top: PROXIES,
        default: true,
    }
}

impl PolicyKind {
    /// The name as in `type:`.
    pub fn name(self) -> &'static str {
        self.info().name
    }

    /// The kind of policies that a kind of resources is, if it is one.
    pub fn of(kind: Kind) -> Option<PolicyKind> {
        PolicyKind::ALL.iter().copied().find(|policy| policy.kind() == kind)
    }

    /// The kind with that `type:`, case-sensitive.
    pub fn from_name(name: &str) -> Option<PolicyKind> {
        PolicyKind::ALL.iter().copied().find(|kind| kind.name() == name)
    }
}

impl std::fmt::Display for PolicyKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}
