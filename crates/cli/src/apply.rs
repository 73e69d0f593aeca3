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
    /// Check the files, let the control plane check them too, and show what would be sent; nothing is written
    #[arg(long)]
    pub dry_run: bool,
}

fn variable(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write NAME=VALUE".to_owned()),
    }
}

/// What is to be done with a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Write,
    /// The server has all that it says.
    Nothing,
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
        return dry_run(&documents, connection, &mut warnings, console).await;
    }
    let client = connect(connection)?;
    let mut validation = Validation::of(&client, &documents);
    let mut steps = Vec::new();
    let mut refused = false;
    for document in &documents {
        match prepare(&mut validation, document, &mut warnings, console).await {
            Ok(step) => steps.push(step),
            Err(Failure::Client(error)) if error.is_connection_problem() => {
                let all = documents.len();
                return Err(anyhow::Error::new(error).context(format!("{all} of {all} documents were not applied")));
            }
            Err(Failure::Client(error)) => {
                refused = true;
                writeln!(console.err, "{document} failed: {error}")?;
            }
            Err(Failure::Console(error)) => return Err(error),
        }
    }
    if refused {
        let what = match documents.len() {
            1 => "nothing was applied".to_owned(),
            count => format!("none of the {count} documents was applied"),
        };
        writeln!(console.err, "{what}")?;
        return Ok(Outcome::SomeFailed);
    }
    write_all(&client, &documents, &steps, &mut warnings, console).await
}

/// Writes what is to be written. A document that fails now, although nothing was wrong with it a moment ago, leaves the others.
async fn write_all(
    client: &Client,
    documents: &[Document],
    steps: &[Step],
    warnings: &mut Warnings,
    console: &mut Console<'_>,
) -> anyhow::Result<Outcome> {
    let mut outcome = Outcome::Done;
    for (index, (document, step)) in documents.iter().zip(steps).enumerate() {
        if *step == Step::Nothing {
            writeln!(console.out, "{document} unchanged")?;
            continue;
        }
        match client.put(&path(document), &document.body).await {
            Ok(written) => {
                warnings.show(document, &written.warnings, console)?;
                let verb = if written.created { "created" } else { "updated" };
                writeln!(console.out, "{document} {verb}")?;
            }
            Err(error) if error.is_connection_problem() => {
                let left = documents.len() - index;
                return Err(anyhow::Error::new(error)
                    .context(format!("{left} of {} documents were not applied", documents.len())));
            }
            Err(error) => {
                outcome = Outcome::SomeFailed;
                writeln!(console.err, "{document} failed: {error}")?;
            }
        }
    }
    Ok(outcome)
}

fn path(document: &Document) -> String {
    let resource = &document.resource;
    item(resource.kind, &resource.mesh, &resource.name)
}

enum Failure {
    Client(ClientError),
    Console(anyhow::Error),
}

/// Asks the control plane what it thinks of documents, as long as it can say.
struct Validation<'a> {
    client: &'a Client,
    /// Meshes that are among the documents, and need not be there yet.
    meshes: BTreeSet<&'a str>,
    is_supported: bool,
}

impl<'a> Validation<'a> {
    fn of(client: &'a Client, documents: &'a [Document]) -> Self {
        let meshes = documents
            .iter()
            .filter(|document| document.resource.kind == Kind::Mesh)
            .map(|document| document.resource.name.as_str());
        Self {
            client,
            meshes: meshes.collect(),
            is_supported: true,
        }
    }

    async fn check(
        &mut self,
        document: &Document,
        warnings: &mut Warnings,
        console: &mut Console<'_>,
    ) -> Result<(), Failure> {
        if !self.is_supported {
            return Ok(());
        }
        let mesh_follows = self.meshes.contains(document.resource.mesh.as_str());
        let answer = self
            .client
            .validate(&path(document), &document.body, mesh_follows)
            .await;
        match answer.map_err(Failure::Client)? {
            Some(found) => warnings
                .show(document, &found.warnings, console)
                .map_err(Failure::Console),
            None => {
                self.is_supported = false;
                Ok(())
            }
        }
    }
}

/// Finds out what is to be done, and that the control plane will take it.
async fn prepare(
    validation: &mut Validation<'_>,
    document: &Document,
    warnings: &mut Warnings,
    console: &mut Console<'_>,
) -> Result<Step, Failure> {
    let existing = validation.client.find(&path(document)).await.map_err(Failure::Client)?;
    if existing.is_some_and(|existing| is_unchanged(document, &existing)) {
        return Ok(Step::Nothing);
    }
    validation.check(document, warnings, console).await?;
    Ok(Step::Write)
}

/// Shows what would be sent, and what the control plane would say.
async fn dry_run(
    documents: &[Document],
    connection: &ConnectionArgs,
    warnings: &mut Warnings,
    console: &mut Console<'_>,
) -> anyhow::Result<Outcome> {
    let client = connect(connection)?;
    let mut validation = Validation::of(&client, documents);
    let mut outcome = Outcome::Done;
    for document in documents {
        match validation.check(document, warnings, console).await {
            Ok(()) => {}
            Err(Failure::Client(error)) if error.is_connection_problem() => {
                validation.is_supported = false;
                writeln!(console.err, "warning: {error}")?;
            }
            Err(Failure::Client(error)) => {
                outcome = Outcome::SomeFailed;
                writeln!(console.err, "{document} would fail: {error}")?;
            }
            Err(Failure::Console(error)) => return Err(error),
        }
    }
    if !validation.is_supported {
        for problem in documents.iter().flat_map(documents::problems_of_names) {
            outcome = Outcome::SomeFailed;
            writeln!(console.err, "{problem}")?;
        }
        writeln!(
            console.err,
            "warning: the control plane did not check the documents; it may refuse more than was found here"
        )?;
    }
    show(documents, console)?;
    Ok(outcome)
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

fn show(documents: &[Document], console: &mut Console<'_>) -> anyhow::Result<()> {
    for (index, document) in documents.iter().enumerate() {
        if index > 0 {
            writeln!(console.out, "---")?;
        }
        output::write_yaml(console.out, &document.body)?;
    }
    Ok(())
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
