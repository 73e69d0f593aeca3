//! The HTTP client of the REST API (`spec/http-api.md` §1): JSON in and out, lists followed to their end, answers bounded in
//! size and time.

mod connector;
mod download;
mod error;
mod list;
mod path;
mod tls;

use std::error::Error as _;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue, USER_AGENT};
use http::{HeaderMap, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper_util::client::legacy::Client as Pool;
use hyper_util::rt::TokioExecutor;
use meshspan_model::COMPATIBLE_VERSION;
use serde_json::Value;

use connector::Connector;
pub use error::{ApiError, ClientError, InvalidParameter};
pub use list::{List, Page};
pub use path::{collection, item, segment};

/// Largest answer that is read, in bytes: a page of 1000 large resources fits many times.
const MAX_ANSWER: usize = 64 << 20;

/// Where a control plane is and how a client proves who it is.
#[derive(Clone, Default)]
pub struct Endpoint {
    /// `http://host:port` or `https://host:port`, with a base path if the API has one.
    pub url: String,
    /// PEM with the only CAs to trust; without it those of the operating system.
    pub ca_cert_file: Option<PathBuf>,
    /// PEM with the client's certificate chain; together with the key.
    pub client_cert_file: Option<PathBuf>,
    /// PEM with the client's key.
    pub client_key_file: Option<PathBuf>,
    /// Accepts any server certificate.
    pub skip_verify: bool,
    /// Additional headers of every request.
    pub headers: Vec<(String, String)>,
    /// Bearer token. Secret.
    pub token: Option<String>,
}

/// What a write did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// False if the resource existed.
    pub created: bool,
    /// What the server wants the user to know.
    pub warnings: Vec<String>,
}

/// A client of one control plane.
pub struct Client {
    url: String,
    headers: HeaderMap,
    timeout: Duration,
    pool: Pool<Connector, Full<Bytes>>,
}

struct Answer {
    status: StatusCode,
    body: Bytes,
}

impl Client {
    /// Reads the certificate files and checks the address; connects to nothing yet.
    ///
    /// # Errors
    /// When the endpoint cannot be used, with the field and the remedy.
    pub fn new(endpoint: &Endpoint, timeout: Duration) -> Result<Self, ClientError> {
        let url = endpoint.url.trim_end_matches('/').to_owned();
        let invalid = |reason: &str| ClientError::Address {
            url: url.clone(),
            reason: reason.to_owned(),
        };
        let uri: Uri = url.parse().map_err(|_| invalid("it is not a URL"))?;
        let tls = match uri.scheme_str() {
            Some("http") => None,
            Some("https") => Some(tls::connector(endpoint)?),
            _ => return Err(invalid("it must start with http:// or https://")),
        };
        if uri.query().is_some() {
            return Err(invalid("it must not have a query"));
        }
        let pool = Pool::builder(TokioExecutor::new()).build(Connector::new(tls));
        Ok(Self {
            headers: headers(endpoint)?,
            url,
            timeout,
            pool,
        })
    }

    /// The address of the control plane, without trailing slash.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// A document.
    ///
    /// # Errors
    /// No connection, or any answer but 200 with JSON.
    pub async fn get(&self, path: &str) -> Result<Value, ClientError> {
        let answer = self.send(Method::GET, path, None).await?;
        self.json(path, &answer)
    }

    /// A text, as the proxies' statistics are.
    ///
    /// # Errors
    /// No connection, or a refusal.
    pub async fn get_text(&self, path: &str) -> Result<String, ClientError> {
        let answer = self.send(Method::GET, path, None).await?;
        self.expect_success(&answer)?;
        self.text(path, &answer)
    }

    /// A document, `None` for 404 whatever its body says.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn find(&self, path: &str) -> Result<Option<Value>, ClientError> {
        match self.get(path).await {
            Ok(document) => Ok(Some(document)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Creates or updates a resource.
    ///
    /// # Errors
    /// No connection, or a refusal.
    pub async fn put(&self, path: &str, document: &Value) -> Result<Written, ClientError> {
        let answer = self.send(Method::PUT, path, Some(document)).await?;
        self.expect_success(&answer)?;
        Ok(Written {
            created: answer.status == StatusCode::CREATED,
            warnings: warnings(&answer),
        })
    }

    /// Asks whether the server would take a resource; `None` if it cannot say, as other control planes cannot. With
    /// `mesh_follows` the mesh need not be there yet.
    ///
    /// # Errors
    /// No connection, or the refusal that [`Client::put`] would meet.
    pub async fn validate(
        &self,
        path: &str,
        document: &Value,
        mesh_follows: bool,
    ) -> Result<Option<Written>, ClientError> {
        let query = if mesh_follows { "?meshFollows=true" } else { "" };
        let answer = self
            .send(Method::POST, &format!("{path}/_validate{query}"), Some(document))
            .await?;
        match self.expect_success(&answer) {
            Err(ClientError::Api(error)) if error.is_unknown_path() => Ok(None),
            Err(error) => Err(error),
            Ok(()) => {
                let body = self.json(path, &answer)?;
                Ok(Some(Written {
                    created: body.get("created").and_then(Value::as_bool).unwrap_or_default(),
                    warnings: warnings(&answer),
                }))
            }
        }
    }

    /// Deletes a resource; what the control plane warns of, or `None` if there is no such resource.
    ///
    /// # Errors
    /// No connection, or a refusal.
    pub async fn delete(&self, path: &str) -> Result<Option<Vec<String>>, ClientError> {
        let answer = self.send(Method::DELETE, path, None).await?;
        if answer.status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        self.expect_success(&answer)?;
        Ok(Some(warnings(&answer)))
    }

    /// Posts a document and returns the text of the answer, as the token endpoints give it.
    ///
    /// # Errors
    /// No connection, or a refusal.
    pub async fn post_text(&self, path: &str, document: &Value) -> Result<String, ClientError> {
        let answer = self.send(Method::POST, path, Some(document)).await?;
        self.expect_success(&answer)?;
        self.text(path, &answer)
    }

    fn request(
        &self,
        method: &Method,
        path: &str,
        document: Option<&Value>,
    ) -> Result<Request<Full<Bytes>>, ClientError> {
        let url = format!("{}{path}", self.url);
        let body = match document {
            Some(document) => Bytes::from(document.to_string()),
            None => Bytes::new(),
        };
        let mut request = Request::builder().method(method.clone()).uri(&url);
        if let Some(headers) = request.headers_mut() {
            headers.extend(self.headers.clone());
            if document.is_some() {
                headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            }
        }
        request.body(Full::new(body)).map_err(|error| ClientError::Address {
            url,
            reason: error.to_string(),
        })
    }

    async fn send(&self, method: Method, path: &str, document: Option<&Value>) -> Result<Answer, ClientError> {
        let request = self.request(&method, path, document)?;
        let exchange = async {
            let response = self
                .pool
                .request(request)
                .await
                .map_err(|error| self.unreachable(&error))?;
            let status = response.status();
            let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
            let body = body.map_err(|error| match error.downcast_ref::<LengthLimitError>() {
                Some(_) => self.malformed(path, &format!("it is larger than {MAX_ANSWER} bytes")),
                None => self.malformed(path, &format!("it breaks off: {error}")),
            })?;
            Ok(Answer {
                status,
                body: body.to_bytes(),
            })
        };
        let answer = tokio::time::timeout(self.timeout, exchange).await;
        let answer = answer.unwrap_or_else(|_| Err(self.late()))?;
        tracing::debug!(%method, url = self.url, path, status = answer.status.as_u16(), bytes = answer.body.len(), "request");
        Ok(answer)
    }

    fn text(&self, path: &str, answer: &Answer) -> Result<String, ClientError> {
        String::from_utf8(answer.body.to_vec()).map_err(|_| self.malformed(path, "it is not text"))
    }

    fn json(&self, path: &str, answer: &Answer) -> Result<Value, ClientError> {
        self.expect_success(answer)?;
        serde_json::from_slice(&answer.body).map_err(|error| self.malformed(path, &format!("it is not JSON: {error}")))
    }

    fn expect_success(&self, answer: &Answer) -> Result<(), ClientError> {
        if answer.status.is_success() {
            return Ok(());
        }
        let error = ApiError::read(answer.status, &answer.body);
        if error.title.is_empty() && error::wrong_port(&self.url).is_some() {
            return Err(self.malformed("", &format!("it is {}", answer.status)));
        }
        Err(ClientError::Api(error))
    }

    fn late(&self) -> ClientError {
        ClientError::Timeout {
            url: self.url.clone(),
            timeout: self.timeout,
        }
    }

    fn malformed(&self, path: &str, reason: &str) -> ClientError {
        ClientError::Malformed {
            url: format!("{}{path}", self.url),
            reason: reason.to_owned(),
        }
    }

    fn unreachable(&self, error: &hyper_util::client::legacy::Error) -> ClientError {
        // The outer errors only say that connecting failed; the innermost one says why.
        let mut innermost: &dyn std::error::Error = error;
        while let Some(source) = innermost.source() {
            innermost = source;
        }
        ClientError::Unreachable {
            url: self.url.clone(),
            reason: match tls::explain(innermost) {
                Some(explained) => explained.to_owned(),
                None => innermost.to_string(),
            },
            certificate: error.source().is_some_and(tls::is_certificate_problem),
        }
    }
}

fn headers(endpoint: &Endpoint) -> Result<HeaderMap, ClientError> {
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT, HeaderValue::from_static("application/json, text/plain"));
    let program = format!(
        "meshspan/{} (compatible with Kuma {COMPATIBLE_VERSION})",
        env!("CARGO_PKG_VERSION")
    );
    if let Ok(program) = HeaderValue::try_from(program) {
        headers.insert(USER_AGENT, program);
    }
    for (name, value) in &endpoint.headers {
        let invalid = || ClientError::Header { name: name.clone() };
        let key = HeaderName::try_from(name.as_str()).map_err(|_| invalid())?;
        headers.append(key, HeaderValue::from_str(value).map_err(|_| invalid())?);
    }
    if let Some(token) = &endpoint.token {
        let mut value = HeaderValue::try_from(format!("Bearer {}", token.trim())).map_err(|_| ClientError::Token)?;
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
    Ok(headers)
}

/// The warnings in the answer to a write; its body is empty up to 2.9, `{}` or warnings later.
fn warnings(answer: &Answer) -> Vec<String> {
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let warnings = body.get("warnings").and_then(Value::as_array).into_iter().flatten();
    warnings.filter_map(Value::as_str).map(str::to_owned).collect()
}
