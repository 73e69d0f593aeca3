use super::*;

const EAST: Role<'static> = Role::Zone {
    name: "east",
    federated: true,
};

fn subject(kind: Kind, role: Role<'static>) -> Subject<'static> {
    Subject {
        kind,
        mesh: if kind.is_mesh_scoped() { "default" } else { "" },
        name: "redis.shop",
        role,
        stored: None,
        check_origin: true,
    }
}

fn labels(given: &[(&str, &str)]) -> BTreeMap<String, String> {
    given
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

fn refused(subject: &Subject<'_>, labels: &BTreeMap<String, String>) -> Vec<String> {
    let mut violations = Violations::new();
    validate(subject, labels, &mut violations);
    violations.iter().map(|violation| violation.field.clone()).collect()
}

#[test]
fn reserved_labels_say_what_is_computed() {
    use Kind::{HostnameGenerator, MeshMultiZoneService, MeshService, MeshTimeout};
    for (kind, role, key, right, wrong) in [
        (MeshTimeout, Role::Global, DISPLAY_NAME, Some("redis.shop"), "victim"),
        (MeshTimeout, Role::Global, DISPLAY_NAME, None, "redis"),
        (MeshMultiZoneService, Role::Global, DISPLAY_NAME, None, "Foo_Bar"),
        (MeshService, EAST, MESH, Some("default"), "other"),
        (MeshTimeout, Role::Global, MESH, Some("default"), "other"),
        (HostnameGenerator, Role::Global, MESH, None, "default"),
        (MeshService, EAST, ZONE, Some("east"), "west"),
        (MeshTimeout, Role::Global, ZONE, None, "east"),
        (MeshService, EAST, ENV, Some("universal"), "kubernetes"),
        (MeshTimeout, Role::Global, ENV, Some("universal"), "kubernetes"),
        (MeshService, EAST, ORIGIN, Some("zone"), "global"),
        (MeshTimeout, Role::Global, ORIGIN, Some("global"), "zone"),
        (MeshTimeout, Role::Global, ORIGIN, None, "elsewhere"),
        (MeshService, EAST, MANAGED_BY, None, MANAGED_BY_GENERATOR),
        (
            MeshService,
            EAST,
            DELETION_GRACE_PERIOD_STARTED_AT,
            None,
            "2026-03-01T12:00:00Z",
        ),
        (MeshService, EAST, POLICY_ROLE, None, "system"),
        (MeshTimeout, Role::Global, EFFECT, Some("shadow"), "Shadow"),
        (MeshTimeout, Role::Global, EFFECT, None, ""),
        (MeshMultiZoneService, Role::Global, EFFECT, None, "shadow"),
        (MeshTimeout, Role::Global, "team", Some("core"), "a b"),
    ] {
        let subject = subject(kind, role);
        let path = format!("labels[\"{key}\"]");
        let given = labels(&[(key, wrong)]);
        assert_eq!(refused(&subject, &given), [path], "{kind} {key}: {wrong}");
        let again = Subject {
            stored: Some(&given),
            ..subject
        };
        assert!(
            refused(&again, &given).is_empty(),
            "what is stored may be written again"
        );
        if let Some(right) = right {
            assert!(
                refused(&subject, &labels(&[(key, right)])).is_empty(),
                "{kind} {key}: {right}"
            );
        }
    }
}

#[test]
fn a_namespace_ends_the_name() {
    let subject = subject(Kind::MeshService, EAST);
    let known_as = |display, namespace| labels(&[(DISPLAY_NAME, display), (NAMESPACE, namespace)]);
    assert!(refused(&subject, &known_as("redis", "shop")).is_empty());
    assert!(refused(&subject, &known_as("redis.shop", "shop")).is_empty());
    for (display, namespace) in [("redis", "other"), ("redis", ""), ("redi", "shop"), ("", "redis.shop")] {
        assert_eq!(
            refused(&subject, &known_as(display, namespace)).len(),
            1,
            "{display} in {namespace}"
        );
    }
}

#[test]
fn names_longer_than_a_label_are_display_names() {
    let name = "a".repeat(253);
    let long = Subject {
        name: &name,
        ..subject(Kind::MeshTimeout, Role::Global)
    };
    let mut computed = BTreeMap::new();
    compute(Kind::MeshTimeout, "default", &name, Role::Global, &mut computed);
    assert!(refused(&long, &computed).is_empty());
}

#[test]
fn reserved_labels_without_meaning_are_mentioned() {
    let subject = subject(Kind::MeshTimeout, Role::Global);
    let given = labels(&[
        ("team", "a"),
        ("example.com/kuma.io", "a"),
        (ORIGIN, ORIGIN_GLOBAL),
        (NAMESPACE, "ns"),
        (KDS_SYNC, "disabled"),
        ("kuma.io/proxy-type", "x"),
        ("k8s.kuma.io/pod", "x"),
        (TAG_SERVICE, "x"),
    ]);
    let said = unknown(&subject, &given);
    let about = |key: &str| {
        said.iter()
            .any(|text| text.starts_with(&format!("labels[\"{key}\"]: ")))
    };
    assert!(
        about("kuma.io/proxy-type") && about("k8s.kuma.io/pod") && about(TAG_SERVICE),
        "{said:?}"
    );
    assert_eq!(said.len(), 3, "{said:?}");
    let stored = Subject {
        stored: Some(&given),
        ..subject
    };
    assert_eq!(unknown(&stored, &given), Vec::<String>::new(), "said before");
}
