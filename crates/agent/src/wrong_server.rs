//! What a server probably is that does not answer as the data plane server of a control plane does: each port of a control
//! plane speaks another protocol, and the errors of protocols do not say so.

/// What listens on a port by default and who should call it, to follow an error text; empty for ports of which nothing is known.
pub(crate) fn hint(port: u16) -> String {
    let found = match port {
        5681 | 5682 => "the REST API, which `meshspan get` and its like call",
        5685 => "where control planes of zones connect to the global one",
        5680 => "health and metrics of a control plane",
        5676 => "the older data plane server, plain",
        9901 | 9902 => "an Envoy's admin interface or readiness",
        15001 | 15006 => "intercepted traffic of an Envoy",
        _ => return String::new(),
    };
    format!(
        "; port {port} is {found}: --cp-address (KUMA_CONTROL_PLANE_URL) must name port 5678 of the control plane of this proxy's zone"
    )
}

/// TLS errors that mean something else than what they say.
pub(crate) fn explain(error: &rustls::Error) -> Option<&'static str> {
    use rustls::{AlertDescription, CertificateError, Error, InvalidMessage};
    match error {
        Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
            Some("what answers there speaks no TLS; https was expected to find it")
        }
        Error::AlertReceived(AlertDescription::NoApplicationProtocol) | Error::NoApplicationProtocol => {
            Some("what answers there speaks TLS, but not HTTP as a data plane server does")
        }
        Error::InvalidCertificate(CertificateError::BadSignature) => Some(
            "it was signed by another CA of the same name: every control plane has a ca.pem of its own, and this one is not from the \
             control plane that answers",
        ),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_of_other_servers_are_recognised() {
        for (port, found) in [(5681, "REST API"), (5685, "zones connect"), (9901, "admin")] {
            let hint = hint(port);
            assert!(
                hint.contains(found) && hint.contains("--cp-address") && hint.contains("5678"),
                "{hint}"
            );
        }
        assert_eq!(hint(5678), "");
    }
}
