//! Where the agent is in its life; one writer (`run`), many that wait for it.

use crate::envoy::AdminAddress;
use tokio::sync::watch;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Until Envoy has been started.
    Starting,
    /// Envoy runs; `None` if its configuration has no admin interface to ask.
    Running(Option<AdminAddress>),
    /// Stop was asked for; connections may finish.
    Draining,
    /// Envoy has ended; what is left says goodbye.
    Stopped,
}

/// Waits until `reached` holds. Never returns if the writer is gone before.
pub(crate) async fn until(phase: &mut watch::Receiver<Phase>, reached: fn(&Phase) -> bool) {
    if phase.wait_for(reached).await.is_err() {
        std::future::pending::<()>().await;
    }
}

impl Phase {
    /// From here on nothing new should come to this proxy.
    pub(crate) fn is_leaving(&self) -> bool {
        matches!(self, Self::Draining | Self::Stopped)
    }

    pub(crate) fn is_stopped(&self) -> bool {
        *self == Self::Stopped
    }
}
