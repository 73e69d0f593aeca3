//! Names of resources, as users see them in config dumps and stats (`spec/dataplane.md` §2.2, right column).

use std::net::IpAddr;

use meshspan_model::kri::Kri;
use meshspan_world::view::DestinationKey;

/// Cluster, endpoint list, route configuration and shared listener of a destination: its KRI.
pub fn destination(key: &DestinationKey) -> String {
    Kri::of_service(&key.service, &key.section).to_string()
}

/// Listener of an explicit outbound. By address instead of KRI, because several of them may lead to one destination.
pub fn explicit_outbound(address: IpAddr, port: u32) -> String {
    format!("outbound:{}", host_and_port(address, port))
}

/// Listener, local cluster and route configuration of an inbound; `section` is its name, else its port.
pub fn inbound(section: &str) -> String {
    format!("self_inbound_dp_{section}")
}

/// The section of the inbound whose listener has this name.
pub fn inbound_section(listener: &str) -> Option<&str> {
    listener.strip_prefix("self_inbound_dp_")
}

/// Listener of a zone ingress.
pub fn ingress_listener(name: &str) -> String {
    format!("self_zoneingress_dp_{name}")
}

/// Listener of a zone egress.
pub fn egress_listener(name: &str) -> String {
    format!("self_zoneegress_dp_{name}")
}

/// Secret with the CAs that are trusted for a service outside the mesh, by its cluster.
pub fn external_ca_secret(cluster: &str) -> String {
    format!("external_ca:secret:{cluster}")
}

/// Secret with what an egress shows to a service outside the mesh.
pub fn external_certificate_secret(cluster: &str) -> String {
    format!("external_cert:secret:{cluster}")
}

/// Which way intercepted traffic goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the application.
    Outbound,
    /// To the application.
    Inbound,
}

/// Listener and cluster of intercepted traffic that no other listener takes.
pub fn passthrough(direction: Direction, ipv6: bool) -> String {
    let direction = match direction {
        Direction::Outbound => "outbound",
        Direction::Inbound => "inbound",
    };
    let family = if ipv6 { 6 } else { 4 };
    format!("self_transparentproxy_passthrough_{direction}_ipv{family}")
}

/// A cluster that does not exist. Envoy closes a connection to it at once.
pub const NO_CLUSTER: &str = "self_transparentproxy_blackhole";

/// Secret with a proxy's own certificate and key.
pub fn identity_secret(mesh: &str) -> String {
    format!("identity_cert:secret:{mesh}")
}

/// Secret with the certificates that a mesh trusts.
pub fn trust_secret(mesh: &str) -> String {
    format!("mesh_ca:secret:{mesh}")
}

/// `name` as part of a stats name: everything outside `[A-Za-z0-9_-]` becomes `_`.
pub fn stat_prefix(name: &str) -> String {
    name.chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || matches!(c, '_' | '-') {
                c
            } else {
                '_'
            }
        })
        .collect()
}

fn host_and_port(address: IpAddr, port: u32) -> String {
    match address {
        IpAddr::V4(ip) => format!("{ip}:{port}"),
        IpAddr::V6(ip) => format!("[{ip}]:{port}"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use meshspan_model::{ServiceIdentity, ServiceKind};

    #[test]
    fn destinations_are_named_by_kri() {
        let service = |kind, zone: &str, namespace: &str, name: &str| ServiceIdentity {
            kind,
            mesh: "default".to_owned(),
            zone: zone.to_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        };
        for (service, section, expected) in [
            (
                service(ServiceKind::MeshMultiZoneService, "", "", "multi-backend"),
                "80",
                "kri_mzsvc_default___multi-backend_80",
            ),
            (
                service(ServiceKind::MeshService, "east", "shop", "redis"),
                "main",
                "kri_msvc_default_east_shop_redis_main",
            ),
        ] {
            assert_eq!(
                destination(&DestinationKey {
                    service,
                    section: section.to_owned()
                }),
                expected
            );
        }
    }

    #[test]
    fn addresses_in_names() {
        assert_eq!(
            explicit_outbound("127.0.0.1".parse().unwrap(), 80),
            "outbound:127.0.0.1:80"
        );
        assert_eq!(explicit_outbound("::1".parse().unwrap(), 80), "outbound:[::1]:80");
        assert_eq!(
            passthrough(Direction::Inbound, true),
            "self_transparentproxy_passthrough_inbound_ipv6"
        );
    }

    #[test]
    fn stat_prefixes_hold_no_separators() {
        assert_eq!(stat_prefix("outbound:[::1]:80.x"), "outbound____1__80_x");
        assert_eq!(stat_prefix("kri_msvc_a-b"), "kri_msvc_a-b");
    }
}
