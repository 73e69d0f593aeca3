//! Zones whose control plane is not connected to the one that is asked: what that one knows of them is old.

use std::collections::BTreeMap;

use meshspan_model::kinds::zone_insight::ZoneInsight;
use meshspan_model::{Kind, labels};
use serde_json::Value;
use time::OffsetDateTime;

use super::{label, overview_path, text, typed};
use crate::age::age;
use crate::client::Client;

/// By name, how long they are gone.
#[derive(Debug, Default)]
pub(super) struct LostZones(BTreeMap<String, String>);

impl LostZones {
    /// Asks, if one of the resources comes from a zone. A zone's own control plane knows of no other zone.
    pub(super) async fn of(resources: &[Value], client: &Client, now: OffsetDateTime) -> anyhow::Result<Self> {
        if resources
            .iter()
            .all(|resource| label(resource, labels::ZONE).is_empty())
        {
            return Ok(Self::default());
        }
        let overviews = match client.list(&overview_path(Kind::Zone, None), &[]).await {
            Err(error) if error.is_not_found() => return Ok(Self::default()),
            overviews => overviews?,
        };
        let mut lost = BTreeMap::new();
        for overview in &overviews {
            let insight: ZoneInsight = typed(overview, "zoneInsight")?;
            let ends = insight
                .subscriptions
                .iter()
                .filter_map(|subscription| subscription.disconnect_time);
            if let (false, Some(end)) = (insight.is_online(), ends.max()) {
                lost.insert(text(overview, "name"), age(now, Some(end)));
            }
        }
        Ok(Self(lost))
    }

    /// What to say of a resource from a lost zone.
    pub(super) fn note(&self, resource: &Value) -> Option<String> {
        let zone = label(resource, labels::ZONE);
        let since = self.0.get(&zone)?;
        Some(format!(
            "the control plane of zone {zone} is offline for {since}: this is as of then"
        ))
    }
}

/// True of a resource that a zone's control plane has from the global one: of its connections it knows nothing.
pub(super) fn is_of_another_zone(resource: &Value) -> bool {
    label(resource, labels::ORIGIN) == labels::ORIGIN_GLOBAL
}
