//! Whether inbounds take plaintext, and which TLS proxies speak with each other (`spec/policies.md` §2.9).

use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::TlsParameters;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::tls_parameters::TlsProtocol;
use meshspan_model::kinds::mesh_tls::{Conf, Mode, TlsVersion};
use meshspan_policy::InboundRules;
use meshspan_world::view::InboundTls;

use super::{Effect, InboundTlsSettings, Towards, for_all};
use crate::parts::ClusterParts;

/// [`Effect`] of the kind.
pub(crate) struct MeshTLS;

impl Effect for MeshTLS {
    type Conf = Conf;

    fn cluster(conf: Option<&Conf>, _to: &Towards<'_>, parts: &mut ClusterParts) {
        let context = parts.tls.as_mut().and_then(|tls| tls.common_tls_context.as_mut());
        if let (Some(conf), Some(context)) = (conf, context) {
            context.tls_params = parameters(conf);
        }
    }

    fn inbound_tls(rules: Option<&InboundRules>, tls: &mut InboundTlsSettings) {
        let Some(conf) = for_all::<Conf>(rules) else { return };
        // Without mTLS in the mesh there are no certificates to show.
        if tls.mode != InboundTls::Off {
            match conf.mode {
                Some(Mode::Strict) => tls.mode = InboundTls::Strict,
                Some(Mode::Permissive) => tls.mode = InboundTls::Permissive,
                None => {}
            }
        }
        tls.parameters = parameters(&conf);
    }
}

/// Versions and ciphers; `None` if nothing is said of them.
fn parameters(conf: &Conf) -> Option<TlsParameters> {
    let versions = conf.tls_version.unwrap_or_default();
    let ciphers = conf.tls_ciphers.as_deref().unwrap_or_default();
    let min = protocol(versions.min);
    let max = match protocol(versions.max) {
        // Envoy's clients would stop at 1.2 and never meet a server that starts at 1.3.
        TlsProtocol::TlsAuto if min == TlsProtocol::TlSv13 => TlsProtocol::TlSv13,
        max => max,
    };
    let parameters = TlsParameters {
        tls_minimum_protocol_version: min.into(),
        tls_maximum_protocol_version: max.into(),
        cipher_suites: ciphers.iter().map(|cipher| cipher.name().to_owned()).collect(),
        ..Default::default()
    };
    (parameters != TlsParameters::default()).then_some(parameters)
}

/// Envoy's name of a version; its own choice if there is none.
pub(crate) fn protocol(version: Option<TlsVersion>) -> TlsProtocol {
    match version {
        None | Some(TlsVersion::TLSAuto) => TlsProtocol::TlsAuto,
        Some(TlsVersion::TLS10) => TlsProtocol::TlSv10,
        Some(TlsVersion::TLS11) => TlsProtocol::TlSv11,
        Some(TlsVersion::TLS12) => TlsProtocol::TlSv12,
        Some(TlsVersion::TLS13) => TlsProtocol::TlSv13,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::{Value, json};

    fn made_of(conf: Value) -> Option<(TlsProtocol, TlsProtocol, Vec<String>)> {
        let found = parameters(&serde_json::from_value(conf).unwrap())?;
        let version = |number: i32| TlsProtocol::try_from(number).unwrap();
        Some((
            version(found.tls_minimum_protocol_version),
            version(found.tls_maximum_protocol_version),
            found.cipher_suites,
        ))
    }

    #[test]
    fn versions_and_ciphers_come_out_each_without_the_other() {
        use TlsProtocol::{TlSv12, TlSv13, TlsAuto};
        let cipher = "ECDHE-RSA-AES256-GCM-SHA384";
        for (conf, expected) in [
            (json!({}), None),
            (json!({ "mode": "Strict" }), None),
            (json!({ "tlsVersion": { "min": "TLSAuto" }, "tlsCiphers": [] }), None),
            (
                json!({ "tlsVersion": { "min": "TLS12", "max": "TLS13" } }),
                Some((TlSv12, TlSv13, vec![])),
            ),
            (
                json!({ "tlsVersion": { "min": "TLS13" } }),
                Some((TlSv13, TlSv13, vec![])),
            ),
            (
                json!({ "tlsVersion": { "max": "TLS12" } }),
                Some((TlsAuto, TlSv12, vec![])),
            ),
            (
                json!({ "tlsCiphers": [cipher] }),
                Some((TlsAuto, TlsAuto, vec![cipher.to_owned()])),
            ),
        ] {
            assert_eq!(made_of(conf.clone()), expected, "{conf}");
        }
    }

    #[test]
    fn a_mesh_without_mtls_stays_without() {
        for (mode, expected) in [
            (InboundTls::Off, InboundTls::Off),
            (InboundTls::Strict, InboundTls::Permissive),
        ] {
            let mut tls = InboundTlsSettings { mode, parameters: None };
            let rules = rules(json!({ "mode": "Permissive" }));
            MeshTLS::inbound_tls(Some(&rules), &mut tls);
            assert_eq!(tls.mode, expected);
        }
    }

    fn rules(conf: Value) -> InboundRules {
        use meshspan_model::policy::PolicyKind::MeshTLS;
        use std::sync::Arc;
        let spec = json!({ "rules": [{ "default": conf }] });
        let resource = meshspan_model::Resource::new(MeshTLS.kind(), "default", "tls".to_owned(), spec);
        let policy = Arc::new(meshspan_policy::Policy::load(MeshTLS, Arc::new(resource)).unwrap());
        InboundRules::of(&[policy]).remove(&MeshTLS).unwrap()
    }
}
