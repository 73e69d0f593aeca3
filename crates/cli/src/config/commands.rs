//! `meshspan config`.

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use serde_json::Value;

use super::file::{ApiServer, Config, Header};
use crate::args::ConnectionArgs;
use crate::client::Client;
use crate::console::Console;
use crate::run::Outcome;
use crate::table::Table;

/// Products whose API this client speaks, as their index names them.
const PRODUCTS: [&str; 3] = ["Kuma", "Kong Mesh", "Meshspan"];

/// Shown instead of secrets.
const HIDDEN: &str = "*****";

/// Arguments of `config`.
#[derive(Debug, Args)]
pub struct ConfigArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: ConfigCommand,
}

/// `config …`.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Show the configuration, secrets hidden
    View,
    /// List, add, remove and choose control planes
    #[command(visible_alias = "control-plane", subcommand)]
    ControlPlanes(ControlPlanesCommand),
}

/// `config control-planes …`.
#[derive(Debug, Subcommand)]
pub enum ControlPlanesCommand {
    /// List known control planes
    List,
    /// Remember a control plane and use it from now on
    #[command(after_help = "Example:
  meshspan config control-planes add --name prod --address https://cp.example:5682 \\
    --ca-cert-file ca.pem --auth-type tokens --auth-conf token=eyJ…")]
    Add(Box<AddArgs>),
    /// Forget a control plane
    Remove(NameArg),
    /// Use another known control plane
    Switch(NameArg),
}

/// The name of a control plane.
#[derive(Debug, Args)]
pub struct NameArg {
    /// Its name in the configuration
    #[arg(long, value_name = "NAME")]
    pub name: String,
}

/// Arguments of `config control-planes add`. Those that are also shared flags carry the same names on purpose: these win.
#[derive(Debug, Args)]
pub struct AddArgs {
    /// Its name in the configuration
    #[arg(long, value_name = "NAME")]
    pub name: String,
    /// Address of its REST API, such as https://cp.example:5682
    #[arg(long, value_name = "URL")]
    pub address: String,
    /// Replace a control plane of the same name
    #[arg(long)]
    pub overwrite: bool,
    /// PEM file with the CA of its certificate
    #[arg(long, value_name = "FILE")]
    pub ca_cert_file: Option<PathBuf>,
    /// PEM file with a client certificate
    #[arg(long, value_name = "FILE", requires = "client_key_file")]
    pub client_cert_file: Option<PathBuf>,
    /// PEM file with the key of the client certificate
    #[arg(long, value_name = "FILE", requires = "client_cert_file")]
    pub client_key_file: Option<PathBuf>,
    /// Accept any certificate (for tests only)
    #[arg(long)]
    pub skip_verify: bool,
    /// Header of every request; may be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair, value_delimiter = ',')]
    pub headers: Vec<(String, String)>,
    /// How to prove who you are: tokens
    #[arg(long, value_name = "TYPE", value_parser = ["tokens"], requires = "auth_conf")]
    pub auth_type: Option<String>,
    /// For tokens: token=TOKEN
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair, requires = "auth_type")]
    pub auth_conf: Vec<(String, String)>,
    /// Do not ask the control plane whether it is one
    #[arg(long)]
    pub skip_check: bool,
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write NAME=VALUE".to_owned()),
    }
}

/// Carries out `config`.
///
/// # Errors
/// When the configuration cannot be used, or a new control plane is none.
pub async fn configure(
    args: &ConfigArgs,
    connection: &ConnectionArgs,
    console: &mut Console<'_>,
) -> anyhow::Result<Outcome> {
    let mut config = Config::load(connection)?;
    let command = match &args.command {
        ConfigCommand::View => {
            write!(console.out, "{}", serde_saphyr::to_string(&hidden(config))?)?;
            return Ok(Outcome::Done);
        }
        ConfigCommand::ControlPlanes(ControlPlanesCommand::List) => {
            list(&config, console.out)?;
            return Ok(Outcome::Done);
        }
        ConfigCommand::ControlPlanes(command) => command,
    };
    if connection.no_config {
        bail!("--no-config leaves nothing to change: drop it, or name a file with --config-file");
    }
    let done = match command {
        ControlPlanesCommand::List => return Ok(Outcome::Done),
        ControlPlanesCommand::Add(add_args) => {
            add(add_args, connection, &mut config).await?;
            format!("added control plane {:?} and switched to it", add_args.name)
        }
        ControlPlanesCommand::Remove(NameArg { name }) => {
            if !config.remove(name) {
                bail!(unknown(name, &config));
            }
            let current = &config.current_context;
            if config.contexts.iter().all(|context| context.name != *current) {
                config.current_context = config.contexts.first().map(|c| c.name.clone()).unwrap_or_default();
            }
            format!(
                "removed control plane {name:?}; the current one is now {:?}",
                config.current_context
            )
        }
        ControlPlanesCommand::Switch(NameArg { name }) => {
            let context = config.contexts.iter().find(|context| context.control_plane == *name);
            config.current_context = context.with_context(|| unknown(name, &config))?.name.clone();
            format!("switched to control plane {name:?}")
        }
    };
    let path = config.save(connection)?;
    writeln!(console.out, "{done} (in {})", path.display())?;
    Ok(Outcome::Done)
}

fn unknown(name: &str, config: &Config) -> String {
    let known: Vec<&str> = config.control_planes.iter().map(|cp| cp.name.as_str()).collect();
    format!(
        "control plane {name:?} is not in the configuration, it has: {}",
        known.join(", ")
    )
}

async fn add(args: &AddArgs, connection: &ConnectionArgs, config: &mut Config) -> anyhow::Result<()> {
    if !args.overwrite && config.control_planes.iter().any(|cp| cp.name == args.name) {
        bail!(
            "control plane {:?} is already in the configuration: use another --name, or --overwrite",
            args.name
        );
    }
    let absolute = |path: &Option<PathBuf>| -> anyhow::Result<String> {
        match path {
            // Later commands run in other folders.
            Some(path) => Ok(std::path::absolute(path)?.display().to_string()),
            None => Ok(String::new()),
        }
    };
    let headers = args.headers.iter();
    let api_server = ApiServer {
        url: args.address.clone(),
        ca_cert_file: absolute(&args.ca_cert_file)?,
        client_cert_file: absolute(&args.client_cert_file)?,
        client_key_file: absolute(&args.client_key_file)?,
        skip_verify: args.skip_verify,
        auth_type: args.auth_type.clone().unwrap_or_default(),
        auth_conf: args.auth_conf.iter().cloned().collect(),
        headers: headers
            .map(|(key, value)| Header {
                key: key.clone(),
                value: value.clone(),
            })
            .collect(),
    };
    if args.auth_type.is_some() && !api_server.auth_conf.contains_key("token") {
        bail!("--auth-type tokens needs --auth-conf token=TOKEN");
    }
    let client = Client::new(&api_server.endpoint()?, connection.api_timeout)?;
    if !args.skip_check {
        let index = client
            .get("/")
            .await
            .context("the control plane was not added (--skip-check adds it anyway)")?;
        let product = index.get("product").and_then(Value::as_str).unwrap_or_default();
        if !PRODUCTS.contains(&product) {
            let known = PRODUCTS.join(", ");
            bail!(
                "{} calls itself {product:?}, not one of {known}: give the address of a control plane's REST API, or --skip-check",
                args.address
            );
        }
    }
    config.put(&args.name, api_server);
    config.current_context.clone_from(&args.name);
    Ok(())
}

fn list(config: &Config, out: &mut dyn Write) -> anyhow::Result<()> {
    let current = config
        .contexts
        .iter()
        .find(|context| context.name == config.current_context);
    let current = current.map(|context| context.control_plane.as_str());
    let mut table = Table::new(["ACTIVE", "NAME", "ADDRESS"]);
    for control_plane in &config.control_planes {
        let active = if current == Some(&control_plane.name) { "*" } else { "" };
        let url = &control_plane.coordinates.api_server.url;
        table.add(vec![active.to_owned(), control_plane.name.clone(), url.clone()]);
    }
    table.write(out, "")?;
    Ok(())
}

/// Without secrets: tokens and header values.
fn hidden(mut config: Config) -> Config {
    for control_plane in &mut config.control_planes {
        let api_server = &mut control_plane.coordinates.api_server;
        let values = api_server.auth_conf.values_mut();
        for value in values.chain(api_server.headers.iter_mut().map(|header| &mut header.value)) {
            HIDDEN.clone_into(value);
        }
    }
    config
}
