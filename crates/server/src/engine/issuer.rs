//! The issuer: what takes time about certificates, beside the engine and the streams. It loads CAs, finds out which
//! certificate a proxy should have, and signs those that a stream asks for. Answers come back to the engine as commands, and
//! an engine that is busy holds the issuer up.

mod queue;

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZero;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use meshspan_identity::{Ca, RotationPeriod, WorkloadRequest};
use time::OffsetDateTime;
use tokio::sync::{Notify, mpsc};

use super::Command;
use super::certificates::IssuedCertificate;
use super::holder::Holder;

pub(super) use queue::Priority;
use queue::Queue;

/// Tasks that one worker takes at once: more make a proxy that starts wait for renewals before it.
const BATCH: usize = 16;

/// Where a CA comes from, as PEM.
#[derive(PartialEq, Eq)]
pub(super) struct CaSource {
    pub(super) mesh: String,
    pub(super) certificate: String,
    pub(super) key: String,
}

/// Everything that decides which certificate a proxy should have.
pub(super) struct Candidate {
    pub(super) holder: Holder,
    /// Whom the certificate is to name.
    pub(super) tags: BTreeMap<String, BTreeSet<String>>,
    pub(super) ca: Arc<Ca>,
    pub(super) backend: String,
    pub(super) lifetime: time::Duration,
    /// When its Dataplane was stored.
    pub(super) stored_since: Option<OffsetDateTime>,
    /// Tells this question from earlier ones about the same proxy.
    pub(super) question: u64,
}

/// A certificate to sign.
pub(super) struct Order {
    pub(super) holder: Holder,
    pub(super) ca: Arc<Ca>,
    backend: String,
    tags: BTreeMap<String, BTreeSet<String>>,
    lifetime: time::Duration,
    /// Stands for everything that makes a certificate the right one.
    pub(super) version: String,
    pub(super) renew_at: OffsetDateTime,
    requested: AtomicBool,
}

/// A certificate and its key, as Envoy takes them.
pub(super) struct Signed {
    pub(super) secret: Bytes,
    pub(super) issued: IssuedCertificate,
}

enum Task {
    Load(Arc<CaSource>),
    Check(Candidate),
    Sign(Arc<Order>),
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Subject {
    Load(String),
    Check(Holder),
    Sign(Holder),
}

/// What became of a task.
pub(super) enum Answer {
    /// Of [`Issuer::load`].
    Loaded(Arc<CaSource>, Result<Arc<Ca>, String>),
    /// Of [`Issuer::check`].
    Checked {
        holder: Holder,
        question: u64,
        order: Result<Order, String>,
    },
    /// Of [`Issuer::sign`].
    Signed(Arc<Order>, Result<Signed, String>),
}

/// Takes tasks; cheap to clone. Of each mesh and proxy only the newest task of a sort waits, so that no queue is longer than
/// the lists of these.
#[derive(Clone, Default)]
pub(super) struct Issuer(Arc<Shared>);

struct Shared {
    queue: Mutex<Queue<Subject, Task>>,
    pushed: Notify,
}

impl Default for Shared {
    fn default() -> Self {
        Self {
            queue: Mutex::new(Queue::new()),
            pushed: Notify::new(),
        }
    }
}

impl Issuer {
    /// Reads a CA.
    pub(super) fn load(&self, source: Arc<CaSource>) {
        self.push(
            Subject::Load(source.mesh.clone()),
            Priority::Prerequisite,
            Task::Load(source),
        );
    }

    /// Finds out which certificate a proxy should have, and whether it can be issued.
    pub(super) fn check(&self, candidate: Candidate, priority: Priority) {
        self.push(
            Subject::Check(candidate.holder.clone()),
            priority,
            Task::Check(candidate),
        );
    }

    /// Signs a certificate, once however often it is requested.
    pub(super) fn request(&self, order: &Arc<Order>, priority: Priority) {
        if !order.requested.swap(true, Ordering::Relaxed) {
            self.sign(order.clone(), priority);
        }
    }

    /// Signs a certificate.
    pub(super) fn sign(&self, order: Arc<Order>, priority: Priority) {
        self.push(Subject::Sign(order.holder.clone()), priority, Task::Sign(order));
    }

    fn queue(&self) -> MutexGuard<'_, Queue<Subject, Task>> {
        self.0.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, subject: Subject, priority: Priority, task: Task) {
        self.queue().push(subject, priority, task);
        self.0.pushed.notify_one();
    }

    fn take(&self) -> Vec<Task> {
        let mut queue = self.queue();
        let batch = std::iter::from_fn(|| queue.pop()).take(BATCH).collect();
        if !queue.is_empty() {
            // There is something to do for another worker.
            self.0.pushed.notify_one();
        }
        batch
    }

    /// Works until nobody takes answers any more.
    pub(super) async fn run(self, commands: mpsc::Sender<Command>) {
        // Serving goes on meanwhile.
        let workers = std::thread::available_parallelism().map_or(1, NonZero::get).div_ceil(2);
        futures::future::join_all((0..workers).map(|_| self.work(commands.clone()))).await;
    }

    async fn work(&self, commands: mpsc::Sender<Command>) {
        loop {
            let batch = self.take();
            if batch.is_empty() {
                tokio::select! {
                    () = self.0.pushed.notified() => continue,
                    () = commands.closed() => return,
                }
            }
            let answers = tokio::task::spawn_blocking(|| batch.into_iter().map(perform).collect()).await;
            let answers = match answers {
                Ok(answers) => answers,
                Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                // The process ends.
                Err(_) => return,
            };
            if commands.send(Command::Certificates(answers)).await.is_err() {
                return;
            }
        }
    }
}

fn perform(task: Task) -> Answer {
    let now = OffsetDateTime::now_utc();
    match task {
        Task::Load(source) => {
            let ca = Ca::from_pem(&source.certificate, &source.key);
            Answer::Loaded(source, ca.map(Arc::new).map_err(|error| error.to_string()))
        }
        Task::Check(candidate) => Answer::Checked {
            holder: candidate.holder.clone(),
            question: candidate.question,
            order: check(candidate, now),
        },
        Task::Sign(order) => {
            let signed = sign(&order, now);
            Answer::Signed(order, signed)
        }
    }
}

fn request(order: &Order, now: OffsetDateTime) -> Result<WorkloadRequest, String> {
    WorkloadRequest::for_dataplane(&order.holder.mesh, order.tags.clone(), now, order.lifetime)
        .map_err(|error| error.to_string())
}

fn check(candidate: Candidate, now: OffsetDateTime) -> Result<Order, String> {
    let tags = candidate.tags;
    let period = RotationPeriod::at(now, candidate.lifetime, jitter(&candidate.holder));
    let version = version(&candidate.ca, &tags, candidate.lifetime, period, candidate.stored_since);
    let order = Order {
        holder: candidate.holder,
        ca: candidate.ca,
        backend: candidate.backend,
        tags,
        lifetime: candidate.lifetime,
        version,
        renew_at: period.end,
        requested: AtomicBool::new(false),
    };
    let request = request(&order, now)?;
    order.ca.check_workload(&request).map_err(|error| error.to_string())?;
    Ok(order)
}

/// It is issued now, however long ago it was wanted.
fn sign(order: &Order, now: OffsetDateTime) -> Result<Signed, String> {
    let request = request(order, now)?;
    let certificate = order.ca.issue_workload(&request).map_err(|error| error.to_string())?;
    let mesh = &order.holder.mesh;
    let secret = meshspan_envoy::secrets::identity(mesh, &certificate.cert_chain_pem, &certificate.key_pem);
    Ok(Signed {
        secret: secret.body,
        issued: IssuedCertificate {
            backend: order.backend.clone(),
            issued_at: certificate.issued_at,
            expires_at: certificate.not_after,
        },
    })
}

/// Stands for everything that makes a certificate the right one: who signs it, whom it names, how long it lives, and in which
/// period. `stored_since` belongs to it because what is noted of a certificate goes with its Dataplane.
fn version(
    ca: &Ca,
    tags: &BTreeMap<String, BTreeSet<String>>,
    lifetime: time::Duration,
    period: RotationPeriod,
    stored_since: Option<OffsetDateTime>,
) -> String {
    let content = format!(
        "{}\n{tags:?}\n{lifetime}\n{}\n{:?}",
        ca.cert_pem(),
        period.index,
        stored_since.map(OffsetDateTime::unix_timestamp_nanos)
    );
    format!("{:032x}", xxhash_rust::xxh3::xxh3_128(content.as_bytes()))
}

/// Spreads renewals of many proxies; a function of the proxy, so that it needs no random number.
#[allow(clippy::cast_precision_loss)]
fn jitter(id: &Holder) -> f64 {
    let hash = meshspan_model::name::fnv1a_64([id.mesh.as_str(), "/", &id.proxy.name]);
    (hash % 1000) as f64 / 1000.0
}
