//! What a control plane and a proxy's Envoy say about one proxy (`spec/http-api.md` §2.2, §2.3), passed on as it comes.

use clap::ValueEnum;
use serde_json::Value;

use crate::client::Client;
use crate::console::Console;
use crate::output::{Format, write_document};

/// What to ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ProxyQuestion {
    /// Policies that apply to it.
    Policies,
    /// What its Envoy runs with.
    ConfigDump,
    /// Its Envoy's statistics.
    Stats,
    /// Its Envoy's clusters and endpoints.
    Clusters,
    /// What the control plane would send to it.
    Config,
}

/// `shadow` and `diff` belong to [`ProxyQuestion::Config`]; `proxy` is the path of the resource.
pub(super) fn path(proxy: &str, question: ProxyQuestion, shadow: bool, diff: bool) -> String {
    match question {
        ProxyQuestion::Policies => format!("{proxy}/policies"),
        ProxyQuestion::ConfigDump => format!("{proxy}/xds?include_eds=true"),
        ProxyQuestion::Stats => format!("{proxy}/stats"),
        ProxyQuestion::Clusters => format!("{proxy}/clusters"),
        ProxyQuestion::Config => {
            let diff = if diff { "&include=diff" } else { "" };
            format!("{proxy}/_config?shadow={shadow}{diff}")
        }
    }
}

/// Prints the answer: JSON indented, text as it is.
pub(super) async fn show(path: &str, client: &Client, console: &mut Console<'_>) -> anyhow::Result<()> {
    let text = client.get_text(path).await?;
    match serde_json::from_str::<Value>(&text) {
        Ok(document) => {
            write_document(console.out, Format::Json, &document)?;
        }
        Err(_) => write!(console.out, "{text}")?,
    }
    Ok(())
}
