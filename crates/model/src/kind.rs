//! The table of kinds: each kind once, with everything that the rest of the system asks about it.
//!
//! REST routes, CLI arguments, sync directions and store columns iterate over [`Kind::ALL`]; adding a kind is one
//! row here and one file in `kinds/`.

use serde_json::Value;

use crate::kinds::{self, Checked};
use crate::reading::without_nulls;
use crate::violation::Violations;

/// Whether a kind lives in a mesh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Belongs to the control plane as a whole; its `mesh` is empty.
    Global,
    /// Belongs to one mesh.
    Mesh,
}

/// How the Universal form is written (`spec/resources.md` §1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Payload under `spec`, status under `status`.
    Spec,
    /// Payload fields beside the header.
    Flat,
}

/// Which way a kind travels between global and zones (`spec/resources.md` §1.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SyncDirections {
    /// Zones send what they own to the global.
    pub zone_to_global: bool,
    /// The global sends what it owns to all zones.
    pub global_to_zones: bool,
    /// The global passes what a zone owns on to the other zones.
    pub zone_to_zones: bool,
}

/// One row of the table.
#[derive(Debug)]
pub struct KindInfo {
    /// The name as in `type:`.
    pub name: &'static str,
    /// Plural path of the REST API.
    pub path: &'static str,
    /// Other paths that clients use for it.
    pub path_aliases: &'static [&'static str],
    /// Name in `meshspan get <singular>`.
    pub singular: &'static str,
    /// KRI short name (`spec/resources.md` §1.6); empty for kinds without one.
    pub short_name: &'static str,
    /// Global or in a mesh.
    pub scope: Scope,
    /// Spec or flat document.
    pub shape: Shape,
    /// Sync directions.
    pub sync: SyncDirections,
    /// Written by the control plane only: the API answers 405 to writes.
    pub read_only: bool,
    /// Has a `status`, owned by the local control plane.
    pub has_status: bool,
    /// Visible to administrators only (secrets).
    pub admin_only: bool,
    /// Offered by the REST API at all.
    pub in_api: bool,
    /// True for kinds written by the control plane as a consequence of others (insights): their change never
    /// changes what is sent to proxies except through what derivation takes from them.
    pub is_insight: bool,
    pub(crate) check: fn(&Value) -> Result<Checked, Violations>,
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $variant:ident => $spec:ty, $path:literal, $singular:literal, $short:literal, $scope:ident, $shape:ident, [$($flag:ident),*] $(, aliases $aliases:expr)? $(, service $service:ident)? $(, proxy $proxy:ident with $insight:ident)?;)*) => {
        /// A kind of resource; everything known about it is in [`Kind::info`].
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Kind { $($(#[$doc])* $variant,)* }

        impl Kind {
            /// All kinds, in the order of the table.
            pub const ALL: &'static [Kind] = &[$(Kind::$variant,)*];

            /// The row of the table.
            pub fn info(self) -> &'static KindInfo {
                match self {
                    $(Kind::$variant => {
                        const FLAGS: &[Flag] = &[$(Flag::$flag),*];
                        static INFO: KindInfo = KindInfo {
                            name: stringify!($variant),
                            path: $path,
                            path_aliases: kinds!(@aliases $($aliases)?),
                            singular: $singular,
                            short_name: $short,
                            scope: Scope::$scope,
                            shape: Shape::$shape,
                            sync: SyncDirections {
                                zone_to_global: has(FLAGS, Flag::ZoneToGlobal),
                                global_to_zones: has(FLAGS, Flag::GlobalToZones),
                                zone_to_zones: has(FLAGS, Flag::ZoneToZones),
                            },
                            read_only: has(FLAGS, Flag::ReadOnly),
                            has_status: has(FLAGS, Flag::Status),
                            admin_only: has(FLAGS, Flag::AdminOnly),
                            in_api: !has(FLAGS, Flag::Internal),
                            is_insight: has(FLAGS, Flag::Insight),
                            check: <$spec as kinds::Spec>::check_payload,
                        };
                        &INFO
                    })*
                }
            }

            /// Which kind of service it is, if it is one.
            pub fn service(self) -> Option<ServiceKind> {
                match self {
                    $($(Kind::$variant => Some(ServiceKind::$service),)?)*
                    _ => None,
                }
            }

            /// Which kind of proxy it describes, if it describes one.
            pub fn proxy(self) -> Option<ProxyKind> {
                match self {
                    $($(Kind::$variant => Some(ProxyKind::$proxy),)?)*
                    _ => None,
                }
            }
        }

        /// A kind of service: what clients name and dial. A `match` on it has no wildcard, so that the compiler says what a
        /// new one must answer. The order is the one of derivation: a kind depends only on kinds before it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum ServiceKind {
            $($(#[doc = concat!("A [`Kind::", stringify!($variant), "`].")] $service,)?)*
        }

        impl ServiceKind {
            /// All kinds, in the order of derivation.
            pub const ALL: &'static [ServiceKind] = &[$($(ServiceKind::$service,)?)*];

            /// The kind of its resources.
            pub fn kind(self) -> Kind {
                match self {
                    $($(ServiceKind::$service => Kind::$variant,)?)*
                }
            }
        }

        /// A kind of proxy: an Envoy that a control plane configures. A `match` on it has no wildcard.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum ProxyKind {
            $($(#[doc = concat!("The proxy of a [`Kind::", stringify!($variant), "`].")] $proxy,)?)*
        }

        impl ProxyKind {
            /// All kinds.
            pub const ALL: &'static [ProxyKind] = &[$($(ProxyKind::$proxy,)?)*];

            /// The kind of resource that describes it.
            pub fn resource(self) -> Kind {
                match self {
                    $($(ProxyKind::$proxy => Kind::$variant,)?)*
                }
            }

            /// The kind of resource that holds what a control plane knows of it.
            pub fn insight(self) -> Kind {
                match self {
                    $($(ProxyKind::$proxy => Kind::$insight,)?)*
                }
            }
        }
    };
    (@aliases) => { &[] };
    (@aliases $aliases:expr) => { $aliases };
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Flag {
    ZoneToGlobal,
    GlobalToZones,
    ZoneToZones,
    ReadOnly,
    Status,
    AdminOnly,
    Internal,
    Insight,
}

const fn has(flags: &[Flag], wanted: Flag) -> bool {
    let mut rest = flags;
    while let [first, tail @ ..] = rest {
        if *first as u8 == wanted as u8 {
            return true;
        }
        rest = tail;
    }
    false
}

kinds! {
    /// A mesh: mTLS, defaults, constraints.
    Mesh => kinds::mesh::Mesh, "meshes", "mesh", "m", Global, Flat, [GlobalToZones];
    /// A data plane proxy.
    Dataplane => kinds::dataplane::Dataplane, "dataplanes", "dataplane", "dp", Mesh, Flat, [ZoneToGlobal], proxy Sidecar with DataplaneInsight;
    /// What the control plane knows of a connected proxy.
    DataplaneInsight => kinds::dataplane_insight::DataplaneInsight, "dataplane-insights", "dataplane-insight", "", Mesh, Flat, [ZoneToGlobal, ReadOnly, Insight];
    /// A zone.
    Zone => kinds::zone::Zone, "zones", "zone", "z", Global, Flat, [];
    /// What the global knows of a connected zone.
    ZoneInsight => kinds::zone_insight::ZoneInsight, "zone-insights", "zone-insight", "", Global, Flat, [ReadOnly, Insight];
    /// The proxy through which other zones enter a zone.
    ZoneIngress => kinds::zone_ingress::ZoneIngress, "zone-ingresses", "zone-ingress", "zi", Global, Flat, [ZoneToGlobal, ZoneToZones], aliases &["zoneingresses"], proxy ZoneIngress with ZoneIngressInsight;
    /// What the control plane knows of a connected zone ingress.
    ZoneIngressInsight => kinds::dataplane_insight::ZoneIngressInsight, "zone-ingress-insights", "zone-ingress-insight", "", Global, Flat, [ZoneToGlobal, ReadOnly, Insight];
    /// The proxy through which a zone is left.
    ZoneEgress => kinds::zone_egress::ZoneEgress, "zoneegresses", "zoneegress", "ze", Global, Flat, [ZoneToGlobal], aliases &["zone-egresses"], proxy ZoneEgress with ZoneEgressInsight;
    /// What the control plane knows of a connected zone egress.
    ZoneEgressInsight => kinds::dataplane_insight::ZoneEgressInsight, "zoneegressinsights", "zoneegressinsight", "", Global, Flat, [ZoneToGlobal, ReadOnly, Insight], aliases &["zone-egress-insights"];
    /// A service of one zone.
    MeshService => kinds::mesh_service::MeshService, "meshservices", "meshservice", "msvc", Mesh, Spec, [ZoneToGlobal, ZoneToZones, Status], service MeshService;
    /// A service that spans zones.
    MeshMultiZoneService => kinds::mesh_multi_zone_service::MeshMultiZoneService, "meshmultizoneservices", "meshmultizoneservice", "mzsvc", Mesh, Spec, [GlobalToZones, Status], service MeshMultiZoneService;
    /// What one zone makes of a MeshMultiZoneService.
    MeshMultiZoneServiceInsight => kinds::mesh_multi_zone_service_insight::MeshMultiZoneServiceInsight, "meshmultizoneservice-insights", "meshmultizoneservice-insight", "", Mesh, Spec, [ZoneToGlobal, ReadOnly, Insight];
    /// A service outside the mesh.
    MeshExternalService => kinds::mesh_external_service::MeshExternalService, "meshexternalservices", "meshexternalservice", "extsvc", Mesh, Spec, [GlobalToZones, ZoneToGlobal, Status], service MeshExternalService;
    /// Gives hostnames to services.
    HostnameGenerator => kinds::hostname_generator::HostnameGenerator, "hostnamegenerators", "hostnamegenerator", "hg", Global, Spec, [GlobalToZones, ZoneToGlobal];
    /// Routes of HTTP requests.
    MeshHTTPRoute => kinds::mesh_http_route::MeshHTTPRoute, "meshhttproutes", "meshhttproute", "mhttpr", Mesh, Spec, [GlobalToZones, ZoneToGlobal, ZoneToZones];
    /// Routes of TCP connections.
    MeshTCPRoute => kinds::mesh_tcp_route::MeshTCPRoute, "meshtcproutes", "meshtcproute", "mtcpr", Mesh, Spec, [GlobalToZones, ZoneToGlobal, ZoneToZones];
    /// TLS of inbounds.
    MeshTLS => kinds::mesh_tls::MeshTLS, "meshtlses", "meshtls", "mtls", Mesh, Spec, [GlobalToZones, ZoneToGlobal];
    /// How endpoints are chosen, within and across zones.
    MeshLoadBalancingStrategy => kinds::mesh_load_balancing_strategy::MeshLoadBalancingStrategy, "meshloadbalancingstrategies", "meshloadbalancingstrategy", "mlbs", Mesh, Spec, [GlobalToZones, ZoneToGlobal, ZoneToZones];
    /// Traffic to destinations outside the mesh.
    MeshPassthrough => kinds::mesh_passthrough::MeshPassthrough, "meshpassthroughs", "meshpassthrough", "mp", Mesh, Spec, [GlobalToZones, ZoneToGlobal];
    /// Access logs.
    MeshAccessLog => kinds::mesh_access_log::MeshAccessLog, "meshaccesslogs", "meshaccesslog", "mal", Mesh, Spec, [GlobalToZones, ZoneToGlobal, ZoneToZones];
    /// Traces.
    MeshTrace => kinds::mesh_trace::MeshTrace, "meshtraces", "meshtrace", "mtr", Mesh, Spec, [GlobalToZones, ZoneToGlobal];
    /// Injected faults.
    MeshFaultInjection => kinds::mesh_fault_injection::MeshFaultInjection, "meshfaultinjections", "meshfaultinjection", "mfi", Mesh, Spec, [GlobalToZones, ZoneToGlobal, ZoneToZones];
    /// Limits of request and connection rates.
    MeshRateLimit => kinds::mesh_rate_limit::MeshRateLimit, "meshratelimits", "meshratelimit", "mrl", Mesh, Spec, [GlobalToZones, ZoneToGlobal, ZoneToZones];
    /// Timeouts.
    MeshTimeout => kinds::mesh_timeout::MeshTimeout, "meshtimeouts", "meshtimeout", "mt", Mesh, Spec, [GlobalToZones, ZoneToGlobal, ZoneToZones];
    /// Who may call whom.
    MeshTrafficPermission => kinds::mesh_traffic_permission::MeshTrafficPermission, "meshtrafficpermissions", "meshtrafficpermission", "mtp", Mesh, Spec, [GlobalToZones, ZoneToGlobal];
    /// Limits of connections, and ejection of failing endpoints.
    MeshCircuitBreaker => kinds::mesh_circuit_breaker::MeshCircuitBreaker, "meshcircuitbreakers", "meshcircuitbreaker", "mcb", Mesh, Spec, [GlobalToZones, ZoneToGlobal, ZoneToZones];
    /// Active health checks.
    MeshHealthCheck => kinds::mesh_health_check::MeshHealthCheck, "meshhealthchecks", "meshhealthcheck", "mhc", Mesh, Spec, [GlobalToZones, ZoneToGlobal, ZoneToZones];
    /// Retries.
    MeshRetry => kinds::mesh_retry::MeshRetry, "meshretries", "meshretry", "mr", Mesh, Spec, [GlobalToZones, ZoneToGlobal, ZoneToZones];
    /// Metrics.
    MeshMetric => kinds::mesh_metric::MeshMetric, "meshmetrics", "meshmetric", "mm", Mesh, Spec, [GlobalToZones, ZoneToGlobal];
    /// Changes to generated Envoy resources.
    MeshProxyPatch => kinds::mesh_proxy_patch::MeshProxyPatch, "meshproxypatches", "meshproxypatch", "mpp", Mesh, Spec, [GlobalToZones, ZoneToGlobal];
    /// A secret of a mesh: CA keys, token signing keys.
    Secret => kinds::secret::Secret, "secrets", "secret", "", Mesh, Flat, [GlobalToZones, AdminOnly];
    /// A secret of the control plane.
    GlobalSecret => kinds::secret::GlobalSecret, "global-secrets", "global-secret", "", Global, Flat, [GlobalToZones, AdminOnly], aliases &["globalsecrets"];
    /// Internal configuration such as the cluster id.
    Config => kinds::config::Config, "configs", "config", "", Global, Flat, [GlobalToZones, Internal];
}

impl ServiceKind {
    /// The name as in `type:`.
    pub fn name(self) -> &'static str {
        self.kind().name()
    }

    /// Whether its instances may be in several zones.
    pub fn spans_zones(self) -> bool {
        match self {
            ServiceKind::MeshMultiZoneService => true,
            ServiceKind::MeshService | ServiceKind::MeshExternalService => false,
        }
    }
}

impl Kind {
    /// The name as in `type:`.
    pub fn name(self) -> &'static str {
        self.info().name
    }

    /// The kind with that `type:`, case-sensitive.
    pub fn from_name(name: &str) -> Option<Kind> {
        Kind::ALL.iter().copied().find(|kind| kind.name() == name)
    }

    /// The kind with that REST path, aliases included.
    pub fn from_path(path: &str) -> Option<Kind> {
        Kind::ALL.iter().copied().find(|kind| {
            let info = kind.info();
            info.path == path || info.path_aliases.contains(&path)
        })
    }

    /// The kind that a user means on a command line: singular, plural, type or short name, any case.
    pub fn from_argument(argument: &str) -> Option<Kind> {
        let wanted = argument.to_ascii_lowercase();
        Kind::ALL
            .iter()
            .copied()
            .filter(|kind| kind.info().in_api)
            .find(|kind| {
                let info = kind.info();
                info.singular == wanted
                    || info.path == wanted
                    || info.path_aliases.contains(&wanted.as_str())
                    || info.name.to_ascii_lowercase() == wanted.replace('-', "")
                    || (!info.short_name.is_empty() && info.short_name == wanted)
            })
    }

    /// True for kinds that live in a mesh.
    pub fn is_mesh_scoped(self) -> bool {
        self.info().scope == Scope::Mesh
    }

    /// Parses a payload of this kind, fills in schema defaults and checks it. Members that are null count as absent.
    ///
    /// # Errors
    /// All violations, with paths as users know them (`spec.…` for [`Shape::Spec`], the payload for [`Shape::Flat`]).
    pub fn check(self, payload: &Value) -> Result<Checked, Violations> {
        match without_nulls(payload) {
            Some(payload) => (self.info().check)(&payload),
            None => (self.info().check)(payload),
        }
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_paths_and_arguments_are_unique() {
        let names: BTreeSet<_> = Kind::ALL.iter().map(|kind| kind.name()).collect();
        let paths: BTreeSet<_> = Kind::ALL.iter().map(|kind| kind.info().path).collect();
        assert_eq!(names.len(), Kind::ALL.len());
        assert_eq!(paths.len(), Kind::ALL.len());
        for kind in Kind::ALL.iter().copied().filter(|kind| kind.info().in_api) {
            assert_eq!(Kind::from_argument(kind.info().singular), Some(kind));
            assert_eq!(Kind::from_path(kind.info().path), Some(kind));
            assert_eq!(Kind::from_name(kind.name()), Some(kind));
        }
        assert_eq!(Kind::from_path("zoneingresses"), Some(Kind::ZoneIngress));
        for argument in ["zoneegress", "zone-egress", "zoneegresses", "zone-egresses", "ze"] {
            assert_eq!(Kind::from_argument(argument), Some(Kind::ZoneEgress), "{argument}");
        }
    }

    #[test]
    fn services_and_proxies_are_those_of_the_table() {
        for kind in Kind::ALL.iter().copied() {
            assert!(kind.service().is_none_or(|service| service.kind() == kind), "{kind}");
            assert!(kind.proxy().is_none_or(|proxy| proxy.resource() == kind), "{kind}");
        }
        for service in ServiceKind::ALL.iter().copied() {
            assert_eq!(service.kind().service(), Some(service));
            assert!(
                service.kind().info().has_status && service.kind().is_mesh_scoped(),
                "{service:?}"
            );
        }
        for proxy in ProxyKind::ALL.iter().copied() {
            let (resource, insight) = (proxy.resource().info(), proxy.insight().info());
            assert_eq!(proxy.resource().proxy(), Some(proxy));
            assert!(insight.is_insight && insight.scope == resource.scope, "{proxy:?}");
            assert!(!insight.sync.zone_to_zones && insight.sync.zone_to_global, "{proxy:?}");
        }
    }
}
