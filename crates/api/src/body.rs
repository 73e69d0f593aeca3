//! Request bodies, bounded in size.

use std::error::Error;

use axum::body::Body;
use bytes::Bytes;
use http_body_util::LengthLimitError;
use meshspan_model::document::MAX_DOCUMENT;

use crate::error::ApiError;

/// Why a body was not read to its end; whoever serves the API may fail bodies with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// It did not arrive in time.
    #[error("the request body did not arrive in time")]
    Slow,
    /// Too many bodies wait to be complete.
    #[error("too many large requests at once")]
    Busy,
}

/// The whole body.
///
/// # Errors
/// 413 beyond [`MAX_DOCUMENT`] bytes, 408 if it takes too long, 503 if there are too many, 400 if the caller stops sending.
pub(crate) async fn read(body: Body) -> Result<Bytes, ApiError> {
    axum::body::to_bytes(body, MAX_DOCUMENT).await.map_err(|error| {
        if find::<LengthLimitError>(&error).is_some() {
            return ApiError::too_large(MAX_DOCUMENT);
        }
        match find::<BodyError>(&error) {
            Some(slow @ BodyError::Slow) => ApiError::timed_out(slow.to_string()),
            Some(busy @ BodyError::Busy) => ApiError::unavailable(format!("{busy}; try again")),
            None => ApiError::bad_request(format!("the request body could not be read: {error}")),
        }
    })
}

/// An error of that sort among the causes.
fn find<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(found) = error.downcast_ref::<E>() {
            return Some(found);
        }
        cause = error.source();
    }
    None
}
