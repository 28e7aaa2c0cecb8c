//! A program of about 150 bytes for each machine: it writes the first bytes of its `argv[0]` and exits with 0.
//!
//! ```text
//! offset 0      ELF header (ELF-64 or ELF-32, the machine's byte order), entry at BASE + size of both headers
//! then          one program header: the whole file, readable and executable, at BASE
//! then          machine code: write(1, argv[0], LENGTH); exit(0)
//! ```
//!
//! By every ABI of Linux the stack pointer of a new process is at `argc`, and `argv[0]` is one word above it.

use crate::worker::sandbox::elf::Machine;

/// What the program is started as, and what it therefore prints.
pub(super) const NAME: &str = "bake-trial";

/// Where it is in memory: above what any kernel keeps from mapping, aligned to the largest page size.
const BASE: u64 = 0x40_0000;
const ALIGNMENT: u64 = 0x1_0000;

/// `ET_EXEC`, `EV_CURRENT`, `PT_LOAD`, `PF_X | PF_R` of elf(5).
const EXECUTABLE: u16 = 2;
const CURRENT: u32 = 1;
const LOAD: u32 = 1;
const READ_AND_EXECUTE: u32 = 5;

/// Machine code, the length of [`NAME`] in it as an immediate, and `e_flags`.
struct Code {
    architecture: &'static str,
    flags: u32,
    bytes: &'static [u8],
}

const AMD64: &[u8] = b"\
    \x48\x8b\x74\x24\x08\
    \xbf\x01\0\0\0\
    \xba\x0a\0\0\0\
    \xb8\x01\0\0\0\
    \x0f\x05\
    \x31\xff\
    \xb8\x3c\0\0\0\
    \x0f\x05"; // mov rsi,[rsp+8]; mov edi,1; mov edx,10; mov eax,1; syscall; xor edi,edi; mov eax,60; syscall

const I386: &[u8] = b"\
    \x8b\x4c\x24\x04\
    \xbb\x01\0\0\0\
    \xba\x0a\0\0\0\
    \xb8\x04\0\0\0\
    \xcd\x80\
    \x31\xdb\
    \xb8\x01\0\0\0\
    \xcd\x80"; // mov ecx,[esp+4]; mov ebx,1; mov edx,10; mov eax,4; int 0x80; xor ebx,ebx; mov eax,1; int 0x80

const ARM: &[u8] = b"\
    \x04\x10\x9d\xe5\
    \x01\0\xa0\xe3\
    \x0a\x20\xa0\xe3\
    \x04\x70\xa0\xe3\
    \0\0\0\xef\
    \0\0\xa0\xe3\
    \x01\x70\xa0\xe3\
    \0\0\0\xef"; // ldr r1,[sp,#4]; mov r0,#1; mov r2,#10; mov r7,#4; svc 0; mov r0,#0; mov r7,#1; svc 0

const ARM64: &[u8] = b"\
    \xe1\x07\x40\xf9\
    \x20\0\x80\xd2\
    \x42\x01\x80\xd2\
    \x08\x08\x80\xd2\
    \x01\0\0\xd4\
    \0\0\x80\xd2\
    \xa8\x0b\x80\xd2\
    \x01\0\0\xd4"; // ldr x1,[sp,#8]; mov x0,#1; mov x2,#10; mov x8,#64; svc 0; mov x0,#0; mov x8,#93; svc 0

const LOONG64: &[u8] = b"\
    \x65\x20\xc0\x28\
    \x04\x04\x80\x03\
    \x06\x28\x80\x03\
    \x0b\0\x81\x03\
    \0\0\x2b\0\
    \x04\0\x80\x03\
    \x0b\x74\x81\x03\
    \0\0\x2b\0"; // ld.d a1,sp,8; ori a0,zero,1; ori a2,zero,10; ori a7,zero,64; syscall 0; ori a0,zero,0; ori a7,zero,93; syscall 0

const MIPS64: &[u8] = b"\
    \xdf\xa5\0\x08\
    \x24\x04\0\x01\
    \x24\x06\0\x0a\
    \x24\x02\x13\x89\
    \0\0\0\x0c\
    \x24\x04\0\0\
    \x24\x02\x13\xc2\
    \0\0\0\x0c"; // ld a1,8(sp); li a0,1; li a2,10; li v0,5001; syscall; li a0,0; li v0,5058; syscall

const MIPS64LE: &[u8] = b"\
    \x08\0\xa5\xdf\
    \x01\0\x04\x24\
    \x0a\0\x06\x24\
    \x89\x13\x02\x24\
    \x0c\0\0\0\
    \0\0\x04\x24\
    \xc2\x13\x02\x24\
    \x0c\0\0\0"; // as MIPS64

const PPC64: &[u8] = b"\
    \xe8\x81\0\x08\
    \x38\x60\0\x01\
    \x38\xa0\0\x0a\
    \x38\0\0\x04\
    \x44\0\0\x02\
    \x38\x60\0\0\
    \x38\0\0\x01\
    \x44\0\0\x02"; // ld r4,8(r1); li r3,1; li r5,10; li r0,4; sc; li r3,0; li r0,1; sc

const PPC64LE: &[u8] = b"\
    \x08\0\x81\xe8\
    \x01\0\x60\x38\
    \x0a\0\xa0\x38\
    \x04\0\0\x38\
    \x02\0\0\x44\
    \0\0\x60\x38\
    \x01\0\0\x38\
    \x02\0\0\x44"; // as PPC64

const RISCV64: &[u8] = b"\
    \x83\x35\x81\0\
    \x13\x05\x10\0\
    \x13\x06\xa0\0\
    \x93\x08\0\x04\
    \x73\0\0\0\
    \x13\x05\0\0\
    \x93\x08\xd0\x05\
    \x73\0\0\0"; // ld a1,8(sp); li a0,1; li a2,10; li a7,64; ecall; li a0,0; li a7,93; ecall

const S390X: &[u8] = b"\
    \xe3\x30\xf0\x08\0\x04\
    \xa7\x29\0\x01\
    \xa7\x49\0\x0a\
    \x0a\x04\
    \xa7\x29\0\0\
    \x0a\x01"; // lg %r3,8(%r15); lghi %r2,1; lghi %r4,10; svc 4; lghi %r2,0; svc 1

/// `EF_ARM_EABI_VER5`; `EF_MIPS_ARCH_64R2`; version 2 of the 64-bit PowerPC ABI, in which the entry is code.
const CODES: [Code; 11] = [
    Code { architecture: "386", flags: 0, bytes: I386 },
    Code { architecture: "amd64", flags: 0, bytes: AMD64 },
    Code { architecture: "arm", flags: 0x0500_0000, bytes: ARM },
    Code { architecture: "arm64", flags: 0, bytes: ARM64 },
    Code { architecture: "loong64", flags: 0, bytes: LOONG64 },
    Code { architecture: "mips64", flags: 0x8000_0000, bytes: MIPS64 },
    Code { architecture: "mips64le", flags: 0x8000_0000, bytes: MIPS64LE },
    Code { architecture: "ppc64", flags: 2, bytes: PPC64 },
    Code { architecture: "ppc64le", flags: 2, bytes: PPC64LE },
    Code { architecture: "riscv64", flags: 0, bytes: RISCV64 },
    Code { architecture: "s390x", flags: 0, bytes: S390X },
];

/// Returns the program for `machine`; `None` for one that there is no code for.
pub(super) fn program(machine: &Machine) -> Option<Vec<u8>> {
    let code = CODES.iter().find(|code| code.architecture == machine.architecture)?;
    let is_wide = machine.class == 2;
    let (header_size, segment_size): (u16, u16) = if is_wide { (64, 56) } else { (52, 32) };
    let n_headers = u64::from(header_size) + u64::from(segment_size);
    let size = n_headers + code.bytes.len() as u64;
    let mut out = Writer { bytes: Vec::new(), is_wide, is_big: machine.data == 2 };
    out.bytes.extend([0x7f, b'E', b'L', b'F', machine.class, machine.data, 1, 0]);
    out.bytes.extend([0; 8]);
    out.half(EXECUTABLE).half(machine.number).word(CURRENT);
    // Entry, program headers, section headers.
    out.address(BASE + n_headers).address(header_size.into()).address(0);
    out.word(code.flags).half(header_size).half(segment_size).half(1).half(0).half(0).half(0);
    out.word(LOAD);
    if is_wide {
        out.word(READ_AND_EXECUTE);
    }
    // Offset, virtual and physical address, size in the file and in memory.
    out.address(0).address(BASE).address(BASE).address(size).address(size);
    if !is_wide {
        out.word(READ_AND_EXECUTE);
    }
    out.address(ALIGNMENT);
    out.bytes.extend(code.bytes);
    Some(out.bytes)
}

/// Writes numbers as a machine has them.
struct Writer {
    bytes: Vec<u8>,
    is_wide: bool,
    is_big: bool,
}

impl Writer {
    /// Writes the lowest `n` bytes of a number.
    fn number(&mut self, value: u64, n: usize) -> &mut Writer {
        match self.is_big {
            true => self.bytes.extend(&value.to_be_bytes()[8 - n..]),
            false => self.bytes.extend(&value.to_le_bytes()[..n]),
        }
        self
    }

    fn half(&mut self, value: u16) -> &mut Writer {
        self.number(value.into(), 2)
    }

    fn word(&mut self, value: u32) -> &mut Writer {
        self.number(value.into(), 4)
    }

    fn address(&mut self, value: u64) -> &mut Writer {
        self.number(value, if self.is_wide { 8 } else { 4 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::sandbox::elf::{self, MACHINES};
    use std::io::Write;

    #[test]
    fn there_is_a_static_program_for_each_machine() {
        for machine in &MACHINES {
            let mut file = tempfile::tempfile().expect("a temporary file");
            file.write_all(&program(machine).expect("code")).expect("written");
            assert_eq!(elf::machine(&file).expect("read"), Some(*machine));
            assert!(elf::is_static(&file).expect("read"), "{}", machine.architecture);
        }
        assert_eq!(NAME.len(), 10, "it is in the code");
    }
}
