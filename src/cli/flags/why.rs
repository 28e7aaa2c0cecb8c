//! Flags of `why`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::{FileFlags, entitlement};
use crate::commands::build::BuildRequest;
use crate::commands::project::ProjectRequest;
use crate::commands::why::WhyRequest;
use crate::report::why::Shown;

/// Flags of `why`.
#[derive(Debug, Args)]
pub struct WhyFlags {
    /// Targets and groups; `default` if none is named
    #[arg(value_name = "TARGET")]
    targets: Vec<String>,
    #[command(flatten)]
    file: FileFlags,
    /// Override a target's attribute: TARGETPATTERN.KEY=VALUE
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Ask for these platforms instead of the targets' own
    #[arg(long = "platform", value_name = "PLATFORM", value_delimiter = ',')]
    platforms: Vec<String>,
    /// Show every step, hits as well
    #[arg(long)]
    all: bool,
    /// How the answer is written; JSON has every step
    #[arg(long, value_enum, default_value_t = WhyFormatFlag::Text)]
    format: WhyFormatFlag,
    /// Fail if a step is not in the cache
    #[arg(long)]
    fail_on_miss: bool,
    /// Grant what the bakefile wants beyond its directory, as for `build`
    #[arg(long, value_name = "RIGHT", value_parser = entitlement)]
    allow: Vec<String>,
    /// Directory that keeps layers and cache records [default: $BAKE_STORE, else $XDG_DATA_HOME/bake]
    #[arg(long, value_name = "DIR")]
    store: Option<PathBuf>,
}

/// `--format` of `why`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum WhyFormatFlag {
    /// Text for people
    Text,
    /// An object
    Json,
}

impl WhyFlags {
    /// Returns what is asked for.
    pub fn request(self) -> WhyRequest {
        let WhyFlags { targets, file, set, platforms, all, format, fail_on_miss, allow, store } = self;
        let project = ProjectRequest { targets, set, platforms, store, ..file.request() };
        let build = BuildRequest { project, allow, fail_on_miss, ..BuildRequest::default() };
        let shown = if all { Shown::All } else { Shown::Misses };
        WhyRequest { build, shown, is_json: format == WhyFormatFlag::Json }
    }
}
