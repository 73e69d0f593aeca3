//! What files and variables become.

#![allow(clippy::unwrap_used, clippy::expect_used)]
use super::*;
use crate::settings::{KdsAuthType, Mode};

fn with(variables: &[(&str, &str)]) -> Result<(Settings, Vec<String>), SettingsError> {
    load(
        None,
        variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
    )
}

#[test]
fn documented_names_change_what_they_claim_to() {
    let (settings, warnings) = with(&[
        ("KUMA_MODE", "global"),
        ("KUMA_MULTIZONE_ZONE_NAME", "east"),
        ("KUMA_MULTIZONE_ZONE_GLOBAL_ADDRESS", "grpcs://global:5685"),
        ("KUMA_MULTIZONE_ZONE_KDS_ROOT_CA_FILE", "/ca.pem"),
        ("KUMA_IPAM_MESH_MULTI_ZONE_SERVICE_CIDR", "253.4.0.0/16"),
        ("KUMA_STORE_TYPE", "memory"),
        ("KUMA_STORE_SQLITE_PATH", "/x.db"),
        ("KUMA_GENERAL_WORK_DIR", "/w"),
        ("KUMA_API_SERVER_HTTP_PORT", "1"),
        ("KUMA_API_SERVER_AUTHN_LOCALHOST_IS_ADMIN", "false"),
        ("KUMA_DP_SERVER_AUTHN_DP_PROXY_TYPE", "none"),
        ("KUMA_XDS_DATAPLANE_DEREGISTRATION_DELAY", "3s"),
        ("KUMA_GENERAL_TLS_NAMES", "a, b"),
        ("KUMA_NO_SUCH_THING", "x"),
        ("PATH", "/bin"),
    ])
    .unwrap();
    assert_eq!(settings.mode, Mode::Global);
    assert_eq!(settings.multizone.zone.name, "east");
    assert_eq!(settings.multizone.zone.kds.root_ca_file, "/ca.pem");
    assert_eq!(settings.ipam.mesh_multi_zone_service.cidr, "253.4.0.0/16");
    assert_eq!(settings.api_server.http.port, 1);
    assert!(!settings.api_server.authn.localhost_is_admin);
    assert_eq!(settings.xds_server.dataplane_deregistration_delay.0.as_secs(), 3);
    assert_eq!(settings.general.tls_names, ["a", "b"]);
    assert_eq!(warnings, ["unknown variable KUMA_NO_SUCH_THING is ignored"]);
}

#[test]
fn wrong_values_name_the_setting() {
    for (name, value, expected) in [
        ("KUMA_MODE", "globe", "setting mode: unknown variant `globe`"),
        ("KUMA_API_SERVER_HTTP_PORT", "99999", "setting apiServer.http.port: "),
        (
            "KUMA_API_SERVER_HTTP_PORT",
            "x",
            "setting KUMA_API_SERVER_HTTP_PORT: is \"x\", must be a number",
        ),
        (
            "KUMA_IPAM_MESH_SERVICE_CIDR",
            "241.0.0.0",
            "setting ipam.meshService.cidr: \"241.0.0.0\" is not a CIDR",
        ),
        (
            "KUMA_IPAM_MESH_SERVICE_CIDR",
            "243.0.0.0/9",
            "setting ipam.meshService.cidr: overlaps",
        ),
        ("KUMA_MULTIZONE_ZONE_NAME", "East!", "setting multizone.zone.name: "),
        (
            "KUMA_MULTIZONE_ZONE_GLOBAL_ADDRESS",
            "global:5685",
            "setting multizone.zone.globalAddress: ",
        ),
        ("KUMA_DNS_SERVER_TTL", "5", "setting dnsServer.ttl: invalid duration"),
    ] {
        let error = with(&[(name, value)]).expect_err(name).to_string();
        assert!(error.starts_with(expected), "{name}={value}: {error}");
        assert!(error.contains(name), "{name}={value}: {error}");
    }
}

#[test]
fn a_file_lies_between_defaults_and_variables() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(
        file.path(),
        "mode: zone\nmultizone: {zone: {name: west}}\napiServer: {http: {port: 7}}",
    )
    .unwrap();
    let (settings, _) = load(
        Some(file.path()),
        [("KUMA_MULTIZONE_ZONE_NAME".to_owned(), "east".to_owned())].into_iter(),
    )
    .unwrap();
    assert_eq!(
        (settings.multizone.zone.name.as_str(), settings.api_server.http.port),
        ("east", 7)
    );
    std::fs::write(
        file.path(),
        "mood: zone\nmultizone:\nmetrics: {zone: {idleTimeout: 5m}}",
    )
    .unwrap();
    let (settings, warnings) = load(Some(file.path()), std::iter::empty()).unwrap();
    assert_eq!(settings.multizone.zone.name, "default");
    assert_eq!(
        warnings,
        [
            "unknown setting mood in the settings file is ignored; did you mean mode?",
            "unknown setting metrics in the settings file is ignored"
        ]
    );
    assert!(load(Some(Path::new("/does/not/exist")), std::iter::empty()).is_err());
}

#[test]
fn what_means_access_tokens_or_tls_is_never_ignored() {
    for (name, meant) in [
        (
            "KUMA_MULTIZONE_GLOBAL_KDS_AUHT_TYPE",
            "did you mean KUMA_MULTIZONE_GLOBAL_KDS_AUTH_TYPE?",
        ),
        (
            "KUMA_API_SERVER_AUTHN_LOCALHOST_IS_ADMN",
            "did you mean KUMA_API_SERVER_AUTHN_LOCALHOST_IS_ADMIN?",
        ),
        (
            "KMESH_MULTIZONE_ZONE_KDS_AUTH_CP_TOKEN_PTH",
            "did you mean KUMA_MULTIZONE_ZONE_KDS_AUTH_CP_TOKEN_PATH?",
        ),
        ("KUMA_API_SERVER_HTTPS_REQUIRE_CLIENT_CERT", "remove it"),
        ("KUMA_DIAGNOSTICS_TLS_ENABLED", "remove it"),
    ] {
        let error = with(&[(name, "x")]).expect_err(name).to_string();
        assert!(error.contains(name) && error.contains(meant), "{error}");
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "access: {static: {adminResource: {users: [me]}}}").unwrap();
    let error = load(Some(file.path()), std::iter::empty()).unwrap_err().to_string();
    assert!(error.contains("access.static.adminResource"), "{error}");
    let (_, warnings) = with(&[("KUMA_API_SERVER_HTPP_PORT", "1")]).unwrap();
    assert_eq!(
        warnings,
        ["unknown variable KUMA_API_SERVER_HTPP_PORT is ignored; did you mean KUMA_API_SERVER_HTTP_PORT?"]
    );
}

#[test]
fn all_spellings_of_access_settings_work() {
    for name in [
        "KUMA_MULTIZONE_GLOBAL_KDS_AUTH_TYPE",
        "KMESH_MULTIZONE_GLOBAL_KDS_AUTH_TYPE",
    ] {
        for (value, expected) in [
            ("cpToken", KdsAuthType::CpToken),
            ("cp-token", KdsAuthType::CpToken),
            ("none", KdsAuthType::None),
        ] {
            let (settings, warnings) = with(&[(name, value)]).unwrap();
            assert_eq!(
                (settings.multizone.global.kds.auth.auth_type, warnings.len()),
                (expected, 0),
                "{name}={value}"
            );
        }
        assert!(with(&[(name, "konnect")]).is_err());
    }
    assert_eq!(
        Settings::default().multizone.global.kds.auth.auth_type,
        KdsAuthType::CpToken
    );
    let (settings, _) = with(&[
        ("KMESH_MULTIZONE_ZONE_KDS_AUTH_CP_TOKEN_PATH", "/token"),
        ("KUMA_MULTIZONE_ZONE_KDS_MAX_MSG_SIZE", "20000000"),
        ("KUMA_ACCESS_STATIC_ADMIN_RESOURCES_USERS", "admin, ops"),
        ("KUMA_ACCESS_STATIC_GENERATE_DP_TOKEN_GROUPS", "platform"),
        ("KUMA_ACCESS_STATIC_GET_CONFIG_DUMP_GROUPS", ""),
        (
            "KUMA_API_SERVER_CORS_ALLOWED_DOMAINS",
            "https://a\\.example,https://b\\.example",
        ),
    ])
    .unwrap();
    assert_eq!(settings.multizone.zone.kds.auth.cp_token_path, "/token");
    assert_eq!(settings.multizone.zone.kds.max_msg_size, 20_000_000);
    let rights = settings.access.rights.rights();
    assert_eq!(rights.admin_resources.users, ["admin", "ops"]);
    assert_eq!(rights.generate_dataplane_token.groups, ["platform"]);
    assert!(rights.view_config_dump.groups.is_empty());
    assert_eq!(settings.api_server.cors_allowed_domains.len(), 2);
    let different = with(&[
        ("KMESH_MULTIZONE_GLOBAL_KDS_AUTH_TYPE", "none"),
        ("KUMA_MULTIZONE_GLOBAL_KDS_AUTH_TYPE", "cpToken"),
    ]);
    assert!(different.unwrap_err().to_string().contains("say different things"));
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "kmesh: {multizone: {global: {kds: {auth: {type: none}}}}}").unwrap();
    let (settings, _) = load(Some(file.path()), std::iter::empty()).unwrap();
    assert_eq!(settings.multizone.global.kds.auth.auth_type, KdsAuthType::None);
}

#[test]
fn a_settings_file_without_end_is_refused() {
    let error = load(Some(Path::new("/dev/zero")), std::iter::empty())
        .unwrap_err()
        .to_string();
    assert!(error.contains("/dev/zero") && error.contains("at most"), "{error}");
}

#[test]
fn a_token_is_not_shown() {
    let (settings, _) = with(&[("KMESH_MULTIZONE_ZONE_KDS_AUTH_CP_TOKEN_INLINE", "the-token")]).unwrap();
    assert_eq!(settings.multizone.zone.kds.auth.cp_token_inline, "the-token");
    let shown = format!("{settings:?} {}", serde_json::to_value(&settings).unwrap());
    assert!(!shown.contains("the-token"), "{shown}");
}
