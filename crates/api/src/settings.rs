//! What the API must be told about its control plane. The keys of `spec/zone-sync.md` §7 that each field comes from
//! stand beside it.

use meshspan_model::labels::Role;
use serde_json::Value;

use crate::access::AccessRights;
use crate::cors::Cors;

/// The role of the control plane (`mode`, `multizone.zone.name`, `multizone.zone.globalAddress`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Shares resources with all zones; has no proxies.
    Global,
    /// Serves the proxies of one zone.
    Zone {
        /// Name of the zone.
        name: String,
        /// True if it has a global control plane.
        federated: bool,
    },
}

impl Mode {
    /// As labels see it.
    pub fn role(&self) -> Role<'_> {
        match self {
            Mode::Global => Role::Global,
            Mode::Zone { name, federated } => Role::Zone {
                name,
                federated: *federated,
            },
        }
    }

    /// True for a zone that has a global control plane.
    pub fn is_federated(&self) -> bool {
        matches!(self, Mode::Zone { federated: true, .. })
    }

    /// True where meshes are created and their secrets made: on the global, and in a zone that has none.
    pub fn owns_meshes(&self) -> bool {
        !self.is_federated()
    }
}

/// Where the control plane and its proxies run (`environment`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Environment {
    /// Hosts and virtual machines.
    Universal,
    /// Kubernetes.
    Kubernetes,
}

/// Settings of the API.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The role of the control plane.
    pub mode: Mode,
    /// `environment`.
    pub environment: Environment,
    /// `store.type`.
    pub store_type: String,
    /// `store.kubernetes.systemNamespace`: where the Kubernetes form puts resources that have no namespace.
    pub system_namespace: String,
    /// `apiServer.basePath`, `/` for none.
    pub base_path: String,
    /// `apiServer.readOnly`: resources are written elsewhere.
    pub read_only: bool,
    /// `apiServer.authn.localhostIsAdmin`.
    pub localhost_is_admin: bool,
    /// `apiServer.authn.anonymousWrites`: callers without a token may write, from wherever they call.
    pub anonymous_writes: bool,
    /// Which tokens are issued.
    pub issuers: Issuers,
    /// `access.static`.
    pub access: AccessRights,
    /// `apiServer.corsAllowedDomains`.
    pub cors: Cors,
    /// `store.unsafeDelete`: deletes even what is in use.
    pub unsafe_delete: bool,
    /// `multizone.zone.disableOriginLabelValidation`.
    pub disable_origin_label_validation: bool,
    /// What is created at start.
    pub defaults: Defaults,
    /// Shown in the index. Clients refuse a product they do not know.
    pub product: String,
    /// The compatible version, shown in the index.
    pub version: String,
    /// Name of the host, shown in the index.
    pub hostname: String,
    /// Id of this process among the control planes that share a store.
    pub instance_id: String,
    /// Where the GUI is; empty where there is none.
    pub gui: String,
    /// The effective configuration for `/config`. Secrets must be masked already.
    pub config: Value,
}

/// Which tokens this control plane issues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Issuers {
    /// `apiServer.authn.tokens.enableIssuer`.
    pub user: bool,
    /// `dpServer.authn.dpProxy.dpToken.enableIssuer`.
    pub dataplane: bool,
    /// `dpServer.authn.zoneProxy.zoneToken.enableIssuer`.
    pub zone: bool,
}

/// What is created when the control plane starts (`defaults`, `apiServer.authn.tokens.bootstrapAdminToken`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Defaults {
    /// `defaults.skipMeshCreation`.
    pub skip_mesh_creation: bool,
    /// `defaults.skipHostnameGenerators`.
    pub skip_hostname_generators: bool,
    /// Makes the token of the administrator.
    pub bootstrap_admin_token: bool,
}

impl Settings {
    /// The settings of a control plane that was told nothing but its role.
    pub fn new(mode: Mode) -> Self {
        Self {
            mode,
            environment: Environment::Universal,
            store_type: "memory".to_owned(),
            system_namespace: "kuma-system".to_owned(),
            base_path: "/".to_owned(),
            read_only: false,
            localhost_is_admin: true,
            anonymous_writes: false,
            issuers: Issuers {
                user: true,
                dataplane: true,
                zone: true,
            },
            access: AccessRights::default(),
            cors: Cors::default(),
            unsafe_delete: false,
            disable_origin_label_validation: false,
            defaults: Defaults {
                skip_mesh_creation: false,
                skip_hostname_generators: false,
                bootstrap_admin_token: true,
            },
            product: "Kuma".to_owned(),
            version: String::new(),
            hostname: String::new(),
            instance_id: String::new(),
            gui: String::new(),
            config: Value::Null,
        }
    }
}
