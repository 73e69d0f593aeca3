//! The agents' stream: DNS records and probes go down, health comes up.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use meshspan_log_limit::shown;
use meshspan_model::kinds::dataplane::Dataplane;
use meshspan_model::kinds::presence::PresenceState;
use meshspan_xds::proto::agent::control_plane_message::Message;
use meshspan_xds::proto::agent::{ControlPlaneMessage, HealthCheckPlan, HealthReport, Hello};
use meshspan_xds::{AgentEvent, AgentPlane, AgentSession};
use tokio::sync::{mpsc, watch};
use tonic::Status;

use super::ads::{MAX_ID, peer_key};
use super::listening::Follower;
use super::names::AnsweredNames;
use super::token_watch::TokenWatch;
use super::{DataPlane, auth, health, token_watch};
use crate::engine::ProxyWatch;
use crate::proxy_key::ProxyKey;
use meshspan_model::ProxyKind;

/// Messages that may wait for a slow agent; the newest state is sent when it reads again.
const QUEUE: usize = 8;
/// Pause before a report that could not be stored is tried again.
const REPORT_RETRY: Duration = Duration::from_secs(1);
/// How long an agent may be ahead of its Envoy, whose stream registers the Dataplane.
const REGISTRATION_TIMEOUT: Duration = Duration::from_secs(20);

/// Serves agents.
pub(super) struct Agents(pub(super) Arc<DataPlane>);

impl AgentPlane for Agents {
    async fn open(
        &self,
        hello: Hello,
        token: Option<String>,
        peer: Option<SocketAddr>,
    ) -> Result<AgentSession, Status> {
        let result = open(&self.0, &hello, token).await;
        if let Err(status) = &result
            && let Some(suppressed) = self.0.log_limit.allows(&peer_key(peer))
        {
            tracing::warn!(
                mesh = shown(&hello.mesh),
                proxy = shown(&hello.name),
                ?peer,
                reason = shown(status.message()),
                suppressed,
                "agent was not let in"
            );
        }
        result
    }
}

async fn open(plane: &Arc<DataPlane>, hello: &Hello, token: Option<String>) -> Result<AgentSession, Status> {
    if hello.mesh.len() + hello.name.len() > MAX_ID {
        return Err(Status::invalid_argument(format!(
            "hello: mesh and name have {} bytes together, at most {MAX_ID} are allowed",
            hello.mesh.len() + hello.name.len()
        )));
    }
    let id = ProxyKey::of_type(&hello.proxy_type, &hello.mesh, &hello.name)
        .map_err(|reason| Status::invalid_argument(format!("hello: proxy_type {reason}")))?;
    if plane.store.get(&id.resource()).is_none() {
        // Before anything is waited for or told.
        auth::check(plane, &id, token.as_deref(), None)?;
    }
    let dataplane = registered(plane, &id).await?;
    let changes = plane.trust_changes.subscribe();
    auth::check(plane, &id, token.as_deref(), dataplane.as_ref())
        .inspect_err(|_| token_watch::refused(plane, &id, token.as_deref(), dataplane.as_ref()))?;
    let watch = plane
        .engine
        .watch(id.clone())
        .await
        .map_err(|_| Status::unavailable("the control plane is stopping"))?;
    let (outgoing, receiver) = mpsc::channel(QUEUE);
    let token_watch = TokenWatch {
        plane: plane.clone(),
        id: id.clone(),
        token,
        dataplane,
        changes,
    };
    plane.tasks.spawn(end_when_lost(token_watch, outgoing.clone()));
    let ttl = u32::try_from(plane.settings.dns_server.ttl.0.as_secs()).unwrap_or(u32::MAX);
    let listening = hello.wants_dns.then(|| plane.listening.follow(&id));
    plane.tasks.spawn(feed(
        watch,
        listening,
        ttl,
        hello.dns_digests.clone(),
        outgoing,
        plane.stop.clone(),
    ));
    // The newest report counts; the sender is dropped with the stream, which ends the task.
    let (reports, found) = watch::channel(None);
    plane.tasks.spawn(take_reports(plane.clone(), id.clone(), found));
    let plane = plane.clone();
    let events = move |event| match event {
        AgentEvent::Health(report) => {
            reports.send_replace(Some(report));
        }
        AgentEvent::Denials(report) => plane.insights.denied(&*plane.store, &id, &report),
        AgentEvent::Goodbye => {
            tracing::info!(mesh = id.mesh, proxy = id.name, "proxy said goodbye");
            let reason = "the proxy said goodbye";
            plane.insights.conclude(&*plane.store, &id, PresenceState::Left, reason);
            plane.presence.goodbye(&id);
        }
        // The end of a stream says nothing about an instance.
        AgentEvent::Closed { .. } => {}
    };
    Ok(AgentSession {
        outgoing: receiver,
        events: Box::new(events),
    })
}

/// Ends the stream when its token does not hold any longer.
async fn end_when_lost(token_watch: TokenWatch, outgoing: mpsc::Sender<Result<ControlPlaneMessage, Status>>) {
    let stop = token_watch.plane.stop.clone();
    tokio::select! {
        // Fails only if the stream has ended meanwhile.
        status = token_watch.lost() => drop(outgoing.send(Err(status)).await),
        () = outgoing.closed() => {}
        () = stop.cancelled() => {}
    }
}

/// Waits until the proxy's resource is stored.
async fn registered(plane: &DataPlane, id: &ProxyKey) -> Result<Option<Dataplane>, Status> {
    let key = id.resource();
    let mut changes = plane.store.subscribe();
    let wait = async {
        loop {
            if let Some(stored) = changes.snapshot().get(&key) {
                return Some(stored.resource.clone());
            }
            changes.next().await?;
        }
    };
    match tokio::time::timeout(REGISTRATION_TIMEOUT, wait).await {
        Ok(Some(_)) if id.kind != ProxyKind::Sidecar => Ok(None),
        Ok(Some(resource)) => resource
            .parse()
            .map(Some)
            .map_err(|violations| Status::failed_precondition(format!("{key} cannot be used: {violations}"))),
        Ok(None) => Err(Status::unavailable("the control plane is stopping")),
        Err(_) => Err(Status::not_found(format!(
            "{key} does not exist: its Envoy has not connected"
        ))),
    }
}

async fn take_reports(plane: Arc<DataPlane>, id: ProxyKey, mut found: watch::Receiver<Option<HealthReport>>) {
    // An agent reports changes only, so what could not be stored is stored later.
    let mut again = false;
    loop {
        tokio::select! {
            changed = found.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(REPORT_RETRY), if again => {}
        }
        let report = found.borrow_and_update().clone();
        if let Some(report) = report {
            again = !health::store(&plane, &id, &report).await;
        }
    }
}

/// Sends probes whenever they change, and names whenever they change or Envoy begins to serve them.
async fn feed(
    mut watch: ProxyWatch,
    mut listening: Option<Follower>,
    ttl: u32,
    kept: Vec<u64>,
    outgoing: mpsc::Sender<Result<ControlPlaneMessage, Status>>,
    stop: tokio_util::sync::CancellationToken,
) {
    let (known, mut mesh_names) = watch.names;
    let mut names = AnsweredNames::new(ttl, known, kept);
    let mut sent_plan: Option<HealthCheckPlan> = None;
    loop {
        let plan = watch
            .view
            .borrow_and_update()
            .as_ref()
            .map(|view| health::plan(&view.sidecar.dataplane))
            .unwrap_or_default();
        if sent_plan.as_ref() != Some(&plan) {
            sent_plan = Some(plan.clone());
            if send(&outgoing, Message::HealthChecks(plan)).await.is_err() {
                return;
            }
        }
        let wants_names = listening.is_some();
        let news = async {
            match &mut listening {
                Some(listening) => listening.news().await,
                None => std::future::pending().await,
            }
        };
        let update = tokio::select! {
            () = outgoing.closed() => return,
            () = stop.cancelled() => return,
            changed = watch.view.changed() => match changed {
                Ok(()) => None,
                Err(_) => return,
            },
            changed = mesh_names.next(), if wants_names => match changed {
                Some((mesh, changes)) => names.mesh_changed(mesh, changes),
                None => return,
            },
            news = news => names.listeners_changed(news),
        };
        if let Some(update) = update
            && send(&outgoing, Message::Dns(update)).await.is_err()
        {
            return;
        }
    }
}

async fn send(outgoing: &mpsc::Sender<Result<ControlPlaneMessage, Status>>, message: Message) -> Result<(), ()> {
    outgoing
        .send(Ok(ControlPlaneMessage { message: Some(message) }))
        .await
        .map_err(|_| ())
}
