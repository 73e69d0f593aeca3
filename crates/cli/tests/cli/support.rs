//! A fake control plane that records requests, and a way to run command lines against it.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use clap::Parser;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use meshspan_cli::{Command, Console, Kumactl, Outcome, run_with};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::macros::datetime;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

/// "Now" of all tests.
pub const NOW: OffsetDateTime = datetime!(2025-02-03 12:00:00 UTC);

/// A request as it arrived.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// `PUT /meshes/default`, with the query.
    pub line: String,
    pub authorization: Option<String>,
    pub headers: http::HeaderMap,
    pub body: Value,
}

#[derive(Default)]
struct State {
    requests: Vec<Recorded>,
    /// By request line; before resources.
    answers: BTreeMap<String, (u16, String)>,
    /// By path.
    resources: BTreeMap<String, Value>,
}

/// Answers as told, else keeps resources as a control plane does. Ends with its value.
pub struct ControlPlane {
    pub url: String,
    state: Arc<Mutex<State>>,
    _tasks: JoinSet<()>,
}

impl ControlPlane {
    pub async fn start() -> Self {
        Self::listen(None).await
    }

    pub async fn start_tls(acceptor: TlsAcceptor) -> Self {
        Self::listen(Some(acceptor)).await
    }

    async fn listen(acceptor: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let scheme = if acceptor.is_some() { "https" } else { "http" };
        let url = format!("{scheme}://127.0.0.1:{}", listener.local_addr().unwrap().port());
        let state = Arc::new(Mutex::new(State::default()));
        let mut tasks = JoinSet::new();
        let shared = state.clone();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((tcp, _)) = listener.accept().await {
                let state = shared.clone();
                let acceptor = acceptor.clone();
                connections.spawn(async move {
                    let service = service_fn(move |request| answer(state.clone(), request));
                    let server = hyper::server::conn::http1::Builder::new();
                    // A client that goes away or refuses the certificate ends the connection with an error: expected.
                    match acceptor {
                        None => drop(server.serve_connection(TokioIo::new(tcp), service).await),
                        Some(acceptor) => {
                            if let Ok(tls) = acceptor.accept(tcp).await {
                                drop(server.serve_connection(TokioIo::new(tls), service).await);
                            }
                        }
                    }
                });
            }
        });
        Self {
            url,
            state,
            _tasks: tasks,
        }
    }

    /// Answers this request line (`GET /meshes?size=1000`) so from now on.
    pub fn answer(&self, line: &str, status: u16, body: impl ToString) {
        let answer = (status, body.to_string());
        self.state.lock().unwrap().answers.insert(line.to_owned(), answer);
    }

    /// Answers the complete list at this path.
    pub fn list(&self, path: &str, items: Value) {
        let total = items.as_array().unwrap().len();
        let list = json!({ "total": total, "items": items, "next": null });
        self.answer(&format!("GET {path}?size=1000"), 200, list);
    }

    /// Keeps this resource.
    pub fn put(&self, path: &str, resource: Value) {
        self.state.lock().unwrap().resources.insert(path.to_owned(), resource);
    }

    pub fn requests(&self) -> Vec<Recorded> {
        self.state.lock().unwrap().requests.clone()
    }

    pub fn lines(&self) -> Vec<String> {
        self.requests().into_iter().map(|request| request.line).collect()
    }

    /// Runs a command line against this control plane.
    pub async fn run(&self, line: &[&str]) -> Ran {
        self.run_with_input(line, "").await
    }

    pub async fn run_with_input(&self, line: &[&str], input: &str) -> Ran {
        let line = [&["--no-config", "--address", &self.url], line].concat();
        run_line(&line, input).await
    }
}

/// What a command printed and how it ended.
#[derive(Debug)]
pub struct Ran {
    pub out: String,
    pub err: String,
    /// The text of the error if it could not be carried out.
    pub outcome: Result<Outcome, String>,
}

impl Ran {
    /// The output of a command that did everything.
    #[track_caller]
    pub fn done(self) -> String {
        assert_eq!(self.outcome, Ok(Outcome::Done), "{}", self.err);
        self.out
    }

    /// The error of a command that could not be carried out.
    #[track_caller]
    pub fn error(self) -> String {
        self.outcome.expect_err(&self.out)
    }
}

/// Runs a command line without a control plane of its own.
pub async fn run_line(line: &[&str], input: &str) -> Ran {
    let line = [&["kumactl"], line].concat();
    let command = Kumactl::try_parse_from(line)
        .unwrap_or_else(|error| panic!("{error}"))
        .command;
    run_command(command, input).await
}

pub async fn run_command(command: Command, input: &str) -> Ran {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut console = Console {
        version: "0.1.0+abc",
        input: &mut input.as_bytes(),
        out: &mut out,
        err: &mut err,
        now: NOW,
        width: None,
    };
    let outcome = run_with(command, &mut console)
        .await
        .map_err(|error| format!("{error:#}"));
    Ran {
        out: String::from_utf8(out).unwrap(),
        err: String::from_utf8(err).unwrap(),
        outcome,
    }
}

async fn answer(state: Arc<Mutex<State>>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let line = format!("{} {}", head.method, head.uri.path_and_query().unwrap());
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let mut state = state.lock().unwrap();
    state.requests.push(Recorded {
        line: line.clone(),
        authorization: head
            .headers
            .get("authorization")
            .map(|value| value.to_str().unwrap().to_owned()),
        headers: head.headers.clone(),
        body: body.clone(),
    });
    let (status, text) = match state.answers.get(&line) {
        Some(told) => told.clone(),
        None => keep(&mut state.resources, &head.method, head.uri.path(), body),
    };
    let response = Response::builder().status(StatusCode::from_u16(status).unwrap());
    Ok(response.body(Full::from(text)).unwrap())
}

fn keep(resources: &mut BTreeMap<String, Value>, method: &Method, path: &str, body: Value) -> (u16, String) {
    let not_found = json!({ "status": 404, "title": "Could not retrieve a resource", "detail": "Not found" });
    match *method {
        Method::PUT => match resources.insert(path.to_owned(), body) {
            Some(_) => (200, "{}".to_owned()),
            None => (201, "{}".to_owned()),
        },
        Method::DELETE if resources.remove(path).is_some() => (200, "{}".to_owned()),
        Method::GET if resources.contains_key(path) => (200, resources[path].to_string()),
        _ => (404, not_found.to_string()),
    }
}
