//! Reads a lockfile.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::str::FromStr;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{ImagePin, LockedImage, LockedLayer, LockedResult, LockedTarget, Lockfile, VERSION};
use crate::diagnostic::{Diagnostic, Diagnostics, FileId, SourceMap, Span};
use crate::digest::{DiffId, Digest};
use crate::oci::MediaType;
use crate::platform::Platform;
use crate::reference::Reference;

impl Lockfile {
    /// Reads the lockfile whose text is `file` of `sources`.
    ///
    /// # Errors
    /// All that is wrong with it, in source order. Each has a place, and the last says the way out.
    pub fn parse(sources: &SourceMap, file: FileId) -> Result<Lockfile, Diagnostics> {
        let name = sources.name(file);
        let mut reader = Reader { file, errors: Vec::new() };
        let lockfile = reader.read(sources.text(file), name);
        let mut errors = reader.errors;
        errors.sort_by_key(|error| error.labels.first().map(|label| label.span));
        let Some(last) = errors.last_mut() else { return Ok(lockfile) };
        if last.hints.is_empty() {
            last.hints.push(format!("restore {name} from version control, or delete it and run `bake build`"));
        }
        let mut diagnostics = Diagnostics::default();
        errors.into_iter().for_each(|error| diagnostics.push(error));
        Err(diagnostics)
    }
}

/// A key or a value with where it stands.
type At<'a, T> = (&'a T, Range<usize>);

struct Reader {
    file: FileId,
    errors: Vec<Diagnostic>,
}

impl Reader {
    /// Returns what could be read; it counts only if there are no errors.
    fn read(&mut self, text: &str, name: &str) -> Lockfile {
        let mut lockfile = Lockfile::default();
        if let Some(marker) = conflict_marker(text) {
            let error = self.error(marker, "a merge left conflict markers in the lockfile");
            error.hints.push(format!(
                "keep one side (`git checkout --ours {name}`) and run `bake build`, which adds what is missing"
            ));
            return lockfile;
        }
        let document = match DeTable::parse(text) {
            Ok(document) => document,
            Err(error) => {
                let span = error.span().unwrap_or_default();
                self.error(span, lower_first(error.message()));
                return lockfile;
            }
        };
        let table = document.get_ref();
        if !self.version(table) {
            return lockfile;
        }
        self.only(table, &["version", "image", "target"]);
        for (key, value) in self.entries(table, "image") {
            let reference = self.key::<Reference>(key, normal_reference);
            let pin = self.table(value).and_then(|table| self.pin(table, key.span()));
            lockfile.pins.extend(reference.zip(pin));
        }
        for (key, value) in self.entries(table, "target") {
            let target = self.table(value).map(|table| self.target(table, key.span()));
            lockfile.targets.extend(target.map(|target| (key.get_ref().to_string(), target)));
        }
        lockfile
    }

    /// Says whether the rest can be read.
    fn version(&mut self, table: &DeTable<'_>) -> bool {
        let Some(value) = table.get("version") else {
            self.error(0..0, "the lockfile has no `version`");
            return false;
        };
        match integer(value.get_ref()) {
            Some(VERSION) => true,
            Some(version) if version > VERSION => {
                let message = format!("the lockfile has version {version}, and this bake reads version {VERSION}");
                self.error(value.span(), message).hints.push("use the bake that wrote it, or a newer one".into());
                false
            }
            _ => {
                self.error(value.span(), format!("`version` is {VERSION}"));
                false
            }
        }
    }

    fn pin(&mut self, table: &DeTable<'_>, at: Range<usize>) -> Option<ImagePin> {
        self.only(table, &["digest", "media_type", "platform"]);
        let digest = self.required(table, "digest", &at);
        let media_type = self.media_type(table, &at);
        let mut platforms = BTreeMap::new();
        for (key, value) in self.entries(table, "platform") {
            let platform = self.key::<Platform>(key, Platform::to_string);
            let manifest = self.parsed(value);
            platforms.extend(platform.zip(manifest));
        }
        Some(ImagePin { digest: digest?, media_type: media_type?, platforms })
    }

    fn target(&mut self, table: &DeTable<'_>, at: Range<usize>) -> LockedTarget {
        self.only(table, &["digest", "tags", "platform"]);
        let mut target = LockedTarget::default();
        if table.contains_key("digest") || table.contains_key("tags") {
            let digest = self.required(table, "digest", &at);
            let tags = self.tags(table);
            target.image = digest.map(|digest| LockedImage { digest, tags });
        }
        for (key, value) in self.entries(table, "platform") {
            let platform = self.key::<Platform>(key, Platform::to_string);
            let result = self.table(value).and_then(|table| self.result(table, key.span()));
            target.results.extend(platform.zip(result));
        }
        if table.is_empty() {
            self.error(at, "the target has neither an image nor a result");
        }
        target
    }

    fn tags(&mut self, table: &DeTable<'_>) -> BTreeSet<Reference> {
        let mut tags = BTreeSet::new();
        for item in self.array(table, "tags") {
            if let Some(tag) = self.parsed::<Reference>(item)
                && self.is_normal(item, &normal_reference(&tag))
                && !tags.insert(super::normal(&tag))
            {
                self.error(item.span(), "the tag is listed twice");
            }
        }
        tags
    }

    fn result(&mut self, table: &DeTable<'_>, at: Range<usize>) -> Option<LockedResult> {
        self.only(table, &["inputs", "manifest", "config", "layers"]);
        let inputs = table.get("inputs").map(|value| self.parsed::<Digest>(value));
        let manifest = self.required(table, "manifest", &at);
        let config = self.required(table, "config", &at);
        let mut layers = Vec::new();
        for item in self.array(table, "layers") {
            layers.extend(self.table(item).and_then(|table| self.layer(table, item.span())));
        }
        Some(LockedResult { inputs: inputs.flatten(), manifest: manifest?, config: config?, layers })
    }

    fn layer(&mut self, table: &DeTable<'_>, at: Range<usize>) -> Option<LockedLayer> {
        self.only(table, &["diff_id", "digest", "size", "media_type"]);
        let diff_id = self.required(table, "diff_id", &at).map(DiffId);
        let digest = self.required(table, "digest", &at);
        let size = self.need(table, "size", &at).and_then(|value| {
            let size = integer(value.get_ref());
            if size.is_none() {
                self.error(value.span(), "`size` is a number of bytes");
            }
            size
        });
        let media_type = self.media_type(table, &at);
        Some(LockedLayer { diff_id: diff_id?, digest: digest?, size: size?, media_type: media_type? })
    }

    fn media_type(&mut self, table: &DeTable<'_>, at: &Range<usize>) -> Option<MediaType> {
        let value = self.need(table, "media_type", at)?;
        let (text, _) = self.string(value)?;
        Some(MediaType::from(text))
    }

    /// The digest under `name`, which has to be there.
    fn required(&mut self, table: &DeTable<'_>, name: &str, at: &Range<usize>) -> Option<Digest> {
        let value = self.need(table, name, at)?;
        self.parsed(value)
    }

    fn need<'t, 'i>(
        &mut self,
        table: &'t DeTable<'i>,
        name: &str,
        at: &Range<usize>,
    ) -> Option<&'t Spanned<DeValue<'i>>> {
        let value = table.get(name);
        if value.is_none() {
            self.error(at.clone(), format!("`{name}` is missing here"));
        }
        value
    }

    /// Parses a key that is printed in one way only, so that nothing can be there twice.
    fn key<T: FromStr<Err: ToString>>(
        &mut self,
        key: &Spanned<toml::de::DeString<'_>>,
        normal: impl Fn(&T) -> String,
    ) -> Option<T> {
        match key.get_ref().parse::<T>() {
            Ok(value) if normal(&value) == **key.get_ref() => Some(value),
            Ok(value) => {
                self.error(key.span(), format!("`{}` is written `{}` here", key.get_ref(), normal(&value)));
                None
            }
            Err(error) => {
                self.error(key.span(), error.to_string());
                None
            }
        }
    }

    fn is_normal(&mut self, value: &Spanned<DeValue<'_>>, normal: &str) -> bool {
        let is_normal = value.get_ref().as_str() == Some(normal);
        if !is_normal {
            self.error(value.span(), format!("the name is written `{normal}` here"));
        }
        is_normal
    }

    fn parsed<T: FromStr<Err: ToString>>(&mut self, value: &Spanned<DeValue<'_>>) -> Option<T> {
        let (text, at) = self.string(value)?;
        text.parse().map_err(|error: T::Err| _ = self.error(at, error.to_string())).ok()
    }

    fn string<'t>(&mut self, value: &'t Spanned<DeValue<'_>>) -> Option<At<'t, str>> {
        let text = value.get_ref().as_str();
        if text.is_none() {
            self.error(value.span(), "a string is wanted here");
        }
        Some((text?, value.span()))
    }

    fn table<'t, 'i>(&mut self, value: &'t Spanned<DeValue<'i>>) -> Option<&'t DeTable<'i>> {
        let table = value.get_ref().as_table();
        if table.is_none() {
            self.error(value.span(), "a table is wanted here");
        }
        table
    }

    /// The entries of the table under `name`; none if it is not there.
    fn entries<'t, 'i>(
        &mut self,
        table: &'t DeTable<'i>,
        name: &str,
    ) -> impl Iterator<Item = (&'t Spanned<toml::de::DeString<'i>>, &'t Spanned<DeValue<'i>>)> + use<'t, 'i> {
        table.get(name).and_then(|value| self.table(value)).into_iter().flatten()
    }

    fn array<'t, 'i>(&mut self, table: &'t DeTable<'i>, name: &str) -> &'t [Spanned<DeValue<'i>>] {
        let Some(value) = table.get(name) else { return &[] };
        let items = value.get_ref().as_array();
        if items.is_none() {
            self.error(value.span(), "a list is wanted here");
        }
        items.map_or(&[], |items| &items[..])
    }

    fn only(&mut self, table: &DeTable<'_>, known: &[&str]) {
        for (key, _) in table {
            if !known.contains(&&**key.get_ref()) {
                self.error(key.span(), format!("a lockfile of version {VERSION} has no `{}` here", key.get_ref()));
            }
        }
    }

    fn error(&mut self, at: Range<usize>, message: impl Into<String>) -> &mut Diagnostic {
        self.errors.push(Diagnostic::error(Span::new(self.file, at.start, at.end), message));
        self.errors.last_mut().expect("one was pushed")
    }
}

fn normal_reference(reference: &Reference) -> String {
    super::normal(reference).to_string()
}

/// Reads as `u64`, so that every size that can be printed can be read.
fn integer(value: &DeValue<'_>) -> Option<u64> {
    let integer = value.as_integer()?;
    u64::from_str_radix(integer.as_str(), integer.radix()).ok()
}

/// Returns the first line that git's merge would have written.
fn conflict_marker(text: &str) -> Option<Range<usize>> {
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let is_marker = ["<<<<<<<", "|||||||", "=======", ">>>>>>>"].iter().any(|marker| line.starts_with(marker));
        if is_marker {
            return Some(start..start + line.trim_end().len());
        }
        start += line.len();
    }
    None
}

fn lower_first(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|c| c.to_lowercase().chain(chars).collect()).unwrap_or_default()
}
