//! `bake check`: is the bakefile right, all of it, without building anything?

use std::collections::{BTreeMap, BTreeSet};

use super::call::{self, Call, Format, Method};
use super::definition::Place;
use super::project::{self, BakefileText, Evaluated, Project, ProjectRequest};
use super::solve::definition_failure;
use super::{Failure, Host, Kind, findings};
use crate::bakefile::{Bakefile, Surroundings, Target};
use crate::diagnostic::{Diagnostics, Severity, SourceMap};
use crate::frontend;
use crate::plan;
use crate::sys::files::DiskFiles;

/// What is checked.
#[derive(Clone, Debug, Default)]
pub struct CheckRequest {
    /// Which bakefile.
    pub project: ProjectRequest,
    /// Give the findings as JSON.
    pub is_json: bool,
}

/// Evaluates the bakefile and puts every target together, those that nothing asks for too, and reads the Dockerfiles of
/// those that are built. Returns what the peer would do otherwise, a line each, or the findings as JSON, as is asked for.
///
/// # Errors
/// Everything that is wrong in the bakefile, or that the checks found something.
pub fn check(request: &CheckRequest, host: &Host) -> Result<String, Failure> {
    let mut sources = SourceMap::default();
    let names = project::input_names(&request.project, host);
    let Evaluated { bakefile, mut found, home } =
        project::evaluate(&request.project, &names, None, host, &mut sources)?;
    if let Some(bakefile) = bakefile.as_ref().filter(|_| !request.project.is_compat) {
        check_targets(bakefile, host, &mut sources, &mut found);
    }
    if request.is_json {
        let mut objects = findings::objects(&found, &sources);
        let n_errors = found.sorted(&sources).iter().filter(|finding| finding.severity == Severity::Error).count();
        if let (Some(bakefile), 0) = (bakefile, n_errors) {
            let mut project = checked(BakefileText { sources, bakefile, names, home }, request, host)?;
            objects.extend(call::findings(&mut project, host)?);
        }
        return judged(&objects, n_errors);
    }
    definition_failure(&found, &sources)?;
    project::tell(&found, &sources, host);
    let Some(bakefile) = bakefile else { return Ok(String::new()) };
    if request.project.is_compat {
        // The peer does not come to what is included.
        let read = sources.files().filter(|file| !bakefile.is_included(*file));
        let read: Vec<&str> = read.map(|file| sources.name(file)).collect();
        return Ok(compat(&bakefile, &names, &read, &sources));
    }
    let call = Call { method: Method::Check, format: Format::Text, ignores_status: false };
    call::run(call, &mut checked(BakefileText { sources, bakefile, names, home }, request, host)?, None, host)
}

/// Returns the findings as JSON, as data of the failure that they are.
fn judged(objects: &[serde_json::Value], n_errors: usize) -> Result<String, Failure> {
    let data = findings::json(objects);
    let is_lint = |object: &serde_json::Value| object.get("rule").is_some();
    if objects.iter().any(is_lint) {
        return Err(Failure::new(Kind::Build, "the checks found something").data(data));
    }
    match n_errors {
        0 => Ok(data),
        1 => Err(Failure::new(Kind::Definition, "there is 1 error").data(data)),
        _ => Err(Failure::new(Kind::Definition, format!("there are {n_errors} errors")).data(data)),
    }
}

/// Selects the targets whose Dockerfiles the build checks are run on.
fn checked(text: BakefileText, request: &CheckRequest, host: &Host) -> Result<Project, Failure> {
    let mut asked = request.project.clone();
    if Place::of(&asked.targets).targets.is_empty() && !has(&text.bakefile, "default") {
        asked.targets.push("all".to_owned());
    }
    project::select(text, &asked, host)
}

fn has(bakefile: &Bakefile, name: &str) -> bool {
    bakefile.groups().iter().any(|group| group.name == name)
        || bakefile.targets().iter().any(|target| target.name == name)
}

/// Targets and groups that are put together one by one: each may need all others.
const MAX_ONE_BY_ONE: usize = 2_000;

/// Puts every target and group together, and reads the Dockerfiles of what is built.
fn check_targets(bakefile: &Bakefile, host: &Host, sources: &mut SourceMap, found: &mut Diagnostics) {
    let env = |name: &str| host.env.get(name).cloned();
    let files = DiskFiles::new(&host.directory);
    let surroundings = Surroundings { env: &env, files: &files };
    let only_parents = only_parents(bakefile);
    let mut built: BTreeMap<String, Target> = BTreeMap::new();
    let names: Vec<String> = bakefile.targets().iter().map(|target| &target.name).cloned().collect();
    let names: Vec<String> =
        names.into_iter().chain(bakefile.groups().iter().map(|group| group.name.clone())).collect();
    let mut add = |names: &[String]| match bakefile.resolve(names) {
        Ok(selection) => {
            found.extend(selection.verify(&surroundings));
            built.extend(selection.targets.into_iter().filter(|(name, _)| !only_parents.contains(name.as_str())));
            Ok(())
        }
        Err(wrong) => Err(wrong),
    };
    // All together, which takes as long as one of them; one by one where something is wrong, to say everything.
    if let Err(wrong) = if names.is_empty() { Ok(()) } else { add(&names) } {
        match names.len() {
            ..=MAX_ONE_BY_ONE => {
                let wrong: Vec<Diagnostics> = names.chunks(1).filter_map(|name| add(name).err()).collect();
                wrong.into_iter().for_each(|wrong| found.extend(wrong));
            }
            _ => found.extend(wrong),
        }
    }
    // A target that cannot be planned says so at its build; here its Dockerfile counts.
    for target in built.values() {
        let (plan, refused) = plan::expand(std::slice::from_ref(target), &project::build_platform(), None);
        let Some(planned) = plan.planned().next().filter(|_| !refused.has_errors()) else { continue };
        if !plan.remotes.is_empty() {
            // What is on the network is brought in by a build alone.
            continue;
        }
        match frontend::load(planned, &files, sources) {
            Ok(loaded) => found.extend(loaded.warnings),
            // What has no place is about the target: a Dockerfile that is not there.
            Err(wrong) => wrong.iter().cloned().for_each(|finding| {
                let is_placed = !finding.labels.is_empty();
                let place = target.dockerfile.as_ref().map_or(target.span, |dockerfile| dockerfile.span);
                found.push(if is_placed { finding } else { finding.label(place, "") });
            }),
        }
    }
}

/// Returns the names of targets that are there to be inherited from: they need no Dockerfile of their own.
fn only_parents(bakefile: &Bakefile) -> BTreeSet<&str> {
    let hidden = bakefile.targets().iter().map(|target| target.name.as_str()).filter(|name| name.starts_with('_'));
    let parents = bakefile.targets().iter().flat_map(|target| &target.inherits).map(|parent| parent.value.as_str());
    let mut only_parents: BTreeSet<&str> = parents.chain(hidden).collect();
    for member in bakefile.groups().iter().flat_map(|group| &group.targets) {
        only_parents.remove(member.value.as_str());
    }
    only_parents
}

/// Reports what bake adds to the language, with what the peer does on meeting it.
fn compat(bakefile: &Bakefile, named: &[String], files: &[&str], sources: &SourceMap) -> String {
    let mut lines = Vec::new();
    for file in files {
        if file.to_lowercase().ends_with(".toml") {
            lines.push(format!("{file}: the peer reads no TOML and fails"));
        } else if named.is_empty() && file.starts_with("build.") {
            lines.push(format!("{file}: the peer does not look for this name; give it `-f {file}`"));
        }
    }
    for addition in bakefile.additions() {
        let place = sources.place(addition.span);
        lines.push(format!("{}:{}:{}: {}", place.file, place.line, place.column, addition.text));
    }
    if !has(bakefile, "all") {
        lines.push("all: the group is bake's own; the peer fails with \"failed to find target all\"".to_owned());
    }
    lines.iter().map(|line| format!("{line}\n")).collect()
}
