//! Who calls: headers of a zone's request (`spec/zone-sync.md` §1.4).

use std::collections::BTreeSet;
use std::net::SocketAddr;

use meshspan_model::name;
use tonic::metadata::MetadataMap;
use tonic::{Request, Status};

use super::GlobalOptions;
use crate::feature::Feature;
use crate::zone::headers::{CONNECTION, INSTANCE};

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
    pub(super) token_provided: bool,
}

impl Caller {
    pub(super) fn of<T>(request: &Request<T>, options: &GlobalOptions) -> Result<Self, Status> {
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
                    "zone name \"{zone}\" in request header \"client-id\" is not valid: {reason}"
                ))
            })?;
        let token = text(metadata, "authorization").map(|token| token.strip_prefix("Bearer ").unwrap_or(token));
        if let Some(check) = &options.check_token {
            let token = token.ok_or_else(|| {
                Status::unauthenticated(format!(
                    "zone \"{zone}\" showed no token: give its control plane a zone token of scope \"cp\""
                ))
            })?;
            check(zone, token).map_err(|reason| {
                Status::unauthenticated(format!("the token of zone \"{zone}\" was refused: {reason}"))
            })?;
        }
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
            connection: text(metadata, CONNECTION).unwrap_or_default().to_owned(),
            instance: text(metadata, INSTANCE).map(str::to_owned),
            address,
            token_provided: token.is_some(),
        })
    }
}

fn text<'a>(metadata: &'a MetadataMap, key: &str) -> Option<&'a str> {
    metadata
        .get(key)
        .and_then(|value| value.to_str().ok())
        .filter(|value| !value.is_empty())
}
