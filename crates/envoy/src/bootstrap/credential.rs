//! How a proxy's token gets into its requests to the control plane without being in what Envoy shows of itself: its
//! `config_dump` is open to every user of the host, and prints the metadata of gRPC services but no secrets.

use serde_json::{Value, json};

/// Name of the static secret that holds a token.
const STATIC_SECRET: &str = "dataplane_token";

/// How a proxy proves to its control plane who it is. The token is sent as it is in `authorization`.
#[derive(Clone, PartialEq, Eq)]
pub enum Credential {
    /// Not at all.
    None,
    /// By a token in the bootstrap, as a static secret. Secret.
    Token(String),
    /// By a token that the agent keeps current in a file of SDS form; Envoy reads it again whenever another file is
    /// moved into its place.
    File {
        /// Name of the secret in the file.
        name: String,
        /// Path of the file on the proxy's host.
        path: String,
    },
    /// By a token in the metadata of the gRPC service, where dumps show it: for Envoys that have no
    /// [`injects_credentials`]. Secret.
    Metadata(String),
}

/// Whether an Envoy of that version (as `1.40.0`) has `envoy.filters.http.credential_injector` for upstream requests.
/// A version that cannot be read is taken for a new one.
pub fn injects_credentials(version: &str) -> bool {
    let mut parts = version.split('.').map(str::parse::<u32>);
    match (parts.next(), parts.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) >= (1, 34),
        _ => true,
    }
}

impl Credential {
    /// `initial_metadata` of the gRPC service.
    pub(super) fn metadata(&self) -> Value {
        match self {
            Self::Metadata(token) => json!([{ "key": "authorization", "value": token }]),
            Self::None | Self::Token(_) | Self::File { .. } => json!([]),
        }
    }

    /// `static_resources.secrets` that hold it.
    pub(super) fn secret(&self) -> Option<Value> {
        match self {
            Self::Token(token) => {
                Some(json!({ "name": STATIC_SECRET, "generic_secret": { "secret": { "inline_string": token } } }))
            }
            Self::None | Self::File { .. } | Self::Metadata(_) => None,
        }
    }

    /// Filters of the cluster that leads to the control plane; empty for the default ones.
    pub(super) fn filters(&self) -> Vec<Value> {
        let secret = match self {
            Self::Token(_) => json!({ "name": STATIC_SECRET }),
            Self::File { name, path } => json!({
                "name": name,
                "sds_config": { "path_config_source": { "path": path }, "resource_api_version": "V3" },
            }),
            Self::None | Self::Metadata(_) => return Vec::new(),
        };
        let injector = json!({
            "@type": "type.googleapis.com/envoy.extensions.filters.http.credential_injector.v3.CredentialInjector",
            "overwrite": true,
            "credential": {
                "name": "envoy.http.injected_credentials.generic",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.http.injected_credentials.generic.v3.Generic",
                    "credential": secret,
                    "header": "authorization",
                },
            },
        });
        let codec = "type.googleapis.com/envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec";
        vec![
            json!({ "name": "envoy.filters.http.credential_injector", "typed_config": injector }),
            json!({ "name": "envoy.filters.http.upstream_codec", "typed_config": { "@type": codec } }),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_in_a_secret_or_in_the_metadata() {
        let text = |value: &Value| value.to_string();
        let token = Credential::Token("secret".to_owned());
        assert!(token.secret().is_some_and(|secret| text(&secret).contains("secret")));
        assert_eq!(token.metadata(), json!([]));
        assert_eq!(token.filters().len(), 2);

        let file = Credential::File {
            name: "t".to_owned(),
            path: "/run/token.json".to_owned(),
        };
        assert_eq!((file.secret(), file.metadata()), (None, json!([])));
        assert!(
            file.filters()
                .iter()
                .any(|filter| text(filter).contains("/run/token.json"))
        );

        let old = Credential::Metadata("secret".to_owned());
        assert_eq!(old.metadata(), json!([{ "key": "authorization", "value": "secret" }]));
        assert_eq!((old.secret(), old.filters().len()), (None, 0));
        assert_eq!(
            (Credential::None.metadata(), Credential::None.filters().len()),
            (json!([]), 0)
        );
    }

    #[test]
    fn versions() {
        for (version, injects) in [
            ("1.40.0", true),
            ("1.34.1-dev", true),
            ("1.33.9", false),
            ("1.9.0", false),
            ("2.0.0", true),
            ("", true),
        ] {
            assert_eq!(injects_credentials(version), injects, "{version}");
        }
    }
}
