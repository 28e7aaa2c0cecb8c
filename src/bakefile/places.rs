//! Where files of the bakefile stand, and the files that its expressions may read: [`SourceFiles`] of a run.
//!
//! The project is the directory that the command runs in; for a bakefile that is named with `..` or an absolute path, that
//! bakefile's own directory. What expressions and `include` name is opened beneath it, by the kernel.

use std::cell::{OnceCell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::path::Path;

use super::glob::{self, Effort, below};
use crate::diagnostic::{Diagnostic, FileId, Span, nearest};
use crate::lang::EvalError;
use crate::lang::text::clean_path;
use crate::sys::beneath::{FileKind, FileStat, NoTree, Tree};
use crate::sys::files::Files;

/// The most that is read of one file, in bytes: as long as the longest text of an expression.
const MAX_FILE: usize = 16 << 20;

/// The project that a file belongs to.
struct Project {
    /// From where the command runs; empty for that place itself. `None` for what came without files beside it.
    directory: Option<String>,
    tree: OnceCell<Box<dyn Tree>>,
}

/// A path in a project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Inside {
    project: usize,
    /// From the project's directory; empty for that directory.
    pub(super) path: String,
}

/// The places of all files that spans point into.
pub(super) struct Places<'a> {
    files: &'a dyn Files,
    projects: Vec<Project>,
    /// The directories of bakefiles.
    directories: BTreeMap<FileId, Inside>,
    /// The bakefiles of the command line.
    roots: BTreeMap<FileId, Inside>,
    /// Those that others include.
    included: BTreeSet<FileId>,
    /// Names of the files that were included, and of those that expressions read.
    read: RefCell<BTreeSet<String>>,
    effort: Effort,
}

impl<'a> Places<'a> {
    pub(super) fn new(files: &'a dyn Files) -> Places<'a> {
        let (projects, directories, roots) = (Vec::new(), BTreeMap::new(), BTreeMap::new());
        let (included, read, effort) = (BTreeSet::new(), RefCell::default(), Effort::default());
        Places { files, projects, directories, roots, included, read, effort }
    }

    /// Adds a bakefile of the command line. Standard input stands where the command runs; beside a download there are no
    /// files.
    pub(super) fn add_root(&mut self, file: FileId, name: &str) {
        if name.contains("://") {
            let project = self.project(None);
            self.directories.insert(file, Inside { project, path: String::new() });
            return;
        }
        let name = clean_path(name);
        let (parent, base) = name.rsplit_once('/').unwrap_or(("", &name));
        let is_outside = name.starts_with("../") || name.starts_with('/');
        let (project, directory) = match is_outside {
            true if parent.is_empty() => ("/", ""),
            true => (parent, ""),
            false => ("", parent),
        };
        let project = self.project(Some(project));
        self.directories.insert(file, Inside { project, path: directory.to_owned() });
        if name != "-" {
            self.roots.insert(file, Inside { project, path: below(directory, base) });
        }
    }

    /// Returns where a bakefile of the command line is; `None` for one that is not in a directory.
    pub(super) fn root(&self, file: FileId) -> Option<&Inside> {
        self.roots.get(&file)
    }

    fn project(&mut self, directory: Option<&str>) -> usize {
        let known = self.projects.iter().position(|project| project.directory.as_deref() == directory);
        known.unwrap_or_else(|| {
            self.projects.push(Project { directory: directory.map(str::to_owned), tree: OnceCell::new() });
            self.projects.len() - 1
        })
    }

    /// Adds a bakefile that another one includes.
    pub(super) fn add_included(&mut self, file: FileId, at: &Inside) {
        let directory = at.path.rsplit_once('/').map_or("", |(directory, _)| directory);
        self.directories.insert(file, Inside { project: at.project, path: directory.to_owned() });
        self.included.insert(file);
    }

    /// Returns an included file, by which it is told apart from others; `None` for those that the command names, which
    /// are one.
    pub(super) fn included(&self, file: FileId) -> Option<FileId> {
        self.included.get(&file).copied()
    }

    pub(super) fn has_included(&self) -> bool {
        !self.included.is_empty()
    }

    /// Returns the directories of included files, from where the command runs.
    pub(super) fn included_directories(&self) -> BTreeMap<FileId, String> {
        let shown = |file: &FileId| Some((*file, self.shown(self.directories.get(file)?)));
        self.included.iter().filter_map(shown).collect()
    }

    /// Returns the names of the files that were included, and of those that expressions read.
    pub(super) fn read_files(&self) -> BTreeSet<String> {
        self.read.borrow().clone()
    }

    /// Returns what `path` means in a file.
    pub(super) fn inside(&self, file: FileId, path: &str) -> Inside {
        let nowhere = Inside { project: usize::MAX, path: String::new() };
        let directory = self.directories.get(&file).unwrap_or(&nowhere);
        let path = match path.starts_with('/') {
            true => path.to_owned(),
            false => clean_path(&below(&directory.path, path)),
        };
        // The top's own name; the kernel knows it too.
        Inside { project: directory.project, path: if path == "." { String::new() } else { path } }
    }

    /// Returns the path from where the command runs.
    pub(super) fn shown(&self, at: &Inside) -> String {
        let project = self.projects.get(at.project).and_then(|project| project.directory.as_deref());
        match project {
            Some(directory) if !at.path.starts_with('/') => clean_path(&below(directory, &at.path)),
            _ => at.path.clone(),
        }
    }

    fn tree(&self, at: &Inside) -> &dyn Tree {
        let Some(project) = self.projects.get(at.project) else { return &NoTree };
        let open = || self.files.tree(Path::new(project.directory.as_deref()?)).ok();
        &**project.tree.get_or_init(|| open().unwrap_or_else(|| Box::new(NoTree)))
    }

    /// Says what is at a place.
    ///
    /// # Errors
    /// Nothing, or what is out of bounds; the error is about `at`.
    pub(super) fn stat(&self, place: &Inside, at: Span) -> Result<FileStat, EvalError> {
        self.tree(place).stat(&place.path).map_err(|error| self.failure(place, at, &error))
    }

    /// Reads a regular file.
    ///
    /// # Errors
    /// It is not there, is something else, is too large or out of bounds; the error is about `at`.
    pub(super) fn read(&self, place: &Inside, at: Span) -> Result<Vec<u8>, EvalError> {
        let bytes = self.tree(place).read(&place.path, MAX_FILE).map_err(|error| self.failure(place, at, &error))?;
        self.read.borrow_mut().insert(self.shown(place));
        Ok(bytes)
    }

    /// Says whether a regular file is there.
    ///
    /// # Errors
    /// The path is out of bounds.
    pub(super) fn exists(&self, place: &Inside, at: Span) -> Result<bool, EvalError> {
        match self.tree(place).stat(&place.path) {
            Ok(stat) => Ok(stat.kind == FileKind::File),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(false),
            Err(error) => Err(self.failure(place, at, &error)),
        }
    }

    /// Returns the files that a pattern matches below a directory, relative to it, sorted.
    ///
    /// # Errors
    /// One of its directories cannot be listed; the error is about `at`.
    pub(super) fn matching(&self, directory: &Inside, pattern: &str, at: Span) -> Result<BTreeSet<String>, EvalError> {
        glob::files(self.tree(directory), &directory.path, pattern, &self.effort).map_err(|why| {
            Box::new(Diagnostic::error(at, format!("cannot look for {pattern} in {}: {why}", self.shown(directory))))
        })
    }

    fn failure(&self, place: &Inside, at: Span, error: &io::Error) -> EvalError {
        let shown = self.shown(place);
        Box::new(match error.kind() {
            ErrorKind::NotFound | ErrorKind::NotADirectory => {
                let (directory, base) = place.path.rsplit_once('/').unwrap_or(("", &place.path));
                let names = self.tree(place).list(directory).unwrap_or_default();
                let finding = Diagnostic::error(at, format!("there is no file {shown}"));
                match nearest(base, names.iter().map(|(name, _)| name.as_str())) {
                    Some(near) => {
                        let near = Inside { path: below(directory, near), ..place.clone() };
                        finding.hint(format!("did you mean {}?", self.shown(&near)))
                    }
                    None => finding,
                }
            }
            ErrorKind::CrossesDevices => {
                let directory = self.projects.get(place.project).and_then(|project| project.directory.as_deref());
                let finding = Diagnostic::error(at, format!("cannot read {shown}: {error}"));
                let shown = directory.filter(|directory| !directory.is_empty());
                finding.note(format!("the project is {}", shown.unwrap_or("the directory that bake runs in")))
            }
            _ => Diagnostic::error(at, format!("cannot read {shown}: {error}")),
        })
    }
}
