//! The standard error object (`spec/http-api.md` §1), and how every failure becomes one.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use meshspan_model::Violations;
use meshspan_store::StoreError;
use serde_json::{Map, Value, json};

use crate::caller::Caller;
use crate::response;

/// Title of a refused PUT.
pub(crate) const COULD_NOT_PROCESS: &str = "Could not process a resource";
/// Title of a failed GET.
pub(crate) const COULD_NOT_RETRIEVE: &str = "Could not retrieve a resource";
/// Title of a failed DELETE.
pub(crate) const COULD_NOT_DELETE: &str = "Could not delete a resource";
/// Title where the mesh in the path does not exist.
pub(crate) const NO_MESH: &str = "Failed to retrieve Mesh";

const NOT_VALID: &str = "Resource is not valid";
const NOT_FOUND: &str = "Not found";

/// Where in the request the fault is.
#[derive(Clone, Copy, Debug)]
enum Source {
    Body,
    Query,
}

/// Who has so many requests under way that one more has no place; whoever serves the API answers with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Busy {
    /// The caller.
    Caller,
    /// All callers together.
    All,
}

impl IntoResponse for Busy {
    fn into_response(self) -> Response {
        let mut response = ApiError::busy(self).into_response();
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        response
    }
}

/// A failed request.
#[derive(Debug)]
pub(crate) struct ApiError {
    status: StatusCode,
    title: &'static str,
    detail: String,
    parameters: Vec<(String, String, Source)>,
}

impl ApiError {
    fn new(status: StatusCode, title: &'static str, detail: impl Into<String>) -> Self {
        Self {
            status,
            title,
            detail: detail.into(),
            parameters: Vec::new(),
        }
    }

    /// 400 with everything that is wrong in the body.
    pub(crate) fn invalid(title: &'static str, violations: &Violations) -> Self {
        Self::violations(title, NOT_VALID, violations)
    }

    /// 400 with everything that is wrong in a request that is no resource.
    pub(crate) fn invalid_request(violations: &Violations) -> Self {
        Self::violations("Invalid request", "Request is not valid", violations)
    }

    fn violations(title: &'static str, detail: &str, violations: &Violations) -> Self {
        let mut error = Self::new(StatusCode::BAD_REQUEST, title, detail);
        let all = violations
            .iter()
            .map(|found| (found.field.clone(), found.message.clone(), Source::Body));
        error.parameters.extend(all);
        error
    }

    /// 400 for something that cannot be read at all.
    pub(crate) fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "Bad Request", detail)
    }

    /// 400 for a query parameter.
    pub(crate) fn bad_query(title: &'static str, parameter: &str, reason: impl Into<String>) -> Self {
        let reason = reason.into();
        let mut error = Self::new(StatusCode::BAD_REQUEST, title, reason.clone());
        error.parameters.push((parameter.to_owned(), reason, Source::Query));
        error
    }

    /// 400 for something that is switched off.
    pub(crate) fn disabled(title: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, title, detail)
    }

    /// 401.
    pub(crate) fn unauthenticated() -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            "Invalid authentication data",
            "Unauthenticated",
        )
    }

    /// 403; `action` completes "user … cannot".
    pub(crate) fn access_denied(caller: &Caller, action: &str) -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            "Access Denied",
            format!("user \"{caller}\" cannot {action}"),
        )
    }

    /// 404.
    pub(crate) fn not_found(title: &'static str) -> Self {
        Self::new(StatusCode::NOT_FOUND, title, NOT_FOUND)
    }

    /// 404 for a token that nothing can sign.
    pub(crate) fn no_signing_key(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "Signing Key not found", detail)
    }

    /// 405 for a kind that is read-only here.
    pub(crate) fn method_not_allowed(reason: impl Into<String>) -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "Method not allowed", reason)
    }

    /// 503.
    pub(crate) fn unavailable(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "Service unavailable", detail)
    }

    /// 429 or 503 for a request that has no place beside others.
    fn busy(who: Busy) -> Self {
        match who {
            Busy::Caller => Self::new(
                StatusCode::TOO_MANY_REQUESTS,
                "Too many requests",
                "too many requests from this address are being answered at once; try again, with fewer at a time",
            ),
            Busy::All => Self::unavailable("too many requests are being answered at once; try again"),
        }
    }

    /// 408.
    pub(crate) fn timed_out(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::REQUEST_TIMEOUT, "Request timeout", detail)
    }

    /// 413.
    pub(crate) fn too_large(limit: usize) -> Self {
        let detail = format!("the request body is larger than {limit} bytes; split the resource into several");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "Request too large", detail)
    }

    /// 500; what happened goes to the log, not to the caller.
    pub(crate) fn internal(title: &'static str, cause: &dyn std::fmt::Display) -> Self {
        tracing::error!(error = %cause, "{title}");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, title, "Internal Server Error")
    }

    /// What a store said.
    pub(crate) fn store(title: &'static str, error: StoreError) -> Self {
        match error {
            StoreError::AlreadyExists { .. } | StoreError::Conflict { .. } => {
                Self::new(StatusCode::CONFLICT, "Conflict", error.to_string())
            }
            StoreError::NotFound { .. } => Self::not_found(title),
            StoreError::MissingOwner { owner, .. } => Self::violations(
                title,
                "Mesh is not found",
                &Violations::one("mesh", format!("{owner} does not exist")),
            ),
            StoreError::InMemory => Self::new(StatusCode::CONFLICT, title, error.to_string()),
            StoreError::Closed
            | StoreError::Full { .. }
            | StoreError::ReadOnly { .. }
            | StoreError::InUse { .. }
            | StoreError::Gone { .. }
            | StoreError::Backend { .. } => {
                tracing::error!(%error, "{title}");
                Self::unavailable("the store does not take writes")
            }
            StoreError::CannotOpen { .. }
            | StoreError::Corrupt { .. }
            | StoreError::Empty { .. }
            | StoreError::Newer { .. } => Self::internal(title, &error),
        }
    }

    fn to_json(&self) -> Value {
        let mut object = Map::new();
        object.insert("type".into(), "/std-errors".into());
        object.insert("status".into(), self.status.as_u16().into());
        object.insert("title".into(), self.title.into());
        object.insert("detail".into(), self.detail.as_str().into());
        let parameters = self.parameters.iter().map(|(field, reason, source)| {
            let source = match source {
                Source::Body => "body",
                Source::Query => "query",
            };
            json!({"field": field, "reason": reason, "source": source})
        });
        let causes = self
            .parameters
            .iter()
            .map(|(field, reason, _)| json!({"field": field, "message": reason}));
        if self.parameters.is_empty() {
            object.insert("details".into(), self.detail.as_str().into());
        } else {
            object.insert("invalid_parameters".into(), parameters.collect());
            // Older clients read these two.
            object.insert("details".into(), self.detail.as_str().into());
            object.insert("causes".into(), causes.collect());
        }
        Value::Object(object)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        response::json(self.status, &self.to_json())
    }
}
