//! Somebody else writes between the moment when a request is planned and the moment when it is stored.

use std::sync::{Arc, Mutex};

use futures::future::BoxFuture;
use meshspan_api::Settings;
use meshspan_model::{Kind, Resource, ResourceKey};
use meshspan_store::{Applied, MemoryStore, Snapshot, Store, StoreError, Subscription, Write};
use serde_json::json;

use crate::harness::{Api, dataplane, memory_store, zone};

/// A store in which a rival is faster, time and again.
struct Contended {
    inner: Arc<MemoryStore>,
    rival: Mutex<Box<dyn FnMut(u32) -> Vec<Write> + Send>>,
    applied: Mutex<u32>,
}

impl Store for Contended {
    fn apply(&self, writes: Vec<Write>) -> BoxFuture<'_, Result<Applied, StoreError>> {
        let count = {
            let mut applied = self.applied.lock().unwrap();
            *applied += 1;
            *applied
        };
        let rival = (self.rival.lock().unwrap())(count);
        Box::pin(async move {
            self.inner.apply(rival).await.unwrap();
            self.inner.apply(writes).await
        })
    }

    fn snapshot(&self) -> Snapshot {
        self.inner.snapshot()
    }

    fn subscribe(&self) -> Subscription {
        self.inner.subscribe()
    }
}

/// `rival` says what is written before the n-th attempt to write.
async fn contended(rival: impl FnMut(u32) -> Vec<Write> + Send + 'static) -> Api {
    let inner = memory_store();
    inner
        .apply(vec![Write::create(Resource::new(Kind::Mesh, "", "default", json!({})))])
        .await
        .unwrap();
    let front = Contended {
        inner: inner.clone(),
        rival: Mutex::new(Box::new(rival)),
        applied: Mutex::new(0),
    };
    Api::over(Settings::new(zone()), Arc::new(front), inner)
}

fn rival_dataplane(writer: u32) -> Resource {
    let mut document = dataplane("web", "web");
    document["networking"]["inbound"][0]["tags"]["writer"] = format!("w{writer}").into();
    Resource::new(
        Kind::Dataplane,
        "default",
        "web",
        json!({"networking": document["networking"]}),
    )
}

const PATH: &str = "/meshes/default/dataplanes/web";

#[tokio::test]
async fn a_create_becomes_an_update() {
    let api = contended(|count| match count {
        1 => vec![Write::upsert(rival_dataplane(1))],
        _ => vec![],
    })
    .await;
    api.put(PATH, &dataplane("web", "db")).await.expect(200);
    assert_eq!(
        api.get(PATH).await.json()["networking"]["inbound"][0]["tags"]["kuma.io/service"],
        "db"
    );
}

#[tokio::test]
async fn an_update_is_repeated_and_may_become_a_create() {
    let api = contended(|count| match count {
        1..=3 => vec![Write::upsert(rival_dataplane(count))],
        4 => vec![Write::Remove {
            key: ResourceKey::new(Kind::Dataplane, "default", "web"),
        }],
        _ => vec![],
    })
    .await;
    api.seed(rival_dataplane(0)).await;
    api.put(PATH, &dataplane("web", "db")).await.expect(201);
    assert_eq!(
        api.get(PATH).await.json()["networking"]["inbound"][0]["tags"]["kuma.io/service"],
        "db"
    );
}

#[tokio::test]
async fn a_request_that_never_gets_through_is_a_conflict() {
    let api = contended(|count| vec![Write::upsert(rival_dataplane(count))]).await;
    api.seed(rival_dataplane(0)).await;
    let body = api.put(PATH, &dataplane("web", "db")).await.expect(409).json();
    assert_eq!(body["title"], "Conflict");
    assert!(
        body["detail"].as_str().unwrap().contains("Dataplane default/web"),
        "{body}"
    );
    api.delete(PATH).await.expect(409);
    assert!(api.stored(Kind::Dataplane, "default", "web").is_some());
}

#[tokio::test]
async fn a_delete_is_repeated() {
    let api = contended(|count| match count {
        1 => vec![Write::upsert(rival_dataplane(1))],
        _ => vec![],
    })
    .await;
    api.seed(rival_dataplane(0)).await;
    api.delete(PATH).await.expect(200);
    assert!(api.stored(Kind::Dataplane, "default", "web").is_none());
}

#[tokio::test]
async fn the_mesh_disappears_meanwhile() {
    let api = contended(|_| {
        vec![Write::Remove {
            key: ResourceKey::new(Kind::Mesh, "", "default"),
        }]
    })
    .await;
    let answer = api.put(PATH, &dataplane("web", "web")).await.expect(400);
    assert_eq!(answer.fields(), ["mesh"]);
    assert_eq!(answer.json()["detail"], "Mesh is not found");
}

/// A store that takes its time.
struct Slow(Arc<MemoryStore>);

impl Store for Slow {
    fn apply(&self, writes: Vec<Write>) -> BoxFuture<'_, Result<Applied, StoreError>> {
        Box::pin(async move {
            tokio::task::yield_now().await;
            self.0.apply(writes).await
        })
    }

    fn snapshot(&self) -> Snapshot {
        self.0.snapshot()
    }

    fn subscribe(&self) -> Subscription {
        self.0.subscribe()
    }
}

#[tokio::test]
async fn many_callers_write_one_resource() {
    let inner = memory_store();
    let mesh = Resource::new(Kind::Mesh, "", "default", json!({}));
    inner.apply(vec![Write::create(mesh)]).await.unwrap();
    let api = Api::over(Settings::new(zone()), Arc::new(Slow(inner.clone())), inner);
    let services: Vec<_> = (0..40)
        .map(|writer| dataplane("web", &format!("web-{writer}")))
        .collect();
    let answers = futures::future::join_all(services.iter().map(|service| api.put(PATH, service))).await;
    let created = answers.iter().filter(|answer| answer.status == 201).count();
    let replaced = answers.iter().filter(|answer| answer.status == 200).count();
    assert_eq!((created, replaced), (1, 39));
}
