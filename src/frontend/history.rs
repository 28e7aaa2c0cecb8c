//! The words that BuildKit writes into an image's history.

use std::fmt::Write as _;

use crate::oci::{Healthcheck, HistoryEntry, ImageConfig};

/// Whether an instruction makes a layer.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Layer {
    Made,
    None,
}

/// Adds an entry for what an instruction of the Dockerfile did.
pub(super) fn add(config: &mut ImageConfig, created: &str, text: impl Into<String>, layer: Layer) {
    config.history.push(HistoryEntry {
        created: Some(created.to_owned()),
        created_by: text.into(),
        author: String::new(),
        comment: "buildkit.dockerfile.v0".to_owned(),
        empty_layer: layer == Layer::None,
    });
}

/// Quotes an argument list as Go's `%q` does: `["a" "b"]`.
pub(super) fn quoted_list(arguments: &[String]) -> String {
    let quoted: Vec<String> = arguments.iter().map(|argument| quoted(argument)).collect();
    format!("[{}]", quoted.join(" "))
}

fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{b}' => out.push_str("\\v"),
            c if (c as u32) < 0x20 || c as u32 == 0x7f => _ = write!(out, "\\x{:02x}", c as u32),
            c if c.is_control() || (c.is_whitespace() && c != ' ') || c == '\u{feff}' => {
                _ = write!(out, "\\u{:04x}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// Shows a health check as Go's `%v` shows the struct.
pub(super) fn healthcheck(check: &Healthcheck) -> String {
    format!(
        "{{Test:[{}] Interval:{} Timeout:{} StartPeriod:{} StartInterval:{} Retries:{}}}",
        check.test.join(" "),
        duration(check.interval),
        duration(check.timeout),
        duration(check.start_period),
        duration(check.start_interval),
        check.retries
    )
}

/// Shows nanoseconds as Go shows a duration: `1h0m0s`, `1.5s`, `300ms`.
fn duration(ns: u64) -> String {
    const UNITS: [(u64, &str); 3] = [(1_000_000, "ms"), (1_000, "µs"), (1, "ns")];
    if ns == 0 {
        return "0s".to_owned();
    }
    if ns < 1_000_000_000 {
        let (scale, unit) = UNITS.into_iter().find(|(scale, _)| ns >= *scale).unwrap_or((1, "ns"));
        return format!("{}{unit}", decimal(ns, scale));
    }
    let seconds = ns / 1_000_000_000;
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    let mut text = String::new();
    if hours > 0 {
        _ = write!(text, "{hours}h");
    }
    if hours > 0 || minutes > 0 {
        _ = write!(text, "{minutes}m");
    }
    let rest = decimal(ns % 60_000_000_000, 1_000_000_000);
    _ = write!(text, "{rest}s");
    text
}

fn decimal(value: u64, scale: u64) -> String {
    let width = scale.ilog10() as usize;
    let fraction = format!("{:0width$}", value % scale);
    let fraction = fraction.trim_end_matches('0');
    let whole = value / scale;
    if fraction.is_empty() || width == 0 { whole.to_string() } else { format!("{whole}.{fraction}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_shows_it_so() {
        for (ns, text) in [
            (0, "0s"),
            (1, "1ns"),
            (1_500, "1.5µs"),
            (300_000_000, "300ms"),
            (1_500_000_000, "1.5s"),
            (60_000_000_000, "1m0s"),
            (3_661_000_000_000, "1h1m1s"),
        ] {
            assert_eq!(duration(ns), text);
        }
        let arguments = ["a\"b\\".to_owned(), "ä\n\u{1}\u{a0}".to_owned()];
        assert_eq!(quoted_list(&arguments), "[\"a\\\"b\\\\\" \"ä\\n\\x01\\u00a0\"]");
    }
}
