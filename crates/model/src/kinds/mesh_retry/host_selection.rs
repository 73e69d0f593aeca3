//! Where retries go.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::policy::values::at_least;
use crate::violation::Violations;

/// Which hosts a retry leaves out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HostSelection {
    /// The choice.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub predicate: Option<HostPredicate>,
    /// For [`HostPredicate::OmitHostsWithTags`]: the tags, all of which a host must have to be left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tags: Option<BTreeMap<String, String>>,
    /// For [`HostPredicate::OmitPreviousPriorities`]: the number of attempts after which the priorities tried so far are
    /// left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub update_frequency: Option<i32>,
}

/// How hosts are left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HostPredicate {
    /// Hosts that have been tried.
    OmitPreviousHosts,
    /// Hosts with certain tags.
    OmitHostsWithTags,
    /// Hosts of priorities that have been tried; so a retry leaves its zone.
    OmitPreviousPriorities,
}

impl HostSelection {
    pub(super) fn check_list(list: &Option<Vec<HostSelection>>, path: &str, violations: &mut Violations) {
        let mut has_priorities = false;
        for (index, selection) in list.iter().flatten().enumerate() {
            let path = format!("{path}[{index}]");
            match selection.predicate {
                None => violations.add(
                    format!("{path}.predicate"),
                    "must be defined: OmitPreviousHosts, OmitHostsWithTags or OmitPreviousPriorities",
                ),
                Some(HostPredicate::OmitPreviousHosts) => {}
                Some(HostPredicate::OmitHostsWithTags) => {
                    if selection.tags.as_ref().is_none_or(BTreeMap::is_empty) {
                        violations.add(
                            format!("{path}.tags"),
                            "must be defined with predicate OmitHostsWithTags, for example {version: v2}",
                        );
                    }
                }
                Some(HostPredicate::OmitPreviousPriorities) => {
                    if has_priorities {
                        violations.add(
                            format!("{path}.predicate"),
                            "OmitPreviousPriorities must not be listed more than once",
                        );
                    }
                    has_priorities = true;
                }
            }
            at_least(
                selection.update_frequency,
                1,
                format!("{path}.updateFrequency"),
                violations,
            );
        }
    }
}
