//! Modules of a Go program, as its linker wrote them into it (Go's `debug/buildinfo`).

use super::{Bytes, clean, elf};
use crate::attest::package::{Ecosystem, Package};

const MAGIC: &[u8] = b"\xff Go buildinf:";

/// Bytes of the section; a program of a thousand modules has 100 KB.
const MAX_SECTION: u64 = 16 << 20;

/// Bytes before the texts.
const HEADER: usize = 32;

/// Bytes before and after the list of modules, by which a debugger finds it.
const SENTINEL: usize = 16;

/// Returns the modules of `file`, Go's own library first; none where it is no Go program.
///
/// # Errors
/// It is one that says nothing, or what is no list: says why.
pub fn modules(file: &dyn Bytes, location: &str) -> Result<Vec<Package>, &'static str> {
    let Some(section) = elf::section(file, ".go.buildinfo", MAX_SECTION) else { return Ok(Vec::new()) };
    let header =
        section.get(..HEADER).filter(|header| header.starts_with(MAGIC)).ok_or("has no Go build information")?;
    if header[15] & 2 == 0 {
        return Err("was made by Go before 1.18, whose list of modules is not read");
    }
    let mut rest = &section[HEADER..];
    let broken = "has broken Go build information";
    let version = text(&mut rest).ok_or(broken)?;
    let list = text(&mut rest).ok_or(broken)?;
    let version = String::from_utf8_lossy(version);
    let version = clean(version.split(' ').next().unwrap_or(""));
    let mut found = vec![Package::new(Ecosystem::Golang, "stdlib", version.trim_start_matches("go"), location)];
    let list = list.get(SENTINEL..list.len().saturating_sub(SENTINEL)).unwrap_or_default();
    for line in String::from_utf8_lossy(list).lines() {
        let mut words = line.split('\t');
        match (words.next(), words.next(), words.next()) {
            (Some("mod" | "dep"), Some(path), Some(version)) => found.extend(module(path, version, location)),
            // The module before is not what was linked. One that came from a directory has no better name than its own.
            (Some("=>"), Some(path), Some(version)) if found.len() > 1 && !path.starts_with(['.', '/']) => {
                found.pop();
                found.extend(module(path, version, location));
            }
            _ => {}
        }
    }
    Ok(found)
}

fn module(path: &str, version: &str, location: &str) -> Option<Package> {
    let path = clean(path);
    let (namespace, name) = path.rsplit_once('/').unwrap_or(("", &path));
    // What was built from a directory has no version.
    let version = if version == "(devel)" { "" } else { version };
    let mut package = Package::new(Ecosystem::Golang, name, &clean(version), location);
    package.namespace = namespace.to_owned();
    (!name.is_empty()).then_some(package)
}

/// Takes a text with its length before it (unsigned LEB128) from the front of `bytes`.
fn text<'b>(bytes: &mut &'b [u8]) -> Option<&'b [u8]> {
    let (mut length, mut shift) = (0_usize, 0);
    loop {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        length |= usize::from(byte & 0x7f) << shift;
        shift += 7;
        if byte & 0x80 == 0 {
            break;
        }
        if shift > 28 {
            return None;
        }
    }
    let (text, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(list: &str) -> Vec<u8> {
        let mut section = vec![0; HEADER];
        section[..MAGIC.len()].copy_from_slice(MAGIC);
        section[15] = 2;
        for part in [b"go1.22.1 X:x".to_vec(), [&[0; SENTINEL][..], list.as_bytes(), &[0; SENTINEL]].concat()] {
            assert!(part.len() < 1 << 14);
            section.extend_from_slice(&[part.len() as u8 | 0x80, (part.len() >> 7) as u8]);
            section.extend_from_slice(&part);
        }
        elf::tests::file(".go.buildinfo", &section)
    }

    #[test]
    fn modules_are_those_that_were_linked() {
        let list = "path\tcmd/x\nmod\tx.test/app\t(devel)\t\ndep\tx.test/a\tv1.0.0\th1:=\ndep\tx.test/b\tv1.0.0\n=>\tx.test/c\tv2.0.0\th1:=\nbuild\t-a\tb\n";
        let program = program(list);
        let found = modules(&&program[..], "bin/x").expect("read");
        let purls: Vec<String> = found.iter().map(|package| package.purl(&Default::default())).collect();
        let expected =
            ["golang/stdlib@1.22.1", "golang/x.test/app", "golang/x.test/a@v1.0.0", "golang/x.test/c@v2.0.0"];
        assert_eq!(purls, expected.map(|purl| format!("pkg:{purl}")));
        for end in 0..program.len() {
            _ = modules(&&program[..end], "x");
        }
        let section = |bytes: &[u8]| modules(&&elf::tests::file(".go.buildinfo", bytes)[..], "x");
        assert!(section(b"short").is_err());
        let endless = [MAGIC, &[0, 2], &[0; 16], &[0xff; 20]].concat();
        assert_eq!(section(&endless), Err("has broken Go build information"));
    }
}
