//! `access`: who may do what at the REST API (`spec/http-api.md` §6).

use meshspan_api::access::{AccessRights, Grant as Right};
use serde::{Deserialize, Serialize};

section! {
    /// `access`.
    Access {
        /// `static`: rights are settings.
        #[serde(rename = "type")]
        access_type: AccessType = AccessType::default(),
        /// The rights.
        #[serde(rename = "static")]
        rights: StaticAccess = StaticAccess::default(),
    }
}

/// Where rights come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AccessType {
    /// From `access.static`.
    #[default]
    Static,
}

/// Who has a right: any of these users, or who is in any of these groups.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Grant {
    /// By name of the user.
    pub users: Vec<String>,
    /// By group of the user.
    pub groups: Vec<String>,
}

impl From<Right> for Grant {
    fn from(right: Right) -> Self {
        Self {
            users: right.users,
            groups: right.groups,
        }
    }
}

impl From<&Grant> for Right {
    fn from(grant: &Grant) -> Self {
        Self {
            users: grant.users.clone(),
            groups: grant.groups.clone(),
        }
    }
}

section! {
    /// `access.static`.
    StaticAccess {
        /// Secrets and global secrets, every verb.
        admin_resources: Grant = AccessRights::default().admin_resources.into(),
        /// Issuing tokens of sidecars.
        generate_dp_token: Grant = AccessRights::default().generate_dataplane_token.into(),
        /// Issuing tokens of users.
        generate_user_token: Grant = AccessRights::default().generate_user_token.into(),
        /// Issuing tokens of zone proxies and zones.
        generate_zone_token: Grant = AccessRights::default().generate_zone_token.into(),
        /// Seeing what a proxy is sent.
        view_config_dump: Grant = AccessRights::default().view_config_dump.into(),
        /// Seeing the statistics of a proxy.
        view_stats: Grant = AccessRights::default().view_stats.into(),
        /// Seeing the clusters of a proxy.
        view_clusters: Grant = AccessRights::default().view_clusters.into(),
        /// Seeing the configuration of the control plane.
        control_plane_metadata: Grant = AccessRights::default().control_plane_metadata.into(),
    }
}

impl StaticAccess {
    /// As the API takes them.
    pub(crate) fn rights(&self) -> AccessRights {
        AccessRights {
            admin_resources: (&self.admin_resources).into(),
            generate_dataplane_token: (&self.generate_dp_token).into(),
            generate_user_token: (&self.generate_user_token).into(),
            generate_zone_token: (&self.generate_zone_token).into(),
            view_config_dump: (&self.view_config_dump).into(),
            view_stats: (&self.view_stats).into(),
            view_clusters: (&self.view_clusters).into(),
            control_plane_metadata: (&self.control_plane_metadata).into(),
        }
    }
}
