//! What a control plane creates when it starts and finds missing (`spec/zone-sync.md` §2.6). What is there stays as it
//! is: an edited default survives, a deleted one returns at the next start, except for the first policies of a mesh.

use std::fmt;
use std::future::Future;

use meshspan_identity::token::{IssueError, Lifespan, Signer, UserClaims, issue_user_token};
use meshspan_identity::{SigningKey, SigningKeyFamily, secret_names};
use meshspan_model::kinds::config::Config;
use meshspan_model::kinds::mesh::{Mesh, MeshServices, MeshServicesMode};
use meshspan_model::kinds::zone::Zone;
use meshspan_model::{Kind, Resource, ResourceKey, labels};
use meshspan_store::{Store, StoreError, Write};
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use crate::data_source::global_secret;
use crate::provisioning::{ProvisioningError, create_mesh, ensure_mesh_secrets, mesh_spec};
use crate::settings::{Mode, Settings};
use crate::tokens::trust::{TrustError, newest_key};

mod hostname_generators;
pub(crate) mod policies;

/// Name of the mesh that is created.
pub const DEFAULT_MESH: &str = "default";
/// Name of the Config with the id of the whole deployment.
pub const CLUSTER_ID: &str = "kuma-cluster-id";

const ADMIN_TOKEN_LIFETIME: Duration = Duration::days(3650);

/// Why one default was not created.
#[derive(Debug, thiserror::Error)]
pub enum DefaultError {
    /// The mesh.
    #[error(transparent)]
    Mesh(#[from] ProvisioningError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A key cannot be made.
    #[error("{0}")]
    Key(#[from] meshspan_identity::KeyError),
    /// A key cannot be read.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// The administrator's token cannot be signed.
    #[error(transparent)]
    Token(#[from] IssueError),
    /// The thread that makes keys was stopped.
    #[error("making keys was interrupted because the control plane is stopping")]
    Interrupted,
}

/// The defaults that were not created; all others were. Worth another try.
#[derive(Debug)]
pub struct Failures(pub Vec<(&'static str, DefaultError)>);

impl fmt::Display for Failures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (what, error)) in self.0.iter().enumerate() {
            let separator = if index > 0 { "; " } else { "" };
            write!(f, "{separator}{what}: {error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Failures {}

/// Creates every default that is missing. One that fails is logged and does not hold up the others.
///
/// # Errors
/// What was not created.
pub async fn ensure_defaults(store: &dyn Store, settings: &Settings, now: OffsetDateTime) -> Result<(), Failures> {
    let mut failures = Failures(Vec::new());
    let owns_meshes = settings.mode.owns_meshes();
    if owns_meshes {
        failures
            .note("zone token signing key", signing_key(store, SigningKeyFamily::Zone))
            .await;
        failures.note("cluster id", cluster_id(store)).await;
    }
    failures
        .note("user token signing key", signing_key(store, SigningKeyFamily::User))
        .await;
    if settings.defaults.bootstrap_admin_token {
        failures
            .note("token of the administrator", admin_token(store, now))
            .await;
    }
    if let Mode::Zone { name, .. } = &settings.mode {
        failures.note("zone", own_zone(store, name)).await;
    }
    if !settings.defaults.skip_hostname_generators {
        failures
            .note("hostname generators", hostname_generators(store, settings))
            .await;
    }
    if owns_meshes {
        if !settings.defaults.skip_mesh_creation {
            failures.note("mesh", default_mesh(store, settings, now)).await;
        }
        failures.note("secrets of meshes", all_mesh_secrets(store, now)).await;
    }
    if failures.0.is_empty() { Ok(()) } else { Err(failures) }
}

impl Failures {
    async fn note(&mut self, what: &'static str, step: impl Future<Output = Result<(), DefaultError>>) {
        if let Err(error) = step.await {
            tracing::warn!(default = what, %error, "a default resource could not be created");
            self.0.push((what, error));
        }
    }
}

/// Creates a resource unless it exists.
async fn create(store: &dyn Store, resource: Resource) -> Result<(), DefaultError> {
    let key = resource.key();
    if store.get(&key).is_some() {
        return Ok(());
    }
    match store.apply(vec![Write::create(resource)]).await {
        Ok(_) => {
            tracing::info!(resource = %key, "created a default resource");
            Ok(())
        }
        Err(StoreError::AlreadyExists { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

async fn default_mesh(store: &dyn Store, settings: &Settings, now: OffsetDateTime) -> Result<(), DefaultError> {
    if store.get(&ResourceKey::new(Kind::Mesh, "", DEFAULT_MESH)).is_some() {
        return Ok(());
    }
    let mesh_services = Some(MeshServices {
        mode: MeshServicesMode::Exclusive,
    });
    let spec = Mesh {
        mesh_services,
        ..Mesh::default()
    };
    create_mesh(store, settings, DEFAULT_MESH, &spec, now).await?;
    tracing::info!(mesh = DEFAULT_MESH, "created the default mesh");
    Ok(())
}

/// Every mesh: also one that came from a backup or an interrupted start.
async fn all_mesh_secrets(store: &dyn Store, now: OffsetDateTime) -> Result<(), DefaultError> {
    for mesh in store.list(Kind::Mesh, None) {
        ensure_mesh_secrets(store, &mesh.resource.name, &mesh_spec(&mesh.resource), now).await?;
    }
    Ok(())
}

/// A first key, unless the family has any: after a rotation the first one is gone for good.
async fn signing_key(store: &dyn Store, family: SigningKeyFamily<'static>) -> Result<(), DefaultError> {
    let secrets = store.list(Kind::GlobalSecret, None);
    if family
        .newest(secrets.iter().map(|stored| stored.resource.name.as_str()))
        .is_some()
    {
        return Ok(());
    }
    let key = tokio::task::spawn_blocking(SigningKey::generate)
        .await
        .map_err(|_| DefaultError::Interrupted)??;
    create(store, global_secret(family.secret_name(1), key.to_pem().as_bytes())).await
}

async fn cluster_id(store: &dyn Store) -> Result<(), DefaultError> {
    let config = Config {
        config: Uuid::new_v4().to_string(),
    };
    create(store, Resource::of("", CLUSTER_ID, &config)).await
}

async fn admin_token(store: &dyn Store, now: OffsetDateTime) -> Result<(), DefaultError> {
    let name = secret_names::ADMIN_USER_TOKEN;
    if store.get(&ResourceKey::new(Kind::GlobalSecret, "", name)).is_some() {
        return Ok(());
    }
    // Without a key the failure of the step before is the one to report.
    let Some((serial, key)) = newest_key(&store.snapshot(), &SigningKeyFamily::User)? else {
        return Ok(());
    };
    let kid = serial.to_string();
    let signer = Signer { kid: &kid, key: &key };
    let token = issue_user_token(&signer, &UserClaims::admin(), &Lifespan::new(now, ADMIN_TOKEN_LIFETIME))?;
    create(store, global_secret(name, token.as_bytes())).await
}

/// A zone knows exactly one Zone: itself. Others are left from a time when it had another name.
async fn own_zone(store: &dyn Store, name: &str) -> Result<(), DefaultError> {
    let others: Vec<Write> = store
        .list(Kind::Zone, None)
        .iter()
        .filter(|stored| stored.resource.name != name)
        .map(|stored| Write::Remove {
            key: stored.resource.key(),
        })
        .collect();
    if !others.is_empty() {
        store.apply(others).await?;
    }
    create(store, Resource::of("", name, &Zone { enabled: Some(true) })).await
}

async fn hostname_generators(store: &dyn Store, settings: &Settings) -> Result<(), DefaultError> {
    for (name, generator) in hostname_generators::defaults(&settings.mode, settings.environment) {
        let mut resource = Resource::of("", name, &generator);
        labels::compute(
            Kind::HostnameGenerator,
            "",
            name,
            settings.mode.role(),
            &mut resource.labels,
        );
        create(store, resource).await?;
    }
    Ok(())
}
