//! The data plane agent: the process that runs beside an application and owns its Envoy.
//!
//! It fetches Envoy's bootstrap from the control plane, starts and drains Envoy, answers DNS for mesh names, probes the
//! local application and says when the proxy is ready. It configures nothing in Envoy itself (that is ADS, between
//! Envoy and the control plane) and installs no interception rules (crate `meshspan-interception`).
//!
//! Start at [`run()`]: modules `run` and `startup` show the order in which the parts below come up and go down.
//!
//! * `args`: flags and `KUMA_*` variables; `proxy`, `template`, `token`: who this proxy is, from what the user gave.
//! * `control_plane`, `tls`, `http_client`, `socket`: how connections are made, `SO_MARK` included.
//! * `bootstrap`: `POST /bootstrap`; `envoy`: find, install, run, administrate.
//! * `stream`: the agent's own gRPC stream, which feeds `dns` (records) and `health` (what to probe).
//! * `access_log`: lines from Envoy to TCP backends.
//! * `phase`, `readiness`, `announce`: where the agent is in its life, `GET /ready`, and what people are told about it.
//! * `interception`: whether the rules of this host fit this proxy, found out by trying.

mod access_log;
mod announce;
mod args;
mod backoff;
mod bootstrap;
mod config_folder;
mod control_plane;
mod denials;
mod dns;
mod envoy;
#[cfg(test)]
mod fake_control_plane;
mod health;
mod http_client;
mod interception;
mod phase;
mod proxy;
mod readiness;
mod run;
mod socket;
mod startup;
mod stream;
mod template;
mod tls;
mod token;
mod token_expiry;
mod token_secret;
mod wrong_server;

pub use args::{EnvoyInstallArgs, ProxyType, RunArgs, Secret};
pub use bootstrap::BootstrapError;
pub use control_plane::{ConnectError, ControlPlaneAddressError};
pub use dns::DnsBindError;
pub use envoy::{
    ENVOY_VERSION, EnvoyExited, EnvoyNotFound, InstallError, find_envoy, install_envoy, managed_envoy_path,
};
pub use proxy::ProxyError;
pub use run::run;
