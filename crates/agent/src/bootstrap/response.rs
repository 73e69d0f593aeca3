//! Answer of `POST /bootstrap`: Envoy's bootstrap as YAML, of which the agent needs to understand one thing, the address
//! of the admin interface.

use crate::envoy::AdminAddress;
use base64::Engine;
use serde::Deserialize;
use std::net::IpAddr;

/// Envoy's bootstrap configuration. It holds the token, so it can be printed in tests alone.
#[cfg_attr(test, derive(Debug))]
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Bootstrap {
    /// For Envoy. Holds the proxy's token.
    pub(crate) yaml: Vec<u8>,
    /// `None` if the configuration has no admin interface.
    pub(crate) admin: Option<AdminAddress>,
}

#[derive(Deserialize)]
struct Body {
    bootstrap: String,
}

#[derive(Deserialize, Default)]
struct EnvoyBootstrap {
    admin: Option<Admin>,
}

#[derive(Deserialize)]
struct Admin {
    address: Option<Address>,
}

#[derive(Deserialize)]
struct Address {
    #[serde(alias = "socketAddress")]
    socket_address: Option<SocketAddress>,
    pipe: Option<Pipe>,
}

#[derive(Deserialize)]
struct SocketAddress {
    address: String,
    #[serde(alias = "portValue")]
    port_value: u16,
}

#[derive(Deserialize)]
struct Pipe {
    path: std::path::PathBuf,
}

impl Bootstrap {
    /// Reads the JSON answer.
    pub(crate) fn parse(body: &[u8]) -> Result<Self, String> {
        let body: Body = serde_json::from_slice(body).map_err(|error| format!("is not the expected JSON: {error}"))?;
        let yaml = base64::engine::general_purpose::STANDARD
            .decode(body.bootstrap.trim())
            .map_err(|error| format!("field bootstrap is not base64: {error}"))?;
        let text = std::str::from_utf8(&yaml).map_err(|error| format!("field bootstrap is not text: {error}"))?;
        // Not the error's own text: it would quote the document, and with it the token.
        let envoy: EnvoyBootstrap =
            serde_saphyr::from_str(text).map_err(|_| "field bootstrap is not an Envoy bootstrap in YAML".to_owned())?;
        let admin = match envoy.admin.and_then(|admin| admin.address) {
            Some(Address {
                socket_address: Some(socket),
                ..
            }) => {
                let ip: IpAddr = socket
                    .address
                    .parse()
                    .map_err(|_| format!("admin.address: {:?} is not an IP address", socket.address))?;
                Some(AdminAddress::from_listener(ip, socket.port_value))
            }
            Some(Address { pipe: Some(pipe), .. }) => Some(AdminAddress::Pipe(pipe.path)),
            _ => None,
        };
        Ok(Self { yaml, admin })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn parse(yaml: &str) -> Result<Bootstrap, String> {
        let text = base64::engine::general_purpose::STANDARD.encode(yaml);
        Bootstrap::parse(format!(r#"{{"bootstrap":"{text}","kumaSidecarConfiguration":{{}}}}"#).as_bytes())
    }

    #[test]
    fn the_admin_address_is_found_in_both_spellings() {
        let snake = "admin: {address: {socket_address: {address: 127.0.0.1, port_value: 9901}}}\nnode: {id: a}";
        let camel = r#"{"admin":{"address":{"socketAddress":{"address":"0.0.0.0","portValue":9901}}}}"#;
        let expected = Some(AdminAddress::Tcp("127.0.0.1:9901".parse().unwrap()));
        assert_eq!(parse(snake).unwrap().admin, expected);
        assert_eq!(
            parse(camel).unwrap().admin,
            expected,
            "a wildcard listener is reached through loopback"
        );
        let pipe = parse("admin: {address: {pipe: {path: /run/a.sock}}}").unwrap().admin;
        assert_eq!(pipe, Some(AdminAddress::Pipe("/run/a.sock".into())));
        assert_eq!(parse("node: {id: a}").unwrap().admin, None);
    }

    #[test]
    fn nonsense_is_refused_without_quoting_it() {
        assert!(Bootstrap::parse(b"node: {}").unwrap_err().contains("JSON"));
        assert!(
            Bootstrap::parse(br#"{"bootstrap":"*"}"#)
                .unwrap_err()
                .contains("base64")
        );
        assert!(!parse("admin: [secret-token").unwrap_err().contains("secret-token"));
    }
}
