//! Variables of a build: what ARG and ENV declare, in order, and what the builder sets itself.

use std::cell::Cell;
use std::rc::Rc;

use crate::diagnostic::{Diagnostic, Span};
use crate::dockerfile::Dockerfile;
use crate::dockerfile::shell::{Expanded, Expander};
use crate::plan::PlannedTarget;
use crate::platform::Platform;

/// Variables in the order in which they were last set.
#[derive(Clone, Debug, Default)]
pub(super) struct Variables {
    entries: Vec<(String, String)>,
    /// Bytes that these and the variables they were cloned from, or to, were expanded and copied to.
    n_inserted: Rc<Cell<usize>>,
}

/// The most that variables are expanded to in all words of a Dockerfile, and copied to its steps and stages, in bytes.
const MAX_TOTAL: usize = 64 << 20;

impl Variables {
    /// Sets a variable; it becomes the last one.
    pub(super) fn set(&mut self, name: &str, value: &str) {
        self.entries.retain(|(known, _)| known != name);
        self.entries.push((name.to_owned(), value.to_owned()));
    }

    /// Forgets a variable.
    pub(super) fn remove(&mut self, name: &str) {
        self.entries.retain(|(known, _)| known != name);
    }

    /// Returns no variables, whose expansions count with these.
    pub(super) fn without_any(&self) -> Variables {
        Variables { entries: Vec::new(), n_inserted: Rc::clone(&self.n_inserted) }
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.entries.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub(super) fn entries(&self) -> &[(String, String)] {
        &self.entries
    }

    fn lookup(&self) -> impl Fn(&str) -> Option<String> + '_ {
        |name| self.get(name).map(str::to_owned)
    }

    /// Expands a word of the Dockerfile.
    pub(super) fn expand(&self, text: &str, escape: char, at: Span) -> Result<Expanded, Diagnostic> {
        let expanded = Expander::new(escape).expand(text, &self.lookup());
        let expanded =
            expanded.map_err(|error| Diagnostic::error(at, format!("cannot expand `{}`: {error}", beginning(text))))?;
        self.spend(expanded.n_inserted, at)?;
        Ok(expanded)
    }

    /// Expands a heredoc's body: quotes mean nothing in it, and the escape character is always `\`.
    pub(super) fn expand_body(&self, text: &str, at: Span) -> Result<String, Diagnostic> {
        let how = Expander { ignore_quotes: true, ..Expander::new('\\') };
        let expanded = how.expand(text, &self.lookup());
        let body = expanded.map_err(|error| Diagnostic::error(at, format!("cannot expand the heredoc: {error}")))?;
        self.spend(body.n_inserted, at)?;
        Ok(body.text)
    }

    /// Counts what was inserted in one of the Dockerfile's words.
    pub(super) fn spend(&self, n_inserted: usize, at: Span) -> Result<(), Diagnostic> {
        if self.can_spend(n_inserted) {
            return Ok(());
        }
        let message =
            format!("the values of variables in this Dockerfile make more than {} MiB of text", MAX_TOTAL >> 20);
        Err(Diagnostic::error(at, message))
    }

    /// Counts a copy of all variables, and `n_more` bytes that repeat some of them: each RUN has an environment of its own,
    /// and each stage begins with that of another. One long value would otherwise be kept as often as there are steps.
    pub(super) fn spend_copy(&self, n_more: usize, at: Span) -> Result<(), Diagnostic> {
        let n_copied: usize = self.entries.iter().map(|(name, value)| name.len() + value.len()).sum();
        self.spend(n_copied + n_more, at)
    }

    fn can_spend(&self, n_inserted: usize) -> bool {
        self.n_inserted.set(n_inserted.saturating_add(self.n_inserted.get()));
        self.n_inserted.get() <= MAX_TOTAL
    }

    /// Expands an instruction for people. A command keeps quotes and what is not set; other text does not.
    pub(super) fn expand_name(&self, text: &str, escape: char, shown: Shown) -> String {
        let is_command = shown == Shown::Command;
        let how = Expander { keep_quotes: is_command, keep_unset: is_command, ..Expander::new(escape) };
        let expanded = how.expand(text, &self.lookup()).ok().filter(|expanded| self.can_spend(expanded.n_inserted));
        expanded.map_or_else(|| text.to_owned(), |expanded| expanded.text)
    }
}

/// As much of a word as a message shows.
pub(super) fn beginning(text: &str) -> String {
    const N_SHOWN: usize = 80;
    match text.char_indices().nth(N_SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// What an instruction's name shows.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Shown {
    Command,
    Paths,
}

/// Returns the variables that FROM sees and that a stage's ARG takes its value from: the platforms' and the global ARGs.
pub(super) fn globals(target: &PlannedTarget, dockerfile: &Dockerfile) -> Result<Variables, Diagnostic> {
    let last_name = dockerfile.stages.last().and_then(|stage| stage.name.as_ref()).map(|name| name.text.as_str());
    let mut globals = predefined(target, last_name);
    for arg in &dockerfile.global_args {
        let value = match (target.args.get(&arg.name), &arg.default) {
            (Some(value), _) => Some(value.clone()),
            (None, Some(default)) => Some(globals.expand(default, dockerfile.escape, arg.span)?.text),
            (None, None) => None,
        };
        if let Some(value) = value {
            globals.set(&arg.name, &value);
        }
    }
    Ok(globals)
}

/// Returns the variables that the builder sets itself; `last_name` is the name of the Dockerfile's last stage.
pub(super) fn predefined(target: &PlannedTarget, last_name: Option<&str>) -> Variables {
    let mut globals = Variables::default();
    for (prefix, platform) in [("BUILD", &target.build_platform), ("TARGET", &target.platform)] {
        let (os, version) = (&platform.os, platform.os_version.as_deref().unwrap_or(""));
        let variant = platform.variant.as_deref().unwrap_or("");
        globals.set(&format!("{prefix}PLATFORM"), &platform.to_string());
        globals.set(&format!("{prefix}OS"), os);
        globals.set(&format!("{prefix}OSVERSION"), version);
        globals.set(&format!("{prefix}ARCH"), &platform.architecture);
        globals.set(&format!("{prefix}VARIANT"), variant);
    }
    globals.set("TARGETSTAGE", target.stage.as_deref().or(last_name).unwrap_or("default"));
    let names: Vec<String> = globals.entries.iter().map(|(name, _)| name.clone()).collect();
    for name in names {
        if let Some(value) = target.args.get(&name) {
            globals.set(&name, value);
        }
    }
    globals
}

/// Returns `->arch` for a step that runs on one platform and makes files for another, which it knows from its ARGs.
pub(super) fn cross_suffix(platform: &Platform, variables: &Variables) -> String {
    let explicit = variables.get("TARGETPLATFORM").and_then(|text| text.parse::<Platform>().ok());
    let parts = ["TARGETOS", "TARGETARCH", "TARGETVARIANT"].map(|name| variables.get(name).filter(|v| !v.is_empty()));
    let wanted = match (explicit, parts) {
        (Some(platform), _) => platform,
        (None, [None, None, _]) => return String::new(),
        (None, [os, architecture, variant]) => {
            Platform::new(os.unwrap_or(&platform.os), architecture.unwrap_or(&platform.architecture), variant)
        }
    };
    if wanted == *platform {
        return String::new();
    }
    let text = wanted.to_string();
    let same_os = wanted.os == platform.os;
    let text = text.split_once('/').filter(|_| same_os).map_or(text.as_str(), |(_, rest)| rest);
    format!("->{text}")
}
