//! The columns of `get` (`spec/http-api.md` §7), and more of them with `-o wide`.

use std::collections::{BTreeMap, BTreeSet};

use meshspan_model::Kind;
use meshspan_model::kinds::dataplane::Dataplane;
use meshspan_model::kinds::mesh::Mesh;
use meshspan_model::labels;
use serde::de::DeserializeOwned;
use serde_json::Value;
use time::OffsetDateTime;

use super::find::display_name;
use crate::age;
use crate::output::Format;
use crate::table::Table;

/// A table of resources of one kind.
pub(super) fn table(kind: Kind, resources: &[Value], format: Format, now: OffsetDateTime) -> Table {
    let mut table = match kind {
        Kind::Mesh => Table::new(["NAME", "mTLS", "LOCALITY", "ZONEEGRESS", "AGE"]),
        Kind::Dataplane => Table::new(["MESH", "NAME", "TAGS", "ADDRESS", "AGE"]),
        _ if kind.is_mesh_scoped() => Table::new(["MESH", "NAME", "AGE"]),
        _ => Table::new(["NAME", "AGE"]),
    };
    let wide = format == Format::Wide;
    if wide {
        for column in ["DISPLAY NAME", "ZONE", "ORIGIN", "NAMESPACE"] {
            table.add_column(column);
        }
    }
    for resource in resources {
        let name = text(resource, "name");
        let mut row = match kind {
            Kind::Mesh => mesh_row(name, resource),
            Kind::Dataplane => dataplane_row(text(resource, "mesh"), name, resource),
            _ if kind.is_mesh_scoped() => vec![text(resource, "mesh"), name],
            _ => vec![name],
        };
        row.push(age::of_resource(now, resource));
        if wide {
            row.push(display_name(resource).to_owned());
            for key in [labels::ZONE, labels::ORIGIN, labels::NAMESPACE] {
                let label = resource.get("labels").and_then(|given| given.get(key));
                row.push(label.and_then(Value::as_str).unwrap_or_default().to_owned());
            }
        }
        table.add(row);
    }
    table
}

fn mesh_row(name: String, resource: &Value) -> Vec<String> {
    let mesh: Mesh = payload(resource);
    let mtls = mesh
        .enabled_backend()
        .map(|backend| format!("{}/{}", backend.backend_type, backend.name));
    let routing = mesh.routing.unwrap_or_default();
    let on_off = |on: bool| if on { "on" } else { "off" }.to_owned();
    vec![
        name,
        mtls.unwrap_or_else(|| "off".to_owned()),
        on_off(routing.locality_aware_load_balancing),
        on_off(routing.zone_egress),
    ]
}

fn dataplane_row(mesh: String, name: String, resource: &Value) -> Vec<String> {
    let dataplane: Dataplane = payload(resource);
    vec![mesh, name, tags(&dataplane.tags()), dataplane.networking.address]
}

/// The payload as far as it can be understood: a table is no place to fail over a field of another version.
fn payload<T: DeserializeOwned + Default>(resource: &Value) -> T {
    serde_json::from_value(resource.clone()).unwrap_or_default()
}

/// Tags as kumactl prints them: `key=value1,value2` and spaces between.
pub(crate) fn tags(tags: &BTreeMap<String, BTreeSet<String>>) -> String {
    let pairs = tags.iter().map(|(key, values)| {
        let values: Vec<&str> = values.iter().map(String::as_str).collect();
        format!("{key}={}", values.join(","))
    });
    pairs.collect::<Vec<_>>().join(" ")
}

fn text(resource: &Value, key: &str) -> String {
    resource.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
}
