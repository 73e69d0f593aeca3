//! `meshspan get`.

pub(crate) mod columns;
mod find;

use std::ffi::OsStr;

use anyhow::bail;
use clap::builder::{PossibleValue, TypedValueParser};
use clap::{Arg, Args, Command};
use meshspan_model::Kind;
use serde_json::{Value, json};

use crate::client::{Client, List, Page, collection};
use crate::console::Console;
use crate::output::{Format, list_document, write_document};
use crate::run::Outcome;

pub(crate) use find::{display_name, find};

/// Mesh of commands that name none.
pub(crate) const DEFAULT_MESH: &str = "default";

/// Arguments of `get`.
#[derive(Debug, Args)]
pub struct GetArgs {
    /// Kind: singular, plural or short name, such as meshes, dataplane, mzsvc
    #[arg(value_name = "TYPE", value_parser = KindParser, hide_possible_values = true)]
    pub kind: Kind,
    /// Only this one; the name a user gave is understood too where the control plane uses a longer one
    #[arg(value_name = "NAME", conflicts_with_all = ["all_meshes", "size", "offset"])]
    pub name: Option<String>,
    /// Mesh
    #[arg(short, long, value_name = "MESH", default_value = DEFAULT_MESH)]
    pub mesh: String,
    /// Resources of all meshes
    #[arg(short = 'A', long, conflicts_with = "mesh")]
    pub all_meshes: bool,
    /// How to print
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    pub output: Format,
    /// One page of this size instead of everything
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub size: Option<u32>,
    /// One page from here, as the page before named it
    #[arg(long, value_name = "OFFSET")]
    pub offset: Option<String>,
}

/// Understands a kind on the command line; shells complete its names.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KindParser;

impl TypedValueParser for KindParser {
    type Value = Kind;

    fn parse_ref(&self, command: &Command, arg: Option<&Arg>, value: &OsStr) -> Result<Kind, clap::Error> {
        TypedValueParser::parse_ref(&kind, command, arg, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        let kinds = Kind::ALL.iter().map(|kind| kind.info()).filter(|info| info.in_api);
        Some(Box::new(
            kinds
                .flat_map(|info| [info.path, info.singular])
                .map(PossibleValue::new),
        ))
    }
}

fn kind(text: &str) -> Result<Kind, String> {
    Kind::from_argument(text).ok_or_else(|| {
        let known = Kind::ALL.iter().map(|kind| kind.info()).filter(|info| info.in_api);
        let known = known.map(|info| match info.short_name {
            "" => info.path.to_owned(),
            short if short == info.path || short == info.singular => info.path.to_owned(),
            short => format!("{} ({short})", info.path),
        });
        format!("unknown kind, known are {}", known.collect::<Vec<_>>().join(", "))
    })
}

/// Carries out `get`.
///
/// # Errors
/// When the control plane cannot be reached, refuses or has no such resource.
pub async fn get(args: &GetArgs, client: &Client, console: &mut Console<'_>) -> anyhow::Result<Outcome> {
    if let Some(name) = &args.name {
        let resource = one(args.kind, &args.mesh, name, client).await?;
        if !write_document(console.out, args.output, &resource)? {
            let table = columns::table(args.kind, &[resource], args.output, console.now);
            console.table(&table, args.output, "")?;
        }
        return Ok(Outcome::Done);
    }
    let path = collection(args.kind, (!args.all_meshes).then_some(args.mesh.as_str()));
    let paged = args.size.is_some() || args.offset.is_some();
    let list = if paged {
        let page = Page {
            size: args.size,
            offset: args.offset.clone(),
        };
        client.page(&path, &[], &page).await?
    } else {
        let items = client.list(&path, &[]).await?;
        List {
            total: items.len() as u64,
            items,
            next_offset: None,
        }
    };
    let document = match &list.next_offset {
        Some(next) => json!({ "total": list.total, "items": list.items, "next": next }),
        None => list_document(&list.items),
    };
    if !write_document(console.out, args.output, &document)? {
        let table = columns::table(args.kind, &list.items, args.output, console.now);
        let scope = match args.kind.is_mesh_scoped() {
            true if args.all_meshes => " in any mesh".to_owned(),
            true => format!(" in mesh {}", args.mesh),
            false => String::new(),
        };
        console.table(&table, args.output, &format!("no {}{scope}", args.kind))?;
        if let Some(offset) = &list.next_offset {
            writeln!(
                console.out,
                "\n{} of {}; go on with --offset={offset}",
                list.items.len(),
                list.total
            )?;
        }
    }
    Ok(Outcome::Done)
}

/// The only resource of a name; an error lists the candidates if there are several.
pub(crate) async fn one(kind: Kind, mesh: &str, name: &str, client: &Client) -> anyhow::Result<Value> {
    let mut found = find(kind, mesh, name, client).await?;
    match (found.pop(), found.is_empty()) {
        (Some(resource), true) => Ok(resource),
        (Some(last), false) => {
            let names = found
                .iter()
                .chain([&last])
                .filter_map(|resource| resource.get("name")?.as_str());
            let names: Vec<&str> = names.collect();
            bail!("several are called {name}: name one of {}", names.join(", "))
        }
        (None, _) => {
            let scope = if kind.is_mesh_scoped() {
                format!(" in mesh {mesh}")
            } else {
                String::new()
            };
            let list = kind.info().path;
            bail!(
                "there is no {kind} named {name}{scope} on {}: see `meshspan get {list}`",
                client.url()
            )
        }
    }
}
