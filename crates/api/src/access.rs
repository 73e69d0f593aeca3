//! Static access rights (`spec/http-api.md` §6, `access.static`). Everybody may read all resources
//! but secrets; to write them takes a token, or a program on the control plane's host.

use meshspan_identity::token::ADMIN_USER;
use meshspan_model::Kind;

use crate::caller::{AUTHENTICATED, Caller, UNAUTHENTICATED};
use crate::error::ApiError;

/// Who has a right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// By name.
    pub users: Vec<String>,
    /// By group.
    pub groups: Vec<String>,
}

impl Grant {
    /// The built-in administrator alone.
    pub fn admin() -> Self {
        Self {
            users: vec![ADMIN_USER.to_owned()],
            groups: vec![ADMIN_USER.to_owned()],
        }
    }

    /// Everybody, token or not.
    pub fn everybody() -> Self {
        Self {
            users: Vec::new(),
            groups: vec![UNAUTHENTICATED.to_owned(), AUTHENTICATED.to_owned()],
        }
    }

    fn allows(&self, caller: &Caller) -> bool {
        self.users.contains(&caller.name) || self.groups.iter().any(|group| caller.groups.contains(group))
    }
}

/// All rights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessRights {
    /// `adminResources`: secrets, every verb.
    pub admin_resources: Grant,
    /// `generateDpToken`.
    pub generate_dataplane_token: Grant,
    /// `generateUserToken`.
    pub generate_user_token: Grant,
    /// `generateZoneToken`.
    pub generate_zone_token: Grant,
    /// `viewConfigDump`: what a proxy is sent.
    pub view_config_dump: Grant,
    /// `viewStats`: the statistics of a proxy.
    pub view_stats: Grant,
    /// `viewClusters`: the clusters of a proxy.
    pub view_clusters: Grant,
    /// `controlPlaneMetadata`: the configuration.
    pub control_plane_metadata: Grant,
}

impl Default for AccessRights {
    fn default() -> Self {
        Self {
            admin_resources: Grant::admin(),
            generate_dataplane_token: Grant::admin(),
            generate_user_token: Grant::admin(),
            generate_zone_token: Grant::admin(),
            view_config_dump: Grant::everybody(),
            view_stats: Grant::everybody(),
            view_clusters: Grant::everybody(),
            control_plane_metadata: Grant::everybody(),
        }
    }
}

/// Refuses a caller without the right; `action` completes "user … cannot".
pub(crate) fn require(grant: &Grant, caller: &Caller, action: &str) -> Result<(), ApiError> {
    if grant.allows(caller) {
        Ok(())
    } else {
        Err(ApiError::access_denied(caller, action))
    }
}

impl AccessRights {
    /// Refuses a caller who may not touch resources of that kind.
    pub(crate) fn require_kind(&self, kind: Kind, caller: &Caller) -> Result<(), ApiError> {
        if !kind.info().admin_only {
            return Ok(());
        }
        require(
            &self.admin_resources,
            caller,
            &format!("access resources of type \"{kind}\""),
        )
    }
}
