//! Which checks run: `# check=skip=…;error=…;experimental=…`, at the top of the file, before an instruction, or in place
//! of the former as the build argument `BUILDKIT_DOCKERFILE_CHECK`.

use std::collections::BTreeSet;

use super::Rule;
use crate::text::parse_bool;

/// A set of rules.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Names {
    All,
    Listed(BTreeSet<String>),
}

impl Default for Names {
    fn default() -> Names {
        Names::Listed(BTreeSet::new())
    }
}

impl Names {
    fn parse(text: &str) -> Names {
        match text {
            "all" => Names::All,
            text => Names::Listed(text.split(',').map(|name| name.trim().to_owned()).collect()),
        }
    }

    fn has(&self, name: &str) -> bool {
        match self {
            Names::All => true,
            Names::Listed(names) => names.contains(name),
        }
    }

    fn add(&mut self, other: Names) {
        match (&mut *self, other) {
            (Names::All, _) => {}
            (_, Names::All) => *self = Names::All,
            (Names::Listed(names), Names::Listed(more)) => names.extend(more),
        }
    }
}

/// Which checks run and what a finding means.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckOptions {
    skip: Names,
    experimental: Names,
    /// A finding fails the build.
    pub is_error: bool,
}

impl CheckOptions {
    /// Reads `skip=A,B;error=true;experimental=all`; blank text is the default.
    ///
    /// # Errors
    /// A key is unknown, or `error` is no bool.
    pub fn parse(text: &str) -> Result<CheckOptions, String> {
        let mut options = CheckOptions::default();
        if text.trim().is_empty() {
            return Ok(options);
        }
        for part in text.trim().splitn(3, ';') {
            let (key, value) = part.split_once('=').ok_or_else(|| format!("`{part}` is no check option"))?;
            let value = value.trim();
            match key.trim() {
                "skip" => options.skip = Names::parse(value),
                "experimental" => options.experimental = Names::parse(value),
                "error" => {
                    let is_error = parse_bool(value);
                    options.is_error =
                        is_error.ok_or_else(|| format!("check option `error` is true or false, not `{value}`"))?;
                }
                key => return Err(format!("unknown check option `{key}`")),
            }
        }
        Ok(options)
    }

    /// Returns these options with what the comments before an instruction add: the first `check=…` among them, up to a
    /// blank. `error` counts only at the top of the file.
    #[must_use]
    pub fn with_comments(&self, comments: &[String]) -> CheckOptions {
        let mut options = self.clone();
        let value = comments.iter().find_map(|comment| {
            let (key, value) = comment.split_once('=')?;
            (key.trim().eq_ignore_ascii_case("check") && !value.trim().is_empty()).then(|| value.trim())
        });
        let value = value.map(|value| value.split(' ').next().unwrap_or(value));
        if let Some(Ok(more)) = value.map(CheckOptions::parse) {
            options.skip.add(more.skip);
            options.experimental.add(more.experimental);
        }
        options
    }

    /// Says whether `rule` runs. An experimental rule runs only where it is asked for, and `skip` does not stop it.
    pub fn runs(&self, rule: &Rule) -> bool {
        if rule.is_experimental { self.experimental.has(rule.name) } else { !self.skip.has(rule.name) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::RULES;
    use super::*;

    fn running(options: &CheckOptions) -> Vec<&'static str> {
        RULES.iter().filter(|rule| options.runs(rule)).map(|rule| rule.name).collect()
    }

    #[test]
    fn rules_are_skipped_and_experimental_ones_asked_for() {
        let usual = running(&CheckOptions::default());
        assert_eq!(usual.len(), RULES.len() - 1);
        let options = CheckOptions::parse("skip=StageNameCasing, FromAsCasing;error=true").expect("valid");
        assert!(options.is_error);
        assert_eq!(running(&options).len(), usual.len() - 2);
        let options = CheckOptions::parse("skip=all;experimental=all").expect("valid");
        assert_eq!(running(&options), ["InvalidDefinitionDescription"]);
    }

    #[test]
    fn comments_add_to_the_file() {
        let options = CheckOptions::parse("skip=StageNameCasing").expect("valid");
        let more = options.with_comments(&["x".to_owned(), "check=skip=FromAsCasing;error=true words".to_owned()]);
        assert_eq!(running(&more).len(), RULES.len() - 3);
        assert!(!more.is_error);
        assert_eq!(options.with_comments(&["check=nonsense".to_owned()]), options);
    }

    #[test]
    fn unknown_options_are_refused() {
        for text in ["skip", "skp=all", "error=maybe", "skip=A;error=true;experimental=all;x=y"] {
            let result = CheckOptions::parse(text);
            // The third part takes the rest, so that a fourth is a rule's name.
            assert_eq!(result.is_err(), text.matches(';').count() < 3, "{text}: {result:?}");
        }
    }
}
