//! Which bakefiles a command reads: those that are named, those of the environment, or the default names.

use std::io::{self, Read};

use super::{Failure, Host, Kind};
use crate::bakefile::{self, InputFile, MAX_BAKEFILE};
use crate::diagnostic::{Diagnostic, Diagnostics, nearest};
use crate::sys::files::Files;
use crate::text::utf8;

/// Returns the names of the bakefiles: `given`, else those of `BUILDX_BAKE_FILE`. Empty where the default names count.
pub(super) fn names(given: &[String], host: &Host) -> Vec<String> {
    if !given.is_empty() {
        return given.to_vec();
    }
    let separators = ["BUILDX_BAKE_PATH_SEPARATOR", "BUILDX_BAKE_FILE_SEPARATOR"];
    let separator =
        separators.iter().find_map(|name| host.var(name).filter(|separator| !separator.is_empty())).unwrap_or(":");
    let listed = host.var("BUILDX_BAKE_FILE").unwrap_or_default().split(separator);
    listed.map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// Reads the bakefiles; `-` is standard input, and `cwd://` in front means what it means without a remote bakefile:
/// nothing.
///
/// # Errors
/// One cannot be read, or none is there.
pub(super) fn read(names: &[String], files: &dyn Files) -> Result<Vec<InputFile>, Diagnostics> {
    if names.is_empty() {
        return bakefile::default_files(files);
    }
    names.iter().map(|name| read_one(name, files).map_err(Diagnostics::from)).collect()
}

/// Reads one bakefile.
///
/// # Errors
/// It cannot be read.
pub(super) fn read_one(name: &str, files: &dyn Files) -> Result<InputFile, Diagnostic> {
    let name = name.strip_prefix("cwd://").unwrap_or(name);
    let wrong = |what: &str| Diagnostic::error_without_place(format!("cannot read {name}: {what}"));
    let bytes = if name == "-" {
        let mut bytes = Vec::new();
        let read = std::io::stdin().lock().take(MAX_BAKEFILE as u64 + 1).read_to_end(&mut bytes);
        read.map_err(|error| wrong(&error.to_string()))?;
        if bytes.len() > MAX_BAKEFILE {
            return Err(wrong(&format!("it is larger than {} MiB", MAX_BAKEFILE >> 20)));
        }
        bytes
    } else {
        files.read_at_most(name.as_ref(), MAX_BAKEFILE).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => missing(name, files),
            io::ErrorKind::IsADirectory => {
                let directory = name.trim_end_matches('/');
                wrong("it is a directory").hint(format!("name a file in it, as in `-f {directory}/build.hcl`"))
            }
            io::ErrorKind::InvalidInput | io::ErrorKind::FileTooLarge => wrong(&error.to_string()),
            kind => wrong(&kind.to_string()),
        })?
    };
    let text = utf8(name, bytes).map_err(Diagnostic::error_without_place)?;
    Ok(InputFile { name: name.to_owned(), text })
}

/// Says that a file is not there, and which of its neighbors has nearly that name.
fn missing(name: &str, files: &dyn Files) -> Diagnostic {
    let finding = Diagnostic::error_without_place(format!("there is no file {name}"));
    let (directory, base) = name.split_at(name.rfind('/').map_or(0, |slash| slash + 1));
    let neighbors = files.neighbors(name.as_ref());
    match nearest(base, neighbors.iter().map(String::as_str)) {
        Some(near) => finding.hint(format!("did you mean `-f {directory}{near}`?")),
        None => finding,
    }
}

/// Reads `--var NAME=VALUE`.
///
/// # Errors
/// A value is missing.
pub(super) fn vars(texts: &[String]) -> Result<Vec<(String, String)>, Failure> {
    let pair = |text: &String| match text.split_once('=') {
        Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
        None => {
            Err(Failure::new(Kind::Usage, format!("--var {text}: a value is missing")).hint("write --var NAME=VALUE"))
        }
    };
    texts.iter().map(pair).collect()
}
