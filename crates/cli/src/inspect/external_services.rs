//! `inspect meshexternalservices`: services outside the mesh.

use std::io::Write;

use meshspan_model::kinds::mesh_external_service::{Endpoint, MeshExternalService, MeshExternalServiceStatus};
use meshspan_model::{Kind, ServiceKind};
use serde_json::Value;

use super::service_text::{
    conditions_table, hostnames, notes, port, problems, write_fields, write_notes, write_section,
};
use super::zone_hostnames::ZoneHostnames;
use super::{NamedServicesArgs, services_asked_for, text, typed};
use crate::client::Client;
use crate::console::Console;
use crate::get::display_name;
use crate::output::{Format, list_document, write_document};
use crate::table::Table;

/// A MeshExternalService as far as inspection needs it.
pub(super) struct ExternalService {
    mesh: String,
    name: String,
    core_name: String,
    spec: MeshExternalService,
    status: MeshExternalServiceStatus,
    hostnames: String,
}

/// Reads services; where the control plane gives them no hostnames itself, with those of the zones.
pub(super) async fn read_all(documents: &[Value], client: &Client) -> anyhow::Result<Vec<ExternalService>> {
    let mut of_zones = ZoneHostnames::new(client);
    let mut services = Vec::new();
    for document in documents {
        let (mesh, core_name) = (text(document, "mesh"), text(document, "name"));
        let status: MeshExternalServiceStatus = typed(document, "status")?;
        services.push(ExternalService {
            hostnames: match status.addresses.as_slice() {
                [] => of_zones.of(ServiceKind::MeshExternalService, &mesh, &core_name).await?,
                addresses => hostnames(addresses),
            },
            name: display_name(document).to_owned(),
            spec: typed(document, "spec")?,
            mesh,
            core_name,
            status,
        });
    }
    Ok(services)
}

impl ExternalService {
    fn port(&self) -> String {
        port("", self.spec.matched.port, &self.spec.matched.protocol)
    }

    fn endpoints(&self) -> String {
        let endpoints = self.spec.endpoints.iter().map(endpoint);
        endpoints.collect::<Vec<_>>().join(", ")
    }

    /// How far the service is verified, or that there is no TLS.
    fn tls(&self) -> String {
        match self.spec.tls() {
            None => "off".to_owned(),
            Some(tls) => {
                let verification = tls.verification.as_ref();
                let mode = verification.map(|verification| verification.mode).unwrap_or_default();
                format!("{mode:?}")
            }
        }
    }

    /// Reasons of what is not as it should be, or `OK`; empty where nothing is said, as on the global.
    fn conditions(&self) -> String {
        if self.status.conditions.is_empty() {
            return String::new();
        }
        let reasons: Vec<_> = problems(&self.status.conditions)
            .map(|condition| condition.reason.as_str())
            .collect();
        match reasons.is_empty() {
            true => "OK".to_owned(),
            false => reasons.join(", "),
        }
    }
}

fn endpoint(endpoint: &Endpoint) -> String {
    let address = match endpoint.address.contains(':') {
        true => format!("[{}]:{}", endpoint.address, endpoint.port),
        false => format!("{}:{}", endpoint.address, endpoint.port),
    };
    match endpoint.priority {
        None | Some(0) => address,
        Some(priority) => format!("{address} (priority {priority})"),
    }
}

pub(super) async fn inspect(
    args: &NamedServicesArgs,
    client: &Client,
    console: &mut Console<'_>,
) -> anyhow::Result<()> {
    let mesh = args.services.mesh.one();
    let documents = services_asked_for(Kind::MeshExternalService, args, client).await?;
    if write_document(console.out, args.services.output.output, &list_document(&documents))? {
        return Ok(());
    }
    let services = read_all(&documents, client).await?;
    if args.name.is_none() {
        return write_table(&services, mesh.is_none(), args.services.output.output, console);
    }
    for (index, service) in services.iter().enumerate() {
        if index > 0 {
            writeln!(console.out)?;
        }
        write_full(service, console.out)?;
    }
    Ok(())
}

/// One line a service, then what is wrong with it.
pub(super) fn write_table(
    services: &[ExternalService],
    with_mesh: bool,
    format: Format,
    console: &mut Console<'_>,
) -> anyhow::Result<()> {
    let columns = ["NAME", "VIP", "HOSTNAMES", "PORT", "ENDPOINTS", "TLS", "CONDITIONS"];
    let mut table = if with_mesh {
        Table::new(["MESH"])
    } else {
        Table::default()
    };
    columns.iter().for_each(|column| table.add_column(column));
    let mut remarks = Vec::new();
    for service in services {
        let mut row = if with_mesh {
            vec![service.mesh.clone()]
        } else {
            Vec::new()
        };
        row.extend([
            service.name.clone(),
            service.status.vip.ip.clone(),
            service.hostnames.clone(),
            service.port(),
            service.endpoints(),
            service.tls(),
            service.conditions(),
        ]);
        table.add(row);
        let status = &service.status;
        remarks.extend(notes(&service.name, &status.conditions, &status.hostname_generators));
    }
    console.table(
        &table.optional(["TLS", "PORT", "VIP"]),
        format,
        "no MeshExternalService: apply one for a service outside the mesh",
    )?;
    write_notes(console.out, &remarks)?;
    Ok(())
}

fn write_full(service: &ExternalService, out: &mut dyn Write) -> anyhow::Result<()> {
    let fields = [
        ("Name", service.name.clone()),
        ("Mesh", service.mesh.clone()),
        ("Resource", service.core_name.clone()),
        ("VIP", service.status.vip.ip.clone()),
        ("Hostnames", service.hostnames.clone()),
        ("Port", service.port()),
        ("Endpoints", service.endpoints()),
        ("TLS", service.tls()),
        (
            "Server name",
            service
                .spec
                .tls()
                .and(service.spec.server_name())
                .unwrap_or_default()
                .to_owned(),
        ),
    ];
    write_fields(out, &fields)?;
    let conditions = conditions_table(&service.status.conditions, &service.status.hostname_generators);
    write_section(out, "Conditions", &conditions)?;
    Ok(())
}
