//! How one of several endpoints is chosen.

use serde::{Deserialize, Serialize};

use super::hash_policy::{HashPolicy, check_list};
use crate::policy::values::{Decimal, at_least, at_most};
use crate::violation::Violations;

/// The algorithm, and the settings of each; only those of `kind` count.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LoadBalancer {
    /// The algorithm; must be set.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<LoadBalancerType>,
    /// Has no settings.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub round_robin: Option<RoundRobin>,
    /// Settings of [`LoadBalancerType::LeastRequest`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub least_request: Option<LeastRequest>,
    /// Settings of [`LoadBalancerType::RingHash`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ring_hash: Option<RingHash>,
    /// Has no settings.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub random: Option<Random>,
    /// Settings of [`LoadBalancerType::Maglev`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub maglev: Option<Maglev>,
}

/// Algorithms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LoadBalancerType {
    /// In turn.
    RoundRobin,
    /// The one of a few random endpoints with the fewest active requests.
    LeastRequest,
    /// Consistent hashing on a ring.
    RingHash,
    /// At random.
    Random,
    /// Consistent hashing with a table of fixed size.
    Maglev,
}

/// Settings of round robin: none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoundRobin {}

/// Settings of random choice: none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Random {}

/// Settings of the choice by active requests.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LeastRequest {
    /// How many endpoints are compared; 2 by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub choice_count: Option<u32>,
    /// How strongly active requests count where endpoints have different weights; 1 by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub active_request_bias: Option<Decimal>,
}

/// Settings of the ring.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RingHash {
    /// Hashes endpoints onto the ring; XXHash by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hash_function: Option<HashFunction>,
    /// Fewest entries of the ring; 1024 by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_ring_size: Option<u32>,
    /// Most entries of the ring; [`MAX_RING_SIZE`] by default.
    ///
    /// [`MAX_RING_SIZE`]: RingHash::MAX_RING_SIZE
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_ring_size: Option<u32>,
    /// What is hashed; the older place of [`Conf::hash_policies`](super::Conf::hash_policies).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hash_policies: Option<Vec<HashPolicy>>,
}

impl RingHash {
    /// Most entries of any ring.
    pub const MAX_RING_SIZE: u32 = 8_000_000;
}

/// Hash functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HashFunction {
    /// xxHash.
    XXHash,
    /// MurmurHash 2.
    MurmurHash2,
}

/// Settings of the table.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Maglev {
    /// Entries of the table, a prime; 65537 by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub table_size: Option<u32>,
    /// What is hashed; the older place of [`Conf::hash_policies`](super::Conf::hash_policies).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hash_policies: Option<Vec<HashPolicy>>,
}

impl Maglev {
    /// Most entries of any table; a prime.
    pub const MAX_TABLE_SIZE: u32 = 5_000_011;
}

impl LoadBalancer {
    /// Settings of algorithms that are not chosen are checked too: another policy may choose them.
    pub(super) fn check(&self, path: &str, violations: &mut Violations) {
        if self.kind.is_none() {
            violations.add(
                format!("{path}.type"),
                "must be defined: RoundRobin, LeastRequest, RingHash, Random or Maglev",
            );
        }
        if let Some(least_request) = &self.least_request {
            let path = format!("{path}.leastRequest");
            at_least(least_request.choice_count, 2, format!("{path}.choiceCount"), violations);
            let bias = least_request.active_request_bias;
            at_least(bias, Decimal(0.0), format!("{path}.activeRequestBias"), violations);
        }
        if let Some(ring_hash) = &self.ring_hash {
            ring_hash.check(&format!("{path}.ringHash"), violations);
        }
        if let Some(maglev) = &self.maglev {
            let path = format!("{path}.maglev");
            check_table_size(maglev.table_size, format!("{path}.tableSize"), violations);
            check_list(
                maglev.hash_policies.as_deref(),
                &format!("{path}.hashPolicies"),
                violations,
            );
        }
    }
}

impl RingHash {
    fn check(&self, path: &str, violations: &mut Violations) {
        for (field, size) in [("minRingSize", self.min_ring_size), ("maxRingSize", self.max_ring_size)] {
            at_least(size, 1, format!("{path}.{field}"), violations);
            at_most(size, Self::MAX_RING_SIZE, format!("{path}.{field}"), violations);
        }
        if let (Some(min), Some(max)) = (self.min_ring_size, self.max_ring_size)
            && min > max
        {
            violations.add(
                format!("{path}.minRingSize"),
                format!("is {min}, must be at most maxRingSize, which is {max}"),
            );
        }
        check_list(
            self.hash_policies.as_deref(),
            &format!("{path}.hashPolicies"),
            violations,
        );
    }
}

fn check_table_size(size: Option<u32>, path: String, violations: &mut Violations) {
    let Some(size) = size else { return };
    if size > Maglev::MAX_TABLE_SIZE || !is_prime(size) {
        violations.add(
            path,
            format!(
                "is {size}, must be a prime number of at most {}, such as 65537",
                Maglev::MAX_TABLE_SIZE
            ),
        );
    }
}

/// By trial division: about a thousand steps for the largest size that is permitted.
fn is_prime(number: u32) -> bool {
    number >= 2
        && (2..)
            .take_while(|divisor: &u32| divisor.saturating_mul(*divisor) <= number)
            .all(|divisor| !number.is_multiple_of(divisor))
}
