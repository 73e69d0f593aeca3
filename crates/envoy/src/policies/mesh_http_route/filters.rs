//! What a route changes about its requests and responses.

use envoy_types::pb::envoy::config::core::v3::{HeaderValueOption, RuntimeFractionalPercent};
use envoy_types::pb::envoy::config::route::v3::redirect_action::{
    PathRewriteSpecifier, RedirectResponseCode, SchemeRewriteSpecifier,
};
use envoy_types::pb::envoy::config::route::v3::route::Action;
use envoy_types::pb::envoy::config::route::v3::route_action::{HostRewriteSpecifier, RequestMirrorPolicy};
use envoy_types::pb::envoy::config::route::v3::route_match::PathSpecifier;
use envoy_types::pb::envoy::config::route::v3::{RedirectAction, Route, RouteAction};
use envoy_types::pb::envoy::r#type::matcher::v3::RegexMatchAndSubstitute;
use envoy_types::pb::envoy::r#type::v3::FractionalPercent;
use envoy_types::pb::envoy::r#type::v3::fractional_percent::DenominatorType;
use meshspan_model::kinds::mesh_http_route::filters::{
    Filter, PathRewrite, PathRewriteType, RequestMirror, RequestRedirect, UrlRewrite,
};
use meshspan_model::policy::values::{Decimal, HeaderModifier};
use meshspan_world::view::RouteBackend;

use crate::names;
use crate::policies::header_match::expression;
use crate::policies::header_options;

/// Applies one filter. `mirrors` are the resolved backends of mirrors that are still to come.
pub(super) fn apply<'a>(filter: &Filter, mirrors: &mut impl Iterator<Item = &'a RouteBackend>, route: &mut Route) {
    if let Some(modifier) = &filter.request_header_modifier {
        route.request_headers_to_add.extend(added(modifier));
        route.request_headers_to_remove.extend(removed(modifier));
    }
    if let Some(modifier) = &filter.response_header_modifier {
        route.response_headers_to_add.extend(added(modifier));
        route.response_headers_to_remove.extend(removed(modifier));
    }
    let path = route.r#match.as_ref().and_then(|found| found.path_specifier.clone());
    if let Some(found) = &filter.request_redirect {
        route.action = Some(Action::Redirect(redirect(found, path.as_ref())));
    }
    let mirrored = filter.request_mirror.as_ref().map(|found| (found, mirrors.next()));
    // The others are about requests that are forwarded.
    let Some(Action::Route(action)) = &mut route.action else {
        return;
    };
    if let Some(found) = &filter.url_rewrite {
        rewrite(found, path.as_ref(), action);
    }
    if let Some((found, Some(backend))) = mirrored {
        action.request_mirror_policies.extend(mirror(found, backend));
    }
}

fn added(modifier: &HeaderModifier) -> Vec<HeaderValueOption> {
    header_options::added(modifier.set.as_deref(), modifier.add.as_deref())
}

fn removed(modifier: &HeaderModifier) -> impl Iterator<Item = String> + '_ {
    modifier.remove.iter().flatten().cloned()
}

fn redirect(found: &RequestRedirect, path: Option<&PathSpecifier>) -> RedirectAction {
    let code = match found.status_code {
        Some(301) => RedirectResponseCode::MovedPermanently,
        Some(303) => RedirectResponseCode::SeeOther,
        Some(307) => RedirectResponseCode::TemporaryRedirect,
        Some(308) => RedirectResponseCode::PermanentRedirect,
        _ => RedirectResponseCode::Found,
    };
    RedirectAction {
        host_redirect: found.hostname.clone().unwrap_or_default(),
        port_redirect: found.port.unwrap_or_default(),
        response_code: code.into(),
        scheme_rewrite_specifier: found.scheme.clone().map(SchemeRewriteSpecifier::SchemeRedirect),
        path_rewrite_specifier: found.path.as_ref().and_then(|rewrite| {
            Some(match replacement(rewrite, path)? {
                Replacement::Path(new) => PathRewriteSpecifier::PathRedirect(new),
                Replacement::Prefix(new) => PathRewriteSpecifier::PrefixRewrite(new),
            })
        }),
        ..Default::default()
    }
}

fn rewrite(found: &UrlRewrite, path: Option<&PathSpecifier>, action: &mut RouteAction) {
    if let Some(hostname) = &found.hostname {
        action.host_rewrite_specifier = Some(HostRewriteSpecifier::HostRewriteLiteral(hostname.clone()));
    }
    // Envoy refuses more than one of these.
    match found.path.as_ref().and_then(|rewrite| replacement(rewrite, path)) {
        Some(Replacement::Path(new)) => {
            action.prefix_rewrite.clear();
            action.regex_rewrite = Some(RegexMatchAndSubstitute {
                pattern: Some(expression("^/.*$".to_owned())),
                // A backslash would begin a reference to a group.
                substitution: new.replace('\\', "\\\\"),
            });
        }
        Some(Replacement::Prefix(new)) => {
            action.regex_rewrite = None;
            action.prefix_rewrite = new;
        }
        None => {}
    }
}

enum Replacement {
    Path(String),
    Prefix(String),
}

/// What replaces a path, or the part of it by which Envoy matched: it ends with `/` exactly if that part does.
fn replacement(rewrite: &PathRewrite, path: Option<&PathSpecifier>) -> Option<Replacement> {
    match rewrite.how? {
        PathRewriteType::ReplaceFullPath => Some(Replacement::Path(rewrite.replace_full_path.clone()?)),
        PathRewriteType::ReplacePrefixMatch => {
            let new = rewrite.replace_prefix_match.as_deref()?.trim_end_matches('/');
            let with_slash = new.is_empty() || matches!(path, Some(PathSpecifier::Prefix(_)));
            Some(Replacement::Prefix(format!(
                "{new}{}",
                if with_slash { "/" } else { "" }
            )))
        }
    }
}

/// `None` if no copy is sent.
fn mirror(found: &RequestMirror, backend: &RouteBackend) -> Option<RequestMirrorPolicy> {
    let share = found.percentage.unwrap_or(Decimal(100.0));
    let fraction = FractionalPercent {
        // Checked to be 0 to 100, so 0 to a million.
        numerator: (share.value() * 10_000.0).round() as u32,
        denominator: DenominatorType::Million.into(),
    };
    if fraction.numerator == 0 {
        return None;
    }
    Some(RequestMirrorPolicy {
        cluster: names::destination(backend.destination.as_ref()?),
        runtime_fraction: Some(RuntimeFractionalPercent {
            default_value: Some(fraction),
            ..Default::default()
        }),
        ..Default::default()
    })
}
