//! `inspect services`: everything that clients can call in a mesh.

use meshspan_model::Kind;
use serde_json::{Value, json};

use super::mesh_services::{self, Service};
use super::{ServicesArgs, external_services, multi_zone_services};
use crate::client::{Client, collection};
use crate::console::Console;
use crate::output::write_document;

pub(super) async fn inspect(args: &ServicesArgs, client: &Client, console: &mut Console<'_>) -> anyhow::Result<()> {
    let mesh = args.mesh.one();
    let multi_zone = client.list(&collection(Kind::MeshMultiZoneService, mesh), &[]).await?;
    let single_zone = client.list(&collection(Kind::MeshService, mesh), &[]).await?;
    let external = list_external(mesh, client).await?;
    let document = json!({
        "meshMultiZoneServices": multi_zone, "meshServices": single_zone, "meshExternalServices": external,
    });
    if write_document(console.out, args.output.output, &document)? {
        return Ok(());
    }
    let members = single_zone
        .iter()
        .map(Service::read)
        .collect::<anyhow::Result<Vec<_>>>()?;
    let services = multi_zone_services::read_all(&multi_zone, &members, client).await?;
    writeln!(console.out, "Services of several zones (MeshMultiZoneService)")?;
    multi_zone_services::write_table(&services, mesh.is_none(), args.output.output, console)?;
    writeln!(console.out, "\nServices of single zones (MeshService)")?;
    mesh_services::write_table(&members, mesh.is_none(), args.output.output, console)?;
    if external.is_empty() {
        return Ok(());
    }
    let external = external_services::read_all(&external, client).await?;
    writeln!(console.out, "\nServices outside the mesh (MeshExternalService)")?;
    external_services::write_table(&external, mesh.is_none(), args.output.output, console)
}

/// Older control planes (before 2.8) have none.
pub(super) async fn list_external(mesh: Option<&str>, client: &Client) -> anyhow::Result<Vec<Value>> {
    match client.list(&collection(Kind::MeshExternalService, mesh), &[]).await {
        Err(error) if error.is_not_found() => Ok(Vec::new()),
        services => Ok(services?),
    }
}
