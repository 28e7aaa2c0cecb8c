//! How a command fails: what kind it is decides the exit code, which is a promise.

use std::fmt;

use crate::diagnostic::{Diagnostic, SourceMap, Span};

/// Whose failure it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A build step failed, or checks found something: exit code 1.
    Build,
    /// The command line is wrong: 2.
    Usage,
    /// The user's files are wrong: 3.
    Definition,
    /// This host can't: 4.
    Environment,
    /// A registry or remote worker failed: 5.
    Remote,
    /// The lockfile does not match: 6.
    Lock,
    /// A bug of ours: 70.
    Bug,
    /// The user asked to stop: 130.
    Interrupted,
}

/// Why a command failed, for the person who ran it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Whose it is.
    pub kind: Kind,
    /// What failed: `error: …` with location, notes and all; several lines are fine.
    pub text: String,
    /// What to do about it, one action each.
    pub hints: Vec<String>,
    /// What goes to standard output all the same, for programs.
    pub data: String,
}

impl Failure {
    /// Returns a failure whose text is `error: ` and `message`.
    pub fn new(kind: Kind, message: impl fmt::Display) -> Failure {
        Failure {
            kind,
            text: format!("error: {}", without_codes(&message.to_string())),
            hints: Vec::new(),
            data: String::new(),
        }
    }

    /// Returns a failure whose text is `error: `, `error` and what caused it.
    pub fn caused(kind: Kind, error: &dyn std::error::Error) -> Failure {
        Failure::new(kind, with_causes(error))
    }

    /// Returns a failure whose text stands as it is, for rendered diagnostics.
    pub fn rendered(kind: Kind, text: String) -> Failure {
        Failure { kind, text, hints: Vec::new(), data: String::new() }
    }

    /// Puts the place that it is about before the message, and the line below it.
    #[must_use]
    pub fn at(self, span: Span, sources: &SourceMap) -> Failure {
        let text = self.text.strip_prefix("error: ").unwrap_or(&self.text);
        let (message, rest) = text.split_at(text.find('\n').unwrap_or(text.len()));
        let text = Diagnostic::error(span, message).render(sources) + rest;
        Failure { text, ..self }
    }

    /// Adds what goes to standard output.
    #[must_use]
    pub fn data(self, data: String) -> Failure {
        Failure { data, ..self }
    }

    /// Adds a fact.
    #[must_use]
    pub fn note(mut self, note: impl fmt::Display) -> Failure {
        self.text.push_str(&format!("\nnote: {note}"));
        self
    }

    /// Adds a text of its own after an empty line.
    #[must_use]
    pub fn paragraph(mut self, text: &str) -> Failure {
        self.text.push_str(&format!("\n\n{text}"));
        self
    }

    /// Adds what to do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Failure {
        self.hints.push(hint.into());
        self
    }

    /// Adds what to do, where that is known.
    #[must_use]
    pub fn hints(mut self, hints: impl IntoIterator<Item = String>) -> Failure {
        self.hints.extend(hints);
        self
    }

    /// Returns the exit code.
    pub fn exit_code(&self) -> u8 {
        match self.kind {
            Kind::Build => 1,
            Kind::Usage => 2,
            Kind::Definition => 3,
            Kind::Environment => 4,
            Kind::Remote => 5,
            Kind::Lock => 6,
            Kind::Bug => 70,
            Kind::Interrupted => 130,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)?;
        for hint in &self.hints {
            write!(f, "\nhint: {hint}")?;
        }
        Ok(())
    }
}

/// Returns an error's text with that of its causes, those left out that it says already.
pub fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    without_codes(&text)
}

/// Returns `text` without what the standard library adds to an operating system's reason, ` (os error 28)`, and with it
/// the name of a temporary file, ` at path "…"`: neither says anything to a user.
pub(super) fn without_codes(text: &str) -> String {
    let mut rest = text;
    let mut plain = String::with_capacity(text.len());
    while let Some((before, after)) = rest.split_once(" (os error ") {
        let Some((_, mut after)) = after.split_once(')').filter(|(code, _)| code.parse::<i32>().is_ok()) else { break };
        if let Some((_, behind)) = after.strip_prefix(" at path \"").and_then(|path| path.split_once('"')) {
            after = behind;
        }
        plain.push_str(before);
        rest = after;
    }
    plain + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_operating_systems_reason_stands_without_its_number() {
        let cases = [
            ("cannot copy `a`: No space left on device (os error 28)", "cannot copy `a`: No space left on device"),
            ("x: Denied (os error 13) at path \"/t/.tmp5\", twice (os error 2)", "x: Denied, twice"),
            ("cannot read ` (os error x`", "cannot read ` (os error x`"),
        ];
        for (text, plain) in cases {
            assert_eq!(Failure::new(Kind::Build, text).text, format!("error: {plain}"));
        }
    }
}
