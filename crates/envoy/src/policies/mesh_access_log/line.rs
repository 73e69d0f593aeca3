//! Formats with what the control plane knows filled in.

use meshspan_model::kinds::mesh_access_log::format::{FormatError, Piece, Placeholder, escape, parse};
use meshspan_world::view::Source;

use crate::node_source;

/// What is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    /// Requests.
    Http,
    /// Connections.
    Tcp,
}

impl Protocol {
    /// The format where none is written.
    pub(super) fn default_format(self) -> &'static str {
        match self {
            Protocol::Http => concat!(
                "[%START_TIME%] %KUMA_MESH% ",
                "\"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%\" ",
                "%RESPONSE_CODE% %RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT% %DURATION% ",
                "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% ",
                "\"%REQ(X-FORWARDED-FOR)%\" \"%REQ(USER-AGENT)%\" \"%REQ(X-B3-TRACEID?X-DATADOG-TRACEID)%\" ",
                "\"%REQ(X-REQUEST-ID)%\" \"%REQ(:AUTHORITY)%\" ",
                "\"%KUMA_SOURCE_SERVICE%\" \"%KUMA_DESTINATION_SERVICE%\" ",
                "\"%KUMA_SOURCE_ADDRESS_WITHOUT_PORT%\" \"%UPSTREAM_HOST%\"",
            ),
            Protocol::Tcp => concat!(
                "[%START_TIME%] %RESPONSE_FLAGS% %KUMA_MESH% ",
                "%KUMA_SOURCE_ADDRESS_WITHOUT_PORT%(%KUMA_SOURCE_SERVICE%)->",
                "%UPSTREAM_HOST%(%KUMA_DESTINATION_SERVICE%) ",
                "took %DURATION%ms, sent %BYTES_SENT% bytes, received: %BYTES_RECEIVED% bytes",
            ),
        }
    }
}

/// What Kuma calls whoever it does not know.
const UNKNOWN: &str = "unknown";

/// Who is written as the source.
#[derive(Clone, Copy, Debug)]
pub(super) enum LoggedSource<'a> {
    /// The proxy, which is known here.
    Known(&'a Source),
    /// The proxy as its node says it: so that proxies share a listener although each is another source.
    Node,
    /// Whoever connects, of whom only Envoy knows something.
    Peer,
}

/// What the control plane knows of what is logged.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts<'a> {
    pub(super) mesh: &'a str,
    pub(super) direction: &'static str,
    pub(super) source: LoggedSource<'a>,
    pub(super) destination_service: &'a str,
}

impl Facts<'_> {
    /// A format as Envoy takes it.
    ///
    /// # Errors
    /// If the format is none. That is checked before a policy is stored, except by control planes of other makes.
    pub(super) fn fill_in(&self, format: &str) -> Result<String, FormatError> {
        let pieces = parse(format)?;
        Ok(pieces
            .into_iter()
            .map(|piece| match piece {
                Piece::Envoy(text) => text.to_owned(),
                Piece::Placeholder(placeholder) => self.text(placeholder),
            })
            .collect())
    }

    fn text(&self, placeholder: Placeholder) -> String {
        match placeholder {
            Placeholder::SourceAddressWithoutPort => match self.source {
                LoggedSource::Known(source) => escape(&source.address),
                LoggedSource::Node => of_node(node_source::ADDRESS),
                LoggedSource::Peer => "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%".to_owned(),
            },
            Placeholder::SourceAddress => match self.source {
                LoggedSource::Known(source) => escape(&node_source::with_port(&source.address)),
                LoggedSource::Node => of_node(node_source::ADDRESS_WITH_PORT),
                LoggedSource::Peer => "%DOWNSTREAM_REMOTE_ADDRESS%".to_owned(),
            },
            Placeholder::SourceService => match self.source {
                LoggedSource::Known(source) => escape(&source.service),
                LoggedSource::Node => of_node(node_source::SERVICE),
                LoggedSource::Peer => UNKNOWN.to_owned(),
            },
            Placeholder::DestinationService => escape(self.destination_service),
            Placeholder::Mesh => escape(self.mesh),
            Placeholder::TrafficDirection => self.direction.to_owned(),
        }
    }
}

/// The operator for a text of the node's metadata (`envoy.formatter.cel`, which is built in).
fn of_node(key: &str) -> String {
    format!("%CEL(xds.node.metadata['{key}'])%")
}
