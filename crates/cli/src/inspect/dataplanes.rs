//! `inspect dataplanes`.

use std::collections::BTreeSet;

use anyhow::bail;
use clap::{Args, ValueEnum};
use meshspan_model::kinds::dataplane::{Dataplane, InboundState};
use meshspan_model::kinds::dataplane_insight::{DataplaneInsight, ProxyVersion, is_online};
use meshspan_model::{Kind, ServiceKind, labels};
use serde_json::Value;
use time::OffsetDateTime;

use super::lost_zones::LostZones;
use super::proxy::{self, Details, ProxyQuestion};
use super::service_text::{write_fields, write_notes, write_section};
use super::{MeshArgs, OutputArgs, calendar, label, overview_path, proxy_problems, subscriptions, text, typed};
use crate::age::age;
use crate::client::{Client, collection, item};
use crate::console::Console;
use crate::get::columns::tags;
use crate::get::{display_name, one};
use crate::output::{Format, list_document, write_document};
use crate::table::{Table, shown};

/// Arguments of `inspect dataplanes`.
#[derive(Debug, Args)]
pub struct DataplanesArgs {
    /// Only this one, in full: its display name or the name that `meshspan get` shows
    #[arg(value_name = "NAME", conflicts_with_all = ["all_meshes", "tags", "gateway"])]
    pub name: Option<String>,
    /// What to ask about it instead
    #[arg(long = "type", value_name = "TYPE", requires = "name")]
    pub question: Option<ProxyQuestion>,
    /// With --type policies, rules or config: as if policies labelled kuma.io/effect=shadow applied
    #[arg(long, requires = "name")]
    pub shadow: bool,
    /// With --type config: diff, the difference to what the proxy has now
    #[arg(long, value_name = "WHAT", value_parser = ["diff"], requires = "name")]
    pub include: Option<String>,
    /// What policies say of its traffic to this service, by name or host name, field by field with the policy that decided it
    #[arg(long, value_name = "SERVICE", requires = "name")]
    pub to: Option<String>,
    /// With --to: only this port, by name or number
    #[arg(long, value_name = "PORT", requires = "to")]
    pub port: Option<String>,
    /// Which meshes.
    #[command(flatten)]
    pub mesh: MeshArgs,
    /// Only proxies with this tag; may be repeated, then all must hold
    #[arg(long = "tag", value_name = "KEY=VALUE", value_parser = tag)]
    pub tags: Vec<String>,
    /// Only gateways
    #[arg(long)]
    pub gateway: bool,
    /// How to print.
    #[command(flatten)]
    pub output: OutputArgs,
}

impl DataplanesArgs {
    /// What is asked about one proxy, instead of how it is.
    fn question(&self) -> anyhow::Result<Option<ProxyQuestion>> {
        use ProxyQuestion::{Config, Policies, Rules};
        let question = self.question.or(self.to.as_ref().map(|_| Policies));
        for (flag, is_given, questions) in [
            ("--to", self.to.is_some(), &[Policies][..]),
            ("--shadow", self.shadow, &[Policies, Rules, Config]),
            ("--include", self.include.is_some(), &[Config]),
        ] {
            if is_given && !question.is_some_and(|question| questions.contains(&question)) {
                let types = questions.iter().filter_map(ValueEnum::to_possible_value);
                let types: Vec<_> = types.map(|value| value.get_name().to_owned()).collect();
                bail!("{flag} needs --type {}", types.join(" or "));
            }
        }
        Ok(question)
    }
}

/// `key=value` as the API wants it: `key:value`.
fn tag(text: &str) -> Result<String, String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok(format!("{key}:{value}")),
        _ => Err("write KEY=VALUE".to_owned()),
    }
}

/// As kumactl prints them (`spec/http-api.md` §7).
const COLUMNS: [&str; 17] = [
    "MESH",
    "NAME",
    "TAGS",
    "STATUS",
    "LAST CONNECTED AGO",
    "LAST UPDATED AGO",
    "TOTAL UPDATES",
    "TOTAL ERRORS",
    "CERT REGENERATED AGO",
    "CERT EXPIRATION",
    "CERT REGENERATIONS",
    "CERT BACKEND",
    "SUPPORTED CERT BACKENDS",
    "KUMA-DP VERSION",
    "ENVOY VERSION",
    "DEPENDENCIES VERSIONS",
    "NOTES",
];

/// What a narrow terminal can do without.
const OPTIONAL: [&str; 11] = [
    "NOTES",
    "DEPENDENCIES VERSIONS",
    "SUPPORTED CERT BACKENDS",
    "CERT REGENERATIONS",
    "CERT REGENERATED AGO",
    "KUMA-DP VERSION",
    "CERT BACKEND",
    "TOTAL UPDATES",
    "ENVOY VERSION",
    "LAST CONNECTED AGO",
    "CERT EXPIRATION",
];

pub(super) async fn inspect(args: &DataplanesArgs, client: &Client, console: &mut Console<'_>) -> anyhow::Result<()> {
    if let Some(name) = &args.name {
        return inspect_one(name, args, client, console).await;
    }
    let mut query: Vec<(&str, &str)> = args.tags.iter().map(|tag| ("tag", tag.as_str())).collect();
    if args.gateway {
        query.push(("gateway", "true"));
    }
    let overviews = client
        .list(&overview_path(Kind::Dataplane, args.mesh.one()), &query)
        .await?;
    if write_document(console.out, args.output.output, &list_document(&overviews))? {
        return Ok(());
    }
    let lost = LostZones::of(&overviews, client, console.now).await?;
    let is_narrow = console.width.is_some() && args.output.output != Format::Wide;
    let mut table = Table::new(COLUMNS).optional(OPTIONAL);
    let mut remarks = Vec::new();
    for overview in &overviews {
        let mut row = row(overview, &lost, console.now)?;
        if is_narrow && let Some(note) = row.last_mut().filter(|note| !note.is_empty()) {
            // Sentences have more room below the table.
            remarks.push(format!("{}: {}", text(overview, "name"), std::mem::take(note)));
        }
        table.add(row);
    }
    let scope = args
        .mesh
        .one()
        .map_or_else(|| "any mesh".to_owned(), |mesh| format!("mesh {mesh}"));
    console.table(&table, args.output.output, &format!("no Dataplane in {scope} fits"))?;
    write_notes(console.out, &remarks)?;
    Ok(())
}

async fn inspect_one(
    name: &str,
    args: &DataplanesArgs,
    client: &Client,
    console: &mut Console<'_>,
) -> anyhow::Result<()> {
    let mesh = &args.mesh.mesh;
    let found = one(Kind::Dataplane, mesh, name, client).await?;
    let resource = item(Kind::Dataplane, mesh, &text(&found, "name"));
    if let Some(question) = args.question()? {
        let to = match &args.to {
            Some(to) => Some(service_called(to, mesh, client).await?),
            None => None,
        };
        let details = Details {
            shadow: args.shadow,
            diff: args.include.is_some(),
            to: to.as_deref(),
            port: args.port.as_deref(),
        };
        return proxy::show(&resource, question, details, args.output.output, client, console).await;
    }
    let Some(overview) = client.find(&format!("{resource}/_overview")).await? else {
        bail!("there is no Dataplane {name} in mesh {mesh}: see `meshspan inspect dataplanes -m {mesh}`");
    };
    if write_document(console.out, args.output.output, &overview)? {
        return Ok(());
    }
    let lost = LostZones::of(std::slice::from_ref(&overview), client, console.now).await?;
    write_full(&overview, &lost, console)
}

/// A host name means the service that has it; anything else is a service's name already.
async fn service_called(to: &str, mesh: &str, client: &Client) -> anyhow::Result<String> {
    if !to.contains('.') {
        return Ok(to.to_owned());
    }
    for kind in ServiceKind::ALL.iter().map(|kind| kind.kind()) {
        let services = match client.list(&collection(kind, Some(mesh)), &[]).await {
            // Not every control plane has every kind.
            Err(error) if error.is_not_found() => continue,
            services => services?,
        };
        for service in services {
            let addresses = service.pointer("/status/addresses").and_then(Value::as_array);
            let mut names = addresses.into_iter().flatten().map(|address| text(address, "hostname"));
            if names.any(|name| name.eq_ignore_ascii_case(to)) {
                let kri = text(&service, "kri");
                return Ok(if kri.is_empty() { text(&service, "name") } else { kri });
            }
        }
    }
    // A service may well have a dot in its name.
    Ok(to.to_owned())
}

fn write_full(overview: &Value, lost: &LostZones, console: &mut Console<'_>) -> anyhow::Result<()> {
    let dataplane: Dataplane = typed(overview, "dataplane")?;
    let insight: DataplaneInsight = typed(overview, "dataplaneInsight")?;
    let [connected, updated, updates, errors] = subscriptions::cells(&insight.subscriptions, console.now);
    let version = newest_version(&insight);
    let mtls = insight.mtls.clone().unwrap_or_default();
    let fields = [
        ("Name", text(overview, "name")),
        ("Mesh", text(overview, "mesh")),
        ("Display name", display_name(overview).to_owned()),
        ("Zone", label(overview, labels::ZONE)),
        ("Status", status(&dataplane, &insight).to_owned()),
        ("Address", dataplane.dial_address().to_owned()),
        ("Connected ago", connected),
        ("Updated ago", updated),
        ("Updates", updates),
        ("Errors", errors),
        ("Certificate from", mtls.issued_backend),
        (
            "Certificate until",
            mtls.certificate_expiration_time.map(calendar).unwrap_or_default(),
        ),
        (
            "Token until",
            insight.presence.token_expires.map(calendar).unwrap_or_default(),
        ),
        ("Identities", identities(&text(overview, "mesh"), &dataplane)),
        ("Agent", version.kuma_dp.version.clone()),
        ("Envoy", version.envoy.version.clone()),
    ];
    write_fields(console.out, &fields)?;
    let notes = notes(overview, &insight, &version, lost, console.now);
    match notes.is_empty() {
        true => writeln!(console.out, "Notes: none")?,
        false => writeln!(console.out, "Notes:")?,
    }
    for note in notes {
        writeln!(console.out, "  {}", shown(&note))?;
    }
    let mut inbounds = Table::new(["PORT", "STATE", "TAGS"]);
    for inbound in &dataplane.networking.inbound {
        let state = match inbound.state {
            InboundState::Ready if insight.serves(inbound) => "Ready",
            InboundState::Ready | InboundState::NotReady => "NotReady",
            InboundState::Ignored => "Ignored",
        };
        let pairs = inbound.tags.iter().map(|(key, value)| format!("{key}={value}"));
        inbounds.add(vec![
            inbound.section(),
            state.to_owned(),
            pairs.collect::<Vec<_>>().join(" "),
        ]);
    }
    write_section(console.out, "Inbounds", &inbounds)?;
    Ok(())
}

/// What a MeshTrafficPermission calls this proxy as a client.
fn identities(mesh: &str, dataplane: &Dataplane) -> String {
    let services = dataplane.networking.inbound.iter().map(|inbound| inbound.service());
    let ids: BTreeSet<String> = services
        .filter(|service| !service.is_empty())
        .map(|service| format!("spiffe://{mesh}/{service}"))
        .collect();
    ids.into_iter().collect::<Vec<_>>().join(", ")
}

fn row(overview: &Value, lost: &LostZones, now: OffsetDateTime) -> anyhow::Result<Vec<String>> {
    let dataplane: Dataplane = typed(overview, "dataplane")?;
    let insight: DataplaneInsight = typed(overview, "dataplaneInsight")?;
    let mut row = vec![
        text(overview, "mesh"),
        text(overview, "name"),
        tags(&dataplane.tags()),
        status(&dataplane, &insight).to_owned(),
    ];
    row.extend(subscriptions::cells(&insight.subscriptions, now));
    let mtls = insight.mtls.clone().unwrap_or_default();
    row.extend([
        age(now, mtls.last_certificate_regeneration),
        mtls.certificate_expiration_time.map(calendar).unwrap_or_default(),
        mtls.certificate_regenerations.to_string(),
        mtls.issued_backend,
        mtls.supported_backends.join(","),
    ]);
    let version = newest_version(&insight);
    let dependencies = version
        .dependencies
        .iter()
        .map(|(name, version)| format!("{name}: {version}"));
    row.extend([
        version.kuma_dp.version.clone(),
        version.envoy.version.clone(),
        dependencies.collect::<Vec<_>>().join(", "),
        notes(overview, &insight, &version, lost, now).join("; "),
    ]);
    Ok(row)
}

/// Online, Offline or Partially degraded (`spec/http-api.md` §3.5).
pub(super) fn status(dataplane: &Dataplane, insight: &DataplaneInsight) -> &'static str {
    let inbounds = &dataplane.networking.inbound;
    let ready = inbounds.iter().filter(|inbound| insight.serves(inbound)).count();
    let is_gateway = dataplane.networking.gateway.is_some();
    if !is_online(&insight.subscriptions) {
        "Offline"
    } else if is_gateway || ready == inbounds.len() {
        "Online"
    } else if ready == 0 {
        "Offline"
    } else {
        "Partially degraded"
    }
}

fn newest_version(insight: &DataplaneInsight) -> ProxyVersion {
    subscriptions::newest(&insight.subscriptions)
        .and_then(|subscription| subscription.version.clone())
        .unwrap_or_default()
}

/// What an operator has to know: what is old, why inbounds are not ready or not served, whom they refused, incompatible
/// versions, and what Envoy still rejects.
fn notes(
    overview: &Value,
    insight: &DataplaneInsight,
    version: &ProxyVersion,
    lost: &LostZones,
    now: OffsetDateTime,
) -> Vec<String> {
    let mut notes: Vec<String> = lost.note(overview).into_iter().collect();
    if !insight.presence.reason.is_empty() {
        notes.push(insight.presence.reason.clone());
    }
    for path in &insight.presence.unopened_logs {
        notes.push(format!(
            "Envoy cannot open the access log {path}: nothing is written there"
        ));
    }
    for inbound in &insight.inbounds {
        let port = inbound.port;
        if !inbound.not_ready.is_empty() {
            notes.push(format!("inbound {port} is not ready: {}", inbound.not_ready));
        }
        if inbound.denied > 0 {
            let ago = age(now, inbound.last_denied);
            notes.push(format!(
                "inbound {port} refused {} connections or requests, the last {ago} ago: no MeshTrafficPermission allows their \
                 clients",
                inbound.denied
            ));
        }
    }
    notes.extend(proxy_problems(overview));
    if !version.kuma_dp.version.is_empty() && !version.kuma_dp.kuma_cp_compatible {
        notes.push("the agent's version does not fit the control plane".to_owned());
    }
    if !version.envoy.version.is_empty() && !version.envoy.kuma_dp_compatible {
        notes.push("Envoy's version does not fit the agent".to_owned());
    }
    if let Some(subscription) = subscriptions::newest(&insight.subscriptions) {
        for rejection in &subscription.status.rejections {
            let names = rejection.names.join(", ");
            notes.push(format!(
                "Envoy rejects {} {names}: {}",
                rejection.resource_type, rejection.message
            ));
        }
    }
    notes
}
