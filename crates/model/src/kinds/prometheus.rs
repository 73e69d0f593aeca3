//! Configuration of Prometheus backends of Meshes and Dataplanes, which MeshMetric replaces.

use serde_json::Value;

use super::check_port;
use crate::violation::Violations;

/// Checks the `conf` of a backend.
pub(super) fn check(conf: &Value, path: &str, violations: &mut Violations) {
    if conf.is_null() {
        return;
    }
    let Some(conf) = conf.as_object() else {
        violations.add(path, "must be an object");
        return;
    };
    let number = |value: &Value| {
        value
            .as_u64()
            .or_else(|| value.as_str().and_then(|text| text.parse().ok()))
    };
    if let Some(port) = conf.get("port").filter(|port| number(port) != Some(0)) {
        match number(port).and_then(|port| u32::try_from(port).ok()) {
            Some(port) => check_port(port, format!("{path}.port"), violations),
            None => violations.add(
                format!("{path}.port"),
                format!("is {port}, must be a port number from 1 to 65535"),
            ),
        }
    }
    if let Some(written) = conf.get("path").filter(|path| !path.is_string()) {
        violations.add(
            format!("{path}.path"),
            format!("is {written}, must be a string; quote it"),
        );
    }
}
