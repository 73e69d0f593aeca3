//! MeshTrace (`spec/policies.md` §2.13): where traces go, and which requests are traced.

use serde::{Deserialize, Serialize};

use crate::policy::values::{Decimal, Endpoint, Url, check_header_name, only_field_of_type, percentage, required};
use crate::policy::{Conf as PolicyConf, Place, PolicyKind, PolicySpec};
use crate::violation::Violations;

/// Traces.
pub type MeshTrace = PolicySpec<Conf>;

/// What is traced, and where it goes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Conf {
    /// Where traces go. Required, one at most; an empty list switches tracing off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backends: Option<Vec<Backend>>,
    /// The share of requests that are traced.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sampling: Option<Sampling>,
    /// What spans say beyond the usual.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tags: Option<Vec<Tag>>,
}

/// Where traces go: the field that the type names.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Backend {
    /// Which of the fields is meant.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub what: Option<BackendType>,
    /// Zipkin.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zipkin: Option<Zipkin>,
    /// Datadog.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub datadog: Option<Datadog>,
    /// OpenTelemetry.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub open_telemetry: Option<OpenTelemetry>,
}

/// Kinds of backends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum BackendType {
    /// Zipkin, or what takes its spans.
    Zipkin,
    /// The agent of Datadog.
    Datadog,
    /// An OpenTelemetry collector.
    OpenTelemetry,
}

impl BackendType {
    /// The name as written.
    pub fn name(self) -> &'static str {
        match self {
            BackendType::Zipkin => "Zipkin",
            BackendType::Datadog => "Datadog",
            BackendType::OpenTelemetry => "OpenTelemetry",
        }
    }
}

/// A Zipkin collector.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Zipkin {
    /// Where spans are posted, such as `http://zipkin:9411/api/v2/spans`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Whether ids of traces have 128 bits; 64 if absent.
    #[serde(rename = "traceId128bit", skip_serializing_if = "Option::is_none")]
    pub trace_id_128bit: Option<bool>,
    /// How spans are written; `httpJson` if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_version: Option<ZipkinApiVersion>,
    /// Whether client and server share a span; true if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shared_span_context: Option<bool>,
}

/// How spans are written for Zipkin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ZipkinApiVersion {
    /// JSON.
    HttpJson,
    /// Protobuf.
    HttpProto,
}

/// The agent of Datadog.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Datadog {
    /// `http://host:port`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Whether incoming and outgoing traffic are services of their own; false if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub split_service: Option<bool>,
}

/// An OpenTelemetry collector.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OpenTelemetry {
    /// `host:port` for gRPC, port 4317 if absent; or a URL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
}

/// The share of requests that are traced, in percent; 100 if absent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Sampling {
    /// The most of all requests, whatever the others say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overall: Option<Decimal>,
    /// Of requests that ask for it with `x-client-trace-id`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<Decimal>,
    /// Of all others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub random: Option<Decimal>,
}

/// What spans say beyond the usual: a text or the value of a header.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Tag {
    /// The name of the tag.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The same for all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub literal: Option<String>,
    /// From the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub header: Option<HeaderTag>,
}

/// A tag from a header of the request.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HeaderTag {
    /// The header.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What the tag says without the header; without both there is no tag.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default: Option<String>,
}

impl PolicyConf for Conf {
    const KIND: PolicyKind = PolicyKind::MeshTrace;

    fn check(&self, place: &Place<'_>, violations: &mut Violations) {
        let path = place.field("backends");
        match self.backends.as_deref() {
            None => violations.add(path, "must be defined; [] switches tracing off"),
            Some([]) => {}
            Some([backend]) => backend.check(&format!("{path}[0]"), violations),
            Some(several) => violations.add(
                path,
                format!(
                    "has {} items, must have no more than 1: a proxy has one tracer",
                    several.len()
                ),
            ),
        }
        let sampling = self.sampling.clone().unwrap_or_default();
        for (field, value) in [
            ("overall", sampling.overall),
            ("client", sampling.client),
            ("random", sampling.random),
        ] {
            percentage(value, format!("{}.{field}", place.field("sampling")), violations);
        }
        for (index, tag) in self.tags.iter().flatten().enumerate() {
            tag.check(&format!("{}[{index}]", place.field("tags")), violations);
        }
    }
}

impl Backend {
    fn check(&self, path: &str, violations: &mut Violations) {
        let Some(what) = self.what else {
            violations.add(
                format!("{path}.type"),
                "must be defined: Zipkin, Datadog or OpenTelemetry",
            );
            return;
        };
        let fields = [
            ("zipkin", self.zipkin.is_some()),
            ("datadog", self.datadog.is_some()),
            ("openTelemetry", self.open_telemetry.is_some()),
        ];
        only_field_of_type(what.name(), &fields, path, violations);
        if let Some(zipkin) = &self.zipkin {
            check_zipkin(zipkin, &format!("{path}.zipkin.url"), violations);
        }
        if let Some(datadog) = &self.datadog {
            check_datadog(datadog, &format!("{path}.datadog.url"), violations);
        }
        if let Some(collector) = &self.open_telemetry {
            check_collector(collector, &format!("{path}.openTelemetry.endpoint"), violations);
        }
    }
}

fn check_zipkin(zipkin: &Zipkin, path: &str, violations: &mut Violations) {
    let text = zipkin.url.as_deref().unwrap_or_default();
    if !Url::parse(text).is_some_and(|url| url.is_http()) {
        violations.add(
            path,
            format!("is \"{text}\", must be a URL such as http://zipkin:9411/api/v2/spans"),
        );
    }
}

fn check_datadog(datadog: &Datadog, path: &str, violations: &mut Violations) {
    let text = datadog.url.as_deref().unwrap_or_default();
    let fits = |url: Url<'_>| url.scheme == "http" && url.endpoint.port.is_some() && url.path.is_empty();
    if !Url::parse(text).is_some_and(fits) {
        violations.add(
            path,
            format!("is \"{text}\", must be http, host and port and nothing else, such as http://datadog-agent:8126"),
        );
    }
}

fn check_collector(collector: &OpenTelemetry, path: &str, violations: &mut Violations) {
    let text = collector.endpoint.as_deref().unwrap_or_default();
    if Endpoint::parse(text).is_none() && !Url::parse(text).is_some_and(|url| url.is_http()) {
        violations.add(
            path,
            format!("is \"{text}\", must be a host and a port such as \"otel-collector:4317\", or a URL"),
        );
    }
}

impl Tag {
    fn check(&self, path: &str, violations: &mut Violations) {
        let named = self.name.as_ref().is_some_and(|name| !name.is_empty());
        required(named, format!("{path}.name"), violations);
        if self.literal.is_some() == self.header.is_some() {
            violations.add(path, "must have exactly one defined: literal, header");
        }
        if let Some(header) = &self.header {
            // Headers are compared without regard to case.
            let name = header.name.as_deref().unwrap_or_default().to_ascii_lowercase();
            check_header_name(&name, &format!("{path}.header.name"), violations);
        }
    }
}
