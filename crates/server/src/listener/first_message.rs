//! The first message of a gRPC stream says who calls, so it is read from anybody. Those that have arrived in part keep the
//! limits of other bodies: they must be complete in time, and all of them may fill so much memory and no more.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};
use tonic::Status;

use super::body::{BODY_TIMEOUT, Held, Memory};

/// A flag and the length of what follows: "Length-Prefixed-Message" of gRPC over HTTP/2.
const PREFIX: usize = 5;

/// The body of a stream, bounded until its first message is complete.
pub(super) struct FirstMessage<B> {
    body: B,
    /// `None` once it is complete.
    arriving: Option<Arriving>,
}

struct Arriving {
    memory: [Memory; 2],
    held: Held,
    /// From the first byte on: many streams wait for the other side to begin.
    deadline: Option<Pin<Box<Sleep>>>,
    prefix: Vec<u8>,
    bytes: usize,
}

impl<B> FirstMessage<B> {
    pub(super) fn new(body: B, memory: [Memory; 2]) -> Self {
        let arriving = Arriving {
            memory,
            held: Held::default(),
            deadline: None,
            prefix: Vec::new(),
            bytes: 0,
        };
        Self {
            body,
            arriving: Some(arriving),
        }
    }
}

impl Arriving {
    /// Counts what has come; true when it is all of the message.
    fn take(&mut self, data: &[u8]) -> Result<bool, Status> {
        self.bytes = self.bytes.saturating_add(data.len());
        let missing = PREFIX - self.prefix.len();
        self.prefix.extend(data.iter().take(missing));
        if let [_, length @ ..] = self.prefix.as_slice()
            && let Ok(length) = <[u8; 4]>::try_from(length)
            && usize::try_from(u32::from_be_bytes(length))
                .is_ok_and(|length| self.bytes >= length.saturating_add(PREFIX))
        {
            return Ok(true);
        }
        for memory in &self.memory {
            self.held.add(memory, data.len()).map_err(|_| {
                Status::resource_exhausted("too many first messages have arrived in part only; try again later")
            })?;
        }
        self.deadline
            .get_or_insert_with(|| Box::pin(sleep_until(Instant::now() + BODY_TIMEOUT)));
        Ok(false)
    }
}

impl<B> Body for FirstMessage<B>
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
        let this = &mut *self;
        let deadline = this.arriving.as_mut().and_then(|arriving| arriving.deadline.as_mut());
        if deadline.is_some_and(|deadline| deadline.as_mut().poll(context).is_ready()) {
            let late = format!("the first message did not arrive within {} s", BODY_TIMEOUT.as_secs());
            return Poll::Ready(Some(Err(Status::deadline_exceeded(late).into())));
        }
        let Some(frame) = ready!(Pin::new(&mut this.body).poll_frame(context)) else {
            return Poll::Ready(None);
        };
        let frame = frame.map_err(Into::<Self::Error>::into)?;
        if let (Some(arriving), Some(data)) = (&mut this.arriving, frame.data_ref())
            && arriving.take(data)?
        {
            this.arriving = None;
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use futures::FutureExt as _;
    use http_body_util::BodyExt as _;
    use http_body_util::StreamBody;
    use tokio::sync::mpsc;

    type Sender = mpsc::UnboundedSender<Result<Frame<Bytes>, std::io::Error>>;

    fn stream(
        memory: &[Memory; 2],
    ) -> (
        Sender,
        FirstMessage<impl Body<Data = Bytes, Error = std::io::Error> + Unpin>,
    ) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let body = StreamBody::new(tokio_stream::wrappers::UnboundedReceiverStream::new(receiver));
        (sender, FirstMessage::new(body, memory.clone()))
    }

    fn memory() -> [Memory; 2] {
        [Memory::of_peer(), Memory::of_port()]
    }

    fn data(bytes: Vec<u8>) -> Result<Frame<Bytes>, std::io::Error> {
        Ok(Frame::data(bytes.into()))
    }

    /// The start of a message of `length` bytes, with so many bytes of it.
    fn part(length: u32, bytes: usize) -> Vec<u8> {
        let mut part = vec![0];
        part.extend(length.to_be_bytes());
        part.resize(PREFIX + bytes, 0);
        part
    }

    fn code(error: &(dyn std::error::Error + Send + Sync + 'static)) -> tonic::Code {
        error.downcast_ref::<Status>().unwrap().code()
    }

    #[tokio::test]
    async fn hundreds_of_halves_are_bounded_in_sum_and_whole_ones_pass() {
        let memory = memory();
        let mut open = Vec::new();
        let mut refused = 0;
        for _ in 0..400 {
            let (sender, mut body) = stream(&memory);
            sender.send(data(part(1 << 20, 900_000))).unwrap();
            match body.frame().await.unwrap() {
                Ok(_) => open.push((sender, body)),
                Err(error) => {
                    assert_eq!(code(&*error), tonic::Code::ResourceExhausted);
                    refused += 1;
                }
            }
        }
        assert!((1..=18).contains(&open.len()), "{} wait with 0.9 MB each", open.len());
        assert_eq!(open.len() + refused, 400);
        // What is complete at once needs no room, and what becomes complete gives it back.
        let (sender, mut whole) = stream(&memory);
        sender.send(data(part(60_000, 60_000))).unwrap();
        sender.send(data(part(1 << 20, 900_000))).unwrap();
        assert!(whole.frame().await.unwrap().is_ok());
        assert!(
            whole.frame().await.unwrap().is_ok(),
            "whoever has said who it is is not counted"
        );
        let (sender, first) = open.first_mut().unwrap();
        sender.send(data(vec![0; (1 << 20) - 900_000])).unwrap();
        assert!(first.frame().await.unwrap().is_ok());
        let (sender, mut next) = stream(&memory);
        sender.send(data(part(1 << 20, 900_000))).unwrap();
        assert!(next.frame().await.unwrap().is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_that_has_begun_must_end_and_one_that_has_not_may_wait() {
        let memory = memory();
        let (sender, mut body) = stream(&memory);
        tokio::time::sleep(BODY_TIMEOUT * 2).await;
        assert!(body.frame().now_or_never().is_none());
        // Byte by byte, the length too.
        for byte in part(2, 1) {
            sender.send(data(vec![byte])).unwrap();
            assert!(body.frame().await.unwrap().is_ok());
        }
        assert_eq!(
            code(&*body.frame().await.unwrap().unwrap_err()),
            tonic::Code::DeadlineExceeded
        );

        let (sender, mut body) = stream(&memory);
        for byte in part(1, 1) {
            sender.send(data(vec![byte])).unwrap();
            assert!(body.frame().await.unwrap().is_ok());
        }
        tokio::time::sleep(BODY_TIMEOUT * 2).await;
        assert!(body.frame().now_or_never().is_none());
    }
}
