//! MeshProxyPatch (`spec/policies.md` §2.16): changes to the Envoy resources that everything else made.
//!
//! Only the form is checked here: which operations there are, what they need, and that values are YAML. Whether a value
//! is the Envoy message that it should be is the business of whoever applies it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::policy::{Conf as PolicyConf, Place, PolicyKind, PolicySpec};
use crate::violation::Violations;

pub mod change;
pub mod json_patch;

use change::Change;

/// Changes to generated Envoy resources.
pub type MeshProxyPatch = PolicySpec<Conf>;

/// Changes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Conf {
    /// Made in this order; the lists of several policies are joined.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub append_modifications: Option<Vec<Modification>>,
}

/// One change: exactly one of the fields.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Modification {
    /// Of clusters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<Change<ClusterMatch>>,
    /// Of listeners.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listener: Option<Change<ListenerMatch>>,
    /// Of filters of listeners.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network_filter: Option<Change<FilterMatch>>,
    /// Of filters of HTTP connection managers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http_filter: Option<Change<FilterMatch>>,
    /// Of virtual hosts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub virtual_host: Option<Change<VirtualHostMatch>>,
}

/// Which clusters.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClusterMatch {
    /// What made them, such as `inbound` or `outbound`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
    /// Their name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// Which listeners.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ListenerMatch {
    /// What made them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
    /// Their name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Tags in their metadata.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tags: Option<BTreeMap<String, String>>,
}

/// Which filters.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct FilterMatch {
    /// What made the listener.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
    /// The name of the filter, such as `envoy.filters.network.tcp_proxy`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The name of the listener.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listener_name: Option<String>,
    /// Tags in the metadata of the listener.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listener_tags: Option<BTreeMap<String, String>>,
}

/// Which virtual hosts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct VirtualHostMatch {
    /// What made the listener.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
    /// The name of the virtual host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The name of the route configuration that it is in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route_configuration_name: Option<String>,
}

impl PolicyConf for Conf {
    const KIND: PolicyKind = PolicyKind::MeshProxyPatch;

    fn check(&self, place: &Place<'_>, violations: &mut Violations) {
        let path = place.field("appendModifications");
        let modifications = self.append_modifications.as_deref().unwrap_or_default();
        if modifications.is_empty() {
            violations.add(&path, "must have at least one item");
        }
        for (index, modification) in modifications.iter().enumerate() {
            modification.check(&format!("{path}[{index}]"), violations);
        }
    }
}

impl Modification {
    fn check(&self, path: &str, violations: &mut Violations) {
        let fields = [
            ("cluster", self.cluster.is_some()),
            ("listener", self.listener.is_some()),
            ("networkFilter", self.network_filter.is_some()),
            ("httpFilter", self.http_filter.is_some()),
            ("virtualHost", self.virtual_host.is_some()),
        ];
        let set: Vec<_> = fields
            .iter()
            .filter(|(_, is_set)| *is_set)
            .map(|(name, _)| *name)
            .collect();
        if set.len() != 1 {
            let names: Vec<_> = fields.iter().map(|(name, _)| *name).collect();
            let found = if set.is_empty() {
                "none".to_owned()
            } else {
                set.join(", ")
            };
            violations.add(
                path,
                format!("must have exactly one defined: {}; has {found}", names.join(", ")),
            );
        }
        if let Some(change) = &self.cluster {
            change.check_resource(&format!("{path}.cluster"), violations);
        }
        if let Some(change) = &self.listener {
            change.check_resource(&format!("{path}.listener"), violations);
        }
        if let Some(change) = &self.network_filter {
            let name = change.target.as_ref().and_then(|filter| filter.name.as_deref());
            change.check_filter(name, &format!("{path}.networkFilter"), violations);
        }
        if let Some(change) = &self.http_filter {
            let name = change.target.as_ref().and_then(|filter| filter.name.as_deref());
            change.check_filter(name, &format!("{path}.httpFilter"), violations);
        }
        if let Some(change) = &self.virtual_host {
            let name = change.target.as_ref().and_then(|host| host.name.as_deref());
            change.check_virtual_host(name, &format!("{path}.virtualHost"), violations);
        }
    }
}
