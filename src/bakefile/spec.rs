//! Attributes that are lists of small records, each written as CSV (`type=registry,ref=x`) or as an object.

use std::collections::BTreeMap;

use crate::diagnostic::Span;
use crate::lang::text::csv_records;
pub use crate::text::parse_bool;

/// One `output`.
#[derive(Clone, Debug)]
pub struct OutputSpec {
    /// `type`: image, registry, local, tar, oci, docker, cacheonly.
    pub kind: String,
    /// The other fields; keys in lower case.
    pub fields: BTreeMap<String, String>,
    /// Where it stands.
    pub span: Span,
}

/// One `cache-from` or `cache-to`.
#[derive(Clone, Debug)]
pub struct CacheSpec {
    /// `type`: registry, gha, local, inline, …
    pub kind: String,
    /// The other fields; keys in lower case.
    pub fields: BTreeMap<String, String>,
    /// Where it stands.
    pub span: Span,
}

/// One `attest`.
#[derive(Clone, Debug)]
pub struct AttestSpec {
    /// `type`: provenance or sbom.
    pub kind: String,
    /// It is switched off.
    pub is_disabled: bool,
    /// The other fields; keys in lower case.
    pub fields: BTreeMap<String, String>,
    /// Where it stands.
    pub span: Span,
}

/// One `secret`.
#[derive(Clone, Debug)]
pub struct SecretSpec {
    /// The name that steps use.
    pub id: String,
    /// The file it is in.
    pub src: Option<String>,
    /// The environment variable it is in.
    pub env: Option<String>,
    /// Where it stands.
    pub span: Span,
}

/// One `ssh`.
#[derive(Clone, Debug)]
pub struct SshSpec {
    /// The name that steps use; mostly `default`.
    pub id: String,
    /// Sockets or keys; the agent of the environment where empty.
    pub paths: Vec<String>,
    /// Where it stands.
    pub span: Span,
}

/// One `policy`.
#[derive(Clone, Debug)]
pub struct PolicySpec {
    /// The policy's file.
    pub filename: Option<String>,
    /// Earlier policies do not count.
    pub is_reset: bool,
    /// It is switched off.
    pub is_disabled: bool,
    /// What is not decided is refused.
    pub strict: Option<bool>,
    /// How much is logged.
    pub log_level: Option<String>,
    /// Where it stands.
    pub span: Span,
}

macro_rules! equal_by_content {
    ($($name:ident { $($field:ident),* })*) => {$(
        /// Equal by content, wherever they stand.
        impl PartialEq for $name {
            fn eq(&self, other: &$name) -> bool {
                $(self.$field == other.$field)&&*
            }
        }
    )*};
}

macro_rules! content {
    ($($name:ident),*) => {$(
        impl $name {
            /// Returns what tells it from others: everything but its place.
            pub(super) fn content(&self) -> (String, BTreeMap<String, String>) {
                (self.kind.clone(), self.fields.clone())
            }
        }
    )*};
}

content!(OutputSpec, CacheSpec);

equal_by_content! {
    OutputSpec { kind, fields }
    CacheSpec { kind, fields }
    AttestSpec { kind, is_disabled, fields }
    SecretSpec { id, src, env }
    SshSpec { id, paths }
    PolicySpec { filename, is_reset, is_disabled, strict, log_level }
}

/// A record as it comes from the file.
#[derive(Clone, Debug)]
pub(super) enum Written {
    /// `"type=registry,ref=x"`
    Text(String),
    /// `{ type = "registry", ref = "x" }`, every value as text.
    Object(BTreeMap<String, String>),
}

/// Rights that a target may ask for and `--allow` grant: the word before a `=`.
pub const ENTITLEMENTS: [&str; 9] =
    ["buildx.local.delete", "device", "fs", "fs.read", "fs.write", "network.host", "security.insecure", "ssh", "image"];

/// Says whether there is such a right: `ssh`, `fs.read=PATH`, `image.…`.
pub fn is_entitlement(text: &str) -> bool {
    let key = text.split('=').next().unwrap_or(text);
    ENTITLEMENTS.contains(&key) || key.starts_with("image.")
}

type Parsed<T> = Result<T, String>;

/// Splits one CSV record.
fn csv(text: &str) -> Parsed<Vec<String>> {
    let mut records = csv_records(text)?;
    match records.len() {
        0 => Ok(Vec::new()),
        1 => Ok(records.remove(0)),
        _ => Err("one line is allowed".into()),
    }
}

fn bool_field(key: &str, value: &str) -> Parsed<bool> {
    parse_bool(value).ok_or_else(|| format!("`{key}` is true or false, not \"{value}\""))
}

fn pairs(text: &str) -> Parsed<BTreeMap<String, String>> {
    let mut fields = BTreeMap::new();
    for field in csv(text)? {
        let (key, value) = field.split_once('=').ok_or_else(|| format!("`{field}` is not KEY=VALUE"))?;
        fields.insert(key.trim().to_lowercase(), value.to_owned());
    }
    Ok(fields)
}

fn take_kind(fields: &mut BTreeMap<String, String>, what: &str) -> Parsed<String> {
    fields.remove("type").filter(|kind| !kind.is_empty()).ok_or_else(|| format!("`type` is required for {what}"))
}

impl OutputSpec {
    /// Reads an output; a lone text is a directory, `-` is a tar on stdout.
    pub(super) fn parse(written: &Written, span: Span) -> Parsed<OutputSpec> {
        let mut fields = match written {
            Written::Object(fields) => fields.clone(),
            Written::Text(text) => {
                let parts = csv(text)?;
                match &parts[..] {
                    [lone] if lone == text && !text.starts_with("type=") => {
                        let kind = if text == "-" { "tar" } else { "local" };
                        let fields = BTreeMap::from([("dest".to_owned(), text.clone())]);
                        return Ok(OutputSpec { kind: kind.into(), fields, span });
                    }
                    _ => pairs(text)?,
                }
            }
        };
        let kind = take_kind(&mut fields, "an output")?;
        Ok(OutputSpec { kind, fields, span })
    }
}

impl CacheSpec {
    /// Reads cache entries; a text without `=` is a list of references.
    pub(super) fn parse(written: &Written, span: Span) -> Parsed<Vec<CacheSpec>> {
        let mut fields = match written {
            Written::Object(fields) => fields.clone(),
            Written::Text(text) => {
                let parts = csv(text)?;
                if !parts.iter().any(|part| part.contains('=')) {
                    let reference = |part: String| CacheSpec {
                        kind: "registry".into(),
                        fields: BTreeMap::from([("ref".to_owned(), part)]),
                        span,
                    };
                    return Ok(parts.into_iter().filter(|p| !p.is_empty()).map(reference).collect());
                }
                pairs(text)?
            }
        };
        let kind = take_kind(&mut fields, "a cache")?;
        Ok(vec![CacheSpec { kind, fields, span }])
    }
}

impl AttestSpec {
    /// Reads an attestation.
    pub(super) fn parse(written: &Written, span: Span) -> Parsed<AttestSpec> {
        let mut fields = match written {
            Written::Object(fields) => fields.clone(),
            Written::Text(text) => pairs(text)?,
        };
        let kind = take_kind(&mut fields, "an attestation")?;
        let is_disabled = fields.remove("disabled").map_or(Ok(false), |value| bool_field("disabled", &value))?;
        Ok(AttestSpec { kind, is_disabled, fields, span })
    }
}

impl SecretSpec {
    /// Reads a secret.
    pub(super) fn parse(written: &Written, span: Span) -> Parsed<SecretSpec> {
        let fields = match written {
            Written::Object(fields) => fields.clone(),
            Written::Text(text) => pairs(text)?,
        };
        let mut secret = SecretSpec { id: String::new(), src: None, env: None, span };
        let mut kind = String::new();
        for (key, value) in fields {
            match key.as_str() {
                "type" if value == "file" || value == "env" => kind = value,
                "type" => return Err(format!("a secret's `type` is file or env, not \"{value}\"")),
                "id" => secret.id = value,
                "src" | "source" => secret.src = Some(value),
                "env" => secret.env = Some(value),
                _ => return Err(format!("unexpected key `{key}` in a secret; it has id, src, env and type")),
            }
        }
        if kind == "env" && secret.env.is_none() {
            secret.env = secret.src.take();
        }
        let not_empty = |text: &String| !text.is_empty();
        secret.src = secret.src.filter(not_empty);
        secret.env = secret.env.filter(not_empty);
        Ok(secret)
    }
}

impl SshSpec {
    /// Reads `ID` or `ID=PATH,PATH`.
    pub(super) fn parse(written: &Written, span: Span) -> Parsed<SshSpec> {
        let split = |paths: &str| -> Vec<String> { paths.split(',').map(str::to_owned).collect() };
        match written {
            Written::Text(text) => {
                let (id, paths) = match text.split_once('=') {
                    Some((id, paths)) => (id, split(paths)),
                    None => (text.as_str(), Vec::new()),
                };
                Ok(SshSpec { id: id.to_owned(), paths, span })
            }
            Written::Object(fields) => {
                let id = fields.get("id").cloned().unwrap_or_default();
                let paths = fields.get("paths").map_or_else(Vec::new, |paths| split(paths));
                Ok(SshSpec { id, paths, span })
            }
        }
    }
}

impl PolicySpec {
    /// Reads a policy.
    pub(super) fn parse(written: &Written, span: Span) -> Parsed<PolicySpec> {
        let fields = match written {
            Written::Object(fields) => fields.clone(),
            Written::Text(text) => pairs(text)?,
        };
        let mut policy =
            PolicySpec { filename: None, is_reset: false, is_disabled: false, strict: None, log_level: None, span };
        for (key, value) in fields {
            match key.as_str() {
                "filename" => policy.filename = Some(value),
                "reset" => policy.is_reset = bool_field(&key, &value)?,
                "disabled" => policy.is_disabled = bool_field(&key, &value)?,
                "strict" => policy.strict = Some(bool_field(&key, &value)?),
                "log-level" => policy.log_level = Some(value),
                _ => return Err(format!("unexpected key `{key}` in a policy")),
            }
        }
        Ok(policy)
    }
}
