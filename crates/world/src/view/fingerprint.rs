//! Fingerprints of what policies say, by which those who share it are found without comparing.

use meshspan_policy::{Confs, Fingerprint, Fingerprinter};

use super::{Client, DestinationKey, DestinationPolicies, HttpRule, RouteBackend};

impl DestinationPolicies {
    /// Equal for equal content, in every process.
    pub fn fingerprint(&self) -> Fingerprint {
        let Self {
            client,
            confs,
            http_rules,
            tcp_backends,
        } = self;
        let mut print = Fingerprinter::new();
        add_client(&mut print, client);
        add_confs(&mut print, confs);
        add_list(&mut print, http_rules.as_deref(), add_rule);
        add_list(&mut print, tcp_backends.as_deref(), add_backend);
        print.finish()
    }
}

/// Nothing, an empty list and a list differ.
fn add_list<T>(print: &mut Fingerprinter, list: Option<&[T]>, add: impl Fn(&mut Fingerprinter, &T)) {
    let Some(list) = list else {
        print.text("none");
        return;
    };
    print.text("list").number(list.len() as u128);
    for item in list {
        add(print, item);
    }
}

fn add_client(print: &mut Fingerprinter, Client { tags }: &Client) {
    print.number(tags.len() as u128);
    for (key, value) in tags {
        print.text(key).text(value);
    }
}

fn add_confs(print: &mut Fingerprinter, confs: &Confs) {
    for (kind, conf) in confs.iter() {
        print.text(kind.name()).json(conf);
    }
    print.text("");
}

fn add_rule(print: &mut Fingerprinter, rule: &HttpRule) {
    let HttpRule {
        rule,
        name,
        backends,
        mirrors,
        confs,
    } = rule;
    print.json(rule).text(name);
    add_list(print, Some(backends), add_backend);
    add_list(print, Some(mirrors), add_backend);
    add_confs(print, confs);
}

fn add_backend(print: &mut Fingerprinter, RouteBackend { weight, destination }: &RouteBackend) {
    print.number((*weight).into());
    match destination {
        None => print.text("none"),
        Some(DestinationKey { service, section }) => print
            .text("destination")
            .text(service.kind.name())
            .text(&service.mesh)
            .text(&service.zone)
            .text(&service.namespace)
            .text(&service.name)
            .text(section),
    };
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use meshspan_model::policy::PolicyKind;
    use serde_json::json;

    use super::*;

    #[test]
    fn whatever_differs_has_another_fingerprint() {
        let backend = |weight, destination| RouteBackend { weight, destination };
        let rule = |edit: &dyn Fn(&mut HttpRule)| {
            let mut rule = HttpRule {
                rule: json!({ "matches": [] }),
                name: "a".to_owned(),
                backends: Vec::new(),
                mirrors: Vec::new(),
                confs: Confs::new(),
            };
            edit(&mut rule);
            DestinationPolicies {
                http_rules: Some(vec![rule]),
                ..Default::default()
            }
        };
        let confs = |kind, conf| [(kind, conf)].into_iter().collect::<Confs>();
        let client = |tags: &[(&str, &str)]| DestinationPolicies {
            client: Client {
                tags: tags
                    .iter()
                    .map(|(key, value)| ((*key).into(), (*value).into()))
                    .collect(),
            },
            ..Default::default()
        };
        let all = [
            DestinationPolicies::default(),
            client(&[("a", "b")]),
            client(&[("ab", "")]),
            DestinationPolicies {
                confs: confs(PolicyKind::MeshTimeout, json!({ "a": 1 })),
                ..Default::default()
            },
            DestinationPolicies {
                confs: confs(PolicyKind::MeshRetry, json!({ "a": 1 })),
                ..Default::default()
            },
            DestinationPolicies {
                confs: confs(PolicyKind::MeshRetry, json!({ "a": 2 })),
                ..Default::default()
            },
            DestinationPolicies {
                http_rules: Some(Vec::new()),
                ..Default::default()
            },
            DestinationPolicies {
                tcp_backends: Some(Vec::new()),
                ..Default::default()
            },
            DestinationPolicies {
                tcp_backends: Some(vec![backend(1, None)]),
                ..Default::default()
            },
            DestinationPolicies {
                tcp_backends: Some(vec![backend(2, None)]),
                ..Default::default()
            },
            rule(&|_| {}),
            rule(&|rule| rule.name = "b".to_owned()),
            rule(&|rule| rule.rule = json!({})),
            rule(&|rule| rule.backends = vec![backend(1, None)]),
            rule(&|rule| rule.mirrors = vec![backend(1, None)]),
            rule(&|rule| rule.confs = confs(PolicyKind::MeshRetry, json!({}))),
        ];
        let prints: BTreeSet<_> = all.iter().map(DestinationPolicies::fingerprint).collect();
        assert_eq!(prints.len(), all.len());
        for policies in &all {
            assert_eq!(policies.clone().fingerprint(), policies.fingerprint());
        }
    }
}
