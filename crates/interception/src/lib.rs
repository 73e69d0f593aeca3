//! Transparent interception of an application's traffic with iptables.
//!
//! What this is: the rules that lead TCP (and DNS) of a host through its Envoy, and the installer behind
//! `meshspan install transparent-proxy` and `meshspan uninstall transparent-proxy`.
//! The rules are values built by pure code ([`plan`]), so a dry run prints exactly what an installation executes.
//!
//! What it does not do: start Envoy or the agent, configure listeners, persist rules across a reboot.
//!
//! Where to start: [`plan()`] for the rules, [`install()`] for what happens to the host, [`Settings`] for what a user can set.
//! Source of facts: `spec/dataplane.md` §7 and §12.

mod args;
mod config;
mod environment;
mod error;
mod exclusion;
mod executable;
mod host;
mod installed;
mod installer;
mod plan;
mod rule;
mod settings;

pub use args::{InstallArgs, UninstallArgs};
pub use config::{Config, Dns, IpFamilyMode, Outbound, Owner, Traffic};
pub use error::Error;
pub use exclusion::{PortRange, UidExclusion, VirtualNetwork};
pub use installer::{Report, install, uninstall};
pub use plan::plan;
pub use rule::{Family, Match, Place, Protocol, Rule, RuleSet, Table, TableRules, Target};
pub use settings::Settings;
