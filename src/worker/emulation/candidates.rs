//! Emulators that may be installed: found in a file, a directory or an image, and copied to where they can be tried.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use super::{machine, native, qemu_name};
use crate::sys::root::Root;
use crate::worker::sandbox::elf;

/// Why there is nothing to install.
#[derive(Debug, thiserror::Error)]
pub enum CandidateError {
    /// It could not be read, or not be copied.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// It is a program that needs files of its own in each image, or none for this machine.
    #[error("{path} is no emulator that steps can use: {reason}")]
    Unusable {
        /// The file.
        path: String,
        /// Why.
        reason: &'static str,
    },
    /// What was asked for is not there.
    #[error("{place} has no emulator for {architecture}: no `qemu-{name}`")]
    NotThere {
        /// Where it was looked for.
        place: String,
        /// As in a platform.
        architecture: String,
        /// QEMU's word for it.
        name: String,
    },
    /// Nothing is there.
    #[error("{place} has no emulators: no file `qemu-*` for a processor that this machine lacks")]
    Nothing {
        /// Where they were looked for.
        place: String,
    },
}

/// A copy of an emulator, in a directory that it may be tried in and leaves with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// As in a platform.
    pub architecture: &'static str,
    /// The copy; its name is `qemu-` and QEMU's word.
    pub path: PathBuf,
}

/// Where emulators are looked for.
enum Origin<'a> {
    File(&'a Path),
    Directory(&'a Path),
    /// The directory of programs of an image.
    Image(&'a Root, &'a str),
}

/// The directory of an image that emulators are in.
const IN_IMAGE: &str = "/usr/bin";

/// Copies the emulators of a file or directory for the architectures `wanted`, or, where `wanted` is empty, those that are
/// there for machines other than this, to the directory `to`.
///
/// # Errors
/// See [`CandidateError`].
pub fn from_path(path: &Path, wanted: &[&'static str], to: &Path) -> Result<Vec<Candidate>, CandidateError> {
    let metadata =
        fs::metadata(path).map_err(|source| CandidateError::Read { path: path.display().to_string(), source })?;
    let origin = if metadata.is_dir() { Origin::Directory(path) } else { Origin::File(path) };
    copy_all(&origin, wanted, to)
}

/// As [`from_path`], from the root file system of the image `name`.
///
/// # Errors
/// See [`CandidateError`].
pub fn from_image(
    root: &Root,
    name: &str,
    wanted: &[&'static str],
    to: &Path,
) -> Result<Vec<Candidate>, CandidateError> {
    copy_all(&Origin::Image(root, name), wanted, to)
}

fn copy_all(origin: &Origin<'_>, wanted: &[&'static str], to: &Path) -> Result<Vec<Candidate>, CandidateError> {
    let native = native();
    let all = elf::MACHINES.iter().map(|machine| machine.architecture).filter(|name| !native.contains(name));
    let looked_for: Vec<&'static str> = if wanted.is_empty() { all.collect() } else { wanted.to_vec() };
    let mut found = Vec::new();
    for architecture in looked_for {
        let path = to.join(format!("qemu-{}", qemu_name(architecture)));
        match origin.copy(architecture, wanted, &path)? {
            Some(shown) => {
                check(&path, shown)?;
                found.push(Candidate { architecture, path });
            }
            None if wanted.is_empty() => {}
            None => {
                let name = qemu_name(architecture).to_owned();
                return Err(CandidateError::NotThere {
                    place: origin.place(),
                    architecture: architecture.to_owned(),
                    name,
                });
            }
        }
    }
    if found.is_empty() { Err(CandidateError::Nothing { place: origin.place() }) } else { Ok(found) }
}

impl Origin<'_> {
    fn place(&self) -> String {
        match self {
            Origin::File(path) | Origin::Directory(path) => path.display().to_string(),
            Origin::Image(_, name) => format!("{IN_IMAGE} of the image {name}"),
        }
    }

    /// Copies the emulator for an architecture, if it is there; returns its name for people.
    fn copy(&self, architecture: &str, wanted: &[&'static str], to: &Path) -> Result<Option<String>, CandidateError> {
        let name = qemu_name(architecture);
        let names = [format!("qemu-{name}-static"), format!("qemu-{name}")];
        let paths: Vec<PathBuf> = match self {
            // A file of another name is what was asked for, if that is one thing.
            Origin::File(path) => {
                let is_named = path.file_name().is_some_and(|own| names.iter().any(|name| own == name.as_str()));
                if is_named || wanted.len() == 1 { vec![path.to_path_buf()] } else { Vec::new() }
            }
            Origin::Directory(directory) => names.iter().map(|name| directory.join(name)).collect(),
            Origin::Image(..) => names.iter().map(|name| Path::new(IN_IMAGE).join(name)).collect(),
        };
        for path in paths {
            let shown = path.display().to_string();
            let failed = |source| CandidateError::Read { path: shown.clone(), source };
            match self.open(&path) {
                Ok(mut file) => {
                    let mut copy = File::create_new(to).map_err(failed)?;
                    io::copy(&mut file, &mut copy).map_err(failed)?;
                    let mode = Mode::from_raw_mode(0o755);
                    rustix::fs::fchmod(&copy, mode).map_err(|error| failed(error.into()))?;
                    return Ok(Some(shown));
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(failed(error)),
            }
        }
        Ok(None)
    }

    fn open(&self, path: &Path) -> io::Result<File> {
        // A FIFO must not block.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = match self {
            Origin::Image(root, _) => File::from(root.open_at(path, flags, Mode::empty())?),
            Origin::File(_) | Origin::Directory(_) => {
                File::from(rustix::fs::open(path, flags | OFlags::CLOEXEC, Mode::empty())?)
            }
        };
        match file.metadata()?.is_file() {
            true => Ok(file),
            false => Err(io::Error::other("it is no regular file")),
        }
    }
}

/// Fails for what the kernel could not start in a step: the root file system has no libraries for it.
fn check(copy: &Path, shown: String) -> Result<(), CandidateError> {
    let read = || -> io::Result<Option<&'static str>> {
        let file = File::open(copy)?;
        let native = native().into_iter().filter_map(machine).copied().collect::<Vec<_>>();
        Ok(match elf::machine(&file)? {
            None => Some("it is no program"),
            Some(machine) if !native.contains(&machine) => Some("it is for another processor than this machine's"),
            Some(_) if !elf::is_static(&file)? => Some("it is linked dynamically, and images lack its libraries"),
            Some(_) => None,
        })
    };
    match read() {
        Ok(None) => Ok(()),
        Ok(Some(reason)) => Err(CandidateError::Unusable { path: shown, reason }),
        Err(source) => Err(CandidateError::Read { path: shown, source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steps_cannot_start_is_no_candidate() {
        let (from, to) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
        let nothing = from_path(from.path(), &[], to.path()).expect_err("empty");
        assert!(nothing.to_string().ends_with("no file `qemu-*` for a processor that this machine lacks"), "{nothing}");
        fs::write(from.path().join("qemu-s390x-static"), "#!/bin/sh\n").expect("written");
        let script = from_path(from.path(), &["s390x"], to.path()).expect_err("a script");
        assert!(script.to_string().ends_with("it is no program"), "{script}");
        let other = from_path(from.path(), &["riscv64"], to.path()).expect_err("not there");
        assert!(other.to_string().ends_with("has no emulator for riscv64: no `qemu-riscv64`"), "{other}");
        // A file's name counts only where it is not said what it is.
        let file = from.path().join("qemu-s390x-static");
        assert!(matches!(from_path(&file, &[], &to.path().join("new")), Err(CandidateError::Read { .. })));
    }
}
