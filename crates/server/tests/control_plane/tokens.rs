//! Who is let in: tokens of sidecars and zone ingresses.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use meshspan_identity::token::{
    DataplaneClaims, Lifespan, Signer, ZoneClaims, issue_dataplane_token, issue_zone_token,
};
use meshspan_identity::{SigningKey, SigningKeyFamily, secret_names};
use meshspan_model::kinds::secret::{GlobalSecret, Secret};
use meshspan_model::{Kind, Resource};
use meshspan_server::settings::ProxyAuth;
use time::{Duration, OffsetDateTime};
use tonic::{Code, Status};

use crate::support::documents::{dataplane, ingress, mesh};
use crate::support::{Agent, ControlPlane, Proxy};

pub async fn strict() -> ControlPlane {
    ControlPlane::start_with(|settings| {
        settings.dp_server.authn.dp_proxy.auth_type = ProxyAuth::Auto;
        settings.dp_server.authn.zone_proxy.auth_type = ProxyAuth::ZoneToken;
    })
    .await
}

pub fn decode(data: &str) -> Vec<u8> {
    BASE64_STANDARD.decode(data).unwrap()
}

fn lifespan(issued: OffsetDateTime) -> Lifespan {
    Lifespan::new(issued, Duration::hours(1))
}

pub fn claims(name: &str, mesh: &str, tags: &[(&str, &str)]) -> DataplaneClaims {
    let tags = tags
        .iter()
        .map(|(tag, value)| ((*tag).to_owned(), std::iter::once((*value).to_owned()).collect()))
        .collect();
    DataplaneClaims {
        name: name.into(),
        mesh: mesh.into(),
        tags,
        ..DataplaneClaims::default()
    }
}

/// A token signed with the key of a mesh.
pub fn token(cp: &ControlPlane, key_of: &str, claims: &DataplaneClaims, lifespan: &Lifespan) -> String {
    let name = SigningKeyFamily::Dataplane { mesh: key_of }.secret_name(1);
    let key = SigningKey::from_bytes(&decode(&cp.spec::<Secret>(key_of, &name).data)).unwrap();
    issue_dataplane_token(&Signer { kid: "1", key: &key }, claims, lifespan).unwrap()
}

pub fn zone_token(cp: &ControlPlane, zone: &str, scope: &str) -> String {
    let name = SigningKeyFamily::Zone.secret_name(1);
    let key = SigningKey::from_bytes(&decode(&cp.spec::<GlobalSecret>("", &name).data)).unwrap();
    let claims = ZoneClaims {
        zone: zone.into(),
        scope: vec![scope.into()],
    };
    let lifespan = lifespan(OffsetDateTime::now_utc());
    issue_zone_token(&Signer { kid: "1", key: &key }, &claims, &lifespan).unwrap()
}

async fn refusal(cp: &ControlPlane, token: Option<&str>) -> Status {
    let resource = dataplane("default", "redis-1", "redis", "10.0.0.1");
    let result = Proxy::connect(cp, "default", "redis-1", Some(&resource), token).await;
    result.err().unwrap_or_else(|| panic!("let in with {token:?}"))
}

#[tokio::test]
async fn a_proxy_without_the_right_token_is_refused_with_the_remedy() {
    let cp = strict().await;
    cp.apply(&mesh("other")).await;
    let now = OffsetDateTime::now_utc();
    let live = lifespan(now);
    let any = claims("", "", &[]);
    let revoked = lifespan(now);
    let list = Secret {
        data: BASE64_STANDARD.encode(revoked.id.to_string()),
    };
    let list_name = secret_names::dataplane_token_revocations("default");
    cp.put(Resource::of("default", list_name, &list)).await;
    let wrong_tag = claims("", "default", &[("kuma.io/service", "web")]);
    let missing_tag = claims("", "default", &[("team", "a")]);
    for (token, code, said) in [
        (None, Code::Unauthenticated, "--dataplane-token-file"),
        (
            None,
            Code::Unauthenticated,
            "generate dataplane-token --name redis-1 --mesh default",
        ),
        (Some(String::new()), Code::Unauthenticated, "showed no token"),
        (Some("garbage".into()), Code::Unauthenticated, "malformed"),
        (
            Some(token(&cp, "default", &any, &lifespan(now - Duration::hours(2)))),
            Code::Unauthenticated,
            "expired",
        ),
        (
            Some(token(&cp, "default", &any, &revoked)),
            Code::Unauthenticated,
            "revoked",
        ),
        (
            Some(token(&cp, "other", &any, &live)),
            Code::Unauthenticated,
            "the key of another control plane",
        ),
        (
            Some(token(&cp, "default", &claims("", "other", &[]), &live)),
            Code::PermissionDenied,
            "other",
        ),
        (
            Some(token(&cp, "default", &claims("redis-2", "default", &[]), &live)),
            Code::PermissionDenied,
            "redis-2",
        ),
        (
            Some(token(&cp, "default", &wrong_tag, &live)),
            Code::PermissionDenied,
            "kuma.io/service",
        ),
        (
            Some(token(&cp, "default", &missing_tag, &live)),
            Code::PermissionDenied,
            "team",
        ),
        (
            Some(zone_token(&cp, "east", "ingress")),
            Code::Unauthenticated,
            "this is a zone token, needed is a dataplane token",
        ),
    ] {
        let status = refusal(&cp, token.as_deref()).await;
        assert_eq!(status.code(), code, "{said}: {status}");
        assert!(status.message().contains(said), "{said}: {status}");
        if let Some(token) = token.filter(|token| !token.is_empty()) {
            assert!(
                !status.message().contains(&token),
                "{said}: the token is in the message"
            );
        }
    }
    assert!(cp.find(Kind::Dataplane, "default", "redis-1").is_none());
}

#[tokio::test]
async fn the_right_token_opens_both_streams() {
    let cp = strict().await;
    let resource = dataplane("default", "redis-1", "redis", "10.0.0.1");
    let lifespan = lifespan(OffsetDateTime::now_utc());
    for claims in [
        claims("redis-1", "default", &[("kuma.io/service", "redis")]),
        claims("", "", &[]),
    ] {
        let token = token(&cp, "default", &claims, &lifespan);
        Proxy::connect(&cp, "default", "redis-1", Some(&resource), Some(&token))
            .await
            .unwrap();
        let mut agent = Agent::connect(&cp, "default", "redis-1", Some(&token)).await;
        agent.until("a plan", |agent| !agent.plans.is_empty()).await;
    }
    // Other clients say what sort of token it is.
    let bearer = format!("Bearer {}", token(&cp, "default", &claims("", "", &[]), &lifespan));
    Proxy::connect(&cp, "default", "redis-1", Some(&resource), Some(&bearer))
        .await
        .unwrap();
}

#[tokio::test]
async fn an_agent_needs_the_token_too_and_learns_nothing_without() {
    let cp = strict().await;
    cp.apply(&dataplane("default", "redis-1", "redis", "10.0.0.1")).await;
    let foreign = token(
        &cp,
        "default",
        &claims("redis-2", "default", &[]),
        &lifespan(OffsetDateTime::now_utc()),
    );
    for (name, token, code) in [
        ("redis-1", None, Code::Unauthenticated),
        ("redis-1", Some("garbage"), Code::Unauthenticated),
        ("redis-1", Some(foreign.as_str()), Code::PermissionDenied),
        // Not "does not exist", and at once.
        ("nobody", None, Code::Unauthenticated),
        ("nobody", Some(foreign.as_str()), Code::PermissionDenied),
    ] {
        let mut agent = Agent::connect(&cp, "default", name, token).await;
        let status = agent.step().await.unwrap_err();
        assert_eq!(status.code(), code, "{name} {token:?}: {status}");
    }
}

#[tokio::test]
async fn zone_ingresses_show_zone_tokens() {
    let cp = strict().await;
    let document = ingress("ingress-1");
    let now = lifespan(OffsetDateTime::now_utc());
    let of_mesh = token(&cp, "default", &claims("", "", &[]), &now);
    for (token, code, said) in [
        (
            None,
            Code::Unauthenticated,
            "generate zone-token --zone east --scope ingress",
        ),
        (Some(zone_token(&cp, "west", "ingress")), Code::PermissionDenied, "west"),
        (
            Some(zone_token(&cp, "east", "egress")),
            Code::PermissionDenied,
            "ingress",
        ),
        (Some(of_mesh), Code::Unauthenticated, "token"),
    ] {
        let result = Proxy::connect(&cp, "", "ingress-1", Some(&document), token.as_deref()).await;
        let status = result.err().unwrap();
        assert_eq!(status.code(), code, "{said}: {status}");
        assert!(status.message().contains(said), "{said}: {status}");
    }
    for zone in ["east", ""] {
        let token = zone_token(&cp, zone, "ingress");
        Proxy::connect(&cp, "", "ingress-1", Some(&document), Some(&token))
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn sidecars_and_ingresses_are_asked_for_tokens_independently() {
    let cp = ControlPlane::start_with(|settings| {
        settings.dp_server.authn.dp_proxy.auth_type = ProxyAuth::None;
        settings.dp_server.authn.zone_proxy.auth_type = ProxyAuth::Auto;
    })
    .await;
    Proxy::start(&cp, &dataplane("default", "redis-1", "redis", "10.0.0.1")).await;
    let refused = Proxy::connect(&cp, "", "ingress-1", Some(&ingress("ingress-1")), None).await;
    assert_eq!(refused.err().unwrap().code(), Code::Unauthenticated);
}
