//! The text databases of distributions: dpkg's status and apk's list.

use super::clean;
use crate::attest::package::{Ecosystem, Package};

/// Reads dpkg's status, or a file of `status.d`, which distroless images have (deb822(5)).
pub fn dpkg(text: &str, location: &str) -> Vec<Package> {
    text.split("\n\n").filter_map(|paragraph| dpkg_package(paragraph, location)).collect()
}

fn dpkg_package(paragraph: &str, location: &str) -> Option<Package> {
    let field = |name: &str| field(paragraph, name).unwrap_or_default();
    let (name, status) = (clean(field("Package")), field("Status"));
    // What was removed may have left its configuration; files of `status.d` have no status.
    if name.is_empty() || (!status.is_empty() && !status.ends_with(" installed")) {
        return None;
    }
    let mut package = Package::new(Ecosystem::Deb, &name, &clean(field("Version")), location);
    package.qualify("arch", &clean(field("Architecture")));
    // `Source: glibc (2.36-9)`: its version only where it is another one.
    let source = clean(field("Source"));
    if let Some((source, version)) = source.split_once(" (") {
        package.qualify("upstream", &format!("{source}@{}", version.trim_end_matches(')')));
    } else {
        package.qualify("upstream", &source);
    }
    package.supplier = clean(field("Maintainer"));
    Some(package)
}

/// Returns a field of a paragraph, its first line.
pub(super) fn field<'t>(paragraph: &'t str, name: &str) -> Option<&'t str> {
    paragraph.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}

/// Returns the licenses that a Debian `copyright` names in its machine-readable form (DEP 5), sorted; none for another form.
pub fn debian_licenses(copyright: &str) -> Vec<String> {
    if !copyright.lines().next().is_some_and(|line| line.starts_with("Format:") || line.starts_with("Format-Spec")) {
        return Vec::new();
    }
    let named = copyright.lines().filter_map(|line| line.strip_prefix("License:")).map(clean);
    let mut licenses: Vec<String> = named.filter(|name| !name.is_empty()).collect();
    licenses.sort();
    licenses.dedup();
    licenses
}

/// Reads apk's `installed` (apk-tools, *APKINDEX format*).
pub fn apk(text: &str, location: &str) -> Vec<Package> {
    let read = |paragraph: &str| {
        let field = |letter: &str| clean(field(paragraph, letter).unwrap_or_default());
        let name = field("P");
        if name.is_empty() {
            return None;
        }
        let mut package = Package::new(Ecosystem::Apk, &name, &field("V"), location);
        package.qualify("arch", &field("A"));
        package.qualify("upstream", &field("o"));
        package.licenses.extend(Some(field("L")).filter(|license| !license.is_empty()));
        package.supplier = field("m");
        Some(package)
    };
    text.split("\n\n").filter_map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_installed_counts_and_what_was_removed_does_not() {
        let text = "Package: libc6\nStatus: install ok installed\nMaintainer: A <a@b>\nArchitecture: amd64\nSource: glibc\n\
                    Version: 2.36-9\nDescription: x\n Package: no\n\n\
                    Package: gone\nStatus: deinstall ok config-files\nVersion: 1\n\n\
                    Package: base\nVersion: 1\nSource: other (2)\n\nnonsense\n\n";
        let found: Vec<String> = dpkg(text, "s").iter().map(|package| package.purl(&Default::default())).collect();
        assert_eq!(found, ["pkg:deb/libc6@2.36-9?arch=amd64&upstream=glibc", "pkg:deb/base@1?upstream=other%402"]);
    }

    #[test]
    fn licenses_come_from_the_machine_readable_form_alone() {
        let text = "Format: https://x/copyright-format/1.0/\n\nFiles: *\nLicense: GPL-2+\n text\n\nLicense: Expat\n";
        assert_eq!(debian_licenses(text), ["Expat", "GPL-2+"]);
        assert_eq!(debian_licenses("This was packaged by\nLicense: GPL\n"), Vec::<String>::new());
    }

    #[test]
    fn apk_has_letters() {
        let text = "C:Q1=\nP:musl\nV:1.2.5-r0\nA:x86_64\nL:MIT\no:musl\nF:lib\nR:x\n\nP:busybox\nV:1\n";
        let found = apk(text, "lib/apk/db/installed");
        assert_eq!((found.len(), found[0].licenses.clone()), (2, vec!["MIT".to_owned()]));
        assert_eq!(found[0].purl(&Default::default()), "pkg:apk/musl@1.2.5-r0?arch=x86_64&upstream=musl");
    }
}
