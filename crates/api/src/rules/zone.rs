//! Zone: one that is connected must stay.

use meshspan_model::kinds::zone_insight::ZoneInsight;
use meshspan_model::{Kind, Resource, ResourceKey, Violations};
use meshspan_store::Snapshot;

pub(super) fn before_delete(snapshot: &Snapshot, resource: &Resource) -> Result<(), Violations> {
    let insight = snapshot
        .get(&ResourceKey::new(Kind::ZoneInsight, "", resource.name.as_str()))
        .and_then(|stored| stored.resource.parse::<ZoneInsight>().ok());
    if insight.is_some_and(|insight| insight.is_online()) {
        return Err(Violations::one("zone", "is connected; stop its control plane first"));
    }
    Ok(())
}
