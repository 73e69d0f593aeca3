//! `multizone`: the global control plane and its zones.

use serde::{Deserialize, Serialize};

section! {
    /// `multizone`.
    Multizone {
        /// A global control plane.
        global: Global = Global::default(),
        /// A zone control plane.
        zone: Zone = Zone::default(),
    }
}

section! {
    /// `multizone.global`.
    Global {
        /// Zone synchronisation.
        kds: GlobalKds = GlobalKds::default(),
    }
}

section! {
    /// `multizone.global.kds`.
    GlobalKds {
        /// Port to listen on, on all addresses.
        grpc_port: u16 = 5685,
        /// Serves TLS.
        tls_enabled: bool = true,
        /// Certificate; empty means the general one.
        tls_cert_file: String = String::new(),
        /// Its key.
        tls_key_file: String = String::new(),
        /// Largest message in bytes, the same on both sides. Any amount of resources is sent in several messages; a single
        /// resource must fit into one.
        max_msg_size: usize = meshspan_sync::MAX_MESSAGE,
        /// How zones prove who they are.
        auth: KdsAuth = KdsAuth::default(),
    }
}

section! {
    /// `multizone.global.kds.auth`.
    KdsAuth {
        /// `cpToken`: zones must show a zone token of scope `cp`; or `none`.
        #[serde(rename = "type")]
        auth_type: KdsAuthType = KdsAuthType::default(),
    }
}

/// How zone control planes prove who they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum KdsAuthType {
    /// By a zone token of scope `cp`.
    #[default]
    #[serde(
        rename = "cpToken",
        alias = "cptoken",
        alias = "cp-token",
        alias = "CpToken",
        alias = "CP_TOKEN"
    )]
    CpToken,
    /// Not at all, as in the reference: any caller is the zone whose name it says, and gets its keys. Zones must exist
    /// before they connect.
    #[serde(rename = "none", alias = "None", alias = "NONE")]
    None,
}

section! {
    /// `multizone.zone`.
    Zone {
        /// Name of the zone.
        name: String = "default".into(),
        /// `grpcs://host:5685` of the global; empty for a zone on its own.
        global_address: String = String::new(),
        /// Accepts resources without `kuma.io/origin: zone` on a federated zone.
        disable_origin_label_validation: bool = false,
        /// Zone synchronisation.
        kds: ZoneKds = ZoneKds::default(),
    }
}

section! {
    /// `multizone.zone.kds`.
    ZoneKds {
        /// PEM file of the CA that signed the global's certificate; empty means the system's roots.
        root_ca_file: String = String::new(),
        /// Does not verify the global. For experiments only.
        tls_skip_verify: bool = false,
        /// Largest message in bytes, the same on both sides.
        max_msg_size: usize = meshspan_sync::MAX_MESSAGE,
        /// How this zone proves who it is.
        auth: ZoneKdsAuth = ZoneKdsAuth::default(),
    }
}

/// `multizone.zone.kds.auth`.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ZoneKdsAuth {
    /// File with a zone token of scope `cp`; read again at each connection.
    pub cp_token_path: String,
    /// The token itself. Prefer the file: it can be renewed without a restart.
    #[serde(serialize_with = "masked")]
    pub cp_token_inline: String,
}

/// Settings are shown to people and to the global.
fn masked<S: serde::Serializer>(secret: &str, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(if secret.is_empty() { "" } else { "*****" })
}

impl std::fmt::Debug for ZoneKdsAuth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ZoneKdsAuth")
            .field("cp_token_path", &self.cp_token_path)
            .finish_non_exhaustive()
    }
}
