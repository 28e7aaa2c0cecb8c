//! `--load`: images for the Docker or Podman of this machine.
//!
//! Docker is asked over its API, wherever Docker's own command would look for it ([`endpoint`]); Podman is a program
//! and takes over where no Docker answers and none was named. Both read the archive of
//! [`layout`](super::layout); what Docker's newer image store takes besides is an index with all its platforms.

mod docker;
pub mod endpoint;
mod http;
mod podman;
mod tls;
mod wire;

use std::io::Write;
use std::path::PathBuf;

pub use self::docker::Docker;
use self::endpoint::{Endpoint, Settings};
pub use self::podman::Podman;
use super::error::FileExportError;
use super::layout::DockerNames;
use crate::digest::Digest;
use crate::reference::Reference;
use crate::sys::cancel::CancelToken;

/// Why images could not be handed over.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// There is nobody who would take them.
    #[error("no Docker answers at {}, and there is no Podman", .docker)]
    Nobody {
        /// Where Docker was looked for.
        docker: Endpoint,
        /// Why it does not answer.
        source: std::io::Error,
    },
    /// The Docker that was named does not answer.
    #[error("the Docker at {endpoint} does not answer")]
    Unreachable {
        /// Where it was looked for.
        endpoint: Endpoint,
        /// Why not.
        source: std::io::Error,
    },
    /// There is no such context, or it leads nowhere.
    #[error("Docker context `{name}`: {reason}")]
    Context {
        /// Its name.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// An address that is none.
    #[error("no address of a Docker: `{address}`: {reason}")]
    Address {
        /// As it was written.
        address: String,
        /// What is wrong with it.
        reason: String,
    },
    /// It did not take the images.
    #[error("{place} did not take the images: {reason}")]
    Refused {
        /// Who.
        place: String,
        /// In its own words.
        reason: String,
    },
    /// The archive could not be made.
    #[error(transparent)]
    Archive(#[from] FileExportError),
}

/// Writes an image archive.
pub type WriteArchive<'a> = &'a mut dyn FnMut(&mut dyn Write) -> Result<(), FileExportError>;

/// Somebody who takes images.
#[derive(Debug)]
pub enum ImageStore {
    /// A Docker daemon.
    Docker(Docker),
    /// Podman.
    Podman(Podman),
}

/// Starts what loads into a Podman later, before the caller enters namespaces in which Podman could not work. `None` where
/// there is no Podman.
pub fn stand_by(path: &[PathBuf]) -> Option<Podman> {
    podman::find(path).and_then(|program| Podman::stand_by(&program).ok())
}

impl ImageStore {
    /// Finds who takes images: the Docker of `context` where one is given, else the one that Docker's own command would use,
    /// else what `podman` returns. Asks the Docker what it can do; waits for its answer ten seconds at most.
    ///
    /// # Errors
    /// Nobody answers.
    pub fn find(
        settings: &Settings,
        context: Option<&str>,
        podman: impl FnOnce() -> Option<Podman>,
        cancel: &CancelToken,
    ) -> Result<ImageStore, LoadError> {
        let endpoint = endpoint::find(settings, context)?;
        match Docker::ask(endpoint.clone(), cancel) {
            Ok(docker) => Ok(ImageStore::Docker(docker)),
            Err(source) if endpoint.is_named => Err(LoadError::Unreachable { endpoint, source }),
            Err(source) => match podman() {
                Some(podman) => Ok(ImageStore::Podman(podman)),
                None => Err(LoadError::Nobody { docker: endpoint, source }),
            },
        }
    }

    /// Says whether it keeps an index with all its platforms. If not, an image has one platform.
    pub fn takes_index(&self) -> bool {
        match self {
            ImageStore::Docker(docker) => docker.takes_index,
            ImageStore::Podman(_) => false,
        }
    }

    /// Says whether each of `names` means an image with one of these `ids` there; `false` where it cannot be asked, and
    /// where there are no names.
    pub fn has(&self, names: &[Reference], ids: &[Digest], cancel: &CancelToken) -> bool {
        let ImageStore::Docker(docker) = self else { return false };
        let is_there = |name: &Reference| docker.image(&name.familiar(), cancel).is_some_and(|id| ids.contains(&id));
        !names.is_empty() && !ids.is_empty() && names.iter().all(is_there)
    }

    /// Says how an archive calls images for it.
    pub fn docker_names(&self) -> DockerNames {
        match self {
            ImageStore::Docker(_) => DockerNames::Familiar,
            ImageStore::Podman(_) => DockerNames::Full,
        }
    }

    /// Hands over the archive that `write` writes. A store that was given one already has it.
    ///
    /// # Errors
    /// It refuses, goes away, or the archive cannot be made.
    pub fn load(&self, write: WriteArchive<'_>, cancel: &CancelToken) -> Result<(), LoadError> {
        let refused = |reason: String| LoadError::Refused { place: self.to_string(), reason };
        match self {
            ImageStore::Docker(docker) => docker.load(write, cancel, refused),
            ImageStore::Podman(podman) => podman.load(write, cancel, refused),
        }
    }
}

impl std::fmt::Display for ImageStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ImageStore::Docker(docker) => write!(f, "Docker at {}", docker.endpoint),
            ImageStore::Podman(_) => f.write_str("Podman"),
        }
    }
}

/// Says what became of an archive that was handed over: where its reader stopped, the reader's own words count, and a
/// broken pipe says nothing.
fn outcome(
    written: Result<(), FileExportError>,
    answer: Result<(), String>,
    refused: impl Fn(String) -> LoadError,
) -> Result<(), LoadError> {
    match (written, answer) {
        (Ok(()), Ok(())) => Ok(()),
        (Ok(()), Err(reason)) => Err(refused(reason)),
        (Err(FileExportError::Io { source, .. }), Err(reason)) if source.kind() == std::io::ErrorKind::BrokenPipe => {
            Err(refused(reason))
        }
        (Err(error), _) => Err(error.into()),
    }
}
