//! The system call filter: what a process without `CAP_SYS_ADMIN` is refused by Docker's default profile, refused here.
//!
//! A list of what is denied, not of what is allowed: the capabilities and name spaces already bound the rest, and a
//! filter that is short stays cheap under emulation. Numbers are per ABI, so that the 32-bit entry points of a 64-bit
//! kernel are no way round. Numbers newer than this table answer "no such call", as an old kernel would.

use std::io;

/// Places in a row of [`DENIED`].
#[derive(Clone, Copy)]
enum Abi {
    X86_64 = 0,
    I386 = 1,
    Arm64 = 2,
    Arm = 3,
}

impl Abi {
    /// `AUDIT_ARCH_*` of linux/audit.h.
    const fn audit_arch(self) -> u32 {
        match self {
            Abi::X86_64 => 0xc000_003e,
            Abi::I386 => 0x4000_0003,
            Abi::Arm64 => 0xc000_00b7,
            Abi::Arm => 0x4000_0028,
        }
    }
}

/// Refused with `EPERM`: name and number on x86-64, i386, arm64, arm; -1 where the ABI has none.
#[rustfmt::skip]
const DENIED: [(&str, [i32; 4]); 63] = [
    ("_sysctl", [156, 149, -1, 149]),
    ("acct", [163, 51, 89, 51]),
    ("add_key", [248, 286, 217, 309]),
    ("bpf", [321, 357, 280, 386]),
    ("clock_adjtime", [305, 343, 266, 372]),
    ("clock_adjtime64", [-1, 405, 405, 405]),
    ("clock_settime", [227, 264, 112, 262]),
    ("clock_settime64", [-1, 404, 404, 404]),
    ("create_module", [174, 127, -1, -1]),
    ("delete_module", [176, 129, 106, 129]),
    ("fanotify_init", [300, 338, 262, 367]),
    ("finit_module", [313, 350, 273, 379]),
    ("fsconfig", [431, 431, 431, 431]),
    ("fsmount", [432, 432, 432, 432]),
    ("fsopen", [430, 430, 430, 430]),
    ("fspick", [433, 433, 433, 433]),
    ("get_kernel_syms", [177, 130, -1, -1]),
    ("get_mempolicy", [239, 275, 236, 320]),
    ("init_module", [175, 128, 105, 128]),
    ("io_uring_enter", [426, 426, 426, 426]),
    ("io_uring_register", [427, 427, 427, 427]),
    ("io_uring_setup", [425, 425, 425, 425]),
    ("ioperm", [173, 101, -1, -1]),
    ("iopl", [172, 110, -1, -1]),
    ("kcmp", [312, 349, 272, 378]),
    ("kexec_file_load", [320, -1, 294, 401]),
    ("kexec_load", [246, 283, 104, 347]),
    ("keyctl", [250, 288, 219, 311]),
    ("lookup_dcookie", [212, 253, 18, 249]),
    ("mbind", [237, 274, 235, 319]),
    ("migrate_pages", [256, 294, 238, 400]),
    ("mount", [165, 21, 40, 21]),
    ("mount_setattr", [442, 442, 442, 442]),
    ("move_mount", [429, 429, 429, 429]),
    ("move_pages", [279, 317, 239, 344]),
    ("nfsservctl", [180, 169, 42, 169]),
    ("open_by_handle_at", [304, 342, 265, 371]),
    ("open_tree", [428, 428, 428, 428]),
    ("perf_event_open", [298, 336, 241, 364]),
    ("pivot_root", [155, 217, 41, 218]),
    ("query_module", [178, 167, -1, -1]),
    ("quotactl", [179, 131, 60, 131]),
    ("quotactl_fd", [443, 443, 443, 443]),
    ("reboot", [169, 88, 142, 88]),
    ("request_key", [249, 287, 218, 310]),
    ("set_mempolicy", [238, 276, 237, 321]),
    ("set_mempolicy_home_node", [450, 450, 450, 450]),
    ("setns", [308, 346, 268, 375]),
    ("settimeofday", [164, 79, 170, 79]),
    ("stime", [-1, 25, -1, -1]),
    ("swapoff", [168, 115, 225, 115]),
    ("swapon", [167, 87, 224, 87]),
    ("sysfs", [139, 135, -1, 135]),
    ("syslog", [103, 103, 116, 103]),
    ("umount", [-1, 22, -1, -1]),
    ("umount2", [166, 52, 39, 52]),
    ("unshare", [272, 310, 97, 337]),
    ("uselib", [134, 86, -1, 86]),
    ("userfaultfd", [323, 374, 282, 388]),
    ("ustat", [136, 62, -1, 62]),
    ("vhangup", [153, 111, 58, 111]),
    ("vm86", [-1, 166, -1, -1]),
    ("vm86old", [-1, 113, -1, -1]),
];

const CLONE: [u32; 4] = [56, 120, 220, 120];
const CLONE3: u32 = 435;
const PERSONALITY: [u32; 4] = [135, 136, 92, 136];
const SOCKET: [u32; 4] = [41, 359, 198, 281];
/// The newest call known: `removexattrat` of Linux 6.13.
const LAST: u32 = 466;
/// x32 calls have this bit on x86-64.
const X32_BIT: u32 = 0x4000_0000;
/// Calls private to the ARM ABI (`set_tls`, `cacheflush`) start here.
const ARM_PRIVATE: u32 = 0x000f_0000;

/// All `CLONE_NEW*` that `clone` takes: a process makes no name spaces.
const NEW_NAMESPACES: u32 = (libc::CLONE_NEWNS
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWCGROUP) as u32;
/// `personality` values that change nothing of consequence: Linux, `UNAME26`, `PER_LINUX32`, both, and the query.
const PERSONALITIES: [u32; 5] = [0, 0x0002_0000, 0x0008, 0x0002_0008, 0xffff_ffff];
const AF_VSOCK: u32 = 40;

// Offsets in `struct seccomp_data`; an argument's low half comes first on little-endian machines.
const NR: u32 = 0;
const ARCH: u32 = 4;
const ARGUMENT_0: u32 = 16;

const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
const REFUSE: u32 = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;
const NO_SUCH_CALL: u32 = libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32;

/// Returns the filter for this machine; empty for machines that the table does not know.
pub fn program() -> Vec<libc::sock_filter> {
    let abis: &[Abi] = match std::env::consts::ARCH {
        "x86_64" => &[Abi::X86_64, Abi::I386],
        "aarch64" => &[Abi::Arm64, Abi::Arm],
        _ => return Vec::new(),
    };
    let mut program = vec![load(ARCH)];
    for abi in abis {
        let section = section(*abi);
        let length = u32::try_from(section.len()).expect("a section has some hundred instructions");
        program.push(jump(libc::BPF_JEQ, abi.audit_arch(), 1, 0));
        program.push(statement(libc::BPF_JMP | libc::BPF_JA, length));
        program.extend(section);
    }
    program.push(ret(NO_SUCH_CALL));
    program
}

/// Puts the filter over this thread and all it will start. Needs `CAP_SYS_ADMIN` in the user namespace, because
/// `no_new_privs` stays off for sudo's sake.
pub fn install(program: &mut [libc::sock_filter]) -> io::Result<()> {
    if program.is_empty() {
        return Ok(());
    }
    let length = u16::try_from(program.len()).expect("a filter has some hundred instructions");
    let filter = libc::sock_fprog { len: length, filter: program.as_mut_ptr() };
    let flags = libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW;
    // SAFETY: `filter` points to `length` initialised instructions that outlive the call; the kernel copies them.
    let result = unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const filter) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Everything one ABI's calls are checked for; ends in a return on every way through.
fn section(abi: Abi) -> Vec<libc::sock_filter> {
    let column = abi as usize;
    let mut section = vec![load(NR)];
    match abi {
        Abi::Arm => section.extend([
            jump(libc::BPF_JGE, ARM_PRIVATE, 0, 1),
            ret(ALLOW),
            jump(libc::BPF_JGT, LAST, 0, 1),
            ret(NO_SUCH_CALL),
        ]),
        Abi::X86_64 => section.extend([
            jump(libc::BPF_JGE, X32_BIT, 0, 1),
            ret(NO_SUCH_CALL),
            jump(libc::BPF_JGT, LAST, 0, 1),
            ret(NO_SUCH_CALL),
        ]),
        Abi::I386 | Abi::Arm64 => section.extend([jump(libc::BPF_JGT, LAST, 0, 1), ret(NO_SUCH_CALL)]),
    }
    // Its flags are behind a pointer, out of a filter's sight; C libraries fall back to `clone` (as Docker's profile).
    section.extend([jump(libc::BPF_JEQ, CLONE3, 0, 1), ret(NO_SUCH_CALL)]);
    let numbers = DENIED.iter().filter_map(|(_, numbers)| u32::try_from(numbers[column]).ok());
    section.extend(numbers.flat_map(|number| [jump(libc::BPF_JEQ, number, 0, 1), ret(REFUSE)]));
    section.extend([
        jump(libc::BPF_JEQ, CLONE[column], 0, 4),
        load(ARGUMENT_0),
        jump(libc::BPF_JSET, NEW_NAMESPACES, 0, 1),
        ret(REFUSE),
        ret(ALLOW),
        jump(libc::BPF_JEQ, SOCKET[column], 0, 4),
        load(ARGUMENT_0),
        jump(libc::BPF_JEQ, AF_VSOCK, 0, 1),
        ret(REFUSE),
        ret(ALLOW),
        jump(libc::BPF_JEQ, PERSONALITY[column], 1, 0),
        ret(ALLOW),
        load(ARGUMENT_0),
    ]);
    section.extend(PERSONALITIES.iter().flat_map(|value| [jump(libc::BPF_JEQ, *value, 0, 1), ret(ALLOW)]));
    section.push(ret(REFUSE));
    section
}

fn load(offset: u32) -> libc::sock_filter {
    statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, offset)
}

fn ret(value: u32) -> libc::sock_filter {
    statement(libc::BPF_RET | libc::BPF_K, value)
}

fn statement(code: u32, k: u32) -> libc::sock_filter {
    libc::sock_filter { code: code as u16, jt: 0, jf: 0, k }
}

/// Goes on `jt` instructions further if the test is true, `jf` if not.
fn jump(test: u32, k: u32, jt: u8, jf: u8) -> libc::sock_filter {
    libc::sock_filter { code: (libc::BPF_JMP | test | libc::BPF_K) as u16, jt, jf, k }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs the filter as the kernel would.
    fn verdict(program: &[libc::sock_filter], arch: u32, nr: u32, argument: u32) -> u32 {
        let (mut at, mut accumulator) = (0, 0);
        loop {
            let step = program[at];
            at += 1;
            let code = u32::from(step.code);
            let mut test = |is_true: bool| at += usize::from(if is_true { step.jt } else { step.jf });
            if code == (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) {
                accumulator = match step.k {
                    NR => nr,
                    ARCH => arch,
                    ARGUMENT_0 => argument,
                    other => panic!("a load of {other}"),
                };
            } else if code == (libc::BPF_JMP | libc::BPF_JA) {
                at += step.k as usize;
            } else if code == (libc::BPF_JMP | libc::BPF_JEQ) {
                test(accumulator == step.k);
            } else if code == (libc::BPF_JMP | libc::BPF_JGE) {
                test(accumulator >= step.k);
            } else if code == (libc::BPF_JMP | libc::BPF_JGT) {
                test(accumulator > step.k);
            } else if code == (libc::BPF_JMP | libc::BPF_JSET) {
                test(accumulator & step.k != 0);
            } else {
                assert_eq!(code, libc::BPF_RET | libc::BPF_K);
                return step.k;
            }
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn both_entry_points_refuse_the_same() {
        let program = program();
        let (wide, narrow) = (Abi::X86_64.audit_arch(), Abi::I386.audit_arch());
        for (arch, nr, argument, expected) in [
            (wide, libc::SYS_mount as u32, 0, REFUSE),
            (narrow, 21, 0, REFUSE),
            (wide, libc::SYS_unshare as u32, libc::CLONE_NEWUSER as u32, REFUSE),
            (wide, libc::SYS_clone as u32, libc::CLONE_NEWUSER as u32, REFUSE),
            (wide, libc::SYS_clone as u32, libc::SIGCHLD as u32, ALLOW),
            (wide, libc::SYS_clone3 as u32, 0, NO_SUCH_CALL),
            (wide, libc::SYS_ptrace as u32, 0, ALLOW),
            (wide, libc::SYS_personality as u32, 0xffff_ffff, ALLOW),
            (wide, libc::SYS_personality as u32, 0x0040_0000, REFUSE),
            (wide, libc::SYS_socket as u32, libc::AF_INET as u32, ALLOW),
            (wide, libc::SYS_socket as u32, AF_VSOCK, REFUSE),
            (narrow, SOCKET[1], AF_VSOCK, REFUSE),
            (wide, libc::SYS_read as u32, 0, ALLOW),
            (wide, X32_BIT + 1, 0, NO_SUCH_CALL),
            (wide, LAST + 1, 0, NO_SUCH_CALL),
            (Abi::Arm64.audit_arch(), 0, 0, NO_SUCH_CALL),
        ] {
            assert_eq!(verdict(&program, arch, nr, argument), expected, "{arch:x} {nr} {argument:x}");
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn numbers_are_the_kernels() {
        let number = |name: &str| DENIED.iter().find(|(n, _)| *n == name).map(|(_, numbers)| i64::from(numbers[0]));
        for (name, expected) in [
            ("bpf", libc::SYS_bpf),
            ("keyctl", libc::SYS_keyctl),
            ("kexec_load", libc::SYS_kexec_load),
            ("mount_setattr", libc::SYS_mount_setattr),
            ("umount2", libc::SYS_umount2),
            ("userfaultfd", libc::SYS_userfaultfd),
            ("io_uring_setup", libc::SYS_io_uring_setup),
        ] {
            assert_eq!(number(name), Some(expected), "{name}");
        }
    }
}
