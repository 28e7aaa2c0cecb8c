//! Flags of `verify`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::{FileFlags, entitlement};
use crate::commands::build::BuildRequest;
use crate::commands::project::ProjectRequest;
use crate::commands::verify::VerifyRequest;

/// Flags of `verify`.
#[derive(Debug, Args)]
pub struct VerifyFlags {
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
    /// How the answer is written; JSON has every file
    #[arg(long, value_enum, default_value_t = VerifyFormatFlag::Text)]
    format: VerifyFormatFlag,
    /// Grant what the bakefile wants beyond its directory, as for `build`
    #[arg(long, value_name = "RIGHT", value_parser = entitlement)]
    allow: Vec<String>,
    /// Directory that keeps layers and cache records [default: $BAKE_STORE, else $XDG_DATA_HOME/bake]
    #[arg(long, value_name = "DIR")]
    store: Option<PathBuf>,
}

/// `--format` of `verify`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum VerifyFormatFlag {
    /// Text for people
    Text,
    /// An object
    Json,
}

impl VerifyFlags {
    /// Returns what is asked for.
    pub fn request(self) -> VerifyRequest {
        let VerifyFlags { targets, file, set, platforms, format, allow, store } = self;
        let project = ProjectRequest { targets, set, platforms, store, ..file.request() };
        let build = BuildRequest { project, allow, ..BuildRequest::default() };
        VerifyRequest { build, is_json: format == VerifyFormatFlag::Json }
    }
}
