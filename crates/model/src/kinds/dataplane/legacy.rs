//! `metrics` and `probes`: kept as written, and checked as in the reference.

use serde_json::Value;

use super::{Dataplane, GatewayType};
use crate::kinds::prometheus;
use crate::violation::Violations;

/// Adds everything that is wrong in both.
pub(super) fn check(dataplane: &Dataplane, violations: &mut Violations) {
    let gateway = dataplane.networking.gateway.as_ref();
    let is_builtin = gateway.is_some_and(|gateway| gateway.gateway_type == GatewayType::Builtin);
    match &dataplane.probes {
        Some(_) if is_builtin => violations.add("networking.probes", "a built-in gateway cannot have probes"),
        Some(probes) => check_probes(probes, violations),
        None => {}
    }
    if let Some(metrics) = &dataplane.metrics {
        check_metrics(metrics, violations);
    }
}

fn check_metrics(metrics: &Value, violations: &mut Violations) {
    match metrics.get("type").and_then(Value::as_str) {
        Some("prometheus") => {
            let conf = metrics.get("conf").unwrap_or(&Value::Null);
            prometheus::check(conf, "metrics.conf", violations);
        }
        other => violations.add(
            "metrics.type",
            format!("unknown type \"{}\", must be prometheus", other.unwrap_or_default()),
        ),
    }
}

fn check_probes(probes: &Value, violations: &mut Violations) {
    if !probes.is_object() {
        violations.add("probes", "must be an object with port and endpoints");
        return;
    }
    check_port(probes, "port", "probes.port", violations);
    let endpoints = probes.get("endpoints").and_then(Value::as_array);
    for (index, endpoint) in endpoints.into_iter().flatten().enumerate() {
        let path = format!("probes.endpoints[{index}]");
        check_port(endpoint, "inboundPort", &format!("{path}.inboundPort"), violations);
        for field in ["inboundPath", "path"] {
            let written = endpoint.get(field).and_then(Value::as_str).unwrap_or_default();
            if !written.starts_with('/') || !written.chars().all(|c| c.is_ascii_graphic()) {
                violations.add(
                    format!("{path}.{field}"),
                    format!("is \"{written}\", must be the path of a URL, such as /healthz"),
                );
            }
        }
    }
}

fn check_port(of: &Value, field: &str, path: &str, violations: &mut Violations) {
    let value = of.get(field).unwrap_or(&Value::Null);
    let number = value
        .as_u64()
        .or_else(|| value.as_str().and_then(|text| text.parse().ok()));
    if !number.is_some_and(|port| (1..=65535).contains(&port)) {
        violations.add(path, format!("is {value}, must be a port number from 1 to 65535"));
    }
}
