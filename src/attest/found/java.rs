//! Java archives: Maven's coordinates, else what the manifest says, also of the archives inside.

use super::{Bytes, clean, zip};
use crate::attest::package::{Ecosystem, Package};

/// Bytes of a text in an archive.
const MAX_TEXT: u64 = 1 << 20;

/// Bytes of an archive in an archive.
const MAX_INNER: u64 = 128 << 20;

/// How deep archives are opened: a program, its libraries, and what they bundle.
const MAX_DEPTH: usize = 3;

/// Bytes that are unpacked of one archive, the archives inside included.
const MAX_UNPACKED: u64 = 1 << 30;

/// Says whether a file is an archive of Java's, by its name.
pub fn is_archive(name: &str) -> bool {
    [".jar", ".war", ".ear", ".jpi", ".hpi"].iter().any(|suffix| name.ends_with(suffix))
}

/// Returns the packages of the archive at `location`.
///
/// # Errors
/// It is no archive.
pub fn archive(file: &dyn Bytes, location: &str) -> Result<Vec<Package>, &'static str> {
    let mut reader = Reader { found: Vec::new(), budget: MAX_UNPACKED };
    reader.read(file, location, 0).ok_or("is no zip archive")?;
    Ok(reader.found)
}

struct Reader {
    found: Vec<Package>,
    /// Bytes that may still be unpacked.
    budget: u64,
}

impl Reader {
    fn read(&mut self, file: &dyn Bytes, location: &str, depth: usize) -> Option<()> {
        let entries = zip::entries(file)?;
        let n_before = self.found.len();
        let coordinates_of = |name: &str| name.starts_with("META-INF/maven/") && name.ends_with("/pom.properties");
        for entry in entries.iter().filter(|entry| coordinates_of(&entry.name)) {
            let text = self.text(file, entry);
            self.found.extend(coordinates(&text, location));
        }
        let manifest = entries.iter().find(|entry| entry.name == "META-INF/MANIFEST.MF");
        if let Some(manifest) = manifest.filter(|_| self.found.len() == n_before) {
            let text = self.text(file, manifest);
            self.found.extend(from_manifest(&text, location));
        }
        for entry in entries.iter().filter(|entry| depth + 1 < MAX_DEPTH && is_archive(&entry.name)) {
            if let Some(inner) = self.unpack(file, entry, MAX_INNER) {
                // One that is broken says nothing, as one that says nothing does.
                _ = self.read(&&inner[..], &format!("{location}!{}", clean(&entry.name)), depth + 1);
            }
        }
        Some(())
    }

    fn text(&mut self, file: &dyn Bytes, entry: &zip::Entry) -> String {
        let bytes = self.unpack(file, entry, MAX_TEXT).unwrap_or_default();
        String::from_utf8_lossy(&bytes).replace("\r\n", "\n")
    }

    fn unpack(&mut self, file: &dyn Bytes, entry: &zip::Entry, max: u64) -> Option<Vec<u8>> {
        let max = max.min(self.budget);
        let content = zip::read(file, entry, max);
        // What is too large was unpacked as far as that.
        self.budget -= content.as_ref().map_or(max, |content| content.len() as u64);
        content
    }
}

/// Reads `pom.properties`.
fn coordinates(text: &str, location: &str) -> Option<Package> {
    let value = |key: &str| text.lines().find_map(|line| line.trim().strip_prefix(key)?.strip_prefix('=')).map(clean);
    let mut package = Package::new(Ecosystem::Maven, &value("artifactId")?, &value("version")?, location);
    package.namespace = value("groupId")?;
    Some(package)
}

/// Reads a manifest (*JAR File Specification*): a line that begins with a blank goes on with the one before. The archive's
/// file name is its name if the manifest has none.
fn from_manifest(text: &str, location: &str) -> Option<Package> {
    let text = text.replace("\n ", "");
    let main = text.split("\n\n").next()?;
    let value = |keys: [&str; 3]| {
        keys.iter().find_map(|key| super::system::field(main, key)).map(clean).filter(|value| !value.is_empty())
    };
    let version = value(["Implementation-Version", "Bundle-Version", "Specification-Version"])?;
    let file = location.rsplit('/').next()?;
    let file = file.rsplit_once('.').map_or(file, |(stem, _)| stem);
    let file = file.strip_suffix(&format!("-{version}")).unwrap_or(file);
    let name = value(["Bundle-SymbolicName", "Automatic-Module-Name", "Implementation-Title"]);
    let name = name.filter(|name| !name.contains(' ')).map(|name| name.split(';').next().unwrap_or("").to_owned());
    let mut package = Package::new(Ecosystem::Maven, &name.unwrap_or_else(|| clean(file)), &version, location);
    package.supplier = value(["Implementation-Vendor", "Bundle-Vendor", "Specification-Vendor"]).unwrap_or_default();
    package.licenses.extend(value(["Bundle-License", "Bundle-License", "Bundle-License"]));
    Some(package)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made with Python's zipfile: `app.jar` with a manifest and, stored, `BOOT-INF/lib/lib.jar` with Maven's coordinates.
    const ARCHIVE: &[u8] = include_bytes!("../../../tests/fixtures/attest/app.jar");

    #[test]
    fn archives_in_an_archive_are_read() {
        let found = archive(&ARCHIVE, "srv/app-1.2.jar").expect("read");
        let purls: Vec<String> = found.iter().map(|package| package.purl(&Default::default())).collect();
        assert_eq!(purls, ["pkg:maven/app@1.2", "pkg:maven/org.test/lib@3.4"]);
        assert_eq!(found[1].location, "srv/app-1.2.jar!BOOT-INF/lib/lib.jar");
    }

    #[test]
    fn no_cut_and_no_changed_byte_is_more_than_an_error() {
        for end in 0..ARCHIVE.len() {
            _ = archive(&&ARCHIVE[..end], "x");
        }
        for at in 0..ARCHIVE.len() {
            for value in [0, 0x7f, 0xff] {
                let mut changed = ARCHIVE.to_vec();
                changed[at] = value;
                _ = archive(&&changed[..], "x");
            }
        }
    }
}
