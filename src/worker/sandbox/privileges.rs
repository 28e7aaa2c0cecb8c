//! What a step may do: identity, capabilities, and nothing inherited.

use std::io;

use super::users::Identity;

/// Docker's default capabilities by number: chown, dac_override, fowner, fsetid, kill, setgid, setuid, setpcap,
/// net_bind_service, net_raw, sys_chroot, mknod, audit_write, setfcap.
const KEPT: [u32; 14] = [0, 1, 3, 4, 5, 6, 7, 8, 10, 13, 18, 27, 29, 31];

/// `_LINUX_CAPABILITY_VERSION_3`.
const VERSION_3: u32 = 0x2008_0522;

#[repr(C)]
struct Header {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Sets {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// Turns this process into `identity` with no more capabilities than [`KEPT`]; with none for another user than 0. Set-uid
/// programs still work, as sudo in a Dockerfile needs.
pub fn become_user(identity: &Identity) -> io::Result<()> {
    limit_bounding_set()?;
    set_groups(&identity.groups)?;
    // SAFETY: takes three numbers.
    check(unsafe { libc::setresgid(identity.gid, identity.gid, identity.gid) })?;
    set_capabilities(KEPT.iter().fold(0, |mask, capability| mask | 1 << capability), 0)?;
    // From 0 to another user clears the permitted and effective sets; the ambient set went with the inheritable one.
    // SAFETY: takes three numbers.
    check(unsafe { libc::setresuid(identity.uid, identity.uid, identity.uid) })
}

/// Turns this process into `identity` with every capability of its user namespace, whatever the user: as BuildKit's
/// `--security=insecure`, they are ambient too.
pub fn become_privileged_user(identity: &Identity) -> io::Result<()> {
    set_groups(&identity.groups)?;
    // SAFETY: takes three numbers.
    check(unsafe { libc::setresgid(identity.gid, identity.gid, identity.gid) })?;
    // SAFETY: takes numbers.
    check(unsafe { libc::prctl(libc::PR_SET_KEEPCAPS, 1, 0, 0, 0) })?;
    // SAFETY: takes three numbers.
    check(unsafe { libc::setresuid(identity.uid, identity.uid, identity.uid) })?;
    // SAFETY: takes numbers; past the last capability of this kernel it is an error.
    let is_bounding = |capability: &u32| unsafe { libc::prctl(libc::PR_CAPBSET_READ, *capability, 0, 0, 0) } == 1;
    let capabilities: Vec<u32> = (0..64).filter(is_bounding).collect();
    let all = capabilities.iter().fold(0_u64, |mask, capability| mask | 1 << capability);
    set_capabilities(all, all)?;
    for capability in capabilities {
        // SAFETY: takes numbers.
        check(unsafe { libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_RAISE, capability, 0, 0) })?;
    }
    Ok(())
}

fn limit_bounding_set() -> io::Result<()> {
    for capability in (0..64).filter(|capability| !KEPT.contains(capability)) {
        // SAFETY: takes numbers.
        match check(unsafe { libc::prctl(libc::PR_CAPBSET_DROP, libc::c_ulong::from(capability), 0, 0, 0) }) {
            // Past the last capability of this kernel.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => break,
            result => result?,
        }
    }
    Ok(())
}

/// Sets the supplementary groups. Where only one id is mapped the kernel forbids it, and there is none to give: any other
/// group is one that is not mapped.
fn set_groups(groups: &[u32]) -> io::Result<()> {
    // SAFETY: the pointer is to as many ids as are said.
    match check(unsafe { libc::setgroups(groups.len(), groups.as_ptr()) }) {
        Err(error) if error.raw_os_error() != Some(libc::EPERM) => Err(error),
        Err(_) if groups.iter().any(|gid| *gid != 0) => Err(io::Error::from_raw_os_error(libc::EINVAL)),
        _ => Ok(()),
    }
}

/// Sets the effective and permitted sets to `mask`.
fn set_capabilities(mask: u64, inheritable: u64) -> io::Result<()> {
    let header = Header { version: VERSION_3, pid: 0 };
    let half = |shift: u32| {
        let mask = (mask >> shift) as u32;
        Sets { effective: mask, permitted: mask, inheritable: (inheritable >> shift) as u32 }
    };
    let sets = [half(0), half(32)];
    // SAFETY: both structures have the kernel's layout for this version and live through the call.
    let result = unsafe { libc::syscall(libc::SYS_capset, &raw const header, sets.as_ptr()) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Undoes what this program inherited or set: signal dispositions and mask, umask, session, descriptors, keyring.
pub fn forget_inheritance() {
    forget_signals();
    // SAFETY: these take numbers, and touch this process alone, which has one thread.
    unsafe {
        libc::umask(0o022);
        libc::setsid();
        const JOIN_SESSION_KEYRING: libc::c_long = 1;
        libc::syscall(libc::SYS_keyctl, JOIN_SESSION_KEYRING, std::ptr::null::<libc::c_char>());
        libc::syscall(libc::SYS_close_range, 3_u32, u32::MAX, libc::CLOSE_RANGE_CLOEXEC);
    }
}

/// Undoes signal dispositions and mask: Rust's programs ignore SIGPIPE.
pub fn forget_signals() {
    // SAFETY: these take numbers or a local set, and touch this process alone, which has one thread.
    unsafe {
        for signal in 1..=64 {
            // `SIGKILL`, `SIGSTOP` and the C library's own refuse; they are never ignored.
            libc::signal(signal, libc::SIG_DFL);
        }
        let mut none = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
    }
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kept_set_is_dockers() {
        assert_eq!(KEPT.iter().fold(0_u32, |mask, capability| mask | 1 << capability), 0xa804_25fb);
    }
}
