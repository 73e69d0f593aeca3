//! `inspect meshservices`: services of single zones.

use std::collections::BTreeMap;
use std::io::Write;

use meshspan_model::Kind;
use meshspan_model::kinds::mesh_service::{Condition, MeshService, MeshServiceStatus, State, TargetPort, TlsReadiness};
use meshspan_model::labels;
use serde_json::Value;

use super::service_text::{
    conditions_table, hostnames, notes, port, proxies, vips, write_fields, write_notes, write_section,
};
use super::{NamedServicesArgs, services_asked_for, text, typed};
use crate::client::Client;
use crate::console::Console;
use crate::get::display_name;
use crate::output::{Format, list_document, write_document};
use crate::table::Table;

/// A MeshService as far as inspection needs it.
pub(super) struct Service {
    pub(super) mesh: String,
    pub(super) name: String,
    pub(super) core_name: String,
    pub(super) zone: String,
    pub(super) namespace: String,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) spec: MeshService,
    pub(super) status: MeshServiceStatus,
}

impl Service {
    pub(super) fn read(document: &Value) -> anyhow::Result<Self> {
        let labels: BTreeMap<String, String> = typed(document, "labels")?;
        let label = |key: &str| labels.get(key).cloned().unwrap_or_default();
        Ok(Self {
            mesh: text(document, "mesh"),
            name: display_name(document).to_owned(),
            core_name: text(document, "name"),
            zone: label(labels::ZONE),
            namespace: label(labels::NAMESPACE),
            spec: typed(document, "spec")?,
            status: typed(document, "status")?,
            labels,
        })
    }

    pub(super) fn state(&self) -> &'static str {
        match self.spec.state {
            Some(State::Available) => "Available",
            Some(State::Unavailable) | None => "Unavailable",
        }
    }

    /// What the control plane says; of one that says nothing, what follows from the state.
    pub(super) fn conditions(&self) -> Vec<Condition> {
        let mut conditions = self.status.conditions.clone();
        if conditions.is_empty() && self.spec.state != Some(State::Available) {
            let message = "its zone knows of no ready instance: start one, or look at `meshspan inspect dataplanes`";
            conditions.push(Condition::new("InstancesReady", Err(("NoneReady", message.to_owned()))));
        }
        conditions
    }

    /// True if its zone is not connected, so that all of this is old.
    fn is_old(&self) -> bool {
        self.status
            .conditions
            .iter()
            .any(|condition| condition.reason == "ZoneOffline")
    }

    /// The state, and whether that is old.
    pub(super) fn shown_state(&self) -> String {
        match self.is_old() {
            true => format!("{} (zone offline)", self.state()),
            false => self.state().to_owned(),
        }
    }

    pub(super) fn tls(&self) -> &'static str {
        match self.status.tls.status {
            Some(TlsReadiness::Ready) => "Ready",
            Some(TlsReadiness::NotReady) => "NotReady",
            None => "",
        }
    }

    fn ports(&self) -> String {
        let ports = self.spec.ports.iter().map(|p| {
            let shown = port(&p.name, p.port, &p.app_protocol);
            match &p.target_port {
                Some(TargetPort::Number(target)) if *target != p.port => format!("{shown}→{target}"),
                Some(TargetPort::Name(target)) => format!("{shown}→{target}"),
                _ => shown,
            }
        });
        ports.collect::<Vec<_>>().join(", ")
    }
}

pub(super) async fn inspect(
    args: &NamedServicesArgs,
    client: &Client,
    console: &mut Console<'_>,
) -> anyhow::Result<()> {
    let mesh = args.services.mesh.one();
    let documents = services_asked_for(Kind::MeshService, args, client).await?;
    if write_document(console.out, args.services.output.output, &list_document(&documents))? {
        return Ok(());
    }
    let services = documents
        .iter()
        .map(Service::read)
        .collect::<anyhow::Result<Vec<_>>>()?;
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

/// One line a service, then what is wrong with its hostnames.
pub(super) fn write_table(
    services: &[Service],
    with_mesh: bool,
    format: Format,
    console: &mut Console<'_>,
) -> anyhow::Result<()> {
    let columns = ["NAME", "ZONE", "STATE", "PROXIES", "VIP", "HOSTNAMES", "PORTS", "TLS"];
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
            service.zone.clone(),
            service.shown_state(),
            proxies(&service.status.dataplane_proxies),
            vips(&service.status.vips),
            hostnames(&service.status.addresses),
            service.ports(),
            service.tls().to_owned(),
        ]);
        table.add(row);
        // The same service may be there in several zones.
        let name = format!("{} in {}", service.name, service.zone);
        remarks.extend(notes(&name, &service.conditions(), &service.status.hostname_generators));
    }
    console.table(
        &table.optional(["TLS", "PORTS", "VIP"]),
        format,
        "no MeshService: one is made for each kuma.io/service of a proxy",
    )?;
    write_notes(console.out, &remarks)?;
    Ok(())
}

fn write_full(service: &Service, out: &mut dyn Write) -> anyhow::Result<()> {
    let identities = service
        .spec
        .identities
        .iter()
        .map(|id| format!("{} {}", id.identity_type, id.value));
    let fields = [
        ("Name", service.name.clone()),
        ("Mesh", service.mesh.clone()),
        ("Zone", service.zone.clone()),
        ("Namespace", service.namespace.clone()),
        ("Resource", service.core_name.clone()),
        ("State", service.shown_state()),
        ("Proxies", proxies(&service.status.dataplane_proxies)),
        ("VIP", vips(&service.status.vips)),
        ("Hostnames", hostnames(&service.status.addresses)),
        ("Ports", service.ports()),
        ("TLS", service.tls().to_owned()),
        ("Identities", identities.collect::<Vec<_>>().join(", ")),
    ];
    write_fields(out, &fields)?;
    let conditions = conditions_table(&service.conditions(), &service.status.hostname_generators);
    write_section(out, "Conditions", &conditions)?;
    Ok(())
}
