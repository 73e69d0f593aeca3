//! The one binary: control plane, data plane agent and client.
//!
//! Called through a link named `kuma-cp`, `kuma-dp` or `kumactl` it behaves as that program.

mod commands;
mod files;
mod logs;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use clap::Parser as _;
use commands::{ControlPlane, DataPlane, Kumactl, Meshspan};

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let called = arguments
        .first()
        .and_then(|path| Path::new(path).file_stem())
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    let result = match called {
        "kuma-cp" => commands::control_plane(commands::called::<ControlPlane>("meshspan cp", called)),
        "kuma-dp" => commands::data_plane(commands::called::<DataPlane>("meshspan dp", called)),
        "kumactl" => commands::kumactl(commands::called::<Kumactl>("meshspan", called)),
        _ => commands::meshspan(Meshspan::parse()),
    };
    result.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        match error.downcast_ref::<meshspan_agent::EnvoyExited>() {
            Some(exited) => ExitCode::from(u8::try_from(exited.exit_code()).unwrap_or(1)),
            None => ExitCode::FAILURE,
        }
    })
}
