//! The command line's words. Defined once: parser, `--help` and errors come from here.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::commands::build::BuildRequest;
use crate::commands::project::ProjectRequest;

/// The words that begin a command; anything else is a target to build.
pub const VERBS: [&str; 4] = ["build", "print", "image", "help"];

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
            Command::Print(_) | Command::Image(_) => ProgressFlag::Plain,
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

/// Which bakefile, which targets.
#[derive(Debug, Args)]
pub struct ProjectFlags {
    /// Targets and groups; `default` if none is named, `all` is every target
    #[arg(value_name = "TARGET")]
    targets: Vec<String>,
    /// Bakefile; several are merged [default: build.toml, build.hcl, else docker-bake.*]
    #[arg(short, long = "file", value_name = "FILE")]
    files: Vec<String>,
    /// Override a target's attribute: TARGETPATTERN.KEY=VALUE
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Set a variable
    #[arg(long = "var", value_name = "NAME=VALUE")]
    var: Vec<String>,
    /// Build for these platforms instead of the targets' own
    #[arg(long = "platform", value_name = "PLATFORM", value_delimiter = ',')]
    platforms: Vec<String>,
    /// Push the images to the registries of their tags
    #[arg(long)]
    push: bool,
    /// Write the result: type=image|registry|oci|local|tar|cacheonly[,dest=PATH]
    #[arg(short, long = "output", value_name = "SPEC")]
    outputs: Vec<String>,
    /// Run every step; ask no cache
    #[arg(long)]
    no_cache: bool,
}

impl ProjectFlags {
    fn request(self) -> ProjectRequest {
        let ProjectFlags { targets, files, set, var, platforms, push, outputs, no_cache } = self;
        ProjectRequest { targets, files, set, var, platforms, push, outputs, no_cache }
    }
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
    progress: ProgressFlag,
    /// Show only warnings and errors
    #[arg(short, long)]
    quiet: bool,
    /// Directory that keeps layers and cache records [default: $BAKE_STORE, else $XDG_DATA_HOME/bake]
    #[arg(long, value_name = "DIR")]
    store: Option<PathBuf>,
    /// Print the targets as JSON and do not build
    #[arg(long)]
    print: bool,
}

impl BuildFlags {
    /// Returns what is asked for.
    pub fn request(self) -> BuildRequest {
        let BuildFlags { project, jobs, keep_going, store, print, .. } = self;
        BuildRequest { project: project.request(), n_jobs: jobs.map(Into::into), keep_going, store, only_print: print }
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
    Quiet,
}
