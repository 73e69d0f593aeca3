//! `inspect zone-ingresses`.

use clap::Args;
use meshspan_model::Kind;
use meshspan_model::kinds::dataplane_insight::{ZoneIngressInsight, is_online};
use meshspan_model::kinds::zone_ingress::ZoneIngress;
use serde_json::Value;
use time::OffsetDateTime;

use super::proxy::{self, Details, ProxyQuestion};
use super::{OutputArgs, overview_path, subscriptions, text, typed};
use crate::client::{Client, segment};
use crate::console::Console;
use crate::output::{list_document, write_document};
use crate::table::Table;

/// Arguments of `inspect zone-ingresses`.
#[derive(Debug, Args)]
pub struct ZoneIngressesArgs {
    /// Ask about this one
    #[arg(value_name = "NAME", requires = "question")]
    pub name: Option<String>,
    /// What to ask about it: what its Envoy says
    #[arg(long = "type", value_name = "TYPE", requires = "name", value_parser = question)]
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
    ]);
    for overview in &overviews {
        table.add(row(overview, console.now)?);
    }
    table.write(console.out, "")?;
    Ok(())
}

fn row(overview: &Value, now: OffsetDateTime) -> anyhow::Result<Vec<String>> {
    let ingress: ZoneIngress = typed(overview, "zoneIngress")?;
    let insight: ZoneIngressInsight = typed(overview, "zoneIngressInsight")?;
    let status = if is_online(&insight.subscriptions) {
        "Online"
    } else {
        "Offline"
    };
    let mut row = vec![text(overview, "name"), status.to_owned()];
    row.extend(subscriptions::cells(&insight.subscriptions, now));
    let newest = insight
        .subscriptions
        .iter()
        .max_by_key(|subscription| subscription.connect_time);
    let version = newest
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
