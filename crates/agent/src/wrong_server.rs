//! What a server probably is that does not answer as the data plane server of a control plane does: each port of a control
//! plane speaks another protocol, and the errors of protocols do not say so.

/// What `--cp-address` must name, with what listens on its port by default, to follow an error text.
pub(crate) fn hint(port: u16) -> String {
    let found = match known(port) {
        Some(found) => format!("port {port} is {found}: "),
        None => String::new(),
    };
    format!(
        "; {found}--cp-address (KUMA_CONTROL_PLANE_URL) must name the data plane server of the control plane of this proxy's zone, as \
         https://control-plane:5678"
    )
}

/// What listens on a port by default and who should call it.
pub(crate) fn known(port: u16) -> Option<&'static str> {
    Some(match port {
        5681 | 5682 => "the REST API, which `meshspan get` and its like call",
        5685 => "where control planes of zones connect to the global one",
        5680 => "health and metrics of a control plane",
        5676 => "the older data plane server, plain",
        9901 | 9902 => "an Envoy's admin interface or readiness",
        15001 | 15006 => "intercepted traffic of an Envoy",
        _ => return None,
    })
}

/// What a failed TLS handshake means.
pub(crate) fn tls(error: &rustls::Error) -> String {
    use rustls::{AlertDescription, CertificateError, Error};
    match error {
        Error::InvalidMessage(_) => "what answers there speaks no TLS, which https:// expects".to_owned(),
        Error::AlertReceived(AlertDescription::NoApplicationProtocol) | Error::NoApplicationProtocol => {
            "what answers there speaks TLS, but not HTTP as a data plane server does".to_owned()
        }
        Error::InvalidCertificate(CertificateError::BadSignature) => {
            "it was signed by another CA of the same name: every control plane has a ca.pem of its own, and this one is not from the control \
             plane that answers"
                .to_owned()
        }
        Error::InvalidCertificate(CertificateError::UnknownIssuer) => "it was signed by another CA".to_owned(),
        Error::InvalidCertificate(reason) => reason.to_string(),
        _ => error.to_string(),
    }
}

/// What a failed request means on a connection that is there, with TLS or without.
pub(crate) fn http(is_parse: bool, is_tls: bool) -> Option<&'static str> {
    match (is_parse, is_tls) {
        (true, false) => Some(
            "what answers there speaks no HTTP without TLS; if it speaks TLS, the address must start with https://",
        ),
        (true, true) => Some("what answers there speaks TLS, but not HTTP as a data plane server does"),
        (false, _) => None,
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
        assert!(hint(8443).starts_with("; --cp-address"));
    }
}
