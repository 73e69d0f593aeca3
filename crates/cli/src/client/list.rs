//! Lists: one page, or all of them.

use std::collections::BTreeSet;

use serde_json::Value;

use super::path::segment;
use super::{Client, ClientError};

/// The largest page that control planes give (`spec/http-api.md` §1).
const PAGE_SIZE: usize = 1000;

/// Largest number of items that is collected.
const MAX_ITEMS: usize = 1_000_000;

/// One page as the user asked for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// At most this many items; absent: the server's default.
    pub size: Option<u32>,
    /// Where to start: what the page before named.
    pub offset: Option<String>,
}

/// Items of a list.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct List {
    /// How many there are on the server.
    pub total: u64,
    /// Those that were asked for.
    pub items: Vec<Value>,
    /// The offset of the page after this one.
    pub next_offset: Option<String>,
}

impl Client {
    /// All items of a list, page after page. `query` holds filters, unencoded.
    ///
    /// # Errors
    /// As [`Client::get`], and when the server's paging leads nowhere.
    pub async fn list(&self, path: &str, query: &[(&str, &str)]) -> Result<Vec<Value>, ClientError> {
        let mut items = Vec::new();
        let mut seen = BTreeSet::new();
        let mut page = Page {
            size: u32::try_from(PAGE_SIZE).ok(),
            offset: None,
        };
        loop {
            let list = self.page(path, query, &page).await?;
            items.extend(list.items);
            let Some(offset) = list.next_offset else {
                return Ok(items);
            };
            if items.len() > MAX_ITEMS {
                return Err(self.malformed(path, &format!("it has more than {MAX_ITEMS} items; narrow it down")));
            }
            if !seen.insert(offset.clone()) {
                return Err(self.malformed(path, &format!("its page at offset {offset:?} leads back to itself")));
            }
            page.offset = Some(offset);
        }
    }

    /// A complete list as the one document that a page of it is, with the fields that it has beside its items.
    ///
    /// # Errors
    /// As [`Client::list`].
    pub async fn whole_list(&self, path: &str) -> Result<Value, ClientError> {
        let mut document = self.get(&format!("{path}?size={PAGE_SIZE}")).await?;
        if document.get("next").is_some_and(Value::is_string) {
            let items = self.list(path, &[]).await?;
            if let Some(object) = document.as_object_mut() {
                object.insert("items".to_owned(), items.into());
                object.insert("next".to_owned(), Value::Null);
            }
        }
        Ok(document)
    }

    /// One page of a list.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn page(&self, path: &str, query: &[(&str, &str)], page: &Page) -> Result<List, ClientError> {
        let mut parameters: Vec<String> = query.iter().map(|(k, v)| format!("{k}={}", segment(v))).collect();
        if let Some(size) = page.size {
            parameters.push(format!("size={size}"));
        }
        if let Some(offset) = &page.offset {
            parameters.push(format!("offset={}", segment(offset)));
        }
        let path = match parameters.is_empty() {
            true => path.to_owned(),
            false => format!("{path}?{}", parameters.join("&")),
        };
        let document = self.get(&path).await?;
        let items = match document.get("items") {
            Some(Value::Array(items)) => items.clone(),
            Some(Value::Null) => Vec::new(),
            _ => return Err(self.malformed(&path, "it has no \"items\": it is not a list of resources")),
        };
        let next_offset = match document.get("next").and_then(Value::as_str) {
            Some(next) => Some(offset_of(next).ok_or_else(|| self.malformed(&path, "its \"next\" has no offset"))?),
            None => None,
        };
        let total = document.get("total").and_then(Value::as_u64);
        Ok(List {
            total: total.unwrap_or(items.len() as u64),
            items,
            next_offset,
        })
    }
}

/// The offset in a `next` URL. Only it is taken from there: scheme and host are what the server believes to be called, which behind
/// a proxy is often wrong, and a token must go nowhere but to the configured address.
fn offset_of(next: &str) -> Option<String> {
    let (_, query) = next.split_once('?')?;
    let offset = query.split('&').find_map(|pair| pair.strip_prefix("offset="))?;
    (!offset.is_empty()).then(|| offset.to_owned())
}
