//! `inspect zones`.

use meshspan_model::Kind;
use meshspan_model::kinds::zone::Zone;
use meshspan_model::kinds::zone_insight::ZoneInsight;
use serde_json::Value;
use time::OffsetDateTime;

use super::{overview_path, subscriptions, text, typed};
use crate::client::Client;
use crate::console::Console;
use crate::output::{Format, list_document, write_document};
use crate::table::Table;

pub(super) async fn inspect(format: Format, client: &Client, console: &mut Console<'_>) -> anyhow::Result<()> {
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
    ]);
    for overview in &overviews {
        table.add(row(overview, console.now)?);
    }
    table.write(console.out, "")?;
    Ok(())
}

fn row(overview: &Value, now: OffsetDateTime) -> anyhow::Result<Vec<String>> {
    let zone: Zone = typed(overview, "zone")?;
    let insight: ZoneInsight = typed(overview, "zoneInsight")?;
    let status = match (zone.is_enabled(), insight.is_online()) {
        (false, _) => "Disabled",
        (true, true) => "Online",
        (true, false) => "Offline",
    };
    let mut row = vec![text(overview, "name"), status.to_owned()];
    row.extend(subscriptions::cells(&insight.subscriptions, now));
    let newest = insight
        .subscriptions
        .iter()
        .max_by_key(|subscription| subscription.connect_time);
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
