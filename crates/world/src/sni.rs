//! Server names by which a zone ingress tells destinations apart (`spec/dataplane.md` §3.3).

use meshspan_model::name::fnv1a_64;
use meshspan_model::{ServiceIdentity, ServiceKind};

/// Longest service or mesh name that stands unchanged in a server name.
const LONGEST_PART: usize = 62;
/// Longest server name (RFC 1035).
const LONGEST_NAME: usize = 253;

/// The server name that clients send: `a<hash>.<name>.<port>.<mesh>.<ms|mzms|mes>`.
///
/// Bit-exact with Kuma 2.9, so that zones of both kinds reach each other. The service's zone is not part of it: an ingress
/// serves its own zone only. `system_namespace` is the namespace of the control plane on Kubernetes, "" elsewhere;
/// MeshServices of any other namespace carry theirs in the name.
pub fn sni(service: &ServiceIdentity, port: u32, system_namespace: &str) -> String {
    let kind = match service.kind {
        ServiceKind::MeshService => "ms",
        ServiceKind::MeshMultiZoneService => "mzms",
        ServiceKind::MeshExternalService => "mes",
    };
    let namespaced = service.kind == ServiceKind::MeshService
        && !service.namespace.is_empty()
        && service.namespace != system_namespace;
    let name = if namespaced {
        format!("{}.{}", service.name, service.namespace)
    } else {
        service.name.clone()
    };
    let mesh = &service.mesh;
    // Tags would come between the last two semicolons of the hashed text; services have none.
    let hash = fnv1a_64([name.as_str(), ";", mesh, ";"]);
    format!("a{hash:016x}.{}.{port}.{}.{kind}", cut(&name), cut(mesh))
}

/// The server name of later versions, `sni.<short>.<mesh>[.<zone>[.<namespace>]].<name>.<section>`, which an ingress takes
/// as well; `None` where the parts do not make a valid one.
pub fn kri_sni(service: &ServiceIdentity, section: &str) -> Option<String> {
    let mut parts = vec!["sni", service.kind.kind().info().short_name, service.mesh.as_str()];
    if !service.zone.is_empty() {
        parts.push(&service.zone);
        if !service.namespace.is_empty() {
            parts.push(&service.namespace);
        }
    }
    parts.extend([service.name.as_str(), section]);
    let name = parts.join(".");
    (name.len() <= LONGEST_NAME && parts.iter().all(|part| is_label(part))).then_some(name)
}

fn cut(part: &str) -> String {
    match part.char_indices().nth(LONGEST_PART) {
        Some((end, _)) => format!("{}x", part.split_at(end).0),
        None => part.to_owned(),
    }
}

fn is_label(part: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    (1..=63).contains(&part.len()) && part.chars().all(inner) && !part.starts_with('-') && !part.ends_with('-')
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn service(kind: ServiceKind, mesh: &str, namespace: &str, name: &str) -> ServiceIdentity {
        ServiceIdentity {
            kind,
            mesh: mesh.to_owned(),
            zone: String::new(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }
    }

    #[test]
    fn matches_kuma_bit_by_bit() {
        let multi = service(ServiceKind::MeshMultiZoneService, "default", "", "multi-backend");
        assert_eq!(sni(&multi, 80, ""), "a6844c35bc637ba96.multi-backend.80.default.mzms");
    }

    #[test]
    fn namespaces_are_part_of_mesh_services_only() {
        let in_shop = service(ServiceKind::MeshService, "default", "shop", "redis");
        assert!(sni(&in_shop, 6379, "kuma-system").ends_with(".redis.shop.6379.default.ms"));
        assert!(sni(&in_shop, 6379, "shop").ends_with(".redis.6379.default.ms"));
        assert_ne!(
            sni(&in_shop, 6379, "kuma-system").split('.').next(),
            sni(&in_shop, 6379, "shop").split('.').next()
        );
        let multi = service(ServiceKind::MeshMultiZoneService, "default", "shop", "redis");
        assert!(sni(&multi, 6379, "").ends_with(".redis.6379.default.mzms"));
    }

    #[test]
    fn the_zone_does_not_matter() {
        let mut redis = service(ServiceKind::MeshService, "default", "", "redis");
        let before = sni(&redis, 80, "");
        redis.zone = "east".to_owned();
        assert_eq!(sni(&redis, 80, ""), before);
    }

    #[test]
    fn long_parts_are_cut_after_hashing() {
        let (a, b) = ("n".repeat(63), format!("{}m", "n".repeat(62)));
        let first = sni(&service(ServiceKind::MeshService, "default", "", &a), 80, "");
        let second = sni(&service(ServiceKind::MeshService, "default", "", &b), 80, "");
        assert!(first.contains(&format!(".{}x.80.", "n".repeat(62))));
        assert_ne!(first, second);
        let kept = "n".repeat(62);
        assert!(
            sni(&service(ServiceKind::MeshService, "default", "", &kept), 80, "").contains(&format!(".{kept}.80."))
        );
    }

    #[test]
    fn kri_form() {
        let mut multi = service(ServiceKind::MeshMultiZoneService, "default", "", "backend");
        assert_eq!(kri_sni(&multi, "http").unwrap(), "sni.mzsvc.default.backend.http");
        multi.name = "a.b".to_owned();
        assert_eq!(kri_sni(&multi, "http"), None);
        let mut redis = service(ServiceKind::MeshService, "default", "shop", "redis");
        assert_eq!(kri_sni(&redis, "80").unwrap(), "sni.msvc.default.redis.80");
        redis.zone = "east".to_owned();
        assert_eq!(kri_sni(&redis, "80").unwrap(), "sni.msvc.default.east.shop.redis.80");
    }
}
