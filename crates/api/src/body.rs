//! Request bodies, bounded in size.

use std::error::Error;

use axum::body::Body;
use bytes::Bytes;
use http_body_util::LengthLimitError;
use meshspan_model::document::MAX_DOCUMENT;

use crate::error::ApiError;

/// The whole body.
///
/// # Errors
/// 413 beyond [`MAX_DOCUMENT`] bytes, 400 if the caller stops sending.
pub(crate) async fn read(body: Body) -> Result<Bytes, ApiError> {
    axum::body::to_bytes(body, MAX_DOCUMENT).await.map_err(|error| {
        if error.source().is_some_and(|cause| cause.is::<LengthLimitError>()) {
            ApiError::too_large(MAX_DOCUMENT)
        } else {
            ApiError::bad_request(format!("the request body could not be read: {error}"))
        }
    })
}
