//! Files with logins: Docker's `config.json`, and `auth.json` of the containers tools, which has the same form.
//!
//! ```text
//! {"auths": {KEY: {"auth": base64 of USER:PASSWORD} | {"identitytoken"} | {"registrytoken"} | {}},
//!  "credsStore": HELPER, "credHelpers": {KEY: HELPER}, …}
//! ```
//! A key is `HOST[:PORT]`, or a URL, whose path does not count; the containers tools also know `HOST/REPOSITORY`. Nothing
//! here shows what is in such a file.

use std::collections::BTreeMap;
use std::io::{self, Read, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::{Deserialize, Serialize as _};
use serde_json::{Map, Value};

use super::Error;
use super::credentials::Credential;
use crate::reference::DEFAULT_REGISTRY;
use crate::sys::replace::Replacement;

/// Most bytes that a file with logins may have.
const MAX_SIZE: u64 = 1 << 20;

/// The name under which Docker keeps the credentials of `docker.io`.
const DOCKER_HUB_KEY: &str = "https://index.docker.io/v1/";

/// Whose file it is, and so what its keys mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// `HOST/PATH` stands for the host.
    Docker,
    /// `HOST/PATH` stands for the repositories below it alone.
    Containers,
}

/// The fields about logins.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Logins {
    auths: BTreeMap<String, Auth>,
    creds_store: String,
    cred_helpers: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Auth {
    auth: String,
    username: String,
    password: String,
    identitytoken: String,
    registrytoken: String,
}

impl Logins {
    /// Reads a file; one that is not there is an empty one.
    pub(super) fn load(path: &Path) -> Result<Logins, String> {
        let Some(bytes) = read(path).map_err(|error| error.to_string())? else { return Ok(Logins::default()) };
        serde_json::from_slice(&bytes).map_err(|error| malformed(&error))
    }

    /// Returns the helper that keeps the login of a registry, if one does.
    pub(super) fn helper(&self, registry: &str) -> Option<&str> {
        let own = self.cred_helpers.iter().find(|(key, _)| is_host(key, registry)).map(|(_, helper)| helper);
        // An empty one opts out of the store for all.
        Some(own.unwrap_or(&self.creds_store).as_str()).filter(|helper| !helper.is_empty())
    }

    /// Returns what the file itself has for a repository: the entry with the longest path first.
    pub(super) fn credential(
        &self,
        registry: &str,
        repository: &str,
        owner: Owner,
    ) -> Result<Option<Credential>, &'static str> {
        let fitting = self.auths.iter().filter_map(|(key, auth)| Some((fit(key, registry, repository, owner)?, auth)));
        let mut fitting: Vec<(usize, &Auth)> = fitting.collect();
        fitting.sort_by_key(|(fit, _)| std::cmp::Reverse(*fit));
        fitting.into_iter().find_map(|(_, auth)| credential_of(auth).transpose()).transpose()
    }

    /// Says whether one login serves for all repositories of a registry.
    pub(super) fn has_paths(&self, registry: &str) -> bool {
        self.auths.keys().any(|key| host_and_path(key).is_some_and(|(host, _)| is_name_of(host, registry)))
    }
}

/// Returns the name that Docker keeps a registry's login under, in files and in helpers.
pub(super) fn key_of(registry: &str) -> &str {
    if registry == DEFAULT_REGISTRY { DOCKER_HUB_KEY } else { registry }
}

/// Puts an entry in place of those for the registry. Without user and password the entry says that a helper has them.
pub(super) fn put(path: &Path, registry: &str, login: Option<(&str, &str)>) -> Result<(), Error> {
    let mut entry = Map::new();
    if let Some((user, password)) = login {
        let text = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
        entry.insert("auth".to_owned(), Value::String(text));
    }
    change(path, |auths| {
        // An entry of the name keeps its place among the others.
        auths.retain(|key, _| key == key_of(registry) || !is_host(key, registry));
        auths.insert(key_of(registry).to_owned(), Value::Object(entry));
        true
    })
    .map(drop)
}

/// Takes the entries for a registry out; `false` if there was none.
pub(super) fn remove(path: &Path, registry: &str) -> Result<bool, Error> {
    change(path, |auths| {
        let before = auths.len();
        auths.retain(|key, _| !is_host(key, registry));
        auths.len() < before
    })
}

/// Changes `auths` and nothing else; writes the file, whole or not at all, if `change` says so.
fn change(path: &Path, change: impl FnOnce(&mut Map<String, Value>) -> bool) -> Result<bool, Error> {
    let unreadable = |reason: String| Error::Config { path: path.to_owned(), reason };
    let bytes = read(path).map_err(|error| unreadable(error.to_string()))?;
    let mut file: Map<String, Value> = match &bytes {
        Some(bytes) => serde_json::from_slice(bytes).map_err(|error| unreadable(malformed(&error)))?,
        None => Map::new(),
    };
    let auths = file.entry("auths").or_insert_with(|| Value::Object(Map::new()));
    let Value::Object(auths) = auths else { return Err(unreadable("`auths` is no object".to_owned())) };
    if !change(auths) {
        return Ok(false);
    }
    write(path, &file).map_err(|source| Error::KeepLogin { path: path.to_owned(), source })?;
    Ok(true)
}

#[expect(clippy::disallowed_methods, reason = "this row may read files; this one is the user's, not the build's")]
fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::new();
    file.take(MAX_SIZE).read_to_end(&mut bytes)?;
    // An empty file is what some tools make of no logins.
    Ok(Some(bytes).filter(|bytes| !bytes.is_empty()))
}

/// Writes as Docker does, for its owner alone. A link goes on leading to the file.
fn write(path: &Path, file: &Map<String, Value>) -> io::Result<()> {
    let path: PathBuf = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    if let Some(directory) = path.parent() {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    }
    let mut replacement = Replacement::begin(&path, 0o600)?;
    let mut bytes = Vec::new();
    let form = serde_json::ser::PrettyFormatter::with_indent(b"\t");
    file.serialize(&mut serde_json::Serializer::with_formatter(&mut bytes, form))?;
    replacement.write_all(&bytes)?;
    replacement.file().sync_all()?;
    replacement.persist(&path)
}

/// The text of a JSON error may quote a value; its place does not.
fn malformed(error: &serde_json::Error) -> String {
    format!("malformed JSON at line {} column {}", error.line(), error.column())
}

/// Says whether a host is a registry by one of its names.
fn is_name_of(host: &str, registry: &str) -> bool {
    match registry {
        DEFAULT_REGISTRY => matches!(host, "docker.io" | "index.docker.io" | "registry-1.docker.io"),
        _ => host.eq_ignore_ascii_case(registry),
    }
}

/// Splits `HOST/REPOSITORY`; `None` for what stands for all of a host.
fn host_and_path(key: &str) -> Option<(&str, &str)> {
    let (host, path) = key.split_once('/').filter(|_| !key.contains("://"))?;
    let path = path.trim_end_matches('/');
    (!matches!(path, "" | "v1" | "v2")).then_some((host, path))
}

/// Says whether a key stands for all of a registry.
fn is_host(key: &str, registry: &str) -> bool {
    let rest = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    host_and_path(key).is_none() && is_name_of(rest.split('/').next().unwrap_or_default(), registry)
}

/// Says how well a key fits a repository; more is better, `None` is not at all.
fn fit(key: &str, registry: &str, repository: &str, owner: Owner) -> Option<usize> {
    const OTHER_PATH: usize = 0;
    const URL: usize = 1;
    const HOST: usize = 2;
    match host_and_path(key) {
        None if key == registry => Some(HOST),
        None => is_host(key, registry).then_some(URL),
        Some((host, _)) if !is_name_of(host, registry) => None,
        Some((_, path)) => {
            let is_below = repository.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
            match owner {
                _ if is_below => Some(HOST + 1 + path.len()),
                Owner::Docker => Some(OTHER_PATH),
                Owner::Containers => None,
            }
        }
    }
}

fn credential_of(auth: &Auth) -> Result<Option<Credential>, &'static str> {
    if !auth.registrytoken.is_empty() {
        return Ok(Some(Credential::RegistryToken(auth.registrytoken.clone())));
    }
    if !auth.identitytoken.is_empty() {
        return Ok(Some(Credential::IdentityToken(auth.identitytoken.clone())));
    }
    if auth.auth.is_empty() {
        let (user, password) = (auth.username.clone(), auth.password.clone());
        return Ok(Some(Credential::Password { user, password }).filter(|_| !auth.username.is_empty()));
    }
    let config = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let decoded = GeneralPurpose::new(&base64::alphabet::STANDARD, config).decode(&auth.auth).ok();
    let text = decoded.and_then(|bytes| String::from_utf8(bytes).ok()).ok_or("an `auth` field is no base64 text")?;
    // Docker pads passwords with NUL.
    let (user, password) = text.split_once(':').ok_or("an `auth` field has no `user:password` in it")?;
    Ok(Some(Credential::Password { user: user.to_owned(), password: password.trim_end_matches('\0').to_owned() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_with_a_path_stands_for_the_repositories_below_it() {
        let best = |registry: &str, repository: &str, owner: Owner| {
            let keys = ["r.example", "https://r.example/v2/", "r.example/team", "r.example/team/api", "s.example/team"];
            let fitting = keys.iter().filter_map(|key| Some((fit(key, registry, repository, owner)?, *key)));
            fitting.max().map(|(_, key)| key)
        };
        assert_eq!(best("r.example", "team/api", Owner::Containers), Some("r.example/team/api"));
        assert_eq!(best("r.example", "team/api2", Owner::Containers), Some("r.example/team"));
        assert_eq!(best("r.example", "teams", Owner::Containers), Some("r.example"));
        assert_eq!(best("s.example", "other", Owner::Containers), None);
        assert_eq!(best("s.example", "other", Owner::Docker), Some("s.example/team"));
        assert_eq!(best("s.example:443", "team", Owner::Docker), None);
    }

    #[test]
    fn what_is_not_about_the_registry_stays_as_it_was() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let (path, link) = (directory.path().join("real.json"), directory.path().join("config.json"));
        let text = r#"{"z": 1, "auths": {"b": {"auth": "x"}, "https://r.example/v1/": {"auth": "y"}, "a": {}}, "proxies": {"d": {}}}"#;
        #[expect(clippy::disallowed_methods, reason = "a fixture")]
        std::fs::write(&path, text).expect("written");
        std::os::unix::fs::symlink(&path, &link).expect("linked");
        put(&link, "r.example", Some(("user", "s3cret"))).expect("written");
        let read = || String::from_utf8(read(&path).expect("read").expect("there")).expect("text");
        let compact = || read().split_whitespace().collect::<String>();
        assert_eq!(
            compact(),
            r#"{"z":1,"auths":{"b":{"auth":"x"},"a":{},"r.example":{"auth":"dXNlcjpzM2NyZXQ="}},"proxies":{"d":{}}}"#
        );
        assert!(read().starts_with("{\n\t\"z\": 1,\n"), "{}", read());
        assert!(link.is_symlink());
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(path.symlink_metadata().expect("there").permissions().mode() & 0o777, 0o600);

        assert!(remove(&link, "r.example").expect("written"));
        assert!(!remove(&link, "r.example").expect("nothing to do"));
        assert_eq!(compact(), r#"{"z":1,"auths":{"b":{"auth":"x"},"a":{}},"proxies":{"d":{}}}"#);
    }

    #[test]
    fn an_empty_helper_opts_out_of_the_store() {
        let logins: Logins = serde_json::from_str(
            r#"{"credsStore": "all", "credHelpers": {"r.example": "own", "https://s.example": "", "docker.io": "hub"}}"#,
        )
        .expect("logins");
        let cases =
            [("r.example", Some("own")), ("s.example", None), ("t.example", Some("all")), ("docker.io", Some("hub"))];
        for (registry, expected) in cases {
            assert_eq!(logins.helper(registry), expected, "{registry}");
        }
    }
}
