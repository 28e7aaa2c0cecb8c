//! Moves this process into a user namespace and a mount namespace of its own, once.
//!
//! | who calls | ids inside |
//! |---|---|
//! | root | all that the parent namespace has, unchanged |
//! | a user with subordinate ids | 0 is the user, 1… are its ranges of `/etc/subuid` and `/etc/subgid` (newuidmap) |
//! | a user without | 0 is the user; no other id exists |

#![expect(clippy::disallowed_methods, reason = "reads /proc and /etc, once, before anything else runs")]

use std::fs;
use std::io::{self, Read, Write};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use rustix::mount::{MountPropagationFlags, mount_change};
use rustix::thread::UnshareFlags;

use super::{SandboxError, rlimits};

/// Which user and group ids exist in the namespace that [`enter`] made. Inside, they always start at 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IdMapping {
    /// Root's: ids are the host's own.
    Full {
        /// How many.
        count: u32,
    },
    /// 0 is the user who called, 1 and up are its subordinate ids.
    Subordinate {
        /// How many, 0 included.
        count: u32,
    },
    /// 0 is the user who called and the only id: files keep no other owner and no step can run as another user.
    Single {
        /// Why there are no more.
        reason: String,
        /// What gives more, for root to do.
        mend: String,
    },
}

impl IdMapping {
    /// Says whether a file can belong to user or group `id`.
    pub fn can_own(&self, id: u32) -> bool {
        match self {
            IdMapping::Full { count } | IdMapping::Subordinate { count } => id < *count,
            IdMapping::Single { .. } => id == 0,
        }
    }
}

/// One line of a `uid_map`: `count` ids from `inside` on are the parent's ids from `outside` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Extent {
    inside: u32,
    outside: u32,
    count: u32,
}

/// What [`enter`] returned; protects against entering twice.
static ENTERED: Mutex<Option<IdMapping>> = Mutex::new(None);
/// Set by [`enter`].
static HAS_OWN_USER_NAMESPACE: AtomicBool = AtomicBool::new(false);

/// Says whether [`enter`] made a user namespace. If not (root on a host that has none to give), what belongs to the user
/// namespace is the host's and must be left as it is.
pub fn has_own_user_namespace() -> bool {
    HAS_OWN_USER_NAMESPACE.load(Ordering::SeqCst)
}

/// Enters the namespaces that all of a build runs in. Must be called before any thread is started; a second call returns
/// the same as the first and does nothing.
///
/// # Errors
/// [`SandboxError::NoNamespaces`] where the host refuses, with the setting that does; [`SandboxError::Setup`] where this
/// process has threads already.
pub fn enter() -> Result<IdMapping, SandboxError> {
    let mut entered = ENTERED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(mapping) = &*entered {
        return Ok(mapping.clone());
    }
    let mapping = enter_once()?;
    *entered = Some(mapping.clone());
    Ok(mapping)
}

fn enter_once() -> Result<IdMapping, SandboxError> {
    let n_threads = fs::read_dir("/proc/self/task").map(Iterator::count).map_err(SandboxError::setup("/proc"))?;
    if n_threads > 1 {
        let reason = format!("{n_threads} threads run already");
        return Err(SandboxError::Setup { what: "entering the user namespace".into(), reason });
    }
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let mapping = if uid == 0 { enter_as_root(uid, gid)? } else { enter_as_user(uid, gid)? };
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    mount_change("/", private).map_err(|error| refusal(error.into()))?;
    Ok(mapping)
}

/// Why root may have one id alone, and what gives more.
const ONE_ID: (&str, &str) =
    ("bake was started in a container that has one user id", "start that with a range of them (see subuid(5))");

fn enter_as_root(uid: u32, gid: u32) -> Result<IdMapping, SandboxError> {
    rlimits::raise();
    let (uids, gids) = (own_map("/proc/self/uid_map")?, own_map("/proc/self/gid_map")?);
    let count = limit(&uids).min(limit(&gids));
    let writer = Writer::start(move |pid| {
        write_map(&format!("/proc/{pid}/gid_map"), &gids)?;
        write_map(&format!("/proc/{pid}/uid_map"), &uids)
    })?;
    match unshare(UnshareFlags::NEWUSER | UnshareFlags::NEWNS) {
        Ok(()) => {}
        Err(refused) => {
            // Real root can do without: a private mount namespace is all that the rest needs.
            unshare(UnshareFlags::NEWNS).map_err(|_| refusal(refused))?;
            return Ok(IdMapping::Full { count });
        }
    }
    match writer.finish() {
        // A container of a user without subordinate ids.
        Ok(()) if count == 1 => Ok(IdMapping::Single { reason: ONE_ID.0.to_owned(), mend: ONE_ID.1.to_owned() }),
        Ok(()) => Ok(IdMapping::Full { count }),
        Err(refused) => single(uid, gid, refused),
    }
}

fn enter_as_user(uid: u32, gid: u32) -> Result<IdMapping, SandboxError> {
    let name = user_name(uid);
    let ranges = |path: &str| subordinate_extents(&fs::read_to_string(path).unwrap_or_default(), &name, uid);
    let (sub_uids, sub_gids) = (ranges("/etc/subuid"), ranges("/etc/subgid"));
    if sub_uids.is_empty() || sub_gids.is_empty() {
        unshare(UnshareFlags::NEWUSER | UnshareFlags::NEWNS).map_err(refusal)?;
        let first = first_free_id();
        let last = first + (N_SUBORDINATE - 1);
        let mend = format!("as root: usermod --add-subuids {first}-{last} --add-subgids {first}-{last} {name}");
        return single(uid, gid, Refused { reason: format!("user `{name}` has no subordinate ids"), mend });
    }
    let with_self = |id: u32, ranges: Vec<Extent>| {
        let mut map = vec![Extent { inside: 0, outside: id, count: 1 }];
        map.extend(ranges);
        map
    };
    let (uids, gids) = (with_self(uid, sub_uids), with_self(gid, sub_gids));
    let count = limit(&uids).min(limit(&gids));
    let writer = Writer::start(move |pid| {
        run_mapper("newgidmap", pid, &gids)?;
        run_mapper("newuidmap", pid, &uids)
    })?;
    unshare(UnshareFlags::NEWUSER | UnshareFlags::NEWNS).map_err(refusal)?;
    match writer.finish() {
        Ok(()) => Ok(IdMapping::Subordinate { count }),
        Err(refused) => single(uid, gid, refused),
    }
}

/// Ids in a range as `useradd` gives it.
const N_SUBORDINATE: u32 = 65_536;

/// Returns the first id of a range that nobody has yet, by `/etc/subuid` and `/etc/subgid`.
fn first_free_id() -> u32 {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    first_free(&(read("/etc/subuid") + "\n" + &read("/etc/subgid")))
}

fn first_free(text: &str) -> u32 {
    let end = |line: &str| {
        let mut numbers = line.trim().split(':').skip(1).map(str::parse::<u32>);
        numbers.next()?.ok()?.checked_add(numbers.next()?.ok()?)
    };
    let end = text.lines().filter_map(end).max().unwrap_or(0).max(100_000);
    if end > u32::MAX - N_SUBORDINATE { 100_000 } else { end }
}

/// Why a range of ids could not be mapped, and what root can do about it.
struct Refused {
    reason: String,
    mend: String,
}

/// Maps nothing but the caller, which needs no privilege.
fn single(uid: u32, gid: u32, refused: Refused) -> Result<IdMapping, SandboxError> {
    let Refused { reason, mend } = refused;
    let map = |id| format!("0 {id} 1");
    fs::write("/proc/self/setgroups", "deny")
        .and_then(|()| fs::write("/proc/self/gid_map", map(gid)))
        .and_then(|()| fs::write("/proc/self/uid_map", map(uid)))
        .map_err(refusal)?;
    Ok(IdMapping::Single { reason, mend })
}

/// A child that stays in the parent's user namespace, because only from there can a whole range be mapped.
struct Writer {
    /// Closed or written to: go.
    go: io::PipeWriter,
    /// What went wrong, and in the next line what mends it; empty when nothing did.
    answer: io::PipeReader,
    child: libc::pid_t,
}

impl Writer {
    fn start(write: impl FnOnce(u32) -> Result<(), Refused>) -> Result<Writer, SandboxError> {
        let failed = || SandboxError::setup("preparing the user namespace");
        let (mut wait, go) = io::pipe().map_err(failed())?;
        let (answer, mut say) = io::pipe().map_err(failed())?;
        let parent = std::process::id();
        // SAFETY: this process has one thread, so the child may run any code.
        match unsafe { libc::fork() } {
            -1 => Err(failed()(io::Error::last_os_error())),
            0 => {
                drop((go, answer));
                // One byte says that the namespace is there; none, that there will be none.
                if wait.read(&mut [0]).is_ok_and(|n| n == 1)
                    && let Err(Refused { reason, mend }) = write(parent)
                {
                    _ = say.write_all(format!("{reason}\n{mend}").as_bytes());
                }
                // SAFETY: ends the child without running what the parent registered for its own end.
                unsafe { libc::_exit(0) }
            }
            child => Ok(Writer { go, answer, child }),
        }
    }

    /// Has the maps written.
    fn finish(mut self) -> Result<(), Refused> {
        let mut answer = String::new();
        let asked = self.go.write_all(b"1").and_then(|()| self.answer.read_to_string(&mut answer));
        let refused = |(reason, mend): (&str, &str)| Refused { reason: reason.to_owned(), mend: mend.to_owned() };
        match asked {
            Ok(_) if answer.is_empty() => Ok(()),
            Ok(_) => Err(refused(answer.split_once('\n').unwrap_or((&answer, "")))),
            Err(error) => Err(refused((&error.to_string(), ""))),
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // Without the byte the child reads the end and leaves, so the wait is short. The pipe end has to go first.
        if let Ok((_, unused)) = io::pipe() {
            drop(std::mem::replace(&mut self.go, unused));
        }
        // SAFETY: waits for our own child; no status is asked for.
        unsafe { libc::waitpid(self.child, std::ptr::null_mut(), 0) };
    }
}

fn unshare(flags: UnshareFlags) -> io::Result<()> {
    // SAFETY: `CLONE_FILES` is not among the flags, so no descriptor table is split under a thread.
    unsafe { rustix::thread::unshare_unsafe(flags) }?;
    if flags.contains(UnshareFlags::NEWUSER) {
        HAS_OWN_USER_NAMESPACE.store(true, Ordering::SeqCst);
    }
    Ok(())
}

fn own_map(path: &str) -> Result<Vec<Extent>, SandboxError> {
    let text = fs::read_to_string(path).map_err(SandboxError::setup(path))?;
    Ok(identity_of(&text))
}

/// Returns the map that leaves every id of a namespace with this `uid_map` as it is.
fn identity_of(map: &str) -> Vec<Extent> {
    let extent = |line: &str| {
        let mut fields = line.split_whitespace().map(str::parse::<u32>);
        let inside = fields.next()?.ok()?;
        let count = fields.nth(1)?.ok()?;
        Some(Extent { inside, outside: inside, count })
    };
    map.lines().filter_map(extent).collect()
}

/// Returns the ids from 0 up to the first gap.
fn limit(map: &[Extent]) -> u32 {
    let mut map = map.to_vec();
    map.sort_by_key(|extent| extent.inside);
    map.iter().fold(0, |end, extent| if extent.inside == end { end.saturating_add(extent.count) } else { end })
}

fn text_of(map: &[Extent]) -> String {
    map.iter().map(|extent| format!("{} {} {}\n", extent.inside, extent.outside, extent.count)).collect()
}

fn write_map(path: &str, map: &[Extent]) -> Result<(), Refused> {
    fs::write(path, text_of(map)).map_err(|error| Refused {
        reason: format!("the ids of root cannot be mapped: {path}: {error}"),
        mend: "give the container that bake runs in the capabilities SETUID and SETGID".to_owned(),
    })
}

fn run_mapper(program: &str, pid: u32, map: &[Extent]) -> Result<(), Refused> {
    let numbers = map.iter().flat_map(|extent| [extent.inside, extent.outside, extent.count]);
    let output =
        Command::new(program).arg(pid.to_string()).args(numbers.map(|n| n.to_string())).output().map_err(|error| {
            Refused {
                reason: format!("{program} cannot be run: {error}"),
                mend: "as root: apt-get install uidmap".to_owned(),
            }
        })?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let reason = format!("{program} refused: {}", said.lines().next().unwrap_or("no reason given").trim());
    let has_no_new_privileges = fs::read_to_string("/proc/self/status")
        .is_ok_and(|text| text.lines().any(|line| line.split_whitespace().eq(["NoNewPrivs:", "1"])));
    let mend = match has_no_new_privileges {
        true => "start bake, or the container that it runs in, without no-new-privileges",
        false => "as root: apt-get install --reinstall uidmap",
    };
    Err(Refused { reason, mend: mend.to_owned() })
}

/// Returns the ranges of `/etc/subuid` or `/etc/subgid` for a user, placed one after the other from 1 on.
fn subordinate_extents(text: &str, name: &str, uid: u32) -> Vec<Extent> {
    let id = uid.to_string();
    let mut inside = 1_u32;
    let mut extents = Vec::new();
    for line in text.lines() {
        let fields: Vec<&str> = line.trim().split(':').collect();
        let &[owner, start, count] = fields.as_slice() else { continue };
        let (Ok(outside), Ok(count)) = (start.parse::<u32>(), count.parse::<u32>()) else { continue };
        let Some(next) = inside.checked_add(count) else { continue };
        if (owner == name || owner == id) && count > 0 {
            extents.push(Extent { inside, outside, count });
            inside = next;
        }
    }
    extents
}

fn user_name(uid: u32) -> String {
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let id = uid.to_string();
    let found = passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == id).then(|| name.to_owned())
    });
    found.unwrap_or(id)
}

/// Turns the kernel's answer into the setting that is behind it.
fn refusal(error: io::Error) -> SandboxError {
    let is = |path: &str, value: &str| {
        fs::read_to_string(Path::new("/proc/sys").join(path)).is_ok_and(|text| text.trim() == value)
    };
    let (reason, hint) = if is("user/max_user_namespaces", "0") {
        ("user.max_user_namespaces = 0".to_owned(), "as root: sysctl -w user.max_user_namespaces=15000")
    } else if is("kernel/unprivileged_userns_clone", "0") {
        ("kernel.unprivileged_userns_clone = 0".to_owned(), "as root: sysctl -w kernel.unprivileged_userns_clone=1")
    } else if is("kernel/apparmor_restrict_unprivileged_userns", "1") {
        return SandboxError::NoNamespaces {
            reason: "kernel.apparmor_restrict_unprivileged_userns = 1".to_owned(),
            hint: apparmor_mend(&fs::read_link("/proc/self/exe").unwrap_or_else(|_| "/usr/local/bin/bake".into())),
        };
    } else {
        let hint = "in a container, start it with --security-opt seccomp=unconfined --security-opt apparmor=unconfined";
        (error.to_string(), hint)
    };
    SandboxError::NoNamespaces { reason, hint: hint.to_owned() }
}

/// Returns the command that gives `program` a profile of its own which allows user namespaces, as AppArmor's own profiles
/// for browsers do.
fn apparmor_mend(program: &Path) -> String {
    let profile =
        format!("abi <abi/4.0>,\\nprofile bake {} flags=(unconfined) {{\\n  userns,\\n}}\\n", program.display());
    format!("as root: printf '{profile}' >/etc/apparmor.d/bake && apparmor_parser -r /etc/apparmor.d/bake")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mends_are_commands() {
        assert_eq!(first_free("a:100000:65536\nb:165536:65536\nc:bad\n"), 231_072);
        assert_eq!((first_free(""), first_free("a:4294967295:1\n")), (100_000, 100_000));
        assert_eq!(
            apparmor_mend(Path::new("/opt/bake")),
            "as root: printf 'abi <abi/4.0>,\\nprofile bake /opt/bake flags=(unconfined) {\\n  userns,\\n}\\n' \
             >/etc/apparmor.d/bake && apparmor_parser -r /etc/apparmor.d/bake"
        );
    }

    fn extent(inside: u32, outside: u32, count: u32) -> Extent {
        Extent { inside, outside, count }
    }

    #[test]
    fn ranges_are_placed_one_after_the_other() {
        let text = "bob:100000:65536\nalice:200000:1000\n\n1001:300000:500\nalice:bad:1\nalice:4294967295:4294967295\n";
        assert_eq!(subordinate_extents(text, "alice", 1001), [extent(1, 200_000, 1000), extent(1001, 300_000, 500)]);
        assert_eq!(subordinate_extents(text, "carol", 7), []);
    }

    #[test]
    fn a_nested_namespace_keeps_the_ids_it_has() {
        let map = identity_of("         0     100000      65536\n     70000    1000   1\n");
        assert_eq!(map, [extent(0, 0, 65536), extent(70_000, 70_000, 1)]);
        assert_eq!(limit(&map), 65536);
        assert_eq!(text_of(&map), "0 0 65536\n70000 70000 1\n");
        assert_eq!(limit(&identity_of("0 0 4294967295")), u32::MAX);
    }

    #[test]
    fn only_mapped_ids_can_own_files() {
        assert!(IdMapping::Full { count: u32::MAX }.can_own(65_534));
        assert!(!IdMapping::Subordinate { count: 65_537 }.can_own(65_537));
        let single = IdMapping::Single { reason: String::new(), mend: String::new() };
        assert!(single.can_own(0));
        assert!(!single.can_own(1));
    }
}
