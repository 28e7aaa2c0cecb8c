//! Where a target's result may go.

use super::ImageShape;
use crate::reference::Reference;

/// Where a target's result goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Nowhere: the steps are run for the cache's sake.
    CacheOnly,
    /// Nowhere else: the image is made and stays in the store.
    Image(ImageShape),
    /// To the registries of these names.
    Push(Vec<Reference>, ImageShape),
    /// To the repositories of these names, by digest alone: no tag is made or moved.
    PushByDigest(Vec<Reference>, ImageShape),
    /// The image as an archive or a directory.
    File(ImageFile),
    /// Into the images of a Docker or Podman that is there.
    Load {
        /// The Docker context; where absent, the one that Docker's own command would use, or Podman.
        context: Option<String>,
        /// Its names there.
        names: Vec<Reference>,
        /// Of the image.
        shape: ImageShape,
    },
    /// The files of the root file system in a directory.
    Local {
        /// Relative to the directory that the command runs in.
        dest: String,
        /// Whether each platform has a directory of its own there.
        split: PlatformSplit,
        /// What becomes of other files there.
        mode: LocalMode,
    },
    /// The files of the root file system as a tar archive.
    Tar {
        /// Relative to the directory that the command runs in; `-` for standard output.
        dest: String,
        /// Whether each platform has a directory of its own in it.
        split: PlatformSplit,
    },
}

impl Output {
    /// Says whether it is written to standard output.
    pub fn is_stdout(&self) -> bool {
        self.path() == Some("-")
    }

    /// Says whether it takes an image: compressed layers, config and manifest.
    pub fn is_image(&self) -> bool {
        self.shape().is_some()
    }

    /// Returns the shape of the image that it takes; `None` where it takes none.
    pub fn shape(&self) -> Option<&ImageShape> {
        match self {
            Output::Image(shape) | Output::Push(_, shape) | Output::PushByDigest(_, shape) => Some(shape),
            Output::File(ImageFile { shape, .. }) | Output::Load { shape, .. } => Some(shape),
            Output::CacheOnly | Output::Local { .. } | Output::Tar { .. } => None,
        }
    }

    /// Returns the file or directory that it writes, relative to the directory that the command runs in.
    pub fn path(&self) -> Option<&str> {
        match self {
            Output::File(ImageFile { dest, .. }) | Output::Local { dest, .. } | Output::Tar { dest, .. } => Some(dest),
            _ => None,
        }
    }

    /// Returns the names that the image has there.
    pub fn names(&self) -> &[Reference] {
        match self {
            Output::Push(names, _) | Output::PushByDigest(names, _) => names,
            Output::File(ImageFile { names, .. }) | Output::Load { names, .. } => names,
            _ => &[],
        }
    }
}

/// An image as files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageFile {
    /// Path relative to the directory that the command runs in; `-` for standard output.
    pub dest: String,
    /// Archive or directory.
    pub form: LayoutForm,
    /// Who is to read it.
    pub format: ImageFormat,
    /// Its names there.
    pub names: Vec<Reference>,
    /// Of the image.
    pub shape: ImageShape,
}

/// How an OCI image layout is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LayoutForm {
    /// One tar archive.
    Archive,
    /// A directory.
    Directory,
}

/// Who is to read an image's files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ImageFormat {
    /// `type=oci`: those who know OCI image layouts.
    Oci,
    /// `type=docker`: `docker load` of any version too, which knows one platform.
    Docker,
}

/// How the files of several platforms lie in one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlatformSplit {
    /// In a directory for each platform: `linux_arm64`.
    Split,
    /// Together; no two platforms may have a file of one name.
    Merged,
}

/// What becomes of what the destination has besides the result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LocalMode {
    /// It stays.
    Copy,
    /// It is removed: the directory is the result.
    Delete,
}
