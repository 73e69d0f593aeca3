//! `cargo run -p meshspan-xtask -- tidy`: what must be true of this repository and the compiler cannot check.
//!
//! | module | what it checks |
//! |---|---|
//! | [`rooms`] | which crate may depend on which: the invariants of `docs/architecture.md` |
//! | [`sources`] | the files: sizes, module docs, purity, no trace of the machine they were written on |
//! | [`supply_chain`] | licences, banned packages and double versions, as `deny.toml` says |
//!
//! It changes nothing, has no dependencies, and needs `cargo` in `PATH`. Its checks work offline.

mod cargo_tree;
mod deny_toml;
mod licence;
mod rooms;
mod sources;
mod supply_chain;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Something that is not as it must be: one line, naming the place and the remedy.
type Finding = String;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments != ["tidy"] {
        eprintln!("usage: cargo run -p meshspan-xtask -- tidy");
        return ExitCode::from(2);
    }
    match tidy(&root()) {
        Ok(findings) if findings.is_empty() => {
            println!("tidy: rooms, sources and supply chain are as they must be");
            ExitCode::SUCCESS
        }
        Ok(findings) => {
            for finding in &findings {
                eprintln!("tidy: {finding}");
            }
            eprintln!("tidy: {} finding(s)", findings.len());
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("tidy: {error}");
            ExitCode::FAILURE
        }
    }
}

fn tidy(root: &Path) -> Result<Vec<Finding>, String> {
    let mut findings = rooms::check(root)?;
    findings.extend(sources::check(root)?);
    findings.extend(supply_chain::check(root)?);
    Ok(findings)
}

/// The root of the workspace, two folders above this crate.
fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_owned()
}
