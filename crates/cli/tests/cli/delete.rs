//! `delete`.

use meshspan_cli::Outcome;
use serde_json::json;

use crate::support::ControlPlane;

#[tokio::test]
async fn deletes_one() {
    let cp = ControlPlane::start().await;
    cp.put("/meshes/payments/meshmultizoneservices/redis", json!({}));
    let line = ["delete", "mzsvc", "redis", "-m", "payments"];
    assert_eq!(
        cp.run(&line).await.done(),
        "MeshMultiZoneService payments/redis deleted\n"
    );
    let again = cp.run(&line).await;
    assert_eq!(again.outcome, Ok(Outcome::SomeFailed));
    assert_eq!(again.err, "MeshMultiZoneService payments/redis failed: not found\n");
    let ignored = cp.run(&[&line[..], &["--ignore-not-found"]].concat()).await;
    assert_eq!(ignored.done(), "MeshMultiZoneService payments/redis not found\n");
}

#[tokio::test]
async fn deletes_what_files_describe_meshes_last() {
    let cp = ControlPlane::start().await;
    let text = "type: Mesh\nname: m\n---\ntype: Zone\nname: east\n---\n{type: Secret, mesh: m, name: s, data: YQ==}\n";
    for path in ["/meshes/m", "/zones/east", "/meshes/m/secrets/s"] {
        cp.put(path, json!({}));
    }
    let refusal = json!({ "title": "Could not delete a resource", "detail": "Resource is not valid", "causes": [ { "field": "zone", "message": "is online" } ] });
    cp.answer("DELETE /zones/east", 400, refusal);
    let ran = cp.run_with_input(&["delete", "-f", "-"], text).await;
    assert_eq!(ran.outcome, Ok(Outcome::SomeFailed));
    assert_eq!(ran.out, "Secret m/s deleted\nMesh m deleted\n");
    assert_eq!(
        ran.err,
        "Zone east failed: Could not delete a resource (Resource is not valid)\n* zone: is online\n"
    );
}
