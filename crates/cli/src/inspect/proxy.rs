//! What a control plane and a proxy's Envoy say about one proxy (`spec/http-api.md` §2.2, §2.3), passed on as it comes.

use anyhow::bail;
use clap::ValueEnum;
use serde_json::Value;

use super::proxy_policies::{write_policies, write_rules};
use crate::client::{Client, segment};
use crate::console::Console;
use crate::output::{Format, write_document};

/// What to ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ProxyQuestion {
    /// Policies that apply to it; with --to, what they say together about traffic to a service.
    Policies,
    /// What policies say together, by kind and traffic.
    Rules,
    /// What its Envoy runs with.
    #[value(hide = true)]
    ConfigDump,
    /// Its Envoy's statistics.
    #[value(hide = true)]
    Stats,
    /// Its Envoy's clusters and endpoints.
    #[value(hide = true)]
    Clusters,
    /// What the control plane would send to it.
    Config,
}

/// What belongs to some questions only.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Details<'a> {
    /// As if policies in shadow applied.
    pub(super) shadow: bool,
    /// The difference that they make.
    pub(super) diff: bool,
    /// The service that traffic goes to, and its port.
    pub(super) to: Option<&'a str>,
    pub(super) port: Option<&'a str>,
}

/// What only some control planes of the reference answer.
fn asks_envoy(question: ProxyQuestion) -> bool {
    matches!(
        question,
        ProxyQuestion::ConfigDump | ProxyQuestion::Stats | ProxyQuestion::Clusters
    )
}

fn admin_path(question: ProxyQuestion) -> &'static str {
    match question {
        ProxyQuestion::Stats => "stats",
        ProxyQuestion::Clusters => "clusters",
        _ => "config_dump",
    }
}

/// The path of a question; `proxy` is that of the resource.
pub(super) fn path(proxy: &str, question: ProxyQuestion, details: Details<'_>) -> String {
    let shadow = details.shadow;
    match question {
        ProxyQuestion::Policies => {
            let destination = details.to.map(|to| format!("&destination={}", segment(to)));
            let port = details.port.map(|port| format!("&port={}", segment(port)));
            let more = destination.unwrap_or_default() + &port.unwrap_or_default();
            format!("{proxy}/_policies?shadow={shadow}{more}")
        }
        ProxyQuestion::Rules => format!("{proxy}/_rules?shadow={shadow}"),
        ProxyQuestion::ConfigDump => format!("{proxy}/xds?include_eds=true"),
        ProxyQuestion::Stats => format!("{proxy}/stats"),
        ProxyQuestion::Clusters => format!("{proxy}/clusters"),
        ProxyQuestion::Config => {
            let diff = if details.diff { "&include=diff" } else { "" };
            format!("{proxy}/_config?shadow={shadow}{diff}")
        }
    }
}

/// Asks and prints the answer: policies and rules as tables unless another format is wanted, other JSON indented, text
/// as it is.
pub(super) async fn show(
    proxy: &str,
    question: ProxyQuestion,
    details: Details<'_>,
    format: Format,
    client: &Client,
    console: &mut Console<'_>,
) -> anyhow::Result<()> {
    let text = match client.get_text(&path(proxy, question, details)).await {
        // What control planes before 2.12 have instead.
        Err(error) if error.is_not_found() && question == ProxyQuestion::Policies => {
            client.get_text(&format!("{proxy}/policies")).await?
        }
        Err(error) if error.is_not_found() && asks_envoy(question) => {
            bail!(
                "this control plane does not pass on what an Envoy says: ask Envoy's admin interface on the proxy's host, for \
                 example `curl http://127.0.0.1:9901/{}`",
                admin_path(question)
            )
        }
        answer => answer?,
    };
    let Ok(document) = serde_json::from_str::<Value>(&text) else {
        write!(console.out, "{text}")?;
        return Ok(());
    };
    if write_document(console.out, format, &document)? {
        return Ok(());
    }
    match question {
        ProxyQuestion::Policies if document.get("matched").is_some() => write_policies(&document, console.out),
        ProxyQuestion::Rules => write_rules(&document, console.out, console.width.filter(|_| format != Format::Wide)),
        _ => write_document(console.out, Format::Json, &document).map(|_| ()),
    }
}
