//! Workload certificates on the ADS stream (`spec/dataplane.md` §5.1).

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use meshspan_identity::{Ca, secret_names};
use meshspan_model::kinds::dataplane_insight::DataplaneInsight;
use meshspan_model::kinds::secret::Secret;
use meshspan_model::{Kind, Resource};
use meshspan_xds::ResourceType;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use serde_json::{Value, json};
use time::{Duration, OffsetDateTime};
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

use crate::support::documents::{cluster, dataplane, mesh, mesh_with_mtls};
use crate::support::proxy::updated;
use crate::support::{ControlPlane, Proxy};

/// Runs `look` on the first certificate of a PEM chain.
fn parsed<T>(pem: &str, look: impl Fn(&X509Certificate<'_>) -> T) -> T {
    let der = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
    look(&X509Certificate::from_der(&der).unwrap().1)
}

fn names(pem: &str) -> Vec<String> {
    let mut names = parsed(pem, |certificate| {
        let names = certificate.subject_alternative_name().unwrap().unwrap();
        let uri = |name: &GeneralName<'_>| match name {
            GeneralName::URI(uri) => (*uri).to_owned(),
            other => panic!("{other:?}"),
        };
        names.value.general_names.iter().map(uri).collect::<Vec<_>>()
    });
    names.sort();
    names
}

/// True if the certificate was signed by that CA.
fn signed_by(pem: &str, ca_pem: &str) -> bool {
    let ca = CertificateDer::from_pem_slice(ca_pem.as_bytes()).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(ca).unwrap();
    let verifier = rustls::server::WebPkiClientVerifier::builder(std::sync::Arc::new(roots))
        .build()
        .unwrap();
    let leaf = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
    let now = rustls_pki_types::UnixTime::now();
    verifier.verify_client_cert(&leaf, &[], now).is_ok()
}

fn secret(mesh: &str, name: &str, text: &str) -> Resource {
    let data = BASE64_STANDARD.encode(text);
    Resource::of(mesh, name, &Secret { data })
}

async fn with_certificate(proxy: &mut Proxy) -> String {
    proxy
        .until("a certificate", |proxy| {
            proxy.certificate().is_some() && proxy.trust().is_some()
        })
        .await;
    proxy.certificate().unwrap()
}

#[tokio::test]
async fn a_certificate_names_the_services_and_tags_of_its_proxy() {
    let cp = ControlPlane::start().await;
    cp.apply(&mesh_with_mtls("secure", "1h")).await;
    let mut document = dataplane("secure", "redis-1", "redis", "10.0.0.1");
    document["networking"]["inbound"].as_array_mut().unwrap().push(json!({
        "port": 80, "tags": {"kuma.io/service": "web", "version": "2"},
    }));
    let mut proxy = Proxy::start(&cp, &document).await;
    let certificate = with_certificate(&mut proxy).await;
    assert_eq!(
        names(&certificate),
        [
            "kuma://kuma.io/service/redis",
            "kuma://kuma.io/service/web",
            "kuma://kuma.io/zone/east",
            "kuma://version/2",
            "spiffe://secure/redis",
            "spiffe://secure/web",
        ]
    );
    assert!(signed_by(&certificate, &proxy.trust().unwrap()));
    let insight = cp
        .until_spec::<DataplaneInsight>("the certificate in the insight", "secure", "redis-1", |insight| {
            insight.mtls.is_some()
        })
        .await;
    let told = insight.mtls.unwrap();
    assert_eq!(
        (told.issued_backend.as_str(), told.certificate_regenerations),
        ("ca-1", 1)
    );
    let not_after = parsed(&certificate, |certificate| certificate.validity().not_after.timestamp());
    assert_eq!(told.certificate_expiration_time.unwrap().unix_timestamp(), not_after);
}

#[tokio::test]
async fn a_short_certificate_is_renewed_in_time_and_nothing_else_is_sent() {
    let cp = ControlPlane::start().await;
    cp.apply(&mesh_with_mtls("secure", "6s")).await;
    let mut proxy = Proxy::start(&cp, &dataplane("secure", "redis-1", "redis", "10.0.0.1")).await;
    let first = with_certificate(&mut proxy).await;
    let redis = cluster("secure", "redis");
    proxy.until("its own service", |proxy| proxy.has_all_of(&redis)).await;
    cp.settle("secure", &mut [&mut proxy]).await;
    for _ in 0..2 {
        let before = proxy.certificate();
        proxy
            .until("another certificate", |proxy| proxy.certificate() != before)
            .await;
    }
    let last = proxy.certificate().unwrap();
    assert_eq!(
        proxy.since_settled(),
        [updated(ResourceType::Secret, "identity_cert:secret:secure")]
    );
    assert_eq!(names(&first), names(&last));
    let end = |pem: &str| parsed(pem, |certificate| certificate.validity().not_after.timestamp());
    assert!(end(&last) > end(&first));
    let told = cp
        .until_spec::<DataplaneInsight>("the renewals in the insight", "secure", "redis-1", |insight| {
            insight
                .mtls
                .as_ref()
                .is_some_and(|told| told.certificate_regenerations >= 3)
        })
        .await;
    assert!(told.mtls.unwrap().certificate_expiration_time.unwrap().unix_timestamp() >= end(&last));
}

#[tokio::test]
async fn mtls_is_switched_on_and_off_by_editing_the_mesh() {
    let cp = ControlPlane::start().await;
    cp.apply(&mesh("secure")).await;
    let mut proxy = Proxy::start(&cp, &dataplane("secure", "redis-1", "redis", "10.0.0.1")).await;
    assert_eq!(proxy.certificate(), None);
    for _ in 0..2 {
        cp.apply(&mesh_with_mtls("secure", "1h")).await;
        let certificate = with_certificate(&mut proxy).await;
        assert!(signed_by(&certificate, &proxy.trust().unwrap()));
        cp.until_spec::<DataplaneInsight>("mTLS in the insight", "secure", "redis-1", |insight| {
            insight.mtls.is_some()
        })
        .await;
        cp.apply(&mesh("secure")).await;
        proxy
            .until("no certificate", |proxy| {
                proxy.certificate().is_none() && proxy.trust().is_none()
            })
            .await;
        cp.until_spec::<DataplaneInsight>("no mTLS in the insight", "secure", "redis-1", |insight| {
            insight.mtls.is_none()
        })
        .await;
    }
}

#[tokio::test]
async fn a_changed_lifetime_or_changed_tags_bring_a_new_certificate() {
    let cp = ControlPlane::start().await;
    cp.apply(&mesh_with_mtls("secure", "1h")).await;
    let mut document = dataplane("secure", "redis-1", "redis", "10.0.0.1");
    cp.apply(&document).await;
    let mut proxy = Proxy::connect(&cp, "secure", "redis-1", None, None).await.unwrap();
    let first = with_certificate(&mut proxy).await;
    document["networking"]["inbound"][0]["tags"]["team"] = json!("a");
    cp.apply(&document).await;
    proxy
        .until("the new tag", |proxy| {
            names(&proxy.certificate().unwrap()).contains(&"kuma://team/a".to_owned())
        })
        .await;
    let second = proxy.certificate().unwrap();
    assert_ne!(first, second);
    cp.apply(&mesh_with_mtls("secure", "2h")).await;
    proxy
        .until("a longer life", |proxy| {
            let validity = parsed(&proxy.certificate().unwrap(), |certificate| {
                certificate.validity().not_after.timestamp() - certificate.validity().not_before.timestamp()
            });
            validity >= 7200
        })
        .await;
    // What has nothing to do with identity renews nothing.
    let third = proxy.certificate();
    document["networking"]["inbound"][0]["state"] = json!("NotReady");
    cp.apply(&document).await;
    cp.settle("secure", &mut [&mut proxy]).await;
    assert_eq!(proxy.certificate(), third);
}

#[tokio::test]
async fn a_ca_may_arrive_after_its_mesh_in_two_halves() {
    let cp = ControlPlane::start().await;
    let resource = meshspan_model::document::read(&mesh_with_mtls("late", "1h"))
        .unwrap()
        .resource;
    cp.put(resource).await;
    let mut proxy = Proxy::start(&cp, &dataplane("late", "redis-1", "redis", "10.0.0.1")).await;
    let ca = Ca::generate_builtin("late", 2048, OffsetDateTime::now_utc(), Duration::days(1)).unwrap();
    let [cert, key] = [
        secret_names::builtin_ca_cert("late", "ca-1"),
        secret_names::builtin_ca_key("late", "ca-1"),
    ];
    cp.put(secret("late", &cert, ca.cert_pem())).await;
    cp.marker("late", &mut [&mut proxy]).await;
    assert_eq!(proxy.certificate(), None);
    cp.put(secret("late", &key, ca.key_pem())).await;
    let certificate = with_certificate(&mut proxy).await;
    assert!(signed_by(&certificate, ca.cert_pem()));
    assert_eq!(proxy.trust().unwrap(), ca.cert_pem());

    // Another CA under the same name: all is issued anew.
    let other = Ca::generate_builtin("late", 2048, OffsetDateTime::now_utc(), Duration::days(1)).unwrap();
    for (name, text) in [(&cert, other.cert_pem()), (&key, other.key_pem())] {
        cp.put(secret("late", name, text)).await;
    }
    proxy
        .until("the other CA", |proxy| {
            proxy.trust().as_deref() == Some(other.cert_pem())
        })
        .await;
    assert_ne!(proxy.certificate().unwrap(), certificate);

    // Its loss stops renewal, not the traffic.
    let last = proxy.certificate();
    cp.delete(Kind::Secret, "late", &key).await;
    cp.settle("late", &mut [&mut proxy]).await;
    assert_eq!(proxy.certificate(), last);
}

fn provided(name: &str, cert: Value, key: Value) -> Value {
    json!({
        "type": "Mesh", "name": name,
        "mtls": {"enabledBackend": "own", "backends": [
            {"name": "own", "type": "provided", "conf": {"cert": cert, "key": key}},
        ]},
    })
}

#[tokio::test]
async fn a_provided_ca_signs_inline_or_from_secrets() {
    let cp = ControlPlane::start().await;
    let ca = Ca::generate_builtin("any", 2048, OffsetDateTime::now_utc(), Duration::days(1)).unwrap();
    let (cert, key) = (ca.cert_pem(), ca.key_pem());
    cp.apply(&provided(
        "text",
        json!({"inlineString": cert}),
        json!({"inlineString": key}),
    ))
    .await;
    let encoded = |text: &str| json!({"inline": BASE64_STANDARD.encode(text)});
    cp.apply(&provided("bytes", encoded(cert), encoded(key))).await;
    cp.apply(&mesh("stored")).await;
    cp.put(secret("stored", "my-cert", cert)).await;
    cp.put(secret("stored", "my-key", key)).await;
    cp.apply(&provided(
        "stored",
        json!({"secret": "my-cert"}),
        json!({"secret": "my-key"}),
    ))
    .await;
    for mesh in ["text", "bytes", "stored"] {
        let mut proxy = Proxy::start(&cp, &dataplane(mesh, "redis-1", "redis", "10.0.0.1")).await;
        let certificate = with_certificate(&mut proxy).await;
        assert!(signed_by(&certificate, cert), "{mesh}");
        assert_eq!(proxy.trust().unwrap().trim(), cert.trim(), "{mesh}");
        assert!(names(&certificate).contains(&format!("spiffe://{mesh}/redis")));
    }
}

#[tokio::test]
async fn a_proxy_for_which_no_certificate_can_be_made_harms_no_other() {
    let cp = ControlPlane::start().await;
    let now = OffsetDateTime::now_utc();
    let expired = Ca::generate_builtin("secure", 2048, now - Duration::days(2), Duration::days(1)).unwrap();
    let resource = meshspan_model::document::read(&mesh_with_mtls("secure", "1h"))
        .unwrap()
        .resource;
    cp.put(resource).await;
    let [cert, key] = [
        secret_names::builtin_ca_cert("secure", "ca-1"),
        secret_names::builtin_ca_key("secure", "ca-1"),
    ];
    for (name, text) in [(&cert, expired.cert_pem()), (&key, expired.key_pem())] {
        cp.put(secret("secure", name, text)).await;
    }
    cp.apply(&mesh_with_mtls("healthy", "1h")).await;
    let mut without = Proxy::start(&cp, &dataplane("secure", "redis-1", "redis", "10.0.0.1")).await;
    let mut with = Proxy::start(&cp, &dataplane("healthy", "redis-1", "redis", "10.0.0.1")).await;
    with_certificate(&mut with).await;
    cp.settle("secure", &mut [&mut without]).await;
    assert_eq!(without.certificate(), None);
    // It does not wait for the retry once there is a CA that can sign.
    let good = Ca::generate_builtin("secure", 2048, now, Duration::days(1)).unwrap();
    for (name, text) in [(&cert, good.cert_pem()), (&key, good.key_pem())] {
        cp.put(secret("secure", name, text)).await;
    }
    with_certificate(&mut without).await;
}
