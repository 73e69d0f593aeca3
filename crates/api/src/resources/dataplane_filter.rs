//! The filters `tag` and `gateway` of dataplane lists (`spec/http-api.md` §1).

use std::collections::BTreeMap;

use meshspan_model::kinds::dataplane::{Dataplane, GatewayType};

use crate::error::ApiError;
use crate::query::Query;

/// Which dataplanes are wanted.
#[derive(Clone, Debug, Default)]
pub(crate) struct DataplaneFilter {
    tags: Vec<(String, String)>,
    gateway: Option<GatewayFilter>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum GatewayFilter {
    Any,
    None,
    Type(GatewayType),
}

impl DataplaneFilter {
    /// Reads both parameters; tags without colon are ignored.
    ///
    /// # Errors
    /// 400 for an unknown value of `gateway`.
    pub(crate) fn from_query(query: &Query) -> Result<Self, ApiError> {
        let tags = query.all("tag").filter_map(|tag| tag.split_once(':'));
        let gateway = match query.first("gateway") {
            None => None,
            Some("true") => Some(GatewayFilter::Any),
            Some("false") => Some(GatewayFilter::None),
            Some("builtin") => Some(GatewayFilter::Type(GatewayType::Builtin)),
            Some("delegated") => Some(GatewayFilter::Type(GatewayType::Delegated)),
            Some(other) => {
                let reason = format!("is \"{other}\", must be true, false, builtin or delegated");
                return Err(ApiError::bad_query("Invalid gateway filter", "gateway", reason));
            }
        };
        Ok(Self {
            tags: tags.map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
            gateway,
        })
    }

    /// True if every dataplane is wanted.
    pub(crate) fn is_empty(&self) -> bool {
        self.tags.is_empty() && self.gateway.is_none()
    }

    /// True if the dataplane is wanted: all tags hold on one inbound, or on the gateway.
    pub(crate) fn matches(&self, dataplane: &Dataplane) -> bool {
        let networking = &dataplane.networking;
        let gateway = networking.gateway.as_ref();
        let kind = match self.gateway {
            None => true,
            Some(GatewayFilter::Any) => gateway.is_some(),
            Some(GatewayFilter::None) => gateway.is_none(),
            Some(GatewayFilter::Type(wanted)) => gateway.is_some_and(|gateway| gateway.gateway_type == wanted),
        };
        let mut tag_sets = networking
            .inbound
            .iter()
            .map(|inbound| &inbound.tags)
            .chain(gateway.map(|gateway| &gateway.tags));
        kind && (self.tags.is_empty() || tag_sets.any(|tags| self.holds(tags)))
    }

    fn holds(&self, tags: &BTreeMap<String, String>) -> bool {
        self.tags.iter().all(|(key, wanted)| {
            tags.get(key)
                .is_some_and(|value| wanted == "*" || value.contains(wanted.as_str()))
        })
    }
}
