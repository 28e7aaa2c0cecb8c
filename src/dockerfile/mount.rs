//! `RUN --mount=…`.

use crate::diagnostic::{Diagnostic, Diagnostics, nearest};

use super::words::{Word, split_csv};

/// What is mounted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MountType {
    /// Files of a stage, an image or the build context.
    #[default]
    Bind,
    /// A directory that outlives the build.
    Cache,
    /// An empty directory in memory.
    Tmpfs,
    /// A secret's value.
    Secret,
    /// The SSH agent's socket.
    Ssh,
}

/// A cache mount's `sharing`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sharing {
    /// Several steps at once.
    #[default]
    Shared,
    /// Each its own.
    Private,
    /// One after another.
    Locked,
}

/// The options of one mount, values expanded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MountOptions {
    /// `type`.
    pub kind: MountType,
    /// `from`.
    pub from: Option<String>,
    /// `source`.
    pub source: Option<String>,
    /// `target`.
    pub target: Option<String>,
    /// `ro` or `rw`; the type's default where absent.
    pub is_read_only: Option<bool>,
    /// `id`.
    pub id: Option<String>,
    /// `sharing`.
    pub sharing: Option<Sharing>,
    /// `required`.
    pub is_required: bool,
    /// `mode`.
    pub mode: Option<u32>,
    /// `uid`.
    pub uid: Option<u32>,
    /// `gid`.
    pub gid: Option<u32>,
    /// `size`, bytes.
    pub size: Option<u64>,
    /// `env`: the variable that holds a secret. It says nothing for other types, and is no error there either, as for BuildKit.
    pub env: Option<String>,
}

const KEYS: [&str; 19] = [
    "type",
    "from",
    "source",
    "src",
    "target",
    "dst",
    "destination",
    "ro",
    "readonly",
    "rw",
    "readwrite",
    "id",
    "sharing",
    "required",
    "mode",
    "uid",
    "gid",
    "size",
    "env",
];

/// Expands an option's value.
pub type Expand<'a> = &'a dyn Fn(&str) -> Result<String, Diagnostic>;

impl MountOptions {
    /// Finds what is wrong with a mount whatever its variables hold; a value with a `$` is not looked at.
    pub(super) fn check(word: &Word, found: &mut Diagnostics) {
        if let Err(error) = read(word, None) {
            found.push(error);
        }
    }

    /// Returns the mount's `from`, which is never expanded, without looking at the other options' values.
    pub fn from_of(word: &Word) -> Option<String> {
        let fields = split_csv(&word.text)?;
        let from = fields.iter().rev().find_map(|field| {
            let (key, value) = field.split_once('=')?;
            key.eq_ignore_ascii_case("from").then(|| value.to_owned())
        });
        from.filter(|from| !from.is_empty())
    }

    /// Reads the value of `--mount`; `expand` is applied to every option but `from`.
    ///
    /// # Errors
    /// An option is unknown, does not fit the type, or has a malformed value.
    pub fn parse(word: &Word, expand: Expand<'_>) -> Result<MountOptions, Diagnostic> {
        read(word, Some(expand))
    }
}

fn read(word: &Word, expand: Option<Expand<'_>>) -> Result<MountOptions, Diagnostic> {
    let wrong = |message: String| Diagnostic::error(word.span, message);
    let fields = split_csv(&word.text).ok_or_else(|| wrong(format!("malformed quotes in `{}`", word.text)))?;
    let mut options = MountOptions::default();
    for field in &fields {
        let (key, value) = match field.split_once('=') {
            Some((key, value)) => (key.to_lowercase(), Some(value)),
            None => (field.to_lowercase(), None),
        };
        match value {
            None => bare(word, &key, &mut options)?,
            Some(value) => {
                if key == "from" && value.contains('$') {
                    let error = wrong(format!("`from={value}`: variables are not expanded here"));
                    return Err(error.hint("name a stage with `FROM … AS name` and use its name"));
                }
                let value = match expand {
                    None if value.contains('$') => continue,
                    Some(expand) if key != "from" => expand(value)?,
                    _ => value.to_owned(),
                };
                set(word, &key, value, &mut options)?;
            }
        }
    }
    validate(word, &options, expand.is_none() && word.text.contains('$'))?;
    Ok(options)
}

fn bare(word: &Word, key: &str, options: &mut MountOptions) -> Result<(), Diagnostic> {
    match key {
        "ro" | "readonly" => options.is_read_only = Some(true),
        "rw" | "readwrite" => options.is_read_only = Some(false),
        "required" if matches!(options.kind, MountType::Secret | MountType::Ssh) => options.is_required = true,
        "required" => return Err(required_error(word)),
        _ if KEYS.contains(&key) => {
            return Err(Diagnostic::error(word.span, format!("option `{key}` of a mount needs a value")));
        }
        _ => return Err(unknown_key(word, key)),
    }
    Ok(())
}

fn required_error(word: &Word) -> Diagnostic {
    let error = Diagnostic::error(word.span, "option `required` is for mounts of type `secret` and `ssh`");
    error.hint("write `type=` before it")
}

fn unknown_key(word: &Word, key: &str) -> Diagnostic {
    let error = Diagnostic::error(word.span, format!("unknown option `{key}` of a mount"));
    match nearest(key, KEYS.iter().copied()) {
        Some(near) => error.hint(format!("did you mean `{near}`?")),
        None => error,
    }
}

fn set(word: &Word, key: &str, value: String, options: &mut MountOptions) -> Result<(), Diagnostic> {
    let wrong = || Diagnostic::error(word.span, format!("`{value}` is no value for option `{key}` of a mount"));
    let number = || value.parse::<u32>().map_err(|_| wrong());
    let boolean = || match value.to_lowercase().as_str() {
        "1" | "t" | "true" => Ok(true),
        "0" | "f" | "false" => Ok(false),
        _ => Err(wrong()),
    };
    match key {
        "type" => options.kind = mount_type(&value).ok_or_else(|| hinted(wrong(), &value, &TYPES))?,
        "from" => options.from = Some(value),
        "source" | "src" => options.source = Some(value),
        "target" | "dst" | "destination" => options.target = Some(value),
        "ro" | "readonly" => options.is_read_only = Some(boolean()?),
        "rw" | "readwrite" => options.is_read_only = Some(!boolean()?),
        "id" => options.id = Some(value),
        "sharing" => options.sharing = Some(sharing(&value).ok_or_else(|| hinted(wrong(), &value, &SHARINGS))?),
        "required" if matches!(options.kind, MountType::Secret | MountType::Ssh) => {
            options.is_required = boolean()?;
        }
        "required" => return Err(required_error(word)),
        "mode" => options.mode = Some(u32::from_str_radix(&value, 8).map_err(|_| wrong())?),
        "uid" => options.uid = Some(number()?),
        "gid" => options.gid = Some(number()?),
        "size" if options.kind == MountType::Tmpfs => options.size = Some(ram_in_bytes(&value).ok_or_else(wrong)?),
        "size" => return Err(Diagnostic::error(word.span, "option `size` is for mounts of type `tmpfs`")),
        "env" => options.env = Some(value),
        _ => return Err(unknown_key(word, key)),
    }
    Ok(())
}

const TYPES: [&str; 5] = ["bind", "cache", "tmpfs", "secret", "ssh"];
const SHARINGS: [&str; 3] = ["shared", "private", "locked"];

fn hinted(error: Diagnostic, value: &str, known: &[&str]) -> Diagnostic {
    match nearest(&value.to_lowercase(), known.iter().copied()) {
        Some(near) => error.hint(format!("did you mean `{near}`?")),
        None => error.hint(format!("use one of: {}", known.join(", "))),
    }
}

fn mount_type(text: &str) -> Option<MountType> {
    Some(match text.to_lowercase().as_str() {
        "bind" => MountType::Bind,
        "cache" => MountType::Cache,
        "tmpfs" => MountType::Tmpfs,
        "secret" => MountType::Secret,
        "ssh" => MountType::Ssh,
        _ => return None,
    })
}

fn sharing(text: &str) -> Option<Sharing> {
    Some(match text.to_lowercase().as_str() {
        "shared" => Sharing::Shared,
        "private" => Sharing::Private,
        "locked" => Sharing::Locked,
        _ => return None,
    })
}

/// Checks what options say together; `is_partial` when some of them are not known yet.
fn validate(word: &Word, options: &MountOptions, is_partial: bool) -> Result<(), Diagnostic> {
    let wrong = |message: &str| Err(Diagnostic::error(word.span, message));
    let is_file = matches!(options.kind, MountType::Secret | MountType::Ssh);
    if options.sharing.is_some() && options.kind != MountType::Cache && !is_partial {
        return wrong("option `sharing` is for mounts of type `cache`");
    }
    let has_owner = options.mode.is_some() || options.uid.is_some() || options.gid.is_some();
    if has_owner && !is_partial && !is_file && options.kind != MountType::Cache {
        return wrong("options `mode`, `uid` and `gid` are for mounts of type `cache`, `secret` and `ssh`");
    }
    if options.kind == MountType::Secret && options.from.is_some() {
        return wrong("a mount of type `secret` takes no `from`");
    }
    if options.kind == MountType::Secret && options.source.is_some() && options.id.is_some() {
        return wrong("a secret has `id` or `source`, not both");
    }
    if options.kind == MountType::Ssh && options.source.is_some() {
        return wrong("a mount of type `ssh` takes no `source`");
    }
    if options.kind == MountType::Tmpfs && (options.from.is_some() || options.source.is_some()) {
        return wrong("a mount of type `tmpfs` takes no `from` or `source`");
    }
    Ok(())
}

/// Reads a size such as `512m` or `1.5GiB` in units of 1024.
fn ram_in_bytes(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let power = match unit.trim().to_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 1,
        "m" | "mb" | "mib" => 2,
        "g" | "gb" | "gib" => 3,
        "t" | "tb" | "tib" => 4,
        "p" | "pb" | "pib" => 5,
        _ => return None,
    };
    let size = number.parse::<f64>().ok()? * 1024_f64.powi(power);
    (size >= 0.0 && size < i64::MAX as f64).then_some(size as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostic::{SourceMap, Span};

    fn check(text: &str) -> Result<MountOptions, String> {
        let mut sources = SourceMap::default();
        let span = Span::new(sources.add("Dockerfile", text), 0, 0);
        let word = Word { text: text.to_owned(), span };
        MountOptions::parse(&word, &|value| Ok(value.replace("$X", "x"))).map_err(|error| error.message)
    }

    #[test]
    fn options_are_read_in_order() {
        let cache = check("type=cache,target=/c$X,\"id=a,b\",sharing=locked,mode=0700,uid=5").expect("valid");
        assert_eq!(cache.kind, MountType::Cache);
        assert_eq!((cache.target.as_deref(), cache.id.as_deref()), (Some("/cx"), Some("a,b")));
        assert_eq!((cache.sharing, cache.mode, cache.uid), (Some(Sharing::Locked), Some(0o700), Some(5)));
        assert_eq!(check("type=tmpfs,target=/t,size=1.5k").map(|o| o.size), Ok(Some(1536)));
        assert_eq!(check("target=.,rw").map(|o| o.is_read_only), Ok(Some(false)));
    }

    #[test]
    fn options_that_do_not_fit_are_refused() {
        for (text, message) in [
            ("required,type=secret", "option `required` is for mounts of type `secret` and `ssh`"),
            ("target=/x,size=1", "option `size` is for mounts of type `tmpfs`"),
            ("type=ca", "`ca` is no value for option `type` of a mount"),
            ("targte=/x", "unknown option `targte` of a mount"),
            ("from=$X", "`from=$X`: variables are not expanded here"),
            ("target", "option `target` of a mount needs a value"),
            ("\"a", "malformed quotes in `\"a`"),
        ] {
            assert_eq!(check(text), Err(message.to_owned()), "{text}");
        }
    }
}
