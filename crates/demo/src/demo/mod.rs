//! The demo itself.

mod args;
mod envoy;
mod run;
mod screen;
mod story;

pub use args::DemoArgs;
pub use run::{isolate, run};
