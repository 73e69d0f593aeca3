//! A scripted delta ADS client: the caller decides every message. For tests and load generators; proxies are Envoys.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use futures::future::BoxFuture;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::Channel;
use tonic::{Request, Response, Status, Streaming};

use crate::proto::ads::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use crate::proto::ads::{DeltaDiscoveryRequest, DeltaDiscoveryResponse, Node, Status as ErrorDetail};
use crate::resource_type::{PerType, ResourceType};

/// How many requests may wait while nobody reads responses.
const REQUEST_QUEUE: usize = 64;

/// The largest response that is accepted, in bytes.
const MAX_RESPONSE_BYTES: usize = 64 << 20;

/// One open stream. Dropping it breaks the stream off; [`finish`](Self::finish) ends it in good order.
pub struct AdsClient {
    requests: mpsc::Sender<DeltaDiscoveryRequest>,
    responses: Responses,
    /// Sent with the first request only, as Envoy does with `set_node_on_first_message_only`.
    node: Option<Node>,
}

/// Some servers answer the call only together with their first response.
enum Responses {
    Calling(BoxFuture<'static, Result<Response<Streaming<DeltaDiscoveryResponse>>, Status>>),
    Open(Box<Streaming<DeltaDiscoveryResponse>>),
}

impl AdsClient {
    /// Prepares a stream over `channel`; it is opened by the first [`next`](Self::next). `token` goes into the
    /// `authorization` metadata as it is.
    ///
    /// # Errors
    /// `InvalidArgument` for a token that cannot be metadata.
    pub fn new(channel: Channel, node: Node, token: Option<&str>) -> Result<Self, Status> {
        let (requests, outgoing) = mpsc::channel(REQUEST_QUEUE);
        let mut request = Request::new(ReceiverStream::new(outgoing));
        if let Some(token) = token {
            let value: MetadataValue<Ascii> = token
                .parse()
                .map_err(|_| Status::invalid_argument("token: not printable ASCII"))?;
            request.metadata_mut().insert("authorization", value);
        }
        let mut client = AggregatedDiscoveryServiceClient::new(channel).max_decoding_message_size(MAX_RESPONSE_BYTES);
        let call = Box::pin(async move { client.delta_aggregated_resources(request).await });
        Ok(Self {
            requests,
            responses: Responses::Calling(call),
            node: Some(node),
        })
    }

    /// Subscribes to names; none at all in the first request of a wildcard type means everything.
    ///
    /// # Errors
    /// `Unavailable` when the stream has ended.
    pub async fn subscribe(&mut self, ty: ResourceType, names: &[&str]) -> Result<(), Status> {
        self.send(DeltaDiscoveryRequest {
            resource_names_subscribe: owned(names),
            ..request(ty)
        })
        .await
    }

    /// Subscribes as after a reconnect, with the versions already held.
    ///
    /// # Errors
    /// `Unavailable` when the stream has ended.
    pub async fn resume(
        &mut self,
        ty: ResourceType,
        names: &[&str],
        versions: HashMap<String, String>,
    ) -> Result<(), Status> {
        let resource_names_subscribe = owned(names);
        self.send(DeltaDiscoveryRequest {
            resource_names_subscribe,
            initial_resource_versions: versions,
            ..request(ty)
        })
        .await
    }

    /// Ends the subscription to names.
    ///
    /// # Errors
    /// `Unavailable` when the stream has ended.
    pub async fn unsubscribe(&mut self, ty: ResourceType, names: &[&str]) -> Result<(), Status> {
        self.send(DeltaDiscoveryRequest {
            resource_names_unsubscribe: owned(names),
            ..request(ty)
        })
        .await
    }

    /// Accepts a response.
    ///
    /// # Errors
    /// `Unavailable` when the stream has ended.
    pub async fn ack(&mut self, response: &DeltaDiscoveryResponse) -> Result<(), Status> {
        self.send(answer(response, None)).await
    }

    /// Refuses a response, as Envoy does with code `Internal`.
    ///
    /// # Errors
    /// `Unavailable` when the stream has ended.
    pub async fn nack(&mut self, response: &DeltaDiscoveryResponse, message: &str) -> Result<(), Status> {
        let code = tonic::Code::Internal as i32;
        let error = ErrorDetail {
            code,
            message: message.to_owned(),
            details: Vec::new(),
        };
        self.send(answer(response, Some(error))).await
    }

    /// Sends any request.
    ///
    /// # Errors
    /// `Unavailable` when the stream has ended.
    pub async fn send(&mut self, mut request: DeltaDiscoveryRequest) -> Result<(), Status> {
        if request.node.is_none() {
            request.node = self.node.take();
        }
        self.requests
            .send(request)
            .await
            .map_err(|_| Status::unavailable("the stream has ended"))
    }

    /// The next response, `None` when the server has ended the stream in good order.
    ///
    /// # Errors
    /// The status with which the stream ended.
    pub async fn next(&mut self) -> Result<Option<DeltaDiscoveryResponse>, Status> {
        if let Responses::Calling(call) = &mut self.responses {
            self.responses = Responses::Open(Box::new(call.await?.into_inner()));
        }
        match &mut self.responses {
            Responses::Open(responses) => responses.message().await,
            Responses::Calling(_) => Ok(None),
        }
    }

    /// Ends the client's half in good order and waits for the server to end its own.
    ///
    /// # Errors
    /// The status with which the stream ended.
    pub async fn finish(self) -> Result<(), Status> {
        let Self {
            requests, responses, ..
        } = self;
        drop(requests);
        let mut responses = match responses {
            Responses::Calling(call) => Box::new(call.await?.into_inner()),
            Responses::Open(responses) => responses,
        };
        while responses.message().await?.is_some() {}
        Ok(())
    }
}

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn request(ty: ResourceType) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        type_url: ty.type_url().to_owned(),
        ..Default::default()
    }
}

fn answer(response: &DeltaDiscoveryResponse, error_detail: Option<ErrorDetail>) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        type_url: response.type_url.clone(),
        response_nonce: response.nonce.clone(),
        error_detail,
        ..Default::default()
    }
}

/// What a client holds after the responses it applied.
#[derive(Debug, Default)]
pub struct Mirror {
    held: PerType<BTreeMap<String, (String, Bytes)>>,
}

impl Mirror {
    /// Applies a response; types that are not served are ignored.
    pub fn apply(&mut self, response: &DeltaDiscoveryResponse) {
        let Some(ty) = ResourceType::from_type_url(&response.type_url) else {
            return;
        };
        let held = self.held.get_mut(ty);
        for name in &response.removed_resources {
            held.remove(name);
        }
        for resource in &response.resources {
            let body = resource
                .resource
                .as_ref()
                .map(|any| any.value.clone())
                .unwrap_or_default();
            held.insert(resource.name.clone(), (resource.version.clone(), body));
        }
    }

    /// Forgets a resource, as after unsubscribing.
    pub fn forget(&mut self, ty: ResourceType, name: &str) {
        self.held.get_mut(ty).remove(name);
    }

    /// Version and body of a held resource.
    pub fn get(&self, ty: ResourceType, name: &str) -> Option<(&str, &Bytes)> {
        self.held
            .get(ty)
            .get(name)
            .map(|(version, body)| (version.as_str(), body))
    }

    /// The versions of all held resources of a type, as [`AdsClient::resume`] takes them.
    pub fn versions(&self, ty: ResourceType) -> HashMap<String, String> {
        self.held
            .get(ty)
            .iter()
            .map(|(name, (version, _))| (name.clone(), version.clone()))
            .collect()
    }
}
