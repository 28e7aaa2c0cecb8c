//! What interpolation sees: `--var`, the environment, `.env`; and the notation of such files.

use std::collections::{BTreeMap, BTreeSet};

use super::super::Options;
use super::super::spec::parse_bool;
use super::template::{Lookup, substitute};
use crate::diagnostic::{Diagnostic, Diagnostics, Span};

/// Variables for Compose files: the first layer that has one counts.
#[derive(Clone)]
pub(super) struct Environment<'a> {
    options: &'a Options<'a>,
    sees_environment: bool,
    /// Those of `.env`, then of files that an `include` names.
    files: Vec<BTreeMap<String, String>>,
    project: Option<String>,
}

impl<'a> Environment<'a> {
    pub(super) fn new(options: &'a Options<'a>) -> Environment<'a> {
        let switch = (options.env)("BUILDX_BAKE_DISABLE_VARS_ENV_LOOKUP");
        let sees_environment = switch.and_then(|text| parse_bool(&text)) != Some(true);
        Environment { options, sees_environment, files: Vec::new(), project: None }
    }

    /// Returns a variable's value.
    pub(super) fn get(&self, name: &str) -> Option<String> {
        if name == "COMPOSE_PROJECT_NAME" && self.project.is_some() {
            return self.project.clone();
        }
        let given = self.options.vars.iter().rev().find(|(known, _)| known == name).map(|(_, value)| value.clone());
        let environment = || if self.sees_environment { (self.options.env)(name) } else { None };
        let file = || self.files.iter().find_map(|file| file.get(name).cloned());
        given.or_else(environment).or_else(file)
    }

    /// Adds a file's variables, which count where nothing else says.
    ///
    /// # Errors
    /// The first line that is wrong.
    pub(super) fn add_file(&mut self, text: &str) -> Result<(), String> {
        let file = parse_variables(text, &|name| self.get(name))?;
        self.files.push(file);
        Ok(())
    }

    /// Sets what COMPOSE_PROJECT_NAME is; without a name, what the environment says, or `bake`.
    pub(super) fn set_project(&mut self, name: Option<String>) {
        let own = || self.get("COMPOSE_PROJECT_NAME").filter(|name| !name.is_empty());
        self.project = Some(name.or_else(own).unwrap_or_else(|| "bake".to_owned()));
    }
}

/// Interpolates one text, and notes variables that have no value.
pub(super) struct Interpolation<'a, 'b> {
    pub(super) environment: &'a Environment<'b>,
    pub(super) findings: &'a mut Diagnostics,
    pub(super) told: &'a mut BTreeSet<String>,
    pub(super) span: Span,
}

impl Lookup for Interpolation<'_, '_> {
    fn get(&self, name: &str) -> Option<String> {
        self.environment.get(name)
    }

    fn is_missing(&mut self, name: &str) {
        if self.told.insert(name.to_owned()) {
            let finding = Diagnostic::warning(self.span, format!("the variable {name} is not set; it is empty here"));
            self.findings.push(finding.hint(format!("write `${{{name}:-}}` if it may be empty")));
        }
    }
}

struct FileLookup<'a> {
    earlier: &'a BTreeMap<String, String>,
    outside: &'a dyn Fn(&str) -> Option<String>,
}

impl Lookup for FileLookup<'_> {
    fn get(&self, name: &str) -> Option<String> {
        (self.outside)(name).or_else(|| self.earlier.get(name).cloned())
    }

    fn is_missing(&mut self, _: &str) {}
}

/// Reads `KEY=VALUE` lines: comments, `export`, quotes, and variables of lines before or of `outside`.
///
/// # Errors
/// What is wrong with the first wrong line.
pub(super) fn parse_variables(
    text: &str,
    outside: &dyn Fn(&str) -> Option<String>,
) -> Result<BTreeMap<String, String>, String> {
    let mut variables = BTreeMap::new();
    let text = text.strip_prefix('\u{feff}').unwrap_or(text).replace("\r\n", "\n");
    let mut rest = text.as_str();
    loop {
        rest = rest.trim_start();
        if rest.is_empty() {
            return Ok(variables);
        }
        let line = 1 + text[..text.len() - rest.len()].matches('\n').count();
        if rest.starts_with('#') {
            rest = rest.find('\n').map_or("", |at| &rest[at..]);
            continue;
        }
        let at_line = |why: String| format!("line {line}: {why}");
        let statement = rest.strip_prefix("export").filter(|after| after.starts_with([' ', '\t'])).unwrap_or(rest);
        let statement = statement.trim_start();
        let end = statement.find(['=', ':', '\n']).unwrap_or(statement.len());
        let key = statement[..end].trim_end();
        let is_part = |c: char| c.is_alphanumeric() || "_.-[]".contains(c);
        if key.is_empty() || !key.chars().all(is_part) {
            return Err(at_line(format!("`{key}` is no name of a variable")));
        }
        let after = &statement[end..];
        if after.is_empty() || after.starts_with('\n') {
            variables.extend(outside(key).map(|value| (key.to_owned(), value)));
            rest = after;
            continue;
        }
        let after = after[1..].trim_start_matches([' ', '\t', '\r']);
        let (value, left) = value(after, &variables, outside).map_err(at_line)?;
        variables.insert(key.to_owned(), value);
        rest = left;
    }
}

/// Reads a value and returns what follows it.
fn value<'a>(
    text: &'a str,
    earlier: &BTreeMap<String, String>,
    outside: &dyn Fn(&str) -> Option<String>,
) -> Result<(String, &'a str), String> {
    let mut lookup = FileLookup { earlier, outside };
    let Some(quote) = text.chars().next().filter(|c| matches!(c, '"' | '\'')) else {
        let (line, rest) = text.split_once('\n').unwrap_or((text, ""));
        let line = line.split(" #").next().unwrap_or(line);
        return Ok((substitute(line.trim_end(), &mut lookup)?, rest));
    };
    let mut inside = String::new();
    let mut chars = text.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            c if c == quote => {
                let value = if quote == '"' { substitute(&inside, &mut lookup)? } else { inside };
                return Ok((value, &text[at + 1..]));
            }
            '\\' => match chars.next() {
                Some((_, c)) if c == quote => inside.push(c),
                Some((_, c)) if quote == '"' => inside.push_str(&escaped(c)),
                Some((_, c)) => inside.extend(['\\', c]),
                None => break,
            },
            c => inside.push(c),
        }
    }
    Err(format!("the quote {quote} is not closed"))
}

/// Returns what a backslash and `c` mean between double quotes; `$$` is a dollar sign to the template.
fn escaped(c: char) -> String {
    match c {
        'n' => "\n".into(),
        'r' => "\r".into(),
        't' => "\t".into(),
        'a' => "\u{7}".into(),
        'b' => "\u{8}".into(),
        'f' => "\u{c}".into(),
        'v' => "\u{b}".into(),
        '$' => "$$".into(),
        '\\' => "\\".into(),
        c => format!("\\{c}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_give_values() {
        let text = "# c\nexport A=1 # one\nB = 'x$A'\nC=\"${A}\\n\\$A\"\nD: y\nE\nF=a#b\nG=\nH='two\nlines'\n";
        let outside = |name: &str| (name == "E").then(|| "e".to_owned());
        let found = parse_variables(text, &outside).unwrap_or_default();
        let shown: Vec<String> = found.iter().map(|(key, value)| format!("{key}={value}")).collect();
        assert_eq!(shown, ["A=1", "B=x$A", "C=1\n$A", "D=y", "E=e", "F=a#b", "G=", "H=two\nlines"]);
    }

    #[test]
    fn a_wrong_line_is_named() {
        assert_eq!(parse_variables("A=1\n\nB='x", &|_| None), Err("line 3: the quote ' is not closed".into()));
        assert_eq!(parse_variables("a b=1", &|_| None), Err("line 1: `a b` is no name of a variable".into()));
    }
}
