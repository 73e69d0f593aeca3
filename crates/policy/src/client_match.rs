//! Which clients an inbound rule is about.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use serde::Serialize;

use super::precedence::ClientRank;
use meshspan_model::policy::{RuleMatch, SpiffeIdMatch, SpiffeIdMatchType};

/// A selection of clients; all that is set must hold, and nothing set means every client.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ClientMatch {
    /// The client's identity.
    #[serde(rename = "spiffeID", skip_serializing_if = "Option::is_none")]
    pub spiffe_id: Option<SpiffeIdMatch>,
    /// The server name that the client asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sni: Option<String>,
    /// Tags of the client, from the old form `from`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
}

/// A client as an inbound sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Client {
    /// Its identity, or "".
    pub spiffe_id: String,
    /// The server name that it asked for, or "".
    pub sni: String,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
}

impl ClientMatch {
    /// Clients that have all these tags.
    pub fn tags(tags: BTreeMap<String, String>) -> Self {
        Self {
            tags,
            ..Self::default()
        }
    }

    /// True for every client.
    pub fn is_all(&self) -> bool {
        *self == Self::default()
    }

    /// True if the client is selected.
    pub fn matches(&self, client: &Client) -> bool {
        let spiffe_id = self.spiffe_id.as_ref().is_none_or(|wanted| match wanted.how {
            SpiffeIdMatchType::Exact => client.spiffe_id == wanted.value,
            SpiffeIdMatchType::Prefix => client.spiffe_id.starts_with(&wanted.value),
        });
        spiffe_id
            && self.sni.as_ref().is_none_or(|wanted| client.sni == *wanted)
            && self.tags.iter().all(|(key, value)| client.tags.get(key) == Some(value))
    }

    /// True if `other` selects every client that this one selects.
    pub fn implies(&self, other: &ClientMatch) -> bool {
        let spiffe_id = match (&self.spiffe_id, &other.spiffe_id) {
            (_, None) => true,
            (None, Some(_)) => false,
            (Some(own), Some(other)) => narrower(own, other).is_some_and(|narrower| narrower == own),
        };
        spiffe_id
            && (other.sni.is_none() || self.sni == other.sni)
            && other.tags.iter().all(|(key, value)| self.tags.get(key) == Some(value))
    }

    /// The clients that both select; `None` if there can be none.
    pub fn intersection(&self, other: &ClientMatch) -> Option<ClientMatch> {
        let spiffe_id = match (&self.spiffe_id, &other.spiffe_id) {
            (None, other) => other.clone(),
            (own, None) => own.clone(),
            (Some(own), Some(other)) => Some(narrower(own, other)?.clone()),
        };
        let sni = match (&self.sni, &other.sni) {
            (Some(own), Some(other)) if own != other => return None,
            (own, other) => own.clone().or_else(|| other.clone()),
        };
        let mut tags = self.tags.clone();
        for (key, value) in &other.tags {
            if tags.insert(key.clone(), value.clone()).is_some_and(|own| own != *value) {
                return None;
            }
        }
        Some(ClientMatch { spiffe_id, sni, tags })
    }

    /// How narrowly it selects, as far as precedence is concerned.
    pub fn rank(&self) -> ClientRank {
        match (&self.spiffe_id, &self.sni) {
            (Some(spiffe_id), _) if spiffe_id.how == SpiffeIdMatchType::Exact => ClientRank::SpiffeExact,
            (Some(_), _) => ClientRank::SpiffePrefix,
            (None, Some(_)) => ClientRank::Sni,
            (None, None) => ClientRank::All,
        }
    }

    /// Sorts matches so that a narrower one stands before every wider one that overlaps it (`spec/policies.md` §1.8 C):
    /// identity before start of identity, longer before shorter, with server name before without, more tags before
    /// fewer.
    pub(crate) fn order(&self) -> impl Ord + use<> {
        (
            Reverse(self.spiffe_id.as_ref().map(|wanted| {
                let exact = wanted.how == SpiffeIdMatchType::Exact;
                (exact, wanted.value.len())
            })),
            Reverse(self.sni.is_some()),
            Reverse(self.tags.len()),
            self.clone(),
        )
    }
}

/// The one of two matches that selects a part of what the other selects; `None` if neither does, and then no identity
/// is in both.
fn narrower<'a>(a: &'a SpiffeIdMatch, b: &'a SpiffeIdMatch) -> Option<&'a SpiffeIdMatch> {
    use SpiffeIdMatchType::{Exact, Prefix};
    let (narrow, wide) = match (a.how, b.how) {
        (Exact, Prefix) => (a, b),
        (Prefix, Exact) => (b, a),
        (Prefix, Prefix) if a.value.len() >= b.value.len() => (a, b),
        (Prefix, Prefix) => (b, a),
        (Exact, Exact) => return (a == b).then_some(a),
    };
    narrow.value.starts_with(&wide.value).then_some(narrow)
}

impl From<&RuleMatch> for ClientMatch {
    fn from(written: &RuleMatch) -> Self {
        Self {
            spiffe_id: written.spiffe_id.clone(),
            sni: written.sni.as_ref().map(|sni| sni.value.clone()),
            tags: BTreeMap::new(),
        }
    }
}
