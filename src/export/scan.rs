//! Finds the packages that are installed in a root file system.
//!
//! The tree is walked once, nothing in it is followed, and of each file no more is read than its format needs. What cannot be
//! read is a note among what was found: an image may hold anything, and its bill says what is not in the bill.
//!
//! | where | what |
//! |---|---|
//! | `var/lib/dpkg/status`, `var/lib/dpkg/status.d/*` | dpkg; licenses from `usr/share/doc/*/copyright` |
//! | `lib/apk/db/installed`, `usr/lib/apk/db/installed` | apk |
//! | `rpmdb.sqlite` in `var/lib/rpm`, `usr/lib/sysimage/rpm`, `usr/share/rpm` | rpm |
//! | `*.dist-info/METADATA`, `*.egg-info`, `*.egg-info/PKG-INFO` | Python |
//! | `node_modules/NAME/package.json` | Node |
//! | `*.jar`, `*.war`, `*.ear` | Java |
//! | programs | Go, and Rust by `cargo auditable` |

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use rustix::fs::{Mode, OFlags};

use super::tree::{Entry, Kind, walk};
use crate::attest::found::{Bytes, golang, java, metadata, rpm, rust, system};
use crate::attest::package::{Distribution, Ecosystem, Installed, Package};
use crate::sys::root::Root;

/// Bytes of a small text, such as a package's metadata.
const MAX_SMALL: usize = 1 << 20;

/// The least bytes of a program that can say what is in it.
const MIN_PROGRAM: u64 = 4096;

/// The most packages and notes of a root file system; what is more is left out, with a note.
const MAX_PACKAGES: usize = 200_000;
const MAX_NOTES: usize = 200;

/// Returns what is installed in `root`. Looks at every name in it, and reads what may say something.
pub fn scan(root: &Root) -> Installed {
    let mut scan = Scan { root, installed: Installed::default() };
    let os_release = ["etc/os-release", "usr/lib/os-release"].iter().find_map(|path| scan.text(path));
    scan.installed.distribution = Distribution::parse(&os_release.unwrap_or_default());
    let walked = walk(root, &mut |entry| {
        scan.look(entry);
        Ok(())
    });
    if let Err(error) = walked {
        scan.note(format!("not everything could be looked at: {error}"));
    }
    scan.debian_licenses();
    let Scan { mut installed, .. } = scan;
    installed.settle();
    installed
}

struct Scan<'a> {
    root: &'a Root,
    installed: Installed,
}

impl Scan<'_> {
    fn look(&mut self, entry: &Entry) {
        let Kind::File { size, .. } = entry.kind else { return };
        let Some(path) = entry.path.to_str() else { return };
        let (directory, name) = path.rsplit_once('/').unwrap_or(("", path));
        match (directory, name) {
            ("var/lib/dpkg", "status") | ("var/lib/dpkg/status.d", _) => self.read(path, system::dpkg),
            ("lib/apk/db" | "usr/lib/apk/db", "installed") => self.read(path, system::apk),
            ("var/lib/rpm" | "usr/lib/sysimage/rpm" | "usr/share/rpm", _) => self.rpm(name, path, size),
            (_, "METADATA") if directory.ends_with(".dist-info") => self.python(path),
            (_, "PKG-INFO") if directory.ends_with(".egg-info") => self.python(path),
            (_, name) if name.ends_with(".egg-info") => self.python(path),
            (_, "package.json") if is_node_package(directory) => {
                let found = self.bytes(path).and_then(|bytes| metadata::node(&bytes, path));
                self.add(found);
            }
            (_, name) if java::is_archive(name) => self.open(path, size, |file| java::archive(file, path)),
            _ if entry.mode & 0o111 != 0 && size >= MIN_PROGRAM => self.program(path, size),
            _ => {}
        }
    }

    fn rpm(&mut self, name: &str, path: &str, size: u64) {
        match name {
            "rpmdb.sqlite" => self.open(path, size, |file| rpm::packages(file, path)),
            "rpmdb.sqlite-wal" if size > 0 => {
                self.note(format!("{path}: what stands only in this journal is not read"))
            }
            "Packages" => self.note(format!("{path}: rpm's Berkeley database is not read")),
            "Packages.db" => self.note(format!("{path}: rpm's ndb database is not read")),
            _ => {}
        }
    }

    fn program(&mut self, path: &str, size: u64) {
        self.open(path, size, |file| {
            if file.at(0, 4).as_deref() != Some(b"\x7fELF") {
                return Ok(Vec::new());
            }
            let modules = golang::modules(file, path)?;
            if modules.is_empty() { rust::crates(file, path) } else { Ok(modules) }
        });
    }

    fn python(&mut self, path: &str) {
        let found = self.text(path).and_then(|text| metadata::python(&text, path));
        self.add(found);
    }

    /// Reads a text that may be long.
    fn read(&mut self, path: &str, parse: fn(&str, &str) -> Vec<Package>) {
        match self.root.read(Path::new(path)) {
            Ok(bytes) => self.add(parse(&String::from_utf8_lossy(&bytes), path)),
            Err(error) => self.note(format!("{path}: {error}")),
        }
    }

    /// Has a file read in pieces.
    fn open<E: std::fmt::Display>(
        &mut self,
        path: &str,
        size: u64,
        read: impl FnOnce(&dyn Bytes) -> Result<Vec<Package>, E>,
    ) {
        // Without NONBLOCK a FIFO that took the file's place would block.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let file = match self.root.open_at(Path::new(path), flags, Mode::empty()) {
            Ok(file) => Opened { file: File::from(file), size },
            Err(error) => return self.note(format!("{path}: {error}")),
        };
        match read(&file) {
            Ok(found) => self.add(found),
            Err(why) => self.note(format!("{path} {why}")),
        }
    }

    fn add(&mut self, found: impl IntoIterator<Item = Package>) {
        let room = MAX_PACKAGES.saturating_sub(self.installed.packages.len());
        let mut found = found.into_iter();
        self.installed.packages.extend(found.by_ref().take(room));
        if found.next().is_some() {
            self.note(format!("there are more packages than the {MAX_PACKAGES} that are listed"));
        }
    }

    fn note(&mut self, note: String) {
        let notes = &mut self.installed.notes;
        match notes.len() {
            n if n < MAX_NOTES => notes.push(note),
            MAX_NOTES => notes.push("there is more that could not be read".to_owned()),
            _ => {}
        }
    }

    /// Returns a small file; `None` where there is none, or a larger one.
    fn bytes(&self, path: &str) -> Option<Vec<u8>> {
        self.root.read(Path::new(path)).ok().filter(|bytes| bytes.len() <= MAX_SMALL)
    }

    fn text(&self, path: &str) -> Option<String> {
        Some(String::from_utf8_lossy(&self.bytes(path)?).into_owned())
    }

    /// dpkg's database has no licenses; the packages' own files have.
    fn debian_licenses(&mut self) {
        let mut packages = std::mem::take(&mut self.installed.packages);
        for package in packages.iter_mut().filter(|package| package.ecosystem == Ecosystem::Deb) {
            if package.name.contains('/') || package.name.starts_with('.') {
                continue;
            }
            let copyright = self.text(&format!("usr/share/doc/{}/copyright", package.name));
            package.licenses = system::debian_licenses(&copyright.unwrap_or_default());
        }
        self.installed.packages = packages;
    }
}

/// Says whether `directory` is that of a package: `…/node_modules/NAME` or `…/node_modules/@SCOPE/NAME`.
fn is_node_package(directory: &str) -> bool {
    let mut parts = directory.rsplit('/').skip(1);
    match parts.next() {
        Some("node_modules") => true,
        Some(scope) if scope.starts_with('@') => parts.next() == Some("node_modules"),
        _ => false,
    }
}

/// A file that is read in pieces.
struct Opened {
    file: File,
    size: u64,
}

impl Bytes for Opened {
    fn size(&self) -> u64 {
        self.size
    }

    fn at(&self, offset: u64, length: usize) -> Option<Vec<u8>> {
        // Nothing is made ready for bytes that are not there.
        let end = offset.checked_add(length as u64).filter(|end| *end <= self.size)?;
        debug_assert!(end >= offset);
        let mut bytes = vec![0; length];
        self.file.read_exact_at(&mut bytes, offset).map(|()| bytes).ok()
    }
}

#[cfg(test)]
mod tests;
