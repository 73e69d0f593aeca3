//! Paths of the REST API.

use meshspan_model::Kind;

/// The list of a kind: in `mesh`, or over all meshes when it is `None`.
pub fn collection(kind: Kind, mesh: Option<&str>) -> String {
    let path = kind.info().path;
    match mesh.filter(|_| kind.is_mesh_scoped()) {
        Some(mesh) => format!("/meshes/{}/{path}", segment(mesh)),
        None => format!("/{path}"),
    }
}

/// One resource; `mesh` is not used for global kinds.
pub fn item(kind: Kind, mesh: &str, name: &str) -> String {
    format!("{}/{}", collection(kind, Some(mesh)), segment(name))
}

/// Percent-encodes a path segment or query value.
pub fn segment(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => encoded.push(char::from(byte)),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        assert_eq!(
            item(Kind::MeshMultiZoneService, "default", "redis"),
            "/meshes/default/meshmultizoneservices/redis"
        );
        assert_eq!(item(Kind::Zone, "ignored", "east/../x y"), "/zones/east%2F..%2Fx%20y");
        assert_eq!(collection(Kind::Dataplane, None), "/dataplanes");
    }
}
