//! Regular expressions in confs.

use crate::violation::Violations;

/// Most characters of an expression.
pub const MAX_REGEX: usize = 1024;

/// An expression must be one that can be read. It is only parsed here, which is cheap whatever it says; the dialect is
/// that of the crate `regex`, which has what RE2 has in common use.
pub fn check_regex(expression: &str, path: String, violations: &mut Violations) {
    if expression.len() > MAX_REGEX {
        violations.add(
            path,
            format!(
                "has {} characters, a regular expression must have no more than {MAX_REGEX}",
                expression.len()
            ),
        );
    } else if let Err(error) = regex_syntax::ast::parse::Parser::new().parse(expression) {
        violations.add(
            path,
            format!("is \"{expression}\", must be a regular expression: {}", error.kind()),
        );
    }
}
