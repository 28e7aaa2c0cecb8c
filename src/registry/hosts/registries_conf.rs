//! `registries.conf` of the containers tools, version 2 (containers-registries.conf(5)).
//!
//! An entry is for the images whose names begin with its prefix; the longest prefix counts. Of the file the `[[registry]]`
//! tables are read: bake's short names are Docker's, so neither search registries nor aliases count.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{parse_toml, read_text};
use crate::reference::Reference;
use crate::registry::Error;

/// The `[[registry]]` tables of all files.
#[derive(Debug, Default)]
pub(super) struct RegistriesConf {
    entries: Vec<Entry>,
}

/// A `[[registry]]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Entry {
    #[serde(default)]
    prefix: String,
    #[serde(default)]
    location: String,
    #[serde(default)]
    pub(super) insecure: bool,
    #[serde(default)]
    pub(super) blocked: bool,
    #[serde(default)]
    mirror_by_digest_only: bool,
    #[serde(default, rename = "mirror")]
    mirrors: Vec<Mirror>,
    /// The file that it is in.
    #[serde(skip)]
    pub(super) path: PathBuf,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Mirror {
    location: String,
    #[serde(default)]
    insecure: bool,
    #[serde(default)]
    pull_from_mirror: Option<PullFrom>,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
enum PullFrom {
    All,
    DigestOnly,
    TagOnly,
}

/// Another place of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// `HOST[:PORT]`.
    pub(super) registry: String,
    pub(super) repository: String,
    pub(super) is_insecure: bool,
}

impl RegistriesConf {
    /// Reads the first of `files` that is there, and then the files `*.conf` of `directories` in the order of their names.
    /// An entry takes the place of an earlier one with its prefix.
    pub(super) fn load(files: &[PathBuf], directories: &[PathBuf]) -> Result<RegistriesConf, Error> {
        let mut conf = RegistriesConf::default();
        for path in files {
            if let Some(text) = read_text(path)? {
                conf.add(path, &text)?;
                break;
            }
        }
        for path in directories.iter().flat_map(|directory| dropped_in(directory)) {
            if let Some(text) = read_text(&path)? {
                conf.add(&path, &text)?;
            }
        }
        Ok(conf)
    }

    fn add(&mut self, path: &Path, text: &str) -> Result<(), Error> {
        #[derive(Deserialize)]
        struct File {
            #[serde(default)]
            registry: Vec<Entry>,
        }
        let file: File = parse_toml(path, text)?;
        for mut entry in file.registry {
            let wrong = |reason: &str| Error::Settings { path: path.to_owned(), reason: reason.to_owned() };
            entry.location = normalized(&entry.location);
            if entry.prefix.is_empty() {
                entry.prefix = entry.location.clone();
            }
            entry.prefix = normalized(&entry.prefix);
            if entry.prefix.is_empty() {
                return Err(wrong("a [[registry]] has neither `prefix` nor `location`"));
            }
            if entry.location.is_empty() && !entry.prefix.starts_with("*.") {
                entry.location = entry.prefix.clone();
            }
            for mirror in &mut entry.mirrors {
                mirror.location = normalized(&mirror.location);
                if mirror.location.is_empty() {
                    return Err(wrong("a [[registry.mirror]] has no `location`"));
                }
            }
            entry.path = path.to_owned();
            self.entries.retain(|earlier| earlier.prefix != entry.prefix);
            self.entries.push(entry);
        }
        Ok(())
    }

    /// Returns the entry for a repository: that with the longest prefix.
    pub(super) fn entry(&self, registry: &str, repository: &str) -> Option<&Entry> {
        let fitting = self.entries.iter().filter(|entry| entry.matched(registry, repository).is_some());
        fitting.max_by_key(|entry| entry.prefix.len())
    }
}

impl Entry {
    /// Returns what of `REGISTRY/REPOSITORY` is left behind the prefix.
    fn matched<'a>(&self, registry: &'a str, repository: &'a str) -> Option<&'a str> {
        if let Some(domain) = self.prefix.strip_prefix('*') {
            return registry.ends_with(domain).then_some(repository);
        }
        match self.prefix.split_once('/') {
            None => (self.prefix == registry).then_some(repository),
            Some((host, path)) if host == registry => {
                let rest = repository.strip_prefix(path)?;
                (rest.is_empty() || rest.starts_with('/')).then(|| rest.trim_start_matches('/'))
            }
            Some(_) => None,
        }
    }

    /// Returns where an image is pulled from besides the registry: the mirrors that serve its kind of reference, in order.
    pub(super) fn mirrors(&self, name: &Reference) -> Vec<Place> {
        let is_meant = |mirror: &&Mirror| match mirror.pull_from_mirror {
            None if self.mirror_by_digest_only => name.digest.is_some(),
            None | Some(PullFrom::All) => true,
            Some(PullFrom::DigestOnly) => name.digest.is_some(),
            Some(PullFrom::TagOnly) => name.digest.is_none(),
        };
        let place = |mirror: &Mirror| self.place(&mirror.location, name, mirror.insecure);
        self.mirrors.iter().filter(is_meant).filter_map(place).collect()
    }

    /// Returns where the registry's own images really are.
    pub(super) fn location(&self, name: &Reference) -> Option<Place> {
        self.place(&self.location, name, self.insecure)
    }

    /// Puts `location` in the place of the prefix.
    fn place(&self, location: &str, name: &Reference, is_insecure: bool) -> Option<Place> {
        if location.is_empty() {
            let (registry, repository) = (name.registry.clone(), name.repository.clone());
            return Some(Place { registry, repository, is_insecure });
        }
        let rest = self.matched(&name.registry, &name.repository)?;
        let (registry, path) = location.split_once('/').unwrap_or((location, ""));
        let repository =
            if path.is_empty() || rest.is_empty() { [path, rest].concat() } else { format!("{path}/{rest}") };
        Some(Place { registry: registry.to_owned(), repository, is_insecure })
    }
}

fn normalized(location: &str) -> String {
    location.trim_end_matches('/').to_owned()
}

/// Returns the files `*.conf` of a directory in the order of their names; none where it cannot be read.
fn dropped_in(directory: &Path) -> Vec<PathBuf> {
    #[expect(clippy::disallowed_methods, reason = "this row may read files; these are the host's, not the build's")]
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let is_conf = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "conf");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(is_conf).collect();
    paths.sort();
    paths
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conf(text: &str) -> RegistriesConf {
        let mut conf = RegistriesConf::default();
        conf.add(Path::new("registries.conf"), text).expect("it is right");
        conf
    }

    fn places(conf: &RegistriesConf, name: &str) -> Vec<String> {
        let name: Reference = name.parse().expect("a name");
        let Some(entry) = conf.entry(&name.registry, &name.repository) else { return Vec::new() };
        let places = entry.mirrors(&name).into_iter().chain(entry.location(&name));
        places.map(|p| format!("{}/{}{}", p.registry, p.repository, if p.is_insecure { "!" } else { "" })).collect()
    }

    const DIGEST: &str = "@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn the_longest_prefix_names_the_places() {
        let conf = conf(
            r#"
            unqualified-search-registries = ["x.example"]
            [[registry]]
            location = "docker.io"
            [[registry.mirror]]
            location = "m.example/hub/"
            [[registry.mirror]]
            location = "n.example:5000"
            insecure = true
            pull-from-mirror = "digest-only"
            [[registry]]
            prefix = "r.example/team"
            location = "internal.example/moved"
            [[registry]]
            prefix = "*.corp.example"
            insecure = true
            [[registry]]
            prefix = "r.example/team/api"
            "#,
        );
        assert_eq!(places(&conf, "busybox"), ["m.example/hub/library/busybox", "docker.io/library/busybox"]);
        let by_digest = ["m.example/hub/a/b", "n.example:5000/a/b!", "docker.io/a/b"];
        assert_eq!(places(&conf, &format!("a/b{DIGEST}")), by_digest);
        assert_eq!(places(&conf, "r.example/team/web:1"), ["internal.example/moved/web"]);
        assert_eq!(places(&conf, "r.example/team"), ["internal.example/moved"]);
        assert_eq!(places(&conf, "r.example/team/api"), ["r.example/team/api"]);
        assert_eq!(places(&conf, "r.example/teams"), Vec::<String>::new());
        assert_eq!(places(&conf, "a.corp.example/x"), ["a.corp.example/x!"]);
        assert_eq!(places(&conf, "corp.example/x"), Vec::<String>::new());
    }

    #[test]
    fn a_later_file_replaces_what_has_its_prefix() {
        let mut conf = conf("[[registry]]\nlocation = \"r.example\"\ninsecure = true");
        let later = "[[registry]]\nlocation = \"r.example\"\nblocked = true";
        conf.add(Path::new("later.conf"), later).expect("it is right");
        let entry = conf.entry("r.example", "x").expect("an entry");
        assert!(entry.blocked && !entry.insecure && entry.path == Path::new("later.conf"));
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        let error = |text: &str| {
            RegistriesConf::default().add(Path::new("/etc/r.conf"), text).expect_err("it is wrong").to_string()
        };
        let wrong = error("[[registry]]\nlocation = \"a\"\ninsecure = \"yes\"\n");
        assert!(wrong.starts_with("/etc/r.conf is wrong: line 3, column 12: invalid type: string"), "{wrong}");
        let nothing = "/etc/r.conf is wrong: a [[registry]] has neither `prefix` nor `location`";
        assert_eq!(error("[[registry]]\n"), nothing);
    }
}
