//! What a control plane says of itself on its diagnostics port.

use http::{Request, StatusCode};
use tokio::net::TcpStream;

use crate::support::Proxy;
use crate::support::control_plane::ControlPlane;
use crate::support::documents::dataplane;
use crate::support::http::send;

#[tokio::test]
async fn components_and_rounds_of_the_engine_are_among_the_metrics() {
    let port = {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        socket.local_addr().unwrap().port()
    };
    let cp = ControlPlane::start_with(|settings| settings.diagnostics.server_port = port).await;
    let mut proxy = Proxy::start(&cp, &dataplane("default", "web-1", "web", "10.0.0.1")).await;
    cp.settle("default", &mut [&mut proxy]).await;
    let get = async |path: &str| {
        let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let request = Request::get(path).header("host", "localhost").body(String::new());
        send(stream, request.unwrap()).await
    };
    assert_eq!(get("/ready").await.0.status, StatusCode::OK);
    let (_, text) = get("/metrics").await;
    let value = |name: &str| -> f64 {
        let line = format!("{name} ");
        let found = text.lines().find_map(|found| found.strip_prefix(&line));
        found.unwrap_or_else(|| panic!("no {name} in {text}")).parse().unwrap()
    };
    for component in ["engine", "insights", "API", "data plane", "diagnostics"] {
        assert!(
            value(&format!("component_up{{component=\"{component}\"}}")) > 0.0,
            "{component}"
        );
    }
    assert!(value("engine_round_seconds_count") > 0.0 && value("engine_changes_total") > 0.0);
    assert!(value("engine_commands_total") > 0.0);
    assert!((value("engine_streams") - 1.0).abs() < f64::EPSILON);
}
