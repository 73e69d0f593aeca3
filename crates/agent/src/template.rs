//! Variables in a proxy's document: the part of Mustache that Kuma's dataplane files use, `{{ name }}`.

use std::collections::BTreeMap;

/// Why a template was refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum TemplateError {
    #[error("line {line}: variable {name:?} has no value; give it with --dataplane-var {name}=<value>")]
    UnknownVariable { name: String, line: usize },
    #[error("line {line}: \"{{{{\" without \"}}}}\"")]
    Unclosed { line: usize },
    #[error("line {line}: {tag:?} is not a variable name; sections and partials are not supported")]
    UnsupportedTag { tag: String, line: usize },
}

/// Replaces every `{{ name }}` (also `{{{ name }}}` and `{{& name }}`); values are inserted as they are, without HTML
/// escaping. `{{! comments }}` vanish.
pub(crate) fn render(template: &str, variables: &BTreeMap<String, String>) -> Result<String, TemplateError> {
    let mut output = String::with_capacity(template.len());
    let mut line = 1;
    let mut rest = template;
    while let Some((before, tail)) = rest.split_once("{{") {
        output.push_str(before);
        line += before.matches('\n').count();
        let (tail, close) = match tail.strip_prefix('{') {
            Some(tail) => (tail, "}}}"),
            None => (tail, "}}"),
        };
        let (tag, after) = tail.split_once(close).ok_or(TemplateError::Unclosed { line })?;
        if !tag.starts_with('!') {
            let name = tag.trim_start_matches('&').trim();
            if name.is_empty()
                || !name
                    .chars()
                    .all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.'))
            {
                return Err(TemplateError::UnsupportedTag {
                    tag: tag.trim().to_owned(),
                    line,
                });
            }
            let value = variables.get(name).ok_or_else(|| TemplateError::UnknownVariable {
                name: name.to_owned(),
                line,
            })?;
            output.push_str(value);
        }
        line += tag.matches('\n').count();
        rest = after;
    }
    output.push_str(rest);
    Ok(output)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::{TemplateError, render};
    use std::collections::BTreeMap;

    fn variables() -> BTreeMap<String, String> {
        [("name", "web-1"), ("net.address", "10.0.0.1"), ("raw", "a&b<c>")]
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .into()
    }

    #[test]
    fn variables_are_replaced() {
        let text = "name: {{name}}\naddress: {{ net.address }}\n{{! gone }}raw: {{{ raw }}} {{ raw }} {{& raw }}";
        assert_eq!(
            render(text, &variables()).unwrap(),
            "name: web-1\naddress: 10.0.0.1\nraw: a&b<c> a&b<c> a&b<c>"
        );
    }

    #[test]
    fn errors_name_variable_and_line() {
        let unknown = render("a\nb {{ port }}", &variables()).unwrap_err();
        assert_eq!(
            unknown,
            TemplateError::UnknownVariable {
                name: "port".into(),
                line: 2
            }
        );
        assert!(unknown.to_string().contains("--dataplane-var port=<value>"));
        assert_eq!(
            render("{{ name", &variables()).unwrap_err(),
            TemplateError::Unclosed { line: 1 }
        );
        assert!(matches!(
            render("\n\n{{#each}}", &variables()).unwrap_err(),
            TemplateError::UnsupportedTag { line: 3, .. }
        ));
    }

    #[test]
    fn values_are_not_rendered_again() {
        let variables = [("a".to_owned(), "{{ b }}".to_owned())].into();
        assert_eq!(render("{{ a }}", &variables).unwrap(), "{{ b }}");
    }
}
