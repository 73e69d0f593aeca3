//! SPIFFE ids in rules about clients, by the SPIFFE-ID standard §2 as control planes of newer versions check them: one
//! that is not in order makes them refuse the policy as a whole, and with it what it denies.

const SCHEME: &str = "spiffe://";

/// Checks an id, or the start of one, which has to be an id as well: `spiffe://default` stands for all of a trust domain.
///
/// # Errors
/// What is wrong.
pub(super) fn check(id: &str) -> Result<(), String> {
    let Some(rest) = id.strip_prefix(SCHEME) else {
        return Err(format!("is \"{id}\", must start with {SCHEME}"));
    };
    let (domain, path) = match rest.split_once('/') {
        Some((domain, path)) => (domain, Some(path)),
        None => (rest, None),
    };
    let in_domain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.' | '_');
    let in_path = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    if domain.is_empty() {
        return Err(format!(
            "is \"{id}\": the trust domain is missing, which is the name of the mesh"
        ));
    }
    if !domain.chars().all(in_domain) {
        return Err(format!(
            "is \"{id}\": the trust domain \"{domain}\" must be lower-case letters, digits, '-', '.' and '_'"
        ));
    }
    let Some(path) = path else { return Ok(()) };
    if let Some(without) = id.strip_suffix('/') {
        return Err(format!("is \"{id}\", must not end with '/'; write \"{without}\""));
    }
    match path
        .split('/')
        .find(|segment| matches!(*segment, "" | "." | "..") || !segment.chars().all(in_path))
    {
        None => Ok(()),
        Some("") => Err(format!("is \"{id}\": a part between two '/' is empty")),
        Some(segment) => Err(format!(
            "is \"{id}\": \"{segment}\" must be letters, digits, '-', '.' and '_', and neither \".\" nor \"..\""
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_the_standard() {
        for good in [
            "spiffe://default",
            "spiffe://default/web",
            "spiffe://my_mesh.example-1/ns/shop/sa/Web.v1_2-x",
        ] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for (bad, reason) in [
            ("", "must start with"),
            ("web", "must start with"),
            ("SPIFFE://default/web", "must start with"),
            ("spiffe:/default/web", "must start with"),
            ("spiffe://", "trust domain is missing"),
            ("spiffe:///web", "trust domain is missing"),
            ("spiffe://Default/web", "lower-case"),
            ("spiffe://default:8080/web", "lower-case"),
            ("spiffe://me@default/web", "lower-case"),
            ("spiffe://default /web", "lower-case"),
            ("spiffe://default/", "write \"spiffe://default\""),
            ("spiffe://default/web/", "write \"spiffe://default/web\""),
            ("spiffe://default//web", "is empty"),
            ("spiffe://default/a//b", "is empty"),
            ("spiffe://default/./b", "neither"),
            ("spiffe://default/../b", "neither"),
            ("spiffe://default/we b", "must be letters"),
            ("spiffe://default/web ", "must be letters"),
            ("spiffe://default/w%65b", "must be letters"),
            ("spiffe://default/web?a=b", "must be letters"),
            ("spiffe://default/wéb", "must be letters"),
            ("spiffe://default/*", "must be letters"),
        ] {
            let found = check(bad).err().unwrap_or_default();
            assert!(found.contains(reason), "{bad}: {found}");
        }
    }
}
