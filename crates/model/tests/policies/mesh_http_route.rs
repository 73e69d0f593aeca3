use meshspan_model::Kind;
use serde_json::{Value, json};

use crate::fixtures::{self, assert_kept};

const KIND: Kind = Kind::MeshHTTPRoute;
const RULE: &str = "spec.to[0].rules[0]";

fn violations(rules: Value) -> Vec<String> {
    let target = json!({ "kind": "MeshService", "labels": { "kuma.io/display-name": "backend" } });
    fixtures::violations(KIND, json!({ "to": [{ "targetRef": target, "rules": rules }] }))
}

/// What is wrong with a match; paths from the match.
fn of_match(found: Value) -> Vec<String> {
    below(
        &format!("{RULE}.matches[0]"),
        violations(json!([{ "matches": [found] }])),
    )
}

/// What is wrong with a filter of a rule for the prefix `/a`; paths from the filter.
fn of_filter(filter: Value) -> Vec<String> {
    let matches = json!([{ "path": { "type": "PathPrefix", "value": "/a" } }]);
    let rules = json!([{ "matches": matches, "default": { "filters": [filter] } }]);
    below(&format!("{RULE}.default.filters[0]"), violations(rules))
}

fn below(path: &str, violations: Vec<String>) -> Vec<String> {
    let relative = |line: String| {
        line.strip_prefix(path)
            .unwrap_or(&line)
            .trim_start_matches('.')
            .to_owned()
    };
    violations.into_iter().map(relative).collect()
}

#[test]
fn all_that_can_be_said_is_accepted_and_kept() {
    let spec = r#"{
        "targetRef": {"kind": "Mesh"},
        "to": [{
            "targetRef": {"kind": "MeshMultiZoneService", "labels": {"kuma.io/display-name": "checkout"}},
            "rules": [{
                "matches": [
                    {
                        "path": {"type": "PathPrefix", "value": "/v2"},
                        "method": "GET",
                        "headers": [
                            {"name": "x-a", "value": "1"}, {"type": "Present", "name": "x-b"},
                            {"type": "Absent", "name": "x-c"}, {"type": "Prefix", "name": "x-d", "value": "p"},
                            {"type": "RegularExpression", "name": "x-e", "value": "v[0-9]+"}
                        ],
                        "queryParams": [
                            {"type": "Exact", "name": "q", "value": ""},
                            {"type": "RegularExpression", "name": "r", "value": ".+"}
                        ]
                    },
                    {"path": {"type": "PathPrefix", "value": "/"}}
                ],
                "default": {
                    "filters": [
                        {"type": "RequestHeaderModifier", "requestHeaderModifier": {
                            "set": [{"name": "x-s", "value": "100%"}], "add": [{"name": "x-t", "value": "2"}], "remove": ["x-u"]
                        }},
                        {"type": "ResponseHeaderModifier", "responseHeaderModifier": {"remove": ["server"]}},
                        {"type": "RequestRedirect", "requestRedirect": {
                            "scheme": "https", "hostname": "shop.example.com", "port": 8443, "statusCode": 307,
                            "path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/"}
                        }},
                        {"type": "URLRewrite", "urlRewrite": {
                            "hostname": "shop", "path": {"type": "ReplaceFullPath", "replaceFullPath": "/all"}
                        }},
                        {"type": "RequestMirror", "requestMirror": {
                            "percentage": "33.3", "backendRef": {"kind": "MeshService", "name": "shadow", "port": 80}
                        }}
                    ],
                    "backendRefs": [
                        {"kind": "MeshMultiZoneService", "labels": {"kuma.io/display-name": "checkout"}, "port": 8080, "weight": 90},
                        {"kind": "MeshService", "labels": {"kuma.io/zone": "eu-2"}, "port": 8080, "weight": 0}
                    ]
                }
            }, {"matches": [{}]}]
        }]
    }"#;
    assert_kept(KIND, spec);
    assert_eq!(fixtures::warnings(KIND, serde_json::from_str(spec).unwrap()), [""; 0]);
    assert_eq!(
        of_filter(json!({ "type": "URLRewrite", "urlRewrite": { "hostToBackendHostname": false } })),
        [""; 0]
    );
}

#[test]
fn unknown_fields_are_said() {
    let target = json!({ "kind": "MeshService", "labels": { "kuma.io/display-name": "backend" } });
    let rules = json!([{ "matches": [{ "grpc": {} }], "default": { "backendRefs": [{ "kind": "MeshService", "name": "a", "filters": [] }] } }]);
    assert_eq!(
        fixtures::warnings(KIND, json!({ "to": [{ "targetRef": target, "rules": rules }] })),
        [
            format!("unknown field \"{RULE}.matches[0].grpc\" is ignored"),
            format!("unknown field \"{RULE}.default.backendRefs[0].filters\" is ignored"),
        ]
    );
}

#[test]
fn a_rule_has_matches() {
    for rule in [json!({}), json!({ "matches": [] })] {
        assert_eq!(
            violations(json!([rule])),
            [format!("{RULE}.matches: must be an array with at least one item")]
        );
    }
}

#[test]
fn paths_are_absolute_and_whole_segments() {
    let path = |how: &str, value: &str| of_match(json!({ "path": { "type": how, "value": value } }));
    let not_a_path = |value: &str| {
        format!(
            "path.value: is \"{value}\", must be a path that starts with /, without query and fragment, with special characters percent-encoded"
        )
    };
    for how in ["Exact", "PathPrefix"] {
        for good in ["/", "/a", "/a/b.c%20"] {
            assert_eq!(path(how, good), [""; 0], "{how} {good}");
        }
        for bad in ["a", "/a?b", "/a#b", "/a b", "/é"] {
            assert_eq!(path(how, bad), [not_a_path(bad)], "{how} {bad}");
        }
        let long = format!("/{}", "a".repeat(1024));
        assert_eq!(
            path(how, &long),
            ["path.value: has 1025 characters, a path must have no more than 1024"]
        );
    }
    assert_eq!(path("Exact", "/a/"), [""; 0]);
    assert_eq!(
        path("PathPrefix", "/a/"),
        ["path.value: is \"/a/\", must not end with /: only whole segments are matched anyway"]
    );
    assert_eq!(path("RegularExpression", "/a/[^/]+"), [""; 0]);
    assert_eq!(
        path("RegularExpression", "/a/["),
        ["path.value: is \"/a/[\", must be a regular expression: unclosed character class"]
    );
    for how in ["Exact", "PathPrefix", "RegularExpression"] {
        assert_eq!(path(how, ""), ["path.value: must be defined"]);
    }
    assert_eq!(
        of_match(json!({ "path": { "value": "/a" } })),
        ["path.type: must be defined: Exact, PathPrefix or RegularExpression"]
    );
    assert_eq!(
        path("Prefix", "/a"),
        ["path.type: is \"Prefix\", must be one of Exact, PathPrefix, RegularExpression"]
    );
}

#[test]
fn methods_are_those_of_http() {
    for method in [
        "CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE",
    ] {
        assert_eq!(of_match(json!({ "method": method })), [""; 0]);
    }
    let wrong = of_match(json!({ "method": "get" }));
    assert!(
        wrong[0].starts_with("method: is \"get\", must be one of CONNECT"),
        "{wrong:?}"
    );
}

#[test]
fn headers_and_query_parameters_are_named_once() {
    assert_eq!(
        of_match(json!({ "headers": [
            { "name": "x-a", "value": "1" },
            { "type": "Present", "name": "x-a" },
            { "type": "Absent", "name": "x-b", "value": "1" },
            { "type": "Prefix", "name": "x-c", "value": "" },
            { "type": "RegularExpression", "name": "x-d", "value": "(?=a)" },
        ] })),
        [
            "headers[1].name: header \"x-a\" is named more than once",
            "headers[2].value: must not be set with type Present or Absent",
            "headers[3].value: must be defined",
            "headers[4].value: is \"(?=a)\", must be a regular expression: look-around, including look-ahead and look-behind, is not supported",
        ]
    );
    assert_eq!(
        of_match(json!({ "queryParams": [
            { "name": "q", "value": "1" },
            { "name": "q", "value": "2" },
            { "value": "3" },
            { "type": "RegularExpression", "name": "r" },
            { "type": "RegularExpression", "name": "s", "value": "*" },
        ] })),
        [
            "queryParams[1].name: query parameter \"q\" is named more than once",
            "queryParams[2].name: must be defined, with at most 1024 characters",
            "queryParams[3].value: must be defined",
            "queryParams[4].value: is \"*\", must be a regular expression: repetition operator missing expression",
        ]
    );
    let many: Vec<_> = (0..17)
        .map(|n| json!({ "name": format!("x-{n}"), "value": "1" }))
        .collect();
    assert_eq!(
        of_match(json!({ "headers": many, "queryParams": many })),
        [
            "headers: has 17 items, must have no more than 16",
            "queryParams: has 17 items, must have no more than 16",
        ]
    );
}

#[test]
fn a_filter_has_the_field_of_its_type() {
    assert_eq!(
        of_filter(json!({})),
        [
            "type: must be defined: RequestHeaderModifier, ResponseHeaderModifier, RequestRedirect, URLRewrite or RequestMirror"
        ]
    );
    for (how, field) in [
        ("RequestHeaderModifier", "requestHeaderModifier"),
        ("ResponseHeaderModifier", "responseHeaderModifier"),
        ("RequestRedirect", "requestRedirect"),
        ("URLRewrite", "urlRewrite"),
        ("RequestMirror", "requestMirror"),
    ] {
        assert_eq!(
            of_filter(json!({ "type": how })),
            [format!("{field}: must be defined with type {how}")]
        );
    }
    assert_eq!(
        of_filter(json!({ "type": "URLRewrite", "urlRewrite": {}, "requestRedirect": {} })),
        ["requestRedirect: must not be set with type URLRewrite"]
    );
}

#[test]
fn headers_are_modified_once_and_not_the_host() {
    for (how, field) in [
        ("RequestHeaderModifier", "requestHeaderModifier"),
        ("ResponseHeaderModifier", "responseHeaderModifier"),
    ] {
        let modify = |modifier: Value| {
            let mut filter = json!({ "type": how });
            filter[field] = modifier;
            of_filter(filter)
        };
        assert_eq!(
            modify(json!({})),
            [format!("{field}: must have at least one defined: set, add, remove")]
        );
        assert_eq!(
            modify(
                json!({ "set": [{ "name": "x-a", "value": "1" }], "add": [{ "name": "x-b" }], "remove": ["x-a", "host"] })
            ),
            [
                format!("{field}.add[0].value: must be defined, in one line of at most 8192 bytes"),
                format!("{field}.remove[0]: header \"x-a\" is named more than once"),
                format!("{field}.remove[1]: is \"host\", which cannot be modified; use a URLRewrite with hostname"),
            ]
        );
    }
}

#[test]
fn redirects_lead_somewhere() {
    let redirect = |redirect: Value| of_filter(json!({ "type": "RequestRedirect", "requestRedirect": redirect }));
    assert_eq!(
        redirect(json!({ "scheme": "ftp", "hostname": "10.0.0.1", "port": 65536, "statusCode": 304 })),
        [
            "requestRedirect.scheme: is \"ftp\", must be http or https",
            "requestRedirect.hostname: is \"10.0.0.1\", must be a DNS name in lower case (RFC 1123), not an IP address",
            "requestRedirect.port: is 65536, must be a port number from 1 to 65535",
            "requestRedirect.statusCode: is 304, must be 301, 302, 303, 307 or 308",
        ]
    );
    for status in [301, 302, 303, 307, 308] {
        assert_eq!(redirect(json!({ "statusCode": status })), [""; 0]);
    }
}

#[test]
fn hosts_are_dns_names() {
    let rewrite = |hostname: &str| of_filter(json!({ "type": "URLRewrite", "urlRewrite": { "hostname": hostname } }));
    for good in ["a", "a.b-c.d1", "1.example.com"] {
        assert_eq!(rewrite(good), [""; 0], "{good}");
    }
    for bad in [
        "",
        "A",
        "a_b",
        "-a",
        "*.a",
        "::1",
        "1.2.3.4",
        "a:80",
        "a..b",
        &"a".repeat(64),
    ] {
        assert_eq!(
            rewrite(bad),
            [format!(
                "urlRewrite.hostname: is \"{bad}\", must be a DNS name in lower case (RFC 1123), not an IP address"
            )]
        );
    }
    assert_eq!(
        of_filter(json!({ "type": "URLRewrite", "urlRewrite": { "hostToBackendHostname": true } })),
        ["urlRewrite.hostToBackendHostname: must not be set unless spec.targetRef.kind is MeshGateway; use hostname"]
    );
}

#[test]
fn prefixes_are_replaced_where_prefixes_matched() {
    let path = |path: Value| of_filter(json!({ "type": "URLRewrite", "urlRewrite": { "path": path } }));
    for good in ["", "/", "/b", "/b/"] {
        assert_eq!(
            path(json!({ "type": "ReplacePrefixMatch", "replacePrefixMatch": good })),
            [""; 0]
        );
    }
    assert_eq!(
        path(json!({})),
        ["urlRewrite.path.type: must be defined: ReplaceFullPath or ReplacePrefixMatch"]
    );
    assert_eq!(
        path(json!({ "type": "ReplaceFullPath", "replacePrefixMatch": "b" })),
        [
            "urlRewrite.path.replaceFullPath: must be defined with type ReplaceFullPath",
            "urlRewrite.path.replacePrefixMatch: must not be set with type ReplaceFullPath",
            "urlRewrite.path.replacePrefixMatch: is \"b\", must be a path that starts with /, without query and fragment, with special characters percent-encoded",
        ]
    );
    let prefix = json!({ "path": { "type": "PathPrefix", "value": "/a" } });
    for other in [json!({}), json!({ "path": { "type": "Exact", "value": "/a" } })] {
        for (how, field) in [("URLRewrite", "urlRewrite"), ("RequestRedirect", "requestRedirect")] {
            let mut filter = json!({ "type": how });
            filter[field] = json!({ "path": { "type": "ReplacePrefixMatch", "replacePrefixMatch": "/b" } });
            let rule = json!({ "matches": [prefix, other], "default": { "filters": [filter] } });
            assert_eq!(
                violations(json!([rule])),
                [format!(
                    "{RULE}.default.filters[0].{field}.path.type: must not be ReplacePrefixMatch unless every match of the rule has a path of type PathPrefix; use ReplaceFullPath"
                )]
            );
        }
    }
}

#[test]
fn mirrors_name_a_backend_and_a_share() {
    let mirror = |mirror: Value| of_filter(json!({ "type": "RequestMirror", "requestMirror": mirror }));
    assert_eq!(
        mirror(json!({ "percentage": "100.1" })),
        [
            "requestMirror.percentage: is 100.1, must be 0 to 100",
            "requestMirror.backendRef: must be defined",
        ]
    );
    assert_eq!(
        mirror(json!({ "backendRef": { "kind": "MeshMultiZoneService", "labels": { "a": "b" } } })),
        ["requestMirror.backendRef.port: must be set with kind MeshMultiZoneService"]
    );
}

#[test]
fn backends_are_references_with_a_share() {
    let backends = |backends: Value| {
        let path = format!("{RULE}.default.backendRefs");
        below(
            &path,
            violations(json!([{ "matches": [{}], "default": { "backendRefs": backends } }])),
        )
    };
    let one = |weight: Value| json!({ "kind": "MeshService", "name": "a", "port": 80, "weight": weight });
    assert_eq!(
        backends(json!([one(json!(u32::MAX)), one(json!(1))])),
        [": weights add up to 4294967296, must be no more than 4294967295"]
    );
    let negative = backends(json!([one(json!(-1))]));
    assert!(negative[0].starts_with("[0].weight: is -1"), "{negative:?}");
    assert_eq!(
        backends(json!([{ "kind": "MeshService", "name": "a", "port": 0 }])),
        ["[0].port: is 0, must be a port number from 1 to 65535"]
    );
    let unknown = backends(json!([{ "kind": "Mesh" }]));
    assert!(
        unknown[0].starts_with("[0].kind: value is not supported: \"Mesh\""),
        "{unknown:?}"
    );
}

#[test]
fn gateways_need_a_backend_or_a_redirect() {
    let of_gateway = |default: Value| {
        let rules = json!([{ "matches": [{}], "default": default }]);
        let to = json!([{ "targetRef": { "kind": "Mesh" }, "rules": rules }]);
        fixtures::violations(
            KIND,
            json!({ "targetRef": { "kind": "MeshGateway", "name": "edge" }, "to": to }),
        )
    };
    assert_eq!(
        of_gateway(json!({})),
        [format!(
            "{RULE}.default.backendRefs: must have at least one item, or filters a RequestRedirect, when spec.targetRef.kind is MeshGateway"
        )]
    );
    assert_eq!(
        of_gateway(json!({ "filters": [{ "type": "RequestRedirect", "requestRedirect": {} }] })),
        [""; 0]
    );
    let rewrite = json!({ "hostname": "a", "hostToBackendHostname": true });
    let filters = json!([{ "type": "URLRewrite", "urlRewrite": rewrite }]);
    assert_eq!(
        of_gateway(json!({ "filters": filters, "backendRefs": [{ "kind": "MeshService", "name": "a" }] })),
        [format!(
            "{RULE}.default.filters[0].urlRewrite.hostToBackendHostname: must not be set together with hostname"
        )]
    );
}
