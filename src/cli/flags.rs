//! The command line's words. Defined once: parser, `--help` and errors come from here.

mod affected;
pub mod cache;
mod doctor;
mod emulator;
mod image_attestation;
pub mod login;
mod verify;
mod why;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::bakefile::{ENTITLEMENTS, ListFormat};
use crate::commands::build::BuildRequest;
use crate::commands::check::CheckRequest;
use crate::commands::compile::CompileRequest;
use crate::commands::convert::ConvertRequest;
use crate::commands::entitlements::Granted;
use crate::commands::fmt::FmtRequest;
use crate::commands::jobs::Jobs;
use crate::commands::list::{ListKind, ListRequest};
use crate::commands::project::ProjectRequest;
use crate::commands::{Failure, Kind};
use crate::diagnostic::nearest;
use crate::platform::Platform;

pub use doctor::DoctorFlags;
pub use emulator::EmulatorCommand;
pub use image_attestation::{AttestationFlags, VerifyFlags};

use crate::lang::Notation;

/// The words that begin a command; anything else is a target to build.
pub const VERBS: [&str; 18] = [
    "build", "affected", "verify", "why", "print", "list", "check", "compile", "fmt", "convert", "schema", "cache",
    "image", "login", "logout", "emulator", "doctor", "help",
];

/// Build a monorepo's container images from one checked-in file
#[derive(Debug, Parser)]
#[command(name = "bake", version, after_help = AFTER_HELP, disable_help_subcommand = false)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const AFTER_HELP: &str = "\
`bake TARGET…` is `bake build TARGET…`.

Exit codes: 0 done · 1 a build step failed · 2 usage · 3 your files are wrong · 4 this host can't ·
5 a registry failed · 6 the lock does not match · 70 a bug of bake · 130 interrupted";

/// A verb.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Build targets, and push or write their images
    Build(BuildFlags),
    /// List the targets that are other ones than at a revision of the repository
    Affected(affected::AffectedFlags),
    /// Build again from nothing, and name the files that are not the same
    Verify(verify::VerifyFlags),
    /// Say which steps a build would run, and what changed since the last one
    Why(why::WhyFlags),
    /// Print the resolved targets as JSON, as `docker buildx bake --print` does
    Print(PrintFlags),
    /// List targets or variables
    List(ListFlags),
    /// Validate the bakefile without building
    Check(CheckFlags),
    /// Print what a Dockerfile says as JSON, without building it
    Compile(CompileFlags),
    /// Format HCL bakefiles
    Fmt(FmtFlags),
    /// Write a bakefile in another notation: HCL, JSON or TOML
    Convert(ConvertFlags),
    /// Print the JSON Schema of bakefiles in TOML and JSON
    Schema,
    /// See what the store holds, and make it smaller or whole
    #[command(subcommand)]
    Cache(cache::CacheCommand),
    /// Look at images in registries
    #[command(subcommand)]
    Image(ImageCommand),
    /// Log in to a registry, for bake and for the tools that read Docker's configuration
    Login(login::LoginFlags),
    /// Forget the login of a registry
    Logout(login::LogoutFlags),
    /// List, install or remove emulators for other processors
    #[command(subcommand)]
    Emulator(EmulatorCommand),
    /// Try what a build needs of this machine, and say what mends it
    Doctor(DoctorFlags),
}

impl Command {
    /// Returns how talk is to be shown.
    pub fn progress(&self) -> ProgressFlag {
        match self {
            Command::Build(flags) if flags.quiet => ProgressFlag::Quiet,
            Command::Build(flags) => flags.progress,
            Command::Why(_) | Command::Affected(_) => ProgressFlag::Quiet,
            _ => ProgressFlag::Plain,
        }
    }
}

/// What to do with images in registries.
#[derive(Debug, Subcommand)]
pub enum ImageCommand {
    /// Show an image's index or manifest
    Inspect {
        /// Image name: REGISTRY/REPOSITORY[:TAG][@DIGEST]
        reference: String,
        /// Print the document's own bytes
        #[arg(long)]
        raw: bool,
    },
    /// Print what is in an image, as its SBOM says
    Sbom(AttestationFlags),
    /// Print how an image was built, as its provenance says
    Provenance(AttestationFlags),
    /// Check that a key signed an image
    Verify(VerifyFlags),
}

/// Which bakefile.
#[derive(Debug, Args)]
pub struct FileFlags {
    /// Bakefile, `-` for standard input; several are merged [default: $BUILDX_BAKE_FILE, else build.toml, build.hcl, else docker-bake.*]
    #[arg(short, long = "file", value_name = "FILE")]
    files: Vec<String>,
    /// Set a variable
    #[arg(long = "var", value_name = "NAME=VALUE")]
    var: Vec<String>,
}

impl FileFlags {
    /// Returns a request for no target in particular.
    fn request(self) -> ProjectRequest {
        ProjectRequest { files: self.files, var: self.var, ..ProjectRequest::default() }
    }
}

/// Which bakefile, which targets.
#[derive(Debug, Args)]
pub struct ProjectFlags {
    /// Targets and groups; `default` if none is named, `all` is every target. Before them may stand the URL of a git
    /// repository, an archive or a file that the bakefile is in, and a URL that is BAKE_CMD_CONTEXT
    #[arg(value_name = "TARGET")]
    targets: Vec<String>,
    #[command(flatten)]
    file: FileFlags,
    /// Override a target's attribute: TARGETPATTERN.KEY=VALUE
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Build for these platforms instead of the targets' own
    #[arg(long = "platform", value_name = "PLATFORM", value_delimiter = ',')]
    platforms: Vec<String>,
    /// Push the images to the registries of their tags
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = go_bool)]
    push: Option<bool>,
    /// Load the images into the Docker or Podman of this machine
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = go_bool)]
    load: Option<bool>,
    /// Write the result: type=image|registry|oci|docker|local|tar|cacheonly[,dest=PATH]
    #[arg(short, long = "output", value_name = "SPEC")]
    outputs: Vec<String>,
    /// Run every step; ask no cache
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = go_bool)]
    no_cache: Option<bool>,
    /// Ask registries for newer images; the lockfile decides here
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = go_bool)]
    pull: Option<bool>,
    /// Attach a list of what is in the image: true, false, or format=spdx|cyclonedx
    #[arg(long, value_name = "SPEC")]
    sbom: Option<String>,
    /// Attach how the image was built: true, false, or mode=min|max,version=v1|v0.2
    #[arg(long, value_name = "SPEC")]
    provenance: Option<String>,
    /// Attach a document: type=provenance|sbom, with the options of these
    #[arg(long, value_name = "SPEC")]
    attest: Vec<String>,
    /// What to do in place of building: build, check, outline, targets; with ,format=json as JSON
    #[arg(long, value_name = "METHOD")]
    call: Option<String>,
    /// The same as --call=check
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = go_bool, conflicts_with = "call")]
    check: Option<bool>,
    /// Add to every target's policy: strict=BOOL, log-level=LEVEL, or disabled=true alone; not built yet
    #[arg(long, value_name = "SPEC")]
    policy: Vec<String>,
}

impl ProjectFlags {
    fn request(self) -> ProjectRequest {
        let ProjectFlags { targets, file, set, platforms, push, load, outputs, no_cache, pull, .. } = self;
        let (sbom, provenance) = (self.sbom, self.provenance);
        // Whether it is a target after all shows when the bakefile is read.
        let misplaced = targets.iter().find_map(|word| Some((word.clone(), nearest(word, VERBS)?)));
        let call = if self.check == Some(true) { Some("check".to_owned()) } else { self.call };
        ProjectRequest {
            targets,
            set,
            platforms,
            push,
            load,
            outputs,
            no_cache,
            pull,
            sbom,
            provenance,
            attest: self.attest,
            call,
            policy: self.policy,
            misplaced,
            ..file.request()
        }
    }
}

/// Reads a bool as the peer's flags do.
fn go_bool(text: &str) -> Result<bool, String> {
    crate::bakefile::parse_bool(text).ok_or_else(|| "it is true or false".to_owned())
}

/// Reads a right that is granted to a build.
fn entitlement(text: &str) -> Result<String, String> {
    let key = text.split('=').next().unwrap_or(text);
    match (Granted::parse(&[text.to_owned()]), nearest(key, ENTITLEMENTS)) {
        (Ok(_), _) => Ok(text.to_owned()),
        (Err(_), Some(near)) => Err(format!("no such right; did you mean `{near}`?")),
        (Err(reason), None) => Err(reason),
    }
}

/// Flags of `build`.
#[derive(Debug, Args)]
pub struct BuildFlags {
    #[command(flatten)]
    project: ProjectFlags,
    /// Steps that run at once; `auto` goes by processors and memory
    #[arg(short, long, value_name = "N|auto", default_value = "auto")]
    jobs: Jobs,
    /// Go on with what does not depend on a failed step; nothing is pushed
    #[arg(long)]
    keep_going: bool,
    /// With --keep-going: publish the targets that were built although others failed
    #[arg(long, requires = "keep_going")]
    publish_partial: bool,
    /// Go on with a release of these targets that did not end: send what no registry acknowledged, then set the tags
    #[arg(long)]
    resume: bool,
    /// Refuse steps that would run under emulation, before anything runs
    #[arg(long)]
    no_emulation: bool,
    /// Run nothing: fail, and say why, if a step is not in the cache
    #[arg(long)]
    fail_on_miss: bool,
    /// Fail, and publish nothing, if bake.lock would change
    #[arg(long)]
    locked: bool,
    /// How progress is shown
    #[arg(long, value_enum, default_value_t = ProgressFlag::Auto)]
    pub progress: ProgressFlag,
    /// Show only warnings and errors
    #[arg(short, long)]
    pub quiet: bool,
    /// Sign what is pushed, as cosign does: key=PATH; $COSIGN_PASSWORD opens an encrypted key
    #[arg(long, value_name = "SPEC")]
    sign: Option<String>,
    /// Directory that keeps layers and cache records [default: $BAKE_STORE, else $XDG_DATA_HOME/bake]
    #[arg(long, value_name = "DIR")]
    store: Option<PathBuf>,
    /// How large the store may become: 20GB, 50% of the disk, none [default: $BAKE_STORE_LIMIT, else what the store says]
    #[arg(long, value_name = "SIZE")]
    store_limit: Option<crate::store::StoreLimit>,
    /// Print the targets as JSON and do not build
    #[arg(long, conflicts_with = "list")]
    pub print: bool,
    /// List targets or variables and do not build: targets, or type=variables,format=json
    #[arg(long, value_name = "SPEC", value_parser = ListRequest::parse)]
    list: Option<ListRequest>,
    /// The peer's old word for --list=targets
    #[arg(long, hide = true, conflicts_with_all = ["list", "print"])]
    list_targets: bool,
    /// The peer's old word for --list=variables
    #[arg(long, hide = true, conflicts_with_all = ["list", "print", "list_targets"])]
    list_variables: bool,
    /// The peer's flag for its own log; bake has none to add to
    #[arg(short = 'D', long, hide = true)]
    debug: bool,
    /// Write digests and names of the results to a file, as JSON
    #[arg(long, value_name = "FILE")]
    metadata_file: Option<PathBuf>,
    /// Write the id of the image to a file, where one target is built
    #[arg(long, value_name = "FILE")]
    iidfile: Option<PathBuf>,
    /// Grant what the bakefile wants beyond its directory: fs.read=PATH, fs.write=PATH, fs=PATH, ssh, network.host,
    /// security.insecure, device[=NAME], buildx.local.delete
    #[arg(long, value_name = "RIGHT", value_parser = entitlement)]
    allow: Vec<String>,
    /// Name a builder, as for the peer; bake is its own and ignores it
    #[arg(long, value_name = "NAME")]
    builder: Option<String>,
}

impl BuildFlags {
    /// Returns what is to be listed in place of a build.
    pub fn list(&self) -> Option<ListRequest> {
        let old = |kind| ListRequest { kind, format: ListFormat::Table };
        let targets = self.list_targets.then(|| old(ListKind::Targets));
        self.list.or(targets).or_else(|| self.list_variables.then(|| old(ListKind::Variables)))
    }

    /// Returns which bakefile and targets are meant.
    pub fn project(self) -> ProjectRequest {
        ProjectRequest { store: self.store, ..self.project.request() }
    }

    /// Returns what is asked for.
    ///
    /// # Errors
    /// A flag asks for what cannot be done yet.
    pub fn request(self) -> Result<BuildRequest, Failure> {
        if self.progress == ProgressFlag::RawJson {
            return Err(Failure::new(Kind::Usage, "--progress rawjson is not supported yet")
                .hint("use --progress plain, or --metadata-file for the results"));
        }
        let mut ignored = Vec::new();
        if let Some(builder) = &self.builder {
            ignored.push(format!("--builder {builder} is left out: bake builds by itself, without builders"));
        }
        if self.debug {
            ignored.push("--debug is left out: --progress plain shows everything that bake knows".to_owned());
        }
        if self.project.pull == Some(true) {
            ignored.push("--pull is left out: images are those of the lockfile, or the registry's newest".to_owned());
        }
        let BuildFlags { project, jobs, keep_going, no_emulation, fail_on_miss, locked, store, .. } = self;
        let (store_limit, metadata_file, allow, sign) = (self.store_limit, self.metadata_file, self.allow, self.sign);
        let (publish_partial, resume) = (self.publish_partial, self.resume);
        let project = ProjectRequest { store, ..project.request() };
        Ok(BuildRequest {
            project,
            jobs,
            keep_going,
            publish_partial,
            resume,
            no_emulation,
            fail_on_miss,
            locked,
            metadata_file,
            iid_file: self.iidfile,
            allow,
            sign,
            store_limit,
            ignored,
        })
    }
}

/// Flags of `print`.
#[derive(Debug, Args)]
pub struct PrintFlags {
    #[command(flatten)]
    project: ProjectFlags,
}

impl PrintFlags {
    /// Returns what is asked for.
    pub fn request(self) -> ProjectRequest {
        self.project.request()
    }
}

/// Flags of `list`.
#[derive(Debug, Args)]
pub struct ListFlags {
    /// What to list
    #[arg(value_enum, default_value_t = ListKindFlag::Targets)]
    kind: ListKindFlag,
    #[command(flatten)]
    file: FileFlags,
    /// How the list is written
    #[arg(long, value_enum, default_value_t = ListFormatFlag::Table)]
    format: ListFormatFlag,
}

/// What `list` lists.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum ListKindFlag {
    /// Targets and groups, but those whose name begins with `_`
    Targets,
    /// Variables with their values in this run
    Variables,
}

/// `--format` of `list`.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum ListFormatFlag {
    /// Lines for people
    Table,
    /// An array of objects
    Json,
}

impl ListFlags {
    /// Returns the bakefile, and what is asked of it.
    pub fn request(self) -> (ProjectRequest, ListRequest) {
        let kind = match self.kind {
            ListKindFlag::Targets => ListKind::Targets,
            ListKindFlag::Variables => ListKind::Variables,
        };
        let format = match self.format {
            ListFormatFlag::Table => ListFormat::Table,
            ListFormatFlag::Json => ListFormat::Json,
        };
        (self.file.request(), ListRequest { kind, format })
    }
}

/// Flags of `check`.
#[derive(Debug, Args)]
pub struct CheckFlags {
    /// Targets and groups whose Dockerfiles are checked; `default` if none is named
    #[arg(value_name = "TARGET")]
    targets: Vec<String>,
    #[command(flatten)]
    file: FileFlags,
    /// Report what bake adds to the peer's language, with what the peer does on meeting it
    #[arg(long)]
    compat: bool,
    /// How findings are written: text for people on stderr, or JSON on stdout
    #[arg(long, value_enum, default_value_t = CheckFormatFlag::Text, conflicts_with = "compat")]
    format: CheckFormatFlag,
}

/// `--format` of `check`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CheckFormatFlag {
    /// Text for people, on stderr
    Text,
    /// An array of findings, on stdout
    Json,
}

impl CheckFlags {
    /// Returns what is asked for.
    pub fn request(self) -> CheckRequest {
        let is_json = self.format == CheckFormatFlag::Json;
        CheckRequest {
            project: ProjectRequest { targets: self.targets, is_compat: self.compat, ..self.file.request() },
            is_json,
        }
    }
}

/// Flags of `compile`.
#[derive(Debug, Args)]
pub struct CompileFlags {
    /// The build context, a directory
    #[arg(value_name = "CONTEXT", default_value = ".")]
    context: String,
    /// Dockerfile, `-` for standard input [default: CONTEXT/Dockerfile]
    #[arg(short, long, value_name = "FILE")]
    file: Option<String>,
    /// The stage to compile [default: the last one]
    #[arg(long, value_name = "STAGE")]
    target: Option<String>,
    /// Compile every named stage as a target too, for the first platform
    #[arg(long)]
    all_stages: bool,
    /// Compile for these platforms, each as if alone [default: this machine's]
    #[arg(long = "platform", value_name = "PLATFORM", value_delimiter = ',')]
    platforms: Vec<Platform>,
    /// BUILDPLATFORM [default: this machine's]
    #[arg(long, value_name = "PLATFORM")]
    build_platform: Option<Platform>,
    /// Set a build argument; without a value, that of the environment
    #[arg(long = "build-arg", value_name = "NAME[=VALUE]")]
    args: Vec<String>,
    /// Give a named context: a directory, docker-image://REFERENCE or oci-layout://PATH
    #[arg(long = "build-context", value_name = "NAME=CONTEXT")]
    contexts: Vec<String>,
    /// Take image configs from this file and ask no registry
    #[arg(long, value_name = "FILE")]
    registry_file: Option<String>,
    /// Ask no registry
    #[arg(long)]
    offline: bool,
}

impl CompileFlags {
    /// Returns what is asked for.
    pub fn request(self) -> CompileRequest {
        let CompileFlags { file, context, target, platforms, build_platform, args, contexts, registry_file, .. } = self;
        let (is_for_all_stages, is_offline) = (self.all_stages, self.offline);
        CompileRequest {
            file,
            context,
            target,
            is_for_all_stages,
            platforms,
            build_platform,
            args,
            contexts,
            registry_file,
            is_offline,
        }
    }
}

/// Flags of `fmt`.
#[derive(Debug, Args)]
pub struct FmtFlags {
    /// Files, directories, `-` for standard input [default: the HCL files that a build reads]
    #[arg(value_name = "FILE|DIR")]
    files: Vec<String>,
    /// Change nothing; fail if a file is not formatted
    #[arg(long)]
    check: bool,
    /// Take the directories below as well
    #[arg(short, long)]
    recursive: bool,
}

impl FmtFlags {
    /// Returns what is asked for.
    pub fn request(self) -> FmtRequest {
        FmtRequest { files: self.files, is_recursive: self.recursive, is_check: self.check }
    }
}

/// Flags of `convert`.
#[derive(Debug, Args)]
pub struct ConvertFlags {
    /// Bakefile, `-` for standard input [default: the one that a build reads]
    #[arg(short, long, value_name = "FILE")]
    file: Option<String>,
    /// Notation of the result
    #[arg(long, value_enum)]
    to: NotationFlag,
    /// Where the result goes, `-` for standard output [default: -]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Write the result although something has no form in it: warn of that instead of failing
    #[arg(long)]
    lossy: bool,
    /// Let the result replace the file that is read
    #[arg(long)]
    overwrite: bool,
}

/// `--to` of `convert`.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum NotationFlag {
    /// HCL
    Hcl,
    /// TOML with templates in strings
    Toml,
    /// HCL's JSON form
    Json,
}

impl ConvertFlags {
    /// Returns what is asked for.
    pub fn request(self) -> ConvertRequest {
        let to = match self.to {
            NotationFlag::Hcl => Notation::Hcl,
            NotationFlag::Toml => Notation::Toml,
            NotationFlag::Json => Notation::Json,
        };
        let ConvertFlags { file, output, lossy, overwrite, .. } = self;
        ConvertRequest { file, to, output, is_lossy: lossy, may_overwrite: overwrite }
    }
}

/// `--progress`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ProgressFlag {
    /// A live view on a terminal, lines elsewhere
    Auto,
    /// Lines
    Plain,
    /// A live view
    Tty,
    /// Nothing but warnings and errors
    #[value(alias = "none")]
    Quiet,
    /// Events as JSON; not supported yet
    #[value(name = "rawjson")]
    RawJson,
}
