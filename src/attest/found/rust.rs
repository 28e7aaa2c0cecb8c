//! Crates of a Rust program that `cargo auditable` built: JSON, compressed, in a section of its own.

use std::io::Read as _;

use flate2::read::ZlibDecoder;
use serde_json::Value;

use super::{Bytes, clean, elf};
use crate::attest::package::{Ecosystem, Package};

/// Bytes of the section.
const MAX_SECTION: u64 = 8 << 20;

/// Bytes of the list; a program of a thousand crates has 100 KB.
const MAX_LIST: u64 = 64 << 20;

/// Returns the crates of `file`; none where it says nothing of them.
///
/// # Errors
/// What it says is no list of crates.
pub fn crates(file: &dyn Bytes, location: &str) -> Result<Vec<Package>, &'static str> {
    let Some(section) = elf::section(file, ".dep-v0", MAX_SECTION) else { return Ok(Vec::new()) };
    let mut list = Vec::new();
    let broken = "has a broken list of crates";
    ZlibDecoder::new(&section[..]).take(MAX_LIST).read_to_end(&mut list).map_err(|_| broken)?;
    let document: Value = serde_json::from_slice(&list).map_err(|_| broken)?;
    let crates = document["packages"].as_array().ok_or(broken)?;
    let read = |one: &Value| {
        let name = clean(one["name"].as_str()?);
        // What only the build needed is not in the program.
        let is_in_it = one["kind"].as_str().is_none_or(|kind| kind == "runtime");
        let package = Package::new(Ecosystem::Cargo, &name, &clean(one["version"].as_str().unwrap_or("")), location);
        (is_in_it && !name.is_empty()).then_some(package)
    };
    Ok(crates.iter().filter_map(read).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::write::ZlibEncoder;
    use std::io::Write as _;

    #[test]
    fn crates_are_those_of_the_program_and_not_of_its_build() {
        let list = br#"{"packages":[{"name":"app","version":"0.1.0","source":"local","root":true},
            {"name":"cc","version":"1.0.0","source":"crates.io","kind":"build"}]}"#;
        let mut encoder = ZlibEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(list).expect("written");
        let program = elf::tests::file(".dep-v0", &encoder.finish().expect("finished"));
        let found = crates(&&program[..], "bin/app").expect("read");
        let purls: Vec<String> = found.iter().map(|package| package.purl(&Default::default())).collect();
        assert_eq!(purls, ["pkg:cargo/app@0.1.0"]);
        assert!(crates(&&elf::tests::file(".dep-v0", b"nonsense")[..], "x").is_err());
        assert_eq!(crates(&&b"#!/bin/sh"[..], "x"), Ok(Vec::new()));
    }
}
