//! Rules of MeshHTTPRoute and MeshTCPRoute.

use serde_json::{Value, json};

use super::Place;
use super::values::{distinct, header_matches, header_modifier, percent, regex, text, with};
use crate::names;
use crate::random::Random;

pub fn http_rule(random: &mut Random, _: &Place) -> Value {
    // Filters that replace prefixes need prefixes to replace.
    let only_prefixes = random.chance(40);
    let matches: Vec<Value> = (0..random.between(1, 3))
        .map(|_| http_match(random, only_prefixes))
        .collect();
    let mut default = json!({});
    if random.chance(60) {
        default["filters"] = filters(random, only_prefixes);
    }
    if random.chance(60) {
        default["backendRefs"] = random.list(1, 3, backend);
    }
    json!({ "matches": matches, "default": default })
}

pub fn tcp_rule(random: &mut Random, _: &Place) -> Value {
    json!({ "default": { "backendRefs": random.list(1, 3, backend) } })
}

fn http_match(random: &mut Random, only_prefixes: bool) -> Value {
    let path = match random.below(3) {
        1 if !only_prefixes => {
            json!({ "type": "Exact", "value": random.one_of(&["/", "/api", "/api/", "/a%20b", "/~a.b-c_d:e@f"]) })
        }
        2 if !only_prefixes => json!({ "type": "RegularExpression", "value": regex(random) }),
        _ => json!({ "type": "PathPrefix", "value": random.one_of(&["/", "/api", "/api/users", "/a.b-c_d~"]) }),
    };
    let rest = random.maybe(&[
        ("method", |random| {
            let methods = [
                "CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE",
            ];
            random.one_of(&methods)
        }),
        ("headers", header_matches),
        ("queryParams", |random| {
            distinct(random, query_match, |item| item["name"].clone())
        }),
    ]);
    if only_prefixes || random.chance(70) {
        with(rest, json!({ "path": path }))
    } else if rest == json!({}) {
        json!({ "method": "GET" })
    } else {
        rest
    }
}

fn query_match(random: &mut Random) -> Value {
    let name = random.one_of(&["page", "q", "a.b", "x[]"]);
    if random.chance(30) {
        json!({ "type": "RegularExpression", "name": name, "value": regex(random) })
    } else {
        json!({ "type": "Exact", "name": name, "value": text(random) })
    }
}

fn filters(random: &mut Random, prefixes: bool) -> Value {
    let mut filters = Vec::new();
    if random.chance(50) {
        filters
            .push(json!({ "type": "RequestHeaderModifier", "requestHeaderModifier": header_modifier(random, true) }));
    }
    if random.chance(50) {
        filters
            .push(json!({ "type": "ResponseHeaderModifier", "responseHeaderModifier": header_modifier(random, true) }));
    }
    match random.below(4) {
        0 => filters.push(json!({ "type": "RequestRedirect", "requestRedirect": redirect(random, prefixes) })),
        1 => filters.push(json!({ "type": "URLRewrite", "urlRewrite": rewrite(random, prefixes) })),
        2 => {
            let mirror = random.maybe(&[("percentage", percent)]);
            let mut target = backend(random);
            target.as_object_mut().unwrap().shift_remove("weight");
            filters.push(
                json!({ "type": "RequestMirror", "requestMirror": with(mirror, json!({ "backendRef": target })) }),
            );
        }
        _ => {}
    }
    filters.into()
}

fn redirect(random: &mut Random, prefixes: bool) -> Value {
    let conf = random.some(&[
        ("scheme", |random| random.one_of(&["http", "https"])),
        ("hostname", hostname),
        ("port", super::values::port),
        ("statusCode", |random| random.one_of(&[301, 302, 303, 307, 308])),
    ]);
    if random.chance(50) {
        with(conf, json!({ "path": path_modifier(random, prefixes) }))
    } else {
        conf
    }
}

fn rewrite(random: &mut Random, prefixes: bool) -> Value {
    match random.below(3) {
        0 => json!({ "hostname": hostname(random) }),
        1 => json!({ "path": path_modifier(random, prefixes) }),
        _ => json!({ "hostname": hostname(random), "path": path_modifier(random, prefixes) }),
    }
}

fn path_modifier(random: &mut Random, prefixes: bool) -> Value {
    if prefixes && random.chance(60) {
        json!({ "type": "ReplacePrefixMatch", "replacePrefixMatch": random.one_of(&["/", "/new", "/new/", "", "/\\1"]) })
    } else {
        json!({ "type": "ReplaceFullPath", "replaceFullPath": random.one_of(&["/", "/new", "/new/", "/\\1", "/%20", "/%REQ(a)%"]) })
    }
}

fn hostname(random: &mut Random) -> Value {
    random.one_of(&["example.com", "orders.mesh", "a-1.b"])
}

fn backend(random: &mut Random) -> Value {
    let mut backend = match random.below(4) {
        0 => {
            json!({ "kind": "MeshMultiZoneService", "name": random.one_of(names::MULTI_ZONE), "port": random.one_of(names::PORTS) })
        }
        1 => json!({
            "kind": "MeshMultiZoneService",
            "labels": { "kuma.io/display-name": random.one_of(names::MULTI_ZONE) },
            "port": random.one_of(names::PORTS),
        }),
        2 => {
            json!({ "kind": "MeshService", "labels": { "kuma.io/display-name": random.one_of(names::SERVICES) }, "port": random.one_of(names::PORTS) })
        }
        _ => {
            json!({ "kind": "MeshService", "name": random.one_of(names::SERVICES), "port": random.one_of(names::PORTS) })
        }
    };
    if random.chance(70) {
        backend["weight"] = random.one_of(&[0u32, 1, 10, 90, 1000, 1 << 30]);
    }
    backend
}
