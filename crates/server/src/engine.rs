//! The engine of a zone: follows the store, lets the [`World`] derive, and hands each connected proxy what changed.
//!
//! One task owns all of this state, so nothing is locked. A round is: take the changes that are there, derive,
//! project, publish to streams. What was derived is stored beside that; the store's feed brings it back in a later round.

mod certificates;
mod commands;
mod fleet;
mod holder;
mod issuer;
mod names;
mod pools;
mod problems;
mod project;
mod resolver;
mod rounds;
mod work;
mod writer;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use meshspan_envoy::ProxyOptions;
use meshspan_model::{Kind, Resource, ResourceKey};
use meshspan_store::{ChangeBatch, Store, Subscription};
use meshspan_world::view::SidecarView;
use meshspan_world::{Changes, World, Write};
use time::OffsetDateTime;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::proxy_key::ProxyKey;
use crate::published::Changed as _;
use certificates::Certificates;
pub use certificates::{CertificateNews, NewsSink};
use commands::{Command, QUEUE, Question};
pub use commands::{Engine, Inspection, ProxyWatch};
use issuer::Issuer;
use names::NamesPublisher;
pub use names::{MeshNames, NameChanges};
pub use problems::ProblemSink;
use problems::Problems;
use project::Projector;
use rounds::Rounds;
pub use work::Work;
use writer::Writer;

/// What is assumed of a proxy that is not connected.
const UNKNOWN_PROXY: ProxyOptions = ProxyOptions {
    socket_mark: 0,
    ipv6: true,
    system_ca: None,
};

/// The engine and its handle. [`Runner::run`] does the work, which is counted; `news` hears of each certificate that was issued,
/// `problems` of what keeps clients from connected proxies.
pub fn engine(
    store: Arc<dyn Store>,
    world: World,
    zone: String,
    work: Work,
    news: NewsSink,
    problems: ProblemSink,
) -> (Engine, Runner) {
    let (commands, receiver) = mpsc::channel(QUEUE);
    let issuer = Issuer::default();
    let runner = Runner {
        subscription: store.subscribe(),
        world,
        rounds: work.rounds.clone(),
        projector: Projector::new(zone, work),
        certificates: Certificates::new(issuer.clone(), news),
        issuer,
        problems: Problems::new(problems),
        commands: receiver,
        own_commands: commands.clone(),
        host_names: watch::Sender::new(BTreeSet::new()),
        names: BTreeMap::new(),
        views: BTreeMap::new(),
        followed_views: 0,
        questions: Vec::new(),
        deadline: None,
        writer: Writer::new(store),
    };
    (Engine { commands }, runner)
}

/// The engine's task.
pub struct Runner {
    subscription: Subscription,
    world: World,
    rounds: Rounds,
    projector: Projector,
    certificates: Certificates,
    issuer: Issuer,
    problems: Problems,
    commands: mpsc::Receiver<Command>,
    /// For the components beside it.
    own_commands: mpsc::Sender<Command>,
    host_names: watch::Sender<BTreeSet<String>>,
    names: BTreeMap<String, NamesPublisher>,
    views: BTreeMap<ProxyKey, watch::Sender<Option<Arc<SidecarView>>>>,
    /// How many of these somebody followed when that was looked at last.
    followed_views: usize,
    questions: Vec<Question>,
    /// When the world wants to derive again without a change.
    deadline: Option<OffsetDateTime>,
    writer: Writer,
}

impl Runner {
    /// Works until `stop`, or until the store is gone.
    pub async fn run(mut self, stop: CancellationToken) {
        let resolver = resolver::run(self.host_names.subscribe(), self.own_commands.clone(), stop.clone());
        let issuer = self.issuer.clone().run(self.own_commands.clone());
        let work = self.work(stop);
        tokio::select! {
            () = resolver => {}
            () = issuer => {}
            () = work => {}
        }
    }

    async fn work(&mut self, stop: CancellationToken) {
        let initial: Vec<_> = self
            .subscription
            .snapshot()
            .iter()
            .map(|stored| stored.resource.clone())
            .collect();
        for resource in initial {
            self.apply(&resource.key(), Some(&resource));
        }
        self.round();
        loop {
            let deadline = self.deadline.into_iter().chain(self.certificates.next_renewal()).min();
            let began;
            tokio::select! {
                () = stop.cancelled() => return,
                batch = self.subscription.next() => {
                    let Some(batch) = batch else { return };
                    began = Instant::now();
                    self.apply_batch(&batch);
                }
                command = self.commands.recv() => {
                    let Some(command) = command else { return };
                    began = Instant::now();
                    self.command(command);
                }
                () = self.writer.work() => began = Instant::now(),
                () = until(deadline) => began = Instant::now(),
            }
            self.rounds.waiting(self.commands.len());
            // Whatever else is there belongs to the same round.
            while let Some(batch) = self.subscription.try_next() {
                self.apply_batch(&batch);
            }
            for _ in 0..QUEUE {
                let Ok(command) = self.commands.try_recv() else { break };
                self.command(command);
            }
            self.round();
            self.rounds.ended(began.elapsed(), self.projector.streams());
        }
    }

    fn apply_batch(&mut self, batch: &ChangeBatch) {
        self.rounds.changes(batch.changes.len());
        for change in &batch.changes {
            self.apply(&change.key, change.after.as_ref().map(|stored| &stored.resource));
        }
    }

    fn apply(&mut self, key: &ResourceKey, after: Option<&Arc<Resource>>) {
        self.world.apply(key, after);
        match key.kind {
            Kind::Secret => self.certificates.secret_changed(key, after),
            Kind::Mesh => self.certificates.mesh_changed(&key.name, after),
            _ => {}
        }
    }

    fn command(&mut self, command: Command) {
        self.rounds.command();
        match command {
            Command::ProxyConnected {
                id,
                stream,
                feed,
                options,
                source,
            } => {
                self.problems.connected(&id);
                self.projector.connect(id, stream, feed, options, source);
            }
            Command::ProxyDisconnected { id, stream } => self.projector.disconnect(&id, stream),
            Command::LogsUnopened { id, stream, files } => self.projector.leave_out_logs(&id, stream, files),
            Command::Resolved { name, address } => {
                let failure = address.as_ref().err().cloned();
                if self.world.resolved(&name, address)
                    && let Some(reason) = failure
                {
                    tracing::warn!(
                        name,
                        reason,
                        "a host name in a resource cannot be resolved; the last address is kept"
                    );
                }
            }
            Command::Inspect(question) => self.questions.push(question),
            Command::Problems { answer } => {
                let mut problems = self.world.proxy_problems();
                for (id, of_projection) in self.projector.sidecars().problems() {
                    problems
                        .entry(id.resource())
                        .or_default()
                        .extend(of_projection.iter().cloned());
                }
                // The caller may have gone while it waited.
                let _ = answer.send(problems);
            }
            Command::Certificates(answers) => {
                let now = OffsetDateTime::now_utc();
                for answer in answers {
                    self.certificates.answered(answer, now, &mut self.projector);
                }
            }
            Command::Watch { id, answer } => {
                let names = self.names.entry(id.mesh.clone()).or_default().follow();
                let view = self.projector.sidecars().view(&id).cloned();
                let view = self
                    .views
                    .entry(id)
                    .or_insert_with(|| watch::Sender::new(view))
                    .subscribe();
                // The agent may have gone while it waited.
                let _ = answer.send(ProxyWatch { names, view });
                if self.views.len() > 2 * self.followed_views {
                    self.views.retain(|_, sender| sender.receiver_count() > 0);
                    self.followed_views = self.views.len();
                }
                // A mesh that is gone has no names; its next one starts afresh.
                self.names
                    .retain(|_, published| published.is_followed() || !published.current().is_empty());
            }
        }
    }

    fn round(&mut self) {
        let now = OffsetDateTime::now_utc();
        let changes = self.world.derive(now);
        self.deadline = changes.deadline;
        for problem in &changes.problems {
            tracing::error!(resource = %problem.key, problem = %problem.violations, "stored resource cannot be used and is left out");
        }
        if let Some(names) = &changes.host_names {
            self.host_names.send_replace(names.clone());
        }
        self.publish_names(&changes);
        for ((mesh, name), view) in &changes.sidecars {
            if let Some(sender) = self.views.get(&ProxyKey::sidecar(mesh, name)) {
                sender.send_replace(view.clone());
            }
        }
        let Changes {
            writes,
            destinations,
            policies,
            sidecars,
            ingresses,
            egresses,
            mut judged_anew,
            ..
        } = changes;
        let sidecar = |(mesh, name): &(String, String)| ResourceKey::new(Kind::Dataplane, mesh.as_str(), name.as_str());
        judged_anew.extend(sidecars.keys().map(sidecar));
        self.projector
            .apply(&destinations, policies, sidecars, ingresses, egresses);
        self.problems.tell(judged_anew, &self.world, &self.projector);
        let snapshot = self.subscription.snapshot();
        let stored_since = |id: &ProxyKey| {
            let stored = snapshot.get(&id.resource())?;
            Some(stored.resource.creation_time)
        };
        self.certificates.renew(now, &mut self.projector, stored_since);
        self.projector.publish();
        let writes = self.versioned(writes);
        self.writer.add(writes);
        self.inspect();
    }

    /// Publishes names before Envoys hear of their listeners: a name is answered when its listener is acknowledged.
    fn publish_names(&mut self, changes: &Changes) {
        let mut edited: BTreeMap<&str, (MeshNames, NameChanges)> = BTreeMap::new();
        let current = |mesh: &str| {
            let published = self.names.get(mesh);
            published
                .map(|published| published.current().clone())
                .unwrap_or_default()
        };
        for (mesh, records) in &changes.dns {
            let (names, changed) = edited
                .entry(mesh)
                .or_insert_with(|| (current(mesh), NameChanges::default()));
            names.set_records(records, changed);
        }
        for (key, destination) in &changes.destinations {
            let mesh = key.service.mesh.as_str();
            let address = destination.as_ref().and_then(|destination| destination.vip);
            let (names, changed) = edited
                .entry(mesh)
                .or_insert_with(|| (current(mesh), NameChanges::default()));
            names.set_listener(key, address, changed);
        }
        for (mesh, (names, changed)) in edited {
            if !changed.is_empty() {
                self.names.entry(mesh.to_owned()).or_default().publish(names, &changed);
            }
        }
    }

    /// Answers with what is in effect, changes of this round included.
    fn inspect(&mut self) {
        for Question { id, mode, answer } in std::mem::take(&mut self.questions) {
            let inspected = self.world.inspect(&id.mesh, &id.name, mode);
            let options = self.projector.options(&id).unwrap_or(UNKNOWN_PROXY);
            let inspection = inspected.map(|inspected| Inspection {
                options,
                says_source: self
                    .projector
                    .sidecars()
                    .says_source(&id, &inspected.view.sidecar.source),
                inspected,
            });
            // The caller may have gone while it waited.
            let _ = answer.send(inspection);
        }
    }

    /// Derived writes based on the versions that they were derived from.
    fn versioned(&self, writes: Vec<Write>) -> Vec<meshspan_store::Write> {
        let snapshot = self.subscription.snapshot();
        let versioned = writes.into_iter().map(|write| match write {
            Write::Put(resource) => match snapshot.get(&resource.key()) {
                Some(stored) => meshspan_store::Write::Update {
                    expected: Some(stored.spec_version),
                    resource,
                },
                None => {
                    let owner = match resource.kind {
                        Kind::MeshMultiZoneServiceInsight => {
                            let name = resource.name.as_str();
                            ResourceKey::new(Kind::MeshMultiZoneService, resource.mesh.as_str(), name)
                        }
                        _ => ResourceKey::new(Kind::Mesh, "", resource.mesh.as_str()),
                    };
                    let owner = Some(owner);
                    meshspan_store::Write::Create { resource, owner }
                }
            },
            Write::Status(key, status) => meshspan_store::Write::put_status(key, status),
            Write::Delete(key) => meshspan_store::Write::Remove { key },
        });
        versioned.collect()
    }
}

/// Sleeps until a point in time; forever without one.
async fn until(deadline: Option<OffsetDateTime>) {
    match deadline {
        None => std::future::pending().await,
        Some(deadline) => {
            let wait = (deadline - OffsetDateTime::now_utc()).max(time::Duration::milliseconds(1));
            tokio::time::sleep(wait.try_into().unwrap_or(std::time::Duration::from_secs(1))).await;
        }
    }
}
