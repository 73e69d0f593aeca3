//! Regular expressions and formats of access logs: two languages of which Envoy's own parsers have the last word. Random text in them
//! is made until the model takes it, so that what only the model takes is found.

use meshspan_model::Violations;
use meshspan_model::kinds::mesh_access_log::PLAIN_OPERATORS;
use meshspan_model::kinds::mesh_access_log::format::parse;
use meshspan_model::policy::values::check_regex;
use serde_json::Value;

use crate::random::Random;

const TRIES: usize = 30;

/// An expression that the model takes for RE2's.
pub fn regex(random: &mut Random) -> Value {
    let is_valid = |text: &str| {
        let mut violations = Violations::new();
        check_regex(text, String::new(), &mut violations);
        violations.into_result().is_ok()
    };
    let valid = (0..TRIES).map(|_| expression(random)).find(|text| is_valid(text));
    valid.unwrap_or_else(|| ".*".to_owned()).into()
}

/// A format that the model takes for Envoy's, after it filled in what it knows itself.
pub fn format(random: &mut Random) -> Value {
    let valid = (0..TRIES).map(|_| format_text(random)).find(|text| parse(text).is_ok());
    valid.unwrap_or_else(|| "%KUMA_MESH%".to_owned()).into()
}

fn expression(random: &mut Random) -> String {
    const ATOMS: &[&str] = &[
        "a",
        "/",
        "ä",
        ".",
        "^",
        "$",
        "-",
        " ",
        "%",
        "\"",
        "]",
        "}",
        "{",
        ",",
        "\\d",
        "\\D",
        "\\w",
        "\\W",
        "\\s",
        "\\S",
        "\\b",
        "\\B",
        "\\A",
        "\\z",
        "\\Z",
        "\\pL",
        "\\p{Greek}",
        "\\P{Lu}",
        "\\pN",
        "\\p{^Greek}",
        "\\x41",
        "\\x{e4}",
        "\\101",
        "\\0",
        "\\1",
        "\\a",
        "\\f",
        "\\n",
        "\\r",
        "\\t",
        "\\v",
        "\\C",
        "\\Q.*\\E",
        "\\.",
        "\\/",
        "\\-",
        "\\ä",
        "\\u0041",
        "\\#",
        "\\<",
        "\\&",
        "\\~",
        "\\%",
        "\\_",
        "\\:",
    ];
    const CLASSES: &[&str] = &[
        "[a-z]",
        "[^a-z]",
        "[]a]",
        "[^]a]",
        "[-a]",
        "[a-]",
        "[a\\-z]",
        "[\\d_]",
        "[^\\s\\S]",
        "[[:alpha:]]",
        "[[:^digit:]]",
        "[[:word:]-]",
        "[a-\\d]",
        "[\\pL]",
        "[[a-z]]",
        "[a-z&&[b-c]]",
        "[a--b]",
        "[a~~b]",
        "[^]",
        "[]",
        "[[]",
        "[.^$|]",
        "[\\b]",
        "[z-a]",
        "[ä-ü]",
        "[\\x00-\\x7f]",
        "[%-+]",
        "[&&]",
        "[a&&b]",
    ];
    const GROUPS: &[&str] = &[
        "(",
        "(?:",
        "(?i:",
        "(?s-i:",
        "(?P<name>",
        "(?<name>",
        "(?U:",
        "(?x:",
        "(?m)(",
        "(?i)(",
    ];
    const REPEATS: &[&str] = &[
        "*", "+", "?", "*?", "+?", "??", "{2}", "{2,}", "{2,5}", "{0}", "{0,0}", "{1000}", "{1001}", "{,3}", "**",
        "{2}{3}",
    ];
    let mut text = String::new();
    for _ in 0..random.between(1, 4) {
        let mut piece = match random.below(8) {
            0..4 => (*random.pick(ATOMS)).to_owned(),
            4..6 => (*random.pick(CLASSES)).to_owned(),
            6 => format!("{}{})", random.pick(GROUPS), expression(random)),
            _ => format!("{}|{}", random.pick(ATOMS), random.pick(&["", "b", "(c)"])),
        };
        if random.chance(40) {
            piece += *random.pick(REPEATS);
        }
        text += &piece;
    }
    text
}

fn format_text(random: &mut Random) -> String {
    const PLACEHOLDERS: &[&str] = &[
        "KUMA_MESH",
        "KUMA_SOURCE_SERVICE",
        "KUMA_SOURCE_ADDRESS",
        "KUMA_SOURCE_ADDRESS_WITHOUT_PORT",
        "KUMA_DESTINATION_SERVICE",
        "KUMA_TRAFFIC_DIRECTION",
    ];
    const OPERATORS: &[&str] = &[
        "REQ",
        "RESP",
        "TRAILER",
        "REQUEST_HEADER",
        "RESPONSE_HEADER",
        "RESPONSE_TRAILER",
        "START_TIME",
        "START_TIME_LOCAL",
        "EMIT_TIME",
        "EMIT_TIME_LOCAL",
        "DOWNSTREAM_PEER_CERT_V_START",
        "UPSTREAM_PEER_CERT_V_END",
        "DYNAMIC_METADATA",
        "ENVIRONMENT",
        "QUERY_PARAM",
        "QUERY_PARAMS",
        "CLUSTER_METADATA",
        "UPSTREAM_METADATA",
        "METADATA",
        "FILTER_STATE",
        "UPSTREAM_FILTER_STATE",
        "COMMON_DURATION",
        "GRPC_STATUS",
        "REQUESTED_SERVER_NAME",
        "RESPONSE_CODE_DETAILS",
        "PATH",
        "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT",
        "UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT",
    ];
    const PARAMETERS: &[&str] = &[
        "",
        "X-A",
        "X-A?:PATH",
        "X-A?X-B",
        "?X",
        "X-A?",
        "X A",
        "x-ä",
        ":METHOD",
        "%Y-%m-%dT%H:%M:%S.%3fZ",
        "%s.%9f",
        "%E4Y%Q",
        "%f%f",
        "%3",
        "%%",
        "%",
        "a:b",
        "a:b:c",
        "a:",
        ":a",
        "ORIG",
        "DECODED",
        "WQ:ORIG",
        "NQ",
        "NQ:PATH",
        "WQ:ORIG_OR_PATH",
        "CAMEL_STRING",
        "SNAKE_STRING",
        "NUMBER",
        "SNI_ONLY",
        "HOST_FIRST",
        "ALLOW_WHITESPACES",
        "16",
        "128",
        "129",
        "ROUTE:k",
        "DYNAMIC:k:j",
        "CLUSTER",
        "LISTENER:k",
        "VIRTUAL_HOST:a:b:c",
        "key:PLAIN",
        "key:TYPED",
        "key:FIELD:name",
        "key:FIELD",
        "DS_RX_BEG:DS_TX_END:ms",
        "DS_RX_BEG:US_RX_END",
        "US_TX_BEG:US_TX_END:ns",
        "a)b",
        "(",
        "k\"",
    ];
    const TEXTS: &[&str] = &[
        "", " ", "a", "[", "\"", "{\"a\":", "ä", "\\n", "\n", "%%", "100%%", ":", ")",
    ];
    let mut text = String::new();
    for _ in 0..random.between(1, 4) {
        text += *random.pick(TEXTS);
        let mut operator = match random.below(10) {
            0..2 => (*random.pick(PLACEHOLDERS)).to_owned(),
            2..5 => (*random.pick(PLAIN_OPERATORS)).to_owned(),
            _ => format!("{}({})", random.pick(OPERATORS), random.pick(PARAMETERS)),
        };
        if random.chance(20) {
            operator += *random.pick(&[":0", ":10", ":65536", ":"]);
        }
        text += &format!("%{operator}%");
    }
    text + *random.pick(TEXTS)
}
