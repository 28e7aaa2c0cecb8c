//! Reading a target's Dockerfile and the ignore files of its contexts.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use crate::diagnostic::{Diagnostic, Diagnostics, FileId, SourceMap, Span};
use crate::dockerfile::ignore::Matcher;
use crate::dockerfile::{self, Dockerfile};
use crate::plan::{BuildContext, DockerfileSource, PlannedTarget};
use crate::sys::files::Files;

/// Bytes of an ignore file; more is none.
const MAX_IGNORE_FILE: usize = 16 << 20;

/// A target's files, read.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The Dockerfile; without errors.
    pub dockerfile: Dockerfile,
    /// What is odd in it.
    pub warnings: Diagnostics,
    /// The ignore file that applies to the main context: `<Dockerfile>.dockerignore`, else
    /// `.dockerignore` in the context's root, else none. A byte order mark is dropped.
    pub ignore: Ignore,
    /// `.dockerignore` in the root of each named local context, by the context's name.
    pub context_ignores: BTreeMap<String, Ignore>,
}

/// An ignore file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ignore {
    /// Its lines, as read; none where there is no file.
    pub lines: Vec<String>,
    /// What is wrong with its first wrong pattern. That matters only to who reads the context.
    pub error: Option<Diagnostic>,
}

/// Reads what `target` is made from. Does not depend on the target's platform.
///
/// # Errors
/// A file is missing or unreadable, or the Dockerfile is wrong.
pub fn load(target: &PlannedTarget, files: &dyn Files, sources: &mut SourceMap) -> Result<Loaded, Diagnostics> {
    let file = read_file(target, files, sources)?;
    let ignore = match main_ignore(target, files)? {
        Some(ignore) => ignore.checked(sources),
        None => Ignore::default(),
    };
    let (dockerfile, found) = dockerfile::parse(file, sources);
    if found.has_errors() {
        return Err(found);
    }
    let mut context_ignores = BTreeMap::new();
    for (name, context) in &target.contexts {
        if let BuildContext::Local(root) = context
            && let Some(ignore) = ignore_file(root, ".dockerignore", files)?
        {
            context_ignores.insert(name.clone(), ignore.checked(sources));
        }
    }
    Ok(Loaded { dockerfile, warnings: found, ignore, context_ignores })
}

/// Reads the Dockerfile of `target`, whatever is in it, and the lines of its main context's ignore file.
///
/// # Errors
/// One of them is missing or unreadable.
pub fn read(
    target: &PlannedTarget,
    files: &dyn Files,
    sources: &mut SourceMap,
) -> Result<(FileId, Vec<String>), Diagnostics> {
    let file = read_file(target, files, sources)?;
    Ok((file, main_ignore(target, files)?.map(|ignore| ignore.lines).unwrap_or_default()))
}

fn read_file(target: &PlannedTarget, files: &dyn Files, sources: &mut SourceMap) -> Result<FileId, Diagnostics> {
    let (name, text) = match &target.dockerfile {
        DockerfileSource::Inline { name, text } => (name.clone(), text.clone()),
        DockerfileSource::Path(path) => read_dockerfile(target, path, files)?,
    };
    Ok(sources.add(name, text))
}

fn read_dockerfile(target: &PlannedTarget, path: &str, files: &dyn Files) -> Result<(String, String), Diagnostics> {
    let mut name = path.to_owned();
    let mut result = files.read(Path::new(path));
    // The peer takes `dockerfile` too, but only for the default name.
    if is_missing(&result)
        && let Some(directory) = path.strip_suffix("Dockerfile")
        && (directory.is_empty() || directory.ends_with('/'))
    {
        let other = format!("{directory}dockerfile");
        let lower = files.read(Path::new(&other));
        if lower.is_ok() {
            (name, result) = (other, lower);
        }
    }
    let bytes = result.map_err(|error| {
        let target = &target.name;
        let message = match error.kind() {
            _ if error.kind() == io::ErrorKind::NotFound => format!("target \"{target}\": there is no file \"{path}\""),
            _ => format!("target \"{target}\": cannot read \"{path}\": {error}"),
        };
        let hint = format!("create it, or set `context` or `dockerfile` of target \"{target}\"");
        Diagnostics::from(Diagnostic::error_without_place(message).hint(hint))
    })?;
    Ok((name, dockerfile::decode(bytes)))
}

/// An ignore file, its patterns unread.
struct IgnoreFile {
    name: String,
    lines: Vec<String>,
}

impl IgnoreFile {
    fn checked(self, sources: &mut SourceMap) -> Ignore {
        let error = Matcher::new(&self.lines).err().map(|error| {
            let before = self.lines[..error.line_index].iter().map(|line| line.len() + 1).sum();
            let end = before + self.lines[error.line_index].len();
            let file = sources.add(self.name, self.lines.join("\n"));
            Diagnostic::error(Span::new(file, before, end), error.to_string())
        });
        Ignore { lines: self.lines, error }
    }
}

fn main_ignore(target: &PlannedTarget, files: &dyn Files) -> Result<Option<IgnoreFile>, Diagnostics> {
    let BuildContext::Local(root) = &target.context else { return Ok(None) };
    if let DockerfileSource::Path(path) = &target.dockerfile
        && let (directory, name) = path.split_at(path.rfind('/').map_or(0, |slash| slash + 1))
        && let Some(ignore) = ignore_file(directory, &format!("{name}.dockerignore"), files)?
    {
        return Ok(Some(ignore));
    }
    ignore_file(root, ".dockerignore", files)
}

/// Reads an ignore file. One that is a link out of its directory is not there, as for BuildKit; whoever filled the context
/// could otherwise have any file of the user's shown in an error.
fn ignore_file(directory: &str, name: &str, files: &dyn Files) -> Result<Option<IgnoreFile>, Diagnostics> {
    let result = files.tree(Path::new(directory)).and_then(|tree| tree.read(name, MAX_IGNORE_FILE));
    if matches!(&result, Err(error) if error.kind() == io::ErrorKind::CrossesDevices) {
        return Ok(None);
    }
    if is_missing(&result) {
        return Ok(None);
    }
    let bytes = result.map_err(|error| {
        Diagnostic::error_without_place(format!("cannot read \"{}\": {error}", join(directory, name)))
    })?;
    let text = String::from_utf8_lossy(&bytes);
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    Ok(Some(IgnoreFile { name: join(directory, name), lines: text.lines().map(str::to_owned).collect() }))
}

fn is_missing(result: &io::Result<Vec<u8>>) -> bool {
    let missing = [io::ErrorKind::NotFound, io::ErrorKind::NotADirectory];
    matches!(result, Err(error) if missing.contains(&error.kind()))
}

fn join(root: &str, name: &str) -> String {
    match root {
        "." | "" => name.to_owned(),
        root => format!("{}/{name}", root.trim_end_matches('/')),
    }
}
