//! Conditions on headers, and on the text in them and elsewhere, as Envoy writes them.

use envoy_types::pb::envoy::config::route::v3::HeaderMatcher;
use envoy_types::pb::envoy::config::route::v3::header_matcher::HeaderMatchSpecifier;
use envoy_types::pb::envoy::r#type::matcher::v3::string_matcher::MatchPattern;
use envoy_types::pb::envoy::r#type::matcher::v3::{RegexMatcher, StringMatcher};
use meshspan_model::policy::values::{HeaderMatch, HeaderMatchType};

/// The condition. What has no value is compared with the empty string.
pub(super) fn header_matcher(found: &HeaderMatch) -> HeaderMatcher {
    let value = || found.value.clone().unwrap_or_default();
    let string = |pattern| HeaderMatchSpecifier::StringMatch(string(pattern));
    let specifier = match found.how {
        HeaderMatchType::Present => HeaderMatchSpecifier::PresentMatch(true),
        HeaderMatchType::Absent => HeaderMatchSpecifier::PresentMatch(false),
        HeaderMatchType::Exact => string(MatchPattern::Exact(value())),
        HeaderMatchType::Prefix => string(MatchPattern::Prefix(value())),
        HeaderMatchType::RegularExpression => string(MatchPattern::SafeRegex(expression(value()))),
    };
    HeaderMatcher {
        name: found.name.clone(),
        header_match_specifier: Some(specifier),
        ..Default::default()
    }
}

/// A condition on a text.
pub(super) fn string(pattern: MatchPattern) -> StringMatcher {
    StringMatcher {
        match_pattern: Some(pattern),
        ..Default::default()
    }
}

/// An RE2 expression for the whole of a text.
pub(super) fn expression(regex: String) -> RegexMatcher {
    RegexMatcher {
        regex,
        ..Default::default()
    }
}
