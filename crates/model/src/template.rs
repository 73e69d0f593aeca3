//! Hostname templates: the part of Go's text/template that hostname generators use (`spec/resources.md` §6).
//!
//! Fields `.DisplayName .Name .Namespace .Zone .Mesh`, the function `label "<key>"`, text, and trim marks `{{-`, `-}}`.

use std::collections::BTreeMap;

/// A parsed template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Field(Field),
    Label(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    DisplayName,
    Name,
    Namespace,
    Zone,
    Mesh,
}

/// What a template is evaluated with.
#[derive(Clone, Copy, Debug)]
pub struct Values<'a> {
    /// Display name of the service.
    pub display_name: &'a str,
    /// Its Kubernetes name, else core name.
    pub name: &'a str,
    /// Its Kubernetes namespace, or "".
    pub namespace: &'a str,
    /// Its zone, or the local one.
    pub zone: &'a str,
    /// Its mesh.
    pub mesh: &'a str,
    /// Its labels.
    pub labels: &'a BTreeMap<String, String>,
}

/// Why a text is not a template, or cannot be evaluated.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// `{{` without `}}`.
    #[error("unclosed action \"{{{{{0}\": add the closing braces")]
    Unclosed(String),
    /// Something else than a field or `label`.
    #[error("unknown expression \"{0}\": use .DisplayName, .Name, .Namespace, .Zone, .Mesh or label \"<key>\"")]
    Unknown(String),
    /// The resource has no such label.
    #[error("label \"{0}\" is not on the resource")]
    MissingLabel(String),
    /// The result is no hostname.
    #[error("result \"{0}\" is not a hostname: {1}")]
    NotAHostname(String, String),
}

impl Template {
    /// Parses a template.
    ///
    /// # Errors
    /// The action that is not understood.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let mut parts = Vec::new();
        let mut rest = text;
        let mut trim_next = false;
        while let Some((before, after)) = rest.split_once("{{") {
            let (action, after) = after
                .split_once("}}")
                .ok_or_else(|| TemplateError::Unclosed(after.to_owned()))?;
            let before = if trim_next { before.trim_start() } else { before };
            let (action, before) = match action.strip_prefix("- ") {
                Some(action) => (action, before.trim_end()),
                None => (action, before),
            };
            let action = match action.strip_suffix(" -") {
                Some(trimmed) => {
                    trim_next = true;
                    trimmed
                }
                None => {
                    trim_next = false;
                    action
                }
            };
            push_text(&mut parts, before);
            parts.push(parse_action(action.trim())?);
            rest = after;
        }
        push_text(&mut parts, if trim_next { rest.trim_start() } else { rest });
        Ok(Self { parts })
    }

    /// The hostname; empty where all fields used are empty.
    ///
    /// # Errors
    /// A label that is missing, or a result that is no RFC 1123 subdomain.
    pub fn render(&self, values: Values<'_>) -> Result<String, TemplateError> {
        let mut result = String::new();
        for part in &self.parts {
            result.push_str(match part {
                Part::Text(text) => text,
                Part::Field(Field::DisplayName) => values.display_name,
                Part::Field(Field::Name) => values.name,
                Part::Field(Field::Namespace) => values.namespace,
                Part::Field(Field::Zone) => values.zone,
                Part::Field(Field::Mesh) => values.mesh,
                Part::Label(key) => values
                    .labels
                    .get(key)
                    .ok_or_else(|| TemplateError::MissingLabel(key.clone()))?,
            });
        }
        if result.is_empty() {
            return Ok(result);
        }
        let check = crate::name::check_subdomain(&result).and_then(|()| {
            match result.split('.').find(|part| part.len() > crate::name::MAX_LABEL) {
                Some(part) => Err(format!("\"{part}\" is longer than 63 characters")),
                None => Ok(()),
            }
        });
        match check {
            Ok(()) => Ok(result),
            Err(reason) => Err(TemplateError::NotAHostname(result, reason)),
        }
    }
}

fn push_text(parts: &mut Vec<Part>, text: &str) {
    if !text.is_empty() {
        parts.push(Part::Text(text.to_owned()));
    }
}

fn parse_action(action: &str) -> Result<Part, TemplateError> {
    let field = match action {
        ".DisplayName" => Field::DisplayName,
        ".Name" => Field::Name,
        ".Namespace" => Field::Namespace,
        ".Zone" => Field::Zone,
        ".Mesh" => Field::Mesh,
        _ => {
            let argument = action
                .strip_prefix("label")
                .filter(|rest| rest.starts_with([' ', '"', '`']))
                .map(str::trim);
            return argument
                .and_then(|text| {
                    ['"', '`']
                        .into_iter()
                        .find_map(|quote| text.strip_prefix(quote)?.strip_suffix(quote))
                })
                .filter(|key| !key.is_empty() && !key.contains(['"', '`']))
                .map(|key| Part::Label(key.to_owned()))
                .ok_or_else(|| TemplateError::Unknown(action.to_owned()));
        }
    };
    Ok(Part::Field(field))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn render(template: &str) -> Result<String, TemplateError> {
        let labels = BTreeMap::from([("a/b".to_owned(), "pod-0".to_owned())]);
        let values = Values {
            display_name: "redis",
            name: "redis-x",
            namespace: "",
            zone: "east",
            mesh: "default",
            labels: &labels,
        };
        Template::parse(template)?.render(values)
    }

    #[test]
    fn renders() {
        for (template, expected) in [
            ("{{ .DisplayName }}.mzsvc.mesh.local", "redis.mzsvc.mesh.local"),
            (
                "{{.DisplayName}}.svc.{{ .Zone }}.mesh.local",
                "redis.svc.east.mesh.local",
            ),
            (
                "{{ label \"a/b\" }}.{{ label `a/b` }}.{{ .Mesh }}",
                "pod-0.pod-0.default",
            ),
            ("a {{- .Zone -}} b", "aeastb"),
            ("{{ .Namespace }}", ""),
        ] {
            assert_eq!(render(template).unwrap(), expected, "{template}");
        }
    }

    #[test]
    fn errors_name_the_expression() {
        assert_eq!(render("{{ .Nope }}"), Err(TemplateError::Unknown(".Nope".to_owned())));
        assert_eq!(
            render("{{ label 'a' }}"),
            Err(TemplateError::Unknown("label 'a'".to_owned()))
        );
        assert!(matches!(render("{{ .Name"), Err(TemplateError::Unclosed(_))));
        assert_eq!(
            render("{{ label \"x\" }}"),
            Err(TemplateError::MissingLabel("x".to_owned()))
        );
        assert!(matches!(
            render("{{ .DisplayName }}..local"),
            Err(TemplateError::NotAHostname(..))
        ));
        assert!(matches!(render(&"a".repeat(64)), Err(TemplateError::NotAHostname(..))));
    }
}
