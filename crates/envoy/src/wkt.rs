//! Protobuf's well-known wrappers, in which Envoy writes optional numbers, flags and times.

use envoy_types::pb::google::protobuf::{BoolValue, Duration, UInt32Value};

pub(crate) const fn uint(value: u32) -> Option<UInt32Value> {
    Some(UInt32Value { value })
}

pub(crate) const fn flag(value: bool) -> Option<BoolValue> {
    Some(BoolValue { value })
}

pub(crate) const fn time(duration: std::time::Duration) -> Option<Duration> {
    // Durations of documents end far below the limits of both types, and ours are shorter.
    Some(Duration {
        seconds: duration.as_secs() as i64,
        nanos: duration.subsec_nanos() as i32,
    })
}
