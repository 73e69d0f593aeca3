//! Access logs.

use serde_json::{Value, json};

use super::values::{distinct, flag, with};
use super::{Place, expressions};
use crate::random::Random;

pub fn access_log(random: &mut Random, _: &Place) -> Value {
    json!({ "backends": random.list(0, 3, backend) })
}

fn backend(random: &mut Random) -> Value {
    match random.below(3) {
        0 => {
            let rest = random.maybe(&[("format", format)]);
            let address = json!({ "address": random.one_of(&["127.0.0.1:8000", "logs.example:514", "[::1]:9000"]) });
            json!({ "type": "Tcp", "tcp": with(rest, address) })
        }
        1 => {
            let rest = random.maybe(&[("format", format)]);
            let path = json!({ "path": random.one_of(&["/dev/stdout", "/tmp/access.log"]) });
            json!({ "type": "File", "file": with(rest, path) })
        }
        _ => {
            let endpoint = random.one_of(&["collector:4317", "collector", "10.0.0.9:4317", "[fd00::9]:4317"]);
            let rest = random.maybe(&[
                ("attributes", |random| {
                    distinct(
                        random,
                        |random| json!({ "key": random.one_of(&["mesh", "who", "a.b"]), "value": line(random) }),
                        |attribute| attribute["key"].clone(),
                    )
                }),
                ("body", |random| match random.below(3) {
                    0 => line(random),
                    1 => json!({ "kvlistValue": { "values": [{ "key": "who", "value": { "stringValue": line(random) } }] } }),
                    _ => json!({ "stringValue": line(random) }),
                }),
            ]);
            json!({ "type": "OpenTelemetry", "openTelemetry": with(rest, json!({ "endpoint": endpoint })) })
        }
    }
}

fn format(random: &mut Random) -> Value {
    let format = if random.chance(50) {
        json!({ "type": "Plain", "plain": line(random) })
    } else {
        let fields = distinct(
            random,
            |random| json!({ "key": random.one_of(&["start", "mesh", "a.b", "ä"]), "value": line(random) }),
            |field| field["key"].clone(),
        );
        json!({ "type": "Json", "json": fields })
    };
    with(random.maybe(&[("omitEmptyValues", flag)]), format)
}

/// A line with command operators of Envoy and of the control plane.
fn line(random: &mut Random) -> Value {
    if random.chance(70) {
        return expressions::format(random);
    }
    random.one_of(&[
        "[%START_TIME%] %KUMA_MESH% %REQ(:METHOD)% %RESPONSE_CODE%\n",
        "%KUMA_SOURCE_SERVICE%->%KUMA_DESTINATION_SERVICE% %KUMA_TRAFFIC_DIRECTION%",
        "%KUMA_SOURCE_ADDRESS% %KUMA_SOURCE_ADDRESS_WITHOUT_PORT% %UPSTREAM_HOST%",
        "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH):10%",
        "%DURATION%",
        "plain text",
        "\"quoted\" {braces} ä",
    ])
}
