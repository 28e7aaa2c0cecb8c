//! What a step does: sources, file operations and processes, in LLB's shape.
//!
//! An op names its inputs by their place in the vertex's input list ([`InputIndex`]); `None` where a root file system is
//! asked for means scratch. Whatever is in an op decides the bytes of its result and is in the vertex digest.

use serde::Serialize;

use crate::digest::{DiffId, Digest};
use crate::dockerfile::NetworkMode;
use crate::platform::Platform;

/// The place of an input in its vertex's list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct InputIndex(pub u32);

/// What a vertex does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Op {
    /// Brings something in; has no inputs.
    Source(SourceOp),
    /// Runs a process in a root file system.
    Exec(Box<ExecOp>),
    /// Changes files of a root file system.
    File(FileOp),
}

/// What is brought in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SourceOp {
    /// The root file system of an image: its layers. The name is not part of it: two names of one manifest are one step.
    Image {
        /// Digest of the platform's image manifest.
        manifest: Digest,
        /// Its layers, oldest first; may be empty.
        diff_ids: Vec<DiffId>,
    },
    /// A local directory. Its content is not part of the vertex; what is selected of it enters the cache key of the step
    /// that reads it.
    Local(LocalSource),
}

/// A directory of the user's.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct LocalSource {
    /// Path as the bakefile has it, relative to the directory that the command runs in; `.` for that directory.
    pub path: String,
    /// Lines of the ignore file that applies, as read, in order; see `dockerfile::ignore`.
    pub ignore: Vec<String>,
}

/// A process in a root file system. Its result is the root file system after it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ExecOp {
    /// The root file system it runs in.
    pub root: Option<InputIndex>,
    /// Program and arguments; never empty. A name without `/` is looked up in `env`'s PATH inside the root.
    pub args: Vec<String>,
    /// Environment in order; names are distinct.
    pub env: Vec<(String, String)>,
    /// Absolute working directory; made if it is not there.
    pub cwd: String,
    /// `user[:group]` by name or number, resolved in the root's passwd and group; empty for root.
    pub user: String,
    /// The platform whose binaries run.
    pub platform: Platform,
    /// What is mounted over the root, in the order in which it is mounted.
    pub mounts: Vec<Mount>,
    /// Network access.
    pub network: NetworkMode,
    /// Host name inside; BuildKit's default is `buildkitsandbox`.
    pub hostname: String,
}

/// Something mounted over the root file system of a process; its content never becomes part of the result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Mount {
    /// Absolute path in the root; made for the time of the step if it is not there.
    pub target: String,
    /// Writes are refused.
    pub is_read_only: bool,
    /// What is there.
    pub kind: MountKind,
}

/// What a [`Mount`] shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum MountKind {
    /// Files of an input; writes are discarded after the step.
    Bind {
        /// Whose files.
        input: InputIndex,
        /// Path in the input: a file or a directory; `/` for all of it.
        selector: String,
    },
    /// A directory that outlives the step and is no part of any cache key's content.
    Cache {
        /// Identity: the same id is the same directory.
        id: String,
        /// What happens when two steps want it at once.
        sharing: CacheSharing,
        /// Mode, owner and group of the directory when it is first made.
        mode: u32,
        /// See `mode`.
        uid: u32,
        /// See `mode`.
        gid: u32,
    },
    /// An empty directory in memory.
    Tmpfs {
        /// Bytes; the kernel's default (half of memory) where absent.
        size: Option<u64>,
    },
}

/// What happens when two steps want one cache directory at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CacheSharing {
    /// Both write to it.
    #[default]
    Shared,
    /// The second gets a directory of its own.
    Private,
    /// The second waits.
    Locked,
}

/// File actions over one root file system, in order. Its result is the root file system after all of them: one layer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FileOp {
    /// The root file system that is changed.
    pub root: Option<InputIndex>,
    /// Non-empty.
    pub actions: Vec<FileAction>,
}

/// One change of files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FileAction {
    /// Makes a directory and its parents (WORKDIR). Those that are there stay as they are.
    Mkdir {
        /// Absolute path in the root.
        path: String,
        /// Permission bits of the directories made.
        mode: u32,
        /// Owner of the directories made; root where absent.
        owner: Option<Owner>,
    },
    /// Writes a file (heredoc of COPY, inline script); parents are made.
    Mkfile {
        /// Absolute path in the root; with a trailing `/` never.
        path: String,
        /// Permission bits.
        mode: u32,
        /// Owner; root where absent.
        owner: Option<Owner>,
        /// Content.
        data: Vec<u8>,
    },
    /// Copies files of an input (COPY, ADD of local files).
    Copy(CopyAction),
}

/// Copies one source word of a COPY or ADD.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CopyAction {
    /// Whose files.
    pub from: InputIndex,
    /// Path in the input, cleaned, absolute (`/` is all of it); may hold Go `filepath.Match` wildcards.
    pub source: String,
    /// Absolute path in the root. A trailing `/` says that it is a directory.
    pub dest: String,
    /// Owner of everything copied and of parents made; root where absent and the input is a local context, kept from the
    /// source where absent and the input is a root file system.
    pub owner: Option<Owner>,
    /// Permission bits of everything copied; kept where absent.
    pub mode: Option<ModeChange>,
    /// Paths left out: ignore patterns relative to the source.
    pub exclude: Vec<String>,
    /// A tar archive (plain, gzip, bzip2, xz, zstd) is unpacked instead of copied (ADD).
    pub unpack: bool,
}

/// `--chmod`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ModeChange {
    /// Octal: all of 0o7777.
    Bits(u32),
    /// As chmod(1) has it: `u=rwX,go=rX`.
    Symbolic(String),
}

/// Who owns a file: names are looked up in the passwd and group of the root file system that is changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Owner {
    /// User; root where absent.
    pub user: Option<Id>,
    /// Group. Where absent: the user's number for a numeric user, the user's primary group for a name.
    pub group: Option<Id>,
}

/// A user or group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Id {
    /// By number.
    Number(u32),
    /// By name.
    Name(String),
}
