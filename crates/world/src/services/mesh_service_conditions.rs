//! What a MeshService of this zone says about itself: whatever keeps clients from being served, with the remedy.

use meshspan_model::ServiceKind;
use meshspan_model::kinds::mesh_service::Condition;
use meshspan_model::kinds::presence::PresenceState;

use super::Context;
use super::mesh_service::{MeshServiceEntry, inbounds_of_port};
use super::reach::egress_known;
use crate::address_range;
use crate::hosts::Unresolved;
use crate::mesh_state::MeshState;
use crate::permissions::Closed;

/// Instances that are named in one message.
const NAMED: usize = 3;

/// Conditions in a fixed order.
pub(crate) fn of(mesh: &MeshState, service: &MeshServiceEntry, context: &Context<'_>) -> Vec<Condition> {
    let address = address_range::condition(mesh, ServiceKind::MeshService, service.derived.vip, context.range);
    if !service.local {
        return egress_known(mesh, context).into_iter().chain(address).collect();
    }
    let mut conditions = vec![instances_ready(mesh, service)];
    conditions.extend(traffic_permitted(mesh, &[service]));
    conditions.extend(address);
    conditions
}

/// Whether anybody may reach these services of this zone; `None` where that is not a question: mTLS is off, or there is no
/// instance.
pub(crate) fn traffic_permitted(mesh: &MeshState, services: &[&MeshServiceEntry]) -> Option<Condition> {
    mesh.mesh.as_ref()?.enabled_backend()?;
    if services.iter().all(|service| service.matched.is_empty()) {
        return None;
    }
    let closed: Vec<String> = services
        .iter()
        .filter_map(|service| Closed::of(mesh, service).what(&in_zone(service)))
        .collect();
    let strangers = closed.is_empty().then(|| only_strangers(mesh, services)).flatten();
    let outcome = if let Some(strangers) = strangers {
        Err((
            "OnlyStrangersAllowed",
            format!(
                "MeshTrafficPermissions allow nobody but {}, and no proxy of mesh {} that this zone knows has such an identity: correct \
                 the spelling or start that client; a gateway of another zone is not known here",
                list(&strangers),
                mesh_name(services)
            ),
        ))
    } else if closed.is_empty() {
        Ok((
            "SomebodyAllowed",
            "MeshTrafficPermissions let some clients in; `meshspan inspect dataplane` with --type rules shows which"
                .into(),
        ))
    } else {
        Err((
            "NobodyAllowed",
            format!(
                "mTLS is on and nothing allows anyone to reach {}: create a MeshTrafficPermission that allows its clients",
                closed.join(", ")
            ),
        ))
    };
    Some(Condition::new("TrafficPermitted", outcome))
}

/// SPIFFE ids that alone may reach these services, if nobody is known who has one of them.
fn only_strangers(mesh: &MeshState, services: &[&MeshServiceEntry]) -> Option<Vec<String>> {
    let mut strangers = Vec::new();
    for service in services.iter().filter(|service| !service.matched.is_empty()) {
        if service.only_clients.is_empty() {
            return None;
        }
        for client in &service.only_clients {
            if mesh.knows_client(client) {
                return None;
            }
            strangers.push(format!("spiffe://{}/{client}", service.resource.mesh));
        }
    }
    strangers.sort();
    strangers.dedup();
    (!strangers.is_empty()).then_some(strangers)
}

fn mesh_name<'a>(services: &[&'a MeshServiceEntry]) -> &'a str {
    services.first().map_or("", |service| service.resource.mesh.as_str())
}

/// `redis in east`.
pub(crate) fn in_zone(service: &MeshServiceEntry) -> String {
    format!("{} in {}", service.resource.display_name(), service.zone)
}

fn instances_ready(mesh: &MeshState, service: &MeshServiceEntry) -> Condition {
    let name = in_zone(service);
    let unready: Vec<String> = service
        .matched
        .iter()
        .filter_map(|dataplane| Some(format!("{dataplane}: {}", why_not_ready(mesh, service, dataplane)?)))
        .collect();
    let total = service.matched.len();
    let ready = total - unready.len();
    let outcome = if total == 0 {
        Err((
            "NoInstance",
            format!("{name} selects no Dataplane: start a proxy with its tags, or change spec.selector"),
        ))
    } else if ready == 0 {
        Err((
            "NoneReady",
            format!("no instance of {name} is ready: {}", list(&unready)),
        ))
    } else if unready.is_empty() {
        Ok(("AllReady", "every instance is ready".to_owned()))
    } else {
        Ok(("SomeReady", format!("not ready: {}", list(&unready))))
    };
    Condition::new("InstancesReady", outcome)
}

/// Why a proxy does not count as an instance that serves all ports; `None` if it does.
fn why_not_ready(mesh: &MeshState, service: &MeshServiceEntry, dataplane: &str) -> Option<String> {
    let presence = mesh.proxies.get(dataplane).map(|proxy| proxy.presence.state);
    match presence {
        None => return Some("its proxy has never connected".to_owned()),
        Some(PresenceState::Left) => return Some("its proxy has been stopped".to_owned()),
        Some(PresenceState::Gone) => return Some("its proxy was lost and did not come back".to_owned()),
        Some(PresenceState::Expected | PresenceState::Held) => {}
    }
    let entry = mesh.dataplanes.get(dataplane)?;
    service.spec.ports.iter().find_map(|port| {
        let mut inbounds = inbounds_of_port(&entry.spec, port)
            .map(|(_, inbound)| inbound)
            .peekable();
        match inbounds.peek() {
            None => Some(format!("it has no inbound for port {}", port.section())),
            Some(first) => {
                let section = first.section();
                let without_address = entry.without_address(first).map(Unresolved::problem);
                let is_ready = inbounds.any(|inbound| mesh.serves(dataplane, inbound));
                let not_ready =
                    || format!("inbound {section} is not ready, see `meshspan inspect dataplane {dataplane}`");
                (!is_ready).then(|| without_address.unwrap_or_else(not_ready))
            }
        }
    })
}

fn list(unready: &[String]) -> String {
    let mut text = unready.iter().take(NAMED).cloned().collect::<Vec<_>>().join("; ");
    if let Some(more) = unready.len().checked_sub(NAMED).filter(|more| *more > 0) {
        text.push_str(&format!("; and {more} more"));
    }
    text
}
