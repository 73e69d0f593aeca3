//! Names of variables of the environment, as settings of the programs: what becomes of one that no program knows. A mistyped
//! variable looks as if it were set, so it is reported, and where its name says that it is about who may do what it is not
//! ignored.

/// Words of names that decide who may do what: ignoring such a setting would leave something open that somebody closed.
const SENSITIVE: &[&str] = &[
    "ACCESS",
    "AUTH",
    "AUTHN",
    "AUTHZ",
    "AUTHENTICATION",
    "AUTHORIZATION",
    "CA",
    "CERT",
    "CERTS",
    "CERTIFICATE",
    "CERTIFICATES",
    "CORS",
    "CREDENTIALS",
    "RBAC",
    "SECRET",
    "SECRETS",
    "TLS",
    "MTLS",
    "TOKEN",
    "TOKENS",
];
/// Mistakes that tell a known name from one that starts as those of other programs do.
const SLIPS: usize = 2;

/// What becomes of a name that no setting has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unknown {
    /// The known name that may have been meant.
    pub meant: Option<String>,
    /// True if it must not be ignored.
    pub sensitive: bool,
}

impl Unknown {
    /// Judges the variable `name` by the `known` ones.
    pub fn judge<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Self {
        let meant = known
            .map(|known| (strsim::damerau_levenshtein(known, name), known))
            .min_by_key(|(distance, _)| *distance)
            .filter(|(distance, _)| *distance <= 1 + name.len() / 8)
            .map(|(_, known)| known.to_owned());
        let sensitive = is_sensitive(name) || meant.as_deref().is_some_and(is_sensitive);
        Self { meant, sensitive }
    }
}

fn is_sensitive(variable: &str) -> bool {
    let words = || variable.split('_');
    let mut pairs = words().zip(words().skip(1));
    words().any(|word| SENSITIVE.contains(&word)) && !pairs.any(|pair| pair == ("ACCESS", "LOG"))
}

/// The variables of one program, among those of others in the same environment.
#[derive(Clone, Debug)]
pub struct Variables<'a> {
    /// The program, for messages: `the agent`.
    pub program: &'a str,
    /// Names that it knows.
    pub known: Vec<String>,
    /// Prefixes of names that are its own.
    pub own: &'a [&'a str],
    /// Prefixes of names of others, and of those that Kubernetes makes for a Service, although they begin as own ones do.
    pub foreign: &'a [&'a str],
}

/// A variable that no setting has and that must not be ignored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "variable {name} is no setting of {program}, and is not ignored, because its name says that it is about who may do what{hint}"
)]
pub struct UnknownVariable {
    /// The variable.
    pub name: String,
    /// Whose setting it is not.
    pub program: String,
    /// What may have been meant, or the remedy.
    pub hint: String,
}

impl Variables<'_> {
    /// Warnings about the names in `environment` that look like settings of this program and are none.
    ///
    /// # Errors
    /// The first that must not be ignored.
    pub fn check(&self, environment: impl Iterator<Item = String>) -> Result<Vec<String>, UnknownVariable> {
        let mut warnings = Vec::new();
        for name in environment {
            if self.known.contains(&name) || starts_with_any(&name, self.foreign) {
                continue;
            }
            let unknown = Unknown::judge(&name, self.known.iter().map(String::as_str));
            let is_slip = |meant: &String| strsim::damerau_levenshtein(meant, &name) <= SLIPS;
            if !starts_with_any(&name, self.own) && !unknown.meant.as_ref().is_some_and(is_slip) {
                continue;
            }
            let question = unknown.meant.map(|meant| format!("; did you mean {meant}?"));
            if unknown.sensitive {
                return Err(UnknownVariable {
                    name,
                    program: self.program.to_owned(),
                    hint: question.unwrap_or_else(|| "; remove it".to_owned()),
                });
            }
            let question = question.unwrap_or_default();
            warnings.push(format!(
                "variable {name} is no setting of {} and is ignored{question}",
                self.program
            ));
        }
        Ok(warnings)
    }
}

fn starts_with_any(name: &str, prefixes: &[&str]) -> bool {
    prefixes.iter().any(|prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn check(names: &[&str]) -> Result<Vec<String>, UnknownVariable> {
        let variables = Variables {
            program: "the agent",
            known: [
                "KUMA_DATAPLANE_NAME",
                "KUMA_DATAPLANE_RUNTIME_TOKEN",
                "KUMA_DNS_ENABLED",
            ]
            .map(str::to_owned)
            .to_vec(),
            own: &["KUMA_DATAPLANE_", "KUMA_DNS_"],
            foreign: &["KUMA_DNS_SERVER_"],
        };
        variables.check(names.iter().map(|name| (*name).to_owned()))
    }

    #[test]
    fn slips_are_found_and_others_are_left_alone() {
        for (name, warning) in [
            ("KUMA_DATAPLANE_NMAE", "did you mean KUMA_DATAPLANE_NAME?"),
            ("KUMA_DATPLANE_NAME", "did you mean KUMA_DATAPLANE_NAME?"),
            ("KUMA_DNS_ENABLE", "did you mean KUMA_DNS_ENABLED?"),
            ("KUMA_DATAPLANE_ADMIN_PORT", "is ignored"),
        ] {
            let warnings = check(&[name]).unwrap();
            assert!(
                warnings.len() == 1
                    && warnings
                        .iter()
                        .all(|text| text.contains(name) && text.ends_with(warning)),
                "{warnings:?}"
            );
        }
        let of_others = [
            "KUMA_DATAPLANE_NAME",
            "KUMA_DNS_SERVER_DOMAIN",
            "KUMA_MODE",
            "KUMA_DEFAULTS_SKIP_MESH_CREATION",
            "HOME",
        ];
        assert_eq!(check(&of_others).unwrap(), Vec::<String>::new());
    }

    #[test]
    fn what_means_access_is_never_ignored() {
        for name in ["KUMA_DATAPLANE_RUNTIME_TOEKN", "KUMA_DATAPLANE_TLS_ENABLED"] {
            let error = check(&["KUMA_DATAPLANE_NMAE", name]).unwrap_err();
            assert_eq!(error.name, name);
        }
        let error = check(&["KUMA_DATAPLANE_RUNTIM_TOKEN"]).unwrap_err().to_string();
        assert!(error.ends_with("did you mean KUMA_DATAPLANE_RUNTIME_TOKEN?"), "{error}");
        assert_eq!(check(&["KUMA_DATAPLANE_ACCESS_LOG_PATH"]).unwrap().len(), 1);
    }
}
