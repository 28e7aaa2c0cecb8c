//! Mounts by file descriptor: made detached, changed, and attached to an open place. No path is resolved twice.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, fsconfig_create, fsconfig_set_string,
    fsmount, fsopen, move_mount, open_tree,
};

/// Copies the mount at an open file or directory, with those below it, as a detached one.
pub fn clone_of(place: impl AsFd) -> io::Result<OwnedFd> {
    clone_at(place, "", OpenTreeFlags::AT_EMPTY_PATH)
}

/// Copies the mount at `path` beneath the open directory `place`; a symbolic link at its end is not followed.
pub fn clone_beneath(place: impl AsFd, path: &str) -> io::Result<OwnedFd> {
    clone_at(place, path, OpenTreeFlags::AT_SYMLINK_NOFOLLOW)
}

fn clone_at(place: impl AsFd, path: &str, flags: OpenTreeFlags) -> io::Result<OwnedFd> {
    let always = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE;
    Ok(open_tree(place, path, always | flags)?)
}

/// Makes a file system of a kind that needs no device. Options that this kernel or this user namespace refuses are left
/// out: they make the mount nicer, not safer.
pub fn new(kind: &str, options: &[(&str, &str)], attributes: MountAttrFlags) -> io::Result<OwnedFd> {
    let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (key, value) in options {
        _ = fsconfig_set_string(&context, *key, *value);
    }
    fsconfig_create(&context)?;
    Ok(fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?)
}

/// Puts a detached mount over an open file or directory of this mount namespace.
pub fn attach(tree: impl AsFd, place: impl AsFd) -> io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    Ok(move_mount(tree, "", place, "", flags)?)
}

/// Refuses writes through a mount and those below it.
pub fn set_read_only(tree: impl AsFd) -> io::Result<()> {
    let change = libc::mount_attr { attr_set: libc::MOUNT_ATTR_RDONLY, attr_clr: 0, propagation: 0, userns_fd: 0 };
    let flags = libc::AT_EMPTY_PATH | libc::AT_RECURSIVE;
    // SAFETY: the path is an empty C string, `change` is initialised and its size is passed along.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_fd().as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const change,
            size_of::<libc::mount_attr>(),
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
