//! `inspect zones`.

use anyhow::bail;
use clap::Args;
use meshspan_model::Kind;
use meshspan_model::kinds::zone::Zone;
use meshspan_model::kinds::zone_insight::{ZoneInsight, ZoneRejection};
use serde_json::Value;
use time::OffsetDateTime;

use super::service_text::{write_fields, write_notes, write_section};
use super::{OutputArgs, calendar, overview_path, subscriptions, text, typed};
use crate::age::age;
use crate::client::{Client, item};
use crate::console::Console;
use crate::output::{Format, list_document, write_document};
use crate::table::Table;

/// Arguments of `inspect zones`.
#[derive(Debug, Args)]
pub struct ZonesArgs {
    /// Only this one, in full
    #[arg(value_name = "NAME")]
    pub name: Option<String>,
    /// How to print.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// A zone's control plane knows itself, but not whether the global one sees it.
const OWN: &str = "this is the control plane of the zone itself; the global one knows whether it is connected";

pub(super) async fn inspect(args: &ZonesArgs, client: &Client, console: &mut Console<'_>) -> anyhow::Result<()> {
    let format = args.output.output;
    let own = own_zone(client).await?;
    if let Some(name) = &args.name {
        return inspect_one(name, own.as_deref(), format, client, console).await;
    }
    let overviews = client.list(&overview_path(Kind::Zone, None), &[]).await?;
    if write_document(console.out, format, &list_document(&overviews))? {
        return Ok(());
    }
    let mut table = Table::new([
        "NAME",
        "STATUS",
        "LAST CONNECTED AGO",
        "LAST UPDATED AGO",
        "TOTAL UPDATES",
        "TOTAL ERRORS",
        "ZONE-CP VERSION",
        "BACKEND",
    ])
    .optional(["BACKEND", "TOTAL UPDATES", "LAST UPDATED AGO", "ZONE-CP VERSION"]);
    let mut remarks = Vec::new();
    for overview in &overviews {
        table.add(row(overview, own.as_deref(), console.now)?);
        let name = text(overview, "name");
        if own.as_ref() == Some(&name) {
            remarks.push(format!("{name}: {OWN}"));
        }
        let insight: ZoneInsight = typed(overview, "zoneInsight")?;
        if own.as_ref() != Some(&name) {
            remarks.extend(end_of(&insight, console.now).map(|end| format!("{name}: {end}")));
        }
        remarks.extend(refusal(&name, refused(&insight)));
    }
    console.table(&table, format, "no zone has connected to this control plane")?;
    write_notes(console.out, &remarks)?;
    Ok(())
}

/// The zone whose control plane is asked; `None` for a global one, or one that does not say.
async fn own_zone(client: &Client) -> anyhow::Result<Option<String>> {
    match client.get("/").await {
        Err(error) if error.is_not_found() => Ok(None),
        index => {
            let zone = text(&index?, "zone");
            Ok((!zone.is_empty()).then_some(zone))
        }
    }
}

async fn inspect_one(
    name: &str,
    own: Option<&str>,
    format: Format,
    client: &Client,
    console: &mut Console<'_>,
) -> anyhow::Result<()> {
    let Some(overview) = client
        .find(&format!("{}/_overview", item(Kind::Zone, "", name)))
        .await?
    else {
        bail!("there is no zone {name}: see `meshspan inspect zones`");
    };
    if write_document(console.out, format, &overview)? {
        return Ok(());
    }
    let insight: ZoneInsight = typed(&overview, "zoneInsight")?;
    let row = row(&overview, own, console.now)?;
    let titles = [
        "Name",
        "Status",
        "Connected ago",
        "Updated ago",
        "Updates",
        "Errors",
        "Version",
        "Store",
    ];
    let mut fields: Vec<_> = titles.into_iter().zip(row).collect();
    let newest = subscriptions::newest(&insight.subscriptions);
    let instance = newest.map(|subscription| subscription.zone_instance_id.clone());
    fields.push(("Instance", instance.unwrap_or_default()));
    let expires = newest.and_then(|subscription| subscription.token_expires);
    fields.push(("Token until", expires.map(calendar).unwrap_or_default()));
    let note = match own == Some(name) {
        true => Some(OWN.to_owned()),
        false => end_of(&insight, console.now),
    };
    fields.push(("Notes", note.unwrap_or_default()));
    write_fields(console.out, &fields)?;
    if own.is_some() {
        // Only the global knows.
        return Ok(());
    }
    let mut table = Table::new(["RESOURCE", "REASON"]);
    for ZoneRejection { name, message, .. } in refused(&insight) {
        table.add(vec![name.clone(), message.clone()]);
    }
    write_section(console.out, "Refused of it by the global control plane", &table)?;
    Ok(())
}

/// Since when a zone is not connected, and why.
fn end_of(insight: &ZoneInsight, now: OffsetDateTime) -> Option<String> {
    let (end, reason) = insight.last_end()?;
    let since = format!("not connected since {} ({} ago)", calendar(end), age(now, Some(end)));
    Some(match reason {
        "" => format!("{since}: see the log of its control plane"),
        reason => format!("{since}: {reason}"),
    })
}

/// What the global refuses of a zone, as it last was.
fn refused(insight: &ZoneInsight) -> &[ZoneRejection] {
    subscriptions::newest(&insight.subscriptions).map_or(&[], |subscription| subscription.status.rejections.as_slice())
}

/// What to say below a table of zones.
fn refusal(zone: &str, refused: &[ZoneRejection]) -> Option<String> {
    let (ZoneRejection { name, message, .. }, others) = refused.split_first()?;
    let more = match others.len() {
        0 => String::new(),
        more => format!("; and {more} more, see `meshspan inspect zone {zone}`"),
    };
    Some(format!(
        "{zone}: the global control plane refuses {name}: {message}{more}"
    ))
}

fn row(overview: &Value, own: Option<&str>, now: OffsetDateTime) -> anyhow::Result<Vec<String>> {
    let zone: Zone = typed(overview, "zone")?;
    let insight: ZoneInsight = typed(overview, "zoneInsight")?;
    let name = text(overview, "name");
    let status = match (zone.is_enabled(), insight.is_online()) {
        (true, false) if own == Some(&name) => "Unknown",
        (false, _) => "Disabled",
        (true, true) => "Online",
        (true, false) => "Offline",
    };
    let mut row = vec![name, status.to_owned()];
    row.extend(subscriptions::cells(&insight.subscriptions, now));
    let newest = subscriptions::newest(&insight.subscriptions);
    let version = newest.and_then(|subscription| subscription.version.as_ref());
    row.push(
        version
            .map(|version| version.kuma_cp.version.clone())
            .unwrap_or_default(),
    );
    row.push(
        newest
            .map(|subscription| store_type(&subscription.config))
            .unwrap_or_default(),
    );
    Ok(row)
}

/// `store.type` of a zone's configuration, which it sends as a JSON string.
fn store_type(config: &str) -> String {
    let config: Value = serde_json::from_str(config).unwrap_or_default();
    config
        .pointer("/store/type")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned()
}
