//! What only a store with a file has to keep: durability, and clear words about a file that is not as it should be.

mod backup;
mod crash;
mod durability;
mod faults;
mod full;
mod latency;
mod rows;

use std::process::Stdio;

use tokio::process::{Child, Command};

/// Starts the ignored test `name` of this program as a process of its own, which is killed when dropped.
fn child(name: &str, path: &std::path::Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args([name, "--exact", "--ignored", "--nocapture"])
        .env(DATABASE, path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

/// Tells a child which database it is about; without it, the child's part does nothing.
const DATABASE: &str = "STORE_TEST_DATABASE";
