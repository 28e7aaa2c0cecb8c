//! How two lists of ingredients differ.

use std::collections::BTreeMap;

use super::Change;
use crate::solver::key::{Ingredient, is_selection};

/// An ingredient that is not the same in both keys.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Difference {
    pub(super) name: String,
    /// How many of that name stand before it.
    pub(super) occurrence: usize,
    /// Which of the step's selections it is the digest of; only where it is in both keys.
    pub(super) selection: Option<usize>,
    pub(super) old: Option<String>,
    pub(super) new: Option<String>,
}

impl Difference {
    /// Says whether the instruction's text decides it, rather than what stands before the instruction or the files.
    pub(super) fn is_of_the_text(&self) -> bool {
        let word = self.name.split(' ').next().unwrap_or("");
        !matches!(word, "root" | "env" | "cwd" | "user" | "platform" | "host" | "hostname" | "epoch")
    }
}

/// Returns what differs: changed and new ingredients in the order of `new`, then those that are gone.
pub(super) fn differences(old: &[(String, String)], new: &[Ingredient]) -> Vec<Difference> {
    let mut before: BTreeMap<(&str, usize), &str> = BTreeMap::new();
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let mut gone = Vec::new();
    for (name, value) in old {
        let occurrence = counts.entry(name).or_default();
        before.insert((name, *occurrence), value);
        gone.push((name.as_str(), *occurrence));
        *occurrence += 1;
    }
    counts.clear();
    let mut found = Vec::new();
    let mut n_selections = 0;
    for Ingredient { name, value } in new {
        let count = counts.entry(name).or_default();
        let occurrence = *count;
        *count += 1;
        let selection = is_selection(name).then_some(n_selections);
        n_selections += usize::from(selection.is_some());
        let was = before.remove(&(name.as_str(), occurrence));
        if was != Some(value.as_str()) {
            let selection = selection.filter(|_| was.is_some());
            let (name, old, new) = (name.clone(), was.map(str::to_owned), Some(value.clone()));
            found.push(Difference { name, occurrence, selection, old, new });
        }
    }
    for (name, occurrence) in gone {
        if let Some(value) = before.get(&(name, occurrence)) {
            let (name, old) = (name.to_owned(), Some((*value).to_owned()));
            found.push(Difference { name, occurrence, selection: None, old, new: None });
        }
    }
    found
}

/// Returns a change of one ingredient that the user sees by another name than the key has for it.
pub(super) fn setting(name: &str, old: Option<&str>, new: Option<&str>) -> Change {
    if let ("args", Some(old), Some(new)) = (name, old.and_then(words), new.and_then(words)) {
        // The shell is the same: what it is given is the command, a heredoc's text for one.
        if let (Some((old, old_shell)), Some((new, new_shell))) = (old.split_last(), new.split_last())
            && old_shell == new_shell
        {
            return Change::Instruction { old: old.clone(), new: new.clone() };
        }
        return Change::Setting { name: "shell".to_owned(), old: Some(old.join(" ")), new: Some(new.join(" ")) };
    }
    if let Some(path) = name.strip_prefix("mkfile ") {
        let digest = |value: &str| value.split(' ').next_back().unwrap_or("").to_owned();
        if let (Some(old), Some(new)) = (old.map(digest), new.map(digest))
            && old != new
        {
            return Change::Files { place: format!("of the heredoc for {path}"), old, new };
        }
    }
    let name = match name {
        "cwd" => "working directory",
        "hostname" => "host name",
        "epoch" => "SOURCE_DATE_EPOCH",
        "op" => "kind of step",
        name => name,
    };
    Change::Setting { name: name.to_owned(), old: old.map(str::to_owned), new: new.map(str::to_owned) }
}

fn words(json: &str) -> Option<Vec<String>> {
    serde_json::from_str(json).ok()
}

/// Returns one change for an ingredient that is gone and one of the same kind that is new: `copy to /a` and `copy to /b`.
pub(super) fn paired(differences: &[&Difference]) -> Vec<Change> {
    let kind = |name: &str| name.split(" /").next().unwrap_or("").to_owned();
    let value = |difference: &Difference| {
        let place = difference.name.strip_prefix(&kind(&difference.name)).unwrap_or("").trim_start();
        let value = difference.new.as_ref().or(difference.old.as_ref()).map_or("", |value| value.trim());
        format!("{place} {value}").trim().trim_end_matches(" -").to_owned()
    };
    let (mut gone, new): (Vec<&Difference>, Vec<&Difference>) =
        differences.iter().copied().partition(|difference| difference.new.is_none());
    let mut changes = Vec::new();
    for difference in new {
        let kind_of = kind(&difference.name);
        let old = gone.iter().position(|old| kind(&old.name) == kind_of).map(|at| value(gone.remove(at)));
        changes.push(setting(&kind_of, old.as_deref(), Some(&value(difference))));
    }
    changes.extend(gone.into_iter().map(|old| setting(&kind(&old.name), Some(&value(old)), None)));
    changes
}
