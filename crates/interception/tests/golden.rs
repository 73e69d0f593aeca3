//! The dry run of every `tests/golden/*.yaml`, compared with the `.rules` file beside it.
//!
//! After an intended change run with `UPDATE_GOLDEN=1` and read the difference.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use std::fs;
use std::path::Path;

use meshspan_interception::{InstallArgs, install};

#[test]
fn dry_runs_print_the_expected_rules() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut compared = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "yaml") {
            continue;
        }
        let args = InstallArgs {
            config_file: Some(path.clone()),
            dry_run: true,
            ..InstallArgs::default()
        };
        let mut out = Vec::new();
        install(&args, &mut out).unwrap();
        let rules = String::from_utf8(out).unwrap();
        let golden = path.with_extension("rules");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&golden, &rules).unwrap();
        }
        let expected = fs::read_to_string(&golden).unwrap();
        assert_eq!(rules, expected, "{}", golden.display());
        compared += 1;
    }
    assert!(compared >= 7, "only {compared} golden files were found");
}
