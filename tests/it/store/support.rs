//! A store to try things on, and archives and trees as text.
//!
//! Snapshots need overlay mounts; where this user may not make them, a test says so and is skipped.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use bake::digest::{DiffId, Digest};
use bake::oci::MediaType;
use bake::oci::tar::{TarEntry, TarWriter};
use bake::store::{Compression, Store, StoreError};
use tar::EntryType;

pub const EPOCH: i64 = 315_532_800;

/// A store in a temporary directory.
pub struct Fixture {
    pub directory: tempfile::TempDir,
    pub store: Store,
}

impl Fixture {
    pub fn new() -> Fixture {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let store = Store::open(&directory.path().join("store")).expect("opened");
        Fixture { directory, store }
    }

    /// A store that can mount; `None`, said aloud, where this user cannot.
    #[allow(clippy::print_stderr, reason = "a skipped test says why")]
    pub fn mounting() -> Option<Fixture> {
        let fixture = Fixture::new();
        if let Err(error) = fixture.store.prepare(&[]) {
            eprintln!("skipped: {error}");
            return None;
        }
        Some(fixture)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join("store").join(name)
    }

    /// Changes files over `parent` and returns the new stack.
    pub fn layer(&self, parent: &[DiffId], change: impl FnOnce(&Path)) -> Vec<DiffId> {
        let snapshot = self.store.prepare(parent).expect("prepared");
        change(&PathBuf::from(format!("/proc/self/fd/{}", snapshot.mount_fd().as_raw_fd())));
        let diff_id = snapshot.commit(EPOCH, None).expect("committed");
        parent.iter().copied().chain([diff_id]).collect()
    }

    /// Unpacks an archive over `parent` and returns the new stack.
    pub fn unpack(&self, parent: &[DiffId], tar: &[u8]) -> Result<Vec<DiffId>, StoreError> {
        let diff_id = DiffId(Digest::of(tar));
        self.store.unpack_layer(parent, diff_id, &MediaType::ImageLayer, &mut &*tar)?;
        Ok(parent.iter().copied().chain([diff_id]).collect())
    }

    /// Lists a stack's files as the kernel shows them.
    pub fn list(&self, stack: &[DiffId]) -> String {
        let view = self.store.view(stack).expect("mounted");
        list(&path_of(&view))
    }

    /// Returns the tar of a stack's top layer, through the blob that is made of it.
    pub fn tar(&self, stack: &[DiffId]) -> Vec<u8> {
        let descriptor = self.store.layer_blob(stack, Compression::default()).expect("compressed");
        let digest = descriptor.digest().to_string().parse().expect("a digest");
        let blob = self.store.open_blob(&digest).expect("there");
        let mut tar = Vec::new();
        io::copy(&mut flate2::read::MultiGzDecoder::new(blob), &mut tar).expect("gzip");
        tar
    }
}

pub fn path_of(fd: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd()))
}

/// Lists what is below `top`, itself included, depth first and sorted: type and mode, owner, time, name, and content,
/// target or device.
pub fn list(top: &Path) -> String {
    let mut lines = String::new();
    list_into(top, Path::new("."), &mut lines);
    lines
}

fn list_into(top: &Path, path: &Path, lines: &mut String) {
    let full = top.join(path);
    let metadata = fs::symlink_metadata(&full).expect("there");
    let kind = metadata.file_type();
    // What is inside a link to the top, as /proc has it, is meant.
    let metadata = if path == Path::new(".") { fs::metadata(&full).expect("there") } else { metadata };
    let (letter, what) = match kind {
        _ if metadata.is_dir() => ('d', String::new()),
        kind if kind.is_symlink() => ('l', format!(" -> {}", fs::read_link(&full).expect("read").display())),
        kind if kind.is_fifo() => ('p', String::new()),
        kind if kind.is_char_device() => ('c', format!(" {}", metadata.rdev())),
        _ => ('f', format!(" {:?}", String::from_utf8_lossy(&fs::read(&full).expect("read")))),
    };
    let (mode, uid, gid, mtime) = (metadata.mode() & 0o7777, metadata.uid(), metadata.gid(), metadata.mtime());
    lines.push_str(&format!("{letter}{mode:04o} {uid}:{gid} {mtime} {}{what}\n", path.display()));
    if letter == 'd' {
        let mut names: Vec<_> = fs::read_dir(&full).expect("read").map(|e| e.expect("read").file_name()).collect();
        names.sort();
        names.iter().for_each(|name| list_into(top, &path.join(name), lines));
    }
}

/// Makes an archive of short descriptions: `d NAME MODE`, `f NAME CONTENT`, `l NAME TARGET`, `h NAME TARGET`, `p NAME`,
/// `c NAME MAJOR MINOR`. Times are 1000 and up by one each; files have mode 0644.
pub fn archive(entries: &[&str]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = TarWriter::new(&mut bytes);
    for (n, line) in entries.iter().enumerate() {
        let words: Vec<&str> = line.split(' ').collect();
        let word = |n: usize| words.get(n).copied().unwrap_or_default();
        let mut entry = TarEntry::new(word(1).as_bytes(), EntryType::Regular, 0o644, 0);
        entry.mtime = 1000 + n as u64;
        let mut content = "";
        match word(0) {
            "d" => (entry.kind, entry.mode) = (EntryType::Directory, u32::from_str_radix(word(2), 8).expect("octal")),
            "f" => (content, entry.size) = (word(2), word(2).len() as u64),
            "l" => (entry.kind, entry.link) = (EntryType::Symlink, word(2).as_bytes()),
            "h" => (entry.kind, entry.link) = (EntryType::Link, word(2).as_bytes()),
            "p" => entry.kind = EntryType::Fifo,
            "c" => {
                let number = |n| word(n).parse().expect("a number");
                (entry.kind, entry.device) = (EntryType::Char, (number(2), number(3)));
            }
            other => panic!("no kind {other}"),
        }
        writer.append(&entry, &mut content.as_bytes()).expect("written");
    }
    writer.finish().expect("written");
    bytes
}

/// Lists an archive: type, mode, owner, time, name, target or size, and the names of its PAX records.
pub fn entries_of(tar: &[u8]) -> String {
    let mut lines = String::new();
    for entry in tar::Archive::new(tar).entries().expect("an archive") {
        let mut entry = entry.expect("whole");
        // The crate ends a record at a line break; its name alone is of interest.
        let records = entry.pax_extensions().expect("records").into_iter().flatten().flatten();
        let records: Vec<String> = records.map(|record| record.key().expect("text").to_owned()).collect();
        let header = entry.header();
        let link = entry.link_name_bytes().map_or(String::new(), |l| format!(" -> {}", String::from_utf8_lossy(&l)));
        lines.push_str(&format!(
            "{} {:04o} {}:{} {} {}{link} {} {}\n",
            char::from(header.entry_type().as_byte()),
            header.mode().expect("a mode"),
            header.uid().expect("an owner"),
            header.gid().expect("a group"),
            header.mtime().expect("a time"),
            String::from_utf8_lossy(&entry.path_bytes()),
            entry.size(),
            records.join(",")
        ));
    }
    lines.replace(" \n", "\n")
}
