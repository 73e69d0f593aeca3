//! Keeps `docs/settings.md` true: it is written from the sources of the settings, which say what each is for, and from their
//! defaults. `UPDATE_GOLDEN=1` writes it anew.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use serde_json::Value;

use super::{Settings, load, names};

const INTRODUCTION: &str = "# Settings of a control plane

Generated from the program; a test compares. Each is a variable, or a key of the YAML file that `meshspan cp run --config-file` reads (`a.b`
is `b` below `a`); variables win. Lists are separated by commas in variables. Empty defaults stand as `\"\"`.
";

/// A field as its source declares it.
#[derive(Debug)]
struct Field {
    key: String,
    type_name: String,
    doc: String,
}

/// The fields of all structs in the sources of the settings, by name of the struct.
fn structs() -> BTreeMap<String, Vec<Field>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = vec![folder.join("settings.rs")];
    for entry in std::fs::read_dir(folder.join("settings")).unwrap() {
        files.push(entry.unwrap().path());
    }
    let mut structs = BTreeMap::new();
    for file in files {
        let text = std::fs::read_to_string(file).unwrap();
        let mut current: Option<(String, Vec<Field>)> = None;
        let (mut doc, mut rename) = (String::new(), None);
        for line in text.lines().map(str::trim) {
            if let Some(more) = line.strip_prefix("///") {
                doc = format!("{doc} {}", more.trim()).trim().to_owned();
                continue;
            }
            if let Some(name) = line.split("rename = \"").nth(1) {
                rename = name.split('"').next().map(str::to_owned);
                continue;
            }
            if line.starts_with("#[") {
                continue;
            }
            let words: Vec<&str> = line.split_whitespace().collect();
            match words.as_slice() {
                ["pub", "struct", name, "{"] | [name, "{"] if name.starts_with(char::is_uppercase) => {
                    current = Some(((*name).to_owned(), Vec::new()));
                }
                ["}"] => structs.extend(current.take()),
                _ => {
                    let declared = line.strip_prefix("pub ").unwrap_or(line).split_once(": ");
                    if let (Some((_, fields)), Some((name, rest))) = (&mut current, declared)
                        && name.chars().all(|c| c.is_ascii_lowercase() || c == '_')
                        && !doc.is_empty()
                    {
                        let type_name = rest.split(" = ").next().unwrap().trim_end_matches(',');
                        fields.push(Field {
                            key: rename.take().unwrap_or_else(|| camel_case(name)),
                            type_name: type_name.to_owned(),
                            doc: std::mem::take(&mut doc),
                        });
                    }
                }
            }
            doc.clear();
            rename = None;
        }
    }
    structs
}

fn camel_case(name: &str) -> String {
    let mut words = name.split('_');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |text, word| {
        let (head, tail) = word.split_at(1);
        text + &head.to_uppercase() + tail
    })
}

/// `about` is what stands over the fields of the type: several settings may share one.
fn rows(
    structs: &BTreeMap<String, Vec<Field>>,
    type_name: &str,
    about: &str,
    path: &mut Vec<String>,
    found: &mut Vec<(Vec<String>, String)>,
) {
    for field in structs.get(type_name).into_iter().flatten() {
        let doc = match path.len() {
            0 | 1 => field.doc.clone(),
            _ => format!("{about} {}", field.doc),
        };
        path.push(field.key.clone());
        if structs.contains_key(&field.type_name) {
            rows(structs, &field.type_name, &field.doc, path, found);
        } else {
            found.push((path.clone(), doc));
        }
        path.pop();
    }
}

fn leaves(value: &Value, path: &mut Vec<String>, found: &mut Vec<Vec<String>>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                path.push(key.clone());
                leaves(value, path, found);
                path.pop();
            }
        }
        _ => found.push(path.clone()),
    }
}

fn page() -> String {
    let defaults = serde_json::to_value(Settings::default()).unwrap();
    let mut settings = Vec::new();
    rows(&structs(), "Settings", "", &mut Vec::new(), &mut settings);

    let mut known = Vec::new();
    leaves(&defaults, &mut Vec::new(), &mut known);
    let mut described: Vec<_> = settings.iter().map(|(path, _)| path.clone()).collect();
    described.sort();
    known.sort();
    assert_eq!(
        described, known,
        "every setting is described, and what is described is a setting"
    );

    let mut page = INTRODUCTION.to_owned();
    let mut section = String::new();
    for (path, doc) in settings {
        if path.len() > 1 && path[0] != section || section.is_empty() {
            section.clone_from(&path[0]);
            let title = if path.len() > 1 { section.as_str() } else { "General" };
            write!(
                page,
                "\n## {title}\n\n| key, variable | default | meaning |\n|---|---|---|\n"
            )
            .unwrap();
        }
        let default = path.iter().fold(&defaults, |value, key| &value[key.as_str()]);
        let text = match default {
            Value::String(text) => text.clone(),
            Value::Array(list) => {
                let texts: Vec<_> = list.iter().map(|item| item.as_str().unwrap_or_default()).collect();
                texts.join(",")
            }
            other => other.to_string(),
        };
        let variable = names::variable(&path.join("."));
        let (_, warnings) = load(None, std::iter::once((variable.clone(), text.clone())))
            .unwrap_or_else(|error| panic!("{variable}={text:?} is not taken: {error}"));
        assert_eq!(warnings, [""; 0], "{variable} is known");
        let shown = if text.is_empty() { "\"\"".to_owned() } else { text };
        let doc = doc.replace('|', "\\|");
        writeln!(page, "| `{}`<br>`{variable}` | `{shown}` | {doc} |", path.join(".")).unwrap();
    }
    page
}

#[test]
fn the_page_of_settings_is_what_the_program_takes() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/settings.md");
    let page = page();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == page,
        "docs/settings.md is out of date: run this test with UPDATE_GOLDEN=1 and look at the difference"
    );
}
