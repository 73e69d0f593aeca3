//! Who calls: headers of a zone's request (`spec/zone-sync.md` §1.4).

use std::collections::BTreeSet;
use std::net::SocketAddr;

use meshspan_model::name;
use tonic::metadata::MetadataMap;
use tonic::{Request, Status};

use super::authorization::ShownToken;
use crate::MAX_MESSAGE;
use crate::feature::Feature;
use crate::text::bounded;
use crate::zone::headers::{CONNECTION, INSTANCE, MAX_MESSAGE_SIZE};

/// Longest id of an instance or a connection, in bytes.
const MAX_ID: usize = 300;

/// Address of the peer; a server that mounts the routes itself puts it into the extensions of each request.
#[derive(Clone, Copy, Debug)]
pub struct PeerAddress(pub SocketAddr);

/// The calling zone.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    pub(super) zone: String,
    pub(super) features: BTreeSet<Feature>,
    /// Tells connections of one zone apart; named by our zones, empty for others: between them and us there may be
    /// proxies that spread the streams of one zone over several connections.
    pub(super) connection: String,
    /// Instance id of the control plane, if it names one in the header as ours do.
    pub(super) instance: Option<String>,
    pub(super) address: String,
    pub(super) token: Option<ShownToken>,
    /// Largest message that the zone takes, in bytes.
    pub(super) max_message: usize,
}

impl Caller {
    pub(super) fn of<T>(request: &Request<T>) -> Result<Self, Status> {
        let metadata = request.metadata();
        let zone = text(metadata, "client-id")
            .ok_or_else(|| Status::invalid_argument("request header \"client-id\" must name the zone"))?;
        name::check_subdomain(zone)
            .and_then(|()| {
                if zone.len() > name::MAX_LABEL {
                    Err(format!(
                        "has {} characters, must be at most {}",
                        zone.len(),
                        name::MAX_LABEL
                    ))
                } else {
                    Ok(())
                }
            })
            .map_err(|reason| {
                Status::invalid_argument(format!(
                    "zone name \"{}\" in request header \"client-id\" is not valid: {}",
                    bounded(zone, MAX_ID),
                    bounded(&reason, MAX_ID)
                ))
            })?;
        let token = text(metadata, "authorization").map(|token| token.strip_prefix("Bearer ").unwrap_or(token));
        let address = request
            .extensions()
            .get::<PeerAddress>()
            .map(|address| address.0)
            .or_else(|| request.remote_addr());
        let address = address.map(|address| address.to_string()).unwrap_or_default();
        Ok(Self {
            zone: zone.to_owned(),
            features: Feature::parse_all(
                metadata
                    .get_all("features")
                    .iter()
                    .filter_map(|value| value.to_str().ok()),
            ),
            connection: bounded(text(metadata, CONNECTION).unwrap_or_default(), MAX_ID),
            instance: text(metadata, INSTANCE).map(|instance| bounded(instance, MAX_ID)),
            address,
            token: token.map(|token| ShownToken(token.trim().to_owned())),
            max_message: text(metadata, MAX_MESSAGE_SIZE)
                .and_then(|size| size.parse().ok())
                .unwrap_or(MAX_MESSAGE),
        })
    }
}

fn text<'a>(metadata: &'a MetadataMap, key: &str) -> Option<&'a str> {
    metadata
        .get(key)
        .and_then(|value| value.to_str().ok())
        .filter(|value| !value.is_empty())
}
