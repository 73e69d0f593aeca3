//! One zone: its control plane and its ingress.

use std::time::Duration;

use anyhow::Result;
use meshspan_lab::eventually;
use serde_json::{Value, json};

use super::control_plane::ControlPlane;
use super::documents;
use super::proxy::{Proxy, ProxySetup};
use crate::machine::{Machine, Network};
use crate::program::Program;

/// How long the first synchronisation may take.
const SYNC: Duration = Duration::from_secs(30);
const INGRESS_PORT: u16 = 10001;
const EGRESS_PORT: u16 = 10002;
const ADMIN_PORT: u16 = 9901;

/// A zone.
#[derive(Debug)]
pub struct Zone {
    /// Its name.
    pub name: String,
    /// Its control plane.
    pub control_plane: ControlPlane,
    /// Its ingress, through which other zones enter.
    pub ingress: Proxy,
    pub(super) number: u8,
    next_machine: u8,
}

impl Zone {
    /// Starts control plane and ingress; `number` is part of all addresses.
    pub(super) async fn start(
        network: &Network,
        program: &Program,
        global: &ControlPlane,
        name: &str,
        number: u8,
        settings: &[(&str, &str)],
    ) -> Result<Self> {
        let machine = network.machine(&format!("{name}-cp"), number, 1).await?;
        let control_plane = ControlPlane::zone(program, machine, name, global, settings).await?;
        let ingress = start_ingress(network, program, global, &control_plane, name, number).await?;
        Ok(Self {
            name: name.to_owned(),
            control_plane,
            ingress,
            number,
            next_machine: 3,
        })
    }

    /// The last part of the address of a new host.
    pub(super) fn take_number(&mut self) -> u8 {
        let number = self.next_machine;
        self.next_machine += 1;
        number
    }

    /// A MeshMultiZoneService as this zone sees it, found by its display name.
    ///
    /// # Errors
    /// The control plane does not answer, or has none of that name.
    pub async fn multi_zone_service(&self, mesh: &str, name: &str) -> Result<Value> {
        find(
            self.control_plane
                .api()
                .get(&format!("/meshes/{mesh}/meshmultizoneservices"))
                .await?,
            name,
        )
    }

    /// The address that this zone gives to a MeshMultiZoneService.
    ///
    /// # Errors
    /// It has none (yet).
    pub async fn vip(&self, mesh: &str, name: &str) -> Result<String> {
        let service = self.multi_zone_service(mesh, name).await?;
        let vip = service.pointer("/status/vips/0/ip").and_then(Value::as_str);
        vip.map(str::to_owned)
            .ok_or_else(|| anyhow::anyhow!("{name} has no VIP in zone {}: {service}", self.name))
    }
}

/// The resource of a list that has this display name: synchronised ones have other names.
fn find(list: Value, display_name: &str) -> Result<Value> {
    let items = list.get("items").and_then(Value::as_array);
    let found = items.into_iter().flatten().find(|item| {
        let label = item.pointer("/labels/kuma.io~1display-name").or(item.get("name"));
        label.and_then(Value::as_str) == Some(display_name)
    });
    found
        .cloned()
        .ok_or_else(|| anyhow::anyhow!("no {display_name} in {list}"))
}

async fn start_ingress(
    network: &Network,
    program: &Program,
    global: &ControlPlane,
    control_plane: &ControlPlane,
    zone: &str,
    number: u8,
) -> Result<Proxy> {
    let machine = network.machine(&format!("{zone}-ingress"), number, 2).await?;
    let document = documents::zone_ingress(
        "ingress",
        machine.address(),
        machine.port(INGRESS_PORT)?,
        machine.port(ADMIN_PORT)?,
    );
    start_zone_proxy(program, global, control_plane, zone, &machine, "ingress", document).await
}

/// Starts a zone egress on a host of its own.
pub(super) async fn start_egress(
    program: &Program,
    global: &ControlPlane,
    zone: &Zone,
    machine: &Machine,
) -> Result<Proxy> {
    let document = documents::zone_egress(
        "egress",
        machine.address(),
        machine.port(EGRESS_PORT)?,
        machine.port(ADMIN_PORT)?,
    );
    start_zone_proxy(
        program,
        global,
        &zone.control_plane,
        &zone.name,
        machine,
        "egress",
        document,
    )
    .await
}

async fn start_zone_proxy(
    program: &Program,
    global: &ControlPlane,
    control_plane: &ControlPlane,
    zone: &str,
    machine: &Machine,
    proxy_type: &'static str,
    document: Value,
) -> Result<Proxy> {
    let token = global
        .api()
        .post("/tokens/zone", &json!({ "zone": zone, "scope": [proxy_type] }))
        .await?;
    // The zone needs the key of the global to check the token.
    eventually(&format!("the key for zone tokens in {zone}"), SYNC, || {
        control_plane
            .api()
            .get("/global-secrets/zone-token-signing-public-key-1")
    })
    .await?;
    let setup = ProxySetup {
        proxy_type,
        document,
        token,
        intercepted: false,
    };
    let mut proxy = Proxy::start(program, machine, control_plane, setup).await?;
    proxy.ready().await?;
    Ok(proxy)
}
