//! Zone synchronisation as part of the process: which side runs, and what it is told.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use meshspan_api::rules::secret::check_content;
use meshspan_api::tokens::trust;
use meshspan_identity::SigningKey;
use meshspan_identity::token::{ZoneScope, validate_zone_token};
use meshspan_model::kinds::zone_insight::CpVersion;
use meshspan_model::{Kind, Resource};
use meshspan_store::Store;
use meshspan_sync::About;
use meshspan_sync::global::{CheckToken, CheckVip, GlobalOptions, GlobalSync};
use meshspan_sync::zone::{Trust, ZoneOptions, ZoneSync, ZoneToken};
use meshspan_world::VipRange;
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;

use crate::listener::{Limit, Purpose, open_files};
use crate::settings::{KdsAuthType, Settings};

/// Starts the global side.
pub async fn global(
    store: Arc<dyn Store>,
    settings: &Settings,
    instance_id: &str,
    stop: CancellationToken,
) -> Result<GlobalSync> {
    let about = About {
        instance_id: instance_id.to_owned(),
        version: version(),
        config: String::new(),
    };
    let public_key_of = Arc::new(|key: &[u8]| {
        let key = SigningKey::from_bytes(key).map_err(|error| error.to_string())?;
        Ok(key.verification_key().to_pem().into_bytes())
    });
    let mut options = GlobalOptions::new(about, public_key_of);
    options.max_message = settings.multizone.global.kds.max_msg_size;
    options.check_vip = check_vip(settings)?;
    // A global has zones where others have proxies.
    options.max_connections = Limit::share(Purpose::DataPlane, open_files()).total;
    match settings.multizone.global.kds.auth.auth_type {
        KdsAuthType::CpToken => options.check_token = Some(check_token(store.clone())),
        KdsAuthType::None => tracing::warn!(
            "zones need no token (KUMA_MULTIZONE_GLOBAL_KDS_AUTH_TYPE=none): whoever reaches port {} and says the name of a zone gets the keys of \
             all meshes, and can take that zone's services away; let zones show tokens of scope cp, or let only zones reach this port",
            settings.multizone.global.kds.grpc_port
        ),
    }
    GlobalSync::start(store, options, stop)
        .await
        .context("zone synchronisation")
}

/// Zones may have ranges of their own, but none may give a service an address that is of another kind here.
fn check_vip(settings: &Settings) -> Result<CheckVip> {
    let ipam = &settings.ipam;
    let ranges = [
        (Kind::MeshService, &ipam.mesh_service.cidr),
        (Kind::MeshExternalService, &ipam.mesh_external_service.cidr),
        (Kind::MeshMultiZoneService, &ipam.mesh_multi_zone_service.cidr),
    ];
    let ranges = ranges
        .into_iter()
        .map(|(kind, cidr)| Ok((kind, cidr.clone(), VipRange::parse(cidr)?)))
        .collect::<Result<Vec<_>>>()?;
    Ok(Arc::new(move |kind, address| {
        let contains = |(_, _, range): &&(Kind, String, VipRange)| range.contains(address);
        match ranges.iter().find(contains) {
            Some((other, cidr, _)) if *other != kind => Err(format!(
                "lies in {cidr}, the range of each {other}: let all control planes have the same ranges (KUMA_IPAM_*_CIDR)"
            )),
            _ => Ok(()),
        }
    }))
}

/// Tokens are signed here, so that the keys are those of the store as it is now.
fn check_token(store: Arc<dyn Store>) -> CheckToken {
    Arc::new(move |zone: &str, token: &str| {
        let trust = trust::zone(&store.snapshot(), false);
        let token = validate_zone_token(token, &trust, OffsetDateTime::now_utc()).map_err(|error| error.to_string())?;
        let authorized = token.claims.authorize(zone, ZoneScope::ControlPlane);
        authorized.map_err(|error| error.to_string())?;
        Ok(token.expires_at)
    })
}

/// The zone side of a federated zone.
pub fn zone(store: Arc<dyn Store>, settings: &Settings, instance_id: &str, config: String) -> Result<ZoneSync> {
    let zone = &settings.multizone.zone;
    let about = About {
        instance_id: instance_id.to_owned(),
        version: version(),
        config,
    };
    // As for what users write here.
    let check_secret = Arc::new(|secret: &Resource| check_content(secret).map_err(|violations| violations.to_string()));
    let mut options = ZoneOptions::new(zone.name.as_str(), about, zone.global_address.as_str(), check_secret);
    options.trust = match zone.kds.root_ca_file.as_str() {
        _ if zone.kds.tls_skip_verify => Trust::SkipVerify,
        "" => Trust::System,
        path => Trust::File(PathBuf::from(path)),
    };
    // A wrong name of a file is said at once; later a missing file may be one that is being replaced.
    options.trust.check()?;
    let auth = &zone.kds.auth;
    options.token = match (auth.cp_token_path.as_str(), auth.cp_token_inline.as_str()) {
        ("", "") => None,
        ("", token) => Some(ZoneToken::Inline(token.to_owned())),
        (path, _) => Some(ZoneToken::File(PathBuf::from(path))),
    };
    if let Some(token) = &options.token {
        token.read().map_err(anyhow::Error::msg)?;
    }
    options.max_message = zone.kds.max_msg_size;
    ZoneSync::new(options, store).context("multizone.zone.globalAddress")
}

fn version() -> CpVersion {
    CpVersion {
        version: crate::COMPATIBLE_VERSION.to_owned(),
        ..CpVersion::default()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_address_of_another_kind_is_refused_and_one_of_a_zones_own_range_is_not() {
        let check = check_vip(&Settings::default()).unwrap();
        let check = |kind, address: &str| check(kind, address.parse().unwrap());
        assert_eq!(check(Kind::MeshService, "241.0.0.1"), Ok(()));
        assert_eq!(check(Kind::MeshService, "10.9.0.1"), Ok(()));
        assert_eq!(check(Kind::MeshMultiZoneService, "243.175.189.101"), Ok(()));
        let refused = check(Kind::MeshService, "243.175.189.101").unwrap_err();
        assert!(
            refused.starts_with("lies in 243.0.0.0/8, the range of each MeshMultiZoneService"),
            "{refused}"
        );
    }
}
