//! Expansion that remembers which variables were read, and what may have been meant.

use std::cell::RefCell;
use std::collections::BTreeSet;

use crate::diagnostic::{Diagnostic, Span};
use crate::dockerfile::shell::{Expanded, Expander};

use super::super::variables::{Variables, beginning};

/// What came of expanding a word. The names are known even where expansion failed.
pub(super) struct Tracked {
    pub(super) result: Result<Expanded, Diagnostic>,
    /// Variables that were read and are set.
    pub(super) matched: BTreeSet<String>,
    /// Variables that were read and are not set.
    pub(super) unmatched: BTreeSet<String>,
}

/// Expands `text` with `variables`.
pub(super) fn expand(how: Expander, text: &str, variables: &Variables, at: Span) -> Tracked {
    let read = RefCell::new((BTreeSet::new(), BTreeSet::new()));
    let lookup = |name: &str| {
        let value = variables.get(name).map(str::to_owned);
        let mut read = read.borrow_mut();
        let names = if value.is_some() { &mut read.0 } else { &mut read.1 };
        names.insert(name.to_owned());
        value
    };
    let result = how.expand(text, &lookup);
    let result = result
        .map_err(|error| Diagnostic::error(at, format!("cannot expand `{}`: {error}", beginning(text))))
        .and_then(|expanded| variables.spend(expanded.n_inserted, at).map(|()| expanded));
    let (matched, unmatched) = read.into_inner();
    Tracked { result, matched, unmatched }
}

/// Returns the option that is fewer than three edits away, the nearest and first of them; none where `word` is an option.
pub(super) fn meant<'o>(word: &str, options: impl IntoIterator<Item = &'o str>) -> Option<String> {
    let mut best: Option<(usize, &str)> = None;
    for option in options {
        if option == word {
            return None;
        }
        let n_edits = edits(word, option);
        if n_edits < best.map_or(3, |(n, _)| n) {
            best = Some((n_edits, option));
        }
    }
    best.map(|(_, option)| option.to_owned())
}

/// Levenshtein distance: insert, delete and replace cost one each. (What `diagnostic` suggests counts a swap as one, too.)
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, c) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, d) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(c != *d);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_near_is_suggested_and_what_is_there_is_not() {
        assert_eq!(meant("PAHT", ["PATH", "PA"]), Some("PATH".to_owned()));
        assert_eq!(meant("VERSON", ["VERSION", "PERSON"]), Some("VERSION".to_owned()));
        assert_eq!(meant("PATH", ["PATHS", "PATH"]), None);
        assert_eq!(meant("ANYTHING", ["ELSE"]), None);
    }
}
