//! Windows' build numbers and features of an operating system in the entries of an index.
//!
//! `oci-spec` has them as `os_version` and `os_features`; in the specification, and so in documents, they are `os.version`
//! and `os.features` (image-spec v1.1, *Image Index*).

use serde_json::Value;

const KEYS: [(&str, &str); 2] = [("os.version", "os_version"), ("os.features", "os_features")];

/// Says whether an index may name such a key.
pub(super) fn may_be_in(bytes: &[u8]) -> bool {
    bytes.windows(4).any(|four| four == b"\"os." || four == b"\"os_" || four == b"\"os\\")
}

/// Gives the keys the names that `oci-spec` reads; what has those in the document says nothing.
pub(super) fn as_read(index: &mut Value) {
    for platform in platforms(index) {
        for (key, own) in KEYS {
            platform.remove(own);
            if let Some(value) = platform.remove(key) {
                platform.insert(own.to_owned(), value);
            }
        }
    }
}

/// Gives the keys the specification's names.
pub(super) fn as_written(index: &mut Value) {
    for platform in platforms(index) {
        let renamed = std::mem::take(platform).into_iter().map(|(key, value)| {
            let known = KEYS.iter().find(|(_, own)| key == *own);
            (known.map_or(key, |(name, _)| (*name).to_owned()), value)
        });
        *platform = renamed.collect();
    }
}

fn platforms(index: &mut Value) -> impl Iterator<Item = &mut serde_json::Map<String, Value>> {
    let manifests = index.get_mut("manifests").and_then(Value::as_array_mut).into_iter().flatten();
    manifests.filter_map(|manifest| manifest.get_mut("platform")?.as_object_mut())
}

/// Says whether a host of the build `host` runs what was made for the build `image` (containerd's `platforms`): the same
/// `MAJOR.MINOR.BUILD`; from Windows Server 2022 on, also what is no older than the release before the host's own.
pub(super) fn runs_on(host: &str, image: Option<&str>) -> bool {
    const LONG_TERM: [u16; 2] = [20348, 26100];
    let (Some(host), Some(image)) = (build_of(host), image) else { return true };
    let Some(image) = build_of(image) else { return false };
    if (host.0, host.1) != (image.0, image.1) {
        return false;
    }
    if host.2 < LONG_TERM[0] {
        return host.2 == image.2;
    }
    let oldest = LONG_TERM.into_iter().rev().find(|release| host.2 > *release).unwrap_or(LONG_TERM[0]);
    (oldest..=host.2).contains(&image.2)
}

/// Returns major and minor version and build number; what follows them does not matter.
pub(super) fn build_of(version: &str) -> Option<(u8, u8, u16)> {
    let mut parts = version.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_runs_what_containerd_says_it_runs() {
        for (host, image, expected) in [
            ("10.0.17763.1", Some("10.0.17763.99"), true),
            ("10.0.17763.1", Some("10.0.17134"), false),
            ("10.0.20348", Some("10.0.17763"), false),
            ("10.0.25398", Some("10.0.20348"), true),
            ("10.0.20348", Some("10.0.25398"), false),
            ("10.0.26200", Some("10.0.26100"), true),
            ("10.0.26200", Some("10.0.20348"), false),
            ("10.0", Some("6.1.7601"), true),
            ("10.0.20348", None, true),
        ] {
            assert_eq!(runs_on(host, image), expected, "{host} {image:?}");
        }
    }
}
