//! Strings as the notations quote them.

use std::fmt::Write as _;

/// Doubles the first character of what would begin an interpolation or a directive.
pub(super) fn escape_markers(text: &str) -> String {
    text.replace("${", "$${").replace("%{", "%%{")
}

/// Returns the content of a quoted HCL string, markers of templates untouched.
pub(super) fn hcl_content(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => _ = write!(out, "\\u{:04x}", u32::from(c)),
            c => out.push(c),
        }
    }
    out
}

/// Returns a quoted HCL string that means `text` itself.
pub(super) fn hcl(text: &str) -> String {
    format!("\"{}\"", escape_markers(&hcl_content(text)))
}

/// Returns a JSON string: JSON and HCL escape alike.
pub(super) fn json(text: &str) -> String {
    format!("\"{}\"", hcl_content(text))
}

/// Returns a TOML string: lines where there are several, else quotes that need the least escaping.
pub(super) fn toml(text: &str) -> String {
    let is_plain = !text.chars().any(char::is_control);
    if is_plain && text.contains(['"', '\\']) && !text.contains('\'') {
        return format!("'{text}'");
    }
    let is_lines = text.ends_with('\n') && !text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\t'));
    if is_lines && text.lines().count() > 1 {
        return format!("\"\"\"\n{}\"\"\"", text.replace('\\', "\\\\").replace("\"\"\"", "\\\"\\\"\\\""));
    }
    json(text)
}

/// Returns a TOML key.
pub(super) fn toml_key(text: &str) -> String {
    let is_bare = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    if !text.is_empty() && text.chars().all(is_bare) { text.to_owned() } else { json(text) }
}

/// Says whether HCL reads `text` as one name.
pub(super) fn is_identifier(text: &str) -> bool {
    text.starts_with(|c: char| c.is_alphabetic() || c == '_')
        && text.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-'))
        && !matches!(text, "true" | "false" | "null")
}
