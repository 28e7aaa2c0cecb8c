//! What a step tries from inside: system calls that no program of a small image makes.
//!
//! This program itself, bound into a step with its libraries. Each line says a name and how the kernel answered.

use std::io;

/// Refused by Docker's default profile to a process without `CAP_SYS_ADMIN`; the numbers are this machine's.
#[rustfmt::skip]
const REFUSED: [(&str, i64); 46] = [
    ("acct", libc::SYS_acct), ("add_key", libc::SYS_add_key), ("bpf", libc::SYS_bpf),
    ("clock_adjtime", libc::SYS_clock_adjtime), ("clock_settime", libc::SYS_clock_settime),
    ("delete_module", libc::SYS_delete_module), ("fanotify_init", libc::SYS_fanotify_init),
    ("finit_module", libc::SYS_finit_module), ("fsconfig", libc::SYS_fsconfig), ("fsmount", libc::SYS_fsmount),
    ("fsopen", libc::SYS_fsopen), ("fspick", libc::SYS_fspick), ("get_mempolicy", libc::SYS_get_mempolicy),
    ("init_module", libc::SYS_init_module), ("io_uring_enter", libc::SYS_io_uring_enter),
    ("io_uring_register", libc::SYS_io_uring_register), ("io_uring_setup", libc::SYS_io_uring_setup),
    ("kcmp", libc::SYS_kcmp), ("kexec_file_load", libc::SYS_kexec_file_load), ("kexec_load", libc::SYS_kexec_load),
    ("keyctl", libc::SYS_keyctl), ("lookup_dcookie", libc::SYS_lookup_dcookie), ("mbind", libc::SYS_mbind),
    ("migrate_pages", libc::SYS_migrate_pages), ("mount", libc::SYS_mount), ("mount_setattr", libc::SYS_mount_setattr),
    ("move_mount", libc::SYS_move_mount), ("move_pages", libc::SYS_move_pages),
    ("open_by_handle_at", libc::SYS_open_by_handle_at), ("open_tree", libc::SYS_open_tree),
    ("perf_event_open", libc::SYS_perf_event_open), ("pivot_root", libc::SYS_pivot_root),
    ("quotactl", libc::SYS_quotactl), ("quotactl_fd", libc::SYS_quotactl_fd), ("reboot", libc::SYS_reboot),
    ("request_key", libc::SYS_request_key), ("set_mempolicy", libc::SYS_set_mempolicy), ("setns", libc::SYS_setns),
    ("settimeofday", libc::SYS_settimeofday), ("swapoff", libc::SYS_swapoff), ("swapon", libc::SYS_swapon),
    ("syslog", libc::SYS_syslog), ("umount2", libc::SYS_umount2), ("unshare", libc::SYS_unshare),
    ("userfaultfd", libc::SYS_userfaultfd), ("vhangup", libc::SYS_vhangup),
];

/// What [`probe`] prints where nothing is open that should be closed.
pub fn expected() -> String {
    let refused = REFUSED.iter().map(|(name, _)| format!("{name} EPERM\n")).collect::<String>();
    let rest = [
        ("clone3", "ENOSYS"),
        ("a call of the future", "ENOSYS"),
        ("a user namespace by clone", "EPERM"),
        ("a host's virtual sockets", "EPERM"),
        ("addresses without randomness", "EPERM"),
        ("tracing what is outside", "ESRCH"),
        ("a signal to what is outside", "ESRCH"),
        ("the host's name", "EPERM"),
        ("more capabilities", "EPERM"),
        ("a raw disk", "EPERM"),
        ("input to the terminal", "ENOTTY"),
    ];
    refused + &rest.map(|(name, answer)| format!("{name} {answer}\n")).concat() + x86_expected()
}

#[cfg(target_arch = "x86_64")]
fn x86_expected() -> &'static str {
    "mount by x32's number ENOSYS\nmount by the 32-bit entry EPERM\n"
}

#[cfg(not(target_arch = "x86_64"))]
fn x86_expected() -> &'static str {
    ""
}

/// Tries all; `outside` is a process of the host.
pub fn probe(outside: i64) {
    // SAFETY: every call gets zeros or numbers that no memory of this process is at; those that would succeed change nothing
    // that this program needs.
    unsafe {
        for (name, number) in REFUSED {
            tell(name, libc::syscall(number, 0, 0, 0, 0, 0));
        }
        tell("clone3", libc::syscall(libc::SYS_clone3, 0, 0));
        tell("a call of the future", libc::syscall(1000));
        let flags = libc::CLONE_NEWUSER | libc::SIGCHLD;
        tell("a user namespace by clone", libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0));
        tell("a host's virtual sockets", libc::syscall(libc::SYS_socket, libc::AF_VSOCK, libc::SOCK_STREAM, 0));
        tell("addresses without randomness", libc::syscall(libc::SYS_personality, libc::ADDR_NO_RANDOMIZE));
        tell("tracing what is outside", libc::syscall(libc::SYS_ptrace, libc::PTRACE_ATTACH, outside, 0, 0));
        tell("a signal to what is outside", libc::syscall(libc::SYS_kill, outside, 0));
        tell("the host's name", libc::syscall(libc::SYS_sethostname, c"x".as_ptr(), 1));
        // `CAP_SYS_ADMIN` in all sets, as `capset(2)` version 3 has them.
        let (header, sets) = ([0x2008_0522_u32, 0], [1_u32 << 21, 1 << 21, 0, 0, 0, 0]);
        tell("more capabilities", libc::syscall(libc::SYS_capset, header.as_ptr(), sets.as_ptr()));
        tell("a raw disk", raw_disk());
        tell("input to the terminal", libc::ioctl(0, libc::TIOCSTI, c"x".as_ptr()).into());
    }
    x86();
}

/// Makes the node of a disk, and opens it where that is possible.
unsafe fn raw_disk() -> i64 {
    // SAFETY: the texts end in zero.
    unsafe {
        if libc::mknod(c"/tmp/disk".as_ptr(), libc::S_IFBLK | 0o600, libc::makedev(254, 0)) != 0 {
            return -1;
        }
        match libc::open(c"/tmp/disk".as_ptr(), libc::O_RDONLY) {
            -1 => {
                // A device that may be made may not be opened: the same refusal to the program that wants it.
                *libc::__errno_location() = libc::EPERM;
                -1
            }
            fd => fd.into(),
        }
    }
}

fn tell(name: &str, result: i64) {
    let answer = match (result, io::Error::last_os_error().raw_os_error().unwrap_or(0)) {
        (0.., _) => "done".to_owned(),
        (_, libc::EPERM) => "EPERM".to_owned(),
        (_, libc::ENOSYS) => "ENOSYS".to_owned(),
        (_, libc::ESRCH) => "ESRCH".to_owned(),
        // No controlling terminal, and no terminal at all.
        (_, libc::ENOTTY | libc::EIO) => "ENOTTY".to_owned(),
        (_, other) => format!("errno {other}"),
    };
    println!("{name} {answer}");
}

#[cfg(target_arch = "x86_64")]
fn x86() {
    // SAFETY: `mount` with null pointers changes nothing.
    tell("mount by x32's number", unsafe { libc::syscall(libc::SYS_mount | 0x4000_0000, 0, 0, 0, 0, 0) });
    let answer: i32;
    // SAFETY: the 32-bit entry of the kernel keeps all registers but the result and r8 to r11; `mount`, 21 there, gets zeros.
    unsafe {
        std::arch::asm!("push rbx", "xor ebx, ebx", "int 0x80", "pop rbx", inlateout("eax") 21 => answer, in("ecx") 0, in("edx") 0,
            in("esi") 0, in("edi") 0, lateout("r8") _, lateout("r9") _, lateout("r10") _, lateout("r11") _);
        *libc::__errno_location() = -answer;
    }
    tell("mount by the 32-bit entry", if answer < 0 { -1 } else { 0 });
}

#[cfg(not(target_arch = "x86_64"))]
fn x86() {}
