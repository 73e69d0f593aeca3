//! Names: what is allowed, and how synced copies are named (`spec/resources.md` §1.4).

use crate::kind::Kind;
use crate::resource::Resource;

/// Longest name of a resource.
pub const MAX_NAME: usize = 253;
/// Longest DNS label, and longest name of a mesh, zone or service.
pub const MAX_LABEL: usize = 63;

/// Checks an RFC 1123 subdomain of at most 253 characters: the rule for every resource name.
///
/// # Errors
/// What is wrong, for a violation of field `name`.
pub fn check_subdomain(name: &str) -> Result<(), String> {
    check_length(name, MAX_NAME)?;
    if name.split('.').all(is_label) {
        return Ok(());
    }
    Err(format!(
        "invalid characters in \"{name}\": must be lower-case letters, digits, '-' and '.', each part starting and ending with a letter or digit"
    ))
}

/// Checks an RFC 1035 label: starts with a letter, at most 63 characters. The rule for meshes, zones and services,
/// whose names become parts of hostnames.
///
/// # Errors
/// What is wrong, for a violation of field `name`.
pub fn check_label(name: &str) -> Result<(), String> {
    check_length(name, MAX_LABEL)?;
    if is_label(name) && name.starts_with(|c: char| c.is_ascii_lowercase()) {
        return Ok(());
    }
    Err(format!(
        "\"{name}\" must be a DNS label: lower-case letters, digits and '-', starting with a letter and ending with a letter or digit"
    ))
}

/// Checks the name of a new resource by its kind: what becomes a part of host names must be a label.
///
/// # Errors
/// What is wrong, for a violation of field `name`.
pub fn check_resource_name(resource: &Resource) -> Result<(), String> {
    check_subdomain(&resource.name)?;
    match resource.kind {
        Kind::Mesh | Kind::Zone => check_label(&resource.name),
        kind if kind.service().is_some() => check_label(own_part(resource)),
        _ => Ok(()),
    }
}

/// The part of a core name that becomes part of a hostname: without the namespace that the Kubernetes form appends.
fn own_part(resource: &Resource) -> &str {
    match resource.name.strip_prefix(resource.display_name()) {
        Some(rest) if rest.starts_with('.') => resource.display_name(),
        _ => &resource.name,
    }
}

/// Checks a reference to a mesh, with the characters that old names may have.
///
/// # Errors
/// What is wrong, for a violation of field `mesh`.
pub fn check_mesh_reference(name: &str) -> Result<(), String> {
    check_length(name, MAX_NAME)?;
    if name
        .chars()
        .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_' | '.'))
    {
        return Ok(());
    }
    Err(format!(
        "invalid characters in \"{name}\": must be lower-case letters, digits, '-', '_' and '.'"
    ))
}

fn check_length(name: &str, max: usize) -> Result<(), String> {
    match name.len() {
        0 => Err("cannot be empty".to_owned()),
        length if length > max => Err(format!("has {length} characters, must be no more than {max}")),
        _ => Ok(()),
    }
}

fn is_label(part: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    !part.is_empty()
        && part.len() <= MAX_NAME
        && part.chars().all(inner)
        && !part.starts_with('-')
        && !part.ends_with('-')
}

/// Checks the key of a label: a Kubernetes qualified name.
///
/// # Errors
/// What is wrong.
pub fn check_label_key(key: &str) -> Result<(), String> {
    let (prefix, name) = match key.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, key),
    };
    if let Some(prefix) = prefix {
        check_subdomain(prefix).map_err(|reason| format!("prefix of the label key: {reason}"))?;
    }
    if name.is_empty() || name.len() > MAX_LABEL || !is_qualified(name) {
        return Err("label key must be 1 to 63 letters, digits, '-', '_' or '.', starting and ending with a letter or digit, with an optional prefix and '/'".to_owned());
    }
    Ok(())
}

/// Checks the value of a label: at most 63 characters, empty allowed.
///
/// # Errors
/// What is wrong.
pub fn check_label_value(value: &str) -> Result<(), String> {
    if value.is_empty() || (value.len() <= MAX_LABEL && is_qualified(value)) {
        return Ok(());
    }
    Err(format!(
        "label value \"{value}\" must be at most 63 letters, digits, '-', '_' or '.', starting and ending with a letter or digit"
    ))
}

fn is_qualified(text: &str) -> bool {
    text.chars()
        .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.ends_with(|c: char| c.is_ascii_alphanumeric())
}

/// 64-bit FNV-1a.
pub fn fnv1a_64<'a>(parts: impl IntoIterator<Item = &'a str>) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in parts.into_iter().flat_map(str::bytes) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    hash
}

/// The name of a synced copy: `<display name cut to 236>-<16 characters of hash>`; `zone` and `namespace` are the
/// values of their labels, `None` where the label is absent.
pub fn synced(mesh: &str, display_name: &str, zone: Option<&str>, namespace: Option<&str>) -> String {
    const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
    let hash = fnv1a_64([mesh, display_name].into_iter().chain(zone).chain(namespace));
    let suffix: String = format!("{hash:016x}")
        .bytes()
        .filter_map(|hex| ALPHABET.get(usize::from(hex) % ALPHABET.len()))
        .map(|&byte| char::from(byte))
        .collect();
    let mut cut = display_name.len().min(MAX_NAME - 17);
    while !display_name.is_char_boundary(cut) {
        cut -= 1;
    }
    format!("{}-{suffix}", display_name.split_at(cut).0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn synced_names_are_bit_exact() {
        for (mesh, name, zone, namespace, expected) in [
            ("", "foo", None, None, "foo-zxw6c95d42zfz9cc"),
            ("", "foo", Some("zone-1"), Some("custom-ns"), "foo-696vzv497z4cv4f4"),
            ("default", "redis", None, None, "redis-7w7bc2f55x7w9d29"),
            ("default", "redis", Some("east"), None, "redis-cd75xf46x4b2zx4x"),
            (
                "default",
                "redis",
                Some("east"),
                Some("redis-system"),
                "redis-wd2v4czb4v5b4w5c",
            ),
            ("default", "redis", Some("west"), None, "redis-f8xz8bddwx8b5c22"),
            (
                "",
                "synced-kube-mesh-service",
                None,
                None,
                "synced-kube-mesh-service-8xc5x6c9f588fzz9",
            ),
        ] {
            assert_eq!(synced(mesh, name, zone, namespace), expected);
        }
        assert_eq!(synced("default", &"a".repeat(253), None, None).len(), MAX_NAME);
    }

    #[test]
    fn names() {
        for good in ["a", "0", "redis", "redis-1.kuma-system", "a.b.c"] {
            assert_eq!(check_subdomain(good), Ok(()), "{good}");
        }
        for bad in ["", "-a", "a-", "a..b", "A", "a_b", ".a", "a b", "ä", &"a".repeat(254)] {
            assert!(check_subdomain(bad).is_err(), "{bad}");
        }
        assert!(check_label("redis").is_ok());
        for bad in ["1redis", "a.b", &"a".repeat(64)] {
            assert!(check_label(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn labels() {
        for good in ["kuma.io/zone", "team", "a_b.c"] {
            assert_eq!(check_label_key(good), Ok(()));
        }
        for bad in ["", "/a", "a/", "a/b/c", "-a", "UPPER.io/a"] {
            assert!(check_label_key(bad).is_err(), "{bad}");
        }
        assert!(check_label_value("").is_ok());
        assert!(check_label_value(&"a".repeat(64)).is_err());
    }
}
