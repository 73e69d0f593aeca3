//! `inspect zone-ingresses`.

use anyhow::bail;
use clap::Args;
use meshspan_model::Kind;
use meshspan_model::kinds::dataplane_insight::{ZoneIngressInsight, is_online};
use meshspan_model::kinds::zone_ingress::ZoneIngress;
use serde_json::Value;
use time::OffsetDateTime;

use super::lost_zones::{LostZones, is_of_another_zone};
use super::proxy::{self, Details, ProxyQuestion};
use super::service_text::{write_fields, write_notes};
use super::{OutputArgs, overview_path, proxy_problems, subscriptions, text, typed};
use crate::client::{Client, item, segment};
use crate::console::Console;
use crate::get::one;
use crate::output::{Format, list_document, write_document};
use crate::table::Table;

/// Arguments of `inspect zone-ingresses`.
#[derive(Debug, Args)]
pub struct ZoneIngressesArgs {
    /// Only this one, in full: its display name or the name that `meshspan get` shows
    #[arg(value_name = "NAME")]
    pub name: Option<String>,
    /// What its Envoy says, where the control plane passes that on: config-dump, stats or clusters
    #[arg(long = "type", value_name = "TYPE", hide = true, requires = "name", value_parser = question)]
    pub question: Option<ProxyQuestion>,
    /// How to print.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// Of what can be asked about a Dataplane, zone ingresses know a part.
fn question(text: &str) -> Result<ProxyQuestion, String> {
    match text {
        "config-dump" => Ok(ProxyQuestion::ConfigDump),
        "stats" => Ok(ProxyQuestion::Stats),
        "clusters" => Ok(ProxyQuestion::Clusters),
        _ => Err("must be config-dump, stats or clusters".to_owned()),
    }
}

pub(super) async fn inspect(
    args: &ZoneIngressesArgs,
    client: &Client,
    console: &mut Console<'_>,
) -> anyhow::Result<()> {
    if let (Some(name), Some(question)) = (&args.name, args.question) {
        // Not the path of the resource: this one has no dash (`spec/http-api.md` §2.3).
        let proxy = format!("/zoneingresses/{}", segment(name));
        return proxy::show(
            &proxy,
            question,
            Details::default(),
            args.output.output,
            client,
            console,
        )
        .await;
    }
    if let Some(name) = &args.name {
        return inspect_one(name, args.output.output, client, console).await;
    }
    let overviews = client.list(&overview_path(Kind::ZoneIngress, None), &[]).await?;
    if write_document(console.out, args.output.output, &list_document(&overviews))? {
        return Ok(());
    }
    // The last two are ours: without a public address no other zone can enter.
    let mut table = Table::new([
        "NAME",
        "STATUS",
        "LAST CONNECTED AGO",
        "LAST UPDATED AGO",
        "TOTAL UPDATES",
        "TOTAL ERRORS",
        "KUMA-DP VERSION",
        "ENVOY VERSION",
        "ZONE",
        "PUBLIC ADDRESS",
    ])
    .optional([
        "KUMA-DP VERSION",
        "TOTAL UPDATES",
        "LAST UPDATED AGO",
        "ENVOY VERSION",
        "LAST CONNECTED AGO",
    ]);
    let lost = LostZones::of(&overviews, client, console.now).await?;
    let mut remarks = Vec::new();
    for overview in &overviews {
        let row = row(overview, console.now)?;
        let notes = notes(overview, &lost);
        remarks.extend(notes.iter().map(|note| format!("{}: {note}", text(overview, "name"))));
        table.add(row);
    }
    console.table(
        &table,
        args.output.output,
        "no zone ingress: without one, other zones cannot enter a zone",
    )?;
    write_notes(console.out, &remarks)?;
    Ok(())
}

fn notes(overview: &Value, lost: &LostZones) -> Vec<String> {
    let connection = match is_of_another_zone(overview) {
        true => Some("it is in another zone; whether it is connected there, the global control plane knows".to_owned()),
        false => lost.note(overview),
    };
    let ingress = typed::<ZoneIngress>(overview, "zoneIngress");
    let is_closed = ingress.is_ok_and(|ingress| ingress.public_address().is_none());
    let closed = is_closed.then(|| {
        "it has no public address, so other zones cannot enter here: set networking.advertisedAddress and advertisedPort (they are \
         announced once its Envoy listens)"
            .to_owned()
    });
    connection
        .into_iter()
        .chain(closed)
        .chain(proxy_problems(overview))
        .collect()
}

async fn inspect_one(name: &str, format: Format, client: &Client, console: &mut Console<'_>) -> anyhow::Result<()> {
    let found = one(Kind::ZoneIngress, "", name, client).await?;
    let core_name = text(&found, "name");
    let path = format!("{}/_overview", item(Kind::ZoneIngress, "", &core_name));
    let Some(overview) = client.find(&path).await? else {
        bail!("there is no zone ingress {name}: see `meshspan inspect zone-ingresses`");
    };
    if write_document(console.out, format, &overview)? {
        return Ok(());
    }
    let lost = LostZones::of(std::slice::from_ref(&overview), client, console.now).await?;
    let titles = [
        "Name",
        "Status",
        "Connected ago",
        "Updated ago",
        "Updates",
        "Errors",
        "Agent",
        "Envoy",
        "Zone",
        "Public address",
    ];
    let mut fields: Vec<_> = titles.into_iter().zip(row(&overview, console.now)?).collect();
    let ingress: ZoneIngress = typed(&overview, "zoneIngress")?;
    let networking = &ingress.networking;
    fields.push(("Listens on", format!("{}:{}", networking.address, networking.port)));
    fields.push(("Notes", notes(&overview, &lost).join("; ")));
    write_fields(console.out, &fields)?;
    Ok(())
}

fn row(overview: &Value, now: OffsetDateTime) -> anyhow::Result<Vec<String>> {
    let ingress: ZoneIngress = typed(overview, "zoneIngress")?;
    let insight: ZoneIngressInsight = typed(overview, "zoneIngressInsight")?;
    let status = if is_online(&insight.subscriptions) {
        "Online"
    } else if is_of_another_zone(overview) {
        "Unknown"
    } else {
        "Offline"
    };
    let mut row = vec![text(overview, "name"), status.to_owned()];
    row.extend(subscriptions::cells(&insight.subscriptions, now));
    let version = subscriptions::newest(&insight.subscriptions)
        .and_then(|subscription| subscription.version.clone())
        .unwrap_or_default();
    let public = ingress
        .public_address()
        .map(|(address, port)| match address.contains(':') {
            true => format!("[{address}]:{port}"),
            false => format!("{address}:{port}"),
        });
    row.extend([
        version.kuma_dp.version,
        version.envoy.version,
        ingress.zone,
        public.unwrap_or_default(),
    ]);
    Ok(row)
}
