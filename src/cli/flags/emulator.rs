//! Flags of `emulator`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use crate::commands::emulator::{DEFAULT_IMAGE, EmulatorRequest, EmulatorVerb, EmulatorsFrom};
use crate::commands::{Failure, Kind};
use crate::platform::Platform;

/// What to do with emulators.
#[derive(Debug, Subcommand)]
pub enum EmulatorCommand {
    /// Show which platforms' steps run here, and through what
    Ls {
        /// How the list is written
        #[arg(long, value_enum, default_value_t = EmulatorFormatFlag::Table)]
        format: EmulatorFormatFlag,
        #[command(flatten)]
        store: StoreFlag,
    },
    /// Install emulators: the distribution's package, or for bake alone with --from or --image
    Install {
        /// Platforms to emulate [default: all that people build for and this machine does not run]
        #[arg(value_name = "PLATFORM")]
        platforms: Vec<Platform>,
        /// Take them from a file or a directory with `qemu-*`, for bake alone
        #[arg(long, value_name = "PATH", conflicts_with = "image")]
        from: Option<PathBuf>,
        /// Take them from an image in a registry, for bake alone [default without a name: tonistiigi/binfmt]
        #[arg(long, value_name = "REFERENCE", num_args = 0..=1, default_missing_value = DEFAULT_IMAGE)]
        image: Option<String>,
        #[command(flatten)]
        store: StoreFlag,
    },
    /// Remove emulators that were installed for bake alone
    Rm {
        /// Platforms whose emulators go
        #[arg(value_name = "PLATFORM", required_unless_present = "all")]
        platforms: Vec<Platform>,
        /// Remove all of them
        #[arg(long, conflicts_with = "platforms")]
        all: bool,
        #[command(flatten)]
        store: StoreFlag,
    },
}

/// Where emulators for bake alone are.
#[derive(Debug, Args)]
pub struct StoreFlag {
    /// Store that they are in [default: the store of a build]
    #[arg(long, value_name = "DIR")]
    store: Option<PathBuf>,
}

/// `--format` of `emulator ls`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum EmulatorFormatFlag {
    /// Lines for people
    Table,
    /// An array of objects
    Json,
}

impl EmulatorCommand {
    /// Returns what is asked for.
    ///
    /// # Errors
    /// A platform stands where an image's name was expected.
    pub fn request(self) -> Result<EmulatorRequest, Failure> {
        let (verb, store) = match self {
            EmulatorCommand::Ls { format, store } => {
                (EmulatorVerb::List { is_json: format == EmulatorFormatFlag::Json }, store)
            }
            EmulatorCommand::Install { platforms, from, image, store } => {
                if let Some(platform) = image.as_deref().filter(|image| image.parse::<Platform>().is_ok()) {
                    let message = format!("--image {platform}: that is a platform and no image");
                    let hint = format!("name platforms before it: bake emulator install {platform} --image");
                    return Err(Failure::new(Kind::Usage, message).hint(hint));
                }
                let from = match (from, image) {
                    (Some(path), _) => EmulatorsFrom::Path(path),
                    (None, Some(image)) => EmulatorsFrom::Image(image),
                    (None, None) => EmulatorsFrom::Package,
                };
                (EmulatorVerb::Install { platforms, from }, store)
            }
            EmulatorCommand::Rm { platforms, all, store } => (EmulatorVerb::Remove { platforms, is_all: all }, store),
        };
        Ok(EmulatorRequest { verb, store: store.store })
    }
}
