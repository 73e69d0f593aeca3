//! A way into the lab for the rest of the machine.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, Result};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::host::Host;

/// Connections that are relayed at the same time; more wait.
const MAX_CONNECTIONS: usize = 256;

/// Relays each connection that `listener` takes (see [`crate::outside_listener`]) to `to`, as seen from `host`. Runs until it is dropped.
///
/// # Errors
/// The listener fails. A connection that cannot be relayed is closed.
pub async fn relay(listener: std::net::TcpListener, host: Host, to: SocketAddr) -> Result<()> {
    listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(listener).context("registering a listener")?;
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    // Ends the relayed connections together with this future.
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let slot = slots
            .clone()
            .acquire_owned()
            .await
            .context("the semaphore is never closed")?;
        let (mut outside, _) = listener.accept().await.context("accepting a connection to relay")?;
        let host = host.clone();
        connections.spawn(async move {
            let _slot = slot;
            match host.connect(to).await {
                // Either side may end a connection in any way it likes.
                Ok(mut inside) => drop(tokio::io::copy_bidirectional(&mut outside, &mut inside).await),
                Err(error) => tracing::debug!("relay: {error:#}"),
            }
        });
        while connections.try_join_next().is_some() {}
    }
}
