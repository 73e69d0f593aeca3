//! The demo itself.

mod args;
mod envoy;
mod run;
mod screen;
mod story;
mod traffic;

pub use args::DemoArgs;
pub use run::{isolate, run};
