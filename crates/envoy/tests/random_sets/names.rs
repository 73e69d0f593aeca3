//! The few names of a random set: few, so that resources meet.

/// Values of `kuma.io/service`, and names of MeshServices.
pub const SERVICES: &[&str] = &["web", "backend", "redis"];
/// Names of MeshMultiZoneServices.
pub const MULTI_ZONE: &[&str] = &[
    "web",
    "redis-everywhere",
    "a-name-of-sixty-three-characters-that-is-as-long-as-any-can-be1",
];
/// Names of MeshHTTPRoutes.
pub const ROUTES: &[&str] = &["route-1", "route-2"];
/// Ports of services.
pub const PORTS: &[u32] = &[80, 6379, 65535];
/// Names and numbers of ports, as sections.
pub const SECTIONS: &[&str] = &["http", "main", "80", "6379"];
/// Zones beside the own one.
pub const OTHER_ZONES: &[&str] = &["west", "south"];
/// The own zone.
pub const ZONE: &str = "east";
/// The mesh.
pub const MESH: &str = "default";
