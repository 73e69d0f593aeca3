//! Values that several confs have: numbers that may be strings, headers, checks of durations.

mod check;
mod decimal;
mod header;

pub use check::{at_least, at_most, positive, required_at_least_one};
pub use decimal::Decimal;
pub use header::{HeaderMatch, HeaderMatchType, HeaderModifier, HeaderNameValue, MAX_HEADERS, check_header_name};
