//! Tokens: what is written, what is accepted, and how each refusal is named.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use meshspan_identity::token::*;
use meshspan_identity::{SigningKey, VerificationKey};
use serde_json::{Value, json};
use time::macros::datetime;
use time::{Duration, OffsetDateTime};

const NOW: OffsetDateTime = datetime!(2026-11-23 12:00:00 UTC);
static KEY: LazyLock<SigningKey> = LazyLock::new(|| SigningKey::generate().unwrap());
static OTHER_KEY: LazyLock<SigningKey> = LazyLock::new(|| SigningKey::generate().unwrap());

fn signer() -> Signer<'static> {
    Signer { kid: "1", key: &KEY }
}

fn trust() -> TokenTrust {
    TokenTrust {
        keys: [("1".to_owned(), KEY.verification_key().clone())].into(),
        revocations: Revocations::default(),
    }
}

fn day() -> Lifespan {
    Lifespan::new(NOW, Duration::DAY)
}

fn tags(pairs: &[(&str, &[&str])]) -> BTreeMap<String, BTreeSet<String>> {
    let set = |values: &[&str]| values.iter().map(|v| (*v).to_owned()).collect();
    pairs
        .iter()
        .map(|(tag, values)| ((*tag).to_owned(), set(values)))
        .collect()
}

fn redis_claims() -> DataplaneClaims {
    DataplaneClaims {
        name: "redis-1".to_owned(),
        mesh: "default".to_owned(),
        tags: tags(&[("kuma.io/service", &["redis", "redis-admin"])]),
        proxy_type: "dataplane".to_owned(),
    }
}

fn part(token: &str, index: usize) -> Value {
    let text = token.split('.').nth(index).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).unwrap()).unwrap()
}

/// A token signed with our key but with a header and payload of the test's making.
fn handmade(header: Value, payload: &str) -> String {
    let message = format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(header.to_string()),
        URL_SAFE_NO_PAD.encode(payload)
    );
    let key = EncodingKey::from_rsa_pem(KEY.to_pem().as_bytes()).unwrap();
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, Algorithm::RS256).unwrap();
    format!("{message}.{signature}")
}

fn rs256(payload: &Value) -> String {
    handmade(json!({"alg": "RS256", "kid": "1", "typ": "JWT"}), &payload.to_string())
}

#[test]
fn a_dataplane_token_has_the_documented_form() {
    let lifespan = day();
    let token = issue_dataplane_token(&signer(), &redis_claims(), &lifespan).unwrap();
    assert_eq!(part(&token, 0), json!({"alg": "RS256", "kid": "1", "typ": "JWT"}));
    assert_eq!(
        part(&token, 1),
        json!({
            "Name": "redis-1",
            "Mesh": "default",
            "Tags": {"kuma.io/service": ["redis", "redis-admin"]},
            "Type": "dataplane",
            "jti": lifespan.id.to_string(),
            "iat": NOW.unix_timestamp(),
            "nbf": NOW.unix_timestamp() - 300,
            "exp": NOW.unix_timestamp() + 86_400,
        })
    );
}

#[test]
fn empty_claims_are_written() {
    let token = issue_user_token(&signer(), &UserClaims::default(), &day()).unwrap();
    assert_eq!(
        (&part(&token, 1)["Name"], &part(&token, 1)["Groups"]),
        (&json!(""), &json!([]))
    );
    let token = issue_zone_token(&signer(), &ZoneClaims::default(), &day()).unwrap();
    assert_eq!(
        (&part(&token, 1)["Zone"], &part(&token, 1)["Scope"]),
        (&json!(""), &json!([]))
    );
}

#[test]
fn issued_tokens_validate() {
    let lifespan = day();
    let user = UserClaims::admin();
    let token = issue_user_token(&signer(), &user, &lifespan).unwrap();
    let read = validate_user_token(&token, &trust(), NOW).unwrap();
    assert_eq!(read.claims, user);
    assert_eq!(read.id, lifespan.id.to_string());
    assert_eq!(read.expires_at, Some(NOW + Duration::DAY));
    assert_eq!(user.name, "mesh-system:admin");
    assert_eq!(user.groups, ["mesh-system:admin"]);

    let token = issue_dataplane_token(&signer(), &redis_claims(), &lifespan).unwrap();
    assert_eq!(
        validate_dataplane_token(&token, &trust(), NOW).unwrap().claims,
        redis_claims()
    );

    let zone = ZoneClaims {
        zone: "east".to_owned(),
        scope: vec!["ingress".to_owned()],
    };
    let token = issue_zone_token(&signer(), &zone, &lifespan).unwrap();
    assert_eq!(validate_zone_token(&token, &trust(), NOW).unwrap().claims, zone);
}

#[test]
fn ids_differ_unless_given_and_equal_input_gives_equal_tokens() {
    let (a, b) = (day(), day());
    assert_ne!(a.id, b.id);
    let issue = |l| issue_user_token(&signer(), &UserClaims::admin(), l).unwrap();
    assert_eq!(issue(&a), issue(&a));
    assert_ne!(issue(&a), issue(&b));
}

#[test]
fn times_are_those_of_the_caller() {
    let token = issue_user_token(&signer(), &UserClaims::admin(), &day()).unwrap();
    let at = |t| validate_user_token(&token, &trust(), t).map(|_| ());
    let (start, end) = (NOW - Duration::minutes(5), NOW + Duration::DAY);
    assert_eq!(at(start), Ok(()));
    assert_eq!(
        at(start - Duration::SECOND),
        Err(TokenError::NotYetValid { from: start })
    );
    assert_eq!(at(end - Duration::SECOND), Ok(()));
    assert_eq!(at(end), Err(TokenError::Expired { at: end }));
}

#[test]
fn claim_names_are_read_in_any_case_and_null_is_empty() {
    for payload in [
        json!({"name": "n", "MESH": "m", "tAgS": {"A": ["v"]}, "EXP": 4e9, "JTI": "x"}),
        json!({"Name": "n", "Mesh": "m", "Tags": {"A": ["v"]}, "Type": null, "exp": 4e9, "jti": "x"}),
    ] {
        let token = validate_dataplane_token(&rs256(&payload), &trust(), NOW).unwrap();
        assert_eq!((token.claims.name.as_str(), token.claims.mesh.as_str()), ("n", "m"));
        assert_eq!(token.claims.tags, tags(&[("A", &["v"])]), "tag names keep their case");
        assert_eq!(token.id, "x");
        assert_eq!(token.expires_at.unwrap().unix_timestamp(), 4_000_000_000);
    }
    let payload = json!({"Name": null, "Tags": null, "nbf": null});
    let token = validate_dataplane_token(&rs256(&payload), &trust(), NOW).unwrap();
    assert_eq!(token.claims, DataplaneClaims::default());
    assert_eq!(token.expires_at, None);
}

#[test]
fn forged_and_stale_tokens_are_refused() {
    let lifespan = day();
    let issued = issue_user_token(&signer(), &UserClaims::admin(), &lifespan).unwrap();
    let parts: Vec<&str> = issued.split('.').collect();
    let claims = parts[1];
    let with_header = |header: Value| format!("{}.{claims}.{}", URL_SAFE_NO_PAD.encode(header.to_string()), parts[2]);

    // The classic confusion: an HMAC whose secret is the public key that everybody may read.
    let mut header = Header::new(Algorithm::HS256);
    header.kid = Some("1".to_owned());
    let public = KEY.verification_key().to_pem();
    let hmac = jsonwebtoken::encode(
        &header,
        &json!({"Name": "mesh-system:admin"}),
        &EncodingKey::from_secret(public.as_bytes()),
    )
    .unwrap();

    let forger = Signer {
        kid: "1",
        key: &OTHER_KEY,
    };
    let foreign = issue_user_token(&forger, &UserClaims::admin(), &lifespan).unwrap();
    let unknown = Signer {
        kid: "7",
        key: &OTHER_KEY,
    };
    let unknown = issue_user_token(&unknown, &UserClaims::admin(), &lifespan).unwrap();
    let raised = part(&issued, 1).to_string().replace("admin", "owner");
    let tampered = format!("{}.{}.{}", parts[0], URL_SAFE_NO_PAD.encode(raised), parts[2]);
    let algorithm = |name: &str| TokenError::Algorithm {
        algorithm: name.to_owned(),
    };
    let bad_signature = TokenError::Signature {
        kid: "1".to_owned(),
        mesh: String::new(),
    };

    let table = [
        (
            "alg none",
            with_header(json!({"alg": "none", "kid": "1"})),
            algorithm("none"),
        ),
        (
            "alg None, unsigned",
            with_header(json!({"alg": "None", "kid": "1"})),
            algorithm("None"),
        ),
        ("HS256 with the public key", hmac, algorithm("HS256")),
        (
            "RS512",
            with_header(json!({"alg": "RS512", "kid": "1"})),
            algorithm("RS512"),
        ),
        (
            "PS256",
            with_header(json!({"alg": "PS256", "kid": "1"})),
            algorithm("PS256"),
        ),
        ("no kid", with_header(json!({"alg": "RS256"})), TokenError::NoKeyId),
        (
            "empty kid",
            with_header(json!({"alg": "RS256", "kid": ""})),
            TokenError::NoKeyId,
        ),
        ("other key", foreign, bad_signature.clone()),
        ("tampered", tampered, bad_signature.clone()),
        ("no signature", format!("{}.{claims}.", parts[0]), bad_signature.clone()),
        (
            "unknown kid",
            unknown,
            TokenError::UnknownKey {
                kid: "7".to_owned(),
                known: vec!["1".to_owned()],
            },
        ),
        (
            "expired",
            rs256(&json!({"exp": NOW.unix_timestamp() - 1})),
            TokenError::Expired {
                at: NOW - Duration::SECOND,
            },
        ),
        (
            "not yet valid",
            rs256(&json!({"nbf": NOW.unix_timestamp() + 1})),
            TokenError::NotYetValid {
                from: NOW + Duration::SECOND,
            },
        ),
    ];
    for (name, token, expected) in table {
        assert_eq!(
            validate_user_token(&token, &trust(), NOW).unwrap_err(),
            expected,
            "{name}"
        );
    }
    assert!(validate_user_token(&issued, &trust(), NOW).is_ok());
}

#[test]
fn malformed_tokens_are_refused() {
    let issued = issue_user_token(&signer(), &UserClaims::admin(), &day()).unwrap();
    let header = json!({"alg": "RS256", "kid": "1"});
    for token in [
        String::new(),
        "abc".to_owned(),
        "a.b".to_owned(),
        "..".to_owned(),
        format!("{issued}.x"),
        format!(" {issued}"),
        format!("Bearer {issued}"),
        handmade(json!("RS256"), "{}"),
        handmade(json!({"alg": "RS256", "kid": 1}), "{}"),
        handmade(header.clone(), "[]"),
        handmade(header.clone(), "not json"),
        handmade(header.clone(), r#"{"exp":"tomorrow"}"#),
        handmade(header.clone(), r#"{"exp":1e300}"#),
        handmade(header.clone(), r#"{"Name":7}"#),
        handmade(header, r#"{"Groups":"admin"}"#),
    ] {
        let error = validate_user_token(&token, &trust(), NOW).unwrap_err();
        assert!(matches!(error, TokenError::Malformed { .. }), "{token}: {error}");
    }
    let long = "a".repeat(MAX_TOKEN_BYTES + 1);
    let error = validate_user_token(&long, &trust(), NOW).unwrap_err();
    assert_eq!(
        error,
        TokenError::TooLong {
            length: MAX_TOKEN_BYTES + 1
        }
    );
}

#[test]
fn a_token_of_another_kind_is_called_by_its_name() {
    use meshspan_identity::token::TokenKind::{Dataplane, User, Zone};
    // Each kind has its own keys, here under the same id or under one that is not known.
    for kid in ["1", "7"] {
        let forger = Signer { kid, key: &OTHER_KEY };
        let user = issue_user_token(&forger, &UserClaims::admin(), &day()).unwrap();
        let dataplane = issue_dataplane_token(&forger, &DataplaneClaims::default(), &day()).unwrap();
        let zone = issue_zone_token(&forger, &ZoneClaims::default(), &day()).unwrap();
        let wrong = |shown, needed| TokenError::WrongKind { shown, needed };
        for (token, shown) in [(&dataplane, Dataplane), (&zone, Zone)] {
            let error = validate_user_token(token, &trust(), NOW).unwrap_err();
            assert_eq!(error, wrong(shown, User));
        }
        for (token, shown) in [(&user, User), (&zone, Zone)] {
            let error = validate_dataplane_token(token, &trust(), NOW).unwrap_err();
            assert_eq!(error, wrong(shown, Dataplane));
        }
        for (token, shown) in [(&user, User), (&dataplane, Dataplane)] {
            let error = validate_zone_token(token, &trust(), NOW).unwrap_err();
            assert_eq!(error, wrong(shown, Zone));
        }
    }
    let text = TokenError::WrongKind {
        shown: User,
        needed: Dataplane,
    }
    .to_string();
    assert_eq!(
        text,
        "this is a user token, needed is a dataplane token: `meshspan generate dataplane-token`, asked of the control plane of \
         the zone, makes one"
    );
    // The keys of each mesh are its own as well.
    let forger = Signer {
        kid: "1",
        key: &OTHER_KEY,
    };
    let claims = DataplaneClaims {
        mesh: "other".to_owned(),
        ..DataplaneClaims::default()
    };
    let token = issue_dataplane_token(&forger, &claims, &day()).unwrap();
    let error = validate_dataplane_token(&token, &trust(), NOW).unwrap_err().to_string();
    assert!(
        error.contains("does not match key \"1\"") && error.contains("for mesh \"other\""),
        "{error}"
    );
}

#[test]
fn errors_do_not_repeat_the_token() {
    let issued = issue_user_token(&signer(), &UserClaims::admin(), &day()).unwrap();
    let secret = issued.split('.').nth(2).unwrap();
    let late = validate_user_token(&issued, &trust(), NOW + Duration::WEEK).unwrap_err();
    let text = late.to_string();
    assert!(!text.contains(secret));
    assert!(
        text.contains("expired at 2026-11-24T") && text.contains("generate a new token"),
        "{text}"
    );
}

#[test]
fn revoked_tokens_are_refused() {
    let (a, b) = (day(), day());
    let issue = |l| issue_user_token(&signer(), &UserClaims::admin(), l).unwrap();
    let list = format!("other,{}\n", a.id);
    let trust = TokenTrust {
        revocations: Revocations::parse(list.as_bytes()),
        ..trust()
    };
    assert_eq!(
        validate_user_token(&issue(&a), &trust, NOW).unwrap_err(),
        TokenError::Revoked { id: a.id.to_string() }
    );
    assert!(validate_user_token(&issue(&b), &trust, NOW).is_ok());
}

#[test]
fn rotation_keeps_old_tokens_until_their_key_goes() {
    let old = issue_user_token(&signer(), &UserClaims::admin(), &day()).unwrap();
    let second = Signer {
        kid: "2",
        key: &OTHER_KEY,
    };
    let new = issue_user_token(&second, &UserClaims::admin(), &day()).unwrap();
    let mut trust = trust();
    // As a federated zone stores it: the public half as PEM.
    let public = VerificationKey::from_bytes(OTHER_KEY.verification_key().to_pem().as_bytes());
    trust.keys.insert("2".to_owned(), public.unwrap());
    assert!(validate_user_token(&old, &trust, NOW).is_ok());
    assert!(validate_user_token(&new, &trust, NOW).is_ok());
    trust.keys.remove("1");
    let error = validate_user_token(&old, &trust, NOW).unwrap_err();
    assert!(matches!(error, TokenError::UnknownKey { kid, .. } if kid == "1"));
    assert!(validate_user_token(&new, &trust, NOW).is_ok());
}

#[test]
fn impossible_tokens_are_not_issued() {
    for valid_for in [
        Duration::ZERO,
        Duration::seconds(-1),
        Duration::milliseconds(500),
        Duration::MAX,
    ] {
        let lifespan = Lifespan::new(NOW, valid_for);
        let error = issue_user_token(&signer(), &UserClaims::admin(), &lifespan).unwrap_err();
        assert!(matches!(error, IssueError::Lifetime { .. }), "{valid_for}");
    }
    let claims = UserClaims {
        name: "n".repeat(MAX_TOKEN_BYTES),
        groups: vec![],
    };
    let error = issue_user_token(&signer(), &claims, &day()).unwrap_err();
    assert!(matches!(error, IssueError::TooLong { .. }));
}

#[test]
fn dataplane_authorization() {
    let own = tags(&[("kuma.io/service", &["redis"]), ("version", &["7"])]);
    let any = DataplaneClaims::default();
    let redis = redis_claims();
    let only_tags = |pairs| DataplaneClaims {
        tags: tags(pairs),
        ..DataplaneClaims::default()
    };

    let refused_value = Err(Unauthorized::TagValue {
        tag: "kuma.io/service".to_owned(),
        value: "redis".to_owned(),
        allowed: vec!["web".to_owned()],
    });
    let table: Vec<(&str, DataplaneClaims, Result<(), Unauthorized>)> = vec![
        ("no restriction", any, Ok(())),
        ("all equal", redis.clone(), Ok(())),
        (
            "name",
            DataplaneClaims {
                name: "redis-2".to_owned(),
                mesh: "x".to_owned(),
                ..redis.clone()
            },
            Err(Unauthorized::Name {
                proxy: "redis-1".to_owned(),
                token: "redis-2".to_owned(),
            }),
        ),
        (
            "mesh",
            DataplaneClaims {
                mesh: "prod".to_owned(),
                ..redis
            },
            Err(Unauthorized::Mesh {
                proxy: "default".to_owned(),
                token: "prod".to_owned(),
            }),
        ),
        ("tag value", only_tags(&[("kuma.io/service", &["web"])]), refused_value),
        (
            "missing tag",
            only_tags(&[("team", &["infra"])]),
            Err(Unauthorized::MissingTag { tag: "team".to_owned() }),
        ),
    ];
    for (name, claims, expected) in table {
        assert_eq!(claims.authorize("default", "redis-1", &own), expected, "{name}");
    }

    let two = tags(&[("kuma.io/service", &["redis", "web"])]);
    let claims = only_tags(&[("kuma.io/service", &["redis"])]);
    let error = claims.authorize("default", "redis-1", &two).unwrap_err();
    assert!(
        matches!(error, Unauthorized::TagValue { value, .. } if value == "web"),
        "all values count"
    );
}

#[test]
fn zone_authorization() {
    let claims = |zone: &str, scope: &[&str]| ZoneClaims {
        zone: zone.to_owned(),
        scope: scope.iter().map(|s| (*s).to_owned()).collect(),
    };
    let wrong_zone = Err(Unauthorized::Zone {
        zone: "east".to_owned(),
        token: "west".to_owned(),
    });
    let unnamed = Err(Unauthorized::Zone {
        zone: "east".to_owned(),
        token: String::new(),
    });
    let wrong_scope = |needed, token: &[&str]| {
        let token = token.iter().map(|s| (*s).to_owned()).collect();
        Err(Unauthorized::Scope { needed, token })
    };
    let table = [
        (claims("east", &["ingress"]), ZoneScope::Ingress, Ok(())),
        (claims("", &["egress", "ingress"]), ZoneScope::Ingress, Ok(())),
        (claims("east", &["egress"]), ZoneScope::Egress, Ok(())),
        (claims("east", &["cp"]), ZoneScope::ControlPlane, Ok(())),
        (claims("", &["cp"]), ZoneScope::ControlPlane, unnamed),
        (claims("west", &["ingress"]), ZoneScope::Ingress, wrong_zone.clone()),
        (claims("west", &["cp"]), ZoneScope::ControlPlane, wrong_zone),
        (
            claims("east", &["egress"]),
            ZoneScope::Ingress,
            wrong_scope("ingress", &["egress"]),
        ),
        (claims("west", &[]), ZoneScope::Egress, wrong_scope("egress", &[])),
        (
            claims("east", &["ingress"]),
            ZoneScope::ControlPlane,
            wrong_scope("cp", &["ingress"]),
        ),
    ];
    for (claims, scope, expected) in table {
        assert_eq!(claims.authorize("east", scope), expected, "{claims:?} {scope:?}");
    }
}
