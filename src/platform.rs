//! Platforms: os/architecture/variant, normalised as containerd's platforms package does.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An OCI platform (image-spec v1.1, image-index.md, *platform*). Always normalised: `x86_64` is `amd64`, `arm64/v8` is
/// `arm64`, `arm` is `arm/v7`. Ordered by its text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Platform {
    /// `linux`, `windows`, …
    pub os: String,
    /// `amd64`, `arm64`, `arm`, …
    pub architecture: String,
    /// `v7`, …; absent where the architecture's default is meant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// Windows' build number; absent elsewhere.
    #[serde(default, rename = "os.version", skip_serializing_if = "Option::is_none")]
    pub os_version: Option<String>,
}

/// Says why a text is no platform.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown platform `{text}`")]
pub struct InvalidPlatform {
    /// The text as written.
    pub text: String,
    /// The known platform that is nearest to it, if one is near.
    pub suggestion: Option<String>,
}

const KNOWN_OS: [&str; 8] = ["linux", "windows", "darwin", "freebsd", "netbsd", "openbsd", "solaris", "wasip1"];
const KNOWN_ARCHITECTURES: [&str; 14] = [
    "amd64", "arm64", "arm", "386", "riscv64", "ppc64le", "ppc64", "s390x", "mips", "mipsle", "mips64", "mips64le",
    "loong64", "wasm",
];

impl Platform {
    /// Returns the normalised platform.
    pub fn new(os: &str, architecture: &str, variant: Option<&str>) -> Platform {
        let os = match os.to_ascii_lowercase().as_str() {
            "macos" => "darwin".to_owned(),
            other => other.to_owned(),
        };
        let (architecture, variant) =
            normalise(&architecture.to_ascii_lowercase(), variant.map(str::to_ascii_lowercase));
        Platform { os, architecture, variant, os_version: None }
    }
}

fn normalise(architecture: &str, variant: Option<String>) -> (String, Option<String>) {
    let variant = variant.filter(|v| !v.is_empty());
    match (architecture, variant.as_deref()) {
        ("x86_64" | "x86-64" | "amd64", None | Some("v1")) => ("amd64".into(), None),
        ("x86_64" | "x86-64", _) => ("amd64".into(), variant),
        ("i386" | "i686" | "386", _) => ("386".into(), None),
        ("aarch64" | "arm64", None | Some("8" | "v8")) => ("arm64".into(), None),
        ("aarch64", _) => ("arm64".into(), variant),
        ("armhf", _) => ("arm".into(), Some("v7".into())),
        ("armel", _) => ("arm".into(), Some("v6".into())),
        ("arm", None | Some("7")) => ("arm".into(), Some("v7".into())),
        ("arm", Some("5" | "6" | "8")) => ("arm".into(), variant.map(|v| format!("v{v}"))),
        _ => (architecture.to_owned(), variant),
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.os)?;
        if let Some(version) = &self.os_version {
            write!(f, "({version})")?;
        }
        write!(f, "/{}", self.architecture)?;
        if let Some(variant) = &self.variant {
            write!(f, "/{variant}")?;
        }
        Ok(())
    }
}

impl FromStr for Platform {
    type Err = InvalidPlatform;

    /// Parses `os`, `architecture`, `os/architecture` or `os/architecture/variant`; a lone word is looked up in both.
    fn from_str(text: &str) -> Result<Platform, InvalidPlatform> {
        let invalid = || InvalidPlatform { text: text.to_owned(), suggestion: suggestion(text) };
        let words: Vec<&str> = text.split('/').collect();
        let is_word = |w: &&str| !w.is_empty() && w.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.()".contains(&b));
        if !words.iter().all(is_word) {
            return Err(invalid());
        }
        let known = |platform: Platform| {
            let is_known = KNOWN_OS.contains(&platform.os.as_str())
                && KNOWN_ARCHITECTURES.contains(&platform.architecture.as_str());
            if is_known { Ok(platform) } else { Err(invalid()) }
        };
        match words[..] {
            [word] if KNOWN_OS.contains(&word) => Ok(Platform::new(word, "amd64", None)),
            [word] => known(Platform::new("linux", word, None)),
            [os, architecture] => {
                let (os, version) = os_and_version(os);
                known(Platform::new(os, architecture, None)).map(|p| Platform { os_version: version, ..p })
            }
            [os, architecture, variant] => {
                let (os, version) = os_and_version(os);
                known(Platform::new(os, architecture, Some(variant))).map(|p| Platform { os_version: version, ..p })
            }
            _ => Err(invalid()),
        }
    }
}

fn os_and_version(os: &str) -> (&str, Option<String>) {
    match os.strip_suffix(')').and_then(|os| os.split_once('(')) {
        Some((os, version)) => (os, Some(version.to_owned())),
        None => (os, None),
    }
}

fn suggestion(text: &str) -> Option<String> {
    const COMMON: [&str; 8] = [
        "linux/arm64",
        "linux/amd64",
        "linux/arm/v7",
        "linux/arm/v6",
        "linux/386",
        "linux/riscv64",
        "linux/ppc64le",
        "linux/s390x",
    ];
    crate::diagnostic::nearest(text, COMMON.iter().copied()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_normalised() {
        let cases = [
            ("linux/amd64", "linux/amd64"),
            ("linux/x86_64", "linux/amd64"),
            ("linux/arm64/v8", "linux/arm64"),
            ("linux/aarch64", "linux/arm64"),
            ("linux/arm", "linux/arm/v7"),
            ("linux/arm/v6", "linux/arm/v6"),
            ("linux/armhf", "linux/arm/v7"),
            ("arm64", "linux/arm64"),
            ("windows(10.0.17763)/amd64", "windows(10.0.17763)/amd64"),
        ];
        for (text, normal) in cases {
            assert_eq!(text.parse::<Platform>().map(|p| p.to_string()), Ok(normal.to_owned()), "{text}");
        }
    }

    #[test]
    fn a_near_miss_names_what_was_meant() {
        let error = "linux/amr64".parse::<Platform>().expect_err("no such architecture");
        assert_eq!(error.to_string(), "unknown platform `linux/amr64`");
        assert_eq!(error.suggestion.as_deref(), Some("linux/arm64"));
        assert!("linux//v7".parse::<Platform>().is_err());
        assert!("".parse::<Platform>().is_err());
    }
}
