//! `bake convert`: a bakefile in another notation.

use std::path::{Path, PathBuf};

use super::{Failure, Host, Kind, fmt, input};
use crate::bakefile::{self, InputFile};
use crate::diagnostic::{Diagnostic, Diagnostics, SourceMap};
use crate::lang::Notation;
use crate::sys::files::DiskFiles;

/// What is converted, and where the result goes.
#[derive(Clone, Debug)]
pub struct ConvertRequest {
    /// The bakefile, `-` for standard input; the one of the default names if none is named.
    pub file: Option<String>,
    /// The notation of the result.
    pub to: Notation,
    /// Where the result goes; standard output if not given or `-`.
    pub output: Option<PathBuf>,
    /// Write the result although something is lost.
    pub is_lossy: bool,
    /// The result may take the place of the file that was read.
    pub may_overwrite: bool,
}

/// Converts a bakefile. Returns the text, or nothing where it was written to a file. The file is written whole or not at
/// all.
///
/// # Errors
/// The bakefile is wrong, something would be lost, or the result would replace what was read.
pub fn convert(request: &ConvertRequest, host: &Host) -> Result<String, Failure> {
    let mut sources = SourceMap::default();
    let wrong = |found: &Diagnostics, sources: &SourceMap| Failure::rendered(Kind::Definition, found.render(sources));
    let input = one_input(request, host).map_err(|found| wrong(&found, &sources))?;
    let emitted = bakefile::convert(&input, request.to, &mut sources).map_err(|found| wrong(&found, &sources))?;
    if !emitted.losses.is_empty() {
        if !request.is_lossy {
            return Err(wrong(&emitted.losses, &sources).hint("with --lossy it is written without what is named here"));
        }
        let mut warnings = Diagnostics::default();
        emitted.losses.iter().for_each(|loss| {
            warnings.push(loss.clone().as_warning());
        });
        host.talk.line(&warnings.render(&sources));
    }
    let Some(output) = request.output.as_deref().filter(|output| *output != Path::new("-")) else {
        return Ok(emitted.text);
    };
    let (read, written) = (host.directory.join(&input.name), host.directory.join(output));
    if !request.may_overwrite && is_same(&read, &written) {
        return Err(Failure::new(Kind::Usage, format!("{} is the file that is read", output.display()))
            .hint("give another name after -o, or --overwrite to replace it"));
    }
    fmt::replace(written, &emitted.text)?;
    Ok(String::new())
}

fn is_same(a: &Path, b: &Path) -> bool {
    matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}

/// Returns the bakefile that is meant: several cannot become one.
fn one_input(request: &ConvertRequest, host: &Host) -> Result<InputFile, Diagnostics> {
    let files = DiskFiles::new(&host.directory);
    let names = input::names(request.file.as_slice(), host);
    let mut inputs = input::read(&names, &files)?;
    match (inputs.pop(), inputs.len()) {
        (Some(input), 0) => Ok(input),
        (last, _) => {
            let names: Vec<String> = inputs.into_iter().chain(last).map(|input| input.name).collect();
            let message = format!("one file is converted at a time; there are {}", names.join(", "));
            Err(Diagnostic::error_without_place(message).hint("name one with -f").into())
        }
    }
}
