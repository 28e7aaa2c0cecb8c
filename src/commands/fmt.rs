//! `bake fmt`: HCL bakefiles in one layout.

use std::io;
use std::path::{Path, PathBuf};

use super::{Failure, Host, Kind, input};
use crate::bakefile;
use crate::diagnostic::{Diagnostics, SourceMap};
use crate::export::error::FileExportError;
use crate::export::file::write_file;
use crate::lang::format_hcl;
use crate::sys::beneath::{DiskTree, FileKind, Tree};
use crate::sys::files::DiskFiles;

/// What is formatted, and whether it is written.
#[derive(Clone, Debug, Default)]
pub struct FmtRequest {
    /// Files, `-` for standard input, directories for the HCL files in them; the HCL files of the default names where none
    /// is named.
    pub files: Vec<String>,
    /// Directories stand for the HCL files below them too; the one that the command runs in, where none is named.
    pub is_recursive: bool,
    /// Change nothing; fail where something would change.
    pub is_check: bool,
}

/// Formats files in place and returns the names of those that changed; standard input is returned formatted. No file is
/// touched if one of them is wrong.
///
/// # Errors
/// A file cannot be read or is no HCL, or, with `is_check`, one is not formatted.
pub fn fmt(request: &FmtRequest, host: &Host) -> Result<String, Failure> {
    let mut sources = SourceMap::default();
    let files = DiskFiles::new(&host.directory);
    let names = names(request, &host.directory)?;
    if names.is_empty() && !request.files.is_empty() {
        return Ok(String::new());
    }
    let mut inputs = input::read(&names, &files).map_err(|found| wrong(&found, &sources))?;
    if names.is_empty() {
        inputs.retain(|input| input.name.ends_with(".hcl"));
    }
    let mut changed = Vec::new();
    let mut out = String::new();
    let mut findings = Diagnostics::default();
    for bakefile::InputFile { name, text } in inputs {
        match format_hcl(&name, &text, &mut sources) {
            Ok(formatted) if name == "-" && !request.is_check => out.push_str(&formatted),
            Ok(formatted) if formatted != text => changed.push((name, formatted)),
            Ok(_) => {}
            Err(found) => findings.extend(found),
        }
    }
    if findings.has_errors() {
        return Err(wrong(&findings, &sources));
    }
    let names: String = changed.iter().map(|(name, _)| format!("{name}\n")).collect();
    if request.is_check && !changed.is_empty() {
        let names: Vec<String> = changed.into_iter().map(|(name, _)| name).collect();
        return Err(
            Failure::new(Kind::Definition, format!("not formatted: {}", names.join(", "))).hint("run `bake fmt`")
        );
    }
    for (name, formatted) in &changed {
        replace(host.directory.join(name), formatted)?;
    }
    Ok(out + &names)
}

/// Returns the names of the files that are meant, those of a directory sorted.
fn names(request: &FmtRequest, directory: &Path) -> Result<Vec<String>, Failure> {
    let here = [".".to_owned()];
    let given = if request.files.is_empty() && request.is_recursive { &here[..] } else { &request.files };
    let mut names = Vec::new();
    for name in given {
        if name == "-" || !directory.join(name).is_dir() {
            names.push(name.clone());
            continue;
        }
        let failed = |error| Failure::new(Kind::Definition, format!("cannot read {name}: {error}"));
        let tree = DiskTree::open(&directory.join(name)).map_err(failed)?;
        let prefix = if name == "." { String::new() } else { format!("{}/", name.trim_end_matches('/')) };
        let found = hcl_files(&tree, ".", request.is_recursive).map_err(failed)?;
        names.extend(found.into_iter().map(|path| prefix.clone() + path.trim_start_matches("./")));
    }
    Ok(names)
}

/// Returns the HCL files in a directory. Links are not followed, and what is hidden is left alone.
fn hcl_files(tree: &dyn Tree, directory: &str, is_recursive: bool) -> io::Result<Vec<String>> {
    let mut files = Vec::new();
    for (name, kind) in tree.list(directory)?.into_iter().filter(|(name, _)| !name.starts_with('.')) {
        let path = format!("{directory}/{name}");
        match kind {
            FileKind::Directory if is_recursive => files.extend(hcl_files(tree, &path, is_recursive)?),
            FileKind::File if name.ends_with(".hcl") => files.push(path),
            _ => {}
        }
    }
    Ok(files)
}

/// Puts the new text in the place of the old one at once; a symbolic link goes on leading to the file.
pub(super) fn replace(path: PathBuf, text: &str) -> Result<(), Failure> {
    let path = path.canonicalize().unwrap_or(path);
    let failed = |source| FileExportError::Io { verb: "write", path: path.clone(), source };
    write_file(&path, |out| out.write_all(text.as_bytes()).map_err(failed))
        .map_err(|error| Failure::caused(Kind::Environment, &error))
}

fn wrong(found: &Diagnostics, sources: &SourceMap) -> Failure {
    Failure::rendered(Kind::Definition, found.render(sources))
}
