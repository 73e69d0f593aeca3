//! What must hold among settings before anything starts.

use std::ops::RangeInclusive;

use meshspan_model::document::MAX_DOCUMENT;
use meshspan_model::name;
use meshspan_world::VipRange;

use super::{Mode, ProxyAuth, Settings, SettingsError, interface};

/// What `maxMsgSize` may be: a message must hold the largest resource that may be written, and fit into memory.
const MESSAGE_SIZES: RangeInclusive<usize> = MAX_DOCUMENT + (1 << 20)..=1 << 30;

pub(super) fn check(settings: &Settings) -> Result<(), SettingsError> {
    let fail = |field: &str, reason: String| {
        Err(SettingsError::Value {
            field: field.to_owned(),
            reason,
        })
    };
    if settings.environment != "universal" {
        return fail(
            "environment",
            format!("is \"{}\", only universal is supported so far", settings.environment),
        );
    }
    if let Err(reason) = name::check_label(&settings.multizone.zone.name) {
        return fail("multizone.zone.name", reason);
    }
    let address = &settings.multizone.zone.global_address;
    if settings.mode == Mode::Zone
        && !address.is_empty()
        && !address.starts_with("grpcs://")
        && !address.starts_with("grpc://")
    {
        return fail(
            "multizone.zone.globalAddress",
            format!("is \"{address}\", must be like grpcs://global.example:5685"),
        );
    }
    let kds = &settings.multizone.zone.kds;
    if !kds.auth.cp_token_path.is_empty() && !kds.auth.cp_token_inline.is_empty() {
        return fail(
            "multizone.zone.kds.auth",
            "cpTokenPath and cpTokenInline are both set: keep one, better the file, which is read again when it is renewed".to_owned(),
        );
    }
    for (field, size) in [
        (
            "multizone.global.kds.maxMsgSize",
            settings.multizone.global.kds.max_msg_size,
        ),
        ("multizone.zone.kds.maxMsgSize", kds.max_msg_size),
    ] {
        if !MESSAGE_SIZES.contains(&size) {
            let (least, most) = (MESSAGE_SIZES.start(), MESSAGE_SIZES.end());
            return fail(field, format!("is {size}, must be from {least} to {most} bytes"));
        }
    }
    if let Err(reason) = meshspan_api::Cors::parse(&settings.api_server.cors_allowed_domains) {
        return fail("apiServer.corsAllowedDomains", reason);
    }
    for (field, text) in [
        ("apiServer.http.interface", &settings.api_server.http.interface),
        ("apiServer.https.interface", &settings.api_server.https.interface),
    ] {
        if interface(text).is_none() {
            return fail(field, format!("is \"{text}\", must be an IP address such as 0.0.0.0"));
        }
    }
    if settings.dp_server.authn.dp_proxy.auth_type == ProxyAuth::ZoneToken {
        return fail(
            "dpServer.authn.dpProxy.type",
            "is \"zoneToken\", must be dpToken or none".to_owned(),
        );
    }
    if settings.dp_server.authn.zone_proxy.auth_type == ProxyAuth::DpToken {
        return fail(
            "dpServer.authn.zoneProxy.type",
            "is \"dpToken\", must be zoneToken or none".to_owned(),
        );
    }
    let ipam = &settings.ipam;
    let mut ranges: Vec<(&str, VipRange)> = Vec::new();
    for (field, cidr) in [
        ("ipam.meshMultiZoneService.cidr", &ipam.mesh_multi_zone_service.cidr),
        ("ipam.meshExternalService.cidr", &ipam.mesh_external_service.cidr),
        ("ipam.meshService.cidr", &ipam.mesh_service.cidr),
    ] {
        let range = match VipRange::parse(cidr) {
            Ok(range) => range,
            Err(error) => return fail(field, error.to_string()),
        };
        if let Some((other, _)) = ranges.iter().find(|(_, other)| other.overlaps(&range)) {
            return fail(
                field,
                format!("overlaps with {other}: choose ranges that share no address"),
            );
        }
        ranges.push((field, range));
    }
    Ok(())
}
