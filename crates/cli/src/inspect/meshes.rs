//! `inspect meshes`.
//!
//! Counted from the resources themselves, not from MeshInsights: those lag behind, and do not know services.

use std::collections::BTreeMap;

use meshspan_model::Kind;
use meshspan_model::kinds::dataplane::Dataplane;
use meshspan_model::kinds::dataplane_insight::DataplaneInsight;
use meshspan_model::kinds::mesh::Mesh;
use meshspan_model::kinds::mesh_service::{MeshService, State};
use serde_json::{Value, json};

use super::{dataplanes, overview_path, services, text, typed};
use crate::client::{Client, collection};
use crate::console::Console;
use crate::output::{Format, write_document};
use crate::table::Table;

/// How many of how many.
#[derive(Clone, Copy, Default)]
struct Count {
    good: usize,
    total: usize,
}

impl Count {
    fn add(&mut self, good: bool) {
        self.good += usize::from(good);
        self.total += 1;
    }
}

impl std::fmt::Display for Count {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.good, self.total)
    }
}

#[derive(Default)]
struct Counts {
    dataplanes: Count,
    services: Count,
    multi_zone_services: usize,
    external_services: usize,
}

pub(super) async fn inspect(format: Format, client: &Client, console: &mut Console<'_>) -> anyhow::Result<()> {
    let meshes = client.list(&collection(Kind::Mesh, None), &[]).await?;
    let mut counts: BTreeMap<String, Counts> = BTreeMap::new();
    for overview in client.list(&overview_path(Kind::Dataplane, None), &[]).await? {
        let dataplane: Dataplane = typed(&overview, "dataplane")?;
        let insight: DataplaneInsight = typed(&overview, "dataplaneInsight")?;
        let online = dataplanes::status(&dataplane, &insight) == "Online";
        counts
            .entry(text(&overview, "mesh"))
            .or_default()
            .dataplanes
            .add(online);
    }
    for service in client.list(&collection(Kind::MeshService, None), &[]).await? {
        let spec: MeshService = typed(&service, "spec")?;
        let available = spec.state == Some(State::Available);
        counts
            .entry(text(&service, "mesh"))
            .or_default()
            .services
            .add(available);
    }
    for service in client.list(&collection(Kind::MeshMultiZoneService, None), &[]).await? {
        counts.entry(text(&service, "mesh")).or_default().multi_zone_services += 1;
    }
    for service in services::list_external(None, client).await? {
        counts.entry(text(&service, "mesh")).or_default().external_services += 1;
    }
    let none = Counts::default();
    let mut items = Vec::new();
    let mut table = Table::new([
        "MESH",
        "MTLS",
        "DATAPLANES",
        "SERVICES",
        "MULTI-ZONE SERVICES",
        "EXTERNAL SERVICES",
    ]);
    for mesh in &meshes {
        let name = text(mesh, "name");
        let spec: Mesh = serde_json::from_value(mesh.clone()).unwrap_or_default();
        let mtls = spec
            .enabled_backend()
            .map(|backend| format!("{}/{}", backend.backend_type, backend.name));
        let counted = counts.get(&name).unwrap_or(&none);
        items.push(json!({
            "name": name,
            "mtls": mtls,
            "dataplanes": { "online": counted.dataplanes.good, "total": counted.dataplanes.total },
            "meshServices": { "available": counted.services.good, "total": counted.services.total },
            "meshMultiZoneServices": { "total": counted.multi_zone_services },
            "meshExternalServices": { "total": counted.external_services },
        }));
        table.add(vec![
            name,
            mtls.unwrap_or_else(|| "off".to_owned()),
            counted.dataplanes.to_string(),
            counted.services.to_string(),
            counted.multi_zone_services.to_string(),
            counted.external_services.to_string(),
        ]);
    }
    let document: Value = json!({ "total": items.len(), "items": items });
    if !write_document(console.out, format, &document)? {
        console.table(&table, format, "no mesh")?;
    }
    Ok(())
}
