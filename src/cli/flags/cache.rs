//! Flags of `bake cache`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use crate::commands::cache::{DuRequest, Filter, ListForm, MountName, PruneRequest, StoreRequest, VerifyRequest};
use crate::store::{StoreLimit, parse_size};

/// What to do with the store.
#[derive(Debug, Subcommand)]
pub enum CacheCommand {
    /// Show what takes how much room
    Du(DuFlags),
    /// Remove what no running bake uses, the oldest first
    Prune(PruneFlags),
    /// Check that everything is what it is known by
    Verify(VerifyFlags),
    /// List cache mounts, and carry them from machine to machine
    #[command(subcommand)]
    Mount(MountCommand),
}

/// What to do with cache mounts.
#[derive(Debug, Subcommand)]
pub enum MountCommand {
    /// List cache mounts by their ids
    Ls {
        #[command(flatten)]
        store: StoreFlags,
        /// How the list is written
        #[arg(long, value_enum, default_value_t = FormatFlag::Table)]
        format: FormatFlag,
    },
    /// Write a cache mount's files as a tar archive
    Export {
        #[command(flatten)]
        name: MountFlags,
        /// Where the archive goes, `-` for standard output [default: -]
        #[arg(short, long, value_name = "FILE")]
        output: Option<String>,
        #[command(flatten)]
        store: StoreFlags,
    },
    /// Make a tar archive's files a cache mount, in place of what it held
    Import {
        #[command(flatten)]
        name: MountFlags,
        /// The archive, plain or compressed, `-` for standard input [default: -]
        #[arg(value_name = "FILE")]
        input: Option<String>,
        #[command(flatten)]
        store: StoreFlags,
    },
}

/// Which cache mount.
#[derive(Debug, Args)]
pub struct MountFlags {
    /// The mount's id, as the Dockerfile and `bake cache mount ls` have it
    id: String,
    /// What BUILDKIT_CACHE_MOUNT_NS is in builds that use it
    #[arg(long, value_name = "NS", default_value = "", hide_default_value = true)]
    namespace: String,
}

impl MountFlags {
    /// Returns which mount is meant.
    pub fn request(self) -> MountName {
        MountName { id: self.id, namespace: self.namespace }
    }
}

/// Which store.
#[derive(Debug, Args)]
pub struct StoreFlags {
    /// The store's directory [default: $BAKE_STORE, else $XDG_DATA_HOME/bake]
    #[arg(long = "store", value_name = "DIR")]
    path: Option<PathBuf>,
    /// How large the store may become: 20GB, 50% of the disk, none [default: $BAKE_STORE_LIMIT, else what the store says]
    #[arg(long = "store-limit", value_name = "SIZE")]
    limit: Option<StoreLimit>,
}

impl StoreFlags {
    /// Returns which store is meant.
    pub fn request(self) -> StoreRequest {
        StoreRequest { path: self.path, limit: self.limit }
    }
}

/// `--format` of `du` and `mount ls`.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum FormatFlag {
    /// Lines for people
    Table,
    /// One document
    Json,
}

impl FormatFlag {
    /// Returns how the list is to be written.
    pub fn form(self) -> ListForm {
        match self {
            FormatFlag::Table => ListForm::Table,
            FormatFlag::Json => ListForm::Json,
        }
    }
}

/// Flags of `cache du`.
#[derive(Debug, Args)]
pub struct DuFlags {
    /// Show every item, and not the types alone
    #[arg(long)]
    verbose: bool,
    /// How it is written
    #[arg(long, value_enum, default_value_t = FormatFlag::Table)]
    format: FormatFlag,
    /// Show items that pass: type=snapshot, until=24h, size>100MB, description~=REGEX and others; several must all pass
    #[arg(long = "filter", value_name = "KEY=VALUE", value_parser = Filter::parse)]
    filters: Vec<Filter>,
    #[command(flatten)]
    store: StoreFlags,
}

impl DuFlags {
    /// Returns what is asked for.
    pub fn request(self) -> DuRequest {
        let DuFlags { verbose, format, filters, store } = self;
        DuRequest { store: store.request(), filters, is_verbose: verbose, form: format.form() }
    }
}

/// Flags of `cache prune`.
#[derive(Debug, Args)]
pub struct PruneFlags {
    /// Take cache mounts, what git keeps, and what later runs start from as well
    #[arg(short, long)]
    all: bool,
    /// Take only items that pass, as for `cache du`
    #[arg(long = "filter", value_name = "KEY=VALUE", value_parser = Filter::parse)]
    filters: Vec<Filter>,
    /// Never make the store smaller than this
    #[arg(long, value_name = "SIZE", value_parser = parse_size, alias = "keep-storage")]
    reserved_space: Option<u64>,
    /// Make the store at most so large
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    max_used_space: Option<u64>,
    /// Make so much room on the disk
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    min_free_space: Option<u64>,
    /// Remove nothing; say of every item why it would go or stay
    #[arg(long)]
    dry_run: bool,
    /// Ask nobody
    #[arg(short, long)]
    force: bool,
    #[command(flatten)]
    store: StoreFlags,
}

impl PruneFlags {
    /// Returns what is asked for.
    pub fn request(self) -> PruneRequest {
        let PruneFlags { all, filters, reserved_space, max_used_space, min_free_space, dry_run, force, store } = self;
        PruneRequest {
            store: store.request(),
            filters,
            takes_all: all,
            reserved_space,
            max_used_space,
            min_free_space,
            is_dry_run: dry_run,
            is_forced: force,
        }
    }
}

/// Flags of `cache verify`.
#[derive(Debug, Args)]
pub struct VerifyFlags {
    /// Remove what is damaged, so that the next build makes it or fetches it again
    #[arg(long)]
    repair: bool,
    #[command(flatten)]
    store: StoreFlags,
}

impl VerifyFlags {
    /// Returns what is asked for.
    pub fn request(self) -> VerifyRequest {
        VerifyRequest { store: self.store.request(), repairs: self.repair }
    }
}
