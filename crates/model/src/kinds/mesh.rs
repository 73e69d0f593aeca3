//! Mesh (`spec/resources.md` §2.1).

mod backends;
mod log_format;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Spec, is_default};
use crate::duration;
use crate::kind::Kind;
use crate::violation::Violations;

/// A mesh: mTLS, routing and defaults shared by its proxies.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Mesh {
    /// mTLS; absent or without an enabled backend means plaintext.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtls: Option<Mtls>,
    /// Networking defaults.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub networking: Option<Networking>,
    /// Routing defaults.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub routing: Option<Routing>,
    /// Which proxies may join.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub constraints: Option<Constraints>,
    /// Kinds of which no default instance is created; `*` for all.
    #[serde(alias = "skip_creating_initial_policies", skip_serializing_if = "Vec::is_empty")]
    pub skip_creating_initial_policies: Vec<String>,
    /// Whether MeshServices are generated.
    #[serde(alias = "mesh_services", skip_serializing_if = "Option::is_none")]
    pub mesh_services: Option<MeshServices>,
    /// Legacy logging backends, kept as written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logging: Option<Value>,
    /// Legacy tracing backends, kept as written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tracing: Option<Value>,
    /// Legacy metrics backends, kept as written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metrics: Option<Value>,
}

/// `mtls`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Mtls {
    /// Name of the backend in use; empty turns mTLS off.
    #[serde(alias = "enabled_backend", skip_serializing_if = "String::is_empty")]
    pub enabled_backend: String,
    /// At most one backend.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub backends: Vec<CaBackend>,
    /// Skips the checks of the backends.
    #[serde(alias = "skip_validation", skip_serializing_if = "is_default")]
    pub skip_validation: bool,
}

/// One CA backend.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CaBackend {
    /// Unique name.
    pub name: String,
    /// `builtin` or `provided`.
    #[serde(rename = "type")]
    pub backend_type: String,
    /// `STRICT` (default) or `PERMISSIVE`.
    #[serde(skip_serializing_if = "is_default")]
    pub mode: TlsMode,
    /// Workload certificates.
    #[serde(alias = "dp_cert", skip_serializing_if = "Option::is_none")]
    pub dp_cert: Option<DpCert>,
    /// Configuration of the backend type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conf: Option<Value>,
    /// Timeout for reading the root chain, kept as written.
    #[serde(alias = "root_chain", skip_serializing_if = "Option::is_none")]
    pub root_chain: Option<Value>,
}

/// Whether inbounds also accept plaintext.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum TlsMode {
    /// mTLS only.
    #[default]
    Strict,
    /// mTLS and plaintext.
    Permissive,
}

/// `dpCert`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DpCert {
    /// Rotation of workload certificates.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rotation: Option<Rotation>,
    /// Timeout for issuing, kept as written.
    #[serde(alias = "request_timeout", skip_serializing_if = "Option::is_none")]
    pub request_timeout: Option<String>,
}

/// `dpCert.rotation`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Rotation {
    /// Lifetime of a workload certificate, digits and one of `y w d h m s ms`; renewed at 4/5 of it.
    pub expiration: String,
}

/// `networking`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Networking {
    /// Traffic that leaves the mesh.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outbound: Option<OutboundDefaults>,
}

/// `networking.outbound`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OutboundDefaults {
    /// Whether traffic to unknown destinations passes; default true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub passthrough: Option<bool>,
}

/// `routing`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Routing {
    /// Legacy locality awareness of tag services.
    #[serde(alias = "locality_aware_load_balancing", skip_serializing_if = "is_default")]
    pub locality_aware_load_balancing: bool,
    /// External traffic through the zone egress; needs mTLS.
    #[serde(alias = "zone_egress", skip_serializing_if = "is_default")]
    pub zone_egress: bool,
    /// Forbids MeshExternalServices unless permitted.
    #[serde(
        alias = "default_forbid_mesh_external_service_access",
        skip_serializing_if = "is_default"
    )]
    pub default_forbid_mesh_external_service_access: bool,
}

/// `constraints`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Constraints {
    /// Who may join the mesh.
    #[serde(alias = "dataplane_proxy", skip_serializing_if = "Option::is_none")]
    pub dataplane_proxy: Option<DataplaneConstraints>,
}

/// `constraints.dataplaneProxy`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DataplaneConstraints {
    /// Each tag set of a proxy must match at least one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub requirements: Vec<TagRule>,
    /// No tag set of a proxy may match any.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub restrictions: Vec<TagRule>,
}

/// Tags, `*` for any non-empty value.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TagRule {
    /// The tags.
    pub tags: BTreeMap<String, String>,
}

/// `meshServices`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MeshServices {
    /// The mode.
    pub mode: MeshServicesMode,
}

/// Whether MeshServices are generated. Absent means [`MeshServicesMode::Exclusive`] (DESIGN §4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum MeshServicesMode {
    /// Nothing is generated.
    Disabled,
    /// Acts as `Exclusive`.
    Everywhere,
    /// Acts as `Exclusive`.
    ReachableBackends,
    /// Generated, and the only destinations.
    #[default]
    Exclusive,
}

/// Configuration of a `builtin` backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuiltinCa {
    /// RSA key size in bits.
    pub rsa_bits: u32,
    /// Lifetime of the CA certificate.
    pub lifetime: time::Duration,
}

/// Default lifetime of workload certificates.
pub const DEFAULT_CERT_LIFETIME: time::Duration = time::Duration::hours(24);

impl Mesh {
    /// Whether traffic to other zones goes through the egresses of the own zone.
    pub fn leaves_through_egress(&self) -> bool {
        self.routing.as_ref().is_some_and(|routing| routing.zone_egress)
    }

    /// The enabled mTLS backend.
    pub fn enabled_backend(&self) -> Option<&CaBackend> {
        let mtls = self.mtls.as_ref().filter(|mtls| !mtls.enabled_backend.is_empty())?;
        mtls.backends
            .iter()
            .find(|backend| backend.name == mtls.enabled_backend)
    }

    /// True if traffic to destinations outside of the mesh passes.
    pub fn passthrough(&self) -> bool {
        let outbound = self
            .networking
            .as_ref()
            .and_then(|networking| networking.outbound.as_ref());
        outbound.and_then(|outbound| outbound.passthrough).unwrap_or(true)
    }

    /// How MeshServices are generated.
    pub fn mesh_services_mode(&self) -> MeshServicesMode {
        self.mesh_services
            .as_ref()
            .map(|services| services.mode)
            .unwrap_or_default()
    }
}

impl CaBackend {
    /// Lifetime of workload certificates; 24 hours unless configured.
    pub fn cert_lifetime(&self) -> time::Duration {
        let rotation = self.dp_cert.as_ref().and_then(|cert| cert.rotation.as_ref());
        rotation
            .and_then(|rotation| duration::parse_long(&rotation.expiration).ok())
            .filter(|lifetime| lifetime.is_positive())
            .unwrap_or(DEFAULT_CERT_LIFETIME)
    }

    /// The configuration of a builtin CA, defaults filled in (`spec/dataplane.md` §5.1).
    ///
    /// # Errors
    /// The violation, with the path below `conf`.
    pub fn builtin(&self) -> Result<BuiltinCa, Violations> {
        let mut result = BuiltinCa {
            rsa_bits: 2048,
            lifetime: time::Duration::days(3650),
        };
        let Some(cert) = self.conf.as_ref().and_then(|conf| conf.get("caCert")) else {
            return Ok(result);
        };
        if let Some(bits) = cert.get("RSAbits").or_else(|| cert.get("rsaBits")) {
            result.rsa_bits = bits
                .as_u64()
                .or_else(|| bits.as_str().and_then(|text| text.parse().ok()))
                .and_then(|bits| u32::try_from(bits).ok())
                .filter(|bits| (2048..=8192).contains(bits))
                .ok_or_else(|| Violations::one("caCert.RSAbits", format!("is {bits}, must be from 2048 to 8192")))?;
        }
        if let Some(expiration) = cert.get("expiration").and_then(Value::as_str) {
            result.lifetime = duration::parse_long(expiration)
                .ok()
                .filter(|lifetime| lifetime.is_positive())
                .ok_or_else(|| {
                    Violations::one(
                        "caCert.expiration",
                        format!("is \"{expiration}\", must be a duration such as 10y"),
                    )
                })?;
        }
        Ok(result)
    }
}

impl Spec for Mesh {
    const KIND: Kind = Kind::Mesh;

    fn warn(&self, root: &str, warnings: &mut Vec<String>) {
        let mode = self.mesh_services_mode();
        if matches!(mode, MeshServicesMode::Everywhere | MeshServicesMode::ReachableBackends) {
            warnings.push(format!(
                "{root}meshServices.mode: {mode:?} acts as Exclusive, because there are no legacy tag services here"
            ));
        }
    }

    fn validate(&self, root: &str, violations: &mut Violations) {
        if let Some(mtls) = &self.mtls {
            validate_mtls(mtls, root, violations);
        }
        let legacy = [self.logging.as_ref(), self.tracing.as_ref(), self.metrics.as_ref()];
        backends::check(legacy, root, violations);
        if self.routing.as_ref().is_some_and(|routing| routing.zone_egress) && self.enabled_backend().is_none() {
            violations.add(format!("{root}mtls"), "must be enabled when routing.zoneEgress is true");
        }
        let constraints = self
            .constraints
            .as_ref()
            .and_then(|constraints| constraints.dataplane_proxy.as_ref());
        if let Some(constraints) = constraints {
            for (list, name) in [
                (&constraints.requirements, "requirements"),
                (&constraints.restrictions, "restrictions"),
            ] {
                for (index, _) in list.iter().enumerate().filter(|(_, rule)| rule.tags.is_empty()) {
                    violations.add(
                        format!("{root}constraints.dataplaneProxy.{name}[{index}].tags"),
                        "must have at least one tag",
                    );
                }
            }
        }
    }
}

fn validate_mtls(mtls: &Mtls, root: &str, violations: &mut Violations) {
    let path = format!("{root}mtls");
    if mtls.backends.len() > 1 {
        violations.add(
            format!("{path}.backends"),
            format!("has {} backends, cannot have more than 1", mtls.backends.len()),
        );
    }
    if !mtls.enabled_backend.is_empty() && !mtls.backends.iter().any(|backend| backend.name == mtls.enabled_backend) {
        violations.add(
            format!("{path}.enabledBackend"),
            format!("backend \"{}\" is not listed in mtls.backends", mtls.enabled_backend),
        );
    }
    for (index, backend) in mtls.backends.iter().enumerate() {
        let path = format!("{path}.backends[{index}]");
        if crate::name::check_label(&backend.name).is_err() {
            violations.add(
                format!("{path}.name"),
                format!("is \"{}\", must be a lower-case DNS name", backend.name),
            );
        }
        match backend.backend_type.as_str() {
            "builtin" => {
                if let Err(error) = backend.builtin() {
                    for violation in error.iter() {
                        violations.add(format!("{path}.conf.{}", violation.field), violation.message.clone());
                    }
                }
            }
            "provided" => {
                for part in ["cert", "key"] {
                    if backend
                        .conf
                        .as_ref()
                        .and_then(|conf| conf.get(part))
                        .is_none_or(|source| !source.is_object())
                    {
                        violations.add(
                            format!("{path}.conf.{part}"),
                            "must be a data source: one of secret, file, inline, inlineString",
                        );
                    }
                }
            }
            other => violations.add(
                format!("{path}.type"),
                format!("unknown CA type \"{other}\", must be builtin or provided"),
            ),
        }
        let rotation = backend
            .dp_cert
            .as_ref()
            .map(|cert| cert.rotation.clone().unwrap_or_default());
        if let Some(rotation) = rotation
            && let Err(reason) = duration::parse_long(&rotation.expiration)
        {
            violations.add(format!("{path}.dpCert.rotation.expiration"), reason);
        }
    }
}
