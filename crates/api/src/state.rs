//! What every handler works with.

use std::sync::Arc;

use meshspan_log_limit::LogLimit;
use meshspan_store::{Clock, Store};
use time::OffsetDateTime;

use crate::inspect::ProxyConfigs;
use crate::settings::Settings;
use crate::write_turns::WriteTurns;

/// Store, settings and clock of the API; cheap to clone.
#[derive(Clone)]
pub struct ApiState {
    /// Where all resources are.
    pub store: Arc<dyn Store>,
    /// Settings.
    pub settings: Arc<Settings>,
    /// Tells the time of tokens and certificates.
    pub clock: Clock,
    /// Tells what proxies are sent; `None` on a control plane that has no proxies.
    pub proxy_configs: Option<Arc<dyn ProxyConfigs>>,
    /// What callers may make this process log.
    pub log_limit: Arc<LogLimit>,
    /// Whose turn it is to write.
    pub write_turns: Arc<WriteTurns>,
}

impl ApiState {
    pub(crate) fn now(&self) -> OffsetDateTime {
        (self.clock)()
    }
}
