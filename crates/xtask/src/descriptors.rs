//! The descriptors of Envoy's messages that `crates/envoy` prints as JSON with.
//!
//! They are compiled from the `.proto` files inside the `envoy-types` package, so that they are of the version that messages are
//! encoded with. Options stay in, because one of them says which fields are secret.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use prost::Message;
use protox::Compiler;

use crate::Finding;

/// What `gen` writes, a `google.protobuf.FileDescriptorSet`.
const SET: &str = "crates/envoy/descriptors/envoy.binpb";
/// The files that it is made of, imports left out: one path a line.
const ROOTS: &str = "crates/envoy/descriptors/roots";

/// A `google.protobuf.FileDescriptorSet` whose files stay the bytes that they are.
#[derive(Clone, PartialEq, Message)]
struct FileDescriptorSet {
    #[prost(bytes = "vec", repeated, tag = "1")]
    file: Vec<Vec<u8>>,
}

/// What matters here of a `google.protobuf.FileDescriptorProto`.
#[derive(Clone, PartialEq, Message)]
struct FileDescriptor {
    #[prost(string, tag = "1")]
    name: String,
}

/// Writes the set.
pub fn generate(root: &Path) -> Result<(), String> {
    let path = root.join(SET);
    std::fs::write(&path, compile(root)?).map_err(|error| format!("{}: {error}", path.display()))
}

/// Whether the set is the one that `gen` would write.
pub fn check(root: &Path) -> Result<Vec<Finding>, String> {
    let stored = std::fs::read(root.join(SET)).unwrap_or_default();
    if stored == compile(root)? {
        return Ok(Vec::new());
    }
    Ok(vec![format!(
        "{SET} is not what {ROOTS} and the package envoy-types say: run `cargo run -p meshspan-xtask -- gen`"
    )])
}

/// The roots and all that they import; a file comes after those that it imports.
fn compile(root: &Path) -> Result<Vec<u8>, String> {
    let includes = includes(root)?;
    let text = std::fs::read_to_string(root.join(ROOTS)).map_err(|error| format!("{ROOTS}: {error}"))?;
    let mut set = FileDescriptorSet::default();
    let mut names = BTreeSet::new();
    for file in roots(&text) {
        // Each on its own: names are resolved more eagerly than protoc does, so that files can disturb each other.
        let mut compiler = Compiler::new(&includes).map_err(|error| error.to_string())?;
        compiler
            .include_source_info(false)
            .include_imports(true)
            .open_file(file)
            .map_err(|error| format!("{file}: {error}"))?;
        let compiled = compiler.encode_file_descriptor_set();
        for file in FileDescriptorSet::decode(compiled.as_slice())
            .map_err(|error| error.to_string())?
            .file
        {
            let FileDescriptor { name } = FileDescriptor::decode(file.as_slice()).map_err(|error| error.to_string())?;
            if names.insert(name) {
                set.file.push(file);
            }
        }
    }
    Ok(set.encode_to_vec())
}

/// Lines that are neither empty nor comments.
fn roots(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
}

/// The folders that imports are relative to: those below `proto` in the package.
fn includes(root: &Path) -> Result<Vec<PathBuf>, String> {
    let proto = envoy_types(root)?.join("proto");
    let listed = std::fs::read_dir(&proto).map_err(|error| format!("{}: {error}", proto.display()))?;
    let mut folders: Vec<_> = listed.filter_map(|entry| Some(entry.ok()?.path())).collect();
    folders.sort();
    Ok(folders)
}

/// Where cargo keeps the package.
fn envoy_types(root: &Path) -> Result<PathBuf, String> {
    let output = Command::new("cargo")
        .args(["metadata", "--format-version", "1", "--locked", "--quiet"])
        .current_dir(root)
        .output()
        .map_err(|error| format!("cannot run cargo: {error}"))?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        return Err(format!("cargo metadata: {}\n{text}", output.status));
    }
    let metadata: serde_json::Value =
        serde_json::from_slice(&output.stdout).map_err(|error| format!("cargo metadata: {error}"))?;
    let packages = metadata.get("packages").and_then(|packages| packages.as_array());
    let package = packages
        .into_iter()
        .flatten()
        .find(|package| package.get("name").is_some_and(|name| name == "envoy-types"));
    package
        .and_then(|package| package.get("manifest_path")?.as_str())
        .and_then(|manifest| Some(Path::new(manifest).parent()?.to_owned()))
        .ok_or_else(|| "cargo metadata knows no package envoy-types".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_is_a_line() {
        let found: Vec<_> = roots("# Why\n\nenvoy/a.proto\n  envoy/b.proto\n").collect();
        assert_eq!(found, ["envoy/a.proto", "envoy/b.proto"]);
    }
}
