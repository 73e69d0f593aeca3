//! The client commands: everything that talks to a control plane's REST API from a terminal.
//!
//! | module | what it holds |
//! |---|---|
//! | [`args`] | the command line as clap types, with help texts |
//! | [`mod@run`] | dispatch: one command, three streams, an outcome |
//! | [`client`] | the HTTP client: TLS, paging, errors as users see them |
//! | [`config`] | the file that remembers control planes, and the commands that edit it |
//! | [`documents`] | files, folders and standard input as checked resources |
//! | [`apply`], [`delete`], [`get`], [`inspect`], [`generate`], [`version`], [`backup`] | one module a command |
//! | [`table`], [`age`], [`output`], [`console`] | how results are written |
//!
//! Start with [`args::Command`] and [`run()`]. The binary `meshspan` flattens [`args::Command`] into its own commands; called
//! as `kumactl` it parses [`args::Kumactl`]. Commands, flags and columns follow `spec/http-api.md` §7 where they exist there.
//!
//! Not here: shell completion and log output, which belong to the binary, and anything that runs as a server.

pub mod age;
pub mod apply;
pub mod args;
pub mod backup;
pub mod client;
pub mod config;
pub mod console;
pub mod delete;
pub mod documents;
pub mod generate;
pub mod get;
pub mod inspect;
pub mod output;
pub mod run;
pub mod table;
pub mod variables;
pub mod version;

pub use args::{Command, Connected, Kumactl, LogLevel};
pub use console::Console;
pub use run::{Outcome, run, run_with};
