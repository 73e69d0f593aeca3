//! Bodies of requests, other than streams of gRPC (see [`super::first_message`]): they must arrive in time, and all that wait to be complete may fill so
//! much memory and no more.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use meshspan_api::BodyError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep_until};

/// For the whole body.
pub(super) const BODY_TIMEOUT: Duration = Duration::from_secs(20);
/// Of all bodies at one port, in bytes.
const MEMORY: usize = 64 << 20;
/// Of all bodies of one peer, in bytes: several of the largest documents.
const MEMORY_PER_PEER: usize = 16 << 20;

/// The memory of one port, or of one peer.
#[derive(Clone, Debug)]
pub(super) struct Memory(Arc<Semaphore>);

impl Memory {
    pub(super) fn of_port() -> Self {
        Self(Arc::new(Semaphore::new(MEMORY)))
    }

    pub(super) fn of_peer() -> Self {
        Self(Arc::new(Semaphore::new(MEMORY_PER_PEER)))
    }
}

/// Memory that a request holds until it is answered. Cloned, it is the same.
#[derive(Clone, Debug, Default)]
pub(super) struct Held(Arc<std::sync::Mutex<Vec<OwnedSemaphorePermit>>>);

impl Held {
    pub(super) fn add(&self, from: &Memory, bytes: usize) -> Result<(), BodyError> {
        let bytes = u32::try_from(bytes).map_err(|_| BodyError::Busy)?;
        let permit = from
            .0
            .clone()
            .try_acquire_many_owned(bytes)
            .map_err(|_| BodyError::Busy)?;
        let mut held = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        // One permit for each source, however many frames there are.
        match held
            .iter_mut()
            .find(|other| Arc::ptr_eq(other.semaphore(), permit.semaphore()))
        {
            Some(other) => other.merge(permit),
            None => held.push(permit),
        }
        Ok(())
    }
}

/// A request's body that keeps these limits.
pub(super) struct Bounded<B> {
    body: B,
    deadline: Pin<Box<Sleep>>,
    memory: [Memory; 2],
    held: Held,
}

impl<B> Bounded<B> {
    pub(super) fn new(body: B, memory: [Memory; 2], held: Held) -> Self {
        Self {
            body,
            deadline: Box::pin(sleep_until(Instant::now() + BODY_TIMEOUT)),
            memory,
            held,
        }
    }
}

impl<B> Body for Bounded<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if self.deadline.as_mut().poll(context).is_ready() {
            return Poll::Ready(Some(Err(BodyError::Slow.into())));
        }
        let Some(frame) = ready!(Pin::new(&mut self.body).poll_frame(context)) else {
            return Poll::Ready(None);
        };
        let frame = frame.map_err(Into::<Self::Error>::into)?;
        if let Some(data) = frame.data_ref() {
            for memory in &self.memory {
                self.held.add(memory, data.len())?;
            }
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
