//! The step's own process: arranges what it sees, gives up what it must not have, and becomes the user's program.
//!
//! The order matters: mounts while the host's tree is still in sight, then the root is changed, then identity and
//! capabilities go, then the program starts. Everything in the image is opened beneath its root.

use std::convert::Infallible;
use std::ffi::CString;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::{MountAttrFlags, MountPropagationFlags, UnmountFlags, mount_change, unmount};

use super::runner::{Stage, kind_of};
use super::stubs::{self, StubKind};
use super::users::{self, Identity};
use super::wire::{Failure, FailureKind, Request, RequestMount, RequestNetwork, RequestSource};
use super::{elf, network, privileges, rlimits, seccomp, trees};
use crate::sys::root::Root;

/// Hidden below `/proc`: what containerd's default specification masks.
const MASKED_PROC: [&str; 9] =
    ["acpi", "asound", "kcore", "keys", "latency_stats", "timer_list", "timer_stats", "sched_debug", "scsi"];
const READ_ONLY_PROC: [&str; 5] = ["bus", "fs", "irq", "sys", "sysrq-trigger"];
const MASKED_SYS: [&str; 2] = ["firmware", "devices/virtual/powercap"];
const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];
const DEVICE_LINKS: [(&str, &str); 5] = [
    ("ptmx", "pts/ptmx"),
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
];
/// Where the private mount namespace of a step has its tmpfs until the host's tree is gone. Any directory does.
const STAGING_PLACES: [&str; 4] = ["/tmp", "/mnt", "/run", "/sys"];
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

const NO_DEVICES: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_NOSUID.union(MountAttrFlags::MOUNT_ATTR_NODEV);
const NO_PROGRAMS: MountAttrFlags = NO_DEVICES.union(MountAttrFlags::MOUNT_ATTR_NOEXEC);

/// Turns this process, the first of its name spaces, into the step. Returns only if that cannot be done.
pub fn become_step(stage: Stage) -> Failure {
    match try_become_step(stage) {
        Ok(never) => match never {},
        Err(failure) => failure,
    }
}

fn try_become_step(stage: Stage) -> Result<Infallible, Failure> {
    let Stage { request, root, trees, network: _, cgroups } = stage;
    die_with_parent().map_err(Failure::setup("watching the runner"))?;
    join(cgroups).map_err(Failure::setup("moving the step to its cgroups"))?;
    rustix::system::sethostname(request.hostname.as_bytes()).map_err(Failure::setup("setting the host name"))?;
    if request.network == RequestNetwork::Loopback {
        network::bring_loopback_up().map_err(Failure::setup("bringing the loopback interface up"))?;
    }
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    mount_change("/", private).map_err(Failure::setup("making the step's mounts private"))?;
    let staging = Staging::new().map_err(Failure::setup("mounting a temporary file system"))?;
    let root = staging.attach_root(root).map_err(Failure::setup("mounting the root file system"))?;
    let user = |reason| Failure::new(FailureKind::User, &request.user, reason);
    let identity = users::resolve(&root, &request.user).map_err(user)?;
    mount_proc(&root, &staging, request.is_privileged).map_err(Failure::setup("mounting /proc"))?;
    mount_sys(&root, &staging, request.is_privileged).map_err(Failure::setup("mounting /sys"))?;
    mount_dev(&root).map_err(Failure::setup("mounting /dev"))?;
    for (index, (mount, tree)) in request.mounts.iter().zip(trees).enumerate() {
        let attached = mount_one(&root, &staging, index, mount, tree);
        if !mount.is_optional {
            attached.map_err(|error| mount_failure(mount, error))?;
        }
    }
    let workdir = || Failure::setup(format!("working directory {}", request.cwd));
    let cwd = open_cwd(&root, &request.cwd, &identity).map_err(|error| match error.raw_os_error() {
        // The new directory could not be given to them.
        Some(libc::EINVAL) => user(not_mapped(&identity, error)),
        _ => workdir()(error),
    })?;
    change_root(&root, &cwd).map_err(workdir())?;
    drop((root, cwd, staging));
    privileges::forget_inheritance();
    limit(&request)?;
    let become_user = if request.is_privileged {
        privileges::become_privileged_user
    } else {
        seccomp::install(&mut seccomp::program()).map_err(Failure::setup("installing the system call filter"))?;
        privileges::become_user
    };
    become_user(&identity).map_err(|error| user(not_mapped(&identity, error)))?;
    // The kernel forgot it with the change of identity.
    die_with_parent().map_err(Failure::setup("watching the runner"))?;
    Err(execute(&request, &identity))
}

/// Moves this process to cgroups, which become all that it sees of theirs.
fn join(cgroups: Vec<OwnedFd>) -> io::Result<()> {
    if cgroups.is_empty() {
        return Ok(());
    }
    for procs in cgroups {
        // 0 is who writes.
        File::from(procs).write_all(b"0")?;
    }
    // SAFETY: `CLONE_FILES` is not among the flags.
    unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWCGROUP) }?;
    Ok(())
}

/// Sets the limits of this process, which its children inherit.
fn limit(request: &Request) -> Result<(), Failure> {
    if !request.processors.is_empty() {
        let mut set = rustix::thread::CpuSet::new();
        let is_possible = |number: &&u32| (**number as usize) < rustix::thread::CpuSet::MAX_CPU;
        request.processors.iter().filter(is_possible).for_each(|number| set.set(*number as usize));
        rustix::thread::sched_setaffinity(None, &set).map_err(Failure::setup("choosing the step's processors"))?;
    }
    request.limits.iter().try_for_each(|limit| {
        rlimits::set(limit).map_err(|(what, reason)| Failure::new(FailureKind::Setup, what, reason))
    })
}

fn not_mapped(identity: &Identity, error: io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::EINVAL) => no_such_ids(identity.uid, identity.gid),
        _ => error.to_string(),
    }
}

fn no_such_ids(uid: u32, gid: u32) -> String {
    format!("this host maps no user {uid} or group {gid} for you; give yourself subordinate ids (see subuid(5))")
}

fn mount_failure(mount: &RequestMount, error: io::Error) -> Failure {
    let what = format!("mounting {}", mount.target);
    match mount.source {
        RequestSource::File { uid, gid, .. } if error.raw_os_error() == Some(libc::EINVAL) => {
            Failure::new(FailureKind::Setup, what, no_such_ids(uid, gid))
        }
        _ => Failure::setup(what)(error),
    }
}

fn die_with_parent() -> io::Result<()> {
    Ok(rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?)
}

/// A tmpfs over some directory of the host's tree, seen by this process alone: the root's first mount point and the
/// engine's files. Gone with the host's tree.
struct Staging(OwnedFd);

impl Staging {
    fn new() -> io::Result<Staging> {
        let tmpfs = trees::new("tmpfs", &[("mode", "0700")], NO_DEVICES)?;
        let is_attached = STAGING_PLACES.iter().any(|place| {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let place = rustix::fs::openat(CWD, *place, flags, Mode::empty());
            place.is_ok_and(|place| trees::attach(&tmpfs, &place).is_ok())
        });
        if !is_attached {
            return Err(io::Error::other("there is no directory to mount it on"));
        }
        rustix::fs::mkdirat(&tmpfs, "root", Mode::RWXU)?;
        rustix::fs::mkdirat(&tmpfs, "empty", Mode::from_raw_mode(0o755))?;
        Ok(Staging(tmpfs))
    }

    fn attach_root(&self, root: OwnedFd) -> io::Result<Root> {
        let place = rustix::fs::openat(&self.0, "root", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
        trees::attach(&root, &place)?;
        Ok(Root::from_fd(root))
    }

    fn file(&self, index: usize, content: &[u8], mode: u32, owner: (u32, u32)) -> io::Result<OwnedFd> {
        let name = format!("file{index}");
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        let mut file = File::from(rustix::fs::openat(&self.0, name.as_str(), flags, Mode::RUSR)?);
        file.write_all(content)?;
        if owner != (0, 0) {
            std::os::unix::fs::fchown(&file, Some(owner.0), Some(owner.1))?;
        }
        rustix::fs::fchmod(&file, Mode::from_raw_mode(mode))?;
        trees::clone_beneath(&self.0, &name)
    }

    /// Puts something without content over a file or directory beneath `place`, if it is there.
    fn mask(&self, place: impl AsFd, path: &str) -> io::Result<()> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let Ok(target) = rustix::fs::openat(place, path, flags, Mode::empty()) else { return Ok(()) };
        let stat = rustix::fs::fstat(&target)?;
        let tree = match rustix::fs::FileType::from_raw_mode(stat.st_mode) {
            rustix::fs::FileType::Directory => {
                let tree = trees::clone_beneath(&self.0, "empty")?;
                trees::set_read_only(&tree)?;
                tree
            }
            _ => trees::clone_beneath(CWD, "/dev/null")?,
        };
        trees::attach(&tree, &target)
    }
}

fn mount_proc(root: &Root, staging: &Staging, is_privileged: bool) -> io::Result<()> {
    let place = root.open_at("/proc".as_ref(), OFlags::PATH | OFlags::DIRECTORY, Mode::empty())?;
    // Where the host's /proc is partly hidden (inside a container) the kernel refuses a fresh one to a user namespace.
    let proc = trees::new("proc", &[], NO_PROGRAMS).or_else(|_| trees::clone_beneath(CWD, "/proc"))?;
    trees::attach(&proc, &place)?;
    if is_privileged {
        return Ok(());
    }
    for path in READ_ONLY_PROC {
        if let Ok(tree) = trees::clone_beneath(&proc, path) {
            trees::set_read_only(&tree)?;
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            trees::attach(&tree, rustix::fs::openat(&proc, path, flags, Mode::empty())?)?;
        }
    }
    MASKED_PROC.iter().try_for_each(|path| staging.mask(&proc, path))
}

fn mount_sys(root: &Root, staging: &Staging, is_privileged: bool) -> io::Result<()> {
    let place = root.open_at("/sys".as_ref(), OFlags::PATH | OFlags::DIRECTORY, Mode::empty())?;
    // A fresh one needs a network namespace of our own.
    let sys = trees::new("sysfs", &[], NO_PROGRAMS).or_else(|_| trees::clone_beneath(CWD, "/sys"))?;
    if is_privileged {
        return trees::attach(&sys, &place);
    }
    trees::set_read_only(&sys)?;
    trees::attach(&sys, &place)?;
    MASKED_SYS.iter().try_for_each(|path| staging.mask(&sys, path))
}

fn mount_dev(root: &Root) -> io::Result<()> {
    let place = root.open_at("/dev".as_ref(), OFlags::PATH | OFlags::DIRECTORY, Mode::empty())?;
    let dev = trees::new("tmpfs", &[("mode", "0755"), ("size", "65536k")], MountAttrFlags::MOUNT_ATTR_NOSUID)?;
    trees::attach(&dev, &place)?;
    for name in DEVICES {
        let Ok(device) = trees::clone_beneath(CWD, &format!("/dev/{name}")) else { continue };
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        trees::attach(&device, rustix::fs::openat(&dev, name, flags, Mode::from_raw_mode(0o666))?)?;
    }
    for (name, target) in DEVICE_LINKS {
        rustix::fs::symlinkat(target, &dev, name)?;
    }
    let below = |name: &str, tree: OwnedFd| {
        rustix::fs::mkdirat(&dev, name, Mode::from_raw_mode(0o755))?;
        let place = rustix::fs::openat(&dev, name, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
        trees::attach(&tree, &place)
    };
    // The group is tty's by convention; where it is not mapped, the option is left out.
    let pts = [("newinstance", ""), ("ptmxmode", "0666"), ("mode", "0620"), ("gid", "5")];
    let no_programs = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    below("pts", trees::new("devpts", &pts, no_programs)?)?;
    below("shm", trees::new("tmpfs", &[("mode", "1777"), ("size", "65536k")], NO_PROGRAMS)?)?;
    // A kernel may be built without it.
    trees::new("mqueue", &[], NO_PROGRAMS).map_or(Ok(()), |tree| below("mqueue", tree))
}

fn mount_one(
    root: &Root,
    staging: &Staging,
    index: usize,
    mount: &RequestMount,
    tree: Option<OwnedFd>,
) -> io::Result<()> {
    let kind = kind_of(&mount.source, tree.as_ref());
    // Made by the runner, unless it is inside of another mount: then what is made here is that mount's.
    let place = stubs::open_or_make(root, &mount.target, kind, &mut Vec::new())?;
    let tree = match (&mount.source, tree) {
        (RequestSource::Tree, Some(tree)) => tree,
        (RequestSource::Tree, None) => return Err(io::Error::other("its source is missing")),
        (RequestSource::Tmpfs { size: None }, _) => trees::new("tmpfs", &[("mode", "1777")], NO_DEVICES)?,
        (RequestSource::Tmpfs { size: Some(size) }, _) => {
            trees::new("tmpfs", &[("mode", "1777"), ("size", &size.to_string())], NO_DEVICES)?
        }
        (RequestSource::File { content, mode, uid, gid }, _) => staging.file(index, content, *mode, (*uid, *gid))?,
    };
    if mount.is_read_only {
        trees::set_read_only(&tree)?;
    }
    trees::attach(&tree, &place)
}

/// Opens the working directory beneath the root, made and owned by the user where it is not there. A magic link
/// (`/proc/self/fd/…`) is no directory of the root and refused.
fn open_cwd(root: &Root, path: &str, identity: &Identity) -> io::Result<OwnedFd> {
    let mut made = Vec::new();
    let cwd = stubs::open_or_make(root, path, StubKind::Directory, &mut made)?;
    if (identity.uid, identity.gid) != (0, 0) {
        made.iter().try_for_each(|stub| stub.give_to(identity.uid, identity.gid))?;
    }
    Ok(cwd)
}

fn change_root(root: &Root, cwd: &OwnedFd) -> io::Result<()> {
    rustix::process::fchdir(root)?;
    rustix::process::pivot_root(".", ".")?;
    // The host's tree now lies over the new one.
    unmount(".", UnmountFlags::DETACH)?;
    rustix::process::chdir("/")?;
    rustix::process::fchdir(cwd)?;
    let is_inside = rustix::process::getcwd(Vec::new())?.as_bytes().starts_with(b"/");
    if is_inside { Ok(()) } else { Err(io::Error::other("it is outside of the root file system")) }
}

/// Starts the program; returns why that was not possible.
fn execute(request: &Request, identity: &Identity) -> Failure {
    let Some(program) = request.args.first() else {
        return Failure::new(FailureKind::NotFound, "", "the command is empty");
    };
    let value = |name: &str| request.env.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    let home = value("HOME").is_none().then(|| format!("HOME={}", identity.home));
    let variables = request.env.iter().map(|(key, value)| format!("{key}={value}")).chain(home);
    let (args, env) = (c_strings(request.args.iter().cloned()), c_strings(variables));
    let (Ok(args), Ok(env)) = (args, env) else {
        return Failure::new(FailureKind::NotExecutable, program, "a zero byte in its arguments or environment");
    };
    let path = value("PATH").unwrap_or(DEFAULT_PATH);
    let candidates: Vec<String> = if program.contains('/') {
        vec![program.clone()]
    } else {
        path.split(':').filter(|part| !part.is_empty()).map(|part| format!("{part}/{program}")).collect()
    };
    let mut denied = None;
    for candidate in candidates {
        let error = exec(&candidate, &args, &env);
        let is_there = rustix::fs::stat(candidate.as_str()).is_ok();
        match error.raw_os_error() {
            Some(libc::ENOENT) if is_there => {
                return Failure::new(FailureKind::NotFound, program, "its interpreter or loader is not there");
            }
            Some(libc::ENOENT | libc::ENOTDIR) => {}
            Some(libc::EACCES) => _ = denied.get_or_insert(error.to_string()),
            Some(libc::ENOEXEC) => return wrong_format(program, &candidate),
            _ => return Failure::new(FailureKind::NotExecutable, program, error),
        }
    }
    match denied {
        Some(reason) => Failure::new(FailureKind::NotExecutable, program, reason),
        None if program.contains('/') => Failure::new(FailureKind::NotFound, program, "no such file"),
        None => Failure::new(FailureKind::NotFound, program, format!("not in PATH ({path})")),
    }
}

fn wrong_format(program: &str, path: &str) -> Failure {
    let file = rustix::fs::openat(CWD, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).map(File::from);
    match file.map(|file| elf::machine(&file)) {
        Ok(Ok(Some(machine))) => Failure::new(FailureKind::NoEmulator, program, machine.architecture),
        _ => Failure::new(FailureKind::NotExecutable, program, "neither a program nor a script with a `#!` line"),
    }
}

fn c_strings(texts: impl Iterator<Item = String>) -> Result<Vec<CString>, std::ffi::NulError> {
    texts.map(CString::new).collect()
}

fn exec(path: &str, args: &[CString], env: &[CString]) -> io::Error {
    let Ok(path) = CString::new(path) else { return io::ErrorKind::InvalidInput.into() };
    let pointers = |strings: &[CString]| -> Vec<*const libc::c_char> {
        strings.iter().map(|string| string.as_ptr()).chain([std::ptr::null()]).collect()
    };
    let (args, env) = (pointers(args), pointers(env));
    // SAFETY: the path and both lists end in zero, and what they point to lives through the call.
    unsafe { libc::execve(path.as_ptr(), args.as_ptr(), env.as_ptr()) };
    io::Error::last_os_error()
}
