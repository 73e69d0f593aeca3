//! The hostnames that the zones give a service, for a control plane that gives none itself: the global.

use anyhow::bail;
use meshspan_model::ServiceKind;
use serde_json::Value;

use super::text;
use crate::client::{Client, item};

/// Asks for the hostnames of services, one after the other.
pub(super) struct ZoneHostnames<'a> {
    client: &'a Client,
    is_known: bool,
}

impl<'a> ZoneHostnames<'a> {
    pub(super) fn new(client: &'a Client) -> Self {
        Self { client, is_known: true }
    }

    /// The hostnames of a service, each with its zones; empty if there are none (`/_hostnames`, `spec/http-api.md` §2.4).
    pub(super) async fn of(&mut self, kind: ServiceKind, mesh: &str, core_name: &str) -> anyhow::Result<String> {
        if !self.is_known {
            return Ok(String::new());
        }
        let path = format!("{}/_hostnames", item(kind.kind(), mesh, core_name));
        let list = match self.client.list(&path, &[]).await {
            Ok(list) => list,
            // Older control planes (before 2.10) do not have it: then they do not have it for the others either.
            Err(error) if error.is_not_found() => {
                self.is_known = false;
                return Ok(String::new());
            }
            Err(error) => bail!(error),
        };
        Ok(list.iter().map(shown).collect::<Vec<_>>().join(", "))
    }
}

fn shown(entry: &Value) -> String {
    let zones = entry.get("zones").and_then(Value::as_array).into_iter().flatten();
    let zones: Vec<_> = zones.map(|zone| text(zone, "name")).collect();
    match zones.is_empty() {
        true => text(entry, "hostname"),
        false => format!("{} ({})", text(entry, "hostname"), zones.join(", ")),
    }
}
