//! Whether anything happens on a connection: one on which nothing is asked and nothing moves is closed.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::{Body, Frame, SizeHint};
use tokio::sync::watch;

/// From accept to the head of the first request.
const FIRST_REQUEST: Duration = Duration::from_secs(10);
/// Between requests, and without a byte of a request or answer moving. Longer than clients keep idle connections.
const QUIET: Duration = Duration::from_secs(90);

#[derive(Clone, Copy, Debug, Default)]
struct State {
    /// Streams of gRPC, which have their own deadlines and pings.
    streams: usize,
    asked: bool,
    /// Changes with every step forward.
    steps: u64,
}

/// What happens on one connection.
#[derive(Clone, Debug, Default)]
pub(super) struct Activity(watch::Sender<State>);

impl Activity {
    /// A request came; it lasts until the guard is dropped.
    pub(super) fn request(&self, is_stream: bool) -> InFlight {
        self.0.send_modify(|state| {
            state.asked = true;
            state.streams += usize::from(is_stream);
            state.steps = state.steps.wrapping_add(1);
        });
        InFlight {
            activity: self.clone(),
            is_stream,
        }
    }

    fn step(&self) {
        self.0.send_modify(|state| state.steps = state.steps.wrapping_add(1));
    }

    /// Waits until nothing has happened for too long.
    pub(super) async fn ceased(&self) {
        let mut changes = self.0.subscribe();
        loop {
            let state = *changes.borrow_and_update();
            let patience = match state {
                State { streams: 1.., .. } => None,
                State { asked: false, .. } => Some(FIRST_REQUEST),
                State { asked: true, .. } => Some(QUIET),
            };
            let quiet = async {
                match patience {
                    Some(patience) => tokio::time::sleep(patience).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                // The sender lives in `self`.
                _ = changes.changed() => {}
                () = quiet => return,
            }
        }
    }
}

/// A request that is not answered to its end yet.
#[derive(Debug)]
pub(super) struct InFlight {
    activity: Activity,
    is_stream: bool,
}

impl InFlight {
    /// A part of the request or of the answer has moved.
    pub(super) fn step(&self) {
        if !self.is_stream {
            self.activity.step();
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.activity.0.send_modify(|state| {
            state.streams -= usize::from(self.is_stream);
            state.steps = state.steps.wrapping_add(1);
        });
    }
}

/// The body of an answer, which ends the request when it is dropped.
pub(super) struct Answer<B> {
    pub(super) body: B,
    pub(super) request: InFlight,
    /// What the request holds until it is answered.
    pub(super) _held: (super::body::Held, Option<super::places::Place>),
}

impl<B: Body + Unpin> Body for Answer<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        if frame.is_ready() {
            self.request.step();
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt as _;

    #[tokio::test(start_paused = true)]
    async fn silence_ends_a_connection_and_streams_keep_it() {
        let activity = Activity::default();
        let before = tokio::time::Instant::now();
        activity.ceased().await;
        assert!(
            before.elapsed() < QUIET,
            "a connection that never asked is not kept for long"
        );

        let activity = Activity::default();
        let stream = activity.request(true);
        assert!(tokio::time::timeout(QUIET * 10, activity.ceased()).await.is_err());
        drop(stream);
        activity.ceased().await;
    }

    #[tokio::test(start_paused = true)]
    async fn progress_counts() {
        let activity = Activity::default();
        let request = activity.request(false);
        let ceased = activity.ceased();
        tokio::pin!(ceased);
        for _ in 0..3 {
            assert!(ceased.as_mut().now_or_never().is_none());
            tokio::time::sleep(QUIET / 2).await;
            request.step();
        }
        assert!(ceased.as_mut().now_or_never().is_none());
        ceased.await;
    }
}
