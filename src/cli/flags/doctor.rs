//! Flags of `doctor`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::commands::doctor::DoctorRequest;

/// Flags of `doctor`.
#[derive(Debug, Args)]
pub struct DoctorFlags {
    /// Registries to reach, as HOST or HOST:PORT [default: those that the bakefile here names]
    #[arg(value_name = "REGISTRY")]
    registries: Vec<String>,
    /// Bakefile that names the registries [default: the one that a build reads]
    #[arg(short, long = "file", value_name = "FILE")]
    files: Vec<String>,
    /// Directory whose disk is looked at [default: the store of a build]
    #[arg(long, value_name = "DIR")]
    store: Option<PathBuf>,
    /// How findings are written
    #[arg(long, value_enum, default_value_t = DoctorFormatFlag::Text)]
    format: DoctorFormatFlag,
}

/// `--format` of `doctor`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DoctorFormatFlag {
    /// A line for each
    Text,
    /// An object
    Json,
}

impl DoctorFlags {
    /// Returns what is asked for.
    pub fn request(self) -> DoctorRequest {
        let DoctorFlags { registries, files, store, format } = self;
        DoctorRequest { registries, files, store, is_json: format == DoctorFormatFlag::Json }
    }
}
