//! Protobuf's well-known wrappers, in which Envoy writes optional numbers, flags and times.

use envoy_types::pb::google::protobuf::{BoolValue, Duration, UInt32Value};
use meshspan_model::duration::GoDuration;

const NANOS_PER_MILLI: u32 = 1_000_000;

pub(crate) const fn uint(value: u32) -> Option<UInt32Value> {
    Some(UInt32Value { value })
}

pub(crate) const fn flag(value: bool) -> Option<BoolValue> {
    Some(BoolValue { value })
}

/// Envoy counts in whole milliseconds, and a part of one would be cut off to 0, which often means no limit at all: parts
/// count as whole ones.
pub(crate) const fn time(duration: std::time::Duration) -> Option<Duration> {
    let nanos = duration.subsec_nanos().next_multiple_of(NANOS_PER_MILLI);
    let full_second = nanos / (1000 * NANOS_PER_MILLI);
    // Durations of documents end far below the limits of both types, and ours are shorter.
    Some(Duration {
        seconds: duration.as_secs() as i64 + full_second as i64,
        nanos: (nanos % (1000 * NANOS_PER_MILLI)) as i32,
    })
}

/// A limit for which 0 and absence mean the same: none.
pub(crate) fn limit(value: Option<GoDuration>) -> Option<Duration> {
    value.filter(|value| !value.0.is_zero()).and_then(|value| time(value.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_milliseconds_count() {
        let read = |nanos| time(std::time::Duration::from_nanos(nanos)).map(|time| (time.seconds, time.nanos));
        assert_eq!(read(0), Some((0, 0)));
        assert_eq!(read(1), Some((0, 1_000_000)));
        assert_eq!(read(250_000_000), Some((0, 250_000_000)));
        assert_eq!(read(1_999_000_001), Some((2, 0)));
    }
}
