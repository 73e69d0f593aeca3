//! A copy of the store, for an administrator. Beyond the reference.

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use futures::stream;
use http::header;
use meshspan_store::Backup;
use tokio::io::AsyncReadExt as _;

use crate::access;
use crate::caller::Caller;
use crate::error::ApiError;
use crate::state::ApiState;

/// How much of a copy is in memory at a time, in bytes.
const CHUNK: usize = 256 << 10;

/// Apart from the other paths, as its answer is no JSON.
pub(crate) fn routes() -> Router<ApiState> {
    Router::new().route("/_backup", get(backup))
}

/// Holds all secrets, so it takes the right to read these.
async fn backup(State(state): State<ApiState>, caller: Caller) -> Result<Response, ApiError> {
    access::require(&state.settings.access.admin_resources, &caller, "copy the store")?;
    let copied = state.store.backup().await;
    let Backup { file, bytes } = copied.map_err(|error| ApiError::store("Could not copy the store", error))?;
    tracing::info!(caller = %caller, bytes, "the store is copied");
    let headers = [
        (header::CONTENT_TYPE, "application/vnd.sqlite3".to_owned()),
        (header::CONTENT_LENGTH, bytes.to_string()),
        (header::CACHE_CONTROL, "no-store".to_owned()),
    ];
    let chunks = stream::try_unfold(tokio::fs::File::from_std(file), |mut file| async move {
        let mut chunk = Vec::with_capacity(CHUNK);
        let read = (&mut file).take(CHUNK as u64).read_to_end(&mut chunk).await?;
        Ok::<_, std::io::Error>((read > 0).then(|| (Bytes::from(chunk), file)))
    });
    Ok((headers, Body::from_stream(chunks)).into_response())
}
