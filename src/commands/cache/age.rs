//! Times as people say them.

use super::super::Host;

/// Returns how long ago a time (seconds since 1970) was.
pub fn ago(then: i64, host: &Host) -> String {
    let now = i64::try_from(host.now.as_secs()).unwrap_or(i64::MAX);
    let seconds = now.saturating_sub(then).max(0);
    const UNITS: [(i64, &str); 5] =
        [(7 * 86_400, "week"), (86_400, "day"), (3600, "hour"), (60, "minute"), (1, "second")];
    let Some((length, unit)) = UNITS.into_iter().find(|(length, _)| seconds >= *length) else {
        return "just now".to_owned();
    };
    match seconds / length {
        1 => format!("1 {unit} ago"),
        n => format!("{n} {unit}s ago"),
    }
}
