//! Detached overlay mounts: made with the new mount API, used by descriptor, gone when the descriptor closes.
//!
//! No mountpoint exists, so a killed process leaves nothing behind. `lowerdir+` takes one layer a call; the old option
//! string ends near 121 layers. `userxattr` lets it work inside a user namespace; whiteouts are then character devices
//! 0:0 and opaque directories carry `user.overlay.opaque`.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen,
};

/// Directories that a writable overlay writes to; both on one file system that is no overlay itself.
#[derive(Clone, Copy, Debug)]
pub struct Upper<'a> {
    /// What was changed.
    pub changes: &'a Path,
    /// The kernel's own; empty.
    pub work: &'a Path,
}

/// Mounts `lowers` (topmost first, at least one) and, where it is to be written to, `upper`.
///
/// # Errors
/// The kernel has no overlayfs for this user, or none with `lowerdir+` (before Linux 6.8).
pub fn mount(lowers: &[&Path], upper: Option<Upper<'_>>) -> io::Result<OwnedFd> {
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_flag(&context, "userxattr")?;
    fsconfig_set_string(&context, "source", "bake")?;
    for lower in lowers {
        fsconfig_set_string(&context, "lowerdir+", *lower)?;
    }
    if let Some(Upper { changes, work }) = upper {
        // Otherwise closing the mount writes back the whole file system that the directories are on.
        fsconfig_set_flag(&context, "volatile")?;
        fsconfig_set_string(&context, "upperdir", changes)?;
        fsconfig_set_string(&context, "workdir", work)?;
    }
    fsconfig_create(&context)?;
    let attributes = if upper.is_some() { MountAttrFlags::empty() } else { MountAttrFlags::MOUNT_ATTR_RDONLY };
    Ok(fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?)
}
