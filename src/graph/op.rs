//! What a step does: sources, file operations and processes, in LLB's shape.
//!
//! An op names its inputs by their place in the vertex's input list ([`InputIndex`]); `None` where a root file system is
//! asked for means scratch. Whatever is in an op decides the bytes of its result and is in the vertex digest.

use serde::Serialize;

use super::remote::{GitSource, HttpSource};
use crate::bakefile::Ulimit;
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
    /// Lays the files of several root file systems over one another.
    Merge(MergeOp),
    /// What one root file system has over another.
    Diff(DiffOp),
}

impl Op {
    /// Says whether the result has no files: what stands for a stage without any where files are read of it.
    pub fn is_scratch(&self) -> bool {
        let Op::File(FileOp { root: None, actions }) = self else { return false };
        matches!(&actions[..], [FileAction::Mkdir { path, .. }] if path == "/")
    }
}

/// What is brought in.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
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
    /// A git repository.
    Git(GitSource),
    /// A file from a URL.
    Http(HttpSource),
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
    /// What the process may do.
    #[serde(skip_serializing_if = "is_default")]
    pub security: SecurityMode,
    /// Secrets in environment variables, in order. Their values are no part of any digest.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub secret_env: Vec<SecretEnv>,
    /// Names that `/etc/hosts` has besides its own, with their address; `host-gateway` is that of the machine that builds.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub extra_hosts: Vec<(String, String)>,
    /// Proxies of the build (`--build-arg http_proxy=…`), which the step sees in its environment. They say how the network
    /// is reached and not what is there: no part of any digest.
    #[serde(skip)]
    pub proxy: Option<ProxyEnv>,
    /// Limits of each process, sorted by name, each name once; those that the engine has where absent. A program can ask
    /// for its limits, and does other things then.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ulimits: Vec<Ulimit>,
    /// Exit codes that are no failure; only 0 where empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub valid_exit_codes: Vec<i32>,
}

/// What a process may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SecurityMode {
    /// What containers may by default.
    #[default]
    Sandbox,
    /// Everything; needs an entitlement.
    Insecure,
}

/// A secret in an environment variable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SecretEnv {
    /// The variable.
    pub name: String,
    /// The secret.
    pub id: String,
    /// A secret that is not there leaves the variable empty; else it fails the step.
    pub is_optional: bool,
}

/// The predefined proxy arguments; each is visible in lower and upper case. Empty ones are not set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProxyEnv {
    /// `http_proxy`.
    pub http: String,
    /// `https_proxy`.
    pub https: String,
    /// `ftp_proxy`.
    pub ftp: String,
    /// `no_proxy`.
    pub no: String,
    /// `all_proxy`.
    pub all: String,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Lays root file systems over one another: where two have a path, the later one's counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MergeOp {
    /// Lowest first; two or more.
    pub layers: Vec<InputIndex>,
}

/// What `upper` has over `lower`, as a root file system of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DiffOp {
    /// What is taken away; nothing where absent.
    pub lower: Option<InputIndex>,
    /// What it is taken from.
    pub upper: Option<InputIndex>,
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
        /// The user named it, so that it is the same for all platforms.
        #[serde(skip)]
        is_named: bool,
        /// What happens when two steps want it at once.
        sharing: CacheSharing,
        /// Mode, owner and group of the directory when it is first made.
        mode: u32,
        /// See `mode`.
        uid: u32,
        /// See `mode`.
        gid: u32,
        /// One of these was asked for. LLB has a step of its own for that, whatever they are.
        #[serde(skip)]
        has_owner: bool,
        /// What the directory holds when it is first made; nothing where absent.
        #[serde(skip_serializing_if = "Option::is_none")]
        from: Option<InputIndex>,
        /// Directory in `from`; `/` for all of it.
        #[serde(skip_serializing_if = "is_whole")]
        selector: String,
    },
    /// An empty directory in memory.
    Tmpfs {
        /// Bytes; the kernel's default (half of memory) where absent.
        size: Option<u64>,
    },
    /// A secret's value in a file. It is no part of any digest.
    Secret(SecretFile),
    /// The socket of an SSH agent.
    Ssh(SecretFile),
}

impl MountKind {
    /// Returns the input whose files a cache holds when it is first made; `None` for an empty one. A directory for which
    /// a mode or owner is asked is always made empty, whatever the mount's `from` says, as in LLB.
    pub fn first_content(&self) -> Option<InputIndex> {
        match self {
            MountKind::Cache { from, has_owner: false, .. } => *from,
            _ => None,
        }
    }
}

/// A file that holds a secret, or a socket that leads to an agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SecretFile {
    /// Which; empty for the default agent.
    pub id: String,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Permission bits.
    pub mode: u32,
    /// Where it is not there, the step runs without it; else it fails.
    pub is_optional: bool,
}

fn is_whole(selector: &str) -> bool {
    selector == "/"
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
    /// Copies files of an input (COPY, ADD).
    Copy(CopyAction),
    /// Removes a path and all beneath it.
    Rm {
        /// Absolute path in the root.
        path: String,
        /// A path that is not there is no failure.
        allow_not_found: bool,
        /// The path may hold wildcards.
        allow_wildcard: bool,
    },
    /// Makes a symbolic link.
    Symlink {
        /// What it says.
        target: String,
        /// Absolute path in the root.
        path: String,
        /// Owner; root where absent.
        owner: Option<Owner>,
    },
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
    /// How the source word is read.
    #[serde(skip_serializing_if = "is_default")]
    pub naming: SourceNaming,
    /// Only these paths beneath the source, with their directories (`--parents`); all where empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub include: Vec<String>,
    /// Absolute paths in the input that have to be there, though `include` may match nothing (`--parents`).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub required: Vec<String>,
    /// What stands in the place of a copied path is replaced, whatever it is.
    #[serde(skip_serializing_if = "is_default")]
    pub replace_existing: bool,
}

impl CopyAction {
    /// Returns the copy of `source` to `dest` that changes nothing of what it copies.
    pub fn new(from: InputIndex, source: impl Into<String>, dest: impl Into<String>) -> CopyAction {
        CopyAction {
            from,
            source: source.into(),
            dest: dest.into(),
            owner: None,
            mode: None,
            exclude: Vec::new(),
            unpack: false,
            naming: SourceNaming::Patterns,
            include: Vec::new(),
            required: Vec::new(),
            replace_existing: false,
        }
    }
}

/// How a copy's source word is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SourceNaming {
    /// As COPY does: wildcards, which may match nothing; a symbolic link is followed; of a directory, what is in it.
    #[default]
    Patterns,
    /// One path as it stands (what a URL, a repository or a heredoc gave).
    Literal,
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
