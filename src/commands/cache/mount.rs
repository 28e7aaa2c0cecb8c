//! `bake cache mount`: cache mounts that go from machine to machine.

#![expect(clippy::disallowed_methods, reason = "reads the archive that the user names")]

use std::fs::File;
use std::io::{self, Read, Write};

use serde_json::json;
use tar::EntryType;

use super::super::{Failure, Host, Kind};
use super::age::ago;
use super::{ListForm, StoreRequest, open, store_failure, table};
use crate::export::archive::{ArchiveTree, write_tar};
use crate::export::error::FileExportError;
use crate::export::file::write_file;
use crate::oci::tar::{TarEntry, TarWriter};
use crate::store::{HeldCacheMount, Item, ItemKind, Size, Sizes};

/// Returns a line for each cache mount: its id, size and last use.
///
/// # Errors
/// The store cannot be read.
pub fn list(store: &StoreRequest, form: ListForm, host: &Host) -> Result<String, Failure> {
    let store = open(store, host)?;
    let inventory = store.inventory(Sizes::Disk).map_err(|error| store_failure(&error, host))?;
    let mut mounts: Vec<&Item> = inventory.items.iter().filter(|item| item.id.kind == ItemKind::CacheMount).collect();
    mounts.sort_by_key(|item| (item.description.clone(), item.id.name.clone()));
    if form == ListForm::Json {
        let mount = |item: &&Item| {
            let MountName { id, namespace } = MountName::of(item);
            let (size, used, in_use) = (item.size, item.last_used, item.is_in_use);
            json!({
                "id": id,
                "namespace": namespace,
                "private": number(item),
                "size": size,
                "lastUsedAt": used,
                "inUse": in_use,
            })
        };
        return Ok(format!("{:#}\n", json!(mounts.iter().map(mount).collect::<Vec<_>>())));
    }
    let heading = ["ID", "NAMESPACE", "SIZE", "LAST USED", "IN USE"].map(str::to_owned).to_vec();
    let row = |item: &&Item| {
        let MountName { id, namespace } = MountName::of(item);
        let id = match number(item) {
            0 => id,
            n => format!("{id} (private {n})"),
        };
        let in_use = if item.is_in_use { "yes" } else { "no" }.to_owned();
        vec![id, namespace, Size(item.size).to_string(), ago(item.last_used, host), in_use]
    };
    Ok(table(&[heading].into_iter().chain(mounts.iter().map(row)).collect::<Vec<_>>()))
}

/// Which cache mount.
#[derive(Clone, Debug)]
pub struct MountName {
    /// As the Dockerfile has it; one without an id of its own is its target, `@` and the platform.
    pub id: String,
    /// What BUILDKIT_CACHE_MOUNT_NS was, or nothing.
    pub namespace: String,
}

impl MountName {
    /// Returns the id that the store knows it by.
    fn full(&self) -> String {
        format!("{}/{}", self.namespace, self.id)
    }

    fn of(item: &Item) -> MountName {
        let (namespace, id) = item.description.split_once('/').unwrap_or(("", &item.description));
        MountName { id: id.to_owned(), namespace: namespace.to_owned() }
    }
}

/// Says which double of a private mount it is; 0 for the first.
fn number(item: &Item) -> u32 {
    item.id.name.split_once('.').and_then(|(_, number)| number.parse().ok()).unwrap_or(0)
}

/// Writes the files of a cache mount as a tar archive to `output`, or to standard output.
///
/// # Errors
/// There is no such mount, or it cannot be read or written.
pub fn export(store: &StoreRequest, name: &MountName, output: Option<&str>, host: &Host) -> Result<String, Failure> {
    let store = open(store, host)?;
    let held = store.held_cache_mount(&name.full(), &host.cancel).map_err(|error| store_failure(&error, host))?;
    let held = held.ok_or_else(|| {
        let failure = Failure::new(Kind::Usage, format!("there is no cache mount `{}`", name.id));
        failure.hint("`bake cache mount ls` lists them")
    })?;
    let failed = |error: &FileExportError| Failure::caused(Kind::Environment, error);
    match output.filter(|output| *output != "-") {
        Some(path) => {
            write_file(&host.directory.join(path), |out| write(&held, out)).map_err(|error| failed(&error))?
        }
        None => {
            let mut out = io::BufWriter::with_capacity(1 << 17, io::stdout().lock());
            write(&held, &mut out).map_err(|error| failed(&error))?;
            out.flush().map_err(|error| Failure::new(Kind::Environment, error))?;
        }
    }
    Ok(String::new())
}

/// The directory itself comes first, so that its mode and owner travel too.
fn write(held: &HeldCacheMount, out: &mut dyn Write) -> Result<(), FileExportError> {
    let unreadable = |error: crate::store::StoreError| FileExportError::Io {
        verb: "read",
        path: "the cache mount".into(),
        source: io::Error::other(error.to_string()),
    };
    let (mode, uid, gid) = held.top().map_err(unreadable)?;
    let top = TarEntry { uid, gid, ..TarEntry::new(b"./", EntryType::Directory, mode, 0) };
    let begun = TarWriter::new(out).append(&top, &mut io::empty());
    begun.map_err(|source| FileExportError::Io { verb: "write", path: "tar".into(), source })?;
    let root = held.root().map_err(unreadable)?;
    write_tar(&[ArchiveTree { directory: "", root: &root }], u64::MAX, out)
}

/// Makes the files of the tar archive `input`, or of standard input, a cache mount.
///
/// # Errors
/// The archive cannot be read, is none or is malformed, or there is no room for it.
pub fn import(store: &StoreRequest, name: &MountName, input: Option<&str>, host: &Host) -> Result<String, Failure> {
    let tar = match input.filter(|input| *input != "-") {
        Some(path) => File::open(host.directory.join(path))
            .map_err(|error| Failure::new(Kind::Usage, format!("cannot read `{path}`: {error}")))?,
        None => spooled(host)?,
    };
    let store = open(store, host)?;
    store.import_cache_mount(&name.full(), tar, &host.cancel).map_err(|error| store_failure(&error, host))?;
    Ok(String::new())
}

/// What it is shows in the first bytes, so that they are read twice.
fn spooled(host: &Host) -> Result<File, Failure> {
    let failed = |error: io::Error| Failure::new(Kind::Environment, format!("cannot keep standard input: {error}"));
    let mut file = tempfile::tempfile().map_err(failed)?;
    let mut buffer = vec![0; 1 << 17];
    let mut input = io::stdin().lock();
    loop {
        let n_read = input.read(&mut buffer).map_err(failed)?;
        if host.cancel.is_cancelled() {
            return Err(Failure::new(Kind::Interrupted, "interrupted"));
        }
        if n_read == 0 {
            break;
        }
        file.write_all(&buffer[..n_read]).map_err(failed)?;
    }
    io::Seek::rewind(&mut file).map_err(failed)?;
    Ok(file)
}
