//! Values that several confs have: numbers that may be strings, headers, endpoints, and checks that many fields share.

mod check;
mod decimal;
mod endpoint;
mod header;
mod regex;

pub use check::{
    at_least, at_most, check_count, check_unique, only_field_of_type, percentage, positive, required,
    required_at_least_one,
};
pub use decimal::Decimal;
pub use endpoint::{Endpoint, Url, check_endpoint};
pub use header::{HeaderMatch, HeaderMatchType, HeaderModifier, HeaderNameValue, MAX_HEADERS, check_header_name};
pub use regex::{MAX_REGEX, check_regex};
