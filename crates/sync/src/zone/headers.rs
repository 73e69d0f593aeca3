//! Headers of a zone's calls (`spec/zone-sync.md` §1.4), and ours beside them.

use tonic::metadata::errors::InvalidMetadataValue;
use tonic::metadata::{AsciiMetadataValue, MetadataMap};

use super::ZoneOptions;
use crate::feature::Feature;

/// Ours: names the connection, so that the global knows which streams belong together.
pub(crate) const CONNECTION: &str = "meshspan-connection";
/// Ours: instance id of the zone's control plane, so that two with one zone name are noticed.
pub(crate) const INSTANCE: &str = "meshspan-instance";
/// Ours, in answers to health checks: the global can be asked often.
pub(crate) const GLOBAL: &str = "meshspan-global";

/// Ours, of both sides: the largest message that is taken, in bytes.
pub(crate) const MAX_MESSAGE_SIZE: &str = "meshspan-max-message-size";

/// The headers of all calls of one connection.
pub(super) fn of(
    options: &ZoneOptions,
    connection: &str,
    token: Option<&str>,
) -> Result<MetadataMap, InvalidMetadataValue> {
    let mut headers = MetadataMap::new();
    let value = |text: &str| AsciiMetadataValue::try_from(text);
    headers.insert("client-id", value(&options.zone)?);
    headers.insert("kds-version", AsciiMetadataValue::from_static("v3"));
    for feature in Feature::OF_HEADER {
        headers.append("features", AsciiMetadataValue::from_static(feature.name()));
    }
    headers.insert("version", value(&options.about.version.version)?);
    headers.insert(CONNECTION, value(connection)?);
    if !options.about.instance_id.is_empty() {
        headers.insert(INSTANCE, value(&options.about.instance_id)?);
    }
    headers.insert(MAX_MESSAGE_SIZE, options.max_message.into());
    if let Some(token) = token {
        let mut token = value(token)?;
        token.set_sensitive(true);
        headers.insert("authorization", token);
    }
    Ok(headers)
}
