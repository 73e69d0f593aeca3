//! Lines to their TCP backends: one connection for each address, and a queue of bounded size in which lines wait while the backend is away.
//! What does not fit is dropped, counted and reported: logs must never hold up traffic.

use crate::backoff::Backoff;
use crate::socket::{self, SocketMark};
use rustix::io::Errno;
use rustix::net::RecvFlags;
use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// Most backends at a time; policies rarely name more than one.
const MAX_BACKENDS: usize = 64;
/// Lines that may wait for one backend.
const QUEUE_LINES: usize = 16 * 1024;
/// Their length in sum.
const QUEUE_BYTES: usize = 8 << 20;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);
/// The first attempt to connect again comes at once.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// A backend that no policy names any more is forgotten after this time.
const IDLE: Duration = Duration::from_secs(600);
/// Between two reports of dropped lines.
const REPORT_EVERY: Duration = Duration::from_secs(30);

pub(super) struct Forwarder {
    mark: SocketMark,
    backends: Mutex<Backends>,
}

#[derive(Default)]
struct Backends {
    queues: BTreeMap<String, Queue>,
    tasks: JoinSet<()>,
    refused: Dropped,
}

/// The side of a queue that takes lines.
struct Queue {
    lines: mpsc::Sender<String>,
    waiting_bytes: Arc<AtomicUsize>,
    dropped: Dropped,
}

/// How many lines were dropped, and when that was last reported.
#[derive(Default)]
struct Dropped {
    count: Arc<AtomicU64>,
    reported: Option<Instant>,
}

impl Dropped {
    fn add(&mut self, address: &str, why: &str) {
        let count = self.count.fetch_add(1, Ordering::Relaxed) + 1;
        if self.reported.is_none_or(|reported| reported.elapsed() >= REPORT_EVERY) {
            self.reported = Some(Instant::now());
            tracing::warn!(address, lines = count, "access logs were dropped: {why}");
        }
    }
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
        let backends = &mut *backends;
        if backends.queues.get(address).is_none_or(|queue| queue.lines.is_closed()) {
            backends.queues.retain(|_, queue| !queue.lines.is_closed());
            while backends.tasks.try_join_next().is_some() {}
            if backends.queues.len() >= MAX_BACKENDS {
                let why = format!("there are {MAX_BACKENDS} other backends");
                backends.refused.add(address, &why);
                return;
            }
            let (queue, delivery) = queue(address, self.mark);
            backends.tasks.spawn(delivery.run());
            backends.queues.insert(address.to_owned(), queue);
        }
        if let Some(queue) = backends.queues.get_mut(address) {
            queue.push(address, line);
        }
    }
}

fn queue(address: &str, mark: SocketMark) -> (Queue, Delivery) {
    let (sender, lines) = mpsc::channel(QUEUE_LINES);
    let queue = Queue {
        lines: sender,
        waiting_bytes: Arc::default(),
        dropped: Dropped::default(),
    };
    let delivery = Delivery {
        address: address.to_owned(),
        mark,
        lines,
        waiting_bytes: queue.waiting_bytes.clone(),
        dropped: queue.dropped.count.clone(),
        stream: None,
    };
    (queue, delivery)
}

impl Queue {
    fn push(&mut self, address: &str, line: String) {
        let length = line.len();
        if self.waiting_bytes.load(Ordering::Relaxed) + length > QUEUE_BYTES {
            return self.dropped.add(address, "too much waits for the backend");
        }
        self.waiting_bytes.fetch_add(length, Ordering::Relaxed);
        if self.lines.try_send(line).is_err() {
            self.waiting_bytes.fetch_sub(length, Ordering::Relaxed);
            self.dropped.add(address, "too many lines wait for the backend");
        }
    }
}

/// The side of a queue that delivers lines.
struct Delivery {
    address: String,
    mark: SocketMark,
    lines: mpsc::Receiver<String>,
    waiting_bytes: Arc<AtomicUsize>,
    dropped: Arc<AtomicU64>,
    stream: Option<TcpStream>,
}

impl Delivery {
    /// Delivers lines in their order until none has come for long.
    async fn run(mut self) {
        while let Ok(Some(mut line)) = tokio::time::timeout(IDLE, self.lines.recv()).await {
            self.waiting_bytes.fetch_sub(line.len(), Ordering::Relaxed);
            line.push('\n');
            self.deliver(&line).await;
        }
    }

    /// Tries until the backend has taken the line. A line that was cut by the end of a connection is sent again as a whole.
    async fn deliver(&mut self, line: &str) {
        let mut backoff = Backoff::immediate(FIRST_PAUSE, LONGEST_PAUSE);
        let mut reported = None;
        while let Err(error) = self.write(line).await {
            self.stream = None;
            let address = &self.address;
            // The end of a connection alone is no news: a collector that restarts is back at the next attempt.
            if reported.is_none() && !is_end(&error) {
                tracing::warn!(address, "access logs wait until the backend takes them: {error}");
                reported = Some(self.dropped.load(Ordering::Relaxed));
            }
            tokio::time::sleep(backoff.next_pause(fastrand::f64())).await;
        }
        if let Some(before) = reported {
            let dropped = self.dropped.load(Ordering::Relaxed) - before;
            tracing::info!(address = self.address, dropped, "access logs are delivered again");
        }
    }

    async fn write(&mut self, line: &str) -> io::Result<()> {
        if let Some(stream) = &self.stream {
            check_open(stream)?;
        }
        let stream = match &mut self.stream {
            Some(stream) => stream,
            none => none.insert(timeout(CONNECT_TIMEOUT, connect(&self.address, self.mark)).await?),
        };
        timeout(WRITE_TIMEOUT, stream.write_all(line.as_bytes())).await
    }
}

fn is_end(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    [BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof].contains(&error.kind())
}

/// Fails if the backend has closed the connection: the kernel would still take a line, and lose it. What a backend says is not looked at.
/// Asks the kernel itself, which knows earlier than the runtime.
fn check_open(stream: &TcpStream) -> io::Result<()> {
    let mut ignored = [0; 1024];
    loop {
        match rustix::net::recv(stream, ignored.as_mut_slice(), RecvFlags::DONTWAIT) {
            Ok((0, _)) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => {}
            Err(Errno::AGAIN) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use tokio::io::{AsyncBufReadExt, BufReader};
    use tokio::net::TcpListener;

    async fn free_address() -> std::net::SocketAddr {
        TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
    }

    #[tokio::test]
    async fn lines_wait_for_a_backend_that_is_away() {
        let address = free_address().await;
        let forwarder = Forwarder::new(SocketMark(0));
        for number in 0..2000 {
            forwarder.send(&address.to_string(), format!("line {number}"));
        }
        let backend = TcpListener::bind(address).await.unwrap();
        let (stream, _) = backend.accept().await.unwrap();
        let mut lines = BufReader::new(stream).lines();
        for number in 0..2000 {
            assert_eq!(lines.next_line().await.unwrap().unwrap(), format!("line {number}"));
        }
    }

    #[tokio::test]
    async fn a_backend_that_restarts_misses_nothing_that_is_said_later() {
        let backend = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = backend.local_addr().unwrap().to_string();
        let forwarder = Forwarder::new(SocketMark(0));
        for number in 0..20 {
            forwarder.send(&address, format!("line {number}"));
            let (stream, _) = backend.accept().await.unwrap();
            let mut lines = BufReader::new(stream).lines();
            assert_eq!(lines.next_line().await.unwrap().unwrap(), format!("line {number}"));
        }
    }

    #[test]
    fn what_does_not_fit_is_counted() {
        let (mut queue, delivery) = queue("collector:9000", SocketMark(0));
        for _ in 0..QUEUE_LINES + 7 {
            queue.push("collector:9000", "line".to_owned());
        }
        assert_eq!(delivery.dropped.load(Ordering::Relaxed), 7);
        let (mut queue, delivery) = super::queue("collector:9000", SocketMark(0));
        for _ in 0..10 {
            queue.push("collector:9000", "x".repeat(QUEUE_BYTES / 8));
        }
        assert_eq!(delivery.dropped.load(Ordering::Relaxed), 2);
    }
}
