//! Reads settings: a tree of defaults, overlaid by a file and by variables whose names follow from the path.

use std::path::Path;

use serde_json::{Map, Value};

use super::Settings;

/// Largest settings file, in bytes.
const MAX_FILE: u64 = 1 << 20;

/// Names that do not follow from the path (`spec/zone-sync.md` §7).
const EXCEPTIONS: &[(&str, &str)] = &[
    (
        "xdsServer.dataplaneDeregistrationDelay",
        "KUMA_XDS_DATAPLANE_DEREGISTRATION_DELAY",
    ),
    ("multizone.global.kds.auth.type", "KMESH_MULTIZONE_GLOBAL_KDS_AUTH_TYPE"),
    (
        "multizone.zone.kds.authCpTokenPath",
        "KMESH_MULTIZONE_ZONE_KDS_AUTH_CP_TOKEN_PATH",
    ),
];

/// Why settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The file cannot be read.
    #[error("settings file {path}: {source}")]
    Read {
        /// Its path.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// The file is too large or no YAML object.
    #[error("settings file {path}: {reason}")]
    Syntax {
        /// Its path.
        path: String,
        /// Why.
        reason: String,
    },
    /// A setting has a wrong value.
    #[error("setting {field}: {reason}")]
    Value {
        /// Path of the setting, or name of the variable.
        field: String,
        /// What is wrong and what would be right.
        reason: String,
    },
}

/// Settings from an optional file and the variables given, with warnings about unknown variables.
///
/// # Errors
/// The first setting that cannot be used.
pub fn load(
    file: Option<&Path>,
    environment: impl Iterator<Item = (String, String)>,
) -> Result<(Settings, Vec<String>), SettingsError> {
    let defaults = serde_json::to_value(Settings::default()).map_err(|error| value_error("", error))?;
    let mut tree = defaults.clone();
    if let Some(path) = file {
        overlay(&mut tree, read(path)?);
    }
    let mut warnings = Vec::new();
    let mut leaves = Vec::new();
    collect_leaves(&defaults, &mut Vec::new(), &mut leaves);
    for (name, text) in environment.filter(|(name, _)| name.starts_with("KUMA_") || name.starts_with("KMESH_")) {
        match leaves.iter().find(|path| variable(path) == name) {
            Some(path) => set(&mut tree, &defaults, path, &name, &text)?,
            None if is_of_the_agent(&name) => {}
            None => warnings.push(format!("unknown variable {name} is ignored")),
        }
    }
    let settings = serde_path_to_error::deserialize::<_, Settings>(tree).map_err(|error| {
        let path = error.path().to_string();
        value_error(&path, error.into_inner())
    })?;
    super::check::check(&settings)?;
    Ok((settings, warnings))
}

fn value_error(field: &str, error: serde_json::Error) -> SettingsError {
    SettingsError::Value {
        field: field.to_owned(),
        reason: error.to_string(),
    }
}

fn read(path: &Path) -> Result<Value, SettingsError> {
    let name = path.display().to_string();
    let source = |source| SettingsError::Read {
        path: name.clone(),
        source,
    };
    let size = std::fs::metadata(path).map_err(source)?.len();
    if size > MAX_FILE {
        return Err(SettingsError::Syntax {
            path: name,
            reason: format!("has {size} bytes, at most {MAX_FILE} are read"),
        });
    }
    let text = std::fs::read_to_string(path).map_err(source)?;
    let value: Value = serde_saphyr::from_str(&text).map_err(|error| SettingsError::Syntax {
        path: name.clone(),
        reason: error.to_string(),
    })?;
    match value {
        Value::Object(_) => Ok(value),
        Value::Null => Ok(Value::Object(Map::new())),
        _ => Err(SettingsError::Syntax {
            path: name,
            reason: "must be an object, for example \"mode: global\"".to_owned(),
        }),
    }
}

fn overlay(tree: &mut Value, over: Value) {
    match (tree, over) {
        (Value::Object(tree), Value::Object(over)) => {
            for (key, value) in over {
                overlay(tree.entry(key).or_insert(Value::Null), value);
            }
        }
        (tree, over) => *tree = over,
    }
}

fn collect_leaves(value: &Value, path: &mut Vec<String>, leaves: &mut Vec<Vec<String>>) {
    match value {
        Value::Object(object) => {
            for (key, value) in object {
                path.push(key.clone());
                collect_leaves(value, path, leaves);
                path.pop();
            }
        }
        _ => leaves.push(path.clone()),
    }
}

/// `multizone.zone.kds.rootCaFile` is `KUMA_MULTIZONE_ZONE_KDS_ROOT_CA_FILE`.
fn variable(path: &[String]) -> String {
    let joined = path.join(".");
    if let Some((_, name)) = EXCEPTIONS.iter().find(|(path, _)| *path == joined) {
        return (*name).to_owned();
    }
    let mut name = "KUMA_".to_owned();
    let mut previous = '.';
    for c in joined.chars() {
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

fn set(tree: &mut Value, defaults: &Value, path: &[String], name: &str, text: &str) -> Result<(), SettingsError> {
    let default = path
        .iter()
        .fold(defaults, |value, key| value.get(key).unwrap_or(&Value::Null));
    let wrong = |expected: &str| SettingsError::Value {
        field: name.to_owned(),
        reason: format!("is \"{text}\", must be {expected}"),
    };
    let value = match default {
        Value::Bool(_) => Value::Bool(text.parse().map_err(|_| wrong("true or false"))?),
        Value::Number(_) => Value::from(text.parse::<u64>().map_err(|_| wrong("a number"))?),
        Value::Array(_) => text.split(',').map(str::trim).filter(|part| !part.is_empty()).collect(),
        _ => Value::from(text),
    };
    let mut place = tree;
    for key in path {
        match place {
            Value::Object(object) => place = object.entry(key.clone()).or_insert(Value::Null),
            _ => return Err(wrong("below an object, which the settings file replaced")),
        }
    }
    *place = value;
    Ok(())
}

/// Variables of other programs that share an environment with the control plane.
fn is_of_the_agent(name: &str) -> bool {
    [
        "KUMA_DATAPLANE_",
        "KUMA_CONTROL_PLANE_",
        "KUMA_DNS_",
        "KUMA_TRANSPARENT_PROXY_",
        "KUMA_READINESS_PORT",
    ]
    .iter()
    .any(|prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::settings::Mode;

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
        std::fs::write(file.path(), "mood: zone").unwrap();
        assert!(
            load(Some(file.path()), std::iter::empty())
                .unwrap_err()
                .to_string()
                .contains("unknown field `mood`")
        );
        assert!(load(Some(Path::new("/does/not/exist")), std::iter::empty()).is_err());
    }
}
