//! Access logs on their way to TCP backends (MeshAccessLog, type `Tcp`): Envoy has no logger that writes lines to a
//! connection, so it sends records to a socket of the agent, which writes them where they belong.
//!
//! Records are Envoy's `envoy.access_loggers.fluentd`, `{address, message}`. Lines wait for a backend that is away in
//! a queue of bounded size; what does not fit is dropped and counted: logs must never hold up traffic.

mod forward;
mod record;

use crate::socket::SocketMark;
use forward::Forwarder;
use record::{MAX_MESSAGE_BYTES, RecordError};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// Envoy opens one connection for each logger and thread.
const MAX_CONNECTIONS: usize = 4096;
const READ_BYTES: usize = 16 * 1024;
const ERROR_PAUSE: Duration = Duration::from_millis(100);

/// The socket that Envoy sends to.
pub(crate) struct LogSink {
    listener: UnixListener,
    mark: SocketMark,
}

impl LogSink {
    /// Takes the place of a socket that an agent before this one left.
    pub(crate) fn bind(path: &Path, mark: SocketMark) -> io::Result<Self> {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        Ok(Self {
            listener: UnixListener::bind(path)?,
            mark,
        })
    }

    /// Serves until the future is dropped.
    pub(crate) async fn serve(self) {
        let forwarder = Arc::new(Forwarder::new(self.mark));
        let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let mut connections = JoinSet::new();
        loop {
            // Never closed, so it cannot fail.
            let Ok(permit) = permits.clone().acquire_owned().await else {
                return;
            };
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    let forwarder = forwarder.clone();
                    connections.spawn(async move {
                        let _permit = permit;
                        if let Err(error) = receive(stream, &forwarder).await {
                            tracing::warn!("access logs from Envoy: {error}");
                        }
                    });
                }
                Err(error) => {
                    tracing::debug!("access logs from Envoy: {error}");
                    tokio::time::sleep(ERROR_PAUSE).await;
                }
            }
            while connections.try_join_next().is_some() {}
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum ReceiveError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Record(#[from] RecordError),
}

/// Passes records on until Envoy closes the connection.
async fn receive(mut stream: UnixStream, forwarder: &Forwarder) -> Result<(), ReceiveError> {
    let mut buffer = Vec::new();
    loop {
        let mut part = [0; READ_BYTES];
        let count = stream.read(&mut part).await?;
        if count == 0 {
            return Ok(());
        }
        buffer.extend_from_slice(part.get(..count).unwrap_or_default());
        while let Some((records, length)) = record::take(&buffer)? {
            buffer.drain(..length);
            for record in records {
                forwarder.send(&record.address, record.line);
            }
        }
        if buffer.len() > MAX_MESSAGE_BYTES {
            return Err(RecordError::TooLong.into());
        }
    }
}

#[cfg(test)]
mod tests;
