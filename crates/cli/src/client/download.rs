//! Answers that are too large for memory.

use std::io::Write;
use std::time::Duration;

use anyhow::Context as _;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, Method};
use http_body_util::{BodyExt as _, Limited};

use super::{ApiError, Client, ClientError, MAX_ANSWER};

impl Client {
    /// Writes an answer of a media type to a file while it comes, and returns its size in bytes. The time limit counts anew
    /// with each piece.
    ///
    /// # Errors
    /// No connection, a refusal, an answer of another type or one that breaks off ([`ClientError`]), or those of the file.
    pub async fn download(&self, path: &str, media_type: &str, into: &mut dyn Write) -> anyhow::Result<u64> {
        let exchange = self.pool.request(self.request(&Method::GET, path, None)?);
        let response = tokio::time::timeout(self.timeout, exchange).await;
        let response = response
            .map_err(|_| self.late())?
            .map_err(|error| self.unreachable(&error))?;
        let (head, mut body) = response.into_parts();
        let broken = |error: &dyn std::fmt::Display| self.malformed(path, &format!("it breaks off: {error}"));
        if !head.status.is_success() {
            let body = tokio::time::timeout(self.timeout, Limited::new(body, MAX_ANSWER).collect()).await;
            let body = body.map_err(|_| self.late())?.map_err(|error| broken(&error))?;
            return Err(ClientError::Api(ApiError::read(head.status, &body.to_bytes())).into());
        }
        let text = |name: HeaderName| header(&head.headers, &name);
        if text(CONTENT_TYPE) != media_type {
            return Err(self.malformed(path, &format!("it is no {media_type}")).into());
        }
        let Ok(announced) = text(CONTENT_LENGTH).parse::<u64>() else {
            return Err(self.malformed(path, "it does not say how long it is").into());
        };
        let mut received = 0;
        while let Some(frame) = next(&mut body, self.timeout).await.ok_or_else(|| self.late())? {
            let frame = frame.map_err(|error| broken(&error))?;
            if let Some(data) = frame.data_ref() {
                received += u64::try_from(data.len()).unwrap_or(u64::MAX);
                into.write_all(data).context("cannot write what was received")?;
            }
        }
        if received != announced {
            return Err(broken(&format!("{received} of {announced} bytes came")).into());
        }
        Ok(received)
    }
}

/// The next piece; `None` if it is late.
async fn next<B: hyper::body::Body + Unpin>(
    body: &mut B,
    timeout: Duration,
) -> Option<Option<Result<hyper::body::Frame<B::Data>, B::Error>>> {
    tokio::time::timeout(timeout, body.frame()).await.ok()
}

fn header<'a>(headers: &'a HeaderMap, name: &HeaderName) -> &'a str {
    headers
        .get(name)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
}
