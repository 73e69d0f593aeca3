//! Ages as kumactl prints them: `5s 12m 3h 9d 2y`, or `never`.

use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// The age of `then` in its largest whole unit. Times in the future (another host's clock) are `0s`.
pub fn age(now: OffsetDateTime, then: Option<OffsetDateTime>) -> String {
    let Some(then) = then else {
        return "never".to_owned();
    };
    let seconds = (now - then).whole_seconds().max(0);
    const UNITS: [(i64, &str); 4] = [(365 * 86_400, "y"), (86_400, "d"), (3_600, "h"), (60, "m")];
    match UNITS.iter().find(|(size, _)| seconds >= *size) {
        Some((size, unit)) => format!("{}{unit}", seconds / size),
        None => format!("{seconds}s"),
    }
}

/// The age of a resource: time since its `modificationTime`.
pub fn of_resource(now: OffsetDateTime, resource: &Value) -> String {
    let time = resource.get("modificationTime").and_then(Value::as_str);
    age(now, time.and_then(|text| OffsetDateTime::parse(text, &Rfc3339).ok()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::Duration;

    #[test]
    fn largest_whole_unit() {
        let now = OffsetDateTime::UNIX_EPOCH + Duration::days(10_000);
        for (seconds, expected) in [
            (-5, "0s"),
            (5, "5s"),
            (59, "59s"),
            (60, "1m"),
            (12 * 60 + 59, "12m"),
            (3 * 3600, "3h"),
            (9 * 86_400, "9d"),
            (364 * 86_400, "364d"),
            (2 * 365 * 86_400, "2y"),
        ] {
            assert_eq!(age(now, Some(now - Duration::seconds(seconds))), expected);
        }
        assert_eq!(age(now, None), "never");
    }
}
