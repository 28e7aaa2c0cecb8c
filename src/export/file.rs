//! Outputs that are one file.

#![expect(clippy::disallowed_methods, reason = "outputs are files of the user's")]

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use super::error::{FileExportError, io_error};
use crate::sys::replace::Replacement;

/// Makes the file `dest` of what `write` writes. It appears whole or, where `write` or the disk fails, stays as it was. A
/// destination that is a pipe or a device is written to as it is.
///
/// # Errors
/// Those of `write`, and `Io` where the file cannot be made.
pub fn write_file(
    dest: &Path,
    write: impl FnOnce(&mut dyn Write) -> Result<(), FileExportError>,
) -> Result<(), FileExportError> {
    let failed = io_error::<io::Error>("write", dest);
    match std::fs::metadata(dest) {
        Ok(found) if found.is_dir() => return Err(FileExportError::Directory(dest.to_owned())),
        Ok(found) if !found.is_file() => {
            let mut out = BufWriter::new(File::options().write(true).open(dest).map_err(&failed)?);
            write(&mut out)?;
            return out.flush().map_err(&failed);
        }
        _ => {}
    }
    let parent = match dest.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    std::fs::create_dir_all(parent).map_err(io_error("make", parent))?;
    // As any new file: what the umask leaves.
    let mut out = BufWriter::with_capacity(1 << 17, Replacement::begin(dest, 0o666).map_err(&failed)?);
    write(&mut out)?;
    let replacement = out.into_inner().map_err(|error| failed(error.into_error()))?;
    replacement.persist(dest).map_err(&failed)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_appears_whole_or_stays() {
        let directory = tempfile::tempdir().expect("a directory");
        let dest = directory.path().join("deep/out.tar");
        let written = |out: &mut dyn Write| out.write_all(b"new").map_err(io_error("write", Path::new("x")));
        write_file(&dest, written).expect("written");
        let failed = write_file(&dest, |out| {
            written(out)?;
            Err(FileExportError::NoLayout("x".into()))
        });
        assert!(matches!(failed, Err(FileExportError::NoLayout(_))));
        assert_eq!(std::fs::read(&dest).expect("a file"), b"new");
        assert_eq!(std::fs::read_dir(dest.parent().expect("deep")).expect("a directory").count(), 1);
        assert!(matches!(write_file(directory.path(), written), Err(FileExportError::Directory(_))));
    }

    #[test]
    fn a_pipe_is_written_to_and_not_replaced() {
        let directory = tempfile::tempdir().expect("a directory");
        let pipe = directory.path().join("pipe");
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RWXU).expect("made");
        let read = std::thread::spawn({
            let pipe = pipe.clone();
            move || std::fs::read(pipe).expect("read")
        });
        write_file(&pipe, |out| out.write_all(b"x").map_err(io_error("write", Path::new("x")))).expect("written");
        assert_eq!(read.join().expect("read"), b"x");
    }
}
