//! `cache-from` and `cache-to`: the caches that builds on several machines share.

use std::collections::BTreeMap;
use std::fmt;

use crate::bakefile::{CacheSpec, Target, parse_bool};
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::digest::Digest;
use crate::reference::Reference;

/// A cache that a target reads or fills.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CachePlace {
    /// Where it is.
    pub backend: CacheBackend,
    /// `mode`: which steps are sent to it.
    pub mode: CacheMode,
    /// `ignore-error`: a build whose results cannot be sent to it succeeds all the same.
    pub ignores_errors: bool,
    /// `compression-level`: gzip's, for layers that are not compressed yet; bake's own where absent.
    pub level: Option<i32>,
}

/// Which steps are sent to a cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CacheMode {
    /// Those whose layers are in the target's result.
    #[default]
    Min,
    /// All that the target is made with.
    Max,
}

/// Where a cache is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CacheBackend {
    /// An image of its own, or the image that records were put in with `type=inline`.
    Registry(Reference),
    /// The target's own image; only to be filled.
    Inline,
    /// A directory; relative to the directory that the command runs in.
    Local {
        /// The directory.
        path: String,
        /// Only what the manifest of this digest lists.
        digest: Option<Digest>,
    },
    /// A bucket of an S3 service.
    S3(CacheOptions),
    /// The cache service of GitHub Actions.
    Gha(CacheOptions),
}

/// Options as they were written. Some are secret: what they are is not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct CacheOptions(pub BTreeMap<String, String>);

impl fmt::Debug for CacheOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

const KINDS: [&str; 5] = ["registry", "inline", "local", "s3", "gha"];

/// Options that every cache that is filled has.
const TO: [&str; 7] = [
    "mode",
    "ignore-error",
    "compression",
    "compression-level",
    "image-manifest",
    "oci-mediatypes",
    "force-compression",
];

const S3: [&str; 11] = [
    "bucket",
    "region",
    "prefix",
    "blobs_prefix",
    "manifests_prefix",
    "name",
    "endpoint_url",
    "access_key_id",
    "secret_access_key",
    "session_token",
    "use_path_style",
];

/// Whether a cache is read or filled.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    From,
    To,
}

/// Returns the caches that `target` reads.
pub(super) fn from(target: &Target, found: &mut Diagnostics) -> Vec<CachePlace> {
    target.cache_from.iter().filter_map(|spec| place(spec, Direction::From, found)).collect()
}

/// Returns the caches that `target` fills.
pub(super) fn to(target: &Target, found: &mut Diagnostics) -> Vec<CachePlace> {
    target.cache_to.iter().filter_map(|spec| place(spec, Direction::To, found)).collect()
}

fn place(spec: &CacheSpec, direction: Direction, found: &mut Diagnostics) -> Option<CachePlace> {
    match parse(spec, direction) {
        Ok(place) => {
            for message in left_out(spec, direction) {
                found.push(Diagnostic::warning(spec.span, message));
            }
            Some(place)
        }
        Err(error) => {
            found.push(error);
            None
        }
    }
}

fn parse(spec: &CacheSpec, direction: Direction) -> Result<CachePlace, Diagnostic> {
    let error = |message: String| Diagnostic::error(spec.span, message);
    let field = |key: &str| spec.fields.get(key).filter(|value| !value.is_empty());
    let kind = spec.kind.as_str();
    let needed = |key: &str| {
        let hint = format!("write `type={kind},{key}=…`");
        field(key).cloned().ok_or_else(|| error(format!("a cache of type `{kind}` needs `{key}`")).hint(hint))
    };
    let backend = match (kind, direction) {
        ("registry", _) => {
            CacheBackend::Registry(registry(&needed("ref")?, field("registry.insecure")).map_err(error)?)
        }
        ("inline", Direction::To) => CacheBackend::Inline,
        ("inline", Direction::From) => {
            let hint = "write `type=registry,ref=IMAGE` with the name of the image";
            return Err(error("a cache of type `inline` is read from the image that it is in".to_owned()).hint(hint));
        }
        ("local", Direction::From) => {
            let digest = field("digest").map(|text| text.parse::<Digest>()).transpose();
            let digest = digest.map_err(|_| error("`digest` is `sha256:` and 64 hex digits".to_owned()))?;
            CacheBackend::Local { path: needed("src")?, digest }
        }
        ("local", Direction::To) => CacheBackend::Local { path: needed("dest")?, digest: None },
        ("s3", _) => CacheBackend::S3(CacheOptions(spec.fields.clone())),
        ("gha", _) => CacheBackend::Gha(CacheOptions(spec.fields.clone())),
        ("azblob", _) => {
            let message = "caches in Azure Blob Storage (`type=azblob`) are not supported".to_owned();
            return Err(error(message).hint("use `type=registry` or `type=s3`"));
        }
        _ => return Err(error(format!("unknown cache type `{kind}`")).suggest(kind, KINDS)),
    };
    let mode = match field("mode").filter(|_| direction == Direction::To).map(String::as_str) {
        None | Some("min") => CacheMode::Min,
        Some("max") => CacheMode::Max,
        Some(other) => return Err(error(format!("`mode` of a cache is min or max, not \"{other}\""))),
    };
    let ignores_errors = match field("ignore-error") {
        None => false,
        Some(text) => {
            parse_bool(text).ok_or_else(|| error(format!("`ignore-error` is true or false, not \"{text}\"")))?
        }
    };
    let level =
        field("compression-level").map(|text| text.parse::<i32>().ok().filter(|level| (0..=22).contains(level)));
    let level = match level {
        Some(None) => return Err(error("`compression-level` is a number from 0 to 22".to_owned())),
        // gzip's levels end at 12 here; 0 is no compression, which is not written.
        Some(Some(level)) => Some(level.clamp(1, 12)),
        None => None,
    };
    Ok(CachePlace { backend, mode, ignores_errors, level })
}

fn registry(name: &str, insecure: Option<&String>) -> Result<Reference, String> {
    let reference: Reference = name.parse().map_err(|error: crate::reference::InvalidReference| error.to_string())?;
    let host = reference.registry.rsplit_once(':').map_or(reference.registry.as_str(), |(host, _)| host);
    let is_here = host == "localhost" || host.starts_with("127.") || host == "[::1]";
    match insecure.map(|text| parse_bool(text)) {
        Some(None) => Err("`registry.insecure` is true or false".to_owned()),
        Some(Some(true)) if !is_here => {
            Err(format!("plain HTTP is spoken with registries of this machine alone, not with {}", reference.registry))
        }
        _ => Ok(reference),
    }
}

/// Returns what is to be said of options that change nothing here.
fn left_out(spec: &CacheSpec, direction: Direction) -> Vec<String> {
    let own: &[&str] = match (spec.kind.as_str(), direction) {
        ("registry", _) => &["ref", "registry.insecure"],
        ("local", Direction::From) => &["src", "digest"],
        ("local", Direction::To) => &["dest"],
        ("s3", _) => &S3,
        ("gha", _) => &["scope", "token", "url", "url_v2", "version"],
        _ => &[],
    };
    let general: &[&str] = if direction == Direction::To { &TO } else { &[] };
    let unknown = spec.fields.keys().filter(|key| !own.contains(&key.as_str()) && !general.contains(&key.as_str()));
    let mut messages: Vec<String> = unknown
        .map(|key| format!("option `{key}` of a cache of type `{}` means nothing here and is left out", spec.kind))
        .collect();
    let is_off = |key: &str| spec.fields.get(key).and_then(|value| parse_bool(value)) == Some(false);
    for key in ["image-manifest", "oci-mediatypes"] {
        if is_off(key) {
            messages.push(format!("`{key}=false` is left out: a cache is an OCI image manifest"));
        }
    }
    if let Some(other) = spec.fields.get("compression").filter(|value| !matches!(value.as_str(), "" | "gzip")) {
        messages.push(format!("`compression={other}` is left out: layers are compressed with gzip"));
    }
    if spec.fields.get("force-compression").and_then(|value| parse_bool(value)) == Some(true) {
        messages.push("`force-compression` is left out: a layer keeps the blob that it has".to_owned());
    }
    messages
}
