//! Podman, which is a program and no daemon.
//!
//! It keeps its images in a user namespace of its own, which it cannot make inside of bake's. So a shell is started before
//! bake enters its namespaces; it waits for a line, becomes `podman load` and reads the archive that follows. Where none
//! follows, because the build failed, it ends and Podman was never started.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use rustix::fs::Access;

use super::wire::Wire;
use super::{LoadError, WriteArchive, outcome};
use crate::export::error::{FileExportError, io_error};
use crate::sys::cancel::CancelToken;

const SCRIPT: &str = r#"read -r _ && exec "$0" load --quiet 2>&1"#;

/// Longest output that is read, in bytes.
const MAX_OUTPUT: u64 = 1 << 20;

/// A Podman that waits for its archive.
#[derive(Debug)]
pub struct Podman {
    /// Taken when it is given the archive.
    child: Mutex<Option<Child>>,
}

/// Returns the program in the directories `path`.
pub(super) fn find(path: &[PathBuf]) -> Option<PathBuf> {
    let is_program = |path: &PathBuf| path.is_file() && rustix::fs::access(path, Access::EXEC_OK).is_ok();
    path.iter().map(|directory| directory.join("podman")).find(is_program)
}

impl Podman {
    /// Starts what will be Podman.
    pub(super) fn stand_by(program: &Path) -> io::Result<Podman> {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", SCRIPT]).arg(program).stdin(Stdio::piped()).stdout(Stdio::piped());
        Ok(Podman { child: Mutex::new(Some(command.spawn()?)) })
    }

    pub(super) fn load(
        &self,
        write: WriteArchive<'_>,
        cancel: &CancelToken,
        refused: impl Fn(String) -> LoadError,
    ) -> Result<(), LoadError> {
        let Some(mut child) = self.child.lock().unwrap_or_else(PoisonError::into_inner).take() else { return Ok(()) };
        let result = feed(&mut child, write, cancel, refused);
        if result.is_err() {
            _ = child.kill();
            _ = child.wait();
        }
        result
    }
}

fn feed(
    child: &mut Child,
    write: WriteArchive<'_>,
    cancel: &CancelToken,
    refused: impl Fn(String) -> LoadError,
) -> Result<(), LoadError> {
    let failed = |error: io::Error| refused(error.to_string());
    let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
        return Err(refused("it has no streams".to_owned()));
    };
    let mut input = io::BufWriter::with_capacity(1 << 17, Wire::new(stdin.into(), cancel).map_err(failed)?);
    let written = archive(&mut input, write);
    // The end of its input is what it waits for. What is left in the buffer of a broken one has no reader.
    drop(input.into_parts());
    let mut said = Vec::new();
    let output = Wire::new(stdout.into(), cancel).map_err(failed)?;
    output.take(MAX_OUTPUT).read_to_end(&mut said).map_err(failed)?;
    let status = child.wait().map_err(failed)?;
    let said = String::from_utf8_lossy(&said).trim().to_owned();
    outcome(written, if status.success() { Ok(()) } else { Err(said) }, refused)
}

fn archive(input: &mut dyn Write, write: WriteArchive<'_>) -> Result<(), FileExportError> {
    let failed = io_error::<io::Error>("write", Path::new("podman"));
    input.write_all(b"\n").map_err(&failed)?;
    write(input)?;
    input.flush().map_err(&failed)
}

impl Drop for Podman {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.get_mut().unwrap_or_else(PoisonError::into_inner).take() {
            // It ends at the end of its input.
            drop(child.stdin.take());
            _ = child.wait();
        }
    }
}
