//! Names of settings: the variables that set them, and what becomes of names that are none.

use meshspan_model::environment::Unknown;

/// Names that do not follow from the path (`spec/zone-sync.md` §7), or that people expect beside the one that does.
const OTHER_NAMES: &[(&str, &str)] = &[
    (
        "xdsServer.dataplaneDeregistrationDelay",
        "KUMA_XDS_DATAPLANE_DEREGISTRATION_DELAY",
    ),
    (
        "access.static.viewConfigDump.users",
        "KUMA_ACCESS_STATIC_GET_CONFIG_DUMP_USERS",
    ),
    (
        "access.static.viewConfigDump.groups",
        "KUMA_ACCESS_STATIC_GET_CONFIG_DUMP_GROUPS",
    ),
    (
        "multizone.zone.kds.auth.cpTokenPath",
        "KUMA_MULTIZONE_ZONE_KDS_AUTH_TOKEN_PATH",
    ),
    (
        "multizone.zone.kds.auth.cpTokenInline",
        "KUMA_MULTIZONE_ZONE_KDS_AUTH_TOKEN_INLINE",
    ),
];

/// Variables of other programs that share an environment with the control plane, and those that Kubernetes makes for a
/// Service of the control plane.
const FOREIGN: &[&str] = &[
    "KUMA_CONFIG_FILE",
    "KUMA_DATAPLANE_",
    "KUMA_CONTROL_PLANE_",
    "KUMA_DNS_ENABLED",
    "KUMA_DNS_PROXY_",
    "KUMA_DNS_RESOLV_CONF",
    "KUMA_TRANSPARENT_PROXY_",
    "KUMA_READINESS_",
];

/// `multizone.zone.kds.rootCaFile` is `KUMA_MULTIZONE_ZONE_KDS_ROOT_CA_FILE`.
pub(super) fn variable(path: &str) -> String {
    let mut name = "KUMA_".to_owned();
    let mut previous = '.';
    for c in path.chars() {
        if c == '.' {
            name.push('_');
        } else {
            if c.is_ascii_uppercase() && (previous.is_ascii_lowercase() || previous.is_ascii_digit()) {
                name.push('_');
            }
            name.push(c.to_ascii_uppercase());
        }
        previous = c;
    }
    name
}

/// True if the variable sets what is at this path. Kong Mesh writes `KMESH_` where Kuma writes `KUMA_`.
pub(super) fn sets(name: &str, path: &str) -> bool {
    let name = kuma(name);
    variable(path) == name || OTHER_NAMES.contains(&(path, name.as_str()))
}

/// True for variables that may be settings of a control plane.
pub(super) fn concerns_us(name: &str) -> bool {
    (name.starts_with("KUMA_") || name.starts_with("KMESH_")) && !FOREIGN.iter().any(|prefix| name.starts_with(prefix))
}

fn kuma(name: &str) -> String {
    match name.strip_prefix("KMESH_") {
        Some(rest) => format!("KUMA_{rest}"),
        None => name.to_owned(),
    }
}

/// Judges an unknown variable, or an unknown path of the settings file, among the known paths. What is meant is the name of a
/// variable, or a path, as the unknown one is.
pub(super) fn unknown<'a>(name: &str, known: impl Iterator<Item = &'a str> + Clone) -> Unknown {
    let is_variable = concerns_us(name);
    let wanted = if is_variable { kuma(name) } else { variable(name) };
    let variables: Vec<String> = known.clone().map(variable).collect();
    let mut unknown = Unknown::judge(&wanted, variables.iter().map(String::as_str));
    if !is_variable && let Some(meant) = unknown.meant.take() {
        unknown.meant = known.map(str::to_owned).find(|path| variable(path) == meant);
    }
    unknown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_from_paths() {
        for (path, name) in [
            ("multizone.zone.kds.rootCaFile", "KUMA_MULTIZONE_ZONE_KDS_ROOT_CA_FILE"),
            ("multizone.global.kds.auth.type", "KUMA_MULTIZONE_GLOBAL_KDS_AUTH_TYPE"),
            ("multizone.global.kds.auth.type", "KMESH_MULTIZONE_GLOBAL_KDS_AUTH_TYPE"),
            (
                "multizone.zone.kds.auth.cpTokenPath",
                "KMESH_MULTIZONE_ZONE_KDS_AUTH_CP_TOKEN_PATH",
            ),
            (
                "access.static.viewConfigDump.users",
                "KUMA_ACCESS_STATIC_GET_CONFIG_DUMP_USERS",
            ),
            (
                "access.static.viewConfigDump.users",
                "KUMA_ACCESS_STATIC_VIEW_CONFIG_DUMP_USERS",
            ),
        ] {
            assert!(sets(name, path), "{name} {path}");
        }
        assert!(!sets(
            "KUMA_MULTIZONE_GLOBAL_KDS_AUTH_TYPE",
            "multizone.global.kds.auth.types"
        ));
    }

    #[test]
    fn what_means_access_is_never_ignored() {
        let known = ["multizone.global.kds.auth.type", "mode", "apiServer.http.port"];
        for (name, sensitive, meant) in [
            (
                "KUMA_MULTIZONE_GLOBAL_KDS_AUHT_TYPE",
                true,
                Some("KUMA_MULTIZONE_GLOBAL_KDS_AUTH_TYPE"),
            ),
            (
                "KMESH_MULTIZONE_GLOBAL_KDS_AUTH_TYP",
                true,
                Some("KUMA_MULTIZONE_GLOBAL_KDS_AUTH_TYPE"),
            ),
            ("KUMA_DIAGNOSTICS_TLS_ENABLED", true, None),
            ("KUMA_API_SERVER_HTTPS_CLIENT_CERTS_CA_FILE", true, None),
            ("KUMA_API_SERVER_HTPP_PORT", false, Some("KUMA_API_SERVER_HTTP_PORT")),
            ("apiServer.htp.port", false, Some("apiServer.http.port")),
            ("KUMA_DEFAULT_ACCESS_LOG_PATH", false, None),
            ("KUMA_METRICS_ZONE_IDLE_TIMEOUT", false, None),
        ] {
            let judged = unknown(name, known.into_iter());
            assert_eq!(
                (judged.sensitive, judged.meant.as_deref()),
                (sensitive, meant),
                "{name}"
            );
        }
        assert!(concerns_us("KUMA_DNS_SERVER_TTL") && !concerns_us("KUMA_DATAPLANE_RUNTIME_TOKEN"));
    }
}
