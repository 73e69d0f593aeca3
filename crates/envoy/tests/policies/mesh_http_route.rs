use std::collections::BTreeMap;

use meshspan_envoy::outbound_listener;
use meshspan_identity::Ca;
use meshspan_world::view::{Destination, DestinationPolicies, HttpRule, Locality, Protocol, RouteBackend};
use serde_json::{Value, json};
use time::{Duration, OffsetDateTime};

use crate::support::app::App;
use crate::support::client::{Response, get, send};
use crate::support::envoy::{Envoy, eventually};
use crate::support::inputs::*;
use crate::support::proxies::{BACKEND_ID, Backend, Client};
use crate::support::validate;

/// Services, each one application that echoes the head of its requests, behind a sidecar of its own.
struct Services(BTreeMap<&'static str, (App, Backend)>);

impl Services {
    /// `backend`, and what routes lead to.
    fn start(others: &[&'static str]) -> Self {
        let names = others.iter().copied().chain(["backend"]);
        Self(
            names
                .map(|name| {
                    let app = App::http(name);
                    let sidecar = Backend::start(app.port(), Protocol::Http, |_| {});
                    (name, (app, sidecar))
                })
                .collect(),
        )
    }

    fn port(&self, name: &str) -> u16 {
        self.0[name].1.port()
    }

    fn destination(&self, name: &str) -> Destination {
        service(name, vec![own_zone(vec![ready(self.port(name))])])
    }

    /// A client of `backend` with these rules.
    fn client(&self, rules: Vec<HttpRule>) -> Client {
        let others = self.0.keys().filter(|name| **name != "backend");
        let others: Vec<_> = others.map(|name| self.destination(name)).collect();
        Client::start_among(&self.destination("backend"), &policies_with(rules), &others)
    }

    /// A client of `backend`, whose requests below `prefix` pass these filters.
    fn client_with(&self, prefix: &str, filters: Value) -> Client {
        self.client(vec![filtered(prefix, filters)])
    }
}

fn service(name: &str, localities: Vec<Locality>) -> Destination {
    with_localities(
        over_tls(destination(name, "main", Protocol::Http), &[BACKEND_ID]),
        localities,
    )
}

fn policies_with(rules: Vec<HttpRule>) -> DestinationPolicies {
    DestinationPolicies {
        http_rules: Some(rules),
        ..default_policies()
    }
}

fn rule(matches: Value, default: Value) -> HttpRule {
    HttpRule {
        rule: json!({ "matches": matches, "default": default }),
        name: "kri_mhttpr_default___route_".to_owned(),
        backends: Vec::new(),
        mirrors: Vec::new(),
        confs: default_policies().confs,
    }
}

fn filtered(prefix: &str, filters: Value) -> HttpRule {
    let path = json!({ "type": "PathPrefix", "value": prefix });
    rule(json!([{ "path": path }]), json!({ "filters": filters }))
}

/// A rule for one match that says its name to the application.
fn marked(name: &str, found: Value) -> HttpRule {
    let header = json!({ "set": [{ "name": "x-rule", "value": name }] });
    let filter = json!({ "type": "RequestHeaderModifier", "requestHeaderModifier": header });
    rule(json!([found]), json!({ "filters": [filter] }))
}

/// All requests to these backends.
fn split(backends: Vec<RouteBackend>) -> HttpRule {
    HttpRule {
        backends,
        ..rule(json!([{}]), json!({}))
    }
}

fn to(name: &str, weight: u32) -> RouteBackend {
    RouteBackend {
        weight,
        destination: Some(destination(name, "main", Protocol::Http).key),
    }
}

fn nowhere(weight: u32) -> RouteBackend {
    RouteBackend {
        weight,
        destination: None,
    }
}

fn path(how: &str, value: &str) -> Value {
    json!({ "path": { "type": how, "value": value } })
}

/// The value of a header; of several, joined by a space.
fn header(head: &str, name: &str) -> String {
    let lines = head.lines().filter_map(|line| line.split_once(": "));
    let values: Vec<_> = lines
        .filter(|(own, _)| own.eq_ignore_ascii_case(name))
        .map(|(_, value)| value)
        .collect();
    values.join(" ")
}

/// The path that the application saw.
fn echoed_path(response: &Response) -> &str {
    let line = response.body.lines().nth(1).unwrap_or_default();
    line.split(' ').nth(1).unwrap_or_default()
}

/// Asks that often at the same time: after an answer of its own Envoy takes a second to close the connection.
fn at_once<T: Send>(times: usize, ask: impl Fn() -> T + Sync) -> Vec<T> {
    std::thread::scope(|scope| {
        let asking: Vec<_> = (0..times).map(|_| scope.spawn(&ask)).collect();
        asking.into_iter().map(|one| one.join().unwrap()).collect()
    })
}

#[test]
fn the_most_precise_match_takes_a_request() {
    let services = Services::start(&[]);
    let with = |mut found: Value, more: Value| {
        found.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        found
    };
    let headers = |list: Value| json!({ "headers": list });
    let params = |list: Value| json!({ "queryParams": list });
    // The least precise first, so that nothing is taken by the order of rules.
    let client = services.client(vec![
        marked("absent", headers(json!([{ "type": "Absent", "name": "x-tenant" }, { "name": "x-kind", "value": "a" }]))),
        marked("present", headers(json!([{ "type": "Present", "name": "x-tenant" }]))),
        marked("header-prefix", with(path("Exact", "/h"), headers(json!([{ "type": "Prefix", "name": "x-v", "value": "1." }])))),
        marked("header-regex", with(path("Exact", "/h"), headers(json!([{ "type": "RegularExpression", "name": "x-v", "value": "2\\.[0-9]+" }])))),
        marked("header-exact", with(path("Exact", "/h"), headers(json!([{ "name": "x-v", "value": "3" }])))),
        marked("param", with(path("Exact", "/q"), params(json!([{ "name": "a", "value": "1" }])))),
        marked("param-regex", with(path("Exact", "/q"), params(json!([{ "type": "RegularExpression", "name": "a", "value": "[2-3]" }, { "name": "b", "value": "" }])))),
        marked("regex", path("RegularExpression", "/r/[0-9]+")),
        marked("prefix", path("PathPrefix", "/a")),
        marked("longer", path("PathPrefix", "/a/b")),
        marked("exact", path("Exact", "/a")),
        marked("post", with(path("Exact", "/a"), json!({ "method": "POST" }))),
    ]);
    for (method, path, header_line, expected) in [
        ("GET", "/a", None, "exact"),
        ("GET", "/a?b", None, "exact"),
        ("POST", "/a", None, "post"),
        ("GET", "/a/", None, "prefix"),
        ("GET", "/a/c", None, "prefix"),
        ("GET", "/a/bc", None, "prefix"),
        ("GET", "/a/b", None, "longer"),
        ("GET", "/a/b/c", None, "longer"),
        ("GET", "/ab", None, ""),
        // Another spelling of a path is the same path, but slashes are as they are.
        ("GET", "/%61", None, "exact"),
        ("GET", "/x/../a", None, "exact"),
        ("GET", "/a/./b", None, "longer"),
        ("GET", "/a/../b", None, ""),
        ("GET", "/a/%2e%2e/b", None, ""),
        ("GET", "//a", None, ""),
        ("GET", "/a%2Fb", None, ""),
        ("GET", "/r/42", None, "regex"),
        ("GET", "/r/42?a=b", None, "regex"),
        ("GET", "/r/42/x", None, ""),
        ("GET", "/", None, ""),
        ("GET", "/h", Some(("x-v", "1.9")), "header-prefix"),
        ("GET", "/h", Some(("x-v", "2.10")), "header-regex"),
        ("GET", "/h", Some(("x-v", "2.1a")), ""),
        ("GET", "/h", Some(("x-v", "3")), "header-exact"),
        ("GET", "/h", Some(("x-v", "30")), ""),
        ("GET", "/any", Some(("x-kind", "a")), "absent"),
        ("GET", "/any", Some(("x-tenant", "t")), "present"),
        ("GET", "/q?a=1", None, "param"),
        ("GET", "/q?b=&a=2", None, "param-regex"),
        ("GET", "/q?a=2", None, ""),
        ("GET", "/q?a=11", None, ""),
    ] {
        let headers: Vec<_> = header_line.into_iter().collect();
        let response = send(client.address, method, path, &headers).unwrap();
        assert_eq!(response.status, 200, "{method} {path}");
        assert_eq!(
            header(&response.body, "x-rule"),
            expected,
            "{method} {path} {headers:?}"
        );
    }
}

#[test]
fn headers_of_requests_and_responses_are_set_added_and_removed() {
    let services = Services::start(&[]);
    let modifier = |remove: &str| {
        json!({
            "set": [{ "name": "x-set", "value": "100% %REQ(host)%" }],
            "add": [{ "name": "x-add", "value": "new" }],
            "remove": [remove],
        })
    };
    let client = services.client_with(
        "/",
        json!([
            { "type": "RequestHeaderModifier", "requestHeaderModifier": modifier("x-remove") },
            { "type": "ResponseHeaderModifier", "responseHeaderModifier": modifier("x-envoy-upstream-service-time") },
        ]),
    );
    let headers = [("x-set", "old"), ("x-add", "old"), ("x-remove", "old")];
    let response = send(client.address, "GET", "/", &headers).unwrap();
    assert_eq!(
        header(&response.body, "x-set"),
        "100% %REQ(host)%",
        "values are literal"
    );
    assert_eq!(header(&response.body, "x-add"), "old new");
    assert_eq!(header(&response.body, "x-remove"), "");
    assert_eq!(header(&response.head, "x-set"), "100% %REQ(host)%");
    assert_eq!(header(&response.head, "x-add"), "new");
    assert_eq!(header(&response.head, "x-envoy-upstream-service-time"), "");
    let untouched = services.client(Vec::new());
    let response = get(untouched.address, "/").unwrap();
    assert_ne!(header(&response.head, "x-envoy-upstream-service-time"), "");
}

#[test]
fn redirects_name_another_url() {
    let services = Services::start(&[]);
    let full = json!({ "type": "ReplaceFullPath", "replaceFullPath": "/all" });
    let prefix = |new: &str| json!({ "type": "ReplacePrefixMatch", "replacePrefixMatch": new });
    for (redirect, asked, status, location) in [
        (json!({}), "/a/x?q=1", 302, "http://service/a/x?q=1"),
        (
            json!({ "statusCode": 308, "scheme": "https" }),
            "/a",
            308,
            "https://service/a",
        ),
        (
            json!({ "statusCode": 301, "hostname": "shop.example.com", "port": 8443 }),
            "/a",
            301,
            "http://shop.example.com:8443/a",
        ),
        (
            json!({ "statusCode": 303, "path": full }),
            "/a/x?q=1",
            303,
            "http://service/all?q=1",
        ),
        (
            json!({ "statusCode": 307, "path": prefix("/b") }),
            "/a/x",
            307,
            "http://service/b/x",
        ),
        (json!({ "path": prefix("/b") }), "/a", 302, "http://service/b"),
        (json!({ "path": prefix("/") }), "/a", 302, "http://service/"),
        (json!({ "path": prefix("/") }), "/a/x", 302, "http://service/x"),
    ] {
        let filter = json!({ "type": "RequestRedirect", "requestRedirect": redirect });
        let client = services.client_with("/a", json!([filter]));
        let response = get(client.address, asked).unwrap();
        assert_eq!(response.status, status, "{redirect}");
        assert_eq!(header(&response.head, "location"), location, "{redirect}");
    }
}

#[test]
fn urls_are_rewritten() {
    let services = Services::start(&[]);
    let full = json!({ "type": "ReplaceFullPath", "replaceFullPath": "/all\\1" });
    let prefix = |new: &str| json!({ "type": "ReplacePrefixMatch", "replacePrefixMatch": new });
    for (matched, new, pairs) in [
        // The sidecar of the application makes the backslash a slash.
        ("/a", &full, &[("/a", "/all/1"), ("/a/x?q=1", "/all/1?q=1")][..]),
        (
            "/a",
            &prefix("/b"),
            &[
                ("/a", "/b"),
                ("/a?q=1", "/b?q=1"),
                ("/a/", "/b/"),
                ("/a/x", "/b/x"),
                ("/ax", "/ax"),
            ],
        ),
        ("/a", &prefix("/"), &[("/a", "/"), ("/a/", "/"), ("/a/x?q=1", "/x?q=1")]),
        ("/a", &prefix("/b/"), &[("/a", "/b"), ("/a/x", "/b/x")]),
        ("/", &prefix("/b"), &[("/", "/b/"), ("/x", "/b/x")]),
    ] {
        let filter = json!({ "type": "URLRewrite", "urlRewrite": { "path": new } });
        let client = services.client_with(matched, json!([filter]));
        for (asked, seen) in pairs {
            let response = get(client.address, asked).unwrap();
            assert_eq!(echoed_path(&response), *seen, "{asked} with {new}");
            assert_eq!(header(&response.body, "host"), "service");
        }
    }
    let filter = json!({ "type": "URLRewrite", "urlRewrite": { "hostname": "other.example.com" } });
    let client = services.client_with("/", json!([filter]));
    let response = get(client.address, "/x").unwrap();
    assert_eq!(header(&response.body, "host"), "other.example.com");
    assert_eq!(echoed_path(&response), "/x");
}

#[test]
fn copies_go_to_a_mirror_and_their_answers_nowhere() {
    let services = Services::start(&["copy"]);
    let mirrored = |percentage: Value, backend| {
        let mirror = json!({ "percentage": percentage, "backendRef": { "kind": "MeshMultiZoneService" } });
        let filters = json!([{ "type": "RequestMirror", "requestMirror": mirror }]);
        services.client(vec![HttpRule {
            mirrors: vec![backend],
            ..filtered("/", filters)
        }])
    };
    let requests = |client: &Client, name: &str| {
        let cluster = format!("cluster.kri_mzsvc_default___{name}_main.upstream_rq_200");
        client.envoy.counter(&cluster)
    };
    let all = mirrored(Value::Null, to("copy", 1));
    let part = mirrored(json!("50.5"), to("copy", 1));
    for client in [&all, &part] {
        for _ in 0..100 {
            assert_eq!(client.ask_http().as_deref(), Ok("backend"));
        }
        assert_eq!(requests(client, "backend"), 100);
    }
    eventually("every request has a copy", || {
        (requests(&all, "copy") == 100).then_some(())
    });
    let copies = eventually("copies are answered", || {
        Some(requests(&part, "copy")).filter(|count| *count >= 20)
    });
    assert!(copies <= 80, "{copies} of 100 were copied");

    for (percentage, backend) in [(json!(0), to("copy", 1)), (json!(100), nowhere(1))] {
        let client = mirrored(percentage, backend);
        assert_eq!(
            client.ask_http().as_deref(),
            Ok("backend"),
            "a mirror that is gone harms nothing"
        );
        assert_eq!(requests(&client, "copy"), 0);
    }
}

#[test]
fn backends_share_by_weight() {
    let services = Services::start(&["copy", "new"]);
    let client = services.client(vec![split(vec![to("backend", 80), to("new", 20), to("copy", 0)])]);
    let mut to_new = 0;
    for _ in 0..400 {
        match client.ask_http().as_deref() {
            Ok("backend") => {}
            Ok("new") => to_new += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!((40..=120).contains(&to_new), "{to_new} of 400 went to the new one");
    let moved = services.client(vec![split(vec![to("new", 3)])]);
    assert!((0..10).all(|_| moved.ask_http().as_deref() == Ok("new")));
}

#[test]
fn the_share_of_a_backend_that_is_gone_is_answered_with_500() {
    let services = Services::start(&["new"]);
    let half = services.client(vec![split(vec![to("new", 1), nowhere(1)])]);
    let answers: Vec<_> = at_once(100, || half.ask_http());
    let failed = answers.iter().filter(|answer| **answer == Err(500)).count();
    let answered = answers.iter().filter(|answer| answer.as_deref() == Ok("new")).count();
    assert_eq!(failed + answered, 100, "{answers:?}");
    assert!((20..=80).contains(&failed), "{failed} of 100 failed");
    for none in [vec![nowhere(1)], vec![to("new", 0)]] {
        let client = services.client(vec![split(none)]);
        assert_eq!(at_once(5, || client.ask_http()), [const { Err(500) }; 5]);
    }
    // A rule about other requests harms nothing.
    let elsewhere = HttpRule {
        backends: vec![nowhere(1)],
        ..rule(json!([path("PathPrefix", "/gone")]), json!({}))
    };
    let client = services.client(vec![elsewhere]);
    assert_eq!(client.ask_http().as_deref(), Ok("backend"));
    assert_eq!(get(client.address, "/gone").unwrap().status, 500);
}

/// The canary of `spec/policies.md` §3: a share of `/v2` leaves for the copy in another zone.
#[test]
fn a_canary_in_another_zone_takes_its_share() {
    let services = Services::start(&["new"]);
    let canary = service("new", vec![own_zone(vec![ready(services.port("new"))])]);
    let behind = Locality {
        zone: "west".to_owned(),
        ..own_zone(vec![ready(services.port("new"))])
    };
    let gate = Envoy::start(
        &meshspan_envoy::ingress(&ingress("west", 0, vec![with_localities(canary.clone(), vec![behind])])),
        "west",
    );
    let gate_port = gate.port(&meshspan_envoy::names::ingress_listener("ingress-west"));
    let remote = with_localities(canary, vec![other_zone("west", vec![ready(gate_port)])]);
    let route = HttpRule {
        backends: vec![to("backend", 90), to("new", 10)],
        ..rule(json!([path("PathPrefix", "/v2")]), json!({}))
    };
    let local = services.destination("backend");
    let client = Client::start_among(&local, &policies_with(vec![route]), &[remote]);
    let app = |path: &str| {
        let response = get(client.address, path).unwrap();
        assert_eq!(response.status, 200, "{path}");
        response.body.lines().next().unwrap().to_owned()
    };
    assert!((0..50).all(|_| app("/v1") == "backend"));
    let to_canary = (0..400).filter(|_| app("/v2/checkout") == "new").count();
    assert!((10..=80).contains(&to_canary), "{to_canary} of 400 went to the canary");
}

/// What the model accepts Envoy accepts too. The limit on their size is the one that the bootstrap of proxies sets.
#[test]
fn envoy_reads_the_expressions_that_are_accepted() {
    let expressions = [
        "/users/[0-9]+(/.*)?",
        "(?i)a|b",
        "(?s-i:a.b)(?U)c*",
        "(?P<id>\\d{1,1000})",
        "(a{10}){100}",
        "(((a{10}){10}){10}|(\\W{30}){30})?",
        "[^]a-z[:alpha:]\\d\\]\\[-]",
        "[[:^alpha:][:word:]a&b~c-]",
        "\\x41\\x{7F}\\t\\n\\r\\f\\v\\a\\/\\-\\.\\%\\ \\\"\\!\\#\\&\\~\\`\\@",
        "^\\Aa*?b+?c??d{2,3}?e{2}f{0}\\b\\B\\z$",
        "()|(?:)|a||b",
    ];
    let rules = expressions.map(|regex| {
        let mut violations = meshspan_model::Violations::new();
        meshspan_model::policy::values::check_regex(regex, regex.to_owned(), &mut violations);
        assert!(violations.is_empty(), "{violations}");
        let headers = json!([{ "type": "RegularExpression", "name": "x", "value": regex }]);
        let params = json!([{ "type": "RegularExpression", "name": "x", "value": regex }]);
        let found = json!({ "path": { "type": "RegularExpression", "value": regex }, "headers": headers, "queryParams": params });
        rule(json!([found]), json!({}))
    });
    let policies = policies_with(rules.into());
    let backend = destination("backend", "main", Protocol::Http);
    let listener = outbound_listener(&outbound_with(&backend, &policies, LOCALHOST, 80, true));
    let ca = Ca::generate_builtin(MESH, 2048, OffsetDateTime::now_utc(), Duration::days(1)).unwrap();
    let mut config = meshspan_envoy::bootstrap(&bootstrap_params("127.0.0.1", ca.cert_pem()));
    config["static_resources"]["listeners"] = json!([listener.to_json().unwrap()]);
    validate::bootstrap_file("bootstrap.json", config.to_string().as_bytes()).unwrap();
}

#[test]
fn equal_rules_make_equal_listeners() {
    let listener = || {
        let matches = json!([{ "headers": [{ "name": "a", "value": "1" }, { "name": "b", "value": "2" }] }, {}]);
        let header = json!({ "set": [{ "name": "x", "value": "1" }, { "name": "y", "value": "2" }], "remove": ["z"] });
        let filters = json!([
            { "type": "RequestHeaderModifier", "requestHeaderModifier": header },
            { "type": "RequestMirror", "requestMirror": { "backendRef": { "kind": "MeshMultiZoneService" } } },
        ]);
        let route = HttpRule {
            backends: vec![to("new", 1), nowhere(2), to("backend", 3)],
            mirrors: vec![to("copy", 1)],
            ..rule(matches, json!({ "filters": filters }))
        };
        let backend = destination("backend", "main", Protocol::Http);
        outbound_listener(&outbound_with(
            &backend,
            &policies_with(vec![route]),
            LOCALHOST,
            80,
            true,
        ))
    };
    let first = listener();
    for _ in 0..50 {
        assert_eq!(listener(), first);
    }
}
