//! `docs/policies.md` says what the matrix says, and the examples in the documentation are valid.
//!
//! What stands between `<!-- generated: <name> -->` and `<!-- end -->` is made here. To accept a change, run with
//! `UPDATE_GOLDEN=1` and read the diff.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::PathBuf;

use meshspan_model::document;
use meshspan_model::policy::matrix::SYSTEM_ONLY;
use meshspan_model::policy::{PolicyInfo, PolicyKind, Routing, TargetKind};

const REFERENCE: &str = "policies.md";
const EXAMPLES: &str = "policy-examples.md";

#[test]
fn the_reference_says_what_the_matrix_says() {
    let mut text = read(REFERENCE);
    for (name, content) in [
        ("kinds", kinds()),
        ("matrix", matrix()),
        ("proxies", ranks(|info| info.top)),
        ("destinations", ranks(|info| info.to)),
    ] {
        text = replace(&text, name, &content);
    }
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(path(REFERENCE), &text).unwrap();
    }
    assert!(
        text == read(REFERENCE),
        "docs/{REFERENCE} differs from the matrix; UPDATE_GOLDEN=1 accepts this:\n{text}"
    );
}

#[test]
fn every_example_is_valid_and_says_nothing_in_vain() {
    for file in [REFERENCE, EXAMPLES] {
        for example in examples(file) {
            let documents = document::split(&example).unwrap_or_else(|error| panic!("docs/{file}: {error}\n{example}"));
            for found in documents {
                let parsed = document::read(&found).unwrap_or_else(|error| panic!("docs/{file}: {error}\n{example}"));
                assert_eq!(parsed.warnings, [""; 0], "docs/{file}:\n{example}");
            }
        }
    }
}

#[test]
fn there_is_an_example_of_everything_that_is_applied() {
    let types: BTreeSet<_> = examples(EXAMPLES)
        .iter()
        .filter_map(|example| Some(example.lines().next()?.strip_prefix("type: ")?.to_owned()))
        .collect();
    let page = read(EXAMPLES);
    for kind in PolicyKind::ALL.iter().filter(|kind| !kind.info().stored_only) {
        assert!(types.contains(kind.name()), "docs/{EXAMPLES} has no example of {kind}");
        assert!(
            page.contains(&heading(*kind)),
            "docs/{EXAMPLES} has no heading for {kind}"
        );
    }
}

fn path(file: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(file)
}

fn read(file: &str) -> String {
    std::fs::read_to_string(path(file)).unwrap()
}

/// The code blocks in YAML of a page.
fn examples(file: &str) -> Vec<String> {
    let text = read(file);
    let blocks = text.split("```yaml\n").skip(1);
    blocks
        .map(|block| block.split("```").next().unwrap().to_owned())
        .collect()
}

/// Replaces what stands between the markers of a name; between markers in one line nothing is added.
fn replace(text: &str, name: &str, content: &str) -> String {
    let start = format!("<!-- generated: {name} -->");
    let (before, rest) = text.split_once(&start).unwrap_or_else(|| panic!("no {start}"));
    let (_, after) = rest
        .split_once("<!-- end -->")
        .unwrap_or_else(|| panic!("{start} has no end"));
    format!("{before}{start}{content}<!-- end -->{after}")
}

fn heading(kind: PolicyKind) -> String {
    format!("\n## {kind}\n")
}

fn kinds() -> String {
    let examples = read(EXAMPLES);
    let mut table = "\n| | kind | for | short | path | |\n|---|---|---|---|---|---|\n".to_owned();
    for (index, kind) in PolicyKind::ALL.iter().copied().enumerate() {
        let info = kind.info();
        let name = match examples.contains(&heading(kind)) {
            true => format!("[{kind}]({EXAMPLES}#{})", kind.name().to_lowercase()),
            false => kind.to_string(),
        };
        let state = if info.stored_only { "stored only" } else { "applied" };
        let about = info.about.trim_end_matches('.');
        let (short, path) = (kind.kind().info().short_name, kind.kind().info().path);
        writeln!(
            table,
            "| {} | {name} | {about} | `{short}` | `{path}` | {state} |",
            index + 1
        )
        .unwrap();
    }
    table
}

/// The kinds that stand in one place of any policy, by rank.
fn ranks(kinds: fn(&PolicyInfo) -> &[TargetKind]) -> String {
    let is_there = |kind: &&TargetKind| PolicyKind::ALL.iter().any(|policy| kinds(policy.info()).contains(kind));
    let names = TargetKind::ALL.iter().filter(is_there);
    names.map(|kind| format!("`{kind}`")).collect::<Vec<_>>().join(", ")
}

/// What a kind is called in the matrix.
fn letter(kind: TargetKind) -> &'static str {
    match kind {
        TargetKind::Mesh => "M",
        TargetKind::MeshSubset => "S",
        TargetKind::MeshGateway => "G",
        TargetKind::Dataplane => "D",
        TargetKind::MeshService => "V",
        TargetKind::MeshExternalService => "E",
        TargetKind::MeshMultiZoneService => "Z",
        TargetKind::MeshServiceSubset => "VS",
        TargetKind::MeshHTTPRoute => "R",
    }
}

fn letters(kinds: &[TargetKind]) -> String {
    kinds.iter().copied().map(letter).collect::<Vec<_>>().join(" ")
}

fn matrix() -> String {
    let mut text =
        "\n| kind | `targetRef` | `to` | `rules` | `from` | `default` | |\n|---|---|---|---|---|---|---|\n".to_owned();
    for kind in PolicyKind::ALL.iter().copied() {
        let info = kind.info();
        let rules = match (info.rules, info.rule_matches) {
            (false, _) => "",
            (true, false) => "yes",
            (true, true) => "with `matches`",
        };
        let default = if info.default { "yes" } else { "" };
        let (top, to, from) = (letters(info.top), letters(info.to), letters(info.from));
        let remarks = remarks(info).join("; ");
        writeln!(
            text,
            "| {kind} | {top} | {to} | {rules} | {from} | {default} | {remarks} |"
        )
        .unwrap();
    }
    let legend: Vec<_> = TargetKind::ALL
        .iter()
        .map(|kind| format!("{} {kind}", letter(*kind)))
        .collect();
    let system = SYSTEM_ONLY.map(letter).join(" and ");
    writeln!(
        text,
        "\n{}. {system} at the top are for policies of role `system`.",
        legend.join(", ")
    )
    .unwrap();
    text
}

/// What else the matrix says of a kind.
fn remarks(info: &PolicyInfo) -> Vec<String> {
    let code = |names: &mut dyn Iterator<Item = &str>| names.map(|name| format!("`{name}`")).collect::<Vec<_>>();
    let mut remarks = Vec::new();
    if !info.required.is_empty() {
        let fields = code(&mut info.required.iter().map(|part| part.field()));
        remarks.push(format!("needs {}", fields.join(" or ")));
    }
    if info.rules_exclude_to {
        remarks.push("`rules` and `to` in policies of their own".to_owned());
    }
    let mut narrowed: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for exception in info.narrowed {
        let to = (exception.with_field, letters(exception.to));
        narrowed.entry(to).or_default().push(letter(exception.top));
    }
    for ((field, to), tops) in narrowed {
        let when = match field {
            "" => String::new(),
            field => format!(" with `{field}`"),
        };
        remarks.push(format!("`to` of top {}{when}: {to}", tops.join(", ")));
    }
    if info.from_for_proxies_only {
        remarks.push("no `from` of top G, R".to_owned());
    }
    if info.split_by_proxy_type {
        remarks.push("`to` is about gateways, `from` needs `proxyTypes: [Sidecar]`".to_owned());
    }
    if !info.mesh_only_fields.is_empty() {
        let fields = code(&mut info.mesh_only_fields.iter().copied());
        remarks.push(format!("{} of top M only", fields.join(", ")));
    }
    if !info.appended.is_empty() {
        let fields = code(&mut info.appended.iter().copied());
        remarks.push(format!("{} are joined", fields.join(", ")));
    }
    match info.routing {
        Routing::None => {}
        Routing::ByMatches => remarks.push("`to[].rules` instead of `to[].default`".to_owned()),
        Routing::Single => remarks.push("`to[].rules`, one at most, instead of `to[].default`".to_owned()),
    }
    remarks
}
