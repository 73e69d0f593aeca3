//! How many requests are answered at once, for one peer and in all. What is computed and not read yet fills memory, and
//! what is computed for one peer keeps others waiting: nobody may have more of either than a share.

use std::sync::Arc;
use std::time::Duration;

use meshspan_api::Busy;
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// How long a read waits for its turn.
const PATIENCE: Duration = Duration::from_secs(10);
/// Reads of one peer that are computed at once; a list of thousands may take a processor's second.
const COMPUTED: usize = 2;

/// Places of one peer, or of one port.
#[derive(Clone, Debug)]
pub(super) struct Places {
    /// Requests, from their head to the end of the answer.
    requests: Arc<Semaphore>,
    /// Those of them that read, and so have answers of any size.
    reads: Arc<Semaphore>,
    /// Those of them that are being computed.
    computed: Arc<Semaphore>,
}

/// The place of one request, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    _request: [OwnedSemaphorePermit; 2],
    _read: Option<[OwnedSemaphorePermit; 2]>,
    computed: Option<OwnedSemaphorePermit>,
}

impl Places {
    pub(super) fn new(requests: usize, reads: usize) -> Self {
        Self {
            requests: Arc::new(Semaphore::new(requests)),
            reads: Arc::new(Semaphore::new(reads)),
            computed: Arc::new(Semaphore::new(COMPUTED)),
        }
    }

    /// A place for a request of this peer at that port. Reads wait for their turn, and wait for nothing else later: one whose
    /// connection ends meanwhile is never computed.
    ///
    /// # Errors
    /// Whose places are all taken.
    pub(super) async fn enter(&self, port: &Self, is_read: bool) -> Result<Place, Busy> {
        let take = |places: &Self, who| places.requests.clone().try_acquire_owned().map_err(|_| who);
        let request = [take(self, Busy::Caller)?, take(port, Busy::All)?];
        let mut place = Place {
            _request: request,
            _read: None,
            computed: None,
        };
        if is_read {
            let wait = async |places: &Self, who| {
                let turn = timeout(PATIENCE, places.reads.clone().acquire_owned()).await;
                turn.ok().and_then(Result::ok).ok_or(who)
            };
            place._read = Some([wait(self, Busy::Caller).await?, wait(port, Busy::All).await?]);
            let computed: Result<_, AcquireError> = self.computed.clone().acquire_owned().await;
            place.computed = Some(computed.map_err(|_| Busy::All)?);
        }
        Ok(place)
    }
}

impl Place {
    /// The answer is there, and is sent from now on.
    pub(super) fn is_computed(&mut self) {
        self.computed = None;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use futures::FutureExt as _;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_peer_leaves_places_to_others() {
        let port = Places::new(10, 5);
        let peer = || Places::new(6, 4);
        let (greedy, other) = (peer(), peer());
        let mut computing = Vec::new();
        for _ in 0..COMPUTED {
            computing.push(greedy.enter(&port, true).await.unwrap());
        }
        // The third waits for one that is computed, and not for one that is read.
        let third = greedy.enter(&port, true);
        tokio::pin!(third);
        assert!(third.as_mut().now_or_never().is_none());
        let _others = other.enter(&port, true).await.unwrap();
        computing.iter_mut().for_each(Place::is_computed);
        let mut third = third.await.unwrap();
        third.is_computed();
        let fourth = greedy.enter(&port, true).await.unwrap();
        // No more are read, but others are answered.
        assert_eq!(greedy.enter(&port, true).await.unwrap_err(), Busy::Caller);
        let writes = [
            greedy.enter(&port, false).await.unwrap(),
            greedy.enter(&port, false).await.unwrap(),
        ];
        assert_eq!(greedy.enter(&port, false).await.unwrap_err(), Busy::Caller);
        assert_eq!(other.enter(&port, true).await.unwrap_err(), Busy::All);
        drop((writes, fourth));
        assert!(other.enter(&port, true).await.is_ok());
        assert!(greedy.enter(&port, true).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn who_stops_waiting_leaves_no_trace() {
        let (port, peer) = (Places::new(3, 3), Places::new(3, 3));
        let held = [
            peer.enter(&port, true).await.unwrap(),
            peer.enter(&port, true).await.unwrap(),
        ];
        assert!(peer.enter(&port, true).now_or_never().is_none());
        drop(held);
        for _ in 0..3 {
            peer.enter(&port, true).await.unwrap().is_computed();
        }
    }
}
