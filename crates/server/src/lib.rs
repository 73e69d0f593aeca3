//! The control plane process: it reads settings, opens the store, and runs what the other rooms offer.
//!
//! | module | what it holds |
//! |---|---|
//! | [`settings`] | `KUMA_*` variables and the settings file |
//! | [`run`] | the start, the wiring and the end of the process; start here |
//! | `engine` | follows the store, derives, projects, publishes: the heart of a zone |
//! | `dp` | the server of the data plane: bootstrap, ADS, agents |
//! | `sync` | which side of zone synchronisation runs |
//! | `listener`, `tls`, `files` | ports, certificates, and what settings name |
//! | `published` | values that streams follow, each with what changed since it looked last |
//! | `components` | the long-lived tasks, each watched |
//! | `diagnostics` | readiness and metrics of the process |

mod api_threads;
mod components;
mod diagnostics;
mod dp;
mod engine;
mod files;
mod listener;
mod open_store;
mod proxy_key;
mod published;
mod run;
mod served_configs;
pub mod settings;
mod sync;
mod tls;

pub use components::Components;
pub use meshspan_model::COMPATIBLE_VERSION;
pub use run::{Addresses, RunArgs, run, start};
