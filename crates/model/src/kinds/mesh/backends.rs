//! `logging`, `tracing` and `metrics`: backends of policies that are not here. They are kept as written, and checked as in
//! the reference, so that a Mesh which is taken here is taken by its control planes too (`spec/resources.md` §2.1).

use std::collections::BTreeSet;

use serde_json::Value;

use super::log_format;
use crate::policy::values::Url;
use crate::violation::Violations;

/// What the checks of the three sections differ in.
struct Section {
    name: &'static str,
    /// The field that names one of the backends.
    default: &'static str,
    /// Types of backends.
    types: &'static [&'static str],
    /// Whether a backend must have a name.
    named: bool,
}

const SECTIONS: [Section; 3] = [
    Section {
        name: "logging",
        default: "defaultBackend",
        types: &["tcp", "file"],
        named: true,
    },
    Section {
        name: "tracing",
        default: "defaultBackend",
        types: &["zipkin", "datadog"],
        named: true,
    },
    Section {
        name: "metrics",
        default: "enabledBackend",
        types: &["prometheus"],
        named: false,
    },
];

/// Adds everything that is wrong in the three sections, in their order.
pub(super) fn check(sections: [Option<&Value>; 3], root: &str, violations: &mut Violations) {
    for (section, value) in SECTIONS.iter().zip(sections) {
        if let Some(value) = value {
            section.check(value, &format!("{root}{}", section.name), violations);
        }
    }
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value.get(field).and_then(Value::as_str).unwrap_or_default()
}

impl Section {
    fn check(&self, value: &Value, path: &str, violations: &mut Violations) {
        if !value.is_object() {
            violations.add(path, "must be an object with backends");
            return;
        }
        let backends = match value.get("backends") {
            None => &[],
            Some(Value::Array(backends)) => backends.as_slice(),
            Some(_) => {
                violations.add(format!("{path}.backends"), "must be a list");
                return;
            }
        };
        let mut names = BTreeSet::new();
        for (index, backend) in backends.iter().enumerate() {
            let path = format!("{path}.backends[{index}]");
            self.check_backend(backend, &path, violations);
            let name = text(backend, "name");
            if !names.insert(name) {
                violations.add(
                    format!("{path}.name"),
                    format!("\"{name}\" is the name of another backend"),
                );
            }
        }
        let default = value.get(self.default).and_then(Value::as_str).unwrap_or_default();
        if !default.is_empty() && !names.contains(default) {
            violations.add(
                format!("{path}.{}", self.default),
                format!("is \"{default}\", must be the name of one of the backends"),
            );
        }
    }

    fn check_backend(&self, backend: &Value, path: &str, violations: &mut Violations) {
        if self.named && text(backend, "name").is_empty() {
            violations.add(format!("{path}.name"), "must be defined");
        }
        if let Some(sampling) = backend.get("sampling").and_then(Value::as_f64)
            && !(0.0..=100.0).contains(&sampling)
        {
            violations.add(format!("{path}.sampling"), format!("is {sampling}, must be 0 to 100"));
        }
        if self.name == "logging"
            && let Err(reason) = log_format::check(text(backend, "format"))
        {
            violations.add(format!("{path}.format"), reason);
        }
        let conf = backend.get("conf").unwrap_or(&Value::Null);
        let config = format!("{path}.config");
        match text(backend, "type") {
            "file" if self.types.contains(&"file") => required(conf, "path", &config, violations),
            "tcp" if self.types.contains(&"tcp") => check_host_port(text(conf, "address"), &config, violations),
            "zipkin" if self.types.contains(&"zipkin") => check_zipkin(conf, &config, violations),
            "datadog" if self.types.contains(&"datadog") => check_datadog(text(conf, "address"), &config, violations),
            "prometheus" if self.types.contains(&"prometheus") => {
                super::super::prometheus::check(conf, &format!("{path}.conf"), violations);
            }
            other => violations.add(
                format!("{path}.type"),
                format!("unknown type \"{other}\", must be {}", self.types.join(" or ")),
            ),
        }
    }
}

fn required(conf: &Value, field: &str, path: &str, violations: &mut Violations) {
    if text(conf, field).is_empty() {
        violations.add(format!("{path}.{field}"), "must be defined");
    }
}

fn check_host_port(address: &str, path: &str, violations: &mut Violations) {
    let is_right = address
        .rsplit_once(':')
        .is_some_and(|(host, port)| !host.is_empty() && !port.is_empty());
    if !is_right {
        violations.add(
            format!("{path}.address"),
            format!("is \"{address}\", must be a host and a port, such as logs.example:514"),
        );
    }
}

fn check_zipkin(conf: &Value, path: &str, violations: &mut Violations) {
    const VERSIONS: [&str; 3] = ["httpJsonV1", "httpJson", "httpProto"];
    let version = text(conf, "apiVersion");
    if !version.is_empty() && !VERSIONS.contains(&version) {
        violations.add(
            format!("{path}.apiVersion"),
            format!("is \"{version}\", must be one of {}", VERSIONS.join(", ")),
        );
    }
    let url = text(conf, "url");
    if Url::parse(url).is_none_or(|url| url.endpoint.port.is_none()) {
        violations.add(
            format!("{path}.url"),
            format!("is \"{url}\", must be a URL with a port, such as http://zipkin:9411/api/v2/spans"),
        );
    }
}

fn check_datadog(address: &str, path: &str, violations: &mut Violations) {
    let port = address.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
    if !address.starts_with("unix:") && port.is_none_or(|port| port == 0) {
        violations.add(
            format!("{path}.address"),
            format!("is \"{address}\", must be a host and a port such as agent:8126, or unix:/path/of/a/socket"),
        );
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use crate::Kind;

    use super::*;

    fn fields(mesh: &Value) -> Vec<String> {
        match Kind::Mesh.check(mesh) {
            Ok(_) => Vec::new(),
            Err(violations) => violations.iter().map(|violation| violation.field.clone()).collect(),
        }
    }

    #[test]
    fn sections_of_the_reference_are_taken() {
        let mesh = json!({
            "logging": {"defaultBackend": "a", "backends": [
                {"name": "a", "type": "tcp", "format": "%START_TIME%", "conf": {"address": "logs:514"}},
                {"name": "b", "type": "file", "conf": {"path": "/tmp/log"}},
            ]},
            "tracing": {"backends": [
                {"name": "a", "type": "zipkin", "sampling": 100.0, "conf": {"url": "http://zipkin:9411/api", "apiVersion": "httpJson"}},
                {"name": "b", "type": "datadog", "conf": {"address": "agent:8126"}},
                {"name": "c", "type": "datadog", "conf": {"address": "unix:/run/agent"}},
            ]},
            "metrics": {"enabledBackend": "a", "backends": [{"name": "a", "type": "prometheus", "conf": {"port": 5670}}]},
        });
        assert_eq!(fields(&mesh), [""; 0]);
        assert_eq!(fields(&json!({"logging": {}, "tracing": null})), [""; 0]);
    }

    #[test]
    fn what_the_reference_refuses_is_refused_by_its_fields() {
        for (section, value, expected) in [
            ("logging", json!([]), "logging"),
            ("logging", json!({"backends": {}}), "logging.backends"),
            ("logging", json!({"defaultBackend": "x"}), "logging.defaultBackend"),
            (
                "logging",
                json!({"backends": [{"type": "file", "conf": {"path": "/x"}}]}),
                "logging.backends[0].name",
            ),
            (
                "logging",
                json!({"backends": [{"name": "a", "type": "udp"}]}),
                "logging.backends[0].type",
            ),
            (
                "logging",
                json!({"backends": [{"name": "a", "type": "file"}]}),
                "logging.backends[0].config.path",
            ),
            (
                "logging",
                json!({"backends": [{"name": "a", "type": "tcp", "conf": {"address": "logs"}}]}),
                "logging.backends[0].config.address",
            ),
            (
                "logging",
                json!({"backends": [
                    {"name": "a", "type": "file", "conf": {"path": "/x"}},
                    {"name": "a", "type": "file", "conf": {"path": "/y"}},
                ]}),
                "logging.backends[1].name",
            ),
            (
                "logging",
                json!({"backends": [{"name": "a", "type": "file", "format": "%START_TIME", "conf": {"path": "/x"}}]}),
                "logging.backends[0].format",
            ),
            (
                "tracing",
                json!({"backends": [{"name": "a", "type": "zipkin", "sampling": 101, "conf": {"url": "http://z:1"}}]}),
                "tracing.backends[0].sampling",
            ),
            (
                "tracing",
                json!({"backends": [{"name": "a", "type": "zipkin", "conf": {"url": "http://zipkin"}}]}),
                "tracing.backends[0].config.url",
            ),
            (
                "tracing",
                json!({"backends": [{"name": "a", "type": "zipkin", "conf": {"url": "http://z:1", "apiVersion": "v3"}}]}),
                "tracing.backends[0].config.apiVersion",
            ),
            (
                "tracing",
                json!({"backends": [{"name": "a", "type": "datadog", "conf": {"address": "agent:0"}}]}),
                "tracing.backends[0].config.address",
            ),
            (
                "metrics",
                json!({"backends": [{"name": "a", "type": "statsd"}]}),
                "metrics.backends[0].type",
            ),
            ("metrics", json!({"enabledBackend": "a"}), "metrics.enabledBackend"),
        ] {
            assert_eq!(fields(&json!({section: value})), [expected], "{value}");
        }
    }
}
