//! JSON answers, indented by one space as the compatible API does.

use std::io;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use serde_json::Value;
use serde_json::ser::{Formatter as _, PrettyFormatter};

/// How much of a list is rendered ahead of what the caller has read, in bytes.
const CHUNK: usize = 64 << 10;

/// A JSON answer.
pub(crate) fn json<T: Serialize + ?Sized>(status: StatusCode, value: &T) -> Response {
    let mut bytes = Vec::new();
    if let Err(error) = write(value, 0, &mut bytes) {
        tracing::error!(%error, "an answer cannot be written as JSON");
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    }
    bytes.push(b'\n');
    answer(status, Body::from(bytes))
}

/// A JSON answer with status 200.
pub(crate) fn ok<T: Serialize + ?Sized>(value: &T) -> Response {
    json(StatusCode::OK, value)
}

/// One page of a list of `total` items. Each item is rendered when the caller has read most of those before it, so that
/// somebody who reads slowly, or not at all, costs little.
pub(crate) fn page(
    total: usize,
    items: impl Iterator<Item = Value> + Send + 'static,
    next: Option<String>,
) -> Response {
    let chunks = Chunks {
        total,
        items,
        next,
        written: 0,
        state: State::Start,
    };
    answer(StatusCode::OK, Body::from_stream(futures::stream::iter(chunks)))
}

fn answer(status: StatusCode, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// Writes a value as it looks inside of `depth` others.
fn write<T: Serialize + ?Sized>(value: &T, depth: usize, bytes: &mut Vec<u8>) -> serde_json::Result<()> {
    let mut formatter = PrettyFormatter::with_indent(b" ");
    for _ in 0..depth {
        formatter.begin_object(&mut io::sink()).map_err(serde_json::Error::io)?;
    }
    value.serialize(&mut serde_json::Serializer::with_formatter(bytes, formatter))
}

/// The text of a page, piece by piece.
struct Chunks<I> {
    total: usize,
    items: I,
    next: Option<String>,
    /// How many items are written.
    written: usize,
    state: State,
}

enum State {
    Start,
    Items,
    End,
}

impl<I: Iterator<Item = Value>> Chunks<I> {
    fn chunk(&mut self) -> serde_json::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        if matches!(self.state, State::Start) {
            bytes.extend(format!("{{\n \"total\": {},\n \"items\": [", self.total).bytes());
            self.state = State::Items;
        }
        while bytes.len() < CHUNK {
            let Some(item) = self.items.next() else {
                let end: &[u8] = if self.written == 0 { b"]" } else { b"\n ]" };
                bytes.extend_from_slice(end);
                bytes.extend_from_slice(b",\n \"next\": ");
                write(&self.next, 1, &mut bytes)?;
                bytes.extend_from_slice(b"\n}\n");
                self.state = State::End;
                break;
            };
            let separator: &[u8] = if self.written == 0 { b"\n  " } else { b",\n  " };
            bytes.extend_from_slice(separator);
            write(&item, 2, &mut bytes)?;
            self.written += 1;
        }
        Ok(bytes)
    }
}

impl<I: Iterator<Item = Value>> Iterator for Chunks<I> {
    type Item = io::Result<Bytes>;

    fn next(&mut self) -> Option<Self::Item> {
        if matches!(self.state, State::End) {
            return None;
        }
        let chunk = self.chunk();
        if let Err(error) = &chunk {
            tracing::error!(%error, "an answer cannot be written as JSON");
            self.state = State::End;
        }
        Some(chunk.map(Bytes::from).map_err(io::Error::from))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use http_body_util::BodyExt as _;
    use serde_json::json;

    use super::*;

    #[tokio::test]
    async fn a_page_looks_like_any_other_answer() {
        for (items, next) in [
            (vec![], None),
            (vec![json!({"a": {"b": [1, []]}})], Some("http://x/?a=\"1\"".to_owned())),
            (vec![json!({}), json!([1, {"c": null}]), json!("text\n")], None),
        ] {
            let whole = ok(&json!({"total": 7, "items": items, "next": next}));
            let page = page(7, items.into_iter(), next);
            assert_eq!(page.headers(), whole.headers());
            let [page, whole] = [page, whole].map(|answer| axum::body::to_bytes(answer.into_body(), usize::MAX));
            assert_eq!(page.await.unwrap(), whole.await.unwrap());
        }
    }

    #[tokio::test]
    async fn items_are_rendered_as_they_are_read() {
        let rendered = Arc::new(AtomicUsize::new(0));
        let counter = rendered.clone();
        let items = (0..1000).map(move |_| {
            counter.fetch_add(1, Ordering::Relaxed);
            Value::String("x".repeat(CHUNK / 4))
        });
        let mut body = page(1000, items, None).into_body();
        assert_eq!(rendered.load(Ordering::Relaxed), 0);
        body.frame().await.unwrap().unwrap();
        assert_eq!(rendered.load(Ordering::Relaxed), 4);
        drop(body);
        assert_eq!(rendered.load(Ordering::Relaxed), 4);
    }
}
