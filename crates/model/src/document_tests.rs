#![allow(clippy::unwrap_used, clippy::indexing_slicing)]
use super::*;

const UNIVERSAL: &str = "
type: MeshMultiZoneService
name: redis
mesh: default
spec:
  selector:
    meshService:
      matchLabels:
        kuma.io/display-name: redis
        k8s.kuma.io/namespace: redis-system
  ports:
  - {name: redis-non-tls, port: 16739, appProtocol: tcp}
  - port: 6379
";

const KUBERNETES: &str = "
apiVersion: kuma.io/v1alpha1
kind: MeshMultiZoneService
metadata:
  name: redis
  namespace: kuma-system
  labels: {kuma.io/mesh: default}
spec:
  selector: {meshService: {matchLabels: {kuma.io/display-name: redis}}}
  ports: [{port: 6379, appProtocol: tcp}]
";

fn one(text: &str) -> Result<Parsed, Violations> {
    read(&split(text).unwrap()[0])
}

fn violations(text: &str) -> Vec<String> {
    one(text)
        .unwrap_err()
        .iter()
        .map(|violation| format!("{}: {}", violation.field, violation.message))
        .collect()
}

#[test]
fn both_forms_are_read() {
    let universal = one(UNIVERSAL).unwrap().resource;
    assert_eq!(
        (universal.kind, universal.mesh.as_str(), universal.name.as_str()),
        (Kind::MeshMultiZoneService, "default", "redis")
    );
    assert_eq!(
        universal.spec["ports"][1],
        json!({"port": 6379, "appProtocol": "tcp"}),
        "schema defaults are filled in"
    );
    let kubernetes = one(KUBERNETES).unwrap().resource;
    assert_eq!(kubernetes.name, "redis.kuma-system");
    assert_eq!(kubernetes.display_name(), "redis");
    assert_eq!(kubernetes.mesh, "default");
}

#[test]
fn flat_kinds_keep_their_payload_beside_the_header() {
    let dataplane = "
type: Dataplane
mesh: payments
name: ledger-1
networking:
  address: 10.4.0.7
  advertised_address: 10.9.9.9
  inbound: [{name: grpc, port: 9090, tags: {kuma.io/service: ledger, kuma.io/protocol: grpc}, colour: red}]
";
    let parsed = one(dataplane).unwrap();
    assert_eq!(parsed.resource.spec["networking"]["advertisedAddress"], "10.9.9.9");
    assert_eq!(
        parsed.warnings,
        ["unknown field \"networking.inbound[0].colour\" is ignored"]
    );
    let out = universal(&parsed.resource);
    assert_eq!(out["networking"]["inbound"][0]["port"], 9090);
    assert_eq!(read(&out).unwrap().resource.spec, parsed.resource.spec, "round trip");
    let kubernetes = kubernetes(&parsed.resource, "kuma-system");
    assert_eq!(kubernetes["mesh"], "payments");
    assert_eq!(kubernetes["spec"]["networking"]["address"], "10.4.0.7");
}

#[test]
fn bad_documents_name_the_field() {
    for (text, expected) in [
        ("type: Nope\nname: a", "type: unknown kind \"Nope\""),
        ("name: a", "type: must be defined"),
        ("type: Mesh", "name: must be defined"),
        ("type: Mesh\nname: 5", "name: must be a string; quote it"),
        ("type: MeshMultiZoneService\nname: a\nspec: {}", "mesh: must be defined"),
        (
            "type: MeshMultiZoneService\nname: a\nmesh: m",
            "spec: must be an object, is absent",
        ),
        ("type: Mesh\nname: a\nmesh: m", "mesh: must be absent"),
        (
            "type: MeshMultiZoneService\nname: a\nmesh: m\nspec: {selector: {meshService: {matchLabels: {}}}, ports: []}",
            "spec.selector.meshService.matchLabels: cannot be empty",
        ),
        (
            "type: MeshMultiZoneService\nname: a\nmesh: m\nspec: {selector: {meshService: {matchLabels: {a: b}}}}",
            "spec.ports: cannot be empty",
        ),
        (
            "type: MeshMultiZoneService\nname: a\nmesh: m\nspec: {selector: {meshService: {matchLabels: {a: b}}}, ports: [{port: 70000}]}",
            "spec.ports[0].port: is 70000",
        ),
        (
            "type: MeshMultiZoneService\nname: a\nmesh: m\nspec: {selector: {meshService: {matchLabels: {a: b}}}, ports: [{port: abc}]}",
            "spec.ports[0].port: is \"abc\", must be a whole number",
        ),
        (
            "apiVersion: v2\nkind: Mesh\nmetadata: {name: a}",
            "apiVersion: is \"v2\"",
        ),
        (
            "type: HostnameGenerator\nname: a\nspec: {selector: {}, template: '{{ .Nope }}'}",
            "spec.selector: must have exactly one",
        ),
        (
            "type: HostnameGenerator\nname: a\nspec: {selector: {meshService: {}}, template: '{{ .Nope }}'}",
            "spec.template: ",
        ),
    ] {
        let found = violations(text);
        assert!(
            found.iter().any(|violation| violation.starts_with(expected)),
            "{text}\n{found:?}"
        );
    }
    assert!(split("a: [").is_err());
    assert!(matches!(
        split(&"a".repeat(MAX_DOCUMENT + 1)),
        Err(SyntaxError::TooLarge(_))
    ));
}

#[test]
fn several_documents() {
    let text = format!("{UNIVERSAL}---\n---\n{KUBERNETES}");
    assert_eq!(split(&text).unwrap().len(), 2);
}

#[test]
fn secrets_are_core_secrets_on_kubernetes() {
    let text = "{apiVersion: v1, kind: Secret, type: system.kuma.io/secret, data: {value: YQ==},
      metadata: {name: ca-1, namespace: kuma-system, labels: {kuma.io/mesh: payments}}}";
    let secret = one(text).unwrap();
    assert_eq!(
        secret.resource.key(),
        crate::ResourceKey::new(Kind::Secret, "payments", "ca-1")
    );
    assert_eq!(secret.resource.spec, json!({"data": "YQ=="}));
    assert!(secret.warnings.is_empty(), "{:?}", secret.warnings);
    let shown = kubernetes(&secret.resource, "kuma-system");
    assert_eq!(read(&shown).unwrap().resource.spec, secret.resource.spec, "round trip");
    let global = one(&text.replace("system.kuma.io/secret", "system.kuma.io/global-secret")).unwrap();
    assert_eq!(
        global.resource.key(),
        crate::ResourceKey::new(Kind::GlobalSecret, "", "ca-1")
    );
    assert!(one(&text.replace("system.kuma.io/secret", "Opaque")).is_err());
    let empty = violations(&text.replace("{value: YQ==}", "{}"));
    assert!(
        empty.iter().any(|violation| violation.starts_with("data:")),
        "{empty:?}"
    );
}

#[test]
fn modes_that_act_otherwise_are_said() {
    let mode = |mode: &str| {
        one(&format!("type: Mesh\nname: a\nmeshServices: {{mode: {mode}}}"))
            .unwrap()
            .warnings
    };
    assert!(mode("Exclusive").is_empty() && mode("Disabled").is_empty());
    assert_eq!(mode("Everywhere").len(), 1);
}
