//! What only this repository needs: `cargo run -p meshspan-xtask -- tidy` checks what must be true of it and the compiler cannot check, `-- gen` makes
//! what is generated and committed.
//!
//! | module | what it checks |
//! |---|---|
//! | [`rooms`] | which crate may depend on which: the invariants of `docs/architecture.md` |
//! | [`sources`] | the files: sizes, module docs, purity, no trace of the machine they were written on |
//! | [`supply_chain`] | licences, banned packages and double versions, as `deny.toml` says |
//! | [`descriptors`] | generated descriptors of Envoy's messages are those of the package that is built |
//!
//! `tidy` changes nothing. Both need `cargo` in `PATH` and work offline.

mod cargo_tree;
mod deny_toml;
mod descriptors;
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
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["tidy"] => report(tidy(&root())),
        ["gen"] => report(descriptors::generate(&root()).map(|()| Vec::new())),
        _ => {
            eprintln!("usage: cargo run -p meshspan-xtask -- tidy | gen");
            ExitCode::from(2)
        }
    }
}

fn report(result: Result<Vec<Finding>, String>) -> ExitCode {
    match result {
        Ok(findings) if findings.is_empty() => {
            println!("xtask: all is as it must be");
            ExitCode::SUCCESS
        }
        Ok(findings) => {
            for finding in &findings {
                eprintln!("xtask: {finding}");
            }
            eprintln!("xtask: {} finding(s)", findings.len());
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("xtask: {error}");
            ExitCode::FAILURE
        }
    }
}

fn tidy(root: &Path) -> Result<Vec<Finding>, String> {
    let mut findings = rooms::check(root)?;
    findings.extend(sources::check(root)?);
    findings.extend(supply_chain::check(root)?);
    findings.extend(descriptors::check(root)?);
    Ok(findings)
}

/// The root of the workspace, two folders above this crate.
fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_owned()
}
