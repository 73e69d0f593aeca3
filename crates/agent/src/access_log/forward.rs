//! Lines to their TCP backends: one connection for each address, with a queue that drops what does not fit.

use crate::socket::{self, SocketMark};
use std::collections::BTreeMap;
use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// Most backends at a time; policies rarely name more than one.
const MAX_BACKENDS: usize = 64;
/// Lines that may wait for one backend.
const QUEUE: usize = 1024;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);
/// Between attempts to connect; lines that come meanwhile are dropped.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

pub(super) struct Forwarder {
    mark: SocketMark,
    backends: Mutex<Backends>,
}

#[derive(Default)]
struct Backends {
    queues: BTreeMap<String, mpsc::Sender<String>>,
    tasks: JoinSet<()>,
}

impl Forwarder {
    pub(super) fn new(mark: SocketMark) -> Self {
        Self {
            mark,
            backends: Mutex::default(),
        }
    }

    /// Puts a line into the queue of its backend, or drops it if there is no room.
    pub(super) fn send(&self, address: &str, line: String) {
        let mut backends = self.backends.lock().unwrap_or_else(PoisonError::into_inner);
        if !backends.queues.contains_key(address) {
            if backends.queues.len() >= MAX_BACKENDS {
                tracing::debug!(address, "access log dropped: there are {MAX_BACKENDS} other backends");
                return;
            }
            let (queue, lines) = mpsc::channel(QUEUE);
            backends.tasks.spawn(deliver(address.to_owned(), lines, self.mark));
            backends.queues.insert(address.to_owned(), queue);
        }
        if let Some(queue) = backends.queues.get(address)
            && queue.try_send(line).is_err()
        {
            tracing::debug!(address, "access log dropped: the backend does not keep up");
        }
    }
}

/// Delivers lines until their queue is closed.
async fn deliver(address: String, mut lines: mpsc::Receiver<String>, mark: SocketMark) {
    let mut stream = None;
    let mut is_down = false;
    while let Some(line) = lines.recv().await {
        match write(&mut stream, &address, line, mark).await {
            Ok(()) if is_down => {
                tracing::info!(address, "access logs are delivered again");
                is_down = false;
            }
            Ok(()) => {}
            Err(error) => {
                if !is_down {
                    tracing::warn!(address, "access logs are dropped until the backend takes them: {error}");
                }
                (stream, is_down) = (None, true);
                tokio::time::sleep(RETRY_PAUSE).await;
                while lines.try_recv().is_ok() {}
            }
        }
    }
}

async fn write(stream: &mut Option<TcpStream>, address: &str, mut line: String, mark: SocketMark) -> io::Result<()> {
    let open = match stream.take() {
        Some(open) => open,
        None => timeout(CONNECT_TIMEOUT, connect(address, mark)).await?,
    };
    line.push('\n');
    let open = stream.insert(open);
    timeout(WRITE_TIMEOUT, open.write_all(line.as_bytes())).await
}

async fn connect(address: &str, mark: SocketMark) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for target in tokio::net::lookup_host(address).await? {
        match socket::tcp_connect(target, None, mark).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

async fn timeout<T>(limit: Duration, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    tokio::time::timeout(limit, work).await.unwrap_or_else(|_| {
        Err(io::Error::new(
            io::ErrorKind::TimedOut,
            format!("no answer within {} s", limit.as_secs()),
        ))
    })
}
