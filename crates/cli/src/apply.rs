//! `meshspan apply`.

use std::collections::{BTreeMap, BTreeSet};

use clap::Args;
use meshspan_model::policy::PolicyKind;
use meshspan_model::{Kind, document, labels};
use serde_json::Value;

use crate::args::ConnectionArgs;
use crate::client::{Client, ClientError, item};
use crate::console::Console;
use crate::documents::{self, Document};
use crate::output;
use crate::run::{Outcome, connect};

/// Labels that control planes add or keep by themselves: their absence in a file is no change.
const COMPUTED_LABELS: [&str; 7] = [
    labels::MESH,
    labels::NAMESPACE,
    labels::ORIGIN,
    labels::ZONE,
    labels::ENV,
    labels::DISPLAY_NAME,
    labels::POLICY_ROLE,
];

/// Arguments of `apply`.
#[derive(Debug, Args)]
pub struct ApplyArgs {
    /// File, folder (with everything below it) or - for standard input; may be repeated
    #[arg(short = 'f', long = "file", required = true, value_name = "FILE")]
    pub files: Vec<String>,
    /// Value of a variable {{ NAME }} in the files; may be repeated
    #[arg(short = 'v', long = "var", value_name = "NAME=VALUE", value_parser = variable)]
    pub variables: Vec<(String, String)>,
    /// Check the files and show what would be sent; asks no control plane
    #[arg(long)]
    pub dry_run: bool,
}

fn variable(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write NAME=VALUE".to_owned()),
    }
}

/// What became of a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Applied {
    Created,
    Updated,
    Unchanged,
}

/// Carries out `apply`.
///
/// # Errors
/// When not everything can be read (then nothing was sent), or the control plane cannot be reached.
pub async fn apply(
    args: &ApplyArgs,
    connection: &ConnectionArgs,
    console: &mut Console<'_>,
) -> anyhow::Result<Outcome> {
    let variables: BTreeMap<String, String> = args.variables.iter().cloned().collect();
    let mut documents = documents::read(&args.files, &variables, console.input)?;
    // Everything else in a mesh needs the mesh; the sort is stable, so the rest keeps its order.
    documents.sort_by_key(|document| document.resource.kind != Kind::Mesh);
    let mut warnings = Warnings::default();
    for document in &documents {
        warnings.show(document, &document.warnings, console)?;
    }
    if args.dry_run {
        return show(&documents, console);
    }
    let client = connect(connection)?;
    let mut outcome = Outcome::Done;
    for (index, document) in documents.iter().enumerate() {
        match apply_one(&client, document, &mut warnings, console).await {
            Ok(applied) => {
                let verb = match applied {
                    Applied::Created => "created",
                    Applied::Updated => "updated",
                    Applied::Unchanged => "unchanged",
                };
                writeln!(console.out, "{document} {verb}")?;
            }
            Err(Failure::Client(error)) if error.is_connection_problem() => {
                let left = documents.len() - index;
                return Err(anyhow::Error::new(error)
                    .context(format!("{left} of {} documents were not applied", documents.len())));
            }
            Err(Failure::Client(error)) => {
                outcome = Outcome::SomeFailed;
                writeln!(console.err, "{document} failed: {error}")?;
            }
            Err(Failure::Console(error)) => return Err(error),
        }
    }
    Ok(outcome)
}

enum Failure {
    Client(ClientError),
    Console(anyhow::Error),
}

async fn apply_one(
    client: &Client,
    document: &Document,
    warnings: &mut Warnings,
    console: &mut Console<'_>,
) -> Result<Applied, Failure> {
    let resource = &document.resource;
    let path = item(resource.kind, &resource.mesh, &resource.name);
    let existing = client.find(&path).await.map_err(Failure::Client)?;
    if existing.is_some_and(|existing| is_unchanged(document, &existing)) {
        return Ok(Applied::Unchanged);
    }
    let written = client.put(&path, &document.body).await.map_err(Failure::Client)?;
    warnings
        .show(document, &written.warnings, console)
        .map_err(Failure::Console)?;
    Ok(if written.created {
        Applied::Created
    } else {
        Applied::Updated
    })
}

/// Whether sending the document would change nothing. Only claimed where this program understands all of it: fields that it does not
/// know, in the document or on the server, make it a change.
fn is_unchanged(document: &Document, existing: &Value) -> bool {
    let Ok(parsed) = document::read(existing) else {
        return false;
    };
    // Of a policy nothing is dropped: it is stored as it was written.
    let keeps_everything = PolicyKind::of(document.resource.kind).is_some();
    if !keeps_everything && (!document.is_understood || !parsed.warnings.is_empty()) {
        return false;
    }
    let (mut wanted, mut stored) = (document.resource.spec.clone(), parsed.resource.spec);
    if document.resource.kind == Kind::MeshService {
        // The owning zone computes these two; whoever leaves them out does not ask for their removal.
        for computed in ["state", "identities"] {
            if document.body.pointer(&format!("/spec/{computed}")).is_none() {
                for spec in [&mut wanted, &mut stored] {
                    spec.as_object_mut().and_then(|spec| spec.remove(computed));
                }
            }
        }
    }
    let given = &document.resource.labels;
    let on_server = &parsed.resource.labels;
    wanted == stored
        && given.iter().all(|(key, value)| on_server.get(key) == Some(value))
        && on_server
            .keys()
            .all(|key| given.contains_key(key) || COMPUTED_LABELS.contains(&key.as_str()))
}

fn show(documents: &[Document], console: &mut Console<'_>) -> anyhow::Result<Outcome> {
    for (index, document) in documents.iter().enumerate() {
        if index > 0 {
            writeln!(console.out, "---")?;
        }
        output::write_yaml(console.out, &document.body)?;
    }
    Ok(Outcome::Done)
}

/// Warnings, each shown once a document: client and server may find the same unknown field.
#[derive(Default)]
struct Warnings {
    shown: BTreeSet<String>,
}

impl Warnings {
    fn show(&mut self, document: &Document, warnings: &[String], console: &mut Console<'_>) -> anyhow::Result<()> {
        for warning in warnings {
            let line = format!("warning: {document}: {warning}");
            if !self.shown.contains(&line) {
                writeln!(console.err, "{line}")?;
                self.shown.insert(line);
            }
        }
        Ok(())
    }
}
