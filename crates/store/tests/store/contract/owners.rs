//! Owners: what goes when something else goes.

use meshspan_model::kind::Kind;
use meshspan_model::resource::{Resource, ResourceKey};
use meshspan_store::{StoreError, Write};
use serde_json::json;

use crate::fixture::{Fixture, dataplane, mesh, mesh_key, service, service_key};

fn owned(resource: Resource, owner: ResourceKey) -> Write {
    Write::Create {
        resource,
        owner: Some(owner),
    }
}

fn dataplane_key(name: &str) -> ResourceKey {
    ResourceKey::new(Kind::Dataplane, "default", name)
}

fn insight(name: &str) -> Resource {
    Resource::new(Kind::DataplaneInsight, "default", name, json!({}))
}

pub async fn a_missing_owner_is_refused(fixture: Fixture) {
    for write in [
        owned(service("redis", 1), mesh_key("default")),
        Write::Upsert {
            resource: service("redis", 1),
            owner: Some(mesh_key("default")),
        },
    ] {
        let error = fixture.store.apply(vec![write]).await.unwrap_err();
        assert_eq!(
            error,
            StoreError::MissingOwner {
                key: service_key("redis"),
                owner: mesh_key("default")
            }
        );
    }
    assert!(fixture.store.list_all().is_empty());
}

pub async fn the_owner_may_come_from_the_same_transaction(fixture: Fixture) {
    let writes = vec![
        Write::create(mesh("default", 1)),
        owned(service("redis", 1), mesh_key("default")),
    ];
    fixture.store.apply(writes).await.unwrap();
    assert_eq!(
        fixture.store.get(&service_key("redis")).unwrap().owner,
        Some(mesh_key("default"))
    );
}

pub async fn deletion_cascades_to_all_that_is_owned(fixture: Fixture) {
    let writes = vec![
        Write::create(mesh("default", 1)),
        Write::create(mesh("other", 1)),
        owned(dataplane("dp-1"), mesh_key("default")),
        owned(dataplane("dp-2"), mesh_key("default")),
        owned(insight("dp-1"), dataplane_key("dp-1")),
        owned(service("of-other", 1), mesh_key("other")),
        Write::create(service("of-none", 1)),
    ];
    fixture.store.apply(writes).await.unwrap();
    let before = fixture.store.snapshot();

    let applied = fixture
        .store
        .apply(vec![Write::delete(mesh_key("default"))])
        .await
        .unwrap();
    let gone: Vec<_> = applied.changes.iter().map(|change| change.key.clone()).collect();
    let expected = [
        mesh_key("default"),
        dataplane_key("dp-1"),
        dataplane_key("dp-2"),
        insight("dp-1").key(),
    ];
    assert_eq!(gone, expected);
    for change in &applied.changes {
        assert_eq!(change.before.as_ref(), before.get(&change.key));
        assert_eq!(change.after, None);
    }
    let left: Vec<_> = fixture
        .store
        .list_all()
        .iter()
        .map(|stored| stored.resource.key())
        .collect();
    assert_eq!(
        left,
        [mesh_key("other"), service_key("of-none"), service_key("of-other")]
    );
}

pub async fn the_owner_is_fixed_at_creation(fixture: Fixture) {
    let writes = vec![
        Write::create(mesh("a", 1)),
        Write::create(mesh("b", 1)),
        owned(service("redis", 1), mesh_key("a")),
        Write::Upsert {
            resource: service("redis", 2),
            owner: Some(mesh_key("b")),
        },
    ];
    fixture.store.apply(writes).await.unwrap();
    fixture.store.apply(vec![Write::delete(mesh_key("b"))]).await.unwrap();
    assert_eq!(
        fixture.store.get(&service_key("redis")).unwrap().owner,
        Some(mesh_key("a"))
    );
    fixture.store.apply(vec![Write::delete(mesh_key("a"))]).await.unwrap();
    assert_eq!(fixture.store.get(&service_key("redis")), None);
}

pub async fn a_new_resource_of_the_same_name_owns_nothing(fixture: Fixture) {
    let writes = vec![
        Write::create(mesh("default", 1)),
        owned(service("redis", 1), mesh_key("default")),
    ];
    fixture.store.apply(writes).await.unwrap();
    fixture
        .store
        .apply(vec![Write::delete(mesh_key("default"))])
        .await
        .unwrap();
    let writes = vec![Write::create(mesh("default", 1)), Write::create(service("redis", 1))];
    fixture.store.apply(writes).await.unwrap();
    fixture
        .store
        .apply(vec![Write::delete(mesh_key("default"))])
        .await
        .unwrap();
    assert!(fixture.store.get(&service_key("redis")).is_some());
}
