//! TLS with services outside the mesh (`spec/resources.md` §2.9, `tls`).

use envoy_types::pb::envoy::config::core::v3::{DataSource, data_source};
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::certificate_validation_context::TrustChainVerification;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::common_tls_context::{
    CombinedCertificateValidationContext, ValidationContextType,
};
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::subject_alt_name_matcher::SanType;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::tls_parameters::TlsProtocol;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::{
    CertificateValidationContext, CommonTlsContext, SubjectAltNameMatcher, TlsParameters, UpstreamTlsContext,
};
use envoy_types::pb::envoy::r#type::matcher::v3::StringMatcher;
use envoy_types::pb::envoy::r#type::matcher::v3::string_matcher::MatchPattern;
use meshspan_model::kinds::mesh_external_service::MeshExternalService;
use meshspan_model::kinds::mesh_external_service::tls::{SanMatchType, Tls, Verification, VerificationMode};
use meshspan_world::view::External;

use super::sds;
use crate::names;
use crate::policies::tls_protocol;

/// Kinds of names in certificates that are compared as texts.
const SAN_TYPES: [SanType; 3] = [SanType::Dns, SanType::Uri, SanType::IpAddress];

/// A certificate or key that is asked for is not there, or no CA is known: nothing may be sent.
#[derive(Debug)]
pub(crate) struct Unverifiable;

/// The client's side; `None` where the service is spoken with in plain text. `system_ca` is the file on the egress's host with
/// the CAs that its system trusts.
pub(crate) fn to_external(
    cluster: &str,
    external: &External,
    system_ca: Option<&str>,
) -> Result<Option<UpstreamTlsContext>, Unverifiable> {
    let service = &external.service;
    let Some(tls) = service.tls() else { return Ok(None) };
    if external.certificates.incomplete {
        return Err(Unverifiable);
    }
    let default = Verification::default();
    let verification = tls.verification.as_ref().unwrap_or(&default);
    // Envoy compares names with nothing where it accepts any chain, so that SkipCA is SkipAll.
    let (checks_ca, checks_name) = match verification.mode {
        VerificationMode::Secured => (true, true),
        VerificationMode::SkipSAN => (true, false),
        VerificationMode::SkipCA | VerificationMode::SkipAll => (false, false),
    };
    let mut context = CertificateValidationContext::default();
    if checks_name {
        context.match_typed_subject_alt_names = sans(service, verification);
    }
    if !checks_ca {
        context.trust_chain_verification = TrustChainVerification::AcceptUntrusted.into();
    }
    let own_ca = external.certificates.ca.is_some();
    let validation = if checks_ca && own_ca {
        ValidationContextType::CombinedValidationContext(CombinedCertificateValidationContext {
            default_validation_context: Some(context),
            validation_context_sds_secret_config: Some(sds(names::external_ca_secret(cluster))),
            ..Default::default()
        })
    } else {
        if checks_ca {
            context.trusted_ca = Some(DataSource {
                specifier: Some(data_source::Specifier::Filename(
                    system_ca.ok_or(Unverifiable)?.to_owned(),
                )),
                ..Default::default()
            });
        }
        ValidationContextType::ValidationContext(context)
    };
    let shows = external.certificates.client.is_some();
    Ok(Some(UpstreamTlsContext {
        common_tls_context: Some(CommonTlsContext {
            tls_params: Some(parameters(tls)),
            tls_certificate_sds_secret_configs: shows
                .then(|| sds(names::external_certificate_secret(cluster)))
                .into_iter()
                .collect(),
            validation_context_type: Some(validation),
            ..Default::default()
        }),
        sni: service.server_name().unwrap_or_default().to_owned(),
        allow_renegotiation: tls.allow_renegotiation,
        ..Default::default()
    }))
}

/// As a client, Envoy speaks TLS 1.2 at most unless it is told.
fn parameters(tls: &Tls) -> TlsParameters {
    let versions = tls.version.unwrap_or_default();
    let max = match tls_protocol(versions.max) {
        TlsProtocol::TlsAuto => TlsProtocol::TlSv13,
        given => given,
    };
    TlsParameters {
        tls_minimum_protocol_version: tls_protocol(versions.min).into(),
        tls_maximum_protocol_version: max.into(),
        ..Default::default()
    }
}

/// The names of which the certificate must have one: those that are given, else the server's.
fn sans(service: &MeshExternalService, verification: &Verification) -> Vec<SubjectAltNameMatcher> {
    if verification.subject_alt_names.is_empty() {
        let name = service.server_name().into_iter();
        return name
            .map(|name| san(SanType::Dns, MatchPattern::Exact(name.to_owned())))
            .collect();
    }
    let given = verification.subject_alt_names.iter();
    given
        .flat_map(|name| {
            let pattern = match name.match_type {
                SanMatchType::Exact => MatchPattern::Exact(name.value.clone()),
                SanMatchType::Prefix => MatchPattern::Prefix(name.value.clone()),
            };
            SAN_TYPES.map(|san_type| san(san_type, pattern.clone()))
        })
        .collect()
}

fn san(san_type: SanType, pattern: MatchPattern) -> SubjectAltNameMatcher {
    SubjectAltNameMatcher {
        san_type: san_type.into(),
        matcher: Some(StringMatcher {
            match_pattern: Some(pattern),
            ..Default::default()
        }),
        ..Default::default()
    }
}
