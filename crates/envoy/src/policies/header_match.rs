//! Conditions on headers as Envoy writes them.

use envoy_types::pb::envoy::config::route::v3::HeaderMatcher;
use envoy_types::pb::envoy::config::route::v3::header_matcher::HeaderMatchSpecifier;
use envoy_types::pb::envoy::r#type::matcher::v3::string_matcher::MatchPattern;
use envoy_types::pb::envoy::r#type::matcher::v3::{RegexMatcher, StringMatcher};
use meshspan_model::policy::values::{HeaderMatch, HeaderMatchType};

/// The condition. What has no value is compared with the empty string.
pub(super) fn header_matcher(found: &HeaderMatch) -> HeaderMatcher {
    let value = || found.value.clone().unwrap_or_default();
    let specifier = match found.how {
        HeaderMatchType::Present => HeaderMatchSpecifier::PresentMatch(true),
        HeaderMatchType::Absent => HeaderMatchSpecifier::PresentMatch(false),
        HeaderMatchType::Exact => string(MatchPattern::Exact(value())),
        HeaderMatchType::Prefix => string(MatchPattern::Prefix(value())),
        HeaderMatchType::RegularExpression => string(MatchPattern::SafeRegex(RegexMatcher {
            regex: value(),
            ..Default::default()
        })),
    };
    HeaderMatcher {
        name: found.name.clone(),
        header_match_specifier: Some(specifier),
        ..Default::default()
    }
}

fn string(pattern: MatchPattern) -> HeaderMatchSpecifier {
    HeaderMatchSpecifier::StringMatch(StringMatcher {
        match_pattern: Some(pattern),
        ..Default::default()
    })
}
