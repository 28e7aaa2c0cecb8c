//! The user's bakefile, read and resolved for what was asked.

use std::io;
use std::path::PathBuf;

use super::solve::definition_failure;
use super::{Failure, Host, Kind};
use crate::bakefile::{self, Bakefile, InputFile, Options, Override, Selection, Target};
use crate::diagnostic::{Diagnostic, Diagnostics, SourceMap};
use crate::plan::{self, Plan};
use crate::platform::Platform;
use crate::sys::files::{DiskFiles, Files};

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
    pub push: bool,
    /// `--output`.
    pub outputs: Vec<String>,
    /// `--no-cache`.
    pub no_cache: bool,
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

/// Reads the bakefile and resolves what is asked for. Warnings are told at once.
///
/// # Errors
/// There is no bakefile, it is wrong, or there is no such target.
pub fn load(request: &ProjectRequest, host: &Host) -> Result<Project, Failure> {
    let mut sources = SourceMap::default();
    let files = DiskFiles::new(&host.directory);
    let inputs = inputs(request, &files).map_err(|found| rendered(&found, &sources))?;
    let overrides = overrides(request).map_err(|found| rendered(&found, &sources))?;
    let vars = vars(request)?;
    let env = |name: &str| host.env.get(name).cloned();
    let now = i64::try_from(host.now.as_secs()).unwrap_or(0);
    let local_platform = build_platform();
    let options = Options { env: &env, vars: &vars, overrides: &overrides, local_platform, now, files: &files };
    let (bakefile, found) = bakefile::load(&inputs, &options, &mut sources);
    definition_failure(&found, &sources)?;
    tell(&found, &sources, host);
    let bakefile = bakefile.ok_or_else(|| Failure::new(Kind::Bug, "a bakefile without errors has no value"))?;
    let selection = bakefile.resolve(&request.targets).map_err(|found| rendered(&found, &sources))?;
    let (directory, epoch, request) = (host.directory.clone(), epoch(host)?, request.clone());
    Ok(Project { directory, sources, epoch, bakefile, selection, request })
}

impl Project {
    /// Returns the selection as the peer's `--print` has it.
    pub fn print(&self) -> String {
        bakefile::print_json(&self.selection)
    }

    /// Works out what is to be built. Warnings are told at once.
    ///
    /// # Errors
    /// A platform, name, context or output is wrong.
    pub fn plan(&self, host: &Host) -> Result<Plan, Failure> {
        let targets: Vec<Target> = self.selection.targets.iter().map(|(_, target)| target.clone()).collect();
        let (plan, found) = plan::expand(&targets, &build_platform());
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

fn inputs(request: &ProjectRequest, files: &dyn Files) -> Result<Vec<InputFile>, Diagnostics> {
    if request.files.is_empty() {
        return bakefile::default_files(files);
    }
    let read = |name: &String| {
        let wrong =
            |what: &str| Diagnostics::from(Diagnostic::error_without_place(format!("cannot read {name}: {what}")));
        let bytes = files.read(name.as_ref()).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Diagnostic::error_without_place(format!("there is no file {name}")).into(),
            io::ErrorKind::InvalidInput => wrong(&error.to_string()),
            kind => wrong(&kind.to_string()),
        })?;
        let text = String::from_utf8(bytes).map_err(|_| wrong("it is not UTF-8"))?;
        Ok(InputFile { name: name.clone(), text })
    };
    request.files.iter().map(read).collect()
}

/// The flags that change targets are overrides of all of them, in the peer's words.
fn overrides(request: &ProjectRequest) -> Result<Vec<Override>, Diagnostics> {
    let flag = |flag: &'static str, key: &str, value: &String| (flag, format!("*.{key}={value}"), value.clone());
    let set = request.set.iter().map(|text| ("--set", text.clone(), text.clone()));
    let platforms = request.platforms.iter().map(|platform| flag("--platform", "platform", platform));
    let outputs = request.outputs.iter().map(|output| flag("--output", "output", output));
    let on = "true".to_owned();
    let push = request.push.then(|| flag("--push", "push", &on));
    let no_cache = request.no_cache.then(|| flag("--no-cache", "no-cache", &on));
    let mut found = Diagnostics::default();
    let mut overrides = Vec::new();
    for (flag, text, shown) in set.chain(platforms).chain(outputs).chain(push).chain(no_cache) {
        match bakefile::parse_override(&text) {
            Ok(item) => overrides.push(Override { flag, text: shown, ..item }),
            Err(diagnostic) => found.push(diagnostic),
        }
    }
    if found.has_errors() { Err(found) } else { Ok(overrides) }
}

fn vars(request: &ProjectRequest) -> Result<Vec<(String, String)>, Failure> {
    let pair = |text: &String| match text.split_once('=') {
        Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
        None => {
            Err(Failure::new(Kind::Usage, format!("--var {text}: a value is missing")).hint("write --var NAME=VALUE"))
        }
    };
    request.var.iter().map(pair).collect()
}

fn rendered(found: &Diagnostics, sources: &SourceMap) -> Failure {
    Failure::rendered(Kind::Definition, found.render(sources))
}

fn tell(found: &Diagnostics, sources: &SourceMap, host: &Host) {
    if !found.is_empty() {
        host.talk.line(&found.render(sources));
    }
}
