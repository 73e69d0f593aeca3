//! The version that the program says: that of the package, and the commit if it is built in its repository.
//!
//! A build from an archive has no commit, and says `MESHSPAN_VERSION` where whoever packages it sets that.

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-env-changed=MESHSPAN_VERSION");
    let version = std::env::var("MESHSPAN_VERSION").ok().filter(|given| !given.is_empty());
    let version = version.unwrap_or_else(|| match commit() {
        Some(commit) => format!("{}+{commit}", env!("CARGO_PKG_VERSION")),
        None => env!("CARGO_PKG_VERSION").to_owned(),
    });
    println!("cargo::rustc-env=MESHSPAN_VERSION={version}");
}

/// The commit of the repository that this crate lies in; `None` if it lies in none of its own.
fn commit() -> Option<String> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2)?;
    let top = git(&["rev-parse", "--show-toplevel"])?;
    // An archive may be unpacked inside of another repository.
    if Path::new(&top).canonicalize().ok()? != workspace.canonicalize().ok()? {
        return None;
    }
    for file in ["HEAD", "logs/HEAD"] {
        if let Some(path) = git(&["rev-parse", "--path-format=absolute", "--git-path", file]) {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    git(&["rev-parse", "--short=10", "HEAD"])
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git")
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .ok()
        .filter(|output| output.status.success())?;
    let text = String::from_utf8(output.stdout).ok()?;
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}
