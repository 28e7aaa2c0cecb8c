//! Prints a lockfile.

use std::fmt::Write as _;

use super::{ImagePin, LockedImage, LockedLayer, LockedResult, Lockfile, VERSION};

const HEADER: &str = "\
# Made by `bake build`; check it in and do not edit it.
# It pins what the images are built from and records what they became.
";

impl Lockfile {
    /// Returns the canonical text: LF, sorted, ends with a newline.
    pub fn to_text(&self) -> String {
        let mut text = format!("{HEADER}\nversion = {VERSION}\n");
        for (reference, pin) in &self.pins {
            push_pin(&mut text, &key(&reference.to_string()), pin);
        }
        for (name, target) in &self.targets {
            let name = key(name);
            if let Some(image) = &target.image {
                push_image(&mut text, &name, image);
            }
            for (platform, result) in &target.results {
                push_result(&mut text, &name, &key(&platform.to_string()), result);
            }
        }
        text
    }
}

fn push_pin(text: &mut String, reference: &str, pin: &ImagePin) {
    _ = write!(text, "\n[image.{reference}]\ndigest = \"{}\"\n", pin.digest);
    _ = writeln!(text, "media_type = {}", string(pin.media_type.as_ref()));
    for (platform, manifest) in &pin.platforms {
        _ = writeln!(text, "platform.{} = \"{manifest}\"", key(&platform.to_string()));
    }
}

fn push_image(text: &mut String, target: &str, image: &LockedImage) {
    _ = write!(text, "\n[target.{target}]\ndigest = \"{}\"\n", image.digest);
    let tags = image.tags.iter().map(|tag| string(&tag.to_string()));
    push_list(text, "tags", tags);
}

fn push_result(text: &mut String, target: &str, platform: &str, result: &LockedResult) {
    _ = write!(text, "\n[target.{target}.platform.{platform}]\n");
    if let Some(inputs) = result.inputs {
        _ = writeln!(text, "inputs = \"{inputs}\"");
    }
    _ = writeln!(text, "manifest = \"{}\"\nconfig = \"{}\"", result.manifest, result.config);
    push_list(text, "layers", result.layers.iter().map(layer));
}

fn layer(layer: &LockedLayer) -> String {
    let LockedLayer { diff_id, digest, size, media_type } = layer;
    let media_type = string(media_type.as_ref());
    format!("{{ diff_id = \"{diff_id}\", digest = \"{digest}\", size = {size}, media_type = {media_type} }}")
}

/// One item a line, so that a merge sees items.
fn push_list(text: &mut String, name: &str, items: impl ExactSizeIterator<Item = String>) {
    if items.len() == 0 {
        _ = writeln!(text, "{name} = []");
        return;
    }
    _ = writeln!(text, "{name} = [");
    for item in items {
        _ = writeln!(text, "    {item},");
    }
    text.push_str("]\n");
}

/// A TOML key: bare where it may be.
fn key(text: &str) -> String {
    let is_bare = !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    if is_bare { text.to_owned() } else { string(text) }
}

/// A TOML basic string.
fn string(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => _ = write!(quoted, "\\u{:04x}", u32::from(c)),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}
