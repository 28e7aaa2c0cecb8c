//! Attestations beside files: what `local` and `tar` outputs get of them (BuildKit, `exporter/local/fs.go`).

use std::io::Write as _;
use std::path::Path;

use rustix::fs::{Mode, OFlags};

use super::error::{FileExportError, io_error};
use super::tree::{Kind, walk};
use crate::attest::{Document, Subject};
use crate::digest::Hashing;
use crate::sys::replace::Replacement;
use crate::sys::root::Root;

/// A file that is added to a result's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddedFile {
    /// Its name, or path in an archive.
    pub path: String,
    /// What is in it.
    pub bytes: Vec<u8>,
}

/// Returns a file for each of `documents` that is meant for files: a statement about all regular files of `root`, named
/// with `prefix`. Reads every file where there is a document.
///
/// # Errors
/// `Taken` where the result has a file of that name, `Io` where a file cannot be read.
pub fn statements(documents: &[Document], prefix: &str, root: &Root) -> Result<Vec<AddedFile>, FileExportError> {
    let documents: Vec<&Document> = documents.iter().filter(|document| !document.is_inline_only).collect();
    if documents.is_empty() {
        return Ok(Vec::new());
    }
    for document in &documents {
        refuse_taken(&format!("{prefix}{}", document.filename), root)?;
    }
    let mut subjects = Vec::new();
    walk(root, &mut |entry| {
        if let Kind::File { .. } = entry.kind {
            let mut hashing = Hashing::new(std::io::sink());
            let mut file = entry.open(root)?;
            std::io::copy(&mut file, &mut hashing).map_err(io_error("read", &entry.path))?;
            subjects.push(Subject { name: entry.path.display().to_string(), digest: hashing.finish().1 });
        }
        Ok(())
    })?;
    let file = |document: &&Document| AddedFile {
        path: format!("{prefix}{}", document.filename),
        bytes: format!("{:#}", document.statement(&subjects)).into_bytes(),
    };
    Ok(documents.iter().map(file).collect())
}

/// Writes `files` to the directory `dest`, each at once and in place of what has its name there.
///
/// # Errors
/// `Io` where one cannot be written.
pub fn write_beside(files: &[AddedFile], dest: &Path) -> Result<(), FileExportError> {
    for file in files {
        let path = dest.join(&file.path);
        let write = || {
            let mut out = Replacement::begin(&path, 0o600)?;
            out.write_all(&file.bytes)?;
            out.persist(&path)
        };
        write().map_err(io_error::<std::io::Error>("write", &path))?;
    }
    Ok(())
}

/// Fails where the result has a file of its own by the name of a document.
fn refuse_taken(name: &str, root: &Root) -> Result<(), FileExportError> {
    match root.open_at(Path::new(name), OFlags::PATH | OFlags::NOFOLLOW, Mode::empty()) {
        Ok(_) => Err(FileExportError::Taken(name.to_owned())),
        Err(_) => Ok(()),
    }
}
