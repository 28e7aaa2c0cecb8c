//! `--name[=value]` of an instruction against the flags that it knows.

use std::collections::BTreeMap;

use crate::diagnostic::{Diagnostic, Diagnostics, Span, nearest};

use super::syntax::Node;
use super::words::Word;

/// What a flag takes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Takes {
    /// Nothing, `=true` or `=false`.
    Bool,
    /// A value, once.
    Text,
    /// A value, any number of times.
    List,
}

/// The flags of one instruction.
#[derive(Default)]
pub(super) struct Flags(BTreeMap<&'static str, Vec<Word>>);

impl Flags {
    /// Reads the flags of `node`; pushes an error for each that is wrong.
    pub(super) fn parse(node: &Node, known: &[(&'static str, Takes)], found: &mut Diagnostics) -> Flags {
        let mut flags = Flags::default();
        for word in &node.flags {
            match flag(node, word, known) {
                Ok((name, takes, value)) => {
                    let values = flags.0.entry(name).or_default();
                    if !values.is_empty() && takes != Takes::List {
                        found.push(Diagnostic::error(word.span, format!("flag `--{name}` is given twice")));
                        continue;
                    }
                    values.push(value);
                }
                Err(error) => found.push(error),
            }
        }
        flags
    }

    pub(super) fn text(&self, name: &str) -> Option<Word> {
        self.0.get(name)?.first().cloned()
    }

    pub(super) fn list(&self, name: &str) -> Vec<Word> {
        self.0.get(name).cloned().unwrap_or_default()
    }

    pub(super) fn bool(&self, name: &str) -> Option<bool> {
        Some(self.text(name)?.text == "true")
    }

    /// Returns where a flag is that is not `=false`.
    pub(super) fn span_if_on(&self, name: &str) -> Option<Span> {
        self.text(name).filter(|word| word.text == "true").map(|word| word.span)
    }
}

fn flag(node: &Node, word: &Word, known: &[(&'static str, Takes)]) -> Result<(&'static str, Takes, Word), Diagnostic> {
    let (name, value) = match word.text[2..].split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (&word.text[2..], None),
    };
    let Some(&(name, takes)) = known.iter().find(|(known, _)| *known == name) else {
        let instruction = node.name.text.to_uppercase();
        let error = Diagnostic::error(word.span, format!("unknown flag `--{name}` of {instruction}"));
        return Err(match nearest(name, known.iter().map(|(known, _)| *known)) {
            Some(near) => error.hint(format!("did you mean `--{near}`?")),
            None => error,
        });
    };
    let lower = value.map(str::to_lowercase);
    let value = match (takes, value, lower.as_deref()) {
        (Takes::Bool, None, _) => "true",
        (Takes::Bool, _, Some("true")) => "true",
        (Takes::Bool, _, Some("false")) => "false",
        (Takes::Bool, Some(value), _) => {
            let message = format!("flag `--{name}` takes `true` or `false`, not `{value}`");
            return Err(Diagnostic::error(word.span, message));
        }
        (_, None, _) => return Err(Diagnostic::error(word.span, format!("flag `--{name}` needs `=` and a value"))),
        (_, Some(value), _) => value,
    };
    Ok((name, takes, Word { text: value.to_owned(), span: word.span }))
}
