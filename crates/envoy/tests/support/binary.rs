//! Finding Envoy. Without it these tests fail: what they test is what Envoy makes of our configuration.

use std::path::PathBuf;

pub fn envoy_binary() -> PathBuf {
    if let Some(path) = std::env::var_os("MESHSPAN_ENVOY") {
        return PathBuf::from(path);
    }
    let in_path = std::env::var_os("PATH")
        .into_iter()
        .flat_map(|path| std::env::split_paths(&path).collect::<Vec<_>>());
    let managed = std::env::var_os("HOME")
        .and_then(|home| std::fs::read_dir(PathBuf::from(home).join(".cache/meshspan/envoy")).ok())
        .into_iter()
        .flatten()
        .filter_map(|version| Some(version.ok()?.path()));
    in_path
        .chain(managed)
        .map(|folder| folder.join("envoy"))
        .find(|file| file.is_file())
        .expect("no Envoy binary: run `meshspan envoy install`, put `envoy` into PATH, or name it in MESHSPAN_ENVOY")
}
