//! Values that many confs have, with the edges of what is valid.

use serde_json::{Value, json};

use super::expressions;
use crate::random::Random;

/// Longer than nothing.
pub fn positive_duration(random: &mut Random) -> Value {
    if random.chance(3) {
        return random.one_of(&["1ns", "1us", "2562047h"]);
    }
    random.one_of(&["1ms", "25ms", "250ms", "1s", "1.5s", "1m30s", "1h", "8760h"])
}

/// Perhaps nothing.
pub fn duration(random: &mut Random) -> Value {
    if random.chance(20) {
        return json!("0s");
    }
    positive_duration(random)
}

/// More than 0.
pub fn positive(random: &mut Random) -> Value {
    if random.chance(3) {
        return json!(u32::MAX);
    }
    random.one_of(&[1, 2, 3, 10, 1024])
}

/// Perhaps 0.
pub fn count(random: &mut Random) -> Value {
    if random.chance(20) { json!(0) } else { positive(random) }
}

/// 0 to 100, a number or a string.
pub fn percent(random: &mut Random) -> Value {
    if random.chance(30) {
        return random.one_of(&["33.3", "0.5", "99.99", "0.0000001"]);
    }
    random.one_of(&[0, 1, 10, 50, 51, 99, 100])
}

/// 0 to 100, a whole number.
pub fn whole_percent(random: &mut Random) -> Value {
    random.one_of(&[0, 1, 10, 50, 51, 99, 100])
}

pub fn flag(random: &mut Random) -> Value {
    json!(random.chance(50))
}

pub fn port(random: &mut Random) -> Value {
    random.one_of(&[1, 80, 443, 8080, 65535])
}

/// The name of a header.
pub fn header_name(random: &mut Random) -> Value {
    if random.chance(5) {
        return random.one_of(&["x!#$%&'*+-.^_`|~0", "content-length", "connection", "te"]);
    }
    random.one_of(&["x-user", "x-team", "x-version", "x-request-id", "user-agent", "accept"])
}

/// A text that a header may carry, or that is compared with one.
pub fn text(random: &mut Random) -> Value {
    match random.below(40) {
        0 => "long".repeat(500).into(),
        1..6 => random.one_of(&[
            "100%",
            "%REQ(x)%",
            "%START_TIME%",
            "%",
            "%%",
            "{}",
            "a,b;c=\"d\"",
            "ä€",
            "\\",
            "a b\tc",
            "\u{7f}",
            "\u{1}",
            " a ",
            ":",
            "=",
            "?",
            "#",
            "*.*",
            "\"",
        ]),
        _ => random.one_of(&["v1", "v2", "shop", "gzip, br", "*"]),
    }
}

/// An RE2 expression.
pub fn regex(random: &mut Random) -> Value {
    if random.chance(50) {
        return expressions::regex(random);
    }
    random.one_of(&[".*", "v[0-9]+", "/api/(users|orders)/.*", "^a$", "(?i)mesh"])
}

/// `{type, name, value}` of a header.
pub fn header_match(random: &mut Random) -> Value {
    let name = header_name(random);
    match random.below(6) {
        0 => json!({"type": "Present", "name": name}),
        1 => json!({"type": "Absent", "name": name}),
        2 => json!({"type": "RegularExpression", "name": name, "value": regex(random)}),
        3 => json!({"type": "Prefix", "name": name, "value": text(random)}),
        4 => json!({"name": name, "value": text(random)}),
        _ => json!({"type": "Exact", "name": name, "value": text(random)}),
    }
}

/// Conditions on different headers.
pub fn header_matches(random: &mut Random) -> Value {
    distinct(random, header_match, |item| item["name"].clone())
}

/// `set` and `add` of headers, each once; `remove` too if wanted.
pub fn header_modifier(random: &mut Random, remove: bool) -> Value {
    let headers = distinct(
        random,
        |random| json!({"name": header_name(random), "value": text(random)}),
        |item| item["name"].clone(),
    );
    let mut modifier = json!({});
    for header in headers.as_array().unwrap() {
        let field = *random.pick(if remove {
            &["set", "add", "remove"]
        } else {
            &["set", "add"]
        });
        let list = modifier.as_object_mut().unwrap().entry(field).or_insert(json!([]));
        let item = if field == "remove" {
            header["name"].clone()
        } else {
            header.clone()
        };
        list.as_array_mut().unwrap().push(item);
    }
    modifier
}

/// One to three items with different keys.
pub fn distinct(random: &mut Random, make: fn(&mut Random) -> Value, key: fn(&Value) -> Value) -> Value {
    let mut items: Vec<Value> = Vec::new();
    for _ in 0..random.between(1, 3) {
        let item = make(random);
        if items.iter().all(|other| key(other) != key(&item)) {
            items.push(item);
        }
    }
    items.into()
}

/// With what an object has beside others.
pub fn with(mut object: Value, fields: Value) -> Value {
    object
        .as_object_mut()
        .unwrap()
        .extend(fields.as_object().unwrap().clone());
    object
}
