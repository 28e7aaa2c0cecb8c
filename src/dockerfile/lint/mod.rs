//! BuildKit's build checks: the rules, which of them run, and those that the text alone decides.
//!
//! In: a file of a [`SourceMap`]. Out: its instructions as they are written ([`Written`]) and the [`Warning`]s so far.
//! What needs a stage's variables, a platform or a base image is decided in `frontend::lint`, which takes the same
//! [`Linter`] further. Rules, texts and line numbers are those of BuildKit's `frontend/dockerfile/linter`.

mod options;
mod rules;
mod written;

use std::collections::BTreeSet;

use crate::diagnostic::{Diagnostic, SourceMap, Span};

pub use options::CheckOptions;
pub use rules::{RULES, Rule, Violation};
pub use written::{Step, Written, WrittenStage, description, trigger};

/// Lines of a file: 1-based, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LineRange {
    /// First line.
    pub first: usize,
    /// Last line; not before `first`.
    pub last: usize,
}

impl LineRange {
    /// Returns the lines of `first..=last`; a last line that is before the first counts as the first.
    pub fn new(first: usize, last: usize) -> LineRange {
        LineRange { first, last: last.max(first) }
    }

    /// Returns the line on which `span` starts.
    pub fn at(span: Span, sources: &SourceMap) -> LineRange {
        let line = sources.place(span).line;
        LineRange::new(line, line)
    }
}

/// A finding of a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// What it is.
    pub violation: Violation,
    /// Where; `None` for a mount's image, which no instruction of its own names.
    pub lines: Option<LineRange>,
}

impl Warning {
    /// Returns the rule that it is against.
    pub fn rule(&self) -> &'static Rule {
        self.violation.rule()
    }

    /// Returns the text about this very place.
    pub fn detail(&self) -> String {
        self.violation.to_string()
    }
}

/// Why a Dockerfile cannot be built, as far as the checks came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildError {
    /// What is wrong.
    pub diagnostic: Diagnostic,
    /// The instruction's lines; `None` where it is no instruction's fault.
    pub lines: Option<LineRange>,
}

/// Collects warnings, in the order in which the peer finds them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Linter {
    /// Those of the file.
    pub options: CheckOptions,
    /// So far.
    pub warnings: Vec<Warning>,
}

impl Linter {
    /// Returns the options of an instruction, which the comments before it may change.
    pub fn options_for(&self, comments: &[String]) -> CheckOptions {
        self.options.with_comments(comments)
    }

    /// Adds a warning if `options` let its rule run.
    pub fn report(&mut self, options: &CheckOptions, violation: Violation, lines: Option<LineRange>) {
        if options.runs(violation.rule()) {
            self.warnings.push(Warning { violation, lines });
        }
    }

    /// Returns the error that `error=true` makes of warnings.
    pub fn error(&self) -> Option<BuildError> {
        if !self.options.is_error || self.warnings.is_empty() {
            return None;
        }
        let names: BTreeSet<&str> = self.warnings.iter().map(|warning| warning.rule().name).collect();
        let names = names.into_iter().collect::<Vec<_>>().join(", ");
        let diagnostic = Diagnostic::error_without_place(format!("lint violation found for rules: {names}"));
        Some(BuildError { diagnostic, lines: None })
    }
}
