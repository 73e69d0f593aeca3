//! Tokens, made by the control plane or, with its signing key, without it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use meshspan_identity::token::{
    DataplaneClaims, IssueError, Lifespan, Signer, UserClaims, ZoneClaims, issue_dataplane_token, issue_user_token,
    issue_zone_token,
};
use meshspan_model::duration::{self, GoDuration};
use meshspan_model::labels;
use serde_json::{Value, json};

use super::keys::read_signing_key;
use crate::args::ConnectionArgs;
use crate::console::Console;
use crate::get::DEFAULT_MESH;
use crate::run::connect;

/// What all tokens have.
#[derive(Debug, Args)]
pub struct Issuing {
    /// How long the token is valid: 30m, 24h, 30d
    #[arg(long, value_name = "DURATION", value_parser = valid_for)]
    pub valid_for: Duration,
    /// Sign here, with this key, instead of asking the control plane
    #[arg(long, value_name = "FILE", requires = "kid")]
    pub signing_key_path: Option<PathBuf>,
    /// Id of that key: the number at the end of its secret's name
    #[arg(long, value_name = "ID", requires = "signing_key_path")]
    pub kid: Option<String>,
}

/// Arguments of `generate dataplane-token`.
#[derive(Debug, Args)]
pub struct DataplaneTokenArgs {
    /// Only for the Dataplane of this name
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    pub name: String,
    /// Mesh of the Dataplane
    #[arg(short, long, value_name = "MESH", default_value = DEFAULT_MESH)]
    pub mesh: String,
    /// Only for Dataplanes whose tag has one of these values; may be repeated
    #[arg(long = "tag", value_name = "KEY=VALUE,…", value_parser = tag)]
    pub tags: Vec<(String, BTreeSet<String>)>,
    /// Kind of proxy: dataplane, ingress or egress; has no effect, kept for scripts
    #[arg(long, value_name = "TYPE", default_value = "", value_parser = ["", "dataplane", "ingress", "egress"], hide_possible_values = true, hide_default_value = true)]
    pub proxy_type: String,
    /// How it is made.
    #[command(flatten)]
    pub issuing: Issuing,
}

/// Arguments of `generate zone-token`.
#[derive(Debug, Args)]
pub struct ZoneTokenArgs {
    /// The zone
    #[arg(long, value_name = "ZONE")]
    pub zone: String,
    /// What it is for; may be repeated
    #[arg(long = "scope", value_name = "SCOPE", value_delimiter = ',', value_parser = ["ingress", "egress", "cp"], default_values = ["ingress", "egress"])]
    pub scopes: Vec<String>,
    /// How it is made.
    #[command(flatten)]
    pub issuing: Issuing,
}

/// Arguments of `generate user-token`.
#[derive(Debug, Args)]
pub struct UserTokenArgs {
    /// The user
    #[arg(long, value_name = "NAME")]
    pub name: String,
    /// A group of the user; may be repeated
    #[arg(long = "group", value_name = "GROUP")]
    pub groups: Vec<String>,
    /// How it is made.
    #[command(flatten)]
    pub issuing: Issuing,
}

fn valid_for(text: &str) -> Result<Duration, String> {
    let long = |_| duration::parse_long(text).and_then(|long| Duration::try_from(long).map_err(|e| e.to_string()));
    let duration = duration::parse(text).or_else(long)?;
    if duration < Duration::from_secs(1) {
        return Err("must be at least 1s".to_owned());
    }
    Ok(duration)
}

fn tag(text: &str) -> Result<(String, BTreeSet<String>), String> {
    match text.split_once('=') {
        Some((key, values)) if !key.is_empty() && !values.is_empty() => {
            Ok((key.to_owned(), values.split(',').map(str::to_owned).collect()))
        }
        _ => Err("write KEY=VALUE or KEY=VALUE1,VALUE2".to_owned()),
    }
}

pub(super) async fn dataplane(
    args: &DataplaneTokenArgs,
    connection: &ConnectionArgs,
    console: &mut Console<'_>,
) -> anyhow::Result<()> {
    let mut tags: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (key, values) in &args.tags {
        tags.entry(key.clone()).or_default().extend(values.iter().cloned());
    }
    let claims = DataplaneClaims {
        name: args.name.clone(),
        mesh: args.mesh.clone(),
        tags,
        proxy_type: args.proxy_type.clone(),
    };
    let request = json!({
        "name": claims.name, "mesh": claims.mesh, "tags": claims.tags, "type": claims.proxy_type,
        "validFor": GoDuration(args.issuing.valid_for),
    });
    let offline = |signer: &Signer<'_>, lifespan: &Lifespan| issue_dataplane_token(signer, &claims, lifespan);
    issue(
        &args.issuing,
        "/tokens/dataplane",
        &request,
        &offline,
        connection,
        console,
    )
    .await?;
    if let Some(warning) = unbound(&claims) {
        writeln!(console.err, "Warning: {warning}")?;
    }
    Ok(())
}

/// What whoever holds a token that is not bound to a service may do with it.
fn unbound(claims: &DataplaneClaims) -> Option<String> {
    if claims.tags.contains_key(labels::TAG_SERVICE) {
        return None;
    }
    let who = match claims.name.as_str() {
        "" => format!("any Dataplane of mesh {}", claims.mesh),
        name => format!("Dataplane {name}"),
    };
    Some(format!(
        "this token is not bound to a service: whoever holds it may register {who} with the name and identity of every \
         service of the mesh; bind it with --tag {}=SERVICE",
        labels::TAG_SERVICE
    ))
}

pub(super) async fn zone(
    args: &ZoneTokenArgs,
    connection: &ConnectionArgs,
    console: &mut Console<'_>,
) -> anyhow::Result<()> {
    let claims = ZoneClaims {
        zone: args.zone.clone(),
        scope: args.scopes.clone(),
    };
    let request = json!({
        "zone": claims.zone, "scope": claims.scope, "validFor": GoDuration(args.issuing.valid_for),
    });
    let offline = |signer: &Signer<'_>, lifespan: &Lifespan| issue_zone_token(signer, &claims, lifespan);
    issue(&args.issuing, "/tokens/zone", &request, &offline, connection, console).await
}

pub(super) async fn user(
    args: &UserTokenArgs,
    connection: &ConnectionArgs,
    console: &mut Console<'_>,
) -> anyhow::Result<()> {
    let claims = UserClaims {
        name: args.name.clone(),
        groups: args.groups.clone(),
    };
    let request = json!({
        "name": claims.name, "groups": claims.groups, "validFor": GoDuration(args.issuing.valid_for),
    });
    let offline = |signer: &Signer<'_>, lifespan: &Lifespan| issue_user_token(signer, &claims, lifespan);
    issue(&args.issuing, "/tokens/user", &request, &offline, connection, console).await
}

async fn issue(
    issuing: &Issuing,
    path: &str,
    request: &Value,
    offline: &dyn Fn(&Signer<'_>, &Lifespan) -> Result<String, IssueError>,
    connection: &ConnectionArgs,
    console: &mut Console<'_>,
) -> anyhow::Result<()> {
    let token = match (&issuing.signing_key_path, &issuing.kid) {
        (Some(key_path), Some(kid)) => {
            let key = read_signing_key(key_path)?;
            let valid_for = issuing.valid_for.try_into().context("--valid-for is too long")?;
            offline(&Signer { kid, key: &key }, &Lifespan::new(console.now, valid_for))?
        }
        _ => {
            let client = connect(connection)?;
            let token = client.post_text(path, request).await?.trim().to_owned();
            if token.is_empty() {
                bail!("the control plane at {} answered with an empty token", client.url());
            }
            token
        }
    };
    // No line feed, as with kumactl: files made by redirection hold the token and nothing else.
    write!(console.out, "{token}")?;
    Ok(())
}
