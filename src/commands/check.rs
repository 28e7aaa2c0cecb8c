//! `bake check`: is the bakefile right, all of it, without building anything?

use super::project::{self, BakefileText, ProjectRequest};
use super::solve::definition_failure;
use super::{Failure, Host};
use crate::bakefile::{Bakefile, Surroundings};
use crate::diagnostic::Diagnostics;
use crate::sys::files::DiskFiles;

/// What is checked.
#[derive(Clone, Debug, Default)]
pub struct CheckRequest {
    /// Which bakefile.
    pub project: ProjectRequest,
    /// Report what the peer reads otherwise.
    pub is_compat: bool,
}

/// Evaluates the bakefile and puts every target together, those that nothing asks for too. Returns what the peer would do
/// otherwise, if that is asked for: a line each.
///
/// # Errors
/// Everything that is wrong.
pub fn check(request: &CheckRequest, host: &Host) -> Result<String, Failure> {
    let BakefileText { sources, bakefile, names, .. } = project::read(&request.project, host)?;
    let mut findings = Diagnostics::default();
    let targets = bakefile.targets().iter().map(|target| &target.name);
    let env = |name: &str| host.env.get(name).cloned();
    let files = DiskFiles::new(&host.directory);
    let surroundings = Surroundings { env: &env, files: &files };
    for name in targets.chain(bakefile.groups().iter().map(|group| &group.name)) {
        let found = match bakefile.resolve(std::slice::from_ref(name)) {
            Ok(selection) => selection.verify(&surroundings),
            Err(found) => found,
        };
        for finding in found.iter() {
            if !findings.iter().any(|known| known == finding) {
                findings.push(finding.clone());
            }
        }
    }
    definition_failure(&findings, &sources)?;
    let read: Vec<&str> = sources.names().collect();
    Ok(if request.is_compat { compat(&bakefile, &names, &read) } else { String::new() })
}

/// Reports what bake adds to the language, with what the peer does on meeting it.
fn compat(bakefile: &Bakefile, named: &[String], files: &[&str]) -> String {
    let mut lines = Vec::new();
    for file in files {
        if file.to_lowercase().ends_with(".toml") {
            lines.push(format!("{file}: the peer reads no TOML and fails"));
        } else if named.is_empty() && file.starts_with("build.") {
            lines.push(format!("{file}: the peer does not look for this name; give it `-f {file}`"));
        }
    }
    let has = |name: &str| {
        bakefile.groups().iter().any(|group| group.name == name)
            || bakefile.targets().iter().any(|target| target.name == name)
    };
    if !has("all") {
        lines.push("all: the group is bake's own; the peer fails with \"failed to find target all\"".to_owned());
    }
    lines.iter().map(|line| format!("{line}\n")).collect()
}
