//! The user's bakefile, read and resolved for what was asked.

use std::path::{Path, PathBuf};

use super::definition::{self, Definition, Place};
use super::solve::definition_failure;
use super::store_failure::store_failure;
use super::{Failure, Host, Kind, input};
use crate::bakefile::{self, Bakefile, Call, Options, Override, Selection, Surroundings, Target};
use crate::diagnostic::{Diagnostic, Diagnostics, SourceMap};
use crate::plan::{self, Plan};
use crate::platform::Platform;
use crate::remote::{Home, is_remote};
use crate::store::{Store, StoreLimit};
use crate::sys::files::DiskFiles;
use crate::worker::network::NetworkChoice;

/// The latest modification time in layers where SOURCE_DATE_EPOCH is not given: 1980-01-01T00:00:00Z, the first that zip
/// files can hold.
const DEFAULT_EPOCH: i64 = 315_532_800;

/// Which bakefile, which targets.
#[derive(Clone, Debug, Default)]
pub struct ProjectRequest {
    /// Targets, groups or patterns; `default` where none is named. A remote bakefile's URL stands before them, and after it
    /// may stand the URL that is `BAKE_CMD_CONTEXT`.
    pub targets: Vec<String>,
    /// Bakefiles, merged in this order; the default names where none is named.
    pub files: Vec<String>,
    /// The store's directory, for what is brought in from the network.
    pub store: Option<PathBuf>,
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
    /// `--attest`: an attestation each, with its type and options.
    pub attest: Vec<String>,
    /// `--call`: what is done in place of building, and how it is shown.
    pub call: Option<String>,
    /// `--policy`: added to the policy of every target.
    pub policy: Vec<String>,
    /// `--compat`: what the peer's language does not have is looked for.
    pub is_compat: bool,
    /// A word among the targets that may have been meant as a command, and that command.
    pub misplaced: Option<(String, &'static str)>,
}

impl ProjectRequest {
    /// Says whether the bakefile is named by a URL before the targets.
    pub fn is_remote(&self) -> bool {
        Place::of(&self.targets).url.is_some()
    }

    /// Says whether the network is needed to read the bakefile.
    pub fn needs_network(&self) -> bool {
        self.is_remote() || self.files.iter().any(|name| is_remote(name))
    }
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
    home: Option<Home>,
}

/// A bakefile as it is, before anything is asked for.
pub struct BakefileText {
    /// The texts that messages show.
    pub sources: SourceMap,
    /// All of it.
    pub bakefile: Bakefile,
    /// Where it came from, if relative contexts count from there.
    pub home: Option<Home>,
    /// The files that were named, by flags or by the environment; empty where the default names count.
    pub names: Vec<String>,
}

/// Reads the bakefile and resolves what is asked for. Warnings are told at once.
///
/// # Errors
/// There is no bakefile, it is wrong, or there is no such target.
pub fn load(request: &ProjectRequest, host: &Host) -> Result<Project, Failure> {
    select(read(request, Some(Place::of(&request.targets).targets), host)?, request, host)
}

/// Resolves what is asked for of a bakefile that was read.
///
/// # Errors
/// There is no such target, or what it says is wrong.
pub fn select(text: BakefileText, request: &ProjectRequest, host: &Host) -> Result<Project, Failure> {
    let BakefileText { sources, bakefile, names, home } = text;
    let resolved = host.cancel.interruptible(|| bakefile.resolve(Place::of(&request.targets).targets));
    let selection = resolved.map_err(|found| {
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
    let (directory, epoch) = (host.directory.clone(), epoch(host));
    let request = ProjectRequest { files: names, ..request.clone() };
    Ok(Project { directory, sources, epoch, bakefile, selection, request, home })
}

/// Reads the bakefile and evaluates what `wanted` needs of it, or all. Warnings are told at once.
///
/// # Errors
/// There is no bakefile, or it is wrong.
pub fn read(request: &ProjectRequest, wanted: Option<&[String]>, host: &Host) -> Result<BakefileText, Failure> {
    let mut sources = SourceMap::default();
    let names = input_names(request, host);
    let Evaluated { bakefile, found, home } = evaluate(request, &names, wanted, host, &mut sources)?;
    definition_failure(&found, &sources)?;
    tell(&found, &sources, host);
    let bakefile = bakefile.ok_or_else(|| Failure::new(Kind::Bug, "a bakefile without errors has no value"))?;
    Ok(BakefileText { sources, bakefile, names, home })
}

/// Returns the bakefiles that flags or the environment name; none where the default names count.
pub fn input_names(request: &ProjectRequest, host: &Host) -> Vec<String> {
    input::names(&request.files, host)
}

/// What became of the bakefiles.
pub struct Evaluated {
    /// There if no finding is an error.
    pub bakefile: Option<Bakefile>,
    /// What is wrong with them, and warnings.
    pub found: Diagnostics,
    /// What relative contexts count from; `None` for the directory that the command runs in.
    pub home: Option<Home>,
}

/// Reads the files `names`, or the default ones, and evaluates what the targets `wanted` need of them, or all.
///
/// # Errors
/// A flag is wrong, or what is on the network cannot be had. What is wrong with the files is a finding.
pub fn evaluate(
    request: &ProjectRequest,
    names: &[String],
    wanted: Option<&[String]>,
    host: &Host,
    sources: &mut SourceMap,
) -> Result<Evaluated, Failure> {
    let vars = input::vars(&request.var)?;
    let place = Place::of(&request.targets);
    let wrong = |found| Ok(Evaluated { bakefile: None, found, home: None });
    let Definition { inputs, home, files } = match definition::read(&place, names, request.store.as_deref(), host)? {
        Ok(definition) => definition,
        Err(found) => return wrong(found),
    };
    let overrides = match overrides(request, sources) {
        Ok(overrides) => overrides,
        Err(found) => return wrong(found),
    };
    let env = |name: &str| host.env.get(name).cloned();
    let options = Options {
        env: &env,
        vars: &vars,
        overrides: &overrides,
        wanted,
        local_platform: build_platform(),
        cmd_context: place.cmd_context,
        home: home.as_ref(),
        now: i64::try_from(host.now.as_secs()).unwrap_or(0),
        seed: host.seed,
        finds_additions: request.is_compat,
        files: &*files,
    };
    let (bakefile, found) = host.cancel.interruptible(|| bakefile::load(&inputs, &options, sources));
    Ok(Evaluated { bakefile, found, home })
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
        let (plan, found) = plan::expand(&targets.collect::<Vec<_>>(), &build_platform(), self.home.as_ref());
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

    /// Says whether the bakefile came from the network; then no lockfile is there for it.
    pub fn is_remote(&self) -> bool {
        self.request.is_remote() || self.request.files.first().is_some_and(|first| is_remote(first))
    }

    /// Returns where a remote bakefile's relative contexts are.
    pub fn home(&self) -> Option<&Home> {
        self.home.as_ref()
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

/// Returns the time that SOURCE_DATE_EPOCH gives, or the default. A name in it stands for a time of each target's own; only
/// the Dockerfile shows whether there is a source of that name.
pub(super) fn epoch(host: &Host) -> i64 {
    host.var("SOURCE_DATE_EPOCH").and_then(|text| text.parse().ok()).unwrap_or(DEFAULT_EPOCH)
}

/// Returns what the network `default` of RUN steps is: `BAKE_NETWORK`.
///
/// # Errors
/// It is none of the words that there are.
pub fn network(host: &Host) -> Result<NetworkChoice, Failure> {
    let Some(text) = host.var("BAKE_NETWORK") else { return Ok(NetworkChoice::default()) };
    text.parse().map_err(|why| Failure::new(Kind::Usage, format!("BAKE_NETWORK=`{text}` is no network: {why}")))
}

/// Returns the store's directory: the flag, `BAKE_STORE`, else in the user's data directory.
///
/// # Errors
/// There is no place for it.
pub fn store_path(given: Option<&Path>, host: &Host) -> Result<PathBuf, Failure> {
    let given = given.map(Path::to_owned).or_else(|| host.var("BAKE_STORE").map(PathBuf::from));
    let data = || host.var("XDG_DATA_HOME").map(|data| PathBuf::from(data).join("bake"));
    let home = || host.var("HOME").map(|home| PathBuf::from(home).join(".local/share/bake"));
    let path = given.or_else(data).or_else(home);
    let path = path.map(|path| host.directory.join(path));
    path.ok_or_else(|| {
        Failure::new(Kind::Environment, "there is no place for the store: HOME is not set")
            .hint("name one with --store DIR or BAKE_STORE")
    })
}

/// Opens the store; its limit is what is given, `BAKE_STORE_LIMIT`, or its own.
///
/// # Errors
/// There is no place for it, it cannot be used, or the limit is none.
pub fn open_store(given: Option<&Path>, limit: Option<StoreLimit>, host: &Host) -> Result<Store, Failure> {
    let written = || host.var("BAKE_STORE_LIMIT").map(str::parse).transpose();
    let limit = limit.map_or_else(written, |limit| Ok(Some(limit)));
    let limit = limit.map_err(|reason| Failure::new(Kind::Usage, format!("BAKE_STORE_LIMIT: {reason}")))?;
    let store = Store::open(&store_path(given, host)?).map_err(|error| store_failure(&error))?;
    Ok(store.with_limit(limit))
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
    let attested = request.attest.iter().map(|text| flag("--attest", "attest", text));
    let attests = attests.chain(attested);
    // A policy that is switched off takes the place of all others.
    let is_off = |text: &str| text.split(',').any(|field| matches!(field, "disabled=true" | "disabled=1"));
    let policy = request.policy.iter().map(|text| {
        let key = if is_off(text) { "policy" } else { "policy+" };
        flag("--policy", key, text)
    });
    let mut found = Diagnostics::default();
    let text = request.call.as_deref().unwrap_or("");
    let call = Call::parse(text).unwrap_or_else(|reason| {
        found.push(Diagnostic::error_without_place(format!("--call {text}: {reason}")));
        None
    });
    let call = call.map(|call| flag("--call", "call", &call.method));
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

fn rendered(found: &Diagnostics, sources: &SourceMap) -> Failure {
    Failure::rendered(Kind::Definition, found.render(sources))
}

pub(super) fn tell(found: &Diagnostics, sources: &SourceMap, host: &Host) {
    if !found.is_empty() {
        host.talk.line(&found.render(sources));
    }
}
