//! Which requests a route takes, and which route comes first.

use envoy_types::pb::envoy::config::route::v3::query_parameter_matcher::QueryParameterMatchSpecifier;
use envoy_types::pb::envoy::config::route::v3::route_match::PathSpecifier;
use envoy_types::pb::envoy::config::route::v3::{QueryParameterMatcher, RouteMatch};
use envoy_types::pb::envoy::r#type::matcher::v3::string_matcher::MatchPattern;
use meshspan_model::kinds::mesh_http_route::matches::{Match, PathMatchType, QueryParamMatch, QueryParamMatchType};
use meshspan_model::policy::values::{HeaderMatch, HeaderMatchType};

use crate::policies::header_match::{expression, header_matcher, string};

/// How precise a match is; of several that fit a request the most precise one takes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Precision {
    path: PathPrecision,
    path_length: usize,
    has_method: bool,
    headers: usize,
    query_params: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum PathPrecision {
    Any,
    RegularExpression,
    Prefix,
    Exact,
}

pub(super) fn precision(found: &Match) -> Precision {
    let how = found.path.as_ref().and_then(|path| path.how);
    Precision {
        path: match how {
            None => PathPrecision::Any,
            Some(PathMatchType::RegularExpression) => PathPrecision::RegularExpression,
            Some(PathMatchType::PathPrefix) => PathPrecision::Prefix,
            Some(PathMatchType::Exact) => PathPrecision::Exact,
        },
        path_length: found.path.as_ref().map_or(0, |path| path.value.len()),
        has_method: found.method.is_some(),
        headers: found.headers.as_ref().map_or(0, Vec::len),
        query_params: found.query_params.as_ref().map_or(0, Vec::len),
    }
}

/// True if a match fits every request.
pub(super) fn is_everything(found: &Match) -> bool {
    let any_path = match &found.path {
        None => true,
        Some(path) => path.how == Some(PathMatchType::PathPrefix) && path.value == "/",
    };
    let precision = precision(found);
    any_path && !precision.has_method && precision.headers == 0 && precision.query_params == 0
}

/// What Envoy compares a match by. A prefix has two forms, the path itself and what is below it: so it matches whole
/// segments only, and what replaces it ends as it does.
pub(super) fn route_matches(found: &Match) -> impl Iterator<Item = RouteMatch> {
    let (first, second) = path_specifiers(found);
    let method = found.method.map(|method| HeaderMatch {
        how: HeaderMatchType::Exact,
        name: ":method".to_owned(),
        value: Some(method.name().to_owned()),
    });
    let headers = method.iter().chain(found.headers.iter().flatten());
    let common = RouteMatch {
        headers: headers.map(header_matcher).collect(),
        query_parameters: found.query_params.iter().flatten().map(query_param).collect(),
        ..Default::default()
    };
    [Some(first), second].into_iter().flatten().map(move |path| RouteMatch {
        path_specifier: Some(path),
        ..common.clone()
    })
}

fn path_specifiers(found: &Match) -> (PathSpecifier, Option<PathSpecifier>) {
    let everything = PathSpecifier::Prefix("/".to_owned());
    let Some(path) = &found.path else {
        return (everything, None);
    };
    let value = &path.value;
    match path.how {
        Some(PathMatchType::Exact) => (PathSpecifier::Path(value.clone()), None),
        Some(PathMatchType::RegularExpression) => (PathSpecifier::SafeRegex(expression(value.clone())), None),
        Some(PathMatchType::PathPrefix) if value != "/" => (
            PathSpecifier::Path(value.clone()),
            Some(PathSpecifier::Prefix(format!("{value}/"))),
        ),
        Some(PathMatchType::PathPrefix) | None => (everything, None),
    }
}

fn query_param(found: &QueryParamMatch) -> QueryParameterMatcher {
    let value = found.value.clone();
    let pattern = match found.how {
        QueryParamMatchType::Exact => MatchPattern::Exact(value),
        QueryParamMatchType::RegularExpression => MatchPattern::SafeRegex(expression(value)),
    };
    QueryParameterMatcher {
        name: found.name.clone(),
        query_parameter_match_specifier: Some(QueryParameterMatchSpecifier::StringMatch(string(pattern))),
    }
}
