#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use super::record::{Record, take};
use super::*;
use proptest::prelude::*;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;

/// MessagePack of a value, as short as it can be for small ones.
fn pack(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Null => out.push(0xc0),
        Value::Bool(value) => out.push(if *value { 0xc3 } else { 0xc2 }),
        Value::Number(number) => {
            out.push(0xcb);
            out.extend(number.as_f64().unwrap().to_be_bytes());
        }
        Value::String(text) => {
            out.push(0xdb);
            out.extend(u32::try_from(text.len()).unwrap().to_be_bytes());
            out.extend(text.as_bytes());
        }
        Value::Array(items) => {
            out.push(0xdc);
            out.extend(u16::try_from(items.len()).unwrap().to_be_bytes());
            items.iter().for_each(|item| pack(item, out));
        }
        Value::Object(fields) => {
            out.push(0x80 | u8::try_from(fields.len()).unwrap());
            for (key, value) in fields {
                pack(&Value::from(key.as_str()), out);
                pack(value, out);
            }
        }
    }
}

fn message(records: &[(&str, Value)]) -> Vec<u8> {
    let entries: Vec<_> = records
        .iter()
        .map(|(address, message)| serde_json::json!([1.0, { "address": address, "message": message }]))
        .collect();
    let mut out = Vec::new();
    pack(
        &serde_json::json!(["access_log", entries, { "fluent_signal": 2.0 }]),
        &mut out,
    );
    out
}

fn record(address: &str, line: &str) -> Record {
    Record {
        address: address.to_owned(),
        line: line.to_owned(),
    }
}

#[test]
fn records_are_lines_and_objects_with_their_fields_in_order() {
    let object = serde_json::json!([{ "z": "1" }, { "a": 2.5 }, { "q\"": null }]);
    let bytes = message(&[
        ("a:1", "GET /".into()),
        ("b:2", object),
        ("c:3", "two\nlines".into()),
        ("d:4", Value::Null),
    ]);
    let (records, length) = take(&bytes).unwrap().unwrap();
    assert_eq!(length, bytes.len());
    assert_eq!(
        records,
        [
            record("a:1", "GET /"),
            record("b:2", r#"{"z":"1","a":2.5,"q\"":null}"#),
            record("c:3", "two lines"),
        ]
    );
}

#[test]
fn a_message_is_waited_for_and_not_for_ever() {
    let bytes = message(&[("a:1", "GET /".into())]);
    for end in 0..bytes.len() {
        assert_eq!(take(&bytes[..end]), Ok(None), "{end}");
    }
    assert_eq!(take(&[0xdb, 0xff, 0xff, 0xff, 0xff]), Err(RecordError::TooLong));
    assert_eq!(take(&[0x91; 64]), Err(RecordError::TooDeep));
    assert_eq!(take(&[0xc1]), Err(RecordError::Malformed(0xc1)));
    assert_eq!(take(&[0x01]), Err(RecordError::Unexpected));
}

proptest! {
    #[test]
    fn no_bytes_harm(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(Some((_, length))) = take(&bytes) {
            prop_assert!(length > 0 && length <= bytes.len());
        }
    }
}

#[tokio::test]
async fn lines_arrive_where_they_belong_again_after_an_outage() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access-log.sock");
    // What an agent before left behind.
    drop(UnixListener::bind(&path).unwrap());
    let sink = LogSink::bind(&path, SocketMark(0)).unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(sink.serve());

    let backend = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = backend.local_addr().unwrap();
    let text = address.to_string();
    let mut envoy = UnixStream::connect(&path).await.unwrap();
    let first = message(&[
        (&text, "one".into()),
        ("127.0.0.1:1", "lost".into()),
        (&text, "two".into()),
    ]);
    // In two parts, as a stream may cut it.
    envoy.write_all(&first[..7]).await.unwrap();
    envoy.write_all(&first[7..]).await.unwrap();
    let (stream, _) = backend.accept().await.unwrap();
    let mut lines = BufReader::new(stream).lines();
    assert_eq!(lines.next_line().await.unwrap().unwrap(), "one");
    assert_eq!(lines.next_line().await.unwrap().unwrap(), "two");

    drop((lines, backend));
    let more = message(&[(&text, "more".into())]);
    let backend = TcpListener::bind(address).await.unwrap();
    let stream = loop {
        envoy.write_all(&more).await.unwrap();
        tokio::select! {
            accepted = backend.accept() => break accepted.unwrap().0,
            () = tokio::time::sleep(Duration::from_millis(20)) => {}
        }
    };
    assert_eq!(
        BufReader::new(stream).lines().next_line().await.unwrap().unwrap(),
        "more"
    );
}

#[tokio::test]
async fn what_is_no_record_ends_its_connection_only() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access-log.sock");
    let mut tasks = JoinSet::new();
    tasks.spawn(LogSink::bind(&path, SocketMark(0)).unwrap().serve());
    let mut broken = UnixStream::connect(&path).await.unwrap();
    broken.write_all(&[0xc1]).await.unwrap();
    assert_eq!(broken.read(&mut [0; 8]).await.unwrap_or(0), 0);

    let backend = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut envoy = UnixStream::connect(&path).await.unwrap();
    let text = backend.local_addr().unwrap().to_string();
    envoy.write_all(&message(&[(&text, "still".into())])).await.unwrap();
    let (stream, _) = backend.accept().await.unwrap();
    assert_eq!(
        BufReader::new(stream).lines().next_line().await.unwrap().unwrap(),
        "still"
    );
}
