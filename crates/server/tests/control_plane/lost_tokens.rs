//! Tokens that stop to hold while streams are open.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use meshspan_identity::token::Lifespan;
use meshspan_identity::{SigningKey, SigningKeyFamily, secret_names};
use meshspan_model::kinds::dataplane_insight::DataplaneInsight;
use meshspan_model::kinds::secret::{GlobalSecret, Secret};
use meshspan_model::{Kind, Resource};
use time::{Duration, OffsetDateTime};
use tonic::{Code, Status};

use crate::support::documents::{dataplane, ingress};
use crate::support::{Agent, ControlPlane, Proxy};
use crate::tokens::{claims, strict, token, zone_token};

/// Takes what comes until the stream ends.
async fn end_of(proxy: &mut Proxy) -> Status {
    loop {
        if let Err(status) = proxy.step().await {
            return status;
        }
    }
}

async fn end_of_agent(agent: &mut Agent) -> Status {
    loop {
        if let Err(status) = agent.step().await {
            return status;
        }
    }
}

/// A proxy and its agent with a token of an hour; the lifespan has its id.
async fn connected(cp: &ControlPlane, name: &str, lifespan: &Lifespan) -> (Proxy, Agent) {
    let resource = dataplane("default", name, "redis", "10.0.0.1");
    let token = token(cp, "default", &claims(name, "default", &[]), lifespan);
    let proxy = Proxy::connect(cp, "default", name, Some(&resource), Some(&token)).await;
    let mut agent = Agent::connect(cp, "default", name, Some(&token)).await;
    agent.until("a plan", |agent| !agent.plans.is_empty()).await;
    (proxy.unwrap(), agent)
}

fn hour() -> Lifespan {
    Lifespan::new(OffsetDateTime::now_utc(), Duration::hours(1))
}

fn list_of(lifespan: &Lifespan) -> String {
    BASE64_STANDARD.encode(lifespan.id.to_string())
}

#[tokio::test]
async fn revocation_ends_the_streams_of_that_token_alone() {
    let cp = strict().await;
    let (revoked, kept) = (hour(), hour());
    let (mut proxy, mut agent) = connected(&cp, "redis-1", &revoked).await;
    let (mut other, _other_agent) = connected(&cp, "redis-2", &kept).await;
    let list = Secret {
        data: list_of(&revoked),
    };
    let name = secret_names::dataplane_token_revocations("default");
    cp.put(Resource::of("default", name, &list)).await;
    for status in [end_of(&mut proxy).await, end_of_agent(&mut agent).await] {
        assert_eq!(status.code(), Code::Unauthenticated, "{status}");
        assert!(status.message().contains("revoked"), "{status}");
    }
    cp.marker("default", &mut [&mut other]).await;
}

#[tokio::test]
async fn a_deleted_signing_key_ends_the_streams_of_its_tokens() {
    let cp = strict().await;
    let (mut proxy, mut agent) = connected(&cp, "redis-1", &hour()).await;
    let family = SigningKeyFamily::Dataplane { mesh: "default" };
    let second = Secret {
        data: BASE64_STANDARD.encode(SigningKey::generate().unwrap().to_pem()),
    };
    cp.put(Resource::of("default", family.secret_name(2), &second)).await;
    cp.marker("default", &mut [&mut proxy]).await;
    cp.delete(Kind::Secret, "default", &family.secret_name(1)).await;
    for status in [end_of(&mut proxy).await, end_of_agent(&mut agent).await] {
        assert_eq!(status.code(), Code::Unauthenticated, "{status}");
        assert!(status.message().contains("not known here"), "{status}");
    }
}

#[tokio::test]
async fn streams_end_when_their_token_expires() {
    let cp = strict().await;
    let short = Lifespan::new(OffsetDateTime::now_utc(), Duration::seconds(3));
    let (mut proxy, mut agent) = connected(&cp, "redis-1", &short).await;
    for status in [end_of(&mut proxy).await, end_of_agent(&mut agent).await] {
        assert_eq!(status.code(), Code::Unauthenticated, "{status}");
        assert!(status.message().contains("expired"), "{status}");
    }
}

#[tokio::test]
async fn of_an_expired_token_its_proxy_says_so_until_it_has_another() {
    let cp = strict().await;
    let short = Lifespan::new(OffsetDateTime::now_utc(), Duration::seconds(3));
    let (mut proxy, _agent) = connected(&cp, "redis-1", &short).await;
    let expires = |insight: &DataplaneInsight| insight.presence.token_expires.map(OffsetDateTime::unix_timestamp);
    let expected = (short.now + short.valid_for).unix_timestamp();
    cp.until_spec("the expiry", "default", "redis-1", |insight| {
        expires(insight) == Some(expected)
    })
    .await;
    end_of(&mut proxy).await;
    let noted = |insight: &DataplaneInsight| insight.presence.reason.starts_with("its token expired at ");
    cp.until_spec("the reason", "default", "redis-1", noted).await;
    // Whoever shows the expired one is not let in, but known to be there.
    let resource = dataplane("default", "redis-1", "redis", "10.0.0.1");
    let old = token(&cp, "default", &claims("redis-1", "default", &[]), &short);
    let refused = Proxy::connect(&cp, "default", "redis-1", Some(&resource), Some(&old)).await;
    assert!(refused.err().unwrap().message().contains("expired"));
    let (_proxy, _agent) = connected(&cp, "redis-1", &hour()).await;
    cp.until_spec("no reason", "default", "redis-1", |insight: &DataplaneInsight| {
        insight.presence.reason.is_empty() && expires(insight) > Some(expected)
    })
    .await;
}

#[tokio::test]
async fn zone_ingresses_lose_their_streams_too() {
    let cp = strict().await;
    let token = zone_token(&cp, "east", "ingress");
    let proxy = Proxy::connect(&cp, "", "ingress-1", Some(&ingress("ingress-1")), Some(&token)).await;
    let id = {
        let payload = token.split('.').nth(1).unwrap();
        let json = base64::prelude::BASE64_URL_SAFE_NO_PAD.decode(payload).unwrap();
        let claims: serde_json::Value = serde_json::from_slice(&json).unwrap();
        claims["jti"].as_str().unwrap().to_owned()
    };
    let list = GlobalSecret {
        data: BASE64_STANDARD.encode(id),
    };
    cp.put(Resource::of("", secret_names::ZONE_TOKEN_REVOCATIONS, &list))
        .await;
    let status = end_of(&mut proxy.unwrap()).await;
    assert_eq!(status.code(), Code::Unauthenticated, "{status}");
    assert!(status.message().contains("revoked"), "{status}");
}
