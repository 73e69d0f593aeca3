//! Regular expressions in confs: what RE2 reads, since Envoy refuses a whole listener for one expression that RE2 does not.
//!
//! The parser is that of the crate `regex`, whose dialect differs from RE2 in corners. What only one of them reads, or what
//! they read differently, is refused, so that what is accepted means the same everywhere.

use regex_syntax::ast::{
    AssertionKind, Ast, ClassBracketed, ClassSet, ClassSetItem, Flag, Flags, FlagsItemKind, Group, GroupKind,
    HexLiteralKind, Literal, LiteralKind, Repetition, RepetitionKind, RepetitionRange, SpecialLiteralKind,
};

use crate::violation::Violations;

/// Most characters of an expression.
pub const MAX_REGEX: usize = 1024;
/// Most repetitions that RE2 unrolls, those of nested ones multiplied.
const MAX_REPEAT: u32 = 1000;
/// Most instructions of the compiled program, by a rough estimate; RE2's own limit is about four times as many.
const MAX_SIZE: u64 = 20_000;

/// Envoy's RE2 compares bytes (measured with 1.40), so a character of several bytes in a class would mean something else.
const NO_UNICODE: &str = "only characters of ASCII and their classes are compared";

/// An expression must be one that RE2 reads, and not too large for it. The work is bounded by [`MAX_REGEX`].
pub fn check_regex(expression: &str, path: String, violations: &mut Violations) {
    if expression.len() > MAX_REGEX {
        violations.add(
            path,
            format!(
                "has {} characters, a regular expression must have no more than {MAX_REGEX}",
                expression.len()
            ),
        );
        return;
    }
    let parsed = regex_syntax::ast::parse::Parser::new().parse(expression);
    let size = match parsed {
        Ok(ast) => size(&ast, MAX_REPEAT),
        Err(error) => Err(error.kind().to_string()),
    };
    let reason = match size {
        Ok(size) if size <= MAX_SIZE => return,
        Ok(_) => "it is too large; repeat less".to_owned(),
        Err(reason) => reason,
    };
    violations.add(
        path,
        format!("is \"{expression}\", must be a regular expression: {reason}"),
    );
}

/// How many instructions an expression takes, about; or why RE2 does not read it as it was meant. `repeats` is how often
/// it may be repeated.
fn size(ast: &Ast, repeats: u32) -> Result<u64, String> {
    Ok(match ast {
        Ast::Empty(_) => 0,
        Ast::Flags(set) => check_flags(&set.flags)?,
        Ast::Literal(literal) => check_literal(literal)?,
        Ast::Dot(_) => 10,
        Ast::Assertion(assertion) => check_assertion(&assertion.kind)?,
        Ast::ClassUnicode(_) => return Err(NO_UNICODE.to_owned()),
        Ast::ClassPerl(_) => 10,
        Ast::ClassBracketed(class) => bracketed(class)?,
        Ast::Repetition(repetition) => repeated(repetition, repeats)?,
        Ast::Group(group) => 2 + check_group(group)? + size(&group.ast, repeats)?,
        Ast::Alternation(alternation) => all(&alternation.asts, repeats)? + alternation.asts.len() as u64,
        Ast::Concat(concat) => all(&concat.asts, repeats)?,
    })
}

fn all(asts: &[Ast], repeats: u32) -> Result<u64, String> {
    asts.iter()
        .try_fold(0_u64, |sum, ast| Ok(sum.saturating_add(size(ast, repeats)?)))
}

fn repeated(repetition: &Repetition, repeats: u32) -> Result<u64, String> {
    if !matches!(
        &*repetition.ast,
        Ast::Literal(_) | Ast::Dot(_) | Ast::ClassPerl(_) | Ast::ClassBracketed(_) | Ast::Group(_)
    ) {
        return Err("a repetition must follow a character, a class or a group".to_owned());
    }
    let times = match &repetition.op.kind {
        RepetitionKind::Range(RepetitionRange::Exactly(times) | RepetitionRange::AtLeast(times)) => (*times).max(1),
        RepetitionKind::Range(RepetitionRange::Bounded(least, most)) => (*least).max(*most).max(1),
        RepetitionKind::ZeroOrOne | RepetitionKind::ZeroOrMore | RepetitionKind::OneOrMore => 1,
    };
    if times > repeats {
        return Err(format!(
            "repetitions must not be more than {MAX_REPEAT}, those of nested ones multiplied"
        ));
    }
    let inner = size(&repetition.ast, repeats / times)?;
    Ok(inner.saturating_add(2).saturating_mul(u64::from(times)))
}

fn bracketed(class: &ClassBracketed) -> Result<u64, String> {
    match &class.kind {
        ClassSet::Item(item) => Ok(class_item(item)? + if class.negated { 16 } else { 0 }),
        ClassSet::BinaryOp(_) => Err("&&, -- and ~~ in a class must be escaped".to_owned()),
    }
}

fn class_item(item: &ClassSetItem) -> Result<u64, String> {
    match item {
        ClassSetItem::Empty(_) => Ok(0),
        ClassSetItem::Literal(literal) => check_literal(literal),
        ClassSetItem::Range(range) => Ok(check_literal(&range.start)? + check_literal(&range.end)? + 10),
        ClassSetItem::Ascii(_) | ClassSetItem::Perl(_) => Ok(10),
        ClassSetItem::Unicode(_) => Err(NO_UNICODE.to_owned()),
        ClassSetItem::Bracketed(_) => Err("[ in a class must be escaped".to_owned()),
        ClassSetItem::Union(union) => union.items.iter().try_fold(0, |sum, item| Ok(sum + class_item(item)?)),
    }
}

fn check_literal(literal: &Literal) -> Result<u64, String> {
    let is_known = match &literal.kind {
        LiteralKind::Verbatim | LiteralKind::Meta => true,
        LiteralKind::Superfluous => literal.c != '_',
        LiteralKind::HexFixed(kind) | LiteralKind::HexBrace(kind) => *kind == HexLiteralKind::X,
        LiteralKind::Special(kind) => *kind != SpecialLiteralKind::Space,
        LiteralKind::Octal => false,
    };
    if !literal.c.is_ascii() {
        Err(NO_UNICODE.to_owned())
    } else if is_known {
        Ok(1)
    } else {
        Err(format!(
            "the character '{}' must be written as itself",
            literal.c.escape_default()
        ))
    }
}

fn check_assertion(kind: &AssertionKind) -> Result<u64, String> {
    match kind {
        AssertionKind::StartLine
        | AssertionKind::EndLine
        | AssertionKind::StartText
        | AssertionKind::EndText
        | AssertionKind::WordBoundary
        | AssertionKind::NotWordBoundary => Ok(1),
        _ => Err("of assertions there are only ^, $, \\A, \\z, \\b and \\B".to_owned()),
    }
}

fn check_group(group: &Group) -> Result<u64, String> {
    match &group.kind {
        GroupKind::CaptureIndex(_) => Ok(0),
        GroupKind::NonCapturing(flags) => check_flags(flags),
        GroupKind::CaptureName { starts_with_p, name } => {
            let in_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
            if *starts_with_p && name.name.chars().all(in_name) {
                Ok(0)
            } else {
                Err("a named group must be written (?P<name>...), with letters, digits and _".to_owned())
            }
        }
    }
}

fn check_flags(flags: &Flags) -> Result<u64, String> {
    let is_known = |kind: &FlagsItemKind| {
        !matches!(
            kind,
            FlagsItemKind::Flag(Flag::Unicode | Flag::CRLF | Flag::IgnoreWhitespace)
        )
    };
    if flags.items.iter().all(|item| is_known(&item.kind)) {
        Ok(0)
    } else {
        Err("of flags there are only i, m, s and U".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(expression: &str) -> String {
        let mut violations = Violations::new();
        check_regex(expression, "r".to_owned(), &mut violations);
        violations.to_string()
    }

    #[test]
    fn what_both_dialects_read_alike_is_accepted() {
        for good in [
            "",
            "/users/[0-9]+(/.*)?",
            "(?i)a|b",
            "(?s-i:a.b)",
            "(?P<id>\\d{1,1000})",
            "(a{10}){100}",
            "[^]a-z[:alpha:]\\d\\]\\[-]",
            "\\x41\\x{7F}\\t\\/\\-\\.",
            "^\\Aa*?b+?c??\\z$",
        ] {
            assert_eq!(wrong(good), "", "{good}");
        }
    }

    #[test]
    fn what_envoy_would_refuse_is_refused_with_a_reason() {
        for (bad, reason) in [
            ("(", "unclosed group"),
            ("a(?=b)", "look-around"),
            ("(a)\\1", "backreferences"),
            ("a**", "must follow a character"),
            ("^*", "must follow a character"),
            ("a{1001}", "more than 1000"),
            ("(a{10}){101}", "more than 1000"),
            ("(abcdefghijklmnopqrstuvwxyz){1000}", "too large"),
            ("é", "only characters of ASCII"),
            ("[à-ü]", "only characters of ASCII"),
            ("\\x{1F600}", "only characters of ASCII"),
            ("\\pL", "only characters of ASCII"),
            ("[a&&b]", "must be escaped"),
            ("[a[b]]", "[ in a class"),
            ("\\_", "must be written as itself"),
            ("\\u0041", "must be written as itself"),
            ("\\b{start}", "of assertions"),
            ("\\<a", "of assertions"),
            ("(?x)a", "of flags"),
            ("(?<id>a)", "(?P<name>...)"),
            ("(?P<a.b>a)", "(?P<name>...)"),
        ] {
            let message = wrong(bad);
            assert!(message.starts_with(&format!("r: is \"{bad}\", must be")), "{message}");
            assert!(message.contains(reason), "{message}");
        }
        assert!(wrong(&"a".repeat(1025)).contains("has 1025 characters"));
    }
}
