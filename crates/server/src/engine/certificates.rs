//! Workload certificates: which proxy should have which, and when it is renewed (`spec/dataplane.md` §5.1).
//!
//! This is the engine's part: indexes and decisions. What takes time is asked of the [issuer](super::issuer).

mod sources;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use meshspan_identity::Ca;
use meshspan_model::kinds::mesh::{CaBackend, Mesh};
use meshspan_model::{ProxyKind, Resource, ResourceKey};
use time::OffsetDateTime;

use super::holder::Holder;
use super::issuer::{Answer, CaSource, Candidate, Issuer, Order, Priority, Signed};
use super::project::{Identity, Projector};
use crate::proxy_key::ProxyKey;
use sources::Secrets;

/// A certificate was issued, or is no longer in use.
#[derive(Clone, Debug)]
pub struct CertificateNews {
    /// The proxy.
    pub proxy: ProxyKey,
    /// What was issued; `None` when mTLS is off.
    pub issued: Option<IssuedCertificate>,
}

/// What an insight says of a certificate.
#[derive(Clone, Debug)]
pub struct IssuedCertificate {
    /// The mTLS backend.
    pub backend: String,
    /// When it was issued.
    pub issued_at: OffsetDateTime,
    /// When it expires.
    pub expires_at: OffsetDateTime,
}

/// Hears of certificates; must not block.
pub type NewsSink = Arc<dyn Fn(CertificateNews) + Send + Sync>;

/// The CA of a mesh's enabled backend.
struct MeshCa {
    backend: CaBackend,
    ca: CaState,
}

enum CaState {
    /// Its secrets are not here (yet), or it cannot be used.
    Missing,
    Loading(Arc<CaSource>),
    Loaded(Arc<CaSource>, Arc<Ca>),
}

impl CaState {
    fn source(&self) -> Option<&Arc<CaSource>> {
        match self {
            Self::Missing => None,
            Self::Loading(source) | Self::Loaded(source, _) => Some(source),
        }
    }
}

/// The certificate that a proxy should have now.
struct Wanted {
    order: Arc<Order>,
    identity: Identity,
    trust_bundle: Bytes,
    /// At the earliest it is issued then.
    since: OffsetDateTime,
    /// It was wanted, and could not be issued.
    failed: bool,
}

/// All certificates of connected proxies.
pub(super) struct Certificates {
    issuer: Issuer,
    news: NewsSink,
    secrets: Secrets,
    meshes: BTreeMap<String, MeshCa>,
    wanted: BTreeMap<Holder, Wanted>,
    renewals: BTreeSet<(OffsetDateTime, Holder)>,
    /// Proxies about which the issuer was asked, with the number of the newest question.
    questions: BTreeMap<Holder, u64>,
    asked: u64,
    /// Meshes whose CA or certificate lifetime may have changed since the last renewal.
    changed: BTreeSet<String>,
    /// When certificates were looked at last.
    looked_at: Option<OffsetDateTime>,
}

/// Peers accept certificates that are this much ahead of their clock, because they are backdated.
const AHEAD: time::Duration = time::Duration::seconds(10);
/// How often it is checked that the clock has not been set back.
const CLOCK_CHECK: time::Duration = time::Duration::seconds(60);
/// Time until it is tried again to issue what could not be issued, because the reason may be time itself.
const RETRY: time::Duration = time::Duration::seconds(30);

fn is_ahead(since: OffsetDateTime, now: OffsetDateTime) -> bool {
    since > now + AHEAD
}

impl Certificates {
    pub(super) fn new(issuer: Issuer, news: NewsSink) -> Self {
        Self {
            issuer,
            news,
            secrets: Secrets::default(),
            meshes: BTreeMap::new(),
            wanted: BTreeMap::new(),
            renewals: BTreeSet::new(),
            questions: BTreeMap::new(),
            asked: 0,
            changed: BTreeSet::new(),
            looked_at: None,
        }
    }

    pub(super) fn next_renewal(&self) -> Option<OffsetDateTime> {
        let renewal = self.renewals.first().map(|(when, _)| *when)?;
        let check = self.looked_at.map(|last| last + CLOCK_CHECK);
        Some(check.map_or(renewal, |check| check.min(renewal)))
    }

    /// True if the clock was set back. Certificates from the future are refused by peers then, and their time of renewal is
    /// far away.
    fn was_set_back(&mut self, now: OffsetDateTime) -> bool {
        let last = self.looked_at.replace(now);
        last.is_some_and(|last| is_ahead(last, now))
    }

    fn ahead_of(&self, now: OffsetDateTime) -> Vec<Holder> {
        let ahead = self.wanted.iter().filter(|(_, wanted)| is_ahead(wanted.since, now));
        let ids: Vec<_> = ahead.map(|(id, _)| id.clone()).collect();
        tracing::warn!(
            certificates = ids.len(),
            "the clock was set back; certificates from the future are issued again"
        );
        ids
    }

    pub(super) fn mesh_changed(&mut self, name: &str, after: Option<&Arc<Resource>>) {
        self.changed.insert(name.to_owned());
        let mesh = after.and_then(|resource| resource.parse::<Mesh>().ok());
        match mesh.as_ref().and_then(Mesh::enabled_backend) {
            None => {
                self.meshes.remove(name);
            }
            Some(backend) => self.load(name, backend.clone()),
        }
    }

    pub(super) fn secret_changed(&mut self, key: &ResourceKey, after: Option<&Arc<Resource>>) {
        self.secrets.set(key, after);
        let Some(backend) = self.meshes.get(&key.mesh).map(|mesh| mesh.backend.clone()) else {
            return;
        };
        if sources::names(&key.mesh, &backend).is_some_and(|names| names.contains(&key.name)) {
            self.changed.insert(key.mesh.clone());
            self.load(&key.mesh, backend);
        }
    }

    /// Has a CA loaded, unless it is the one that is there.
    fn load(&mut self, mesh: &str, backend: CaBackend) {
        let before = self.meshes.remove(mesh).map_or(CaState::Missing, |mesh| mesh.ca);
        let source = self.secrets.source(mesh, &backend);
        let ca = match source {
            None => CaState::Missing,
            Some(source) if before.source().is_some_and(|before| **before == source) => before,
            Some(source) => {
                let source = Arc::new(source);
                self.issuer.load(source.clone());
                CaState::Loading(source)
            }
        };
        self.meshes.insert(mesh.to_owned(), MeshCa { backend, ca });
    }

    /// Takes what the issuer found out or made.
    pub(super) fn answered(&mut self, answer: Answer, now: OffsetDateTime, projector: &mut Projector) {
        match answer {
            Answer::Loaded(source, ca) => self.loaded(source, ca),
            Answer::Checked {
                holder,
                question,
                order,
            } => {
                if self.questions.get(&holder) == Some(&question) {
                    self.questions.remove(&holder);
                    self.checked(holder, order, now, projector);
                }
            }
            Answer::Signed(order, signed) => self.signed(&order, signed, now, projector),
        }
    }

    fn loaded(&mut self, source: Arc<CaSource>, ca: Result<Arc<Ca>, String>) {
        let Some(mesh) = self.meshes.get_mut(&source.mesh) else {
            return;
        };
        if !mesh.ca.source().is_some_and(|current| Arc::ptr_eq(current, &source)) {
            return;
        }
        self.changed.insert(source.mesh.clone());
        mesh.ca = match ca {
            Ok(ca) => CaState::Loaded(source, ca),
            Err(error) => {
                let (mesh, backend) = (&source.mesh, &mesh.backend.name);
                tracing::error!(
                    mesh,
                    backend,
                    error,
                    "the CA cannot be used; no certificates are issued"
                );
                CaState::Missing
            }
        };
    }

    /// Asks which certificates connected proxies should have now, where that may have changed. `stored_since` is when a
    /// Dataplane was stored.
    pub(super) fn renew(
        &mut self,
        now: OffsetDateTime,
        projector: &mut Projector,
        stored_since: impl Fn(&ProxyKey) -> Option<OffsetDateTime>,
    ) {
        let mut candidates = projector.take_changed_holders();
        while self.renewals.first().is_some_and(|(when, _)| *when <= now) {
            candidates.extend(self.renewals.pop_first().map(|(_, id)| id));
        }
        if self.was_set_back(now) {
            candidates.extend(self.ahead_of(now));
        }
        for mesh in std::mem::take(&mut self.changed) {
            candidates.extend(projector.holders_in(&mesh));
        }
        for id in candidates {
            let Some(tags) = projector.identity_tags(&id) else {
                self.forget(&id);
                projector.set_identity(&id, None);
                continue;
            };
            let Some(mesh) = self.meshes.get(&id.mesh) else {
                if self.forget(&id) {
                    self.report(&id, None);
                }
                projector.set_identity(&id, None);
                continue;
            };
            match &mesh.ca {
                CaState::Missing => {
                    self.questions.remove(&id);
                    projector.keep_identity(&id);
                    tracing::warn!(
                        mesh = id.mesh,
                        proxy = id.proxy.name,
                        "no certificate: the CA of the mesh is not here yet"
                    );
                }
                // Its mesh counts as changed once that is done.
                CaState::Loading(_) => {
                    self.questions.remove(&id);
                    projector.await_identity(&id);
                }
                CaState::Loaded(_, ca) => {
                    self.asked += 1;
                    let candidate = Candidate {
                        holder: id.clone(),
                        tags,
                        ca: ca.clone(),
                        backend: mesh.backend.name.clone(),
                        lifetime: mesh.backend.cert_lifetime(),
                        stored_since: stored_since(&id.proxy),
                        question: self.asked,
                    };
                    projector.await_identity(&id);
                    let priority = match priority(projector, &id) {
                        Priority::Start => Priority::Prerequisite,
                        other => other,
                    };
                    self.issuer.check(candidate, priority);
                    self.questions.insert(id, self.asked);
                }
            }
        }
    }

    /// Hands projection the certificate that a proxy should have, if it should have another. It is issued when a stream asks
    /// for it: a proxy that comes back with the right one keeps it.
    fn checked(&mut self, id: Holder, order: Result<Order, String>, now: OffsetDateTime, projector: &mut Projector) {
        let order = match order {
            Ok(order) => order,
            Err(error) => {
                tracing::error!(
                    mesh = id.mesh,
                    proxy = id.proxy.name,
                    error,
                    "cannot issue a certificate"
                );
                self.renewals.insert((now + RETRY, id.clone()));
                projector.keep_identity(&id);
                return;
            }
        };
        let known = self.wanted.get_mut(&id);
        let is_ahead = known.as_ref().is_some_and(|wanted| is_ahead(wanted.since, now));
        if let Some(wanted) = known.filter(|wanted| wanted.order.version == order.version)
            && !is_ahead
            && projector.has_identity(&id)
        {
            if std::mem::take(&mut wanted.failed) {
                self.issuer.sign(wanted.order.clone(), Priority::Start);
            }
            projector.keep_identity(&id);
            return;
        }
        // One from the future has to be replaced although it is the right one otherwise.
        let sent = if is_ahead {
            format!("{}-{}", order.version, now.unix_timestamp())
        } else {
            order.version.clone()
        };
        let (order, priority) = (Arc::new(order), priority(projector, &id));
        let (issuer, requested) = (self.issuer.clone(), order.clone());
        let name = meshspan_envoy::names::identity_secret(&id.mesh);
        let request = move || issuer.request(&requested, priority);
        let trust = meshspan_envoy::secrets::trust_bundle(&id.mesh, order.ca.cert_pem());
        let identity = Identity {
            certificate: meshspan_xds::Resource::deferred(name, sent, request.clone()),
            trust: meshspan_xds::Resource::deferred(trust.name, trust.version, request),
        };
        projector.set_identity(&id, Some(identity.clone()));
        self.forget(&id);
        self.renewals.insert((order.renew_at, id.clone()));
        self.wanted.insert(
            id,
            Wanted {
                order,
                identity,
                trust_bundle: trust.body,
                since: now,
                failed: false,
            },
        );
    }

    fn signed(
        &mut self,
        order: &Arc<Order>,
        signed: Result<Signed, String>,
        now: OffsetDateTime,
        projector: &mut Projector,
    ) {
        let id = &order.holder;
        let current = |wanted: &&mut Wanted| Arc::ptr_eq(&wanted.order, order);
        let Some(wanted) = self.wanted.get_mut(id).filter(current) else {
            return;
        };
        match signed {
            Ok(Signed { secret, issued }) => {
                wanted.identity.certificate.fulfil(secret);
                wanted.identity.trust.fulfil(wanted.trust_bundle.clone());
                projector.identity_made(id);
                self.report(id, Some(issued));
            }
            Err(error) => {
                // It could be issued when it was checked. The proxy keeps the one that it has.
                tracing::error!(
                    mesh = id.mesh,
                    proxy = id.proxy.name,
                    error,
                    "cannot issue a certificate"
                );
                wanted.failed = true;
                self.renewals.insert((now + RETRY, id.clone()));
            }
        }
    }

    /// Forgets a certificate, its renewal, and what was asked about it; true if there was one.
    fn forget(&mut self, id: &Holder) -> bool {
        self.questions.remove(id);
        let Some(wanted) = self.wanted.remove(id) else {
            return false;
        };
        self.renewals.remove(&(wanted.order.renew_at, id.clone()));
        true
    }

    /// Insights of zone proxies have no place for certificates.
    fn report(&self, id: &Holder, issued: Option<IssuedCertificate>) {
        if id.proxy.kind == ProxyKind::Sidecar {
            (self.news)(CertificateNews {
                proxy: id.proxy.clone(),
                issued,
            });
        }
    }
}

/// A proxy that has nothing to show serves nobody.
fn priority(projector: &Projector, id: &Holder) -> Priority {
    if projector.has_identity(id) {
        Priority::Renewal
    } else {
        Priority::Start
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn the_clock_is_looked_at_long_before_a_renewal() {
        let ahead = datetime!(2026-03-03 12:00 UTC);
        let mut certificates = Certificates::new(Issuer::default(), Arc::new(|_| {}));
        let renewal = ahead + time::Duration::hours(20);
        certificates
            .renewals
            .insert((renewal, Holder::sidecar(&ProxyKey::sidecar("default", "web-1"))));
        assert!(!certificates.was_set_back(ahead));
        assert_eq!(certificates.next_renewal(), Some(ahead + CLOCK_CHECK));
        assert!(!certificates.was_set_back(ahead - time::Duration::seconds(5)), "slewed");
        let back = ahead - time::Duration::days(2);
        assert!(certificates.was_set_back(back));
        assert!(!certificates.was_set_back(back + time::Duration::SECOND), "once");
        assert!(is_ahead(ahead, back) && !is_ahead(back, back));
    }
}
