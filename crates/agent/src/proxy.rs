//! Who this proxy is: from its document (Dataplane, ZoneIngress, ZoneEgress), or from `--name` and `--mesh`.

use crate::args::{ProxyType, RunArgs};
use crate::template::{self, TemplateError};
use meshspan_model::document;
use meshspan_model::kinds::dataplane::{Dataplane, Inbound, Networking};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

const MAX_DOCUMENT_BYTES: u64 = 1024 * 1024;

/// The proxy as the control plane is told about it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Proxy {
    pub(crate) proxy_type: ProxyType,
    /// Empty for zone proxies.
    pub(crate) mesh: String,
    pub(crate) name: String,
    /// Listener ports of the document's inbounds.
    pub(crate) inbound_ports: Vec<u32>,
    /// Where it says to listen; `None` for zone proxies, and when the control plane already has the resource.
    pub(crate) networking: Option<Networking>,
    /// The document as JSON text; `None` when the control plane already has the resource.
    pub(crate) resource: Option<String>,
}

/// Why the proxy's identity could not be established.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    /// Neither a document nor a name was given.
    #[error("{what} is missing: give a document with --dataplane-file, or --name{also}")]
    Missing {
        /// What is missing.
        what: &'static str,
        /// The other flags needed.
        also: &'static str,
    },
    /// `--name` or `--mesh` together with a document.
    #[error("{flag} cannot be combined with a dataplane document: the document's own value counts")]
    Conflict {
        /// The flag in question.
        flag: &'static str,
    },
    /// The document cannot be read.
    #[error("dataplane document {origin}: {reason}")]
    Unreadable {
        /// The file, or the flag.
        origin: String,
        /// Why.
        reason: String,
    },
    /// A variable without value, or a broken tag.
    #[error("dataplane document {origin}, {source}")]
    Template {
        /// The file, or the flag.
        origin: String,
        /// Variable and line.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A field is missing or wrong.
    #[error("dataplane document {origin}: {field}: {reason}")]
    Field {
        /// The file, or the flag.
        origin: String,
        /// Field path.
        field: &'static str,
        /// Reason and remedy.
        reason: String,
    },
}

impl Proxy {
    /// Reads what the flags name. `pod` is `$POD_NAME.$POD_NAMESPACE` where they are set.
    pub(crate) fn resolve(args: &RunArgs, pod: Option<String>) -> Result<Self, ProxyError> {
        let (origin, text) = match (given(&args.dataplane), &args.dataplane_file) {
            (Some(text), _) => ("of --dataplane".to_owned(), text.to_owned()),
            (None, Some(path)) if !path.as_os_str().is_empty() => (path.display().to_string(), read_document(path)?),
            (None, _) => return Self::from_name(args, pod),
        };
        for (flag, value) in [("--name", &args.name), ("--mesh", &args.mesh)] {
            if given(value).is_some() {
                return Err(ProxyError::Conflict { flag });
            }
        }
        let variables: BTreeMap<String, String> = args.dataplane_var.iter().cloned().collect();
        let text = template::render(&text, &variables).map_err(|source: TemplateError| ProxyError::Template {
            origin: origin.clone(),
            source: source.into(),
        })?;
        Self::from_document(args.proxy_type, &origin, &text)
    }

    fn from_name(args: &RunArgs, pod: Option<String>) -> Result<Self, ProxyError> {
        let is_sidecar = args.proxy_type == ProxyType::Dataplane;
        let also = if is_sidecar { " and --mesh" } else { "" };
        let name = given(&args.name)
            .map(str::to_owned)
            .or(pod)
            .ok_or(ProxyError::Missing {
                what: "the name of the proxy",
                also,
            })?;
        let mesh = match given(&args.mesh) {
            Some(mesh) if is_sidecar => mesh.to_owned(),
            _ if is_sidecar => "default".to_owned(),
            _ => String::new(),
        };
        Ok(Self {
            proxy_type: args.proxy_type,
            mesh,
            name,
            inbound_ports: Vec::new(),
            networking: None,
            resource: None,
        })
    }

    fn from_document(proxy_type: ProxyType, origin: &str, text: &str) -> Result<Self, ProxyError> {
        let field = |field, reason: String| ProxyError::Field {
            origin: origin.to_owned(),
            field,
            reason,
        };
        let unreadable = |reason: String| ProxyError::Unreadable {
            origin: origin.to_owned(),
            reason,
        };
        // A separator at the end starts an empty document, which is none.
        let documents: Vec<Value> = serde_saphyr::from_multiple(text)
            .map_err(|error| unreadable(error.render_with_formatter(&serde_saphyr::UserMessageFormatter)))?;
        let mut documents = documents.into_iter().filter(|document| !document.is_null());
        let (Some(document), None) = (documents.next(), documents.next()) else {
            return Err(unreadable(
                "must hold exactly one document, that of this proxy".to_owned(),
            ));
        };
        let string = |name: &str| {
            document
                .get(name)
                .and_then(Value::as_str)
                .filter(|text| !text.is_empty())
        };
        let expected = proxy_type.resource_type();
        match string("type") {
            Some(found) if found == expected => {}
            Some(found) => {
                let reason = match proxy_type_of(found) {
                    Some(fitting) => format!(
                        "{found} needs --proxy-type {fitting}; --proxy-type {} needs {expected}",
                        proxy_type.as_str()
                    ),
                    None => format!(
                        "{found:?} is not a proxy; --proxy-type {} needs {expected}",
                        proxy_type.as_str()
                    ),
                };
                return Err(field("type", reason));
            }
            None => return Err(field("type", format!("is missing; write `type: {expected}`"))),
        }
        let name = string("name").ok_or_else(|| field("name", "is missing or not a text".to_owned()))?;
        let mesh = match proxy_type {
            ProxyType::Dataplane => string("mesh").unwrap_or("default"),
            ProxyType::Ingress | ProxyType::Egress => "",
        };
        Ok(Self {
            proxy_type,
            mesh: mesh.to_owned(),
            name: name.to_owned(),
            inbound_ports: inbound_ports(&document),
            networking: (proxy_type == ProxyType::Dataplane)
                .then(|| serde_json::from_value(document.get("networking")?.clone()).ok())
                .flatten(),
            resource: Some(document.to_string()),
        })
    }
}

impl Proxy {
    /// What is wrong with the document although it is valid, for people.
    pub(crate) fn problems(&self) -> Vec<String> {
        let problems = self
            .dataplane()
            .map(|dataplane| dataplane.inbounds_that_lead_to_envoy());
        let problems = problems.unwrap_or_default().into_iter();
        problems.map(|(_, problem)| problem).collect()
    }

    /// Of each inbound that gets traffic its name, else its port.
    pub(crate) fn sections(&self) -> Vec<String> {
        let networking = self.networking.iter();
        networking
            .flat_map(|networking| networking.inbound.iter().map(Inbound::section))
            .collect()
    }

    /// What its author may not expect, fields that nothing knows among it; whoever applies the document is warned by the API, and
    /// a proxy that brings it here.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let document: Option<Value> = self.resource.as_ref().and_then(|text| serde_json::from_str(text).ok());
        // What is wrong is said by the control plane, which refuses it.
        let read = document.and_then(|document| document::read(&document).ok());
        read.map(|read| read.warnings).unwrap_or_default()
    }

    fn dataplane(&self) -> Option<Dataplane> {
        Some(Dataplane {
            networking: self.networking.clone()?,
            ..Dataplane::default()
        })
    }
}

/// What is not a port is left to the control plane's validation.
fn inbound_ports(document: &Value) -> Vec<u32> {
    let inbounds = document.pointer("/networking/inbound").and_then(Value::as_array);
    let ports = inbounds
        .into_iter()
        .flatten()
        .filter_map(|inbound| inbound.get("port")?.as_u64());
    ports.filter_map(|port| u32::try_from(port).ok()).collect()
}

/// An environment variable that is set but empty counts as not set.
fn given(value: &Option<String>) -> Option<&str> {
    value.as_deref().filter(|text| !text.is_empty())
}

fn proxy_type_of(resource_type: &str) -> Option<&'static str> {
    [ProxyType::Dataplane, ProxyType::Ingress, ProxyType::Egress]
        .into_iter()
        .find(|candidate| candidate.resource_type() == resource_type)
        .map(ProxyType::as_str)
}

fn read_document(path: &Path) -> Result<String, ProxyError> {
    let unreadable = |reason: String| ProxyError::Unreadable {
        origin: path.display().to_string(),
        reason,
    };
    let reader: Box<dyn Read> = if path == Path::new("-") {
        Box::new(std::io::stdin())
    } else {
        Box::new(std::fs::File::open(path).map_err(|error| unreadable(error.to_string()))?)
    };
    let mut text = String::new();
    reader
        .take(MAX_DOCUMENT_BYTES + 1)
        .read_to_string(&mut text)
        .map_err(|error| unreadable(error.to_string()))?;
    if text.len() as u64 > MAX_DOCUMENT_BYTES {
        return Err(unreadable("is larger than 1 MiB".to_owned()));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use clap::Parser;

    #[derive(clap::Parser)]
    struct Program {
        #[command(flatten)]
        run: RunArgs,
    }

    fn resolve(args: &[&str]) -> Result<Proxy, ProxyError> {
        let args = Program::try_parse_from(std::iter::once(&"dp").chain(args)).unwrap().run;
        Proxy::resolve(&args, None)
    }

    const DATAPLANE: &str = "type: Dataplane\nmesh: demo\nname: '{{ name }}'\nnetworking: {address: '{{ ip }}'}";

    #[test]
    fn a_document_is_rendered_and_sent_as_json() {
        let proxy = resolve(&["--dataplane", DATAPLANE, "-v", "name=web-1", "-v", "ip=10.0.0.1"]).unwrap();
        assert_eq!((proxy.mesh.as_str(), proxy.name.as_str()), ("demo", "web-1"));
        assert_eq!(
            proxy.resource.unwrap(),
            r#"{"type":"Dataplane","mesh":"demo","name":"web-1","networking":{"address":"10.0.0.1"}}"#
        );
    }

    #[test]
    fn an_inbound_that_leads_to_envoy_is_found() {
        let problems = |inbound: &str| {
            let document =
                format!("{{type: Dataplane, name: a, networking: {{address: 10.0.0.1, inbound: [{inbound}]}}}}");
            resolve(&["--dataplane", &document]).unwrap().problems()
        };
        assert!(problems("{port: 80}").concat().contains("serviceAddress"));
        assert!(problems("{port: 80, serviceAddress: 127.0.0.1}").is_empty());
        assert!(
            problems("{port: many}").is_empty(),
            "left to the control plane's validation"
        );
    }

    #[test]
    fn what_apply_would_warn_of_is_known_here() {
        let document = "{type: Dataplane, mesh: default, name: a, networking: {address: 10.0.0.1, inbound: [{port: 80, serviceAdress: 127.0.0.1, \
                        tags: {kuma.io/service: A_b}}]}}";
        let warnings = resolve(&["--dataplane", document]).unwrap().warnings().concat();
        assert!(warnings.contains("\"A_b\" cannot be the name"), "{warnings}");
        assert!(
            warnings.contains("\"networking.inbound[0].serviceAdress\""),
            "{warnings}"
        );
    }

    #[test]
    fn an_ingress_without_an_address_for_others_is_noticed() {
        let warnings = |networking: &str| {
            let document = format!("{{type: ZoneIngress, name: a, networking: {networking}}}");
            let proxy = resolve(&["--proxy-type", "ingress", "--dataplane", &document]).unwrap();
            proxy.warnings().concat()
        };
        assert!(warnings("{address: 10.0.0.1, port: 10001}").contains("networking.advertisedAddress: is missing"));
        let open = "{address: 10.0.0.1, port: 10001, advertisedAddress: 10.0.0.1, advertisedPort: 10001}";
        assert_eq!(warnings(open), "");
    }

    #[test]
    fn a_port_that_is_none_leads_to_nobody() {
        let document = "{type: Dataplane, name: a, networking: {address: 10.0.0.1, inbound: [{port: 70000}]}}";
        assert!(resolve(&["--dataplane", document]).unwrap().problems().is_empty());
    }

    #[test]
    fn separators_around_the_document_do_no_harm() {
        let one = "---\ntype: Dataplane\nmesh: m\nname: a\n---\n";
        assert_eq!(resolve(&["--dataplane", one]).unwrap().name, "a");
        let two = format!("{one}{one}");
        let error = resolve(&["--dataplane", &two]).unwrap_err().to_string();
        assert!(error.contains("exactly one document"), "{error}");
    }

    #[test]
    fn the_document_must_fit_the_proxy_type() {
        let error = resolve(&["--proxy-type", "ingress", "--dataplane", "{type: Dataplane, name: a}"]).unwrap_err();
        assert!(
            error.to_string().contains("Dataplane needs --proxy-type dataplane"),
            "{error}"
        );
        let error = resolve(&["--dataplane", "{type: Mesh, name: a}"]).unwrap_err();
        assert!(error.to_string().contains("type: \"Mesh\" is not a proxy"), "{error}");
        let error = resolve(&["--dataplane", "{type: Dataplane}"]).unwrap_err();
        assert!(error.to_string().contains("name: is missing"), "{error}");
    }

    #[test]
    fn flags_and_document_do_not_mix() {
        let error = resolve(&["--name", "a", "--dataplane", "{type: Dataplane, name: a}"]).unwrap_err();
        assert!(matches!(error, ProxyError::Conflict { flag: "--name" }));
    }

    #[test]
    fn without_document_the_name_is_needed() {
        assert!(resolve(&[]).unwrap_err().to_string().contains("--name and --mesh"));
        let ingress = resolve(&["--proxy-type", "ingress", "--name", "i1"]).unwrap();
        assert_eq!((ingress.mesh.as_str(), ingress.resource), ("", None));
    }

    #[test]
    fn broken_documents_name_their_origin() {
        let error = resolve(&["--dataplane-file", "/nonexistent/dp.yaml"]).unwrap_err();
        assert!(error.to_string().contains("/nonexistent/dp.yaml"), "{error}");
        let error = resolve(&["--dataplane", "type: [", "-v", "a=b"]).unwrap_err();
        assert!(error.to_string().contains("of --dataplane"), "{error}");
        let error = resolve(&["--dataplane", DATAPLANE]).unwrap_err();
        assert!(error.to_string().contains("--dataplane-var name=<value>"), "{error}");
    }
}
