//! Times in log entries: RFC 3339, UTC, milliseconds.

use jiff::Timestamp;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Formats as RFC 3339 in UTC, with milliseconds.
pub fn format(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let millis = i64::try_from(since.as_millis()).unwrap_or(i64::MAX);
    Timestamp::from_millisecond(millis).map(|timestamp| format!("{timestamp:.3}")).unwrap_or_default()
}

/// Parses RFC 3339, truncated to milliseconds; `None` for anything else and for times before 1970.
pub fn parse(text: &str) -> Option<SystemTime> {
    let timestamp: Timestamp = text.parse().ok()?;
    Some(UNIX_EPOCH + Duration::from_millis(u64::try_from(timestamp.as_millisecond()).ok()?))
}

/// Truncates a time to milliseconds, the resolution of logs.
pub(crate) fn to_millisecond(time: SystemTime) -> SystemTime {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    UNIX_EPOCH + Duration::from_millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
