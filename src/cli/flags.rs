//! The command line's words. Defined once: parser, `--help` and errors come from here.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::bakefile::ListFormat;
use crate::commands::build::BuildRequest;
use crate::commands::check::CheckRequest;
use crate::commands::entitlements::Granted;
use crate::commands::fmt::FmtRequest;
use crate::commands::list::{ListKind, ListRequest};
use crate::commands::project::ProjectRequest;
use crate::commands::{Failure, Kind};

/// The words that begin a command; anything else is a target to build.
pub const VERBS: [&str; 7] = ["build", "print", "list", "check", "fmt", "image", "help"];

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
    /// Print the resolved targets as JSON, as `docker buildx bake --print` does
    Print(PrintFlags),
    /// List targets or variables
    List(ListFlags),
    /// Validate the bakefile without building
    Check(CheckFlags),
    /// Format HCL bakefiles
    Fmt(FmtFlags),
    /// Look at images in registries
    #[command(subcommand)]
    Image(ImageCommand),
}

impl Command {
    /// Returns how talk is to be shown.
    pub fn progress(&self) -> ProgressFlag {
        match self {
            Command::Build(flags) if flags.quiet => ProgressFlag::Quiet,
            Command::Build(flags) => flags.progress,
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
    /// Hand the images to Docker; not supported yet: see --output type=oci
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = go_bool)]
    load: Option<bool>,
    /// Write the result: type=image|registry|oci|local|tar|cacheonly[,dest=PATH]
    #[arg(short, long = "output", value_name = "SPEC")]
    outputs: Vec<String>,
    /// Run every step; ask no cache
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = go_bool)]
    no_cache: Option<bool>,
    /// Ask registries for newer images; the lockfile decides here
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = go_bool)]
    pull: Option<bool>,
    /// Attach a list of what is in the image; not supported yet
    #[arg(long, value_name = "SPEC")]
    sbom: Option<String>,
    /// Attach how the image was built; not supported yet
    #[arg(long, value_name = "SPEC")]
    provenance: Option<String>,
    /// What to do in place of building: build, check, outline, targets; only build is supported yet
    #[arg(long, value_name = "METHOD")]
    call: Option<String>,
    /// The same as --call=check
    #[arg(long, conflicts_with = "call")]
    check: bool,
}

impl ProjectFlags {
    fn request(self) -> ProjectRequest {
        let ProjectFlags { targets, file, set, platforms, push, load, outputs, no_cache, pull, .. } = self;
        let (sbom, provenance) = (self.sbom, self.provenance);
        let call = if self.check { Some("check".to_owned()) } else { self.call };
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
            call,
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
    Granted::parse(&[text.to_owned()]).map(|_| text.to_owned())
}

/// Flags of `build`.
#[derive(Debug, Args)]
pub struct BuildFlags {
    #[command(flatten)]
    project: ProjectFlags,
    /// Steps that run at once [default: the number of processors]
    #[arg(short, long, value_name = "N")]
    jobs: Option<std::num::NonZeroUsize>,
    /// Go on with what does not depend on a failed step; nothing is pushed
    #[arg(long)]
    keep_going: bool,
    /// How progress is shown
    #[arg(long, value_enum, default_value_t = ProgressFlag::Auto)]
    pub progress: ProgressFlag,
    /// Show only warnings and errors
    #[arg(short, long)]
    pub quiet: bool,
    /// Directory that keeps layers and cache records [default: $BAKE_STORE, else $XDG_DATA_HOME/bake]
    #[arg(long, value_name = "DIR")]
    store: Option<PathBuf>,
    /// Print the targets as JSON and do not build
    #[arg(long, conflicts_with = "list")]
    pub print: bool,
    /// List targets or variables and do not build: targets, or type=variables,format=json
    #[arg(long, value_name = "SPEC", value_parser = ListRequest::parse)]
    pub list: Option<ListRequest>,
    /// Write digests and names of the results to a file, as JSON
    #[arg(long, value_name = "FILE")]
    metadata_file: Option<PathBuf>,
    /// Grant what the bakefile wants beyond its directory: fs.read=PATH, fs.write=PATH, fs=PATH, ssh, network.host,
    /// security.insecure, device[=NAME], buildx.local.delete
    #[arg(long, value_name = "RIGHT", value_parser = entitlement)]
    allow: Vec<String>,
    /// Name a builder, as for the peer; bake is its own and ignores it
    #[arg(long, value_name = "NAME")]
    builder: Option<String>,
}

impl BuildFlags {
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
        if self.project.pull == Some(true) {
            ignored.push("--pull is left out: images are those of the lockfile, or the registry's newest".to_owned());
        }
        let BuildFlags { project, jobs, keep_going, store, metadata_file, allow, .. } = self;
        let project = ProjectRequest { store, ..project.request() };
        let n_jobs = jobs.map(Into::into);
        Ok(BuildRequest { project, n_jobs, keep_going, metadata_file, allow, ignored })
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
    #[command(flatten)]
    file: FileFlags,
    /// Report what bake adds to the peer's language, with what the peer does on meeting it
    #[arg(long)]
    compat: bool,
}

impl CheckFlags {
    /// Returns what is asked for.
    pub fn request(self) -> CheckRequest {
        CheckRequest { project: self.file.request(), is_compat: self.compat }
    }
}

/// Flags of `fmt`.
#[derive(Debug, Args)]
pub struct FmtFlags {
    /// Files, `-` for standard input [default: the HCL files that a build reads]
    #[arg(value_name = "FILE")]
    files: Vec<String>,
    /// Change nothing; fail if a file is not formatted
    #[arg(long)]
    check: bool,
}

impl FmtFlags {
    /// Returns what is asked for.
    pub fn request(self) -> FmtRequest {
        FmtRequest { files: self.files, is_check: self.check }
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
