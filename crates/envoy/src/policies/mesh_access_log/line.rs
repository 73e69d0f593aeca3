//! Formats with what the control plane knows filled in.

use std::net::IpAddr;

use meshspan_model::kinds::mesh_access_log::format::{FormatError, Piece, Placeholder, escape, parse};

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

/// What the control plane knows of what is logged.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts<'a> {
    pub(super) mesh: &'a str,
    pub(super) direction: &'static str,
    pub(super) source_service: &'a str,
    /// `None` where only Envoy knows it.
    pub(super) source_address: Option<&'a str>,
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
        match (placeholder, self.source_address) {
            (Placeholder::SourceAddressWithoutPort, Some(address)) => escape(address),
            (Placeholder::SourceAddressWithoutPort, None) => "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%".to_owned(),
            (Placeholder::SourceAddress, Some(address)) => match address.parse() {
                Ok(IpAddr::V6(ip)) => format!("[{ip}]:0"),
                _ => format!("{}:0", escape(address)),
            },
            (Placeholder::SourceAddress, None) => "%DOWNSTREAM_REMOTE_ADDRESS%".to_owned(),
            (Placeholder::SourceService, _) => escape(self.source_service),
            (Placeholder::DestinationService, _) => escape(self.destination_service),
            (Placeholder::Mesh, _) => escape(self.mesh),
            (Placeholder::TrafficDirection, _) => self.direction.to_owned(),
        }
    }
}
