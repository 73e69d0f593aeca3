//! Workload certificates: issued when a proxy needs one, renewed before they expire (`spec/dataplane.md` §5.1).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use meshspan_identity::secret_names;
use meshspan_identity::{Ca, RotationPeriod, WorkloadRequest};
use meshspan_model::kinds::mesh::{CaBackend, Mesh};
use meshspan_model::kinds::secret::Secret;
use meshspan_model::{Resource, ResourceKey};
use meshspan_world::view::SidecarView;
use time::OffsetDateTime;

use super::project::{Identity, Projector};
use crate::proxy_key::ProxyKey;

/// A certificate was issued, or is no longer in use.
#[derive(Clone, Debug)]
pub struct CertificateNews {
    /// The proxy.
    pub proxy: ProxyKey,
    /// What was issued; `None` when mTLS is off.
    pub issued: Option<IssuedCertificate>,
}

/// What an insight tells of a certificate.
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
    /// `None` while its secrets are missing or cannot be used.
    ca: Option<Arc<Ca>>,
}

/// The certificate that a proxy should have now.
struct Wanted {
    version: String,
    /// At the earliest it is issued then.
    wanted_at: OffsetDateTime,
    renew_at: OffsetDateTime,
}

/// All certificates of connected proxies.
pub(super) struct Certificates {
    secrets: BTreeMap<ResourceKey, Arc<Resource>>,
    meshes: BTreeMap<String, MeshCa>,
    wanted: BTreeMap<ProxyKey, Wanted>,
    renewals: BTreeSet<(OffsetDateTime, ProxyKey)>,
    /// Meshes whose CA or certificate lifetime may have changed since the last renewal.
    changed: BTreeSet<String>,
    news: NewsSink,
    /// When certificates were looked at last.
    looked_at: Option<OffsetDateTime>,
}

/// Peers accept certificates that are this much ahead of their clock, because they are backdated.
const AHEAD: time::Duration = time::Duration::seconds(10);
/// How often it is checked that the clock has not been set back.
const CLOCK_CHECK: time::Duration = time::Duration::seconds(60);

impl Wanted {
    fn is_ahead_of(&self, now: OffsetDateTime) -> bool {
        self.wanted_at > now + AHEAD
    }
}

impl Certificates {
    pub(super) fn new(news: NewsSink) -> Self {
        Self {
            secrets: BTreeMap::new(),
            meshes: BTreeMap::new(),
            wanted: BTreeMap::new(),
            renewals: BTreeSet::new(),
            changed: BTreeSet::new(),
            news,
            looked_at: None,
        }
    }

    pub(super) fn next_renewal(&self) -> Option<OffsetDateTime> {
        let renewal = self.renewals.first().map(|(when, _)| *when)?;
        let check = self.looked_at.map(|last| last + CLOCK_CHECK);
        Some(check.map_or(renewal, |check| check.min(renewal)))
    }

    /// Proxies whose certificates are from the future, after the clock was set back: peers refuse them, and their time of
    /// renewal is far away.
    fn ahead_of_a_clock_set_back(&mut self, now: OffsetDateTime) -> Vec<ProxyKey> {
        let went_back = self.looked_at.is_some_and(|last| now + AHEAD < last);
        self.looked_at = Some(now);
        if !went_back {
            return Vec::new();
        }
        let ahead = self.wanted.iter().filter(|(_, wanted)| wanted.is_ahead_of(now));
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
        let backend = mesh.as_ref().and_then(Mesh::enabled_backend);
        match backend {
            None => {
                self.meshes.remove(name);
            }
            Some(backend) => {
                let same = self
                    .meshes
                    .get(name)
                    .filter(|mesh| mesh.backend.name == backend.name && mesh.backend.conf == backend.conf);
                let ca = match same.and_then(|mesh| mesh.ca.clone()) {
                    Some(ca) => Some(ca),
                    None => self.load(name, backend),
                };
                self.meshes.insert(
                    name.to_owned(),
                    MeshCa {
                        backend: backend.clone(),
                        ca,
                    },
                );
            }
        }
    }

    pub(super) fn secret_changed(&mut self, key: &ResourceKey, after: Option<&Arc<Resource>>) {
        match after {
            Some(resource) => self.secrets.insert(key.clone(), resource.clone()),
            None => self.secrets.remove(key),
        };
        let Some(backend) = self.meshes.get(&key.mesh).map(|mesh| mesh.backend.clone()) else {
            return;
        };
        if ca_secrets(&key.mesh, &backend).is_some_and(|names| names.contains(&key.name)) {
            self.changed.insert(key.mesh.clone());
            let ca = self.load(&key.mesh, &backend);
            self.meshes.insert(key.mesh.clone(), MeshCa { backend, ca });
        }
    }

    /// The CA from its secrets. Both halves arrive one after the other, so a missing half is no error.
    fn load(&self, mesh: &str, backend: &CaBackend) -> Option<Arc<Ca>> {
        let (cert, key) = match ca_secrets(mesh, backend) {
            Some([cert, key]) => (self.secret(mesh, &cert)?, self.secret(mesh, &key)?),
            None => (inline(backend, "cert")?, inline(backend, "key")?),
        };
        match Ca::from_pem(&cert, &key) {
            Ok(ca) => Some(Arc::new(ca)),
            Err(error) => {
                tracing::error!(mesh, backend = backend.name, %error, "the CA cannot be used; no certificates are issued");
                None
            }
        }
    }

    fn secret(&self, mesh: &str, name: &str) -> Option<String> {
        let resource = self
            .secrets
            .get(&ResourceKey::new(meshspan_model::Kind::Secret, mesh, name))?;
        decode(&resource.parse::<Secret>().ok()?.data)
    }

    /// Hands projection the certificates that connected proxies should have now, where those changed. They are issued when
    /// they are sent: a proxy that comes back with the right one keeps it. `stored_since` is when its Dataplane was stored.
    pub(super) fn renew(
        &mut self,
        now: OffsetDateTime,
        projector: &mut Projector,
        stored_since: impl Fn(&ProxyKey) -> Option<OffsetDateTime>,
    ) {
        let due: BTreeSet<ProxyKey> = self
            .renewals
            .iter()
            .take_while(|(when, _)| *when <= now)
            .map(|(_, id)| id.clone())
            .collect();
        self.renewals.retain(|(when, _)| *when > now);
        let mut candidates = projector.take_changed_sidecars();
        candidates.extend(due.iter().cloned());
        candidates.extend(self.ahead_of_a_clock_set_back(now));
        for mesh in std::mem::take(&mut self.changed) {
            candidates.extend(projector.sidecars().connected_in(&mesh).cloned());
        }
        for id in candidates {
            let Some(view) = projector
                .sidecars()
                .view(&id)
                .filter(|_| projector.is_connected(&id))
                .cloned()
            else {
                self.forget(&id);
                continue;
            };
            match self.meshes.get(&id.mesh) {
                None => {
                    if self.forget(&id) {
                        self.tell(&id, None);
                    }
                    projector.set_identity(&id, None);
                }
                Some(MeshCa { backend, ca: Some(ca) }) => {
                    let (backend, ca) = (backend.clone(), ca.clone());
                    self.want(&id, &view, &backend, ca, now, stored_since(&id), projector);
                }
                Some(MeshCa { ca: None, .. }) => {
                    tracing::warn!(
                        mesh = id.mesh,
                        proxy = id.name,
                        "no certificate: the CA of the mesh is not here yet"
                    );
                }
            }
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn want(
        &mut self,
        id: &ProxyKey,
        view: &SidecarView,
        backend: &CaBackend,
        ca: Arc<Ca>,
        now: OffsetDateTime,
        stored_since: Option<OffsetDateTime>,
        projector: &mut Projector,
    ) {
        let lifetime = backend.cert_lifetime();
        let period = RotationPeriod::at(now, lifetime, jitter(id));
        let tags = view.sidecar.dataplane.tags();
        let version = version(&ca, &tags, lifetime, period, stored_since);
        let known = self.wanted.get(id);
        let is_ahead = known.is_some_and(|wanted| wanted.is_ahead_of(now));
        let current = known.is_some_and(|wanted| wanted.version == version) && !is_ahead;
        if current && projector.has_identity(id) {
            return;
        }
        let request = move |now| {
            WorkloadRequest::for_dataplane(&id.mesh, tags.clone(), now, lifetime).map_err(|error| error.to_string())
        };
        let checked = request(now).and_then(|request| ca.check_workload(&request).map_err(|error| error.to_string()));
        if let Err(error) = checked {
            tracing::error!(mesh = id.mesh, proxy = id.name, error, "cannot issue a certificate");
            // Tried again, because the reason may be time itself.
            self.renewals.insert((now + time::Duration::seconds(30), id.clone()));
            return;
        }
        let issuer = Issuer {
            proxy: id.clone(),
            backend: backend.name.clone(),
            ca: ca.clone(),
            tags: view.sidecar.dataplane.tags(),
            lifetime,
            news: self.news.clone(),
        };
        let name = meshspan_envoy::names::identity_secret(&id.mesh);
        // One from the future has to be replaced although it is the right one otherwise.
        let sent = if is_ahead {
            format!("{version}-{}", now.unix_timestamp())
        } else {
            version.clone()
        };
        projector.set_identity(
            id,
            Some(Identity {
                mesh: id.mesh.clone(),
                certificate: meshspan_xds::Resource::on_demand(name, sent, move || issuer.issue()),
                trust_pem: ca.cert_pem().to_owned(),
            }),
        );
        self.forget(id);
        self.renewals.insert((period.end, id.clone()));
        self.wanted.insert(
            id.clone(),
            Wanted {
                version,
                wanted_at: now,
                renew_at: period.end,
            },
        );
    }

    /// Forgets a certificate and its renewal; true if there was one.
    fn forget(&mut self, id: &ProxyKey) -> bool {
        let Some(wanted) = self.wanted.remove(id) else {
            return false;
        };
        self.renewals.remove(&(wanted.renew_at, id.clone()));
        true
    }

    fn tell(&self, id: &ProxyKey, issued: Option<IssuedCertificate>) {
        (self.news)(CertificateNews {
            proxy: id.clone(),
            issued,
        });
    }
}

/// Issues the certificate of one proxy.
struct Issuer {
    proxy: ProxyKey,
    backend: String,
    ca: Arc<Ca>,
    tags: BTreeMap<String, BTreeSet<String>>,
    lifetime: time::Duration,
    news: NewsSink,
}

impl Issuer {
    /// The secret. It is issued now, however long ago it was wanted.
    fn issue(&self) -> Bytes {
        let ProxyKey { mesh, name, .. } = &self.proxy;
        let now = OffsetDateTime::now_utc();
        let made = WorkloadRequest::for_dataplane(mesh, self.tags.clone(), now, self.lifetime)
            .map_err(|error| error.to_string())
            .and_then(|request| self.ca.issue_workload(&request).map_err(|error| error.to_string()));
        match made {
            Ok(certificate) => {
                (self.news)(CertificateNews {
                    proxy: self.proxy.clone(),
                    issued: Some(IssuedCertificate {
                        backend: self.backend.clone(),
                        issued_at: certificate.issued_at,
                        expires_at: certificate.not_after,
                    }),
                });
                meshspan_envoy::secrets::identity(mesh, &certificate.cert_chain_pem, &certificate.key_pem).body
            }
            Err(error) => {
                // It could be issued when it was wanted. Envoy refuses an empty secret and keeps the one it has.
                tracing::error!(mesh, proxy = name, error, "cannot issue a certificate");
                Bytes::new()
            }
        }
    }
}

/// Stands for everything that makes a certificate the right one: who signs it, whom it names, how long it lives, and when
/// it was due. `stored_since` belongs to it because what is noted of a certificate goes with its Dataplane.
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

/// Names of the secrets that hold a backend's certificate and key; `None` if they are in the Mesh itself.
fn ca_secrets(mesh: &str, backend: &CaBackend) -> Option<[String; 2]> {
    if backend.backend_type == "builtin" {
        return Some([
            secret_names::builtin_ca_cert(mesh, &backend.name),
            secret_names::builtin_ca_key(mesh, &backend.name),
        ]);
    }
    let name = |part: &str| {
        backend
            .conf
            .as_ref()?
            .get(part)?
            .get("secret")?
            .as_str()
            .map(str::to_owned)
    };
    Some([name("cert")?, name("key")?])
}

/// A data source that is written into the Mesh.
fn inline(backend: &CaBackend, part: &str) -> Option<String> {
    let source = backend.conf.as_ref()?.get(part)?;
    let text = source
        .get("inlineString")
        .and_then(|text| text.as_str())
        .map(str::to_owned);
    text.or_else(|| decode(source.get("inline")?.as_str()?))
}

fn decode(base64: &str) -> Option<String> {
    String::from_utf8(BASE64_STANDARD.decode(base64).ok()?).ok()
}

/// Spreads renewals of many proxies; a function of the proxy, so that it needs no random number.
#[allow(clippy::cast_precision_loss)]
fn jitter(id: &ProxyKey) -> f64 {
    let hash = meshspan_model::name::fnv1a_64([id.mesh.as_str(), "/", &id.name]);
    (hash % 1000) as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use time::macros::datetime;

    #[test]
    fn a_clock_that_is_set_back_makes_certificates_due() {
        let ahead = datetime!(2026-03-03 12:00 UTC);
        let mut certificates = Certificates::new(Arc::new(|_| {}));
        let wanted = |wanted_at: OffsetDateTime| Wanted {
            version: "1".to_owned(),
            wanted_at,
            renew_at: wanted_at + time::Duration::hours(20),
        };
        let back = ahead - time::Duration::days(2);
        let id = |name: &str| ProxyKey::sidecar("default", name);
        certificates.wanted.insert(id("ahead"), wanted(ahead));
        certificates.wanted.insert(id("before"), wanted(back));
        certificates
            .renewals
            .insert((ahead + time::Duration::hours(20), id("ahead")));

        assert!(certificates.ahead_of_a_clock_set_back(ahead).is_empty());
        // The clock is looked at long before the renewal.
        assert_eq!(certificates.next_renewal(), Some(ahead + CLOCK_CHECK));
        assert!(
            certificates
                .ahead_of_a_clock_set_back(ahead - time::Duration::seconds(5))
                .is_empty(),
            "slewed"
        );
        assert_eq!(certificates.ahead_of_a_clock_set_back(back), [id("ahead")]);
        assert!(
            certificates
                .ahead_of_a_clock_set_back(back + time::Duration::SECOND)
                .is_empty(),
            "once"
        );
    }
}
