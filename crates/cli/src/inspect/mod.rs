//! `meshspan inspect`: how things are, put together from several resources.

mod dataplanes;
mod external_services;
mod lost_zones;
mod mesh_services;
mod meshes;
mod multi_zone_services;
mod policy;
mod proxy;
mod proxy_policies;
mod service_text;
mod services;
mod subscriptions;
mod zone_hostnames;
mod zone_proxies;
mod zones;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use meshspan_model::kind::Kind;
use serde::de::DeserializeOwned;
use serde_json::Value;
use time::OffsetDateTime;
use time::macros::format_description;

pub use dataplanes::DataplanesArgs;
pub use policy::{PolicyArgs, PolicyCommand};
pub use proxy::ProxyQuestion;
pub use zone_proxies::ZoneProxiesArgs;
pub use zones::ZonesArgs;

use zone_proxies::Sort;

use crate::client::{Client, collection};
use crate::console::Console;
use crate::get::{DEFAULT_MESH, find};
use crate::output::Format;
use crate::run::Outcome;

/// Arguments of `inspect`.
#[derive(Debug, Args)]
pub struct InspectArgs {
    /// What to look at.
    #[command(subcommand)]
    pub command: InspectCommand,
}

/// `inspect …`.
#[derive(Debug, Subcommand)]
pub enum InspectCommand {
    /// Data plane proxies: connection, updates, certificate, versions; with a name, everything about it
    #[command(
        alias = "dataplane",
        after_help = "Examples:
  meshspan inspect dataplanes --mesh default
  meshspan inspect dataplane redis-1
  meshspan inspect dataplane web-1 --type policies   # which apply, and to what
  meshspan inspect dataplane web-1 --to redis        # which of them decided what
  meshspan inspect dataplane web-1 --type rules
  meshspan inspect dataplane web-1 --type config --shadow --include diff
  meshspan inspect dataplanes -A --tag kuma.io/service=redis"
    )]
    Dataplanes(DataplanesArgs),
    /// Zones: connection to the global control plane, updates, versions; with a name, everything about it
    #[command(
        alias = "zone",
        after_help = "Example:
  meshspan inspect zones
  meshspan inspect zone east"
    )]
    Zones(ZonesArgs),
    /// Zone ingresses: connection, updates, versions, public address; with a name, everything about it
    #[command(aliases = ["zone-ingress", "zoneingresses", "zoneingress"], after_help = "Examples:
  meshspan inspect zone-ingresses
  meshspan inspect zone-ingress ingress-1")]
    ZoneIngresses(ZoneProxiesArgs),
    /// Zone egresses: connection, updates, versions, address; with a name, everything about it
    #[command(name = "zoneegresses", aliases = ["zoneegress", "zone-egresses", "zone-egress"], after_help = "Examples:
  meshspan inspect zoneegresses
  meshspan inspect zoneegress egress-1")]
    ZoneEgresses(ZoneProxiesArgs),
    /// Meshes: mTLS and how many proxies and services work
    #[command(
        alias = "mesh",
        after_help = "Example:
  meshspan inspect meshes"
    )]
    Meshes(OutputArgs),
    /// All services of a mesh: those that span zones, those of single zones, and those outside the mesh
    #[command(
        alias = "service",
        after_help = "Example:
  meshspan inspect services -m default"
    )]
    Services(ServicesArgs),
    /// Services of single zones; with a name, everything about it
    #[command(name = "meshservices", aliases = ["meshservice", "msvc"], after_help = "Examples:
  meshspan inspect meshservices
  meshspan inspect meshservice redis        # in every zone that has one")]
    MeshServices(NamedServicesArgs),
    /// Services that span zones; with a name, everything about it
    #[command(name = "meshmultizoneservices", aliases = ["meshmultizoneservice", "mzsvc"], after_help = "Examples:
  meshspan inspect meshmultizoneservices
  meshspan inspect meshmultizoneservice redis")]
    MeshMultiZoneServices(NamedServicesArgs),
    /// Services outside the mesh; with a name, everything about it
    #[command(name = "meshexternalservices", aliases = ["meshexternalservice", "extsvc"], after_help = "Examples:
  meshspan inspect meshexternalservices
  meshspan inspect meshexternalservice bank")]
    MeshExternalServices(NamedServicesArgs),
    /// A policy of any kind.
    #[command(flatten)]
    Policy(PolicyCommand),
}

/// How to print.
#[derive(Debug, Args)]
pub struct OutputArgs {
    /// How to print
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    pub output: Format,
}

/// Which meshes.
#[derive(Debug, Args)]
pub struct MeshArgs {
    /// Mesh
    #[arg(short, long, value_name = "MESH", default_value = DEFAULT_MESH)]
    pub mesh: String,
    /// All meshes
    #[arg(short = 'A', long, conflicts_with = "mesh")]
    pub all_meshes: bool,
}

impl MeshArgs {
    /// The one mesh, or `None` for all.
    fn one(&self) -> Option<&str> {
        (!self.all_meshes).then_some(self.mesh.as_str())
    }
}

/// Arguments of `inspect services`.
#[derive(Debug, Args)]
pub struct ServicesArgs {
    /// Which meshes.
    #[command(flatten)]
    pub mesh: MeshArgs,
    /// How to print.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// Arguments of `inspect meshservices`, `inspect meshmultizoneservices` and `inspect meshexternalservices`.
#[derive(Debug, Args)]
pub struct NamedServicesArgs {
    /// Only this one, in full: its display name or the name that `meshspan get` shows
    #[arg(value_name = "NAME", conflicts_with = "all_meshes")]
    pub name: Option<String>,
    /// What.
    #[command(flatten)]
    pub services: ServicesArgs,
}

/// Carries out `inspect`.
///
/// # Errors
/// When the control plane cannot be reached or refuses, or sends what no table can show.
pub async fn inspect(args: &InspectArgs, client: &Client, console: &mut Console<'_>) -> anyhow::Result<Outcome> {
    match &args.command {
        InspectCommand::Dataplanes(args) => dataplanes::inspect(args, client, console).await?,
        InspectCommand::Zones(args) => zones::inspect(args, client, console).await?,
        InspectCommand::ZoneIngresses(args) => zone_proxies::inspect(Sort::Ingress, args, client, console).await?,
        InspectCommand::ZoneEgresses(args) => zone_proxies::inspect(Sort::Egress, args, client, console).await?,
        InspectCommand::Meshes(args) => meshes::inspect(args.output, client, console).await?,
        InspectCommand::Services(args) => services::inspect(args, client, console).await?,
        InspectCommand::MeshServices(args) => mesh_services::inspect(args, client, console).await?,
        InspectCommand::MeshMultiZoneServices(args) => multi_zone_services::inspect(args, client, console).await?,
        InspectCommand::MeshExternalServices(args) => external_services::inspect(args, client, console).await?,
        InspectCommand::Policy(command) => policy::inspect(command, client, console).await?,
    }
    Ok(Outcome::Done)
}

/// The services that the arguments ask for: all of a kind, or those of one name.
async fn services_asked_for(kind: Kind, args: &NamedServicesArgs, client: &Client) -> anyhow::Result<Vec<Value>> {
    let mesh = &args.services.mesh;
    let Some(name) = &args.name else {
        return Ok(client.list(&collection(kind, mesh.one()), &[]).await?);
    };
    let found = find(kind, &mesh.mesh, name, client).await?;
    if found.is_empty() {
        let (mesh, list) = (&mesh.mesh, kind.info().path);
        bail!("there is no {kind} {name} in mesh {mesh}: see `meshspan inspect {list} -m {mesh}`");
    }
    Ok(found)
}

/// A field of a document as a type of the model; its default when the field is absent.
fn typed<T: DeserializeOwned + Default>(document: &Value, field: &str) -> anyhow::Result<T> {
    match document.get(field) {
        None | Some(Value::Null) => Ok(T::default()),
        Some(value) => serde_json::from_value(value.clone()).with_context(|| {
            let kind = text(document, "type");
            let name = text(document, "name");
            format!("field {field:?} of {kind} {name} cannot be understood; is the control plane of another version?")
        }),
    }
}

fn text(document: &Value, field: &str) -> String {
    document
        .get(field)
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned()
}

/// What the control plane that has a proxy finds wrong with it: as it says itself, or as it wrote into the insight for others.
fn proxy_problems(overview: &Value) -> impl Iterator<Item = String> {
    let noted = ["dataplaneInsight", "zoneIngressInsight", "zoneEgressInsight"].into_iter();
    let noted = || noted.clone().find_map(|insight| overview.get(insight)?.get("problems"));
    let problems = overview.get("problems").or_else(noted);
    let problems = problems.and_then(Value::as_array).into_iter().flatten();
    problems.filter_map(Value::as_str).map(str::to_owned)
}

/// A label of a document, or "".
fn label(document: &Value, key: &str) -> String {
    let label = document.get("labels").and_then(|labels| labels.get(key));
    label.and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// The overviews of a kind: resource and insight.
fn overview_path(kind: Kind, mesh: Option<&str>) -> String {
    format!("{}/_overview", collection(kind, mesh))
}

/// To the second, in UTC.
fn calendar(time: OffsetDateTime) -> String {
    let format = format_description!("[year]-[month]-[day] [hour]:[minute]:[second]");
    time.to_offset(time::UtcOffset::UTC).format(format).unwrap_or_default()
}
