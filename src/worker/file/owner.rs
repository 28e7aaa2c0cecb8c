//! Users and groups by name: the passwd and group files of a root.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use rustix::fs::{Mode, OFlags};

use super::{FileError, io_error};
use crate::graph::{Id, Owner};
use crate::sys::root::Root;

/// What is read of a passwd or group file at most, in bytes.
const MAX_SIZE: u64 = 10 << 20;

/// Returns user and group number of `owner`; names are looked up in the root's `/etc/passwd` and `/etc/group`.
/// A name that is not there, or a file that is not there, gives 0, as the peer does.
///
/// # Errors
/// `Io` if a file is there and is no regular file, is larger than 10 MiB or cannot be read.
pub fn resolve_owner(root: &Root, owner: &Owner) -> Result<(u32, u32), FileError> {
    let (uid, primary) = match &owner.user {
        None => (0, 0),
        Some(Id::Number(uid)) => (*uid, *uid),
        Some(Id::Name(name)) => {
            let passwd = read(root, Path::new("/etc/passwd"))?;
            let fields = line_of(&passwd, name);
            (number(&fields, 2), number(&fields, 3))
        }
    };
    let gid = match &owner.group {
        None => primary,
        Some(Id::Number(gid)) => *gid,
        Some(Id::Name(name)) => {
            let group = read(root, Path::new("/etc/group"))?;
            number(&line_of(&group, name), 2)
        }
    };
    Ok((uid, gid))
}

fn line_of<'a>(text: &'a str, name: &str) -> Vec<&'a str> {
    let mut lines = text.lines().map(|line| line.trim().split(':').collect::<Vec<_>>());
    lines.find(|fields| fields.first() == Some(&name)).unwrap_or_default()
}

fn number(fields: &[&str], index: usize) -> u32 {
    fields.get(index).and_then(|field| field.parse().ok()).unwrap_or(0)
}

/// Reads a small text file of the root; empty if there is none.
fn read(root: &Root, path: &Path) -> Result<String, FileError> {
    // Without O_NONBLOCK a FIFO of that name would wait for its writer.
    let fd = match root.open_at(path, OFlags::RDONLY | OFlags::NONBLOCK, Mode::empty()) {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(String::new());
        }
        result => File::from(result.map_err(io_error("open", path))?),
    };
    let refuse = |text: &'static str| io_error("read", path)(io::Error::new(io::ErrorKind::InvalidData, text));
    if !fd.metadata().map_err(io_error("look at", path))?.is_file() {
        return Err(refuse("not a regular file"));
    }
    let mut bytes = Vec::new();
    fd.take(MAX_SIZE + 1).read_to_end(&mut bytes).map_err(io_error("read", path))?;
    if bytes.len() as u64 > MAX_SIZE {
        return Err(refuse("larger than 10 MiB"));
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
