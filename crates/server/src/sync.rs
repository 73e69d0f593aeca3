//! Zone synchronisation as part of the process: which side runs, and what it is told.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use meshspan_api::tokens::trust;
use meshspan_identity::SigningKey;
use meshspan_identity::token::{ZoneScope, validate_zone_token};
use meshspan_model::kinds::zone_insight::CpVersion;
use meshspan_store::Store;
use meshspan_sync::About;
use meshspan_sync::global::{GlobalOptions, GlobalSync};
use meshspan_sync::zone::{Trust, ZoneOptions, ZoneSync};
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;

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
    if settings.multizone.global.kds.auth.auth_type == KdsAuthType::CpToken {
        let store = store.clone();
        options.check_token = Some(Arc::new(move |zone: &str, token: &str| {
            let trust = trust::zone(&store.snapshot(), false).map_err(|error| error.to_string())?;
            let token =
                validate_zone_token(token, &trust, OffsetDateTime::now_utc()).map_err(|error| error.to_string())?;
            token
                .claims
                .authorize(zone, ZoneScope::ControlPlane)
                .map_err(|error| error.to_string())
        }));
    }
    GlobalSync::start(store, options, stop)
        .await
        .context("zone synchronisation")
}

/// The zone side of a federated zone.
pub fn zone(store: Arc<dyn Store>, settings: &Settings, instance_id: &str, config: String) -> Result<ZoneSync> {
    let zone = &settings.multizone.zone;
    let about = About {
        instance_id: instance_id.to_owned(),
        version: version(),
        config,
    };
    let mut options = ZoneOptions::new(zone.name.as_str(), about, zone.global_address.as_str());
    options.trust = match zone.kds.root_ca_file.as_str() {
        _ if zone.kds.tls_skip_verify => Trust::SkipVerify,
        "" => Trust::System,
        path => Trust::File(PathBuf::from(path)),
    };
    if !zone.kds.auth_cp_token_path.is_empty() {
        let path = &zone.kds.auth_cp_token_path;
        let token = std::fs::read_to_string(path)
            .with_context(|| format!("multizone.zone.kds.authCpTokenPath: cannot read {path}"))?;
        options.token = Some(token.trim().to_owned());
    }
    ZoneSync::new(options, store).context("multizone.zone.globalAddress")
}

fn version() -> CpVersion {
    CpVersion {
        version: crate::COMPATIBLE_VERSION.to_owned(),
        ..CpVersion::default()
    }
}
