//! `bake image inspect`: what a name stands for in its registry, worded as `docker buildx imagetools inspect` words it.
//!
//! ```text
//! Name:      docker.io/library/alpine:latest              the name in full, with what Docker would add
//! MediaType: application/vnd.oci.image.index.v1+json      what the document is
//! Digest:    sha256:28ef97b8…                             of the document's bytes; what a pin holds
//!
//! Manifests:                                              of an index alone, in its order
//!   Name:      docker.io/library/alpine:latest@sha256:…   what to pull for this platform alone
//!   MediaType: application/vnd.oci.image.manifest.v1+json
//!   Platform:  linux/amd64                                as the index spells it; unknown/unknown for attestations
//!   Annotations:                                          where there are some, sorted by name
//!     vnd.docker.reference.type: attestation-manifest
//! ```
//!
//! It differs from the peer's text in two things: lines have no blanks at their end, and annotations are sorted.

use std::collections::BTreeMap;

use super::build::client_options;
use super::{Failure, Host, Kind};
use crate::oci::{Descriptor, Document};
use crate::reference::Reference;
use crate::registry::{Client, Error};

/// What a name stands for.
#[derive(Clone, Debug, PartialEq)]
pub struct Inspected {
    /// As it was asked for.
    pub name: Reference,
    /// The document's media type, size and digest.
    pub descriptor: Descriptor,
    /// The document's bytes, verified; what `--raw` prints, without a newline of ours.
    pub bytes: Vec<u8>,
    /// The bytes as a value.
    pub document: Document,
}

/// Asks the registry what `name` stands for: one request.
///
/// # Errors
/// As [`Client::fetch_document`].
pub fn inspect(client: &Client, name: &Reference) -> Result<Inspected, Error> {
    let (descriptor, bytes, document) = client.fetch_document(name)?;
    Ok(Inspected { name: name.clone(), descriptor, bytes, document })
}

/// Runs `bake image inspect`: the text for people, or with `raw` the document itself.
///
/// # Errors
/// The name is none, or the registry does not give it.
pub fn run(name: &str, raw: bool, host: &Host) -> Result<String, Failure> {
    let reference: Reference = name.parse().map_err(|error| Failure::new(Kind::Usage, error))?;
    let client = Client::new(client_options(host));
    let inspected =
        inspect(&client, &reference).map_err(|error| Failure::caused(Kind::Remote, &error).hints(error.hint()))?;
    Ok(if raw { String::from_utf8_lossy(&inspected.bytes).into_owned() } else { inspected.text() })
}

impl Inspected {
    /// Returns the text for people, lines ending in a newline. Control characters of the document are left out.
    pub fn text(&self) -> String {
        let Inspected { name, descriptor, .. } = self;
        let head = [
            ("Name:", name.to_string()),
            ("MediaType:", descriptor.media_type().to_string()),
            ("Digest:", descriptor.digest().to_string()),
        ];
        let mut text = aligned("", &head);
        if let Document::Index(index) = &self.document {
            text.push_str("\nManifests:\n");
            text.push_str(&entries_text(name, index.manifests()));
        }
        text
    }
}

/// Returns the lines of an index's entries, an empty line between two. As in the peer's text, values share a column up to
/// the next annotations.
fn entries_text(name: &Reference, entries: &[Descriptor]) -> String {
    let mut text = String::new();
    let mut block = Vec::new();
    for (index, entry) in entries.iter().enumerate() {
        if index > 0 {
            block.push(("", String::new()));
        }
        block.extend(entry_lines(name, entry));
        let annotations: BTreeMap<&String, &String> = entry.annotations().iter().flatten().collect();
        if annotations.is_empty() {
            continue;
        }
        block.push(("Annotations:", String::new()));
        text.push_str(&aligned("  ", &std::mem::take(&mut block)));
        let names: Vec<String> = annotations.keys().map(|name| format!("{}:", printable(name))).collect();
        let values = annotations.values().map(|value| (*value).clone());
        let annotations: Vec<(&str, String)> = names.iter().map(String::as_str).zip(values).collect();
        text.push_str(&aligned("    ", &annotations));
    }
    text + &aligned("  ", &block)
}

/// Returns an entry's labels and values, annotations apart.
fn entry_lines(name: &Reference, entry: &Descriptor) -> Vec<(&'static str, String)> {
    let unpinned = Reference { digest: None, ..name.clone() };
    // What was asked for by digest alone has no tag to show.
    let name = if name.tag_or_latest().is_none() { name.name() } else { unpinned.to_string() };
    let media_type = entry.media_type().to_string();
    let mut lines = vec![("Name:", format!("{name}@{}", entry.digest())), ("MediaType:", media_type)];
    if let Some(platform) = entry.platform() {
        // As the index spells it: a normalised one would hide `arm64/v8`.
        let words = [Some(platform.os().to_string()), Some(platform.architecture().to_string())];
        let words: Vec<String> = words.into_iter().chain([platform.variant().clone()]).flatten().collect();
        lines.push(("Platform:", words.join("/")));
        let features = platform.os_features().as_deref().unwrap_or_default();
        lines.extend((!features.is_empty()).then(|| ("OSFeatures:", features.join(", "))));
    }
    let urls = entry.urls().as_deref().unwrap_or_default();
    lines.extend((!urls.is_empty()).then(|| ("URLs:", urls.join(", "))));
    lines
}

/// Returns one line for each label and value, the values in one column.
fn aligned(indent: &str, lines: &[(&str, String)]) -> String {
    let width = lines.iter().map(|(label, _)| label.chars().count()).max().unwrap_or(0);
    let line = |(label, value): &(&str, String)| {
        let line = format!("{indent}{label:width$} {}", printable(value));
        format!("{}\n", line.trim_end())
    };
    lines.iter().map(line).collect()
}

/// Returns `text` without what could steer a terminal.
fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;
    use crate::oci::{descriptor, parse_document};
    use expect_test::{Expect, expect};

    fn check(name: &str, document: &str, expected: Expect) {
        let bytes = document.as_bytes().to_vec();
        let document = parse_document(&bytes, None).expect("valid");
        let media_type = crate::oci::document_media_type(&bytes, None).expect("valid");
        let descriptor = descriptor(media_type, bytes.len() as u64, Digest::of(b"document"));
        let inspected = Inspected { name: name.parse().expect("a name"), descriptor, bytes, document };
        expected.assert_eq(&inspected.text());
    }

    #[test]
    fn an_index_lists_its_manifests() {
        let entry = |platform: &str, more: &str| {
            let digest = Digest::of(platform.as_bytes());
            format!(
                r#"{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"{digest}","size":1,"platform":{platform}{more}}}"#
            )
        };
        let amd64 = entry(r#"{"os":"linux","architecture":"amd64"}"#, "");
        let arm = entry(r#"{"os":"linux","architecture":"arm","variant":"v7"}"#, "");
        let attestation = entry(
            r#"{"os":"unknown","architecture":"unknown"}"#,
            r#","annotations":{"vnd.docker.reference.type":"attestation-manifest","vnd.docker.reference.digest":"\u001b[31mx"}"#,
        );
        let index = format!(r#"{{"schemaVersion":2,"manifests":[{amd64},{arm},{attestation}]}}"#);
        check(
            "alpine",
            &index,
            expect![[r#"
                Name:      docker.io/library/alpine:latest
                MediaType: application/vnd.oci.image.index.v1+json
                Digest:    sha256:43cc23fa52b87b4cc1d02b5b114154151d6adddb17c9fddc06b027fa99e24008

                Manifests:
                  Name:        docker.io/library/alpine:latest@sha256:9cd31762e7050165195c9469ccea41a23c079f2d0f51b5e9bf0c9d7842618b72
                  MediaType:   application/vnd.oci.image.manifest.v1+json
                  Platform:    linux/amd64

                  Name:        docker.io/library/alpine:latest@sha256:fda9f7e6d61f47db1bca6d36fe3a1d852709ddd4c569f401da8cbbcbefa735e2
                  MediaType:   application/vnd.oci.image.manifest.v1+json
                  Platform:    linux/arm/v7

                  Name:        docker.io/library/alpine:latest@sha256:2815f76834d43fc75b4e572ecd121be646c8c9849e23b88d63bad3510ff1b46d
                  MediaType:   application/vnd.oci.image.manifest.v1+json
                  Platform:    unknown/unknown
                  Annotations:
                    vnd.docker.reference.digest: [31mx
                    vnd.docker.reference.type:   attestation-manifest
            "#]],
        );
    }

    #[test]
    fn a_manifest_is_three_lines() {
        let digest = Digest::of(b"{}");
        let config =
            format!(r#"{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{digest}","size":2}}"#);
        let manifest = format!(
            r#"{{"schemaVersion":2,"mediaType":"application/vnd.docker.distribution.manifest.v2+json","config":{config},"layers":[]}}"#
        );
        check(
            "127.0.0.1:5000/team/api:1",
            &manifest,
            expect![[r#"
            Name:      127.0.0.1:5000/team/api:1
            MediaType: application/vnd.docker.distribution.manifest.v2+json
            Digest:    sha256:43cc23fa52b87b4cc1d02b5b114154151d6adddb17c9fddc06b027fa99e24008
        "#]],
        );
    }
}
