//! What the control plane of a zone concludes about a proxy beyond what its connections say. Beyond the reference.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::is_default;

/// Whether a proxy is there, and what its Envoy serves.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Presence {
    /// True if the proxy brought its resource, which goes when the proxy does.
    #[serde(skip_serializing_if = "is_default")]
    pub registered: bool,
    /// Whether it is taken to be there.
    #[serde(skip_serializing_if = "is_default")]
    pub state: PresenceState,
    /// Why, for people; empty while it is expected.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// When the token expires with which it connected last; absent without one, or with one that does not expire.
    #[serde(with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub token_expires: Option<OffsetDateTime>,
    /// The inbounds for which its Envoy listens. Absent where nobody has noted it, as in insights of the reference: then
    /// all of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listeners: Option<Listeners>,
    /// Files of access logs that its Envoy cannot open; they are not written.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub unopened_logs: BTreeSet<String>,
}

/// What stands among [`Listeners::inbounds`] for the listener of a zone egress.
pub const EGRESS: &str = "egress";

/// Inbounds for which Envoy listens.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Listeners {
    /// Their sections: name, else port.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub inbounds: BTreeSet<String>,
}

/// Whether a proxy is taken to be there. That a stream ended says nothing about an instance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum PresenceState {
    /// Connected, or expected back.
    #[default]
    Expected,
    /// Lost together with so many others that the control plane doubts its own connection: taken to be there.
    Held,
    /// Said goodbye, or is draining.
    Left,
    /// Lost, and did not come back in time.
    Gone,
}

impl Presence {
    /// Whether traffic may go to the proxy at all.
    pub fn takes_traffic(&self) -> bool {
        matches!(self.state, PresenceState::Expected | PresenceState::Held)
    }

    /// Whether its Envoy listens for the inbound of this section.
    pub fn listens(&self, section: &str) -> bool {
        self.listeners
            .as_ref()
            .is_none_or(|listeners| listeners.inbounds.contains(section))
    }
}
