//! Passing queries on to the host's resolvers.

use super::Transport;
use super::resolv_conf::{Content, ResolvConf};
use crate::socket::{self, SocketMark};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// How long one resolver may take before the next is asked as well.
const NEXT_AFTER: Duration = Duration::from_millis(1500);
/// How long a resolver is listened to. The C library waits 5 s before it asks us again.
const TRY_TIMEOUT: Duration = Duration::from_secs(5);
/// How often the whole list is gone through.
const ROUNDS: usize = 2;

const SERVFAIL: u8 = 2;
const NOTIMP: u8 = 4;
const REFUSED: u8 = 5;

/// Asks the resolvers of `resolv.conf` one after the other. Each query starts with the first: resolvers may know different names, so a slow
/// answer to one query is no reason to ask another resolver about the next.
#[derive(Debug)]
pub(super) struct Forwarder {
    resolv_conf: ResolvConf,
    mark: SocketMark,
    /// Our own listener: a resolver with this address would be ourselves.
    own: SocketAddr,
    /// Ports from which questions to resolvers are on their way.
    asking_from: Mutex<BTreeSet<u16>>,
}

/// Takes its port out of `asking_from` when the question is over.
struct Asking<'a> {
    forwarder: &'a Forwarder,
    port: u16,
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        self.forwarder
            .asking_from
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&self.port);
    }
}

impl Forwarder {
    pub(super) fn new(resolv_conf: &Path, own: SocketAddr, mark: SocketMark) -> Self {
        Self {
            resolv_conf: ResolvConf::new(resolv_conf),
            mark,
            own,
            asking_from: Mutex::default(),
        }
    }

    /// What `resolv.conf` says now.
    pub(super) fn resolv_conf(&self) -> Arc<Content> {
        self.resolv_conf.content()
    }

    /// The first useful answer. If every resolver refuses, the refusal of the last one; `None` if none answers.
    pub(super) async fn ask(&self, query: &[u8], transport: Transport) -> Option<Vec<u8>> {
        let resolvers = self.resolvers();
        let mut asked = FuturesUnordered::new();
        let mut refusal = None;
        for _ in 0..ROUNDS {
            for resolver in &resolvers {
                asked.push(self.try_once(*resolver, query, transport));
                match tokio::time::timeout(NEXT_AFTER, asked.next()).await {
                    Ok(Some(Some(answer))) if !is_refusal(&answer) => return Some(answer),
                    Ok(Some(Some(answer))) => refusal = Some(answer),
                    Ok(Some(None) | None) | Err(_) => {}
                }
            }
            if refusal.is_some() {
                break;
            }
        }
        while let Some(outcome) = asked.next().await {
            match outcome {
                Some(answer) if !is_refusal(&answer) => return Some(answer),
                Some(answer) => refusal = Some(answer),
                None => {}
            }
        }
        refusal
    }

    async fn try_once(&self, resolver: SocketAddr, query: &[u8], transport: Transport) -> Option<Vec<u8>> {
        let outcome = tokio::time::timeout(TRY_TIMEOUT, self.exchange(resolver, query, transport)).await;
        match outcome.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
            Ok(answer) => Some(answer),
            Err(error) => {
                tracing::debug!(%resolver, "DNS resolver does not answer: {error}");
                None
            }
        }
    }

    /// Is this client one of our own sockets? Then interception redirects the agent's questions back to the agent.
    pub(super) fn is_own_question(&self, client: SocketAddr) -> bool {
        self.asking_from
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .contains(&client.port())
    }

    fn asking(&self, port: u16) -> Asking<'_> {
        self.asking_from
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(port);
        Asking { forwarder: self, port }
    }

    /// In the file's order; ourselves never.
    fn resolvers(&self) -> Vec<SocketAddr> {
        let content = self.resolv_conf.content();
        let resolvers = content.resolvers.iter().copied();
        resolvers.filter(|resolver| !self.is_own(*resolver)).collect()
    }

    fn is_own(&self, resolver: SocketAddr) -> bool {
        let same_host = resolver.ip() == self.own.ip()
            || resolver.ip().is_unspecified()
            || (self.own.ip().is_unspecified() && resolver.ip().is_loopback());
        resolver.port() == self.own.port() && same_host
    }

    async fn exchange(&self, resolver: SocketAddr, query: &[u8], transport: Transport) -> io::Result<Vec<u8>> {
        match transport {
            Transport::Udp => self.exchange_udp(resolver, query).await,
            Transport::Tcp => self.exchange_tcp(resolver, query).await,
        }
    }

    /// A truncated answer is passed on: it does not fit what the client offered, so the client must come by TCP.
    async fn exchange_udp(&self, resolver: SocketAddr, query: &[u8]) -> io::Result<Vec<u8>> {
        let socket = socket::udp_connect(resolver, self.mark).await?;
        let _asking = self.asking(socket.local_addr()?.port());
        socket.send(query).await?;
        let mut buffer = vec![0; usize::from(u16::MAX)];
        loop {
            let length = socket.recv(&mut buffer).await?;
            if let Some(answer) = buffer.get(..length).filter(|answer| answers(answer, query)) {
                return Ok(answer.to_vec());
            }
        }
    }

    async fn exchange_tcp(&self, resolver: SocketAddr, query: &[u8]) -> io::Result<Vec<u8>> {
        let length = u16::try_from(query.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        let mut stream = socket::tcp_connect(resolver, None, self.mark).await?;
        let mut framed = length.to_be_bytes().to_vec();
        framed.extend_from_slice(query);
        stream.write_all(&framed).await?;
        let mut answer = vec![0; usize::from(stream.read_u16().await?)];
        stream.read_exact(&mut answer).await?;
        if answers(&answer, query) {
            Ok(answer)
        } else {
            Err(io::ErrorKind::InvalidData.into())
        }
    }
}

/// Another resolver may do better than one that says SERVFAIL, NOTIMP or REFUSED.
fn is_refusal(answer: &[u8]) -> bool {
    answer
        .get(3)
        .is_some_and(|flags| [SERVFAIL, NOTIMP, REFUSED].contains(&(flags & 0x0f)))
}

/// Is `answer` a response with the query's id and, unless it is an error without question, to its question?
fn answers(answer: &[u8], query: &[u8]) -> bool {
    let same_id = matches!((answer.get(..2), query.get(..2)), (Some(a), Some(q)) if a == q);
    let is_response = answer.get(2).is_some_and(|flags| flags & 0x80 != 0);
    let question_matches = match (question(answer), question(query)) {
        (Some(a), Some(q)) => a.eq_ignore_ascii_case(q),
        (None, _) => answer.get(3).is_some_and(|flags| flags & 0x0f != 0),
        (Some(_), None) => true,
    };
    same_id && is_response && question_matches
}

/// Bytes of the first question: name, type, class. `None` if there is none.
fn question(message: &[u8]) -> Option<&[u8]> {
    const START: usize = 12;
    if message.get(4..6)? == [0, 0] {
        return None;
    }
    let mut end = START;
    loop {
        match *message.get(end)? {
            0 => return message.get(START..end + 5),
            label if label < 64 => end += 1 + usize::from(label),
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const QUERY: &[u8] = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x03www\x02de\x00\x00\x01\x00\x01";

    fn response(edit: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut bytes = QUERY.to_vec();
        *bytes.get_mut(2).unwrap() |= 0x80;
        edit(&mut bytes);
        bytes
    }

    #[test]
    fn only_a_response_to_the_question_counts() {
        assert!(answers(&response(|_| ()), QUERY));
        assert!(
            answers(&response(|r| *r.get_mut(13).unwrap() = b'W'), QUERY),
            "case may differ"
        );
        assert!(!answers(QUERY, QUERY), "a query is not an answer");
        assert!(!answers(&response(|r| *r.get_mut(0).unwrap() = 0), QUERY), "other id");
        assert!(
            !answers(&response(|r| *r.get_mut(14).unwrap() = b'x'), QUERY),
            "other name"
        );
        assert!(!answers(b"", QUERY));
    }

    proptest::proptest! {
        #[test]
        fn no_answer_does_harm(answer: Vec<u8>, query: Vec<u8>) {
            answers(&answer, &query);
            is_refusal(&answer);
        }
    }

    #[test]
    fn our_own_listener_is_never_asked() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("resolv.conf");
        std::fs::write(&file, "nameserver [127.0.0.1]:15053\nnameserver [127.0.0.2]:15053\n").unwrap();
        let order = |own: &str| {
            let forwarder = Forwarder::new(&file, own.parse().unwrap(), SocketMark::default());
            forwarder
                .resolvers()
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
        };
        assert_eq!(order("127.0.0.1:15053"), ["127.0.0.2:15053"]);
        assert!(order("0.0.0.0:15053").is_empty());
        assert_eq!(order("127.0.0.1:53").len(), 2);
    }

    #[test]
    fn own_questions_are_recognised_while_they_last() {
        let forwarder = Forwarder::new(
            Path::new("/nonexistent"),
            "127.0.0.1:1".parse().unwrap(),
            SocketMark::default(),
        );
        let client = "10.0.0.5:40000".parse().unwrap();
        let asking = forwarder.asking(40000);
        assert!(forwarder.is_own_question(client));
        drop(asking);
        assert!(!forwarder.is_own_question(client));
    }
}
