//! `generate`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;

use meshspan_identity::token::{TokenTrust, validate_dataplane_token, validate_user_token, validate_zone_token};
use meshspan_identity::{SigningKey, VerificationKey};
use serde_json::json;
use time::Duration;

use crate::support::{ControlPlane, NOW, run_line};

#[tokio::test]
async fn a_dataplane_token_that_is_not_bound_to_a_service_says_so_beside_itself() {
    let cp = ControlPlane::start().await;
    cp.answer("POST /tokens/dataplane", 200, "jwt");
    let line = ["generate", "dataplane-token", "--valid-for", "1h", "--name", "redis-1"];
    let ran = cp.run(&line).await;
    assert!(
        ran.err.contains("Dataplane redis-1") && ran.err.contains("--tag kuma.io/service=SERVICE"),
        "{}",
        ran.err
    );
    assert_eq!(
        ran.done(),
        "jwt",
        "what is redirected to a file is the token and nothing else"
    );
    let bound = [&line[..], &["--tag", "kuma.io/service=redis"]].concat();
    assert_eq!(cp.run(&bound).await.err, "");
}

#[tokio::test]
async fn tokens_of_the_control_plane() {
    let cp = ControlPlane::start().await;
    for kind in ["dataplane", "zone", "user"] {
        cp.answer(&format!("POST /tokens/{kind}"), 200, format!("{kind}.jwt.text\n"));
    }
    let line = [
        "generate",
        "dataplane-token",
        "--name",
        "redis-1",
        "-m",
        "payments",
        "--tag",
        "kuma.io/service=redis,cache",
        "--tag",
        "v=1",
        "--valid-for",
        "30d",
    ];
    assert_eq!(cp.run(&line).await.done(), "dataplane.jwt.text");
    let line = [
        "generate",
        "zone-token",
        "--zone",
        "east",
        "--scope",
        "ingress",
        "--valid-for",
        "24h",
    ];
    assert_eq!(cp.run(&line).await.done(), "zone.jwt.text");
    let line = [
        "generate",
        "user-token",
        "--name",
        "ann",
        "--group",
        "a",
        "--group",
        "b",
        "--valid-for",
        "90s",
    ];
    assert_eq!(cp.run(&line).await.done(), "user.jwt.text");
    let bodies: Vec<_> = cp.requests().into_iter().map(|request| request.body).collect();
    let expected = [
        json!({ "name": "redis-1", "mesh": "payments", "tags": { "kuma.io/service": ["cache", "redis"], "v": ["1"] }, "type": "", "validFor": "720h0m0s" }),
        json!({ "zone": "east", "scope": ["ingress"], "validFor": "24h0m0s" }),
        json!({ "name": "ann", "groups": ["a", "b"], "validFor": "1m30s" }),
    ];
    assert_eq!(bodies, expected);

    cp.answer(
        "POST /tokens/zone",
        404,
        json!({ "title": "Could not issue a token", "detail": "Signing Key not found" }),
    );
    let error = cp
        .run(&["generate", "zone-token", "--zone", "east", "--valid-for", "24h"])
        .await
        .error();
    assert_eq!(error, "Could not issue a token (Signing Key not found)");
}

#[tokio::test]
async fn offline_tokens_are_accepted_by_who_knows_the_public_key() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key.pem");
    let key_path = path.to_str().unwrap();
    // Both printed forms are readable again.
    for format in ["pem", "pem-base64"] {
        let key = run_line(&["generate", "signing-key", "--format", format], "")
            .await
            .done();
        fs::write(&path, key).unwrap();
        let public = run_line(&["generate", "public-key", "--signing-key-path", key_path], "")
            .await
            .done();
        let trust = TokenTrust {
            keys: BTreeMap::from([("7".to_owned(), VerificationKey::from_bytes(public.as_bytes()).unwrap())]),
            ..TokenTrust::default()
        };
        let offline = ["--valid-for", "2h", "--signing-key-path", key_path, "--kid", "7"];
        let run = async |line: &[&str]| run_line(&[&["generate"], line, &offline[..]].concat(), "").await.done();

        let token = run(&["dataplane-token", "--name", "redis-1", "--tag", "kuma.io/service=redis"]).await;
        let dataplane = validate_dataplane_token(&token, &trust, NOW).unwrap();
        assert_eq!(
            (dataplane.claims.name.as_str(), dataplane.claims.mesh.as_str()),
            ("redis-1", "default")
        );
        assert_eq!(
            dataplane.claims.tags["kuma.io/service"],
            BTreeSet::from(["redis".to_owned()])
        );
        assert_eq!(dataplane.expires_at, Some(NOW + Duration::hours(2)));
        assert!(validate_dataplane_token(&token, &trust, NOW + Duration::hours(3)).is_err());

        let zone = validate_zone_token(&run(&["zone-token", "--zone", "east"]).await, &trust, NOW).unwrap();
        assert_eq!(
            (zone.claims.zone.as_str(), zone.claims.scope),
            ("east", vec!["ingress".to_owned(), "egress".to_owned()])
        );
        let user = validate_user_token(
            &run(&["user-token", "--name", "ann", "--group", "ops"]).await,
            &trust,
            NOW,
        )
        .unwrap();
        assert_eq!(
            (user.claims.name.as_str(), user.claims.groups),
            ("ann", vec!["ops".to_owned()])
        );
    }
    fs::write(&path, "no key").unwrap();
    let error = run_line(&["generate", "public-key", "--signing-key-path", key_path], "")
        .await
        .error();
    assert!(
        error.contains("key.pem cannot be used: not an RSA private key"),
        "{error}"
    );
}

#[tokio::test]
async fn signing_key_in_a_secret_is_readable() {
    let printed = run_line(&["generate", "signing-key"], "").await.done();
    let pem = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, printed.trim()).unwrap();
    assert!(SigningKey::from_bytes(&pem).is_ok());
}

#[tokio::test]
async fn tls_certificates_go_into_new_files() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name).display().to_string();
    for (certificate_type, key_type) in [("server", "rsa"), ("server", "ecdsa"), ("client", "ecdsa")] {
        let (key, cert) = (
            file(&format!("{certificate_type}-{key_type}.key")),
            file(&format!("{certificate_type}-{key_type}.crt")),
        );
        let line = [
            "generate",
            "tls-certificate",
            "--type",
            certificate_type,
            "--hostname",
            "cp.example,10.0.0.7",
            "--key-type",
            key_type,
            "--key-file",
            &key,
            "--cert-file",
            &cert,
        ];
        let out = run_line(&line, "").await.done();
        assert_eq!(
            out,
            format!("Private key saved in {key}\nCertificate saved in {cert}\n")
        );
        assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(
            fs::read_to_string(&cert).unwrap().matches("BEGIN CERTIFICATE").count(),
            2
        );
        assert!(
            run_line(&line, "").await.error().contains("cannot be written"),
            "an existing key is kept"
        );
    }
}
