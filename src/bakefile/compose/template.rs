//! Interpolation: `$V`, `${V}`, `${V:-default}`, `${V-default}`, `${V:?why}`, `${V?why}`, `${V:+other}`, `${V+other}`, `$$`.
//!
//! Defaults, reasons and alternatives are templates themselves.

/// How deep templates may be nested.
const MAX_DEPTH: usize = 32;

/// Where values come from, and who hears of variables that have none.
pub(super) trait Lookup {
    /// Returns a variable's value.
    fn get(&self, name: &str) -> Option<String>;
    /// A variable without operator is not set.
    fn is_missing(&mut self, name: &str);
}

/// Replaces the variables in `template`.
///
/// # Errors
/// It is no template, or a required variable is missing.
pub(super) fn substitute(template: &str, lookup: &mut dyn Lookup) -> Result<String, String> {
    nested(template, lookup, 0)
}

fn nested(template: &str, lookup: &mut dyn Lookup, depth: usize) -> Result<String, String> {
    if depth > MAX_DEPTH {
        return Err("this template is nested too deeply".into());
    }
    let mut result = String::with_capacity(template.len());
    let mut rest = template;
    while let Some(at) = rest.find('$') {
        result.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            result.push('$');
            rest = after;
        } else if let Some(after) = rest.strip_prefix('{') {
            let Some(end) = closing_brace(after) else { return Err(invalid(template)) };
            result.push_str(&braced(&after[..end], template, lookup, depth)?);
            rest = &after[end + 1..];
        } else {
            let name = name_of(rest);
            match name.is_empty() {
                true => result.push('$'),
                false => result.push_str(&plain(name, lookup)),
            }
            rest = &rest[name.len()..];
        }
    }
    result.push_str(rest);
    Ok(result)
}

fn invalid(template: &str) -> String {
    format!("`{template}` is no valid template; write `$$` for a dollar sign")
}

/// Returns the name at the start of a text, which may be empty.
fn name_of(text: &str) -> &str {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if text.starts_with(|first: char| first.is_ascii_digit()) {
        return "";
    }
    &text[..text.find(|c| !is_part(c)).unwrap_or(text.len())]
}

/// Returns where the brace closes that was opened just before `text`.
fn closing_brace(text: &str) -> Option<usize> {
    let mut n_open = 1;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'{' => n_open += 1,
            b'}' => n_open -= 1,
            b'\n' => return None,
            _ => {}
        }
        if n_open == 0 {
            return Some(at);
        }
    }
    // Unbalanced braces in a default: the last one of the line closes it.
    text.rfind('}')
}

fn plain(name: &str, lookup: &mut dyn Lookup) -> String {
    lookup.get(name).unwrap_or_else(|| {
        lookup.is_missing(name);
        String::new()
    })
}

fn braced(inside: &str, template: &str, lookup: &mut dyn Lookup, depth: usize) -> Result<String, String> {
    let name = name_of(inside);
    if name.is_empty() {
        return Err(invalid(template));
    }
    let rest = &inside[name.len()..];
    if rest.is_empty() {
        return Ok(plain(name, lookup));
    }
    let (counts_empty, rest) = rest.strip_prefix(':').map_or((true, rest), |rest| (false, rest));
    let value = lookup.get(name);
    let is_there = value.as_ref().is_some_and(|value| counts_empty || !value.is_empty());
    let mut chars = rest.chars();
    let operator = chars.next();
    let word = chars.as_str();
    match operator {
        Some('-') if !is_there => nested(word, lookup, depth + 1),
        Some('+') if is_there => nested(word, lookup, depth + 1),
        Some('?') if !is_there => {
            let why = nested(word, lookup, depth + 1)?;
            let why = if why.is_empty() { String::new() } else { format!(": {why}") };
            Err(format!("the required variable {name} is missing a value{why}"))
        }
        Some('-' | '+' | '?') => Ok(value.unwrap_or_default()),
        _ => Err(invalid(template)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed;

    impl Lookup for Fixed {
        fn get(&self, name: &str) -> Option<String> {
            match name {
                "A" => Some("a".into()),
                "EMPTY" => Some(String::new()),
                _ => None,
            }
        }

        fn is_missing(&mut self, _: &str) {}
    }

    #[test]
    fn every_operator_does_what_a_shell_does() {
        for (template, result) in [
            ("$A-${A}", "a-a"),
            ("$$A $1 $", "$A $1 $"),
            ("${U:-d}${EMPTY:-d}${U-d}${EMPTY-d}", "ddd"),
            ("${A:+x}${EMPTY:+x}${A+x}${EMPTY+x}${U+x}", "xxx"),
            ("${U:-${EMPTY:-${A}}}/${A}", "a/a"),
            ("${U:-{\"k\": {}}}", "{\"k\": {}}"),
            ("${A:?no}${EMPTY?no}", "a"),
            ("[$UNKNOWN]", "[]"),
        ] {
            assert_eq!(substitute(template, &mut Fixed).as_deref(), Ok(result), "{template}");
        }
    }

    #[test]
    fn what_is_required_or_no_template_is_an_error() {
        let why = substitute("${EMPTY:?give $A}", &mut Fixed);
        assert_eq!(why, Err("the required variable EMPTY is missing a value: give a".into()));
        for template in ["${", "${}", "${A", "${1}", "${A:x}", "${A!}"] {
            assert!(substitute(template, &mut Fixed).is_err(), "{template}");
        }
        assert!(substitute(&"${U:-".repeat(100), &mut Fixed).is_err());
        let deep = format!("{}{}", "${U:-".repeat(100), "}".repeat(100));
        assert_eq!(substitute(&deep, &mut Fixed), Err("this template is nested too deeply".into()));
    }
}
