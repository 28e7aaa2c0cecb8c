//! Files that take another's place at once, whole.
//!
//! While it is written the file has no name (`O_TMPFILE`), so nothing of it is left wherever the process is killed. Where a
//! file system has no such files, it has a name beside its destination until then.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;

use super::interrupt::Leftover;

/// What the names begin with.
const PREFIX: &str = ".bake-";

/// A file that is to take the place of `dest`; dropped without [`Replacement::persist`] it leaves nothing.
#[derive(Debug)]
pub struct Replacement {
    file: File,
    directory: PathBuf,
    /// Its name, where it needs one.
    named: Option<Named>,
}

/// A file with a name of its own, gone with the value.
#[derive(Debug)]
struct Named {
    path: PathBuf,
    _leftover: Leftover,
}

impl Drop for Named {
    fn drop(&mut self) {
        // It is gone where it was renamed.
        _ = rustix::fs::unlink(&self.path);
    }
}

impl Replacement {
    /// Begins a file for the directory that `dest` is in, with `mode` as far as the umask leaves it.
    ///
    /// # Errors
    /// The directory is not there or cannot be written.
    pub fn begin(dest: &Path, mode: u32) -> io::Result<Replacement> {
        let directory = match dest.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
            _ => PathBuf::from("."),
        };
        let mode = Mode::from_raw_mode(mode);
        match rustix::fs::open(&directory, OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC, mode) {
            Ok(file) => Ok(Replacement { file: file.into(), directory, named: None }),
            // Not in this file system, or not in this kernel.
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL) => Replacement::with_name(directory, mode),
            Err(error) => Err(error.into()),
        }
    }

    fn with_name(directory: PathBuf, mode: Mode) -> io::Result<Replacement> {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        let (path, file) = with_fresh_name(&directory, |path| rustix::fs::open(path, flags, mode))?;
        let leftover = Leftover::note(&path);
        Ok(Replacement { file: file.into(), directory, named: Some(Named { path, _leftover: leftover }) })
    }

    /// Returns the file.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Puts the file in the place of `dest`, which is in the directory that it was begun for.
    ///
    /// # Errors
    /// The directory cannot be written; `dest` is then as it was.
    pub fn persist(mut self, dest: &Path) -> io::Result<()> {
        let named = match self.named.take() {
            Some(named) => named,
            None => self.name()?,
        };
        Ok(rustix::fs::rename(&named.path, dest)?)
    }

    /// A link takes nobody's place, so the file gets a name of its own, for the moment.
    fn name(&self) -> io::Result<Named> {
        let file = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        let link = |path: &Path| rustix::fs::linkat(CWD, file.as_str(), CWD, path, AtFlags::SYMLINK_FOLLOW);
        let (path, ()) = with_fresh_name(&self.directory, link)?;
        Ok(Named { _leftover: Leftover::note(&path), path })
    }
}

impl Write for Replacement {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.file.write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

fn with_fresh_name<T>(directory: &Path, make: impl Fn(&Path) -> rustix::io::Result<T>) -> io::Result<(PathBuf, T)> {
    loop {
        let mut random = [0; 8];
        rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())?;
        let path = directory.join(format!("{PREFIX}{:016x}", u64::from_le_bytes(random)));
        match make(&path) {
            Ok(made) => return Ok((path, made)),
            Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let entries =
            rustix::fs::Dir::new(rustix::fs::open(directory, OFlags::RDONLY, Mode::empty()).unwrap()).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
        let mut names: Vec<String> = names.filter(|name| name != "." && name != "..").collect();
        names.sort();
        names
    }

    fn check(begin: impl Fn(&Path) -> Replacement) {
        let directory = tempfile::tempdir().unwrap();
        let dest = directory.path().join("dest");
        for text in ["old", "new"] {
            let mut replacement = begin(&dest);
            replacement.write_all(text.as_bytes()).unwrap();
            replacement.persist(&dest).unwrap();
        }
        let mut given_up = begin(&dest);
        given_up.write_all(b"half").unwrap();
        drop(given_up);
        assert_eq!(names(directory.path()), ["dest"]);
        let file = File::from(rustix::fs::open(&dest, OFlags::RDONLY, Mode::empty()).unwrap());
        assert_eq!(io::read_to_string(file).unwrap(), "new");
    }

    #[test]
    fn a_file_without_a_name_takes_the_place_of_another() {
        check(|dest| Replacement::begin(dest, 0o644).unwrap());
    }

    #[test]
    fn so_does_one_with_a_name() {
        let mode = Mode::from_raw_mode(0o644);
        check(|dest| Replacement::with_name(dest.parent().unwrap().to_owned(), mode).unwrap());
    }

    #[test]
    fn nothing_is_seen_while_it_is_written() {
        let directory = tempfile::tempdir().unwrap();
        let mut replacement = Replacement::begin(&directory.path().join("dest"), 0o644).unwrap();
        replacement.write_all(b"text").unwrap();
        // The file system of temporaries may be one that needs a name.
        assert!(replacement.named.is_some() || names(directory.path()).is_empty());
    }
}
