//! Mutual TLS between proxies (`spec/dataplane.md` §3.5, §5.1).

mod external;

use envoy_types::pb::envoy::config::core::v3::{TransportSocket, transport_socket};
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::common_tls_context::{
    CombinedCertificateValidationContext, ValidationContextType,
};
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::subject_alt_name_matcher::SanType;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::{
    CertificateValidationContext, CommonTlsContext, DownstreamTlsContext, SdsSecretConfig, SubjectAltNameMatcher,
    TlsParameters, UpstreamTlsContext,
};
use envoy_types::pb::envoy::r#type::matcher::v3::StringMatcher;
use envoy_types::pb::envoy::r#type::matcher::v3::string_matcher::MatchPattern;
use envoy_types::util::pack_any;
use meshspan_world::view::PeerTls;
use prost::Name;

pub(crate) use external::to_external;

use crate::names;
use crate::network::ads;
use crate::wkt::flag;

/// Protocol that proxies announce, by which a Permissive listener tells mesh TLS from the application's own.
pub(crate) const MESH_ALPN: &str = "kuma";

/// Client side, towards a destination.
pub(crate) fn upstream(mesh: &str, peer: &PeerTls) -> UpstreamTlsContext {
    let mut sans: Vec<_> = peer
        .spiffe_ids
        .iter()
        .map(|id| uri(MatchPattern::Exact(id.clone())))
        .collect();
    if sans.is_empty() {
        // Without any matcher Envoy would accept every certificate of the mesh. No workload has an id without a path.
        sans.push(uri(MatchPattern::Exact(format!("spiffe://{mesh}/"))));
    }
    UpstreamTlsContext {
        common_tls_context: Some(CommonTlsContext {
            alpn_protocols: vec![MESH_ALPN.to_owned()],
            ..common_context(mesh, sans)
        }),
        sni: peer.sni.clone(),
        ..Default::default()
    }
}

/// Server side: any client that has an identity of the mesh. Announces no protocols, so that the HTTP version is told by
/// the first bytes.
pub(crate) fn downstream(mesh: &str, parameters: Option<TlsParameters>) -> TransportSocket {
    let sans = vec![uri(MatchPattern::Prefix(format!("spiffe://{mesh}/")))];
    let context = DownstreamTlsContext {
        common_tls_context: Some(CommonTlsContext {
            tls_params: parameters,
            ..common_context(mesh, sans)
        }),
        require_client_certificate: flag(true),
        ..Default::default()
    };
    transport_socket(context)
}

fn common_context(mesh: &str, sans: Vec<SubjectAltNameMatcher>) -> CommonTlsContext {
    let validation = CombinedCertificateValidationContext {
        default_validation_context: Some(CertificateValidationContext {
            match_typed_subject_alt_names: sans,
            ..Default::default()
        }),
        validation_context_sds_secret_config: Some(sds(names::trust_secret(mesh))),
        ..Default::default()
    };
    CommonTlsContext {
        tls_certificate_sds_secret_configs: vec![sds(names::identity_secret(mesh))],
        validation_context_type: Some(ValidationContextType::CombinedValidationContext(validation)),
        ..Default::default()
    }
}

fn sds(name: String) -> SdsSecretConfig {
    SdsSecretConfig {
        name,
        sds_config: ads(),
    }
}

fn uri(pattern: MatchPattern) -> SubjectAltNameMatcher {
    SubjectAltNameMatcher {
        san_type: SanType::Uri.into(),
        matcher: Some(StringMatcher {
            match_pattern: Some(pattern),
            ..Default::default()
        }),
        ..Default::default()
    }
}

pub(crate) fn transport_socket(context: impl Name) -> TransportSocket {
    TransportSocket {
        name: "envoy.transport_sockets.tls".to_owned(),
        config_type: Some(transport_socket::ConfigType::TypedConfig(pack_any(context))),
    }
}
