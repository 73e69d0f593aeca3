//! Retries (`spec/policies.md` §2.2): of HTTP/1.1, HTTP/2 and gRPC requests alike, and of connections.
//!
//! Without a policy nothing is tried again. Where a policy does not say where retries go, they leave the priorities that
//! were tried, and with them the zone: one that stays in a zone that fails helps nobody (`spec/dataplane.md` §11).

mod conditions;
mod hosts;

use std::time::Duration;

use envoy_types::pb::envoy::config::endpoint::v3::ClusterLoadAssignment;
use envoy_types::pb::envoy::config::route::v3::RetryPolicy;
use envoy_types::pb::envoy::config::route::v3::retry_policy::{
    RateLimitedRetryBackOff, ResetHeader, ResetHeaderFormat as EnvoyFormat, RetryBackOff,
};
use meshspan_model::duration::GoDuration;
use meshspan_model::kinds::mesh_retry::{
    BackOff, Conf, Grpc, HostSelection, Http, RateLimitedBackOff, ResetHeaderFormat,
};
use meshspan_world::view::Protocol;

use super::header_match::header_matcher;
use super::{Effect, Towards};
use crate::network::retry_connects;
use crate::parts::{Chain, RouteParts};
use crate::wkt::{limit, time, uint};

pub(crate) use hosts::omitted_tags;

/// [`Effect`] of the kind.
pub(crate) struct MeshRetry;

/// Attempts after the first, where a conf says something about retries but not how many.
const RETRIES: u32 = 1;
const BASE_INTERVAL: Duration = Duration::from_millis(25);
/// Times the first pause.
const MAX_INTERVAL_FACTOR: u32 = 10;
const RATE_LIMITED_MAX_INTERVAL: Duration = Duration::from_secs(300);

impl Effect for MeshRetry {
    type Conf = Conf;

    fn endpoints(_conf: Option<&Conf>, to: &Towards<'_>, assignment: &mut ClusterLoadAssignment) {
        hosts::mark(&omitted_tags(to.policies), to.destination, assignment);
    }

    fn outbound<'a>(conf: Option<&Conf>, _to: &Towards<'a>, chain: &mut Chain<'a>) {
        let tcp = conf.and_then(|conf| conf.tcp.as_ref());
        let attempts = tcp.and_then(|tcp| tcp.max_connect_attempt);
        if let (Chain::Tcp(chain), Some(attempts)) = (chain, attempts) {
            retry_connects(&mut chain.proxy, attempts);
        }
    }

    fn route(conf: Option<&Conf>, to: &Towards<'_>, route: &mut RouteParts<'_>) {
        if let (Some(conf), Some(action)) = (conf, route.action()) {
            action.retry_policy = match to.destination.protocol {
                Protocol::Http | Protocol::Http2 => conf.http.as_ref().and_then(of_requests),
                Protocol::Grpc => conf.grpc.as_ref().and_then(of_calls),
                Protocol::Tcp => None,
            };
        }
    }
}

fn of_requests(conf: &Http) -> Option<RetryPolicy> {
    let responses: Vec<_> = conf.retriable_response_headers.iter().flatten().collect();
    let conditions = conditions::of_requests(conf.retry_on.as_deref(), !responses.is_empty());
    let only = conf.retriable_request_headers.iter().flatten().map(header_matcher);
    let policy = RetryPolicy {
        retry_on: conditions.retry_on,
        retriable_status_codes: conditions.statuses,
        retriable_headers: responses.into_iter().map(header_matcher).collect(),
        retriable_request_headers: conditions.methods.into_iter().chain(only).collect(),
        ..Default::default()
    };
    Attempts {
        num_retries: conf.num_retries,
        per_try_timeout: conf.per_try_timeout,
        back_off: conf.back_off.as_ref(),
        rate_limited_back_off: conf.rate_limited_back_off.as_ref(),
        host_selection: conf.host_selection.as_deref(),
        host_selection_max_attempts: conf.host_selection_max_attempts,
    }
    .of(policy)
}

fn of_calls(conf: &Grpc) -> Option<RetryPolicy> {
    let policy = RetryPolicy {
        retry_on: conditions::of_calls(conf.retry_on.as_deref()),
        ..Default::default()
    };
    Attempts {
        num_retries: conf.num_retries,
        per_try_timeout: conf.per_try_timeout,
        back_off: conf.back_off.as_ref(),
        rate_limited_back_off: conf.rate_limited_back_off.as_ref(),
        host_selection: conf.host_selection.as_deref(),
        host_selection_max_attempts: conf.host_selection_max_attempts,
    }
    .of(policy)
}

/// How often, when and where: the same for all requests.
struct Attempts<'a> {
    num_retries: Option<u32>,
    per_try_timeout: Option<GoDuration>,
    back_off: Option<&'a BackOff>,
    rate_limited_back_off: Option<&'a RateLimitedBackOff>,
    host_selection: Option<&'a [HostSelection]>,
    host_selection_max_attempts: Option<u32>,
}

impl Attempts<'_> {
    /// Completes a policy that says after what; `None` if nothing is tried again.
    fn of(self, policy: RetryPolicy) -> Option<RetryPolicy> {
        let retries = self.num_retries.unwrap_or(RETRIES);
        if retries == 0 {
            return None;
        }
        Some(RetryPolicy {
            num_retries: uint(retries),
            per_try_timeout: limit(self.per_try_timeout),
            retry_back_off: Some(back_off(self.back_off)),
            rate_limited_retry_back_off: self.rate_limited_back_off.and_then(rate_limited_back_off),
            retry_priority: hosts::priorities(self.host_selection),
            retry_host_predicate: hosts::predicates(self.host_selection),
            host_selection_retry_max_attempts: self.host_selection_max_attempts.unwrap_or_default().into(),
            ..policy
        })
    }
}

/// Envoy refuses a longest pause that is shorter than the first, which confs of two policies may add up to: the longest
/// one counts.
fn back_off(conf: Option<&BackOff>) -> RetryBackOff {
    let base = conf.and_then(|conf| conf.base_interval).map(|base| base.0);
    let max = conf.and_then(|conf| conf.max_interval).map(|max| max.0);
    let base = base.unwrap_or(BASE_INTERVAL);
    let max = max.unwrap_or(base.saturating_mul(MAX_INTERVAL_FACTOR));
    RetryBackOff {
        base_interval: time(base.min(max)),
        max_interval: time(max),
    }
}

/// `None` without a header, without which there is nothing to go by.
fn rate_limited_back_off(conf: &RateLimitedBackOff) -> Option<RateLimitedRetryBackOff> {
    let headers = conf.reset_headers.iter().flatten().map(|header| ResetHeader {
        name: header.name.clone(),
        format: match header.format {
            Some(ResetHeaderFormat::UnixTimestamp) => EnvoyFormat::UnixTimestamp.into(),
            Some(ResetHeaderFormat::Seconds) | None => EnvoyFormat::Seconds.into(),
        },
    });
    let reset_headers: Vec<_> = headers.collect();
    (!reset_headers.is_empty()).then(|| RateLimitedRetryBackOff {
        reset_headers,
        max_interval: time(conf.max_interval.map_or(RATE_LIMITED_MAX_INTERVAL, |max| max.0)),
    })
}
