//! Errors of a connection in words of the settings: what was found, what was expected, what to change.

use std::io;

use rustls::{AlertDescription, CertificateError};
use tonic::{Code, Status};

use super::dial::{Trust, causes};

/// The setting at fault when something else answers, with what it must be.
const ADDRESS: &str = "KUMA_MULTIZONE_ZONE_GLOBAL_ADDRESS must name the port of a global control plane for zones (5685, unless it has another \
                       KUMA_MULTIZONE_GLOBAL_KDS_GRPC_PORT; 5681 and 5682 are the API, 5678 is for proxies)";
/// What `tonic` says before the HTTP status of an answer that is not gRPC: without a body, and with one.
const NOT_GRPC: [&str; 2] = [
    "grpc-status header missing, mapped from HTTP status code ",
    "while receiving response with status: ",
];

/// Why there is no TCP connection.
pub(super) fn tcp(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => {
            format!("{error}: nothing listens there. Is the global control plane running? {ADDRESS}")
        }
        _ => error.to_string(),
    }
}

/// Why there is no TLS connection.
pub(super) fn tls(error: &io::Error, trust: &Trust) -> String {
    let Some(cause) = error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>()) else {
        return format!("it ended the connection during the TLS handshake ({error}): {ADDRESS}");
    };
    match cause {
        rustls::Error::InvalidMessage(_) => format!(
            "what answers there does not speak TLS: {ADDRESS}; a global with KUMA_MULTIZONE_GLOBAL_KDS_TLS_ENABLED=false has an address \
             that starts with grpc://"
        ),
        rustls::Error::NoApplicationProtocol
        | rustls::Error::AlertReceived(AlertDescription::NoApplicationProtocol) => {
            format!("what answers there speaks TLS, but not as a global control plane does: {ADDRESS}")
        }
        rustls::Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => format!(
            "{cause}: call the global control plane by a name in its certificate, or let it have this one with KUMA_GENERAL_TLS_NAMES"
        ),
        rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature) => {
            let trusted = match trust {
                Trust::File(path) => format!("a certificate in {}", path.display()),
                Trust::System | Trust::SkipVerify => "a root certificate of this system".to_owned(),
            };
            format!(
                "the certificate of what answers there is not signed by {trusted}; KUMA_MULTIZONE_ZONE_KDS_ROOT_CA_FILE must name a copy \
                 of the ca.pem of the global control plane, and the address must be its"
            )
        }
        _ => cause.to_string(),
    }
}

/// Why a stream ended, to an address with or without TLS; `answered` once there was an answer of a global.
pub(super) fn stream(stream: &str, status: &Status, tls: bool, answered: bool) -> String {
    let message = status.message();
    if let Some((_, code)) = NOT_GRPC.iter().find_map(|words| message.split_once(words)) {
        return format!("an HTTP server answers there, with status {code}, and no global control plane: {ADDRESS}");
    }
    if status.code() == Code::Unimplemented {
        return format!("a gRPC server without zone synchronisation answers there: {ADDRESS}");
    }
    let is_transport = std::error::Error::source(status).is_some();
    let text = match (message, std::error::Error::source(status)) {
        // The status itself prints the inner form of its cause.
        (_, Some(source)) => causes(source),
        ("", None) => format!("{:?}", status.code()),
        (message, None) => message.to_owned(),
    };
    if !answered && !tls && is_transport {
        return format!(
            "what answers there ended the connection, or does not speak HTTP/2 without TLS: if it speaks TLS the address starts with \
             grpcs://, else {ADDRESS}"
        );
    }
    // A refusal is the same for each stream, whichever heard it first.
    match answered {
        true => format!("{stream}: {text}"),
        false => text,
    }
}
