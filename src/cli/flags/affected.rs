//! Flags of `affected`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::{FileFlags, entitlement};
use crate::commands::affected::AffectedRequest;
use crate::commands::build::BuildRequest;
use crate::commands::project::ProjectRequest;

/// Flags of `affected`.
#[derive(Debug, Args)]
pub struct AffectedFlags {
    /// Targets and groups; `all` if none is named
    #[arg(value_name = "TARGET")]
    targets: Vec<String>,
    /// Compare the working tree with this branch, tag or commit
    #[arg(long, value_name = "REVISION")]
    since: String,
    #[command(flatten)]
    file: FileFlags,
    /// Override a target's attribute: TARGETPATTERN.KEY=VALUE
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Ask for these platforms instead of the targets' own
    #[arg(long = "platform", value_name = "PLATFORM", value_delimiter = ',')]
    platforms: Vec<String>,
    /// Say why, below each
    #[arg(long)]
    reasons: bool,
    /// How the answer is written; JSON has the reasons
    #[arg(long, value_enum, default_value_t = AffectedFormatFlag::Text)]
    format: AffectedFormatFlag,
    /// Grant what the bakefile wants beyond its directory, as for `build`
    #[arg(long, value_name = "RIGHT", value_parser = entitlement)]
    allow: Vec<String>,
    /// Directory that keeps layers and cache records [default: $BAKE_STORE, else $XDG_DATA_HOME/bake]
    #[arg(long, value_name = "DIR")]
    store: Option<PathBuf>,
}

/// `--format` of `affected`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum AffectedFormatFlag {
    /// A line for each target and platform
    Text,
    /// An object
    Json,
}

impl AffectedFlags {
    /// Returns what is asked for.
    pub fn request(self) -> AffectedRequest {
        let AffectedFlags { mut targets, since, file, set, platforms, reasons, format, allow, store } = self;
        if targets.is_empty() {
            targets.push("all".to_owned());
        }
        let project = ProjectRequest { targets, set, platforms, store, ..file.request() };
        let build = BuildRequest { project, allow, ..BuildRequest::default() };
        AffectedRequest { build, since, has_reasons: reasons, is_json: format == AffectedFormatFlag::Json }
    }
}
