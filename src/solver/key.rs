//! Cache keys: when may a stored result stand in for a step?
//!
//! In: a vertex, the content of its inputs, the digests of the files that it selects of them. Out: a [`CacheKey`] with
//! its named ingredients, in order. Knows nothing of files or the store.
//!
//! Keys are content all the way: a root file system enters by its chain id, a copied or bound path by the digest of its
//! files, never by how it came about. A step that ran again and made the same bytes stops the rebuild there.
//!
//! | value | in the key |
//! |---|:-:|
//! | command, environment, user, working directory, platform, network mode, host name | ✓ |
//! | chain id of the root file system | ✓ |
//! | selected files of a copy or bind mount, by content | ✓ |
//! | where in its source a copied file stood | – |
//! | latest time that a layer may hold | ✓ |
//! | mode and owner of a bound directory, and those that a cache mount begins with | ✓ |
//! | which secret or agent a step gets, where, and whether it may lack it | ✓ |
//! | value of a secret, proxies | – |
//! | files that a cache mount starts from | ✓ |
//! | id, sharing and content of a cache mount | – |
//! | step name, stage name, target, Dockerfile line | – |
//!
//! Invariant: two keys are equal only if their ingredient lists are equal, in order.

use crate::digest::{DiffId, Digest, FieldHasher, chain_id};
use crate::graph::{
    ExecOp, FileAction, FileOp, InputIndex, ModeChange, Mount, MountKind, Op, Owner, SecurityMode, Selector,
    SourceNaming, SourceOp,
};

/// What a finished vertex is, by content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// A root file system: its layers, oldest first; empty for scratch.
    Rootfs(Vec<DiffId>),
    /// A local directory; what is read of it is selected and hashed by its readers.
    Local,
    /// Files that came over the network: the digest of all that a copy can take from them, as with [`Content::Local`]
    /// selected and hashed by their readers.
    Fetched(Digest),
}

/// A named part of a [`CacheKey`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ingredient {
    /// What it is, for people: `args`, `env PATH`, `files src/`.
    pub name: String,
    /// Its value, or the digest of it.
    pub value: String,
}

/// Identity of a step's result that outlives a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheKey {
    /// Digest of all ingredients.
    pub digest: Digest,
    /// The parts, in a fixed order.
    pub ingredients: Vec<Ingredient>,
}

/// Files of an input that decide a step's result.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Selection {
    /// Whose files.
    pub input: InputIndex,
    /// Which.
    pub files: Selector,
}

/// Says whether the ingredient called `name` is the digest of a selection; the key has as many of them as the step has
/// [`selections`], in the same order.
pub fn is_selection(name: &str) -> bool {
    ["local files to ", "fetched files to ", "files to ", "files at ", "first files at "]
        .iter()
        .any(|prefix| name.starts_with(prefix))
}

/// Returns what `op` selects of its inputs by content, in the order of its actions or mounts.
pub fn selections(op: &Op) -> Vec<Selection> {
    match op {
        Op::Source(_) | Op::Merge(_) | Op::Diff(_) => Vec::new(),
        Op::Exec(exec) => exec.mounts.iter().filter_map(mount_selection).collect(),
        Op::File(file) => file.actions.iter().filter_map(copy_selection).collect(),
    }
}

fn mount_selection(mount: &Mount) -> Option<Selection> {
    match &mount.kind {
        MountKind::Bind { input, selector } => Some(Selection { input: *input, files: Selector::path(selector) }),
        MountKind::Cache { selector, .. } => {
            let input = mount.kind.first_content()?;
            Some(Selection { input, files: Selector::path(selector) })
        }
        MountKind::Tmpfs { .. } | MountKind::Secret(_) | MountKind::Ssh(_) => None,
    }
}

fn copy_selection(action: &FileAction) -> Option<Selection> {
    match action {
        FileAction::Copy(copy) => Some(Selection { input: copy.from, files: copy.selector() }),
        FileAction::Mkdir { .. } | FileAction::Mkfile { .. } | FileAction::Rm { .. } | FileAction::Symlink { .. } => {
            None
        }
    }
}

/// Returns the key of a step: `inputs` is the content of its inputs in their order, `selected` the digests of
/// [`selections`] in theirs. `epoch` is the latest time that a layer may hold, seconds since 1970.
pub fn cache_key(op: &Op, inputs: &[Content], selected: &[Digest], epoch: i64) -> CacheKey {
    let mut key = KeyBuilder { ingredients: Vec::new(), inputs, selected: selected.iter() };
    match op {
        Op::Source(SourceOp::Image { manifest, .. }) => key.add("image", manifest.to_string()),
        Op::Source(SourceOp::Local(local)) => key.add("local", &local.path),
        Op::Source(SourceOp::Git(git)) => key.add("git", json(git)),
        Op::Source(SourceOp::Http(http)) => key.add("http", json(http)),
        Op::Merge(merge) => {
            key.add("op", "merge");
            merge.layers.iter().for_each(|layer| key.root(Some(*layer)));
        }
        Op::Diff(diff) => {
            key.add("op", "diff");
            [diff.lower, diff.upper].into_iter().for_each(|side| key.root(side));
        }
        Op::Exec(exec) => key.exec(exec),
        Op::File(file) => key.file(file),
    }
    key.add("epoch", epoch.to_string());
    let mut hasher = FieldHasher::new("bake.key.v1");
    for ingredient in &key.ingredients {
        hasher.field(&ingredient.name, &ingredient.value);
    }
    CacheKey { digest: hasher.finish(), ingredients: key.ingredients }
}

struct KeyBuilder<'a> {
    ingredients: Vec<Ingredient>,
    inputs: &'a [Content],
    selected: std::slice::Iter<'a, Digest>,
}

impl KeyBuilder<'_> {
    fn add(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.ingredients.push(Ingredient { name: name.into(), value: value.into() });
    }

    fn root(&mut self, root: Option<InputIndex>) {
        let stack = match root.map(|index| &self.inputs[index.0 as usize]) {
            Some(Content::Rootfs(stack)) => stack.as_slice(),
            Some(Content::Local | Content::Fetched(_)) | None => &[],
        };
        self.add("root", chain_id(stack).map_or("scratch".to_owned(), |chain| chain.to_string()));
    }

    fn files(&mut self, name: String) {
        let digest = self.selected.next().map(Digest::to_string).expect("each selection has its digest");
        self.add(name, digest);
    }

    fn exec(&mut self, exec: &ExecOp) {
        self.add("op", "exec");
        self.root(exec.root);
        self.add("args", json(&exec.args));
        for (name, value) in &exec.env {
            self.add(format!("env {name}"), value);
        }
        self.add("cwd", &exec.cwd);
        self.add("user", &exec.user);
        self.add("platform", exec.platform.to_string());
        self.add("network", json(&exec.network));
        self.add("hostname", &exec.hostname);
        if exec.security != SecurityMode::default() {
            self.add("security", json(&exec.security));
        }
        for secret in &exec.secret_env {
            let need = if secret.is_optional { "" } else { " required" };
            self.add(format!("secret env {}", secret.name), format!("{}{need}", secret.id));
        }
        for (name, address) in &exec.extra_hosts {
            self.add(format!("host {name}"), address);
        }
        for limit in &exec.ulimits {
            self.add(format!("ulimit {}", limit.name), json(&(limit.soft, limit.hard)));
        }
        if !exec.valid_exit_codes.is_empty() {
            self.add("exit codes", json(&exec.valid_exit_codes));
        }
        for mount in &exec.mounts {
            let access = if mount.is_read_only { "read-only" } else { "writable" };
            match &mount.kind {
                MountKind::Bind { .. } => {
                    self.add(format!("bind {}", mount.target), access);
                    self.files(format!("files at {}", mount.target));
                }
                MountKind::Cache { mode, uid, gid, .. } => {
                    let owner = match (*mode, *uid, *gid) {
                        (0o755, 0, 0) => String::new(),
                        (mode, uid, gid) => format!(" {mode:o} {uid}:{gid}"),
                    };
                    self.add(format!("cache {}", mount.target), format!("{access}{owner}"));
                    if mount.kind.first_content().is_some() {
                        self.files(format!("first files at {}", mount.target));
                    }
                }
                MountKind::Tmpfs { size } => self.add(format!("tmpfs {}", mount.target), json(size)),
                MountKind::Secret(secret) => self.add(format!("secret {}", mount.target), json(secret)),
                MountKind::Ssh(agent) => self.add(format!("ssh {}", mount.target), json(agent)),
            }
        }
    }

    fn file(&mut self, file: &FileOp) {
        self.add("op", "file");
        self.root(file.root);
        for action in &file.actions {
            match action {
                FileAction::Mkdir { path, mode, owner } => {
                    self.add(format!("mkdir {path}"), format!("{mode:o} {}", owner_text(owner.as_ref())));
                }
                FileAction::Mkfile { path, mode, owner, data } => {
                    let digest = Digest::of(data);
                    self.add(format!("mkfile {path}"), format!("{mode:o} {} {digest}", owner_text(owner.as_ref())));
                }
                FileAction::Rm { path, allow_not_found, allow_wildcard } => {
                    self.add(format!("rm {path}"), format!("{allow_not_found} {allow_wildcard}"));
                }
                FileAction::Symlink { target, path, owner } => {
                    self.add(format!("symlink {path}"), format!("{target} {}", owner_text(owner.as_ref())));
                }
                FileAction::Copy(copy) => {
                    let mode = copy.mode.as_ref().map_or(String::new(), mode_text);
                    let unpack = if copy.unpack { " unpack" } else { "" };
                    let how = format!("{} {mode}{unpack}", owner_text(copy.owner.as_ref()));
                    self.add(format!("copy to {}", copy.dest), how);
                    if (copy.naming, copy.replace_existing) != (SourceNaming::default(), false) {
                        self.add(format!("naming at {}", copy.dest), json(&(copy.naming, copy.replace_existing)));
                    }
                    if !copy.include.is_empty() {
                        self.add(format!("paths to {}", copy.dest), json(&(&copy.include, &copy.required)));
                    }
                    // From a local context ownership is dropped, from a root file system it is kept.
                    let kind = match &self.inputs[copy.from.0 as usize] {
                        Content::Local => "local files",
                        Content::Fetched(_) => "fetched files",
                        Content::Rootfs(_) => "files",
                    };
                    self.files(format!("{kind} to {}", copy.dest));
                }
            }
        }
    }
}

fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("plain values serialize")
}

fn owner_text(owner: Option<&Owner>) -> String {
    owner.map_or("-".to_owned(), json)
}

fn mode_text(mode: &ModeChange) -> String {
    match mode {
        ModeChange::Bits(bits) => format!("{bits:o}"),
        ModeChange::Symbolic(text) => text.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::CopyAction;

    fn copy(source: &str) -> Op {
        let (owner, mode, exclude, unpack) = (None, None, Vec::new(), false);
        let (source, dest) = (source.to_owned(), "/app/".to_owned());
        let action = FileAction::Copy(CopyAction {
            owner,
            mode,
            exclude,
            unpack,
            ..CopyAction::new(InputIndex(0), source, dest)
        });
        Op::File(FileOp { root: None, actions: vec![action] })
    }

    #[test]
    fn a_copy_is_known_by_what_it_copies_not_by_where_that_stood() {
        let files = Digest::of(b"files");
        let key = |source: &str, files: Digest| cache_key(&copy(source), &[Content::Local], &[files], 0).digest;
        assert_eq!(key("/a/x", files), key("/b/x", files));
        assert_ne!(key("/a/x", files), key("/a/x", Digest::of(b"other")));
        assert_ne!(key("/a/x", files), cache_key(&copy("/a/x"), &[Content::Rootfs(Vec::new())], &[files], 0).digest);
        assert_eq!(selections(&copy("/a/x")).len(), 1);
    }
}
