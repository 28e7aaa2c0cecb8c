//! Package URLs (purl-spec): names of packages and images that all tools share.

use crate::platform::Platform;
use crate::reference::Reference;

/// A package URL in the making.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Purl<'a> {
    /// `deb`, `npm`, `docker`.
    pub kind: &'a str,
    /// Parts before the name, divided by `/`; empty for none.
    pub namespace: &'a str,
    /// The name.
    pub name: &'a str,
    /// The version; empty for none.
    pub version: &'a str,
    /// In the order of their keys; empty values are left out.
    pub qualifiers: &'a [(&'a str, &'a str)],
}

impl Purl<'_> {
    /// Returns it as text.
    pub fn text(&self) -> String {
        let mut text = format!("pkg:{}/", self.kind);
        for part in self.namespace.split('/').filter(|part| !part.is_empty()) {
            text.push_str(&encoded(part));
            text.push('/');
        }
        text.push_str(&encoded(self.name));
        if !self.version.is_empty() {
            text.push('@');
            text.push_str(&encoded(self.version));
        }
        let given = self.qualifiers.iter().filter(|(_, value)| !value.is_empty());
        for (index, (key, value)) in given.enumerate() {
            text.push(if index == 0 { '?' } else { '&' });
            text.push_str(key);
            text.push('=');
            text.push_str(&encoded(value));
        }
        text
    }
}

/// Encodes all but letters, digits and `-._~:` (purl-spec, *Character encoding*; `:` stands for itself).
fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b':' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// Returns the name of an image, as BuildKit has it (`util/purl`): `pkg:docker/alpine@3.20?digest=…&platform=linux%2Famd64`.
pub fn image(reference: &Reference, platform: Option<&Platform>) -> String {
    let name = Reference { tag: None, digest: None, ..reference.clone() }.familiar();
    let name = name.strip_suffix(":latest").unwrap_or(&name);
    let (namespace, name) = name.rsplit_once('/').unwrap_or(("", name));
    let digest = reference.digest.map(|digest| digest.to_string()).unwrap_or_default();
    let platform = platform.map(Platform::to_string).unwrap_or_default();
    Purl {
        kind: "docker",
        namespace,
        name,
        version: reference.tag_or_latest().unwrap_or(""),
        qualifiers: &[("digest", &digest), ("platform", &platform)],
    }
    .text()
}

/// Returns the name of a repository's images for a platform, whatever their tags: what a statement is about has its digest
/// beside it, and a tag that moves with every commit would make another statement of the same image.
pub fn repository(reference: &Reference, platform: &Platform) -> String {
    let all = image(&Reference { tag: None, digest: None, ..reference.clone() }, Some(platform));
    all.replacen("@latest?", "?", 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_have_the_peers_names() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let cases = [
            ("alpine", "pkg:docker/alpine@latest?platform=linux%2Farm%2Fv7".to_owned()),
            ("docker.io/user/test:v2", "pkg:docker/user/test@v2?platform=linux%2Farm%2Fv7".to_owned()),
            ("ghcr.example:5000/a/b:1", "pkg:docker/ghcr.example:5000/a/b@1?platform=linux%2Farm%2Fv7".to_owned()),
        ];
        let platform: Platform = "linux/arm/v7".parse().expect("known");
        for (name, expected) in cases {
            assert_eq!(image(&name.parse().expect("a name"), Some(&platform)), expected, "{name}");
        }
        let pinned: Reference = format!("alpine@{digest}").parse().expect("a name");
        assert_eq!(image(&pinned, None), format!("pkg:docker/alpine?digest={digest}"));
        let tagged: Reference = "h.test/a:1".parse().expect("a name");
        assert_eq!(repository(&tagged, &platform), "pkg:docker/h.test/a?platform=linux%2Farm%2Fv7");
    }

    #[test]
    fn what_is_no_plain_character_is_encoded() {
        let purl = Purl { kind: "deb", namespace: "debian", name: "libstdc++6", version: "1:2~rc+b1", qualifiers: &[] };
        assert_eq!(purl.text(), "pkg:deb/debian/libstdc%2B%2B6@1:2~rc%2Bb1");
    }
}
