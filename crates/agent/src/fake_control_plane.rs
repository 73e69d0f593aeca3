//! A control plane for tests: `/bootstrap` answers what the test scripted, agent streams are handed to the test.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use base64::Engine;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use meshspan_xds::proto::agent::agent_service_server::{AgentService, AgentServiceServer};
use meshspan_xds::proto::agent::{AgentMessage, ControlPlaneMessage, agent_message};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls_pki_types::PrivateKeyDer;
use serde_json::Value;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};
use tower::ServiceExt;

pub(crate) const FAKE_ENVOY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fake-envoy.sh");

/// The server's certificate, and the CA to verify it by.
pub(crate) struct TestCertificate {
    pub(crate) ca_pem: String,
    acceptor: TlsAcceptor,
}

impl TestCertificate {
    /// Issued by a CA of its own, for the given name.
    pub(crate) fn issued(name: &str) -> Self {
        let mut ca = CertificateParams::new(vec![]).unwrap();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca_key = KeyPair::generate().unwrap();
        let ca_pem = ca.self_signed(&ca_key).unwrap().pem();
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let leaf = params.signed_by(&key, &Issuer::new(ca, ca_key)).unwrap();
        Self {
            ca_pem,
            acceptor: acceptor(leaf.der().clone(), &key),
        }
    }

    /// As Kuma makes them: self-signed, `CA:TRUE`, and presented by the server.
    pub(crate) fn self_signed_ca(name: &str) -> Self {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        Self {
            ca_pem: certificate.pem(),
            acceptor: acceptor(certificate.der().clone(), &key),
        }
    }
}

fn acceptor(certificate: rustls_pki_types::CertificateDer<'static>, key: &KeyPair) -> TlsAcceptor {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    TlsAcceptor::from(Arc::new(config))
}

/// One agent stream, from the control plane's side.
pub(crate) struct FakeStream {
    pub(crate) authorization: Option<String>,
    pub(crate) incoming: Streaming<AgentMessage>,
    pub(crate) outgoing: mpsc::Sender<Result<ControlPlaneMessage, Status>>,
}

impl FakeStream {
    pub(crate) async fn next(&mut self) -> agent_message::Message {
        self.incoming.message().await.unwrap().unwrap().message.unwrap()
    }
}

/// Stops when dropped.
pub(crate) struct FakeControlPlane {
    pub(crate) address: SocketAddr,
    /// Bodies of bootstrap requests.
    pub(crate) requests: mpsc::Receiver<Value>,
    pub(crate) streams: mpsc::Receiver<FakeStream>,
    _tasks: JoinSet<()>,
}

struct Script {
    /// The last one is repeated.
    answers: Mutex<Vec<(StatusCode, Bytes)>>,
    refuse_streams: Option<Status>,
    requests: mpsc::Sender<Value>,
    streams: mpsc::Sender<FakeStream>,
}

impl FakeControlPlane {
    /// Answers bootstrap requests one after the other with `answers`.
    pub(crate) async fn start(tls: Option<&TestCertificate>, answers: Vec<(u16, Bytes)>) -> Self {
        Self::start_refusing(tls, answers, None).await
    }

    pub(crate) async fn start_refusing(
        tls: Option<&TestCertificate>,
        answers: Vec<(u16, Bytes)>,
        refuse_streams: Option<Status>,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (requests_in, requests) = mpsc::channel(64);
        let (streams_in, streams) = mpsc::channel(64);
        let answers = answers
            .into_iter()
            .rev()
            .map(|(s, b)| (StatusCode::from_u16(s).unwrap(), b))
            .collect();
        let script = Script {
            answers: Mutex::new(answers),
            refuse_streams,
            requests: requests_in,
            streams: streams_in,
        };
        let acceptor = tls.map(|certificate| certificate.acceptor.clone());
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, acceptor, Arc::new(script)));
        Self {
            address,
            requests,
            streams,
            _tasks: tasks,
        }
    }

    pub(crate) fn url(&self, scheme: &str, host: &str) -> String {
        format!("{scheme}://{host}:{}", self.address.port())
    }
}

/// The body of a successful bootstrap answer.
pub(crate) fn bootstrap_answer(yaml: &str) -> Bytes {
    let text = base64::engine::general_purpose::STANDARD.encode(yaml);
    serde_json::json!({"bootstrap": text, "kumaSidecarConfiguration": {"networking": {}}})
        .to_string()
        .into()
}

async fn accept(listener: TcpListener, acceptor: Option<TlsAcceptor>, script: Arc<Script>) {
    let mut connections = JoinSet::new();
    loop {
        let (tcp, _) = listener.accept().await.unwrap();
        let (acceptor, script) = (acceptor.clone(), script.clone());
        connections.spawn(async move {
            match acceptor {
                None => serve(tcp, script).await,
                // A client that refuses the certificate is what some tests want.
                Some(acceptor) => {
                    if let Ok(tls) = acceptor.accept(tcp).await {
                        serve(tls, script).await;
                    }
                }
            }
        });
    }
}

async fn serve<S>(stream: S, script: Arc<Script>)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let service = hyper::service::service_fn(move |request| respond(request, script.clone()));
    let server = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
    let _ = server.serve_connection(TokioIo::new(stream), service).await;
}

async fn respond(request: Request<Incoming>, script: Arc<Script>) -> Result<Response<tonic::body::Body>, Infallible> {
    if request.uri().path() != "/bootstrap" {
        return AgentServiceServer::from_arc(script).oneshot(request).await;
    }
    assert_eq!(request.headers()["accept"], "application/json");
    let body = request.into_body().collect().await.unwrap().to_bytes();
    script
        .requests
        .send(serde_json::from_slice(&body).unwrap())
        .await
        .unwrap();
    let (status, answer) = {
        let mut answers = script.answers.lock().unwrap();
        if answers.len() > 1 {
            answers.pop().unwrap()
        } else {
            answers[0].clone()
        }
    };
    Ok(Response::builder()
        .status(status)
        .body(tonic::body::Body::new(Full::new(answer)))
        .unwrap())
}

#[tonic::async_trait]
impl AgentService for Script {
    type StreamAgentStream = ReceiverStream<Result<ControlPlaneMessage, Status>>;

    async fn stream_agent(
        &self,
        request: tonic::Request<Streaming<AgentMessage>>,
    ) -> Result<tonic::Response<Self::StreamAgentStream>, Status> {
        if let Some(refusal) = &self.refuse_streams {
            return Err(refusal.clone());
        }
        let authorization = request
            .metadata()
            .get("authorization")
            .map(|value| value.to_str().unwrap().to_owned());
        let (outgoing, messages) = mpsc::channel(16);
        let stream = FakeStream {
            authorization,
            incoming: request.into_inner(),
            outgoing,
        };
        self.streams.send(stream).await.unwrap();
        Ok(tonic::Response::new(ReceiverStream::new(messages)))
    }
}
