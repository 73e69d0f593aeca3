//! `-v name=value`: Mustache variables in documents.

use std::collections::BTreeMap;

/// A placeholder that no `-v` gives a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("variable \"{0}\" has no value: add -v {0}=VALUE")]
pub struct MissingVariable(pub String);

/// Replaces `{{ name }}` (also `{{{ name }}}` and `{{& name }}`) by its value, unescaped.
///
/// Other uses of double braces stay as they are: Go templates such as `{{ .DisplayName }}` in a HostnameGenerator are for the control
/// plane. Without any variable nothing is replaced at all, as in kumactl.
///
/// # Errors
/// The first plain name without a value.
pub fn render(text: &str, variables: &BTreeMap<String, String>) -> Result<String, MissingVariable> {
    if variables.is_empty() {
        return Ok(text.to_owned());
    }
    let mut rendered = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("{{") {
        rendered.push_str(before);
        let (triple, body) = match after.strip_prefix('{') {
            Some(body) => (true, body),
            None => (false, after),
        };
        let Some((inside, tail)) = body.split_once(if triple { "}}}" } else { "}}" }) else {
            rendered.push_str("{{");
            rest = after;
            continue;
        };
        let name = inside.trim_start_matches('&').trim();
        match variables.get(name) {
            Some(value) => {
                rendered.push_str(value);
                rest = tail;
            }
            None if is_plain_name(name) => return Err(MissingVariable(name.to_owned())),
            None => {
                rendered.push_str("{{");
                rest = after;
            }
        }
    }
    rendered.push_str(rest);
    Ok(rendered)
}

fn is_plain_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn with(text: &str) -> Result<String, MissingVariable> {
        let variables = BTreeMap::from([("name".into(), "redis".into()), ("a.b".into(), "x{{ y }}".into())]);
        render(text, &variables)
    }

    #[test]
    fn replaces_names_and_leaves_go_templates_alone() {
        assert_eq!(
            with("a {{ name }}/{{{name}}}/{{&name}} b").unwrap(),
            "a redis/redis/redis b"
        );
        assert_eq!(with("{{a.b}}").unwrap(), "x{{ y }}", "values are not rendered again");
        let go = "'{{ .DisplayName }}.{{ label \"kuma.io/zone\" }}.mesh.local' {{ open";
        assert_eq!(with(go).unwrap(), go);
        assert_eq!(with("{{ other }}").unwrap_err(), MissingVariable("other".into()));
        assert_eq!(render("{{ other }}", &BTreeMap::new()).unwrap(), "{{ other }}");
    }
}
