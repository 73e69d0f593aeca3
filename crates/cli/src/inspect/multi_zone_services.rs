//! `inspect meshmultizoneservices`: services that span zones.

use std::collections::BTreeMap;
use std::io::Write;

use meshspan_model::kinds::mesh_multi_zone_service::{
    MatchedMeshService, MeshMultiZoneService, MeshMultiZoneServiceStatus, ZoneView,
};
use meshspan_model::{Kind, ServiceKind};
use serde_json::Value;

use super::mesh_services::Service;
use super::service_text::{
    conditions_table, hostnames, notes, port, problems, proxies, vips, write_fields, write_notes, write_section,
};
use super::zone_hostnames::ZoneHostnames;
use super::{NamedServicesArgs, services_asked_for, text, typed};
use crate::client::{Client, collection};
use crate::console::Console;
use crate::get::display_name;
use crate::output::{Format, list_document, write_document};
use crate::table::Table;

/// A MeshMultiZoneService with what other resources say about it.
pub(super) struct MultiZoneService {
    mesh: String,
    name: String,
    core_name: String,
    spec: MeshMultiZoneService,
    status: MeshMultiZoneServiceStatus,
    matched: Vec<Match>,
    /// Hostnames and the zones that resolve them, where the control plane itself has none (global).
    zone_hostnames: String,
}

/// One service behind a multi-zone service.
struct Match {
    name: String,
    namespace: String,
    zone: String,
    /// Empty if the MeshService itself is not (or no longer) there.
    state: String,
    proxies: String,
    tls: &'static str,
}

pub(super) async fn inspect(
    args: &NamedServicesArgs,
    client: &Client,
    console: &mut Console<'_>,
) -> anyhow::Result<()> {
    let mesh = args.services.mesh.one();
    let documents = services_asked_for(Kind::MeshMultiZoneService, args, client).await?;
    if write_document(console.out, args.services.output.output, &list_document(&documents))? {
        return Ok(());
    }
    let members = client.list(&collection(Kind::MeshService, mesh), &[]).await?;
    let members = members.iter().map(Service::read).collect::<anyhow::Result<Vec<_>>>()?;
    let services = read_all(&documents, &members, client).await?;
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

/// Puts services together with their members and, where the control plane computes no addresses itself, with those of the zones.
pub(super) async fn read_all(
    documents: &[Value],
    members: &[Service],
    client: &Client,
) -> anyhow::Result<Vec<MultiZoneService>> {
    let mut services = Vec::new();
    let mut hostnames = ZoneHostnames::new(client);
    for document in documents {
        let mut service = read(document, members)?;
        if service.status.addresses.is_empty() {
            let kind = ServiceKind::MeshMultiZoneService;
            service.zone_hostnames = hostnames.of(kind, &service.mesh, &service.core_name).await?;
        }
        services.push(service);
    }
    Ok(services)
}

fn read(document: &Value, members: &[Service]) -> anyhow::Result<MultiZoneService> {
    let spec: MeshMultiZoneService = typed(document, "spec")?;
    let status: MeshMultiZoneServiceStatus = typed(document, "status")?;
    let mesh = text(document, "mesh");
    let in_mesh = || members.iter().filter(|member| member.mesh == mesh);
    let matched = if status.mesh_services.is_empty() {
        // Global control planes of the reference leave this to the zones; the rule is the same everywhere.
        let selector = &spec.selector.mesh_service;
        in_mesh()
            .filter(|member| selector.matches(&member.labels))
            .map(Match::of)
            .collect()
    } else {
        let found = |wanted: &MatchedMeshService| in_mesh().find(|member| is_same(wanted, member));
        status
            .mesh_services
            .iter()
            .map(|wanted| found(wanted).map_or_else(|| Match::missing(wanted), Match::of))
            .collect()
    };
    Ok(MultiZoneService {
        name: display_name(document).to_owned(),
        core_name: text(document, "name"),
        mesh,
        spec,
        status,
        matched,
        zone_hostnames: String::new(),
    })
}

fn is_same(wanted: &MatchedMeshService, member: &Service) -> bool {
    wanted.name == member.name && wanted.namespace == member.namespace && wanted.zone == member.zone
}

impl Match {
    fn of(service: &Service) -> Self {
        Self {
            name: service.name.clone(),
            namespace: service.namespace.clone(),
            zone: service.zone.clone(),
            state: service.shown_state(),
            proxies: proxies(&service.status.dataplane_proxies),
            tls: service.tls(),
        }
    }

    fn shown_state(&self) -> &str {
        match self.state.as_str() {
            "" => "gone",
            state => state,
        }
    }

    fn missing(wanted: &MatchedMeshService) -> Self {
        Self {
            name: wanted.name.clone(),
            namespace: wanted.namespace.clone(),
            zone: wanted.zone.clone(),
            state: String::new(),
            proxies: String::new(),
            tls: "",
        }
    }
}

impl MultiZoneService {
    fn hostnames(&self) -> String {
        match self.status.addresses.is_empty() {
            true => self.zone_hostnames.clone(),
            false => hostnames(&self.status.addresses),
        }
    }

    fn ports(&self) -> String {
        let ports = self.spec.ports.iter().map(|p| port(&p.name, p.port, &p.app_protocol));
        ports.collect::<Vec<_>>().join(", ")
    }

    /// `east: Available, west: Unavailable`, with the services' names where a zone has several.
    fn services(&self) -> String {
        let mut in_zone: BTreeMap<&str, usize> = BTreeMap::new();
        for service in &self.matched {
            *in_zone.entry(&service.zone).or_default() += 1;
        }
        let texts = self.matched.iter().map(|service| {
            let zone = if service.zone.is_empty() { "-" } else { &service.zone };
            let state = service.shown_state();
            let count = if service.proxies.is_empty() {
                String::new()
            } else {
                format!(" {}", service.proxies)
            };
            match in_zone.get(service.zone.as_str()) {
                Some(1) => format!("{zone}: {state}{count}"),
                _ => format!("{zone}/{}: {state}{count}", service.name),
            }
        });
        texts.collect::<Vec<_>>().join(", ")
    }

    /// One word a condition that is not met, `OK` if all are.
    fn conditions(&self) -> String {
        let bad: Vec<&str> = problems(&self.status.conditions)
            .map(|condition| condition.reason.as_str())
            .collect();
        match (bad.is_empty(), self.status.conditions.is_empty()) {
            (false, _) => bad.join(", "),
            (true, false) => "OK".to_owned(),
            (true, true) => String::new(),
        }
    }
}

/// One line a service, then what is wrong and what to do about it.
pub(super) fn write_table(
    services: &[MultiZoneService],
    with_mesh: bool,
    format: Format,
    console: &mut Console<'_>,
) -> anyhow::Result<()> {
    let columns = ["NAME", "VIP", "HOSTNAMES", "PORTS", "SERVICES", "CONDITIONS"];
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
            vips(&service.status.vips),
            service.hostnames(),
            service.ports(),
            service.services(),
            service.conditions(),
        ]);
        table.add(row);
        remarks.extend(notes(
            &service.name,
            &service.status.conditions,
            &service.status.hostname_generators,
        ));
    }
    let table = table.optional(["PORTS", "VIP"]);
    console.table(
        &table,
        format,
        "no MeshMultiZoneService: `meshspan apply` one on the global control plane",
    )?;
    write_notes(console.out, &remarks)?;
    Ok(())
}

fn write_full(service: &MultiZoneService, out: &mut dyn Write) -> anyhow::Result<()> {
    let selector = &service.spec.selector.mesh_service.match_labels;
    let selector = selector.iter().map(|(key, value)| format!("{key}={value}"));
    let fields = [
        ("Name", service.name.clone()),
        ("Mesh", service.mesh.clone()),
        ("Resource", service.core_name.clone()),
        ("VIP", vips(&service.status.vips)),
        ("Hostnames", service.hostnames()),
        ("Ports", service.ports()),
        ("Selector", selector.collect::<Vec<_>>().join(", ")),
    ];
    write_fields(out, &fields)?;
    let mut table = Table::new(["ZONE", "NAME", "NAMESPACE", "STATE", "PROXIES", "TLS"]);
    for matched in &service.matched {
        let state = matched.shown_state();
        table.add(vec![
            matched.zone.clone(),
            matched.name.clone(),
            matched.namespace.clone(),
            state.to_owned(),
            matched.proxies.clone(),
            matched.tls.to_owned(),
        ]);
    }
    write_section(out, "Services", &table)?;
    if !service.status.zones.is_empty() {
        write_section(out, "As zones see it", &zones_table(&service.status.zones))?;
    }
    let conditions = conditions_table(&service.status.conditions, &service.status.hostname_generators);
    write_section(out, "Conditions", &conditions)?;
    Ok(())
}

/// One row a zone: what clients get there, and in one word what is wrong.
fn zones_table(zones: &[ZoneView]) -> Table {
    let mut table = Table::new(["ZONE", "VIP", "HOSTNAMES", "CONDITIONS"]);
    for view in zones {
        let bad: Vec<&str> = problems(&view.conditions)
            .map(|condition| condition.reason.as_str())
            .collect();
        let conditions = if bad.is_empty() {
            "OK".to_owned()
        } else {
            bad.join(", ")
        };
        table.add(vec![
            view.zone.clone(),
            vips(&view.vips),
            hostnames(&view.addresses),
            conditions,
        ]);
    }
    table
}
