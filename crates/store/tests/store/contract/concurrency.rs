//! Many callers at once.

use meshspan_store::{StoreError, Write};
use serde_json::json;

use crate::fixture::{Fixture, mesh, mesh_key};

pub async fn of_many_creators_one_wins(fixture: Fixture) {
    let creators: Vec<_> = (0..16)
        .map(|value| {
            let store = fixture.store.clone();
            tokio::spawn(async move { store.apply(vec![Write::create(mesh("default", value))]).await })
        })
        .collect();
    let mut won = 0;
    for creator in creators {
        match creator.await.unwrap() {
            Ok(_) => won += 1,
            Err(error) => assert_eq!(
                error,
                StoreError::AlreadyExists {
                    key: mesh_key("default")
                }
            ),
        }
    }
    assert_eq!(won, 1);
}

pub async fn no_update_is_lost(fixture: Fixture) {
    const WRITERS: u64 = 6;
    const INCREMENTS: u64 = 10;
    fixture
        .store
        .apply(vec![Write::create(mesh("counter", 0))])
        .await
        .unwrap();
    let writers: Vec<_> = (0..WRITERS)
        .map(|_| {
            let store = fixture.store.clone();
            tokio::spawn(async move {
                let mut done = 0;
                while done < INCREMENTS {
                    let stored = store.get(&mesh_key("counter")).unwrap();
                    let value = stored.resource.spec["value"].as_u64().unwrap();
                    let write = Write::Update {
                        resource: mesh("counter", value + 1),
                        expected: Some(stored.spec_version),
                    };
                    match store.apply(vec![write]).await {
                        Ok(_) => done += 1,
                        Err(StoreError::Conflict { .. }) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    let stored = fixture.store.get(&mesh_key("counter")).unwrap();
    assert_eq!(stored.resource.spec, json!({ "value": WRITERS * INCREMENTS }));
    assert_eq!(stored.spec_version, WRITERS * INCREMENTS + 1);
}

pub async fn failing_transactions_do_not_hurt_their_neighbours(fixture: Fixture) {
    let callers: Vec<_> = (0..40)
        .map(|caller| {
            let store = fixture.store.clone();
            tokio::spawn(async move {
                let mut writes = vec![Write::create(mesh(&format!("m-{caller}"), 1))];
                if caller % 2 == 1 {
                    writes.push(Write::delete(mesh_key("missing")));
                }
                (caller, store.apply(writes).await)
            })
        })
        .collect();
    for caller in callers {
        let (caller, outcome) = caller.await.unwrap();
        assert_eq!(outcome.is_ok(), caller % 2 == 0);
        assert_eq!(
            fixture.store.get(&mesh_key(&format!("m-{caller}"))).is_some(),
            caller % 2 == 0
        );
    }
    assert_eq!(fixture.store.list_all().len(), 20);
}
