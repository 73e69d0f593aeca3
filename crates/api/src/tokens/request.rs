//! Requests for tokens, and what they must contain.

use std::collections::{BTreeMap, BTreeSet};

use meshspan_identity::token::{DataplaneClaims, UserClaims, ZoneClaims, ZoneScope};
use meshspan_model::{Violations, duration};
use serde::Deserialize;
use time::Duration;

/// Of dataplane and zone tokens, unless said otherwise.
const TEN_YEARS: Duration = Duration::days(3650);

/// `POST /tokens/dataplane`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct DataplaneTokenRequest {
    name: String,
    mesh: String,
    tags: Option<BTreeMap<String, BTreeSet<String>>>,
    #[serde(rename = "type")]
    proxy_type: String,
    valid_for: String,
}

/// `POST /tokens/zone`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ZoneTokenRequest {
    zone: String,
    scope: Option<Vec<String>>,
    valid_for: String,
}

/// `POST /tokens/user`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct UserTokenRequest {
    name: String,
    groups: Option<Vec<String>>,
    valid_for: String,
}

impl DataplaneTokenRequest {
    pub(super) fn into_claims(self) -> Result<(DataplaneClaims, Duration), Violations> {
        let mut violations = Violations::new();
        if self.mesh.is_empty() {
            violations.add("mesh", "cannot be empty");
        }
        if !["", "dataplane", "ingress", "egress"].contains(&self.proxy_type.as_str()) {
            let reason = format!(
                "is \"{}\", must be dataplane, ingress, egress or empty",
                self.proxy_type
            );
            violations.add("type", reason);
        }
        let valid_for = lifetime(&self.valid_for, Some(TEN_YEARS), &mut violations);
        violations.into_result()?;
        let Self {
            name,
            mesh,
            tags,
            proxy_type,
            ..
        } = self;
        Ok((
            DataplaneClaims {
                name,
                mesh,
                tags: tags.unwrap_or_default(),
                proxy_type,
            },
            valid_for,
        ))
    }
}

impl ZoneTokenRequest {
    pub(super) fn into_claims(self) -> Result<(ZoneClaims, Duration), Violations> {
        let mut violations = Violations::new();
        let known = [ZoneScope::Ingress, ZoneScope::Egress, ZoneScope::ControlPlane].map(ZoneScope::as_str);
        let scope = self.scope.unwrap_or_default();
        if scope.is_empty() {
            violations.add(
                "scope",
                format!("cannot be empty, must be some of {}", known.join(", ")),
            );
        }
        for (index, unknown) in scope
            .iter()
            .enumerate()
            .filter(|(_, scope)| !known.contains(&scope.as_str()))
        {
            violations.add(
                format!("scope[{index}]"),
                format!("is \"{unknown}\", must be one of {}", known.join(", ")),
            );
        }
        let valid_for = lifetime(&self.valid_for, Some(TEN_YEARS), &mut violations);
        violations.into_result()?;
        Ok((ZoneClaims { zone: self.zone, scope }, valid_for))
    }
}

impl UserTokenRequest {
    pub(super) fn into_claims(self) -> Result<(UserClaims, Duration), Violations> {
        let mut violations = Violations::new();
        if self.name.is_empty() {
            violations.add("name", "cannot be empty");
        }
        let valid_for = lifetime(&self.valid_for, None, &mut violations);
        violations.into_result()?;
        Ok((
            UserClaims {
                name: self.name,
                groups: self.groups.unwrap_or_default(),
            },
            valid_for,
        ))
    }
}

fn lifetime(text: &str, default: Option<Duration>, violations: &mut Violations) -> Duration {
    let result = match (text, default) {
        ("", Some(default)) => return default,
        ("", None) => Err("must be defined, for example 24h".to_owned()),
        (text, _) => duration::parse(text),
    };
    let duration = result.and_then(|duration| match Duration::try_from(duration) {
        Ok(duration) if duration.is_positive() => Ok(duration),
        _ => Err(format!("is \"{text}\", must be a positive duration such as 24h")),
    });
    duration.unwrap_or_else(|reason| {
        violations.add("validFor", reason);
        Duration::ZERO
    })
}
