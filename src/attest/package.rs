//! A package that is installed in a root file system.

use serde::{Deserialize, Serialize};

use super::purl::Purl;

/// Who names and installs packages of a kind: purl's types.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ecosystem {
    /// Alpine and its kin.
    Apk,
    /// Rust.
    Cargo,
    /// Debian and its kin.
    Deb,
    /// Go.
    Golang,
    /// Java.
    Maven,
    /// Node.
    Npm,
    /// Python.
    Pypi,
    /// Fedora, Red Hat, SUSE and their kin.
    Rpm,
}

impl Ecosystem {
    /// Returns purl's word.
    pub fn name(self) -> &'static str {
        match self {
            Ecosystem::Apk => "apk",
            Ecosystem::Cargo => "cargo",
            Ecosystem::Deb => "deb",
            Ecosystem::Golang => "golang",
            Ecosystem::Maven => "maven",
            Ecosystem::Npm => "npm",
            Ecosystem::Pypi => "pypi",
            Ecosystem::Rpm => "rpm",
        }
    }

    /// Says whether packages are those of a distribution, whose name is then part of theirs.
    fn is_of_distribution(self) -> bool {
        matches!(self, Ecosystem::Apk | Ecosystem::Deb | Ecosystem::Rpm)
    }
}

/// A package, as a database or the package itself describes it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Package {
    /// Its kind.
    pub ecosystem: Ecosystem,
    /// Group, scope or module path before the name; empty for none, and for packages of a distribution.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its version, for rpm with the release; empty where it is not recorded.
    pub version: String,
    /// `arch`, `epoch`, `upstream`, sorted by key.
    pub qualifiers: Vec<(String, String)>,
    /// As they are recorded, SPDX expressions or not; several hold together.
    pub licenses: Vec<String>,
    /// Who made or packed it; empty where it is not recorded.
    pub supplier: String,
    /// Path of the file that says so, without a leading `/`.
    pub location: String,
}

impl Package {
    /// Returns a package of which no more is known.
    pub fn new(ecosystem: Ecosystem, name: &str, version: &str, location: &str) -> Package {
        Package {
            ecosystem,
            namespace: String::new(),
            name: name.to_owned(),
            version: version.to_owned(),
            qualifiers: Vec::new(),
            licenses: Vec::new(),
            supplier: String::new(),
            location: location.to_owned(),
        }
    }

    /// Adds a qualifier, unless it is empty.
    pub fn qualify(&mut self, key: &str, value: &str) {
        if !value.is_empty() {
            self.qualifiers.push((key.to_owned(), value.to_owned()));
            self.qualifiers.sort();
        }
    }

    /// Returns its purl; `distribution` is that of the root file system.
    pub fn purl(&self, distribution: &Distribution) -> String {
        let is_of_distribution = self.ecosystem.is_of_distribution();
        let mut qualifiers: Vec<(&str, &str)> =
            self.qualifiers.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        let distro = distribution.name();
        if is_of_distribution {
            qualifiers.push(("distro", &distro));
            qualifiers.sort_unstable();
        }
        let namespace = if is_of_distribution { &distribution.id } else { &self.namespace };
        let (kind, name, version) = (self.ecosystem.name(), self.name.as_str(), self.version.as_str());
        Purl { kind, namespace, name, version, qualifiers: &qualifiers }.text()
    }
}

/// What `/etc/os-release` says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Distribution {
    /// `ID`, in lower case; empty where there is none.
    pub id: String,
    /// `VERSION_ID`; empty where there is none.
    pub version: String,
}

impl Distribution {
    /// Reads os-release(5).
    pub fn parse(text: &str) -> Distribution {
        let field = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='))?;
            Some(line.trim().trim_matches(['"', '\'']).to_owned())
        };
        Distribution {
            id: field("ID").unwrap_or_default().to_lowercase(),
            version: field("VERSION_ID").unwrap_or_default(),
        }
    }

    /// Returns `debian-12`; empty where there is no distribution.
    fn name(&self) -> String {
        match (self.id.as_str(), self.version.as_str()) {
            (id, "") => id.to_owned(),
            ("", _) => String::new(),
            (id, version) => format!("{id}-{version}"),
        }
    }
}

/// What is installed in a root file system.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Installed {
    /// Whose packages they are.
    pub distribution: Distribution,
    /// Sorted, each once.
    pub packages: Vec<Package>,
    /// What could not be read, and why, sorted.
    pub notes: Vec<String>,
}

impl Installed {
    /// Sorts what was found.
    pub fn settle(&mut self) {
        self.packages.sort();
        self.packages.dedup();
        self.notes.sort();
        self.notes.dedup();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_of_a_distribution_are_named_by_it() {
        let debian = Distribution::parse("PRETTY_NAME=\"Debian\"\nID=debian\nVERSION_ID=\"12\"\n");
        let mut package = Package::new(Ecosystem::Deb, "libc6", "2.36-9", "var/lib/dpkg/status");
        package.qualify("upstream", "glibc");
        package.qualify("arch", "amd64");
        let expected = "pkg:deb/debian/libc6@2.36-9?arch=amd64&distro=debian-12&upstream=glibc";
        assert_eq!(package.purl(&debian), expected);
        assert_eq!(package.purl(&Distribution::default()), "pkg:deb/libc6@2.36-9?arch=amd64&upstream=glibc");
        let mut scoped = Package::new(Ecosystem::Npm, "core", "7.0.0", "x");
        scoped.namespace = "@babel".to_owned();
        assert_eq!(scoped.purl(&debian), "pkg:npm/%40babel/core@7.0.0");
    }
}
