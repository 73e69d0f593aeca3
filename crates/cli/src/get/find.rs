//! Resources by the name that a user gave them.

use meshspan_model::{Kind, labels};
use serde_json::Value;

use crate::client::{Client, ClientError, collection, item};

/// The resource with this core name, else all with this display name: copies from another control plane have a hashed name
/// (`spec/resources.md` §1.4), but people know only the one they gave.
///
/// # Errors
/// When the control plane cannot be reached or refuses.
pub(crate) async fn find(kind: Kind, mesh: &str, name: &str, client: &Client) -> Result<Vec<Value>, ClientError> {
    if let Some(resource) = client.find(&item(kind, mesh, name)).await? {
        return Ok(vec![resource]);
    }
    // A hashed name starts with the display name, cut where it is very long; the filter is a substring of the core name.
    let filter: String = name.chars().take(200).collect();
    let listed = client.list(&collection(kind, Some(mesh)), &[("name", &filter)]).await;
    let mut resources = match listed {
        Err(error) if error.is_not_found() => return Ok(Vec::new()),
        other => other?,
    };
    resources.retain(|resource| display_name(resource) == name);
    Ok(resources)
}

/// The name that a user gave: label `kuma.io/display-name`, else the core name.
pub(crate) fn display_name(resource: &Value) -> &str {
    let label = resource.get("labels").and_then(|given| given.get(labels::DISPLAY_NAME));
    label
        .or_else(|| resource.get("name"))
        .and_then(Value::as_str)
        .unwrap_or_default()
}
