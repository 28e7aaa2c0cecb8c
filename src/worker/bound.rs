//! What a mount shows of an input: its files and, other than a copy of them, the directory that they are in.

use std::fs::File;
use std::io;
use std::path::Path;

use rustix::fs::{Mode, OFlags};

use super::file;
use super::local::{LocalWorker, WorkerError};
use super::remembered::stack_name;
use crate::digest::{DiffId, Digest, FieldHasher};
use crate::graph::Vertex;
use crate::solver::key::{Content, Selection};
use crate::sys::root::Root;

impl LocalWorker<'_> {
    /// Returns the digest of what a mount shows of an input. A directory of the user's looks the same everywhere; one of
    /// a root file system has its mode, owner and attributes.
    pub(super) fn mount_digest(
        &self,
        vertex: &Vertex,
        inputs: &[Content],
        selection: &Selection,
    ) -> Result<Digest, WorkerError> {
        let files = self.selection_digest(vertex, inputs, selection)?;
        let Content::Rootfs(stack) = &inputs[selection.input.0 as usize] else { return Ok(files) };
        let mut hasher = FieldHasher::new("bake.bound.v1");
        hasher.field("files", files.as_bytes());
        hasher.field("directory", self.directory_digest(stack, &selection.files.source)?.as_bytes());
        Ok(hasher.finish())
    }

    /// Returns the digest of what a directory is besides what is in it; the same for all that is none. Layers never
    /// change, so it is kept for good.
    fn directory_digest(&self, stack: &[DiffId], path: &str) -> Result<Digest, WorkerError> {
        let mut hasher = FieldHasher::new("bake.directory.v1");
        hasher.field("chain", stack_name(stack)).field("path", path);
        self.remembered(&hasher.finish(), || {
            self.materialise(stack)?;
            look(&Root::from_fd(self.store.view(stack)?), path)
                .map_err(|source| WorkerError::Io { what: format!("look at `{path}`"), source })
        })
    }
}

fn look(root: &Root, path: &str) -> io::Result<Digest> {
    let mut hasher = FieldHasher::new("bake.directory.look.v1");
    let directory = match root.open_at(Path::new(path), OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()) {
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => return Ok(hasher.finish()),
        result => File::from(result?),
    };
    let stat = rustix::fs::fstat(&directory)?;
    hasher.field("mode", (stat.st_mode & 0o7777).to_le_bytes());
    hasher.field("uid", stat.st_uid.to_le_bytes()).field("gid", stat.st_gid.to_le_bytes());
    for (name, value) in file::attributes(&directory)? {
        hasher.field("attribute", name).field("value", value);
    }
    Ok(hasher.finish())
}
