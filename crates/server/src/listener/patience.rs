//! How long a peer may leave a ping unanswered: longer, the more it has been sent lately.
//!
//! An Envoy answers pings between updates. One that works on a huge update is silent for many seconds and still alive.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::rt::{Sleep, Timer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

/// What a busy proxy surely works through in a second. Clusters and endpoints cost it little for their size, listeners much: on a
/// busy machine an Envoy took 19 s for 4000 of them, of about 1 KiB each.
const BYTES_PER_SECOND: f64 = (128 << 10) as f64;
/// Whoever is silent for so long is given up, whatever it has been sent.
const MOST: Duration = Duration::from_secs(120);

/// What a peer was sent and may still be busy with.
#[derive(Clone, Debug, Default)]
pub(super) struct Backlog(Arc<Mutex<Level>>);

/// A bucket that each write fills and time drains.
#[derive(Debug, Default)]
struct Level {
    seconds: f64,
    at: Option<Instant>,
}

impl Level {
    fn drain(&mut self, now: Instant) {
        let passed = self.at.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        self.seconds = (self.seconds - passed.as_secs_f64()).max(0.0);
        self.at = Some(now);
    }

    fn add(&mut self, bytes: usize, now: Instant) {
        self.drain(now);
        #[allow(clippy::cast_precision_loss)]
        let more = bytes as f64 / BYTES_PER_SECOND;
        self.seconds = (self.seconds + more).min(MOST.as_secs_f64());
    }

    fn patience(&mut self, now: Instant) -> Duration {
        self.drain(now);
        Duration::from_secs_f64(self.seconds)
    }
}

impl Backlog {
    fn level<T>(&self, use_it: impl FnOnce(&mut Level) -> T) -> T {
        use_it(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Counts what is written to a connection.
    pub(super) fn counting<S>(&self, stream: S) -> Counting<S> {
        Counting {
            stream,
            backlog: self.clone(),
        }
    }

    /// A timer for the pings of that connection.
    pub(super) fn timer(&self) -> PatientTimer {
        PatientTimer(self.clone())
    }
}

/// A connection whose writes are counted.
pub(super) struct Counting<S> {
    stream: S,
    backlog: Backlog,
}

impl<S: AsyncRead + Unpin> AsyncRead for Counting<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> Counting<S> {
    fn count(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(bytes)) = written {
            self.backlog.level(|level| level.add(bytes, Instant::now()));
        }
        written
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counting<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.count(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.count(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Its sleeps last until the peer has had time for what it was sent meanwhile, too.
#[derive(Clone)]
pub(super) struct PatientTimer(Backlog);

impl Timer for PatientTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        self.sleep_until(std::time::Instant::now() + duration)
    }

    fn sleep_until(&self, deadline: std::time::Instant) -> Pin<Box<dyn Sleep>> {
        Box::pin(PatientSleep {
            sleep: Box::pin(tokio::time::sleep_until(deadline.into())),
            backlog: self.0.clone(),
        })
    }
}

struct PatientSleep {
    sleep: Pin<Box<tokio::time::Sleep>>,
    backlog: Backlog,
}

impl Future for PatientSleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            if self.sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            let now = Instant::now();
            let more = self.backlog.level(|level| level.patience(now));
            if more.is_zero() {
                return Poll::Ready(());
            }
            self.sleep.as_mut().reset(now + more);
        }
    }
}

impl Sleep for PatientSleep {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_grows_with_what_was_sent_and_time_uses_it_up() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut level = Level::default();
        assert_eq!(level.patience(start), Duration::ZERO, "nothing was sent");
        let bytes_for = |seconds: usize| seconds * (128 << 10);
        level.add(1 << 10, start);
        assert!(level.patience(start) < Duration::from_millis(10), "updates are small");
        level.add(bytes_for(20), at(1));
        assert_eq!(level.patience(at(1)), Duration::from_secs(20));
        assert_eq!(level.patience(at(11)), Duration::from_secs(10));
        level.add(bytes_for(5), at(11));
        assert_eq!(level.patience(at(11)), Duration::from_secs(15));
        assert_eq!(level.patience(at(30)), Duration::ZERO);
        level.add(1 << 30, at(31));
        assert_eq!(level.patience(at(31)), MOST, "but not for ever");
    }

    #[tokio::test(start_paused = true)]
    async fn sleeps_follow_what_is_written() {
        use tokio::io::AsyncWriteExt as _;
        let backlog = Backlog::default();
        backlog.timer().sleep(Duration::from_millis(1)).await;
        let mut connection = backlog.counting(tokio::io::sink());
        assert!(
            connection.write_all(&vec![0; 20 << 20]).await.is_ok(),
            "a sink takes everything"
        );
        let asleep = backlog.timer().sleep(Duration::from_millis(1));
        assert!(tokio::time::timeout(Duration::from_secs(5), asleep).await.is_err());
    }
}
