//! The settings of a control plane (`spec/zone-sync.md` §7): defaults, then a YAML file, then `KUMA_*` variables.

mod check;
mod load;
mod names;
#[cfg(test)]
mod page;

use std::net::IpAddr;

use meshspan_model::duration::GoDuration;
use serde::{Deserialize, Serialize};

pub use load::{SettingsError, load};

macro_rules! section {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty = $default:expr,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Serialize, Deserialize)]
        #[serde(rename_all = "camelCase", deny_unknown_fields, default)]
        pub struct $name { $($(#[$field_doc])* pub $field: $type,)* }

        impl Default for $name {
            fn default() -> Self {
                Self { $($field: $default,)* }
            }
        }
    };
}

mod access;
mod multizone;

pub use access::{Access, AccessType, Grant, StaticAccess};
pub use multizone::{Global, GlobalKds, KdsAuth, KdsAuthType, Multizone, Zone, ZoneKds, ZoneKdsAuth};

/// What a control plane is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Shares resources with all zones; has no proxies.
    Global,
    /// Serves the proxies of one zone, alone or under a global.
    #[default]
    #[serde(alias = "standalone")]
    Zone,
}

/// Where resources are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StoreType {
    /// In this process; lost when it ends.
    Memory,
    /// In one file on this host.
    #[default]
    Sqlite,
}

/// How proxies prove who they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProxyAuth {
    /// By what fits the environment: tokens on Universal.
    #[default]
    #[serde(rename = "")]
    Auto,
    /// By a dataplane token.
    #[serde(rename = "dpToken")]
    DpToken,
    /// By a zone token.
    #[serde(rename = "zoneToken")]
    ZoneToken,
    /// Not at all.
    #[serde(rename = "none")]
    None,
}

section! {
    /// All settings.
    Settings {
        /// `global`, or `zone`, which is also called `standalone`.
        mode: Mode = Mode::default(),
        /// `universal`.
        environment: String = "universal".into(),
        /// Storage.
        store: Store = Store::default(),
        /// REST API.
        api_server: ApiServer = ApiServer::default(),
        /// Server of the data plane: bootstrap, ADS, agents.
        dp_server: DpServer = DpServer::default(),
        /// Zones.
        multizone: Multizone = Multizone::default(),
        /// Virtual IPs.
        ipam: Ipam = Ipam::default(),
        /// DNS.
        dns_server: DnsServer = DnsServer::default(),
        /// Generated MeshServices.
        mesh_service: MeshService = MeshService::default(),
        /// What is created at start.
        defaults: Defaults = Defaults::default(),
        /// Health and metrics of the control plane.
        diagnostics: Diagnostics = Diagnostics::default(),
        /// xDS.
        xds_server: XdsServer = XdsServer::default(),
        /// Who may do what at the REST API.
        access: Access = Access::default(),
        /// Everything else.
        general: General = General::default(),
    }
}

section! {
    /// `store`.
    Store {
        /// `sqlite` or `memory`.
        #[serde(rename = "type")]
        store_type: StoreType = StoreType::default(),
        /// The SQLite store.
        sqlite: Sqlite = Sqlite::default(),
        /// Lets things be deleted that are in use.
        unsafe_delete: bool = false,
    }
}

section! {
    /// `store.sqlite`.
    Sqlite {
        /// Path of the file; empty means `meshspan.db` in `general.workDir`.
        path: String = String::new(),
    }
}

section! {
    /// `apiServer`.
    ApiServer {
        /// Plain HTTP.
        http: Endpoint = Endpoint { enabled: true, interface: "0.0.0.0".into(), port: 5681 },
        /// HTTPS.
        https: HttpsEndpoint = HttpsEndpoint::default(),
        /// Who callers are.
        authn: ApiAuthn = ApiAuthn::default(),
        /// Refuses all writes.
        read_only: bool = false,
        /// Path under which the API is served.
        base_path: String = "/".into(),
        /// Web origins (`https://console.example`) whose pages may call the API from a browser; regular expressions that
        /// must match the whole origin. None by default; the reference allows all (`.*`).
        cors_allowed_domains: Vec<String> = Vec::new(),
    }
}

/// Where plain HTTP is served.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Endpoint {
    /// Whether it is served.
    pub enabled: bool,
    /// Address to listen on.
    pub interface: String,
    /// Port to listen on.
    pub port: u16,
}

section! {
    /// `apiServer.https`.
    HttpsEndpoint {
        /// Whether it is served.
        enabled: bool = true,
        /// Address to listen on.
        interface: String = "0.0.0.0".into(),
        /// Port to listen on.
        port: u16 = 5682,
        /// Certificate; empty means the general one.
        tls_cert_file: String = String::new(),
        /// Its key.
        tls_key_file: String = String::new(),
    }
}

section! {
    /// `apiServer.authn`.
    ApiAuthn {
        /// `tokens`: callers are known by user tokens.
        #[serde(rename = "type")]
        authn_type: ApiAuthnType = ApiAuthnType::default(),
        /// Callers from this host are administrators.
        localhost_is_admin: bool = true,
        /// Callers without a token may write resources from every host, as in the reference.
        anonymous_writes: bool = false,
        /// User tokens.
        tokens: UserTokens = UserTokens::default(),
    }
}

/// How callers of the API prove who they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ApiAuthnType {
    /// By user tokens.
    #[default]
    Tokens,
}

section! {
    /// `apiServer.authn.tokens`.
    UserTokens {
        /// Makes the administrator's token at first start.
        bootstrap_admin_token: bool = true,
        /// Issues user tokens.
        enable_issuer: bool = true,
    }
}

section! {
    /// `dpServer`.
    DpServer {
        /// Port to listen on, on all addresses.
        port: u16 = 5678,
        /// Certificate; empty means the general one.
        tls_cert_file: String = String::new(),
        /// Its key.
        tls_key_file: String = String::new(),
        /// How proxies prove who they are.
        authn: DpAuthn = DpAuthn::default(),
    }
}

section! {
    /// `dpServer.authn`.
    DpAuthn {
        /// Sidecars.
        dp_proxy: DpProxyAuthn = DpProxyAuthn::default(),
        /// Zone proxies.
        zone_proxy: ZoneProxyAuthn = ZoneProxyAuthn::default(),
    }
}

section! {
    /// `dpServer.authn.dpProxy`.
    DpProxyAuthn {
        /// `dpToken`, `none`, or empty for what fits the environment.
        #[serde(rename = "type")]
        auth_type: ProxyAuth = ProxyAuth::default(),
        /// Tokens of sidecars.
        dp_token: Issuer = Issuer::default(),
    }
}

section! {
    /// `dpServer.authn.zoneProxy`.
    ZoneProxyAuthn {
        /// `zoneToken`, `none`, or empty for what fits the environment.
        #[serde(rename = "type")]
        auth_type: ProxyAuth = ProxyAuth::default(),
        /// Tokens of zone proxies and of zones.
        zone_token: Issuer = Issuer::default(),
    }
}

section! {
    /// `dpServer.authn.dpProxy.dpToken` and `.zoneProxy.zoneToken`.
    Issuer {
        /// Issues such tokens.
        enable_issuer: bool = true,
    }
}

section! {
    /// `ipam`.
    Ipam {
        /// VIPs of MeshServices.
        mesh_service: Cidr = Cidr { cidr: "241.0.0.0/8".into() },
        /// VIPs of MeshExternalServices.
        mesh_external_service: Cidr = Cidr { cidr: "242.0.0.0/8".into() },
        /// VIPs of MeshMultiZoneServices.
        mesh_multi_zone_service: Cidr = Cidr { cidr: "243.0.0.0/8".into() },
    }
}

/// A range of addresses.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cidr {
    /// For example `243.0.0.0/8`.
    pub cidr: String,
}

section! {
    /// `dnsServer`.
    DnsServer {
        /// How long applications may keep an answer. Low, because a removed name should be forgotten soon.
        ttl: GoDuration = GoDuration(std::time::Duration::from_secs(5)),
    }
}

section! {
    /// `meshService`.
    MeshService {
        /// How long a generated MeshService without Dataplanes stays.
        deletion_grace_period: GoDuration = GoDuration(std::time::Duration::from_secs(3600)),
    }
}

section! {
    /// `defaults`.
    Defaults {
        /// Does not create the mesh `default`.
        skip_mesh_creation: bool = false,
        /// Does not create the default hostname generators.
        skip_hostname_generators: bool = false,
    }
}

section! {
    /// `diagnostics`.
    Diagnostics {
        /// Port of `/ready`, `/healthy` and `/metrics`; 0 switches it off.
        server_port: u16 = 5680,
    }
}

section! {
    /// `xdsServer`.
    XdsServer {
        /// How long a Dataplane that a proxy registered stays after its stream ended.
        dataplane_deregistration_delay: GoDuration = GoDuration(std::time::Duration::from_secs(10)),
        /// How often counters of a proxy are written to its insight.
        dataplane_status_flush_interval: GoDuration = GoDuration(std::time::Duration::from_secs(10)),
    }
}

section! {
    /// `general`.
    General {
        /// Certificate of all servers that have none of their own; empty means one made at first start.
        tls_cert_file: String = String::new(),
        /// Its key.
        tls_key_file: String = String::new(),
        /// Where files are kept; empty means `$HOME/.kuma`.
        work_dir: String = String::new(),
        /// Names and addresses in the certificate that is made at first start, beside those of this host.
        tls_names: Vec<String> = Vec::new(),
    }
}

impl Settings {
    /// True for a zone with a global.
    pub fn is_federated(&self) -> bool {
        self.mode == Mode::Zone && !self.multizone.zone.global_address.is_empty()
    }

    /// Where files are kept.
    pub fn work_dir(&self) -> std::path::PathBuf {
        match self.general.work_dir.as_str() {
            "" => std::env::home_dir().unwrap_or_else(|| ".".into()).join(".kuma"),
            path => path.into(),
        }
    }
}

/// Parses an address to listen on.
fn interface(text: &str) -> Option<IpAddr> {
    text.parse().ok()
}
