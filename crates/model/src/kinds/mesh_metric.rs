//! MeshMetric (`spec/policies.md` §2.14): which metrics of proxies and applications go where.

use serde::{Deserialize, Serialize};

use crate::duration::GoDuration;
use crate::kinds::check_port;
use crate::policy::values::{Endpoint, check_endpoint, check_regex, only_field_of_type, positive, required};
use crate::policy::{Conf as PolicyConf, Place, PolicyKind, PolicySpec};
use crate::violation::Violations;

/// Metrics.
pub type MeshMetric = PolicySpec<Conf>;

/// What is measured, and where it goes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Conf {
    /// Metrics of the proxy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sidecar: Option<Sidecar>,
    /// Applications beside the proxy whose metrics go with its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub applications: Option<Vec<Application>>,
    /// Where metrics go.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backends: Option<Vec<Backend>>,
}

/// Which metrics of the proxy.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Sidecar {
    /// Also those that never changed; false if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub include_unused: Option<bool>,
    /// Which.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profiles: Option<Profiles>,
}

/// A choice of metrics: what a profile has, without `exclude`, with `include`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Profiles {
    /// Named choices, of which the broadest counts; the lists of several policies are joined. `Basic` if there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub append_profiles: Option<Vec<Profile>>,
    /// Metrics that are left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exclude: Option<Vec<Selector>>,
    /// Metrics that are in whatever the profile and `exclude` say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub include: Option<Vec<Selector>>,
}

/// A named choice of metrics.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Profile {
    /// Its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<ProfileName>,
}

/// Named choices of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ProfileName {
    /// No metrics.
    None,
    /// What dashboards show.
    Basic,
    /// All metrics.
    All,
}

/// Metrics by name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Selector {
    /// How names are compared.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub how: Option<SelectorType>,
    /// What they are compared with.
    #[serde(rename = "match", skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

/// How names of metrics are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SelectorType {
    /// From the start.
    Prefix,
    /// By a regular expression.
    Regex,
    /// As a whole.
    Exact,
    /// Anywhere.
    Contains,
}

/// An application whose metrics go with those of the proxy.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Application {
    /// What its metrics are labelled with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Where it answers; `/metrics` if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Its address; that of the proxy's inbounds if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Its port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u32>,
}

/// Where metrics go: the field that the type names.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Backend {
    /// Which of the fields is meant.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub what: Option<BackendType>,
    /// Prometheus.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prometheus: Option<Prometheus>,
    /// OpenTelemetry.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub open_telemetry: Option<OpenTelemetry>,
}

/// Kinds of backends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum BackendType {
    /// Prometheus, which fetches metrics.
    Prometheus,
    /// An OpenTelemetry collector, which gets them.
    OpenTelemetry,
}

impl BackendType {
    /// The name as written.
    pub fn name(self) -> &'static str {
        match self {
            BackendType::Prometheus => "Prometheus",
            BackendType::OpenTelemetry => "OpenTelemetry",
        }
    }
}

/// Where Prometheus fetches metrics.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Prometheus {
    /// Which of several Prometheus this is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// The port of the proxy; 5670 if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u32>,
    /// The path there; `/metrics` if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Whether the port speaks TLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<PrometheusTls>,
}

/// Whether the port for Prometheus speaks TLS.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PrometheusTls {
    /// With which certificate; `Disabled` if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<TlsMode>,
}

/// Certificates of the port for Prometheus.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TlsMode {
    /// None, it does not speak TLS.
    Disabled,
    /// One that the agent is given.
    ProvidedTLS,
    /// That of the mesh.
    ActiveMTLSBackend,
}

/// An OpenTelemetry collector.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OpenTelemetry {
    /// `host:port`; port 4317 if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// How often it gets metrics; every minute if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refresh_interval: Option<GoDuration>,
}

impl PolicyConf for Conf {
    const KIND: PolicyKind = PolicyKind::MeshMetric;

    fn check(&self, place: &Place<'_>, violations: &mut Violations) {
        if let Some(profiles) = self.sidecar.as_ref().and_then(|sidecar| sidecar.profiles.as_ref()) {
            profiles.check(&place.field("sidecar.profiles"), violations);
        }
        for (index, application) in self.applications.iter().flatten().enumerate() {
            let path = format!("{}[{index}].port", place.field("applications"));
            match application.port {
                None => violations.add(path, "must be defined"),
                Some(port) => check_port(port, path, violations),
            }
        }
        for (index, backend) in self.backends.iter().flatten().enumerate() {
            backend.check(&format!("{}[{index}]", place.field("backends")), violations);
        }
    }
}

impl Profiles {
    fn check(&self, path: &str, violations: &mut Violations) {
        for (index, profile) in self.append_profiles.iter().flatten().enumerate() {
            let path = format!("{path}.appendProfiles[{index}].name");
            required(profile.name.is_some(), path, violations);
        }
        for (field, selectors) in [("exclude", &self.exclude), ("include", &self.include)] {
            for (index, selector) in selectors.iter().flatten().enumerate() {
                selector.check(&format!("{path}.{field}[{index}]"), violations);
            }
        }
    }
}

impl Selector {
    fn check(&self, path: &str, violations: &mut Violations) {
        required(self.how.is_some(), format!("{path}.type"), violations);
        let text = self.text.as_deref().unwrap_or_default();
        required(!text.is_empty(), format!("{path}.match"), violations);
        if self.how == Some(SelectorType::Regex) {
            check_regex(text, format!("{path}.match"), violations);
        }
    }
}

impl Backend {
    fn check(&self, path: &str, violations: &mut Violations) {
        let Some(what) = self.what else {
            violations.add(format!("{path}.type"), "must be defined: Prometheus or OpenTelemetry");
            return;
        };
        let fields = [
            ("prometheus", self.prometheus.is_some()),
            ("openTelemetry", self.open_telemetry.is_some()),
        ];
        only_field_of_type(what.name(), &fields, path, violations);
        if let Some(prometheus) = &self.prometheus {
            prometheus.check(&format!("{path}.prometheus"), violations);
        }
        if let Some(collector) = &self.open_telemetry {
            let path = format!("{path}.openTelemetry");
            let endpoint = collector.endpoint.as_deref();
            check_endpoint(endpoint, format!("{path}.endpoint"), violations);
            check_is_url(endpoint.unwrap_or_default(), &path, violations);
            positive(
                collector.refresh_interval,
                format!("{path}.refreshInterval"),
                violations,
            );
        }
    }
}

/// The reference reads the endpoint as a URL, in which a word alone is a path.
fn check_is_url(endpoint: &str, path: &str, violations: &mut Violations) {
    if Endpoint::parse(endpoint).is_some_and(|parsed| parsed.port.is_none() && !parsed.host.contains(['.', ':'])) {
        violations.add(
            format!("{path}.endpoint"),
            format!("is \"{endpoint}\", must be a host and a port, for example \"{endpoint}:4317\""),
        );
    }
}

impl Prometheus {
    fn check(&self, path: &str, violations: &mut Violations) {
        if let Some(port) = self.port {
            check_port(port, format!("{path}.port"), violations);
        }
        if let Some(written) = self.path.as_deref().filter(|path| !path.starts_with('/')) {
            violations.add(format!("{path}.path"), format!("is \"{written}\", must start with /"));
        }
    }
}
