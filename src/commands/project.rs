//! The user's bakefile, read and resolved for what was asked.

use std::path::PathBuf;

use super::solve::definition_failure;
use super::{Failure, Host, Kind, input};
use crate::bakefile::{self, Bakefile, Options, Override, Selection, Surroundings, Target};
use crate::diagnostic::{Diagnostic, Diagnostics, SourceMap};
use crate::plan::{self, Plan};
use crate::platform::Platform;
use crate::sys::files::DiskFiles;

/// The latest modification time in layers where SOURCE_DATE_EPOCH is not given: 1980-01-01T00:00:00Z, the first that zip
/// files can hold.
const DEFAULT_EPOCH: i64 = 315_532_800;

/// Which bakefile, which targets.
#[derive(Clone, Debug, Default)]
pub struct ProjectRequest {
    /// Targets, groups or patterns; `default` where none is named.
    pub targets: Vec<String>,
    /// Bakefiles, merged in this order; the default names where none is named.
    pub files: Vec<String>,
    /// `--set`.
    pub set: Vec<String>,
    /// `--var`.
    pub var: Vec<String>,
    /// `--platform`.
    pub platforms: Vec<String>,
    /// `--push`.
    pub push: Option<bool>,
    /// `--load`.
    pub load: Option<bool>,
    /// `--output`.
    pub outputs: Vec<String>,
    /// `--no-cache`.
    pub no_cache: Option<bool>,
    /// `--pull`.
    pub pull: Option<bool>,
    /// `--sbom`: a bool or the attestation's options.
    pub sbom: Option<String>,
    /// `--provenance`: a bool or the attestation's options.
    pub provenance: Option<String>,
    /// `--call`: what is done in place of building, and how it is shown.
    pub call: Option<String>,
    /// `--policy`: added to the policy of every target.
    pub policy: Vec<String>,
    /// A word among the targets that may have been meant as a command, and that command.
    pub misplaced: Option<(String, &'static str)>,
}

/// A resolved bakefile.
pub struct Project {
    /// The directory that the command runs in.
    pub directory: PathBuf,
    /// The texts that messages show.
    pub sources: SourceMap,
    /// Latest modification time in layers, seconds since 1970.
    pub epoch: i64,
    bakefile: Bakefile,
    selection: Selection,
    request: ProjectRequest,
}

/// A bakefile as it is, before anything is asked for.
pub struct BakefileText {
    /// The texts that messages show.
    pub sources: SourceMap,
    /// All of it.
    pub bakefile: Bakefile,
    /// The files that were named, by flags or by the environment; empty where the default names count.
    pub names: Vec<String>,
}

/// Reads the bakefile and resolves what is asked for. Warnings are told at once.
///
/// # Errors
/// There is no bakefile, it is wrong, or there is no such target.
pub fn load(request: &ProjectRequest, host: &Host) -> Result<Project, Failure> {
    let BakefileText { sources, bakefile, names } = read(request, host)?;
    let selection = bakefile.resolve(&request.targets).map_err(|found| {
        let failure = rendered(&found, &sources);
        let misplaced = request.misplaced.as_ref();
        match misplaced.filter(|(word, _)| !bakefile.targets().iter().any(|target| target.name == *word)) {
            Some((word, verb)) if word == verb => failure.hint(format!("a command comes first: `bake {verb} …`")),
            Some((_, verb)) => failure.hint(format!("did you mean the command `bake {verb}`?")),
            None => failure,
        }
    })?;
    let (env, files) = (|name: &str| host.env.get(name).cloned(), DiskFiles::new(&host.directory));
    definition_failure(&selection.verify(&Surroundings { env: &env, files: &files }), &sources)?;
    let (directory, epoch) = (host.directory.clone(), epoch(host)?);
    let request = ProjectRequest { files: names, ..request.clone() };
    Ok(Project { directory, sources, epoch, bakefile, selection, request })
}

/// Reads the bakefile and evaluates it. Warnings are told at once.
///
/// # Errors
/// There is no bakefile, or it is wrong.
pub fn read(request: &ProjectRequest, host: &Host) -> Result<BakefileText, Failure> {
    let mut sources = SourceMap::default();
    let names = input_names(request, host);
    let (bakefile, found) = evaluate(request, &names, host, &mut sources)?;
    definition_failure(&found, &sources)?;
    tell(&found, &sources, host);
    let bakefile = bakefile.ok_or_else(|| Failure::new(Kind::Bug, "a bakefile without errors has no value"))?;
    Ok(BakefileText { sources, bakefile, names })
}

/// Returns the bakefiles that flags or the environment name; none where the default names count.
pub fn input_names(request: &ProjectRequest, host: &Host) -> Vec<String> {
    input::names(&request.files, host)
}

/// Reads the files `names`, or the default ones, and evaluates them. There is a bakefile if no finding is an error.
///
/// # Errors
/// A flag is wrong. What is wrong with the files is a finding.
pub fn evaluate(
    request: &ProjectRequest,
    names: &[String],
    host: &Host,
    sources: &mut SourceMap,
) -> Result<(Option<Bakefile>, Diagnostics), Failure> {
    let vars = input::vars(&request.var)?;
    let files = DiskFiles::new(&host.directory);
    let inputs = match input::read(names, &files) {
        Ok(inputs) => inputs,
        Err(found) => return Ok((None, found)),
    };
    let overrides = match overrides(request, sources) {
        Ok(overrides) => overrides,
        Err(found) => return Ok((None, found)),
    };
    let env = |name: &str| host.env.get(name).cloned();
    let now = i64::try_from(host.now.as_secs()).unwrap_or(0);
    let local_platform = build_platform();
    let options = Options { env: &env, vars: &vars, overrides: &overrides, local_platform, now, files: &files };
    Ok(bakefile::load(&inputs, &options, sources))
}

impl Project {
    /// Returns the selection as the peer's `--print` has it.
    pub fn print(&self) -> String {
        bakefile::print_json(&self.selection)
    }

    /// Returns what is asked for: each target with its name, those that they link to as well.
    pub fn targets(&self) -> impl Iterator<Item = (&str, &Target)> {
        self.selection.targets.iter().map(|(name, target)| (name.as_str(), target))
    }

    /// Works out what is to be built. Warnings are told at once. What targets ask for in place of a build (`call`) is left
    /// to the caller.
    ///
    /// # Errors
    /// A platform, name, context or output is wrong.
    pub fn plan(&self, host: &Host) -> Result<Plan, Failure> {
        self.planned(host, std::convert::identity)
    }

    /// Works out which Dockerfiles are meant, for which platforms. What targets say of their results and of how steps run
    /// does not matter, and is not looked at.
    ///
    /// # Errors
    /// A platform or context is wrong.
    pub fn plan_of_dockerfiles(&self, host: &Host) -> Result<Plan, Failure> {
        self.planned(host, |mut target| {
            (target.network, target.shm_size, target.pull) = (None, None, None);
            target.annotations.clear();
            target.attest.clear();
            target.cache_from.clear();
            target.cache_to.clear();
            target.entitlements.clear();
            target.extra_hosts.clear();
            target.output.clear();
            target.policy.clear();
            target.resources.clear();
            target.ulimits.clear();
            target
        })
    }

    fn planned(&self, host: &Host, change: impl Fn(Target) -> Target) -> Result<Plan, Failure> {
        let targets = self.selection.targets.iter().map(|(_, target)| change(target.clone()));
        let (plan, found) = plan::expand(&targets.collect::<Vec<_>>(), &build_platform());
        definition_failure(&found, &self.sources)?;
        tell(&found, &self.sources, host);
        Ok(plan)
    }

    /// Returns where the lockfile is, as the user would write it: beside the first bakefile.
    pub fn lock_path(&self) -> String {
        let first = self.request.files.first().filter(|file| file.as_str() != "-");
        match first.and_then(|file| file.rsplit_once('/')) {
            Some((directory, _)) => format!("{directory}/bake.lock"),
            None => "bake.lock".to_owned(),
        }
    }

    /// Says whether every target of the bakefile is built.
    pub fn is_whole(&self) -> bool {
        let is_built = |target: &Target| self.selection.targets.iter().any(|(name, _)| *name == target.name);
        self.bakefile.targets().iter().all(is_built)
    }

    /// Says whether the bakefile has that target.
    pub fn has_target(&self, name: &str) -> bool {
        self.bakefile.targets().iter().any(|target| target.name == name)
    }

    /// Says whether flags changed what the bakefile says of its targets' content.
    pub fn is_overridden(&self) -> bool {
        !self.request.set.is_empty() || !self.request.platforms.is_empty()
    }
}

/// Returns the time that SOURCE_DATE_EPOCH gives, or the default.
///
/// # Errors
/// It is no number of seconds.
pub fn epoch(host: &Host) -> Result<i64, Failure> {
    let Some(text) = host.var("SOURCE_DATE_EPOCH") else { return Ok(DEFAULT_EPOCH) };
    text.parse().map_err(|_| {
        Failure::new(Kind::Usage, format!("SOURCE_DATE_EPOCH=`{text}` is no time"))
            .hint("give whole seconds since 1970-01-01T00:00:00Z")
    })
}

/// Returns the platform of this machine.
pub fn build_platform() -> Platform {
    Platform::new("linux", std::env::consts::ARCH, None)
}

/// The flags that change targets are overrides of all of them, in the peer's words.
fn overrides(request: &ProjectRequest, sources: &mut SourceMap) -> Result<Vec<Override>, Diagnostics> {
    let flag = |flag: &'static str, key: &str, value: &str| (flag, format!("*.{key}={value}"), value.to_owned());
    let set = request.set.iter().map(|text| ("--set", text.clone(), text.clone()));
    let platforms = request.platforms.iter().map(|platform| flag("--platform", "platform", platform));
    let outputs = request.outputs.iter().map(|output| flag("--output", "output", output));
    let switches = [
        ("--push", "push", request.push),
        ("--load", "load", request.load),
        ("--no-cache", "no-cache", request.no_cache),
        ("--pull", "pull", request.pull),
    ];
    let switches = switches.into_iter().filter_map(|(name, key, on)| Some(flag(name, key, &on?.to_string())));
    let attests = [("--sbom", "sbom", &request.sbom), ("--provenance", "provenance", &request.provenance)];
    let attests = attests.into_iter().filter_map(|(name, kind, text)| {
        let text = text.as_deref()?;
        Some((name, attest(kind, text)?, text.to_owned()))
    });
    let call = request.call.as_deref().and_then(call_name).map(|name| flag("--call", "call", name));
    // A policy that is switched off takes the place of all others.
    let is_off = |text: &str| text.split(',').any(|field| matches!(field, "disabled=true" | "disabled=1"));
    let policy = request.policy.iter().map(|text| {
        let key = if is_off(text) { "policy" } else { "policy+" };
        flag("--policy", key, text)
    });
    let mut found = Diagnostics::default();
    for text in request.policy.iter().filter(|text| text.contains("filename=") || text.contains("reset=")) {
        let message = format!("--policy {text}: a policy's `filename` and `reset` belong into the bakefile");
        found.push(Diagnostic::error_without_place(message));
    }
    if request.policy.len() > 1 && request.policy.iter().any(|text| is_off(text)) {
        found.push(Diagnostic::error_without_place("--policy disabled=true stands alone"));
    }
    let mut overrides = Vec::new();
    for (flag, text, shown) in
        set.chain(platforms).chain(outputs).chain(switches).chain(attests).chain(call).chain(policy)
    {
        match bakefile::parse_override(flag, &text, sources) {
            Ok(item) => overrides.push(Override { flag, text: shown, ..item }),
            Err(diagnostic) => found.push(diagnostic),
        }
    }
    if found.has_errors() { Err(found) } else { Ok(overrides) }
}

/// `--sbom=false` switches the attestation off; options are handed on.
fn attest(kind: &str, text: &str) -> Option<String> {
    match text {
        "" => None,
        _ => Some(match bakefile::parse_bool(text) {
            Some(is_on) => format!("*.attest=type={kind},disabled={}", !is_on),
            None => format!("*.attest=type={kind},{text}"),
        }),
    }
}

/// Returns the method that `--call` names, in the word that the peer prints: `check` is an old `lint`.
fn call_name(text: &str) -> Option<&str> {
    match text.split(',').find(|field| !field.contains('=')) {
        Some("check") => Some("lint"),
        name => name.filter(|name| !name.is_empty()),
    }
}

fn rendered(found: &Diagnostics, sources: &SourceMap) -> Failure {
    Failure::rendered(Kind::Definition, found.render(sources))
}

pub(super) fn tell(found: &Diagnostics, sources: &SourceMap, host: &Host) {
    if !found.is_empty() {
        host.talk.line(&found.render(sources));
    }
}
