//! Path matches that are well formed and yet fit no request, for the user's eyes.
//!
//! Proxies compare paths in normal form (RFC 3986 §6.2.2): without dot segments, and with letters, digits and `-._~` as
//! themselves. Regular expressions are for the whole path, which begins with a slash.

use regex_syntax::ast::{AssertionKind, Ast, RepetitionKind, RepetitionRange};

use super::matches::{PathMatch, PathMatchType};

/// Why no request has such a path, with what to write instead; `None` if some may.
pub(super) fn unmatchable(found: &PathMatch) -> Option<String> {
    let value = found.value.as_str();
    match found.how? {
        PathMatchType::Exact | PathMatchType::PathPrefix => {
            let normal = normal_form(value);
            (normal != value)
                .then(|| format!("is \"{value}\", but paths are compared in normal form: write \"{normal}\""))
        }
        PathMatchType::RegularExpression => unmatchable_expression(value)
            .map(|why| format!("is \"{value}\", which no path fits: {why}; write for example \"/foo/.*\"")),
    }
}

fn unmatchable_expression(expression: &str) -> Option<&'static str> {
    let ast = regex_syntax::ast::parse::Parser::new().parse(expression).ok()?;
    if is_quoted(expression) {
        return Some("the slashes and letters around an expression, as in JavaScript, are taken for parts of the path");
    }
    if matches!(start(&ast), Start::Other) {
        return Some("every path begins with /");
    }
    has_misplaced_anchor(&ast).then_some("^ stands behind, or $ before, a part of the path")
}

/// `/…/gi`: slashes within are escaped, other than in a path, where nobody escapes them.
fn is_quoted(expression: &str) -> bool {
    let inner = expression
        .strip_prefix('/')
        .and_then(|rest| rest.rsplit_once('/'))
        .filter(|(_, flags)| flags.chars().all(|c| "dgimsuvy".contains(c)));
    inner.is_some_and(|(inner, _)| inner.starts_with("\\/") || inner.starts_with("^\\/"))
}

/// With what the texts begin that an expression fits.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Start {
    /// Perhaps with a slash.
    Slash,
    /// Never with a slash.
    Other,
    /// With what comes next: it may fit the empty text, and begins otherwise with something else than a slash.
    Next,
}

fn start(ast: &Ast) -> Start {
    match ast {
        Ast::Literal(literal) if literal.c == '/' => Start::Slash,
        Ast::Literal(_) => Start::Other,
        // Classes are taken to hold a slash: a warning must not be wrong.
        Ast::Dot(_) | Ast::ClassUnicode(_) | Ast::ClassPerl(_) | Ast::ClassBracketed(_) => Start::Slash,
        Ast::Empty(_) | Ast::Flags(_) | Ast::Assertion(_) => Start::Next,
        Ast::Group(group) => start(&group.ast),
        Ast::Repetition(repetition) => match (&repetition.op.kind, start(&repetition.ast)) {
            (
                RepetitionKind::ZeroOrOne
                | RepetitionKind::ZeroOrMore
                | RepetitionKind::Range(
                    RepetitionRange::Exactly(0) | RepetitionRange::AtLeast(0) | RepetitionRange::Bounded(0, _),
                ),
                Start::Other,
            ) => Start::Next,
            (_, start) => start,
        },
        Ast::Concat(concat) => concat
            .asts
            .iter()
            .map(start)
            .find(|start| *start != Start::Next)
            .unwrap_or(Start::Next),
        Ast::Alternation(alternation) => {
            let starts: Vec<_> = alternation.asts.iter().map(start).collect();
            [Start::Slash, Start::Next]
                .into_iter()
                .find(|start| starts.contains(start))
                .unwrap_or(Start::Other)
        }
    }
}

/// On the outermost level only.
fn has_misplaced_anchor(ast: &Ast) -> bool {
    let Ast::Concat(concat) = ast else { return false };
    let is_part = |ast: &Ast| {
        matches!(
            ast,
            Ast::Literal(_) | Ast::Dot(_) | Ast::ClassBracketed(_) | Ast::ClassPerl(_)
        )
    };
    let is = |ast: &Ast, wanted: [AssertionKind; 2]| matches!(ast, Ast::Assertion(assertion) if wanted.contains(&assertion.kind));
    let starts = [AssertionKind::StartLine, AssertionKind::StartText];
    let ends = [AssertionKind::EndLine, AssertionKind::EndText];
    let after = |index: usize| concat.asts.iter().skip(index + 1);
    concat.asts.iter().enumerate().any(|(index, ast)| {
        (is_part(ast) && after(index).any(|later| is(later, starts.clone())))
            || (is(ast, ends.clone()) && after(index).any(is_part))
    })
}

/// The path as proxies compare it.
fn normal_form(path: &str) -> String {
    let mut segments: Vec<String> = Vec::new();
    let mut parts = path.split('/').map(decode_unreserved).skip(1).peekable();
    while let Some(part) = parts.next() {
        let is_last = parts.peek().is_none();
        match part.as_str() {
            "." => {}
            ".." => {
                segments.pop();
            }
            _ => {
                segments.push(part);
                continue;
            }
        }
        if is_last {
            segments.push(String::new());
        }
    }
    format!("/{}", segments.join("/"))
}

fn decode_unreserved(segment: &str) -> String {
    let mut decoded = String::with_capacity(segment.len());
    let mut rest = segment;
    while let Some((before, after)) = rest.split_once('%') {
        decoded.push_str(before);
        let code = after.get(..2).and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match (code.map(char::from), after.get(2..)) {
            (Some(c), Some(behind)) if c.is_ascii_alphanumeric() || "-._~".contains(c) => {
                decoded.push(c);
                rest = behind;
            }
            _ => {
                decoded.push('%');
                rest = after;
            }
        }
    }
    decoded + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn warning(how: PathMatchType, value: &str) -> Option<String> {
        unmatchable(&PathMatch {
            how: Some(how),
            value: value.to_owned(),
        })
    }

    #[test]
    fn expressions_that_no_path_fits() {
        for expression in [
            r"/\/foo/gi",
            r"/^\/foo$/",
            "foo/.*",
            "^foo",
            "(a|b)/c",
            "a?b",
            "/a^b",
            "/a$b",
        ] {
            assert!(
                warning(PathMatchType::RegularExpression, expression).is_some(),
                "{expression}"
            );
        }
        for expression in [
            "/foo",
            "^/foo$",
            r"\/foo/.*",
            ".*foo",
            "(a|/b)/c",
            "a?/b",
            "[^a]+",
            "(?i)/a",
            "/foo/g",
            "/a/",
            "",
        ] {
            assert_eq!(
                warning(PathMatchType::RegularExpression, expression),
                None,
                "{expression}"
            );
        }
    }

    #[test]
    fn paths_that_are_compared_in_another_form() {
        for (path, normal) in [
            ("/a/../b", "/b"),
            ("/./a", "/a"),
            ("/%61%2Db", "/a-b"),
            ("/a/%2e%2E/b", "/b"),
            ("/a/..", "/"),
        ] {
            let found = warning(PathMatchType::Exact, path);
            assert!(
                found
                    .as_ref()
                    .is_some_and(|text| text.ends_with(&format!("write \"{normal}\""))),
                "{path}: {found:?}"
            );
        }
        for path in ["/", "/a", "/a//b", "/a%2Fb", "/...", "/a/", "/%", "/%C3%A9"] {
            assert_eq!(warning(PathMatchType::PathPrefix, path), None, "{path}");
        }
    }
}
