//! Server names by which zone ingresses route, bit-exact with the reference (`spec/dataplane.md` §3.3).

use meshspan_model::name::fnv1a_64;
use meshspan_model::{Kind, ServiceIdentity};

/// `a<hash>.<name>.<port>.<mesh>.<ms|mzms>`. The hash covers the full name and mesh, which are then cut to 62
/// characters plus `x` so that each fits a DNS label.
pub fn sni(service: &ServiceIdentity, port: u32) -> String {
    let (name, kind) = match service.kind {
        // The namespace is part of the name, the zone is not: an ingress serves its own zone only.
        Kind::MeshService if !service.namespace.is_empty() => (format!("{}.{}", service.name, service.namespace), "ms"),
        Kind::MeshService => (service.name.clone(), "ms"),
        _ => (service.name.clone(), "mzms"),
    };
    let hash = fnv1a_64([name.as_str(), ";", &service.mesh, ";"]);
    format!("a{hash:016x}.{}.{port}.{}.{kind}", cut(&name), cut(&service.mesh))
}

fn cut(part: &str) -> String {
    const MAX: usize = 62;
    if part.len() <= MAX {
        return part.to_owned();
    }
    let mut end = MAX;
    while !part.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}x", part.split_at(end).0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(kind: Kind, mesh: &str, name: &str) -> ServiceIdentity {
        ServiceIdentity { kind, mesh: mesh.into(), zone: "east".into(), namespace: String::new(), name: name.into() }
    }

    #[test]
    fn vectors_of_the_reference() {
        assert_eq!(sni(&service(Kind::MeshService, "demo", "backend"), 8080), "ae10a8071b8a8eeb8.backend.8080.demo.ms");
        assert_eq!(
            sni(&service(Kind::MeshMultiZoneService, "default", "multi-backend"), 80),
            "a6844c35bc637ba96.multi-backend.80.default.mzms"
        );
    }

    #[test]
    fn long_parts_are_cut_after_hashing() {
        let (a, b) = (sni(&service(Kind::MeshService, "m", &"a".repeat(63)), 1), sni(&service(Kind::MeshService, "m", &format!("{}b", "a".repeat(62))), 1));
        assert_ne!(a, b);
        assert!(a.contains(&format!(".{}x.1.m.ms", "a".repeat(62))));
    }
}
