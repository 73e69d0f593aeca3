//! MeshHTTPRoute (`spec/policies.md` §2.6): where requests to a service go, and what changes about them on the way.
//!
//! Here are the rules; their parts are in [`matches`] and [`filters`].

pub mod filters;
pub mod matches;
mod paths;

use serde::{Deserialize, Serialize};

use crate::policy::values::check_count;
use crate::policy::{BackendRef, Conf as PolicyConf, MAX_ITEMS, Place, PolicyKind, PolicySpec, TargetKind};
use crate::violation::Violations;

use filters::{Filter, FilterType};
use matches::{Match, PathMatchType};

/// Routes of HTTP requests.
pub type MeshHTTPRoute = PolicySpec<Conf>;

/// The rules for one destination.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Conf {
    /// The rules; which one takes a request is decided by how precise their matches are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rules: Option<Vec<Rule>>,
}

/// What happens to some requests.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Rule {
    /// Which requests: those that one of these fits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub matches: Option<Vec<Match>>,
    /// What happens to them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default: Option<RuleConf>,
}

/// What happens to the requests of a rule.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RuleConf {
    /// What changes about them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filters: Option<Vec<Filter>>,
    /// Where they go; to the destination itself if there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backend_refs: Option<Vec<BackendRef>>,
}

impl PolicyConf for Conf {
    const KIND: PolicyKind = PolicyKind::MeshHTTPRoute;

    fn check(&self, place: &Place<'_>, violations: &mut Violations) {
        for (index, rule) in self.rules.iter().flatten().enumerate() {
            rule.check(place.top, &place.field(&format!("rules[{index}]")), violations);
        }
    }

    fn warn(&self, place: &Place<'_>, warnings: &mut Vec<String>) {
        for (index, rule) in self.rules.iter().flatten().enumerate() {
            for (number, found) in rule.matches.iter().flatten().enumerate() {
                if let Some(why) = found.path.as_ref().and_then(paths::unmatchable) {
                    let field = place.field(&format!("rules[{index}].matches[{number}].path.value"));
                    warnings.push(format!("{field}: {why}"));
                }
            }
        }
    }
}

impl Rule {
    fn check(&self, top: TargetKind, path: &str, violations: &mut Violations) {
        let matches = self.matches.as_deref().unwrap_or_default();
        check_count(matches.len(), MAX_ITEMS, &format!("{path}.matches"), violations);
        for (index, found) in matches.iter().enumerate() {
            found.check(&format!("{path}.matches[{index}]"), violations);
        }
        let default = self.default.clone().unwrap_or_default();
        let filters = default.filters.unwrap_or_default();
        check_count(filters.len(), MAX_ITEMS, &format!("{path}.default.filters"), violations);
        let only_prefixes = matches.iter().all(|found| {
            found
                .path
                .as_ref()
                .is_some_and(|path| path.how == Some(PathMatchType::PathPrefix))
        });
        for (index, filter) in filters.iter().enumerate() {
            let path = format!("{path}.default.filters[{index}]");
            filter.check(top, only_prefixes, &path, violations);
        }
        // A gateway has no destination of its own to fall back to.
        let redirects = filters
            .iter()
            .any(|filter| filter.how == Some(FilterType::RequestRedirect));
        let has_backends = default.backend_refs.is_some_and(|backends| !backends.is_empty());
        if top == TargetKind::MeshGateway && !has_backends && !redirects {
            violations.add(
                format!("{path}.default.backendRefs"),
                "must have at least one item, or filters a RequestRedirect, when spec.targetRef.kind is MeshGateway",
            );
        }
    }
}
