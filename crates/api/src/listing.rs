//! What every list has in common: filters, then pages (`spec/http-api.md` §1).

use axum::extract::FromRequestParts;
use axum::response::Response;
use http::request::Parts;
use meshspan_model::Resource;
use serde_json::{Value, json};

use crate::error::ApiError;
use crate::link::Link;
use crate::query::Query;
use crate::response;

const DEFAULT_SIZE: usize = 100;
const MAX_SIZE: usize = 1000;

/// What a list endpoint was asked.
#[derive(Clone, Debug)]
pub(crate) struct Listing {
    pub(crate) query: Query,
    size: usize,
    offset: usize,
    labels: Vec<(String, String)>,
    link: Link,
}

impl Listing {
    /// True if a resource passes the filters that every list has.
    pub(crate) fn matches(&self, resource: &Resource) -> bool {
        self.matches_name(&resource.name)
            && self
                .labels
                .iter()
                .all(|(key, value)| resource.labels.get(key) == Some(value))
    }

    /// True if a name passes the filter `name`.
    pub(crate) fn matches_name(&self, name: &str) -> bool {
        self.query.first("name").is_none_or(|part| name.contains(part))
    }

    /// Answers with the page of `items` that was asked for, rendered while it is read.
    pub(crate) fn respond<T: Send + 'static>(
        &self,
        items: Vec<T>,
        render: impl FnMut(T) -> Value + Send + 'static,
    ) -> Response {
        let (total, next) = (items.len(), self.next(items.len()));
        response::page(total, self.on_page(items).map(render), next)
    }

    /// The page of `items` that was asked for. Only what is on it is rendered.
    pub(crate) fn page<T>(&self, items: Vec<T>, render: impl FnMut(T) -> Value) -> Value {
        let (total, next) = (items.len(), self.next(items.len()));
        let page: Vec<Value> = self.on_page(items).map(render).collect();
        json!({"total": total, "items": page, "next": next})
    }

    fn on_page<T>(&self, items: Vec<T>) -> impl Iterator<Item = T> + use<T> {
        items.into_iter().skip(self.offset).take(self.size)
    }

    /// Where the next page is.
    fn next(&self, total: usize) -> Option<String> {
        let end = self.offset.saturating_add(self.size);
        (end < total).then(|| self.link.page(end, self.size))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Listing {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let query = Query::from_request_parts(parts, state).await?;
        let Ok(link) = Link::from_request_parts(parts, state).await;
        let size = match query.first("size") {
            None => DEFAULT_SIZE,
            Some(text) => text
                .parse()
                .ok()
                .filter(|size| (1..=MAX_SIZE).contains(size))
                .ok_or_else(|| {
                    ApiError::bad_query(
                        "Invalid page size",
                        "size",
                        format!("is \"{text}\", must be from 1 to {MAX_SIZE}"),
                    )
                })?,
        };
        let offset = match query.first("offset") {
            None => 0,
            Some(text) => text.parse().map_err(|_| {
                ApiError::bad_query(
                    "Invalid offset",
                    "offset",
                    format!("is \"{text}\", take it from \"next\""),
                )
            })?,
        };
        let mut labels = Vec::new();
        for (key, value) in query.iter().filter(|(key, _)| key.starts_with("filter[")) {
            match key
                .strip_prefix("filter[labels.")
                .and_then(|rest| rest.strip_suffix(']'))
            {
                Some(label) if !label.is_empty() => labels.push((label.to_owned(), value.to_owned())),
                _ => {
                    return Err(ApiError::bad_query(
                        "Invalid filter",
                        key,
                        "must be filter[labels.<key>]=<value>",
                    ));
                }
            }
        }
        Ok(Self {
            query,
            size,
            offset,
            labels,
            link,
        })
    }
}
