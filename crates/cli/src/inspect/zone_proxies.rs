//! `inspect zone-ingresses` and `inspect zoneegresses`: the proxies at the edge of a zone.

use anyhow::bail;
use clap::Args;
use meshspan_model::kinds::dataplane_insight::{DiscoverySubscription, is_online};
use meshspan_model::kinds::zone_egress::ZoneEgress;
use meshspan_model::kinds::zone_ingress::ZoneIngress;
use meshspan_model::{Kind, labels};
use serde_json::Value;
use time::OffsetDateTime;

use super::lost_zones::{LostZones, is_of_another_zone};
use super::proxy::{self, Details, ProxyQuestion};
use super::service_text::{write_fields, write_notes};
use super::{OutputArgs, label, overview_path, proxy_problems, subscriptions, text, typed};
use crate::client::{Client, item, segment};
use crate::console::Console;
use crate::get::one;
use crate::output::{Format, list_document, write_document};
use crate::table::Table;

/// Arguments of `inspect zone-ingresses` and `inspect zoneegresses`.
#[derive(Debug, Args)]
pub struct ZoneProxiesArgs {
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

/// Of what can be asked about a Dataplane, proxies of zones know a part.
fn question(text: &str) -> Result<ProxyQuestion, String> {
    match text {
        "config-dump" => Ok(ProxyQuestion::ConfigDump),
        "stats" => Ok(ProxyQuestion::Stats),
        "clusters" => Ok(ProxyQuestion::Clusters),
        _ => Err("must be config-dump, stats or clusters".to_owned()),
    }
}

/// Which of the two.
#[derive(Clone, Copy)]
pub(super) enum Sort {
    /// ZoneIngress.
    Ingress,
    /// ZoneEgress.
    Egress,
}

/// What is shown of one, whatever its sort.
struct Shown {
    zone: String,
    /// Where others dial.
    address: Option<(String, u32)>,
    listens_on: (String, u32),
}

impl Sort {
    fn kind(self) -> Kind {
        match self {
            Sort::Ingress => Kind::ZoneIngress,
            Sort::Egress => Kind::ZoneEgress,
        }
    }

    /// Where its Envoy is asked: not always the path of the resource (`spec/http-api.md` §2.3).
    fn envoy_path(self) -> &'static str {
        match self {
            Sort::Ingress => "/zoneingresses",
            Sort::Egress => "/zoneegresses",
        }
    }

    /// Whom the address is for. Without one, no other zone can enter by an ingress.
    fn address_title(self) -> &'static str {
        match self {
            Sort::Ingress => "Public address",
            Sort::Egress => "Address",
        }
    }

    fn none(self) -> &'static str {
        match self {
            Sort::Ingress => "no zone ingress: without one, other zones cannot enter a zone",
            Sort::Egress => "no zone egress: without one, no MeshExternalService is reached from a zone",
        }
    }

    /// What it means that it has no address.
    fn without_address(self) -> &'static str {
        match self {
            Sort::Ingress => {
                "it has no public address, so other zones cannot enter here: set networking.advertisedAddress and advertisedPort (they are \
                 announced once its Envoy listens)"
            }
            Sort::Egress => {
                "it has no address, so no proxy of its zone can leave through it: set networking.address and networking.port"
            }
        }
    }

    fn insight_field(self) -> &'static str {
        match self {
            Sort::Ingress => "zoneIngressInsight",
            Sort::Egress => "zoneEgressInsight",
        }
    }

    fn read(self, overview: &Value) -> anyhow::Result<Shown> {
        let owned = |(address, port): (&str, u32)| (address.to_owned(), port);
        Ok(match self {
            Sort::Ingress => {
                let ingress: ZoneIngress = typed(overview, "zoneIngress")?;
                Shown {
                    address: ingress.public_address().map(owned),
                    listens_on: owned((&ingress.networking.address, ingress.networking.port)),
                    zone: ingress.zone,
                }
            }
            Sort::Egress => {
                let egress: ZoneEgress = typed(overview, "zoneEgress")?;
                Shown {
                    address: egress.address().map(owned),
                    listens_on: owned((&egress.networking.address, egress.networking.port)),
                    zone: egress.zone,
                }
            }
        })
    }

    fn connections(self, overview: &Value) -> anyhow::Result<Vec<DiscoverySubscription>> {
        #[derive(Default, serde::Deserialize)]
        #[serde(default)]
        struct Insight {
            subscriptions: Vec<DiscoverySubscription>,
        }
        Ok(typed::<Insight>(overview, self.insight_field())?.subscriptions)
    }
}

pub(super) async fn inspect(
    sort: Sort,
    args: &ZoneProxiesArgs,
    client: &Client,
    console: &mut Console<'_>,
) -> anyhow::Result<()> {
    if let (Some(name), Some(question)) = (&args.name, args.question) {
        let proxy = format!("{}/{}", sort.envoy_path(), segment(name));
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
        return inspect_one(sort, name, args.output.output, client, console).await;
    }
    let overviews = client.list(&overview_path(sort.kind(), None), &[]).await?;
    if write_document(console.out, args.output.output, &list_document(&overviews))? {
        return Ok(());
    }
    // The last two are ours.
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
    ]);
    table.add_column(&sort.address_title().to_uppercase());
    let mut table = table.optional([
        "KUMA-DP VERSION",
        "TOTAL UPDATES",
        "LAST UPDATED AGO",
        "ENVOY VERSION",
        "LAST CONNECTED AGO",
    ]);
    let lost = LostZones::of(&overviews, client, console.now).await?;
    let mut remarks = Vec::new();
    for overview in &overviews {
        let row = row(sort, overview, console.now)?;
        let notes = notes(sort, overview, &lost);
        remarks.extend(notes.iter().map(|note| format!("{}: {note}", text(overview, "name"))));
        table.add(row);
    }
    console.table(&table, args.output.output, sort.none())?;
    write_notes(console.out, &remarks)?;
    Ok(())
}

fn notes(sort: Sort, overview: &Value, lost: &LostZones) -> Vec<String> {
    let connection = match is_of_another_zone(overview) {
        true => Some("it is in another zone; whether it is connected there, the global control plane knows".to_owned()),
        false => lost.note(overview),
    };
    let has_none = sort.read(overview).is_ok_and(|shown| shown.address.is_none());
    // One that stops takes its address back first: that is no fault of its document.
    let stopped = sort
        .connections(overview)
        .is_ok_and(|connections| !connections.is_empty() && !is_online(&connections));
    let closed = match (has_none, stopped) {
        (true, false) => Some(sort.without_address().to_owned()),
        (true, true) => Some("it is not connected, so nobody dials it: start it, or see its log".to_owned()),
        (false, _) => None,
    };
    connection
        .into_iter()
        .chain(closed)
        .chain(proxy_problems(overview))
        .collect()
}

async fn inspect_one(
    sort: Sort,
    name: &str,
    format: Format,
    client: &Client,
    console: &mut Console<'_>,
) -> anyhow::Result<()> {
    let kind = sort.kind();
    let found = one(kind, "", name, client).await?;
    let core_name = text(&found, "name");
    let path = format!("{}/_overview", item(kind, "", &core_name));
    let Some(overview) = client.find(&path).await? else {
        bail!("there is no {kind} {name}: see `meshspan inspect {}`", kind.info().path);
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
        sort.address_title(),
    ];
    let mut fields: Vec<_> = titles.into_iter().zip(row(sort, &overview, console.now)?).collect();
    fields.push(("Listens on", address(&sort.read(&overview)?.listens_on)));
    fields.push(("Notes", notes(sort, &overview, &lost).join("; ")));
    write_fields(console.out, &fields)?;
    Ok(())
}

fn row(sort: Sort, overview: &Value, now: OffsetDateTime) -> anyhow::Result<Vec<String>> {
    let shown = sort.read(overview)?;
    // What a user applied in a zone need not name the zone.
    let zone = match shown.zone.is_empty() {
        true => label(overview, labels::ZONE),
        false => shown.zone,
    };
    let connections = sort.connections(overview)?;
    let status = if is_online(&connections) {
        "Online"
    } else if is_of_another_zone(overview) {
        "Unknown"
    } else {
        "Offline"
    };
    let mut row = vec![text(overview, "name"), status.to_owned()];
    row.extend(subscriptions::cells(&connections, now));
    let version = subscriptions::newest(&connections)
        .and_then(|subscription| subscription.version.clone())
        .unwrap_or_default();
    row.extend([
        version.kuma_dp.version,
        version.envoy.version,
        zone,
        shown.address.as_ref().map(address).unwrap_or_default(),
    ]);
    Ok(row)
}

fn address((host, port): &(String, u32)) -> String {
    match host.contains(':') {
        true => format!("[{host}]:{port}"),
        false => format!("{host}:{port}"),
    }
}
