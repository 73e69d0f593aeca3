//! Envoy's stream: who connects, what it brings, and where its configuration comes from.

use std::net::SocketAddr;
use std::sync::Arc;

use envoy_types::pb::google::protobuf::Struct;
use envoy_types::pb::google::protobuf::value::Kind as ProtoKind;
use meshspan_envoy::{ProxyOptions, names};
use meshspan_log_limit::shown;
use meshspan_model::Resource;
use meshspan_model::kinds::dataplane::Dataplane;
use meshspan_model::kinds::dataplane_insight::ProxyVersion;
use meshspan_xds::proto::ads::Node;
use meshspan_xds::{ControlPlane, FeedCloser, ProxyFeed, Session, StreamEvent};
use tokio::task::AbortHandle;
use tonic::Status;

use super::insights::Connection;
use super::token_watch::TokenWatch;
use super::{DataPlane, auth, insights, registration, token_watch};
use crate::proxy_key::ProxyKey;
use meshspan_model::ProxyKind;

/// Longest id of a node, in bytes: a mesh and a name of the longest sort.
pub(super) const MAX_ID: usize = 512;

/// Serves Envoys.
pub(super) struct Ads(pub(super) Arc<DataPlane>);

impl ControlPlane for Ads {
    async fn open(
        &self,
        node: Node,
        token: Option<String>,
        peer: Option<SocketAddr>,
        resumes: bool,
    ) -> Result<Session, Status> {
        let result = open(&self.0, &node, token, resumes).await;
        if let Err(status) = &result
            && let Some(suppressed) = self.0.log_limit.allows(&peer_key(peer))
        {
            let (node, reason) = (shown(&node.id), shown(status.message()));
            tracing::warn!(node, ?peer, reason, suppressed, "proxy was not let in");
        }
        result
    }
}

async fn open(plane: &Arc<DataPlane>, node: &Node, token: Option<String>, resumes: bool) -> Result<Session, Status> {
    let metadata = Metadata(node.metadata.as_ref());
    let id = parse_id(&node.id, metadata.text("dataplane.proxyType"))?;
    let brought = match metadata.text("dataplane.resource") {
        "" => None,
        text => Some(registration::read(&id, text).map_err(Status::invalid_argument)?),
    };
    let dataplane = dataplane_of(plane, &id, brought.as_ref());
    let changes = plane.trust_changes.subscribe();
    let token_expires = auth::check(plane, &id, token.as_deref(), dataplane.as_ref())
        .inspect_err(|_| token_watch::refused(plane, &id, token.as_deref(), dataplane.as_ref()))?;
    if dataplane.is_none() && id.kind == ProxyKind::Sidecar {
        return Err(registration::missing(&id));
    }
    let stream = plane.next_stream();
    let registered = brought.is_some();
    // From here on the proxy may hang up at any moment, and what was begun must be ended.
    plane.presence.begin(&id, stream, registered);
    let (feed, receiver) = ProxyFeed::new();
    let token_watch = TokenWatch {
        plane: plane.clone(),
        id: id.clone(),
        token,
        dataplane,
        changes,
    };
    let mut opened = Opened {
        plane: plane.clone(),
        id: id.clone(),
        stream,
        refused: false,
        unannounced: brought.clone().filter(|_| id.kind == ProxyKind::ZoneIngress),
        token_task: watch(token_watch, receiver.closer()),
        says_so: plane.log_limit.allows(&format!("connection {id}")).is_some(),
    };
    if let Err(status) = registration::register(plane, &id, brought.as_ref()).await {
        opened.refused = true;
        return Err(status);
    }
    plane.presence.admit(&id, registered);
    let connection = Connection {
        stream,
        version: metadata.version(),
        registered,
        token_expires,
        resumes,
    };
    plane.insights.connected(&*plane.store, &id, connection);
    let options = ProxyOptions {
        socket_mark: metadata.text("socketMark").parse().unwrap_or(0),
        ipv6: metadata.flag("ipv6Enabled").unwrap_or(true),
        system_ca: Some(metadata.text("systemCaPath"))
            .filter(|path| !path.is_empty())
            .map(Into::into),
    };
    let source = meshspan_envoy::node_source::read(|key| metadata.text(key));
    let stopping = || Status::unavailable("the control plane is stopping");
    plane
        .engine
        .proxy_connected(id.clone(), stream, feed, options, source)
        .await
        .map_err(|_| stopping())?;
    if opened.says_so {
        tracing::info!(mesh = id.mesh, proxy = id.name, "proxy connected");
    }
    Ok(Session {
        feed: receiver,
        events: Box::new(move |event| opened.on_event(&event)),
    })
}

/// An open stream. Its end, however it comes, ends what it began.
struct Opened {
    plane: Arc<DataPlane>,
    id: ProxyKey,
    stream: u64,
    refused: bool,
    /// The ingress that other zones hear of once Envoy listens.
    unannounced: Option<Resource>,
    /// Whether its begin and end are logged: a proxy that reconnects all the time is not.
    says_so: bool,
    /// Ends the stream when the token does not hold any longer.
    token_task: AbortHandle,
}

/// Watches over the token of an open stream.
fn watch(token_watch: TokenWatch, closer: FeedCloser) -> AbortHandle {
    let (tasks, stop) = (token_watch.plane.tasks.clone(), token_watch.plane.stop.clone());
    let task = tasks.spawn(async move {
        tokio::select! {
            status = token_watch.lost() => closer.close(status),
            () = stop.cancelled() => {}
        }
    });
    task.abort_handle()
}

impl Opened {
    fn on_event(&self, event: &StreamEvent) {
        if let StreamEvent::Nacked {
            ty, message, resources, ..
        } = event
            && let Some(suppressed) = self.plane.log_limit.allows(&format!("nack {}", self.id))
        {
            let names = resources.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            tracing::error!(mesh = self.id.mesh, proxy = self.id.name, type = %ty, resources = shown(&names), message = shown(message), suppressed, "Envoy rejected configuration; it keeps the last good one");
        }
        if let StreamEvent::Rejections { ty, rejected } = event {
            let files = insights::unopened_logs(*ty, rejected);
            if !files.is_empty() {
                let (engine, id, stream) = (self.plane.engine.clone(), self.id.clone(), self.stream);
                // Fails only if the engine has stopped.
                self.plane
                    .tasks
                    .spawn(async move { engine.logs_unopened(id, stream, files).await });
            }
        }
        if let StreamEvent::Listeners(holdings) = event
            && let Some(brought) = &self.unannounced
            && holdings
                .added
                .iter()
                .any(|name| **name == *names::ingress_listener(&self.id.name))
        {
            let (plane, id, brought) = (self.plane.clone(), self.id.clone(), brought.clone());
            self.plane.tasks.spawn(async move {
                if let Err(status) = registration::announce(&plane, &id, &brought).await {
                    tracing::error!(
                        proxy = id.name,
                        reason = status.message(),
                        "cannot announce a zone ingress"
                    );
                }
            });
        }
        self.plane.listening.event(&self.id, self.stream, event);
        if !matches!(event, StreamEvent::Closed { .. }) {
            self.plane.insights.event(&self.id, self.stream, event);
        }
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        self.token_task.abort();
        if self.refused {
            self.plane.presence.refuse(&self.id, self.stream);
            return;
        }
        let (engine, id, stream) = (self.plane.engine.clone(), self.id.clone(), self.stream);
        // Fails only if the engine has stopped.
        self.plane
            .tasks
            .spawn(async move { engine.proxy_disconnected(id, stream).await });
        if self.plane.stop.is_cancelled() {
            return;
        }
        let closed = StreamEvent::Closed { graceful: false };
        self.plane.insights.event(&self.id, self.stream, &closed);
        if self.says_so {
            tracing::info!(mesh = self.id.mesh, proxy = self.id.name, "proxy disconnected");
        }
        self.plane.presence.end(&self.id, self.stream);
    }
}

/// The Dataplane whose tags count: the one that is brought, else the one that is stored.
fn dataplane_of(plane: &DataPlane, id: &ProxyKey, brought: Option<&meshspan_model::Resource>) -> Option<Dataplane> {
    if id.kind != ProxyKind::Sidecar {
        return None;
    }
    match brought {
        Some(resource) => resource.parse().ok(),
        None => plane
            .store
            .get(&id.resource())
            .and_then(|stored| stored.resource.parse().ok()),
    }
}

/// The proxy whose node id is `<mesh>.<name>`, without a mesh for kinds that belong to none.
fn parse_id(id: &str, proxy_type: &str) -> Result<ProxyKey, Status> {
    let refused = |form: &str| {
        Status::invalid_argument(format!(
            "node id \"{}\" must be {form} of at most {MAX_ID} bytes for proxyType \"{}\"",
            shown(id),
            shown(proxy_type)
        ))
    };
    let Some((mesh, name)) = id
        .split_once('.')
        .filter(|(_, name)| !name.is_empty() && id.len() <= MAX_ID)
    else {
        return Err(refused("<mesh>.<name>"));
    };
    let key = ProxyKey::of_type(proxy_type, mesh, name)
        .map_err(|reason| Status::invalid_argument(format!("node metadata dataplane.proxyType: {reason}")))?;
    match (mesh.is_empty(), key.kind.resource().is_mesh_scoped()) {
        (true, true) => Err(refused("<mesh>.<name>")),
        (false, false) => Err(refused(".<name>")),
        _ => Ok(key),
    }
}

/// Whom a refusal is counted for: the host, because its ports and names are of its own choice.
pub(super) fn peer_key(peer: Option<SocketAddr>) -> String {
    peer.map(|peer| peer.ip().to_string()).unwrap_or_default()
}

/// The node metadata that the bootstrap put there.
struct Metadata<'a>(Option<&'a Struct>);

impl Metadata<'_> {
    fn value(&self, key: &str) -> Option<&ProtoKind> {
        self.0?.fields.get(key)?.kind.as_ref()
    }

    fn text(&self, key: &str) -> &str {
        match self.value(key) {
            Some(ProtoKind::StringValue(text)) => text,
            _ => "",
        }
    }

    fn flag(&self, key: &str) -> Option<bool> {
        match self.value(key) {
            Some(ProtoKind::BoolValue(flag)) => Some(*flag),
            _ => None,
        }
    }

    fn version(&self) -> ProxyVersion {
        let mut version: ProxyVersion = match self.value("version") {
            Some(ProtoKind::StructValue(fields)) => serde_json::from_value(json(fields, NESTED)).unwrap_or_default(),
            _ => ProxyVersion::default(),
        };
        // What connects over delta ADS and brought this metadata fits; nothing more is asked of an agent.
        version.kuma_dp.kuma_cp_compatible = !version.kuma_dp.version.is_empty();
        version
    }
}

/// Levels of objects in the versions that a proxy names: `kumaDp`, and its fields.
const NESTED: usize = 2;
/// Most fields of an object of versions; more are left out.
const MAX_FIELDS: usize = 64;
/// Longest name or version that is kept, in characters; what is longer is cut.
const MAX_VERSION: usize = 256;

/// What a proxy says of its versions, in sizes that may be stored and sent to other control planes.
fn json(fields: &Struct, levels: usize) -> serde_json::Value {
    let cut = |text: &str| text.chars().take(MAX_VERSION).collect::<String>();
    let mut names: Vec<&String> = fields.fields.keys().collect();
    names.sort_unstable();
    let members = names.into_iter().take(MAX_FIELDS).filter_map(|key| {
        let value = match fields.fields.get(key)?.kind.as_ref() {
            Some(ProtoKind::StringValue(text)) => cut(text).into(),
            Some(ProtoKind::BoolValue(flag)) => (*flag).into(),
            Some(ProtoKind::NumberValue(number)) => (*number).into(),
            Some(ProtoKind::StructValue(inner)) if levels > 1 => json(inner, levels - 1),
            _ => serde_json::Value::Null,
        };
        Some((cut(key), value))
    });
    serde_json::Value::Object(members.collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::panic)]
    use envoy_types::pb::google::protobuf::Value as ProtoValue;

    use super::*;

    #[test]
    fn a_proxy_is_named_by_its_type_and_not_by_the_lack_of_a_mesh() {
        let sidecar = ProxyKey::sidecar("default", "a.b");
        let ingress = ProxyKey::new(ProxyKind::ZoneIngress, "", "ingress-1");
        for (id, proxy_type, named) in [
            ("default.a.b", "dataplane", Ok(sidecar.clone())),
            ("default.a.b", "", Ok(sidecar)),
            (".ingress-1", "ingress", Ok(ingress)),
            (".ingress-1", "", Err("must be <mesh>.<name>")),
            (".ingress-1", "dataplane", Err("must be <mesh>.<name>")),
            ("default.ingress-1", "ingress", Err("must be .<name>")),
            ("default.", "dataplane", Err("must be <mesh>.<name>")),
            (
                "default.a",
                "router",
                Err("is \"router\", must be dataplane, ingress or egress"),
            ),
        ] {
            let parsed = parse_id(id, proxy_type).map_err(|status| status.message().to_owned());
            match named {
                Ok(key) => assert_eq!(parsed, Ok(key)),
                Err(reason) => assert!(
                    parsed.as_ref().is_err_and(|message| message.contains(reason)),
                    "{parsed:?}"
                ),
            }
        }
    }

    #[test]
    fn versions_are_cut_to_sizes_that_can_be_stored() {
        let text = |text: String| ProtoValue {
            kind: Some(ProtoKind::StringValue(text)),
        };
        let object = |fields: Vec<(String, ProtoValue)>| Struct {
            fields: fields.into_iter().collect(),
        };
        let nested = |inner: Struct| ProtoValue {
            kind: Some(ProtoKind::StructValue(inner)),
        };
        let programs = (0..1000).map(|index| (format!("program-{index}"), text("x".repeat(10_000))));
        let version = object(vec![
            (
                "kumaDp".to_owned(),
                nested(object(vec![("version".to_owned(), text("2.9.13".to_owned()))])),
            ),
            (
                "envoy".to_owned(),
                nested(object(vec![("version".to_owned(), text("1".repeat(4_000_000)))])),
            ),
            ("dependencies".to_owned(), nested(object(programs.collect()))),
        ]);
        let metadata = object(vec![("version".to_owned(), nested(version))]);
        let kept = Metadata(Some(&metadata)).version();
        assert_eq!(
            (kept.kuma_dp.version.as_str(), kept.kuma_dp.kuma_cp_compatible),
            ("2.9.13", true)
        );
        assert_eq!(
            (kept.envoy.version.len(), kept.dependencies.len()),
            (MAX_VERSION, MAX_FIELDS)
        );
        assert!(kept.dependencies.values().all(|version| version.len() == MAX_VERSION));
    }
}
