//! The hostname generators that every deployment starts with (`spec/resources.md` §6).

use meshspan_model::kinds::hostname_generator::{HostnameGenerator, Selector};
use meshspan_model::kinds::mesh_service::MatchLabels;
use meshspan_model::labels::{ENV, HEADLESS, ORIGIN, ORIGIN_GLOBAL, ORIGIN_ZONE};

use crate::settings::{Environment, Mode};

/// The generators of a control plane, with their names.
pub(super) fn defaults(mode: &Mode, environment: Environment) -> Vec<(&'static str, HostnameGenerator)> {
    match mode {
        Mode::Global => global(),
        Mode::Zone { .. } => zone(environment),
    }
}

fn global() -> Vec<(&'static str, HostnameGenerator)> {
    let from_global = (ORIGIN, ORIGIN_GLOBAL);
    let kubernetes = (ENV, "kubernetes");
    vec![
        (
            "synced-mesh-multi-zone-service",
            generator(
                mesh_multi_zone_services,
                &[from_global],
                "{{ .DisplayName }}.mzsvc.mesh.local",
            ),
        ),
        (
            "synced-kube-mesh-service",
            generator(
                mesh_services,
                &[from_global, (HEADLESS, "false"), kubernetes],
                "{{ .DisplayName }}.{{ .Namespace }}.svc.{{ .Zone }}.mesh.local",
            ),
        ),
        (
            "synced-headless-kube-mesh-service",
            generator(
                mesh_services,
                &[from_global, (HEADLESS, "true"), kubernetes],
                "{{ label \"statefulset.kubernetes.io/pod-name\" }}.{{ label \"k8s.kuma.io/service-name\" }}.\
                 {{ .Namespace }}.svc.{{ .Zone }}.mesh.local",
            ),
        ),
        (
            "synced-universal-mesh-service",
            generator(
                mesh_services,
                &[from_global, (ENV, "universal")],
                "{{ .DisplayName }}.svc.{{ .Zone }}.mesh.local",
            ),
        ),
        (
            "synced-mesh-external-service",
            generator(
                mesh_external_services,
                &[from_global],
                "{{ .DisplayName }}.extsvc.mesh.local",
            ),
        ),
    ]
}

fn zone(environment: Environment) -> Vec<(&'static str, HostnameGenerator)> {
    let from_zone = (ORIGIN, ORIGIN_ZONE);
    let mut generators = vec![(
        "local-mesh-external-service",
        generator(
            mesh_external_services,
            &[from_zone],
            "{{ .DisplayName }}.extsvc.mesh.local",
        ),
    )];
    // Cluster DNS serves the local services of Kubernetes.
    if environment == Environment::Universal {
        generators.push((
            "local-universal-mesh-service",
            generator(mesh_services, &[from_zone], "{{ .DisplayName }}.svc.mesh.local"),
        ));
    }
    generators
}

fn mesh_services(labels: MatchLabels) -> Selector {
    Selector {
        mesh_service: Some(labels),
        ..Selector::default()
    }
}

fn mesh_external_services(labels: MatchLabels) -> Selector {
    Selector {
        mesh_external_service: Some(labels),
        ..Selector::default()
    }
}

fn mesh_multi_zone_services(labels: MatchLabels) -> Selector {
    Selector {
        mesh_multi_zone_service: Some(labels),
        ..Selector::default()
    }
}

fn generator(select: fn(MatchLabels) -> Selector, labels: &[(&str, &str)], template: &str) -> HostnameGenerator {
    let match_labels = labels
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect();
    HostnameGenerator {
        selector: select(MatchLabels { match_labels }),
        template: template.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::panic)]
    use super::*;
    use meshspan_model::Kind;
    use meshspan_model::kinds::Spec;

    #[test]
    fn all_are_valid() {
        let zone = Mode::Zone {
            name: "east".to_owned(),
            federated: true,
        };
        for mode in [Mode::Global, zone] {
            for (name, generator) in defaults(&mode, Environment::Universal) {
                Kind::HostnameGenerator
                    .check(&generator.to_value())
                    .unwrap_or_else(|error| panic!("{name}: {error}"));
            }
        }
    }
}
