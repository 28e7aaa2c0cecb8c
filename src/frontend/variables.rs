//! Variables of a build: what ARG and ENV declare, in order, and what the builder sets itself.

use crate::diagnostic::{Diagnostic, Span};
use crate::dockerfile::Dockerfile;
use crate::dockerfile::shell::{Expanded, Expander};
use crate::plan::PlannedTarget;
use crate::platform::Platform;

/// Variables in the order in which they were last set.
#[derive(Clone, Debug, Default)]
pub(super) struct Variables(Vec<(String, String)>);

impl Variables {
    /// Sets a variable; it becomes the last one.
    pub(super) fn set(&mut self, name: &str, value: &str) {
        self.0.retain(|(known, _)| known != name);
        self.0.push((name.to_owned(), value.to_owned()));
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub(super) fn entries(&self) -> &[(String, String)] {
        &self.0
    }

    fn lookup(&self) -> impl Fn(&str) -> Option<String> + '_ {
        |name| self.get(name).map(str::to_owned)
    }

    /// Expands a word of the Dockerfile.
    pub(super) fn expand(&self, text: &str, escape: char, at: Span) -> Result<Expanded, Diagnostic> {
        let expanded = Expander::new(escape).expand(text, &self.lookup());
        expanded.map_err(|error| Diagnostic::error(at, format!("cannot expand `{text}`: {error}")))
    }

    /// Expands a heredoc's body: quotes mean nothing in it, and the escape character is always `\`.
    pub(super) fn expand_body(&self, text: &str, at: Span) -> Result<String, Diagnostic> {
        let how = Expander { ignore_quotes: true, ..Expander::new('\\') };
        let expanded = how.expand(text, &self.lookup());
        expanded
            .map(|body| body.text)
            .map_err(|error| Diagnostic::error(at, format!("cannot expand the heredoc: {error}")))
    }

    /// Expands an instruction for people. A command keeps quotes and what is not set; other text does not.
    pub(super) fn expand_name(&self, text: &str, escape: char, shown: Shown) -> String {
        let is_command = shown == Shown::Command;
        let how = Expander { keep_quotes: is_command, keep_unset: is_command, ..Expander::new(escape) };
        how.expand(text, &self.lookup()).map_or_else(|_| text.to_owned(), |expanded| expanded.text)
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
    let names: Vec<String> = globals.0.iter().map(|(name, _)| name.clone()).collect();
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
