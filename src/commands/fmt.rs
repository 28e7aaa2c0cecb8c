//! `bake fmt`: HCL bakefiles in one layout.

use std::path::{Path, PathBuf};
use std::{fs, io};

use super::{Failure, Host, Kind, input};
use crate::bakefile;
use crate::diagnostic::{Diagnostics, SourceMap};
use crate::export::error::FileExportError;
use crate::export::file::write_file;
use crate::lang::format_hcl;
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
        match name != "-" && directory.join(name).is_dir() {
            true => hcl_files(Path::new(name), directory, request.is_recursive, &mut names)?,
            false => names.push(name.clone()),
        }
    }
    Ok(names)
}

/// Adds the HCL files in the directory `name`. Links to directories are not followed, and what is hidden is left alone.
fn hcl_files(name: &Path, directory: &Path, is_recursive: bool, names: &mut Vec<String>) -> Result<(), Failure> {
    let failed = |error: io::Error| Failure::new(Kind::Definition, format!("cannot read {}: {error}", name.display()));
    let entries = fs::read_dir(directory.join(name)).and_then(Iterator::collect::<io::Result<Vec<_>>>);
    let mut entries = entries.map_err(failed)?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let (file_name, kind) = (entry.file_name(), entry.file_type().map_err(failed)?);
        let path = name.strip_prefix(".").unwrap_or(name).join(&file_name);
        let is_hidden = file_name.as_encoded_bytes().starts_with(b".");
        if kind.is_dir() && is_recursive && !is_hidden {
            hcl_files(&path, directory, is_recursive, names)?;
        } else if kind.is_file() && path.extension().is_some_and(|ending| ending == "hcl") {
            names.extend(path.to_str().map(str::to_owned));
        }
    }
    Ok(())
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
