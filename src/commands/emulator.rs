//! `bake emulator`: which platforms' steps run here and through what, and emulators for bake alone.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::build::{client_options, environment};
use super::solve::resolve_failure;
use super::{Failure, Host, Kind, doctor, project};
use crate::frontend::Need;
use crate::plan::ImageSource;
use crate::platform::Platform;
use crate::reference::Reference;
use crate::registry::Client;
use crate::report::Plain;
use crate::solver::activity::Activities;
use crate::source::image::{ImageResolver, ResolvedNames};
use crate::store::Store;
use crate::sys::root::Root;
use crate::worker::emulation::candidates::{self, Candidate, CandidateError};
use crate::worker::emulation::{self, HostEntry, package};
use crate::worker::host::{PlatformUse, Use, survey};
use crate::worker::layers::{LayerError, Layers};
use crate::worker::sandbox::{self, Launcher};
use crate::worker::trial;

/// The image that is taken where none is named.
pub const DEFAULT_IMAGE: &str = "tonistiigi/binfmt";

/// What `bake emulator` is asked.
#[derive(Clone, Debug)]
pub struct EmulatorRequest {
    /// What to do.
    pub verb: EmulatorVerb,
    /// The store's directory.
    pub store: Option<PathBuf>,
}

/// What to do with emulators.
#[derive(Clone, Debug)]
pub enum EmulatorVerb {
    /// Show what there is.
    List {
        /// JSON in place of a table.
        is_json: bool,
    },
    /// Bring some in.
    Install {
        /// For these; what people build for where none is named.
        platforms: Vec<Platform>,
        /// From there.
        from: EmulatorsFrom,
    },
    /// Remove some that were installed for bake alone.
    Remove {
        /// Whose.
        platforms: Vec<Platform>,
        /// All.
        is_all: bool,
    },
}

/// Where emulators come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EmulatorsFrom {
    /// The distribution, for everybody on this host.
    Package,
    /// A file or directory.
    Path(PathBuf),
    /// An image.
    Image(String),
}

/// Does what is asked; returns a line for each platform.
///
/// # Errors
/// The host can't, a registry fails, or an emulator does not do what it is for.
pub fn emulator(request: &EmulatorRequest, host: &Host) -> Result<String, Failure> {
    let path = project::store_path(request.store.as_deref(), host)?;
    let result = match &request.verb {
        EmulatorVerb::List { is_json } => list(&path, *is_json, host),
        EmulatorVerb::Install { platforms, from } => install(&path, platforms, from, host),
        EmulatorVerb::Remove { platforms, is_all } => remove(&path, platforms, *is_all),
    };
    // Whatever an interrupt made fail, it was the user who asked.
    result.map_err(|failure| match host.cancel.is_cancelled() {
        true => Failure::new(Kind::Interrupted, "interrupted"),
        false => failure,
    })
}

fn list(store: &Path, is_json: bool, host: &Host) -> Result<String, Failure> {
    let entries = emulation::host_entries();
    sandbox::enter().map_err(|error| environment(&error))?;
    let own = Store::emulators_in(store);
    let search = emulation::search(&own, host.var("PATH").unwrap_or(""));
    let uses = survey(&usual_platforms(), &search, &|_| Ok(()));
    let rows: Vec<Row> = uses.iter().map(|used| Row::new(used, &own, &entries)).collect();
    match is_json {
        true => Ok(format!("{}\n", serde_json::to_string_pretty(&rows).unwrap_or_default())),
        false => Ok(table(&rows)),
    }
}

/// A platform in the list.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    platform: String,
    /// `native`, `private`, `host` or `nothing`.
    runs: &'static str,
    /// The emulator of a private registration.
    program: Option<PathBuf>,
    /// It was installed for bake alone.
    is_installed: bool,
    /// Why its steps do not run.
    reason: Option<String>,
    host: Vec<HostRow>,
}

/// What the host registers for a platform.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct HostRow {
    name: String,
    interpreter: String,
    flags: String,
    is_enabled: bool,
    /// Steps could use it.
    serves_steps: bool,
}

impl Row {
    fn new(used: &PlatformUse, own: &Path, entries: &[HostEntry]) -> Row {
        let (runs, program, reason) = match &used.through {
            Use::Native => ("native", None, None),
            Use::Private(program) => ("private", Some(program.clone()), None),
            Use::Host => ("host", None, None),
            Use::Nothing(error) => ("nothing", None, Some(error.reason.clone())),
        };
        let architecture = used.platform.architecture.as_str();
        let host = entries.iter().filter(|entry| entry.architecture == Some(architecture)).map(|entry| HostRow {
            name: entry.name.clone(),
            interpreter: entry.interpreter.clone(),
            flags: entry.flags.clone(),
            is_enabled: entry.is_enabled,
            serves_steps: entry.serves_steps(),
        });
        Row {
            platform: used.platform.to_string(),
            runs,
            is_installed: program.as_ref().is_some_and(|program| program.starts_with(own)),
            program,
            reason,
            host: host.collect(),
        }
    }

    fn runs_text(&self) -> String {
        match (&self.program, &self.reason) {
            (Some(program), _) if self.is_installed => format!("{} (bake's own)", program.display()),
            (Some(program), _) => program.display().to_string(),
            (None, Some(reason)) => format!("nothing: {reason}"),
            (None, None) if self.runs == "native" => "this processor".to_owned(),
            (None, None) => "what the host registers".to_owned(),
        }
    }

    fn host_text(&self) -> String {
        let entry = |entry: &HostRow| {
            let HostRow { name, interpreter, flags, is_enabled, serves_steps } = entry;
            let state = match (is_enabled, serves_steps) {
                (false, _) => ", disabled",
                (true, false) => ", of no use to steps: it lacks the flags P or F",
                (true, true) => "",
            };
            format!("{name} ({interpreter}, {flags}{state})")
        };
        let entries: Vec<String> = self.host.iter().map(entry).collect();
        if entries.is_empty() { "-".to_owned() } else { entries.join(", ") }
    }
}

fn table(rows: &[Row]) -> String {
    let lines: Vec<[String; 3]> = [["PLATFORM".to_owned(), "STEPS RUN BY".to_owned(), "THE HOST REGISTERS".to_owned()]]
        .into_iter()
        .chain(rows.iter().map(|row| [row.platform.clone(), row.runs_text(), row.host_text()]))
        .collect();
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let (first, second) = (width(0), width(1));
    lines.iter().map(|[platform, runs, host]| format!("{platform:<first$}  {runs:<second$}  {host}\n")).collect()
}

fn usual_platforms() -> Vec<Platform> {
    emulation::PLATFORMS.iter().filter_map(|text| text.parse().ok()).collect()
}

fn install(path: &Path, platforms: &[Platform], from: &EmulatorsFrom, host: &Host) -> Result<String, Failure> {
    for platform in platforms {
        check_foreign(platform)?;
    }
    if *from == EmulatorsFrom::Package {
        return install_package(path, platforms, host);
    }
    sandbox::enter().map_err(|error| environment(&error))?;
    let store = open(path)?;
    let staging = store.private_directory().map_err(|error| Failure::new(Kind::Environment, error))?;
    let mut wanted: Vec<&'static str> = platforms.iter().filter_map(architecture).collect();
    wanted.dedup();
    let found = match from {
        EmulatorsFrom::Image(name) => from_image(name, &wanted, staging.path(), &store, host)?,
        EmulatorsFrom::Path(from) => candidates::from_path(&host.directory.join(from), &wanted, staging.path())
            .map_err(|error| candidate_failure(&error))?,
        EmulatorsFrom::Package => Vec::new(),
    };
    keep(&found, staging.path(), &store, host)
}

/// Tries the copies of emulators and keeps those that work.
fn keep(found: &[Candidate], staging: &Path, store: &Store, host: &Host) -> Result<String, Failure> {
    let platforms: Vec<Platform> =
        found.iter().map(|candidate| Platform::new("linux", candidate.architecture, None)).collect();
    let uses = try_all(&platforms, &[staging.to_owned()], store, host)?;
    let (mut kept, mut failed) = (String::new(), Vec::new());
    for (candidate, used) in found.iter().zip(&uses) {
        match refusal(used) {
            Some(reason) => failed.push(format!("{}: {reason}", used.platform)),
            None => {
                let name = format!("qemu-{}", emulation::qemu_name(candidate.architecture));
                let path = store.install_emulator(&name, &candidate.path);
                let path = path.map_err(|error| Failure::new(Kind::Environment, error))?;
                kept.push_str(&format!("{} {}\n", used.platform, path.display()));
            }
        }
    }
    finish(kept, &failed)
}

/// Registers the emulators of `search` and runs a program for each platform.
fn try_all(
    platforms: &[Platform],
    search: &[PathBuf],
    store: &Store,
    host: &Host,
) -> Result<Vec<PlatformUse>, Failure> {
    let launcher = Launcher::new(&host.program)
        .map_err(|error| Failure::new(Kind::Environment, format!("cannot start steps: {error}")))?;
    Ok(survey(platforms, search, &|machine| trial::run(store, &launcher, machine, &host.cancel)))
}

/// Returns why an emulator is of no use here.
fn refusal(used: &PlatformUse) -> Option<String> {
    match (&used.through, &used.ran) {
        (Use::Private(_) | Use::Native, Ok(())) => None,
        (Use::Private(_) | Use::Native, Err(error)) => Some(error.to_string()),
        (Use::Host, _) => Some("builds use what the host registers, so one for bake alone is of no use".to_owned()),
        (Use::Nothing(error), _) => Some(error.reason.clone()),
    }
}

fn finish(kept: String, failed: &[String]) -> Result<String, Failure> {
    if failed.is_empty() {
        return Ok(kept);
    }
    let message = format!("not all emulators run programs here:\n  {}", failed.join("\n  "));
    Err(Failure::new(Kind::Environment, message).hint(doctor::NEXT_STEP).data(kept))
}

fn install_package(path: &Path, platforms: &[Platform], host: &Host) -> Result<String, Failure> {
    let usual = usual_platforms().into_iter().filter(|platform| !emulation::is_native(platform));
    let wanted: Vec<Platform> = if platforms.is_empty() { usual.collect() } else { platforms.to_vec() };
    let search = emulation::search(&Store::emulators_in(path), host.var("PATH").unwrap_or(""));
    let emulators = emulation::Emulators::probe(&search);
    if wanted.iter().any(|platform| emulators.program(&platform.architecture).is_none()) {
        if !package::can_install() {
            return Err(by_hand());
        }
        package::install().map_err(|error| {
            let message = format!("the package qemu-user-static could not be installed: {error}");
            Failure::new(Kind::Environment, message).hint("take them from an image: bake emulator install --image")
        })?;
    }
    // Before any thread is started, and after apt, which is to see the host as it is.
    sandbox::enter().map_err(|error| environment(&error))?;
    let uses = try_all(&wanted, &search, &open(path)?, host)?;
    let (mut kept, mut failed) = (String::new(), Vec::new());
    for used in &uses {
        match (&used.through, refusal(used)) {
            (Use::Private(program), None) => kept.push_str(&format!("{} {}\n", used.platform, program.display())),
            (Use::Host, _) if used.ran.is_ok() => kept.push_str(&format!("{} by the host\n", used.platform)),
            (_, reason) => failed.push(format!("{}: {}", used.platform, reason.unwrap_or_default())),
        }
    }
    finish(kept, &failed)
}

/// Says how the distribution's package is installed by whoever may.
fn by_hand() -> Failure {
    let failure = Failure::new(Kind::Environment, "bake cannot install the distribution's package of emulators itself");
    let failure = match package::command() {
        Some(command) => failure.hint(format!("as root: {command}")),
        None => failure.note("its distribution is none that bake knows the package of"),
    };
    failure.hint("for bake alone, without root: bake emulator install --image")
}

/// Brings an image in and copies its emulators.
fn from_image(
    name: &str,
    wanted: &[&'static str],
    staging: &Path,
    store: &Store,
    host: &Host,
) -> Result<Vec<Candidate>, Failure> {
    let reference: Reference = name.parse().map_err(|error| Failure::new(Kind::Usage, error))?;
    let client = Client::new(client_options(host));
    let (listener, clock) = (Plain::new(Box::new(host.talk.clone())), || host.elapsed());
    let activities = Activities::new(&listener, &clock);
    let pins = BTreeMap::new();
    let resolver = ImageResolver {
        store,
        client: &client,
        pins: &pins,
        directory: host.directory.clone(),
        activities: &activities,
        resolved: ResolvedNames::default(),
    };
    let need = Need { image: ImageSource::Registry(reference), platform: project::build_platform() };
    let (image, _) = resolver.resolve(&need).map_err(|error| resolve_failure(&error))?;
    let layers = Layers::new(store, &client, &activities);
    let stack = &image.config.rootfs.diff_ids;
    layers.materialise(stack).map_err(|error| layer_failure(&error))?;
    let root = store.view(stack).map_err(|error| Failure::new(Kind::Environment, error).hint(doctor::NEXT_STEP))?;
    candidates::from_image(&Root::from_fd(root), name, wanted, staging).map_err(|error| candidate_failure(&error))
}

fn layer_failure(error: &LayerError) -> Failure {
    match error {
        LayerError::Registry(registry) => Failure::caused(Kind::Remote, error).hints(registry.hint()),
        LayerError::Lost { .. } => Failure::caused(Kind::Remote, error),
        LayerError::Store(_) => Failure::caused(Kind::Environment, error),
    }
}

fn candidate_failure(error: &CandidateError) -> Failure {
    Failure::new(Kind::Usage, error)
}

fn open(path: &Path) -> Result<Store, Failure> {
    Store::open(path).map_err(|error| Failure::new(Kind::Environment, error))
}

/// Returns the architecture that an emulator would be for.
fn architecture(platform: &Platform) -> Option<&'static str> {
    emulation::machine(&platform.architecture).map(|machine| machine.architecture)
}

/// Fails for a platform that no emulator is for.
fn check_foreign(platform: &Platform) -> Result<(), Failure> {
    let wrong = |reason: &str| Err(Failure::new(Kind::Usage, format!("{platform} {reason}")));
    match architecture(platform) {
        _ if platform.os != "linux" => wrong("cannot be emulated: steps are Linux programs"),
        None => wrong("cannot be emulated: no emulator is known for it"),
        Some(_) if emulation::is_native(platform) => wrong("needs no emulator: this processor runs its programs"),
        Some(_) => Ok(()),
    }
}

fn remove(path: &Path, platforms: &[Platform], is_all: bool) -> Result<String, Failure> {
    let all = emulation::machines().map(|machine| machine.architecture);
    let named: BTreeSet<&'static str> = platforms.iter().filter_map(architecture).collect();
    let wanted: BTreeSet<&'static str> = if is_all { all.collect() } else { named };
    if !path.exists() && is_all {
        return Ok(String::new());
    }
    // Opening a store may remove what a step's users own; without name spaces there are none, and no such files.
    _ = sandbox::enter();
    let store = open(path)?;
    let mut removed = String::new();
    for architecture in wanted {
        let name = format!("qemu-{}", emulation::qemu_name(architecture));
        if store.remove_emulator(&name).map_err(|error| Failure::new(Kind::Environment, error))? {
            removed.push_str(&format!("{} {}\n", Platform::new("linux", architecture, None), name));
        } else if !is_all {
            let message = format!("no emulator for {architecture} is installed for bake alone");
            return Err(Failure::new(Kind::Usage, message).hint("bake emulator ls").data(removed));
        }
    }
    Ok(removed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_says_what_runs_steps_and_what_the_host_has() {
        let entry = HostEntry {
            name: "qemu-aarch64".to_owned(),
            interpreter: "/usr/bin/qemu-aarch64-static".to_owned(),
            flags: "OC".to_owned(),
            is_enabled: true,
            architecture: Some("arm64"),
        };
        let used =
            |text: &str, through| PlatformUse { platform: text.parse().expect("a platform"), through, ran: Ok(()) };
        let own = Path::new("/store/emulators");
        let uses = [
            used("linux/amd64", Use::Native),
            used("linux/arm64", Use::Private(own.join("qemu-aarch64"))),
            used("linux/arm/v7", Use::Host),
        ];
        let rows: Vec<Row> = uses.iter().map(|used| Row::new(used, own, std::slice::from_ref(&entry))).collect();
        let expected = "\
PLATFORM      STEPS RUN BY                                THE HOST REGISTERS
linux/amd64   this processor                              -
linux/arm64   /store/emulators/qemu-aarch64 (bake's own)  qemu-aarch64 (/usr/bin/qemu-aarch64-static, OC, of no use to steps: it lacks the flags P or F)
linux/arm/v7  what the host registers                     -
";
        assert_eq!(table(&rows), expected);
    }
}
