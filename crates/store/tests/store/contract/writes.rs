//! Single transactions: versions, times, conflicts, atomicity.

use meshspan_model::kind::Kind;
use meshspan_model::resource::{Resource, ResourceKey};
use meshspan_store::{StoreError, Write};
use serde_json::json;

use crate::fixture::{Fixture, dataplane, mesh, mesh_key, service, service_key};

pub async fn create_sets_versions_and_times_and_ignores_a_given_status(fixture: Fixture) {
    let mut given = mesh("default", 1).with_label("team", "core");
    given.status = Some(json!({ "from": "elsewhere" }));
    let applied = fixture.store.apply(vec![Write::create(given.clone())]).await.unwrap();
    assert_eq!(applied.revision, 1);
    assert_eq!(applied.changes.len(), 1);

    let stored = fixture.store.get(&mesh_key("default")).unwrap();
    assert_eq!((stored.spec_version, stored.status_version), (1, 0));
    assert_eq!(stored.resource.labels, given.labels);
    assert_eq!(stored.resource.spec, given.spec);
    assert_eq!(stored.resource.status, None);
    assert_eq!(stored.resource.creation_time, fixture.clock.now());
    assert_eq!(stored.resource.modification_time, fixture.clock.now());
    assert_eq!(applied.changes[0].after.as_ref(), Some(&stored));
}

pub async fn create_of_an_existing_resource_fails(fixture: Fixture) {
    fixture
        .store
        .apply(vec![Write::create(mesh("default", 1))])
        .await
        .unwrap();
    let error = fixture
        .store
        .apply(vec![Write::create(mesh("default", 2))])
        .await
        .unwrap_err();
    assert_eq!(
        error,
        StoreError::AlreadyExists {
            key: mesh_key("default")
        }
    );
    assert_eq!(
        fixture.store.get(&mesh_key("default")).unwrap().resource.spec,
        json!({ "value": 1 })
    );
}

pub async fn update_bumps_the_spec_version_and_the_modification_time(fixture: Fixture) {
    fixture
        .store
        .apply(vec![Write::create(mesh("default", 1))])
        .await
        .unwrap();
    let created = fixture.clock.now();
    let updated = fixture.clock.advance();
    let write = Write::Update {
        resource: mesh("default", 2),
        expected: Some(1),
    };
    fixture.store.apply(vec![write]).await.unwrap();
    let relabelled = mesh("default", 2).with_label("team", "core");
    fixture.store.apply(vec![Write::update(relabelled)]).await.unwrap();

    let stored = fixture.store.get(&mesh_key("default")).unwrap();
    assert_eq!(stored.spec_version, 3);
    assert_eq!(stored.resource.spec, json!({ "value": 2 }));
    assert_eq!(stored.resource.label("team"), "core");
    assert_eq!(stored.resource.creation_time, created);
    assert_eq!(stored.resource.modification_time, updated);
}

pub async fn update_delete_and_status_of_a_missing_resource_fail(fixture: Fixture) {
    let key = mesh_key("default");
    for write in [
        Write::update(mesh("default", 1)),
        Write::put_status(key.clone(), json!({})),
        Write::delete(key.clone()),
    ] {
        let error = fixture.store.apply(vec![write]).await.unwrap_err();
        assert_eq!(error, StoreError::NotFound { key: key.clone() });
    }
    assert!(fixture.store.list_all().is_empty());
}

pub async fn stale_versions_conflict(fixture: Fixture) {
    let key = service_key("redis");
    fixture
        .store
        .apply(vec![Write::create(service("redis", 1))])
        .await
        .unwrap();
    fixture
        .store
        .apply(vec![Write::update(service("redis", 2))])
        .await
        .unwrap();
    fixture
        .store
        .apply(vec![Write::put_status(key.clone(), json!({ "vips": 1 }))])
        .await
        .unwrap();
    let before = fixture.store.get(&key).unwrap();

    for (write, expected, actual) in [
        (
            Write::Update {
                resource: service("redis", 3),
                expected: Some(1),
            },
            1,
            2,
        ),
        (
            Write::Delete {
                key: key.clone(),
                expected: Some(7),
            },
            7,
            2,
        ),
        (
            Write::PutStatus {
                key: key.clone(),
                status: json!({}),
                expected: Some(0),
            },
            0,
            1,
        ),
    ] {
        let error = fixture.store.apply(vec![write]).await.unwrap_err();
        assert_eq!(
            error,
            StoreError::Conflict {
                key: key.clone(),
                expected,
                actual
            }
        );
    }
    assert_eq!(fixture.store.get(&key).unwrap(), before);
    fixture
        .store
        .apply(vec![Write::Delete {
            key: key.clone(),
            expected: Some(2),
        }])
        .await
        .unwrap();
    assert_eq!(fixture.store.get(&key), None);
}

pub async fn equal_writes_change_nothing(fixture: Fixture) {
    let key = service_key("redis");
    let status = json!({ "vips": [{ "ip": "241.0.0.1" }] });
    fixture
        .store
        .apply(vec![Write::create(service("redis", 1))])
        .await
        .unwrap();
    fixture
        .store
        .apply(vec![Write::put_status(key.clone(), status.clone())])
        .await
        .unwrap();
    let before = fixture.store.get(&key).unwrap();
    let revision = fixture.store.snapshot().revision();
    fixture.clock.advance();

    for write in [
        Write::update(service("redis", 1)),
        Write::upsert(service("redis", 1)),
        Write::PutStatus {
            key: key.clone(),
            status,
            expected: Some(1),
        },
    ] {
        let applied = fixture.store.apply(vec![write]).await.unwrap();
        assert!(applied.changes.is_empty());
        assert_eq!(applied.revision, revision);
    }
    assert_eq!(fixture.store.get(&key).unwrap(), before);
    assert_eq!(fixture.store.apply(Vec::new()).await.unwrap().revision, revision);
}

pub async fn spec_and_status_do_not_touch_each_other(fixture: Fixture) {
    let key = service_key("redis");
    fixture
        .store
        .apply(vec![Write::create(service("redis", 1))])
        .await
        .unwrap();
    let modified = fixture.clock.now();
    fixture.clock.advance();
    let put = Write::PutStatus {
        key: key.clone(),
        status: json!({ "a": 1 }),
        expected: Some(0),
    };
    fixture.store.apply(vec![put]).await.unwrap();
    let stored = fixture.store.get(&key).unwrap();
    assert_eq!((stored.spec_version, stored.status_version), (1, 1));
    assert_eq!(stored.resource.modification_time, modified);

    // Based on spec version 1, as if the status had not been written; and carrying a foreign status.
    let mut incoming = service("redis", 2);
    incoming.status = Some(json!({ "foreign": true }));
    fixture
        .store
        .apply(vec![Write::Update {
            resource: incoming.clone(),
            expected: Some(1),
        }])
        .await
        .unwrap();
    incoming.spec = json!({ "value": 3 });
    fixture.store.apply(vec![Write::upsert(incoming)]).await.unwrap();
    let stored = fixture.store.get(&key).unwrap();
    assert_eq!((stored.spec_version, stored.status_version), (3, 1));
    assert_eq!(stored.resource.status, Some(json!({ "a": 1 })));

    // Based on status version 1, as if the spec had not been written.
    let put = Write::PutStatus {
        key: key.clone(),
        status: json!({ "a": 2 }),
        expected: Some(1),
    };
    fixture.store.apply(vec![put]).await.unwrap();
    let stored = fixture.store.get(&key).unwrap();
    assert_eq!((stored.spec_version, stored.status_version), (3, 2));
    assert_eq!(stored.resource.spec, json!({ "value": 3 }));
}

pub async fn upsert_creates_then_updates(fixture: Fixture) {
    let created = fixture
        .store
        .apply(vec![Write::upsert(mesh("default", 1))])
        .await
        .unwrap();
    assert_eq!(created.changes[0].before, None);
    let updated = fixture
        .store
        .apply(vec![Write::upsert(mesh("default", 2))])
        .await
        .unwrap();
    assert_eq!(updated.changes[0].before, created.changes[0].after);
    assert_eq!(fixture.store.get(&mesh_key("default")).unwrap().spec_version, 2);
}

pub async fn remove_of_a_missing_resource_does_nothing(fixture: Fixture) {
    let remove = || {
        vec![Write::Remove {
            key: mesh_key("default"),
        }]
    };
    assert!(fixture.store.apply(remove()).await.unwrap().changes.is_empty());
    fixture
        .store
        .apply(vec![Write::create(mesh("default", 1))])
        .await
        .unwrap();
    assert_eq!(fixture.store.apply(remove()).await.unwrap().changes.len(), 1);
    assert!(fixture.store.list_all().is_empty());
}

pub async fn a_transaction_is_all_or_nothing(fixture: Fixture) {
    fixture
        .store
        .apply(vec![Write::create(mesh("a", 1)), Write::create(mesh("b", 1))])
        .await
        .unwrap();
    let before = fixture.store.list_all();
    let writes = vec![
        Write::update(mesh("a", 2)),
        Write::delete(mesh_key("b")),
        Write::create(mesh("c", 1)),
        Write::delete(mesh_key("missing")),
        Write::create(mesh("d", 1)),
    ];
    let error = fixture.store.apply(writes).await.unwrap_err();
    assert_eq!(
        error,
        StoreError::NotFound {
            key: mesh_key("missing")
        }
    );
    assert_eq!(fixture.store.list_all(), before);
}

pub async fn later_writes_of_a_transaction_see_earlier_ones(fixture: Fixture) {
    let key = service_key("redis");
    let writes = vec![
        Write::create(service("redis", 1)),
        Write::Update {
            resource: service("redis", 2),
            expected: Some(1),
        },
        Write::PutStatus {
            key: key.clone(),
            status: json!({ "a": 1 }),
            expected: Some(0),
        },
    ];
    let applied = fixture.store.apply(writes).await.unwrap();
    assert_eq!(applied.changes.len(), 1, "one net change for one key");
    assert_eq!(applied.changes[0].before, None);
    let stored = fixture.store.get(&key).unwrap();
    assert_eq!((stored.spec_version, stored.status_version), (2, 1));

    let writes = vec![Write::delete(key.clone()), Write::create(service("redis", 9))];
    let applied = fixture.store.apply(writes).await.unwrap();
    assert_eq!(applied.changes[0].before, Some(stored));
    let stored = fixture.store.get(&key).unwrap();
    assert_eq!((stored.spec_version, stored.status_version), (1, 0));
    assert_eq!(stored.resource.status, None);
}

pub async fn what_comes_and_goes_in_a_transaction_is_no_change(fixture: Fixture) {
    let writes = vec![Write::create(mesh("default", 1)), Write::delete(mesh_key("default"))];
    let applied = fixture.store.apply(writes).await.unwrap();
    assert_eq!((applied.revision, applied.changes.len()), (0, 0));
}

pub async fn lists_are_ordered_and_filtered(fixture: Fixture) {
    let in_mesh = |mesh: &str, name: &str| Resource::new(Kind::MeshService, mesh, name, json!({}));
    let writes = [
        in_mesh("b", "y"),
        in_mesh("a", "z"),
        in_mesh("b", "x"),
        in_mesh("aa", "w"),
        dataplane("dp"),
        mesh("a", 1),
    ];
    fixture
        .store
        .apply(writes.into_iter().map(Write::create).collect())
        .await
        .unwrap();

    let names = |mesh: Option<&str>| -> Vec<ResourceKey> {
        fixture
            .store
            .list(Kind::MeshService, mesh)
            .iter()
            .map(|stored| stored.resource.key())
            .collect()
    };
    let key = |mesh: &str, name: &str| ResourceKey::new(Kind::MeshService, mesh, name);
    assert_eq!(
        names(None),
        [key("a", "z"), key("aa", "w"), key("b", "x"), key("b", "y")]
    );
    assert_eq!(names(Some("a")), [key("a", "z")]);
    assert_eq!(names(Some("b")), [key("b", "x"), key("b", "y")]);
    assert!(names(Some("c")).is_empty());
    assert!(fixture.store.list(Kind::Zone, None).is_empty());
    assert_eq!(fixture.store.list_all().len(), 6);
    assert!(
        fixture
            .store
            .list_all()
            .is_sorted_by_key(|stored| stored.resource.key())
    );
}

pub async fn a_snapshot_never_changes(fixture: Fixture) {
    fixture.store.apply(vec![Write::create(mesh("a", 1))]).await.unwrap();
    let snapshot = fixture.store.snapshot();
    fixture
        .store
        .apply(vec![Write::update(mesh("a", 2)), Write::create(mesh("b", 1))])
        .await
        .unwrap();
    assert_eq!(snapshot.len(), 1);
    assert_eq!(
        snapshot.get(&mesh_key("a")).unwrap().resource.spec,
        json!({ "value": 1 })
    );
    assert_eq!(fixture.store.snapshot().len(), 2);
}
