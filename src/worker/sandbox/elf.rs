//! The head of an ELF file: which machine is it for, and does it need a loader?

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// What tells one architecture's binaries from another's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Machine {
    /// As in a platform: `amd64`, `arm64`, …
    pub architecture: &'static str,
    /// `e_machine`.
    pub number: u16,
    /// `EI_CLASS`: 1 for 32 bits, 2 for 64.
    pub class: u8,
    /// `EI_DATA`: 1 for little endian, 2 for big.
    pub data: u8,
}

const fn machine_of(architecture: &'static str, number: u16, class: u8, data: u8) -> Machine {
    Machine { architecture, number, class, data }
}

/// The machines that platforms name, in order of architecture.
pub const MACHINES: [Machine; 11] = [
    machine_of("386", 3, 1, 1),
    machine_of("amd64", 62, 2, 1),
    machine_of("arm", 40, 1, 1),
    machine_of("arm64", 183, 2, 1),
    machine_of("loong64", 258, 2, 1),
    machine_of("mips64", 8, 2, 2),
    machine_of("mips64le", 8, 2, 1),
    machine_of("ppc64", 21, 2, 2),
    machine_of("ppc64le", 21, 2, 1),
    machine_of("riscv64", 243, 2, 1),
    machine_of("s390x", 22, 2, 2),
];

const N_HEAD: usize = 64;
const PT_INTERP: u32 = 3;

/// Returns the machine that the program in `file` is for; `None` if it is no ELF file or for a machine not in
/// [`MACHINES`].
pub fn machine(file: &File) -> io::Result<Option<Machine>> {
    let head = head(file)?;
    Ok(machine_in(&head))
}

/// Says whether the ELF program in `file` runs without a loader.
pub fn is_static(file: &File) -> io::Result<bool> {
    let head = head(file)?;
    let Some(machine) = machine_in(&head) else { return Ok(false) };
    let wide = machine.class == 2;
    let (offset_at, size_at, count_at) = if wide { (32, 54, 56) } else { (28, 42, 44) };
    let offset = number(&head, machine.data, offset_at, if wide { 8 } else { 4 });
    let (size, count) = (number(&head, machine.data, size_at, 2), number(&head, machine.data, count_at, 2));
    for index in 0..count {
        let mut kind = [0; 4];
        let at = offset.saturating_add(index * size);
        if file.read_at(&mut kind, at)? < kind.len() {
            return Ok(false);
        }
        if number(&kind, machine.data, 0, 4) == u64::from(PT_INTERP) {
            return Ok(false);
        }
    }
    Ok(count > 0)
}

fn head(file: &File) -> io::Result<[u8; N_HEAD]> {
    let mut head = [0; N_HEAD];
    let mut n_read = 0;
    while n_read < N_HEAD {
        match file.read_at(&mut head[n_read..], n_read as u64)? {
            0 => break,
            n => n_read += n,
        }
    }
    Ok(head)
}

fn machine_in(head: &[u8; N_HEAD]) -> Option<Machine> {
    let is_elf = head.starts_with(b"\x7fELF");
    let found =
        |m: &&Machine| head[4] == m.class && head[5] == m.data && number(head, m.data, 18, 2) == u64::from(m.number);
    if is_elf { MACHINES.iter().find(found).copied() } else { None }
}

fn number(bytes: &[u8], data: u8, at: usize, size: usize) -> u64 {
    let field = &bytes[at..at + size];
    let fold = |sum: u64, byte: &u8| (sum << 8) | u64::from(*byte);
    if data == 1 { field.iter().rev().fold(0, fold) } else { field.iter().fold(0, fold) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn file(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().expect("a temporary file");
        file.write_all(bytes).expect("written");
        file
    }

    #[test]
    fn own_program_is_for_this_machine() {
        let own = std::path::Path::new("/proc/self/exe");
        #[expect(clippy::disallowed_methods, reason = "a fixture that every test has")]
        let own = File::open(own).expect("opened");
        let expected = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        assert_eq!(machine(&own).expect("read").map(|m| m.architecture), Some(expected));
    }

    #[test]
    fn what_is_no_elf_file_has_no_machine() {
        for bytes in [&b""[..], b"#!/bin/sh\n", b"\x7fEL", b"\x7fELF\x02\x01"] {
            assert_eq!(machine(&file(bytes)).expect("read"), None);
            assert!(!is_static(&file(bytes)).expect("read"));
        }
    }

    #[test]
    fn big_endian_machines_are_told_from_little() {
        let mut head = [0; N_HEAD];
        head[..6].copy_from_slice(b"\x7fELF\x02\x02");
        head[19] = 22;
        assert_eq!(machine(&file(&head)).expect("read").map(|m| m.architecture), Some("s390x"));
    }
}
