//! What decides an image's bytes besides its root file system and config: `compression`, `oci-mediatypes`, annotations
//! (BuildKit, `exporter/containerimage/opts.go`; buildx v0.36, `util/buildflags/export.go`).

use std::collections::BTreeMap;

use crate::bakefile::{OutputSpec, Target, parse_bool};
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::oci::{Compression, MediaTypes};
use crate::platform::Platform;

/// Options of an output.
type Fields = BTreeMap<String, String>;

/// Options of outputs that are read here; and every `annotation…` ([`is_annotation`]).
pub(super) const OPTIONS: [&str; 5] =
    ["compression", "compression-level", "force-compression", "oci-mediatypes", "rewrite-timestamp"];

/// Options of the peer's that ask for what bake has not, and why that is.
const REFUSED: [(&str, &str); 9] = [
    ("attestation-inline", "attestations stand in the index of the image"),
    ("attestation-prefix", "it is about the files of `type=local` and `type=tar`"),
    ("oci-artifact", "attestations have image manifests, which every registry takes"),
    ("buildinfo", "the peer has given it up for provenance"),
    ("buildinfo-attrs", "the peer has given it up for provenance"),
    ("dangling-name-prefix", "images in the store have no names"),
    ("danging-name-empty-only", "images in the store have no names"),
    ("prefer-nondist-layers", "layers keep the media types of their base image"),
    ("source-date-epoch", "it is the environment variable SOURCE_DATE_EPOCH that says it"),
];

/// What decides an image's bytes besides what is in it. Two outputs of one target with equal shapes share an image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageShape {
    /// Of the layers that the build made.
    pub compression: Compression,
    /// Layers of the base image that are compressed in another way are compressed anew.
    pub is_forced: bool,
    /// Of manifests, index, config and layers.
    pub media_types: MediaTypes,
    /// Keys and values beside the image.
    pub annotations: Annotations,
}

/// What stands beside an image in its documents, by key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Annotations {
    /// In the index.
    pub index: BTreeMap<String, String>,
    /// Where something else names the index.
    pub index_descriptor: BTreeMap<String, String>,
    /// In the manifests: of all platforms, or of this one.
    manifest: BTreeMap<Option<Platform>, BTreeMap<String, String>>,
    /// Where the index or something else names the manifests.
    manifest_descriptor: BTreeMap<Option<Platform>, BTreeMap<String, String>>,
}

impl Annotations {
    /// Returns what stands in the manifest of a platform; what is said of that one alone wins.
    pub fn manifest(&self, platform: &Platform) -> BTreeMap<String, String> {
        of_platform(&self.manifest, platform)
    }

    /// Returns what stands where that manifest is named.
    pub fn manifest_descriptor(&self, platform: &Platform) -> BTreeMap<String, String> {
        of_platform(&self.manifest_descriptor, platform)
    }

    fn add(&mut self, level: Level, key: &str, value: &str) {
        let level = match level {
            Level::Index => &mut self.index,
            Level::IndexDescriptor => &mut self.index_descriptor,
            Level::Manifest(platform) => self.manifest.entry(platform).or_default(),
            Level::ManifestDescriptor(platform) => self.manifest_descriptor.entry(platform).or_default(),
        };
        level.insert(key.to_owned(), value.to_owned());
    }

    fn platforms(&self) -> impl Iterator<Item = &Platform> {
        self.manifest.keys().chain(self.manifest_descriptor.keys()).flatten()
    }
}

fn of_platform(
    level: &BTreeMap<Option<Platform>, BTreeMap<String, String>>,
    platform: &Platform,
) -> BTreeMap<String, String> {
    [None, Some(platform.clone())].iter().filter_map(|key| level.get(key)).flatten().map(owned).collect()
}

fn owned((key, value): (&String, &String)) -> (String, String) {
    (key.clone(), value.clone())
}

impl ImageShape {
    /// Returns a text that is another one for each shape; empty for the one that images have where nothing is said.
    pub fn identity(&self) -> String {
        // Every value's own text is written with its quotes, so that no two shapes run together.
        if *self == ImageShape::default() { String::new() } else { format!("{self:?}") }
    }
}

/// The document or descriptor that an annotation stands in.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Level {
    Index,
    IndexDescriptor,
    Manifest(Option<Platform>),
    ManifestDescriptor(Option<Platform>),
}

impl Level {
    fn new(level: &str, platform: Option<&str>) -> Result<Level, String> {
        let parsed = |platform: &str| platform.parse::<Platform>().map_err(|error| error.to_string());
        let platform = platform.map(parsed).transpose()?;
        match level {
            "" | "manifest" => Ok(Level::Manifest(platform)),
            "manifest-descriptor" => Ok(Level::ManifestDescriptor(platform)),
            "index" => Ok(Level::Index),
            "index-descriptor" => Ok(Level::IndexDescriptor),
            _ => Err(format!("unknown annotation type \"{level}\"")),
        }
    }

    /// Reads `manifest[linux/amd64]`.
    fn parse(text: &str) -> Result<Level, String> {
        let (level, platform) = match text.strip_suffix(']').and_then(|text| text.split_once('[')) {
            Some((level, platform)) => (level, Some(platform)),
            None => (text, None),
        };
        let is_level = |text: &str| text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-');
        if !is_level(level) || level.is_empty() || platform == Some("") {
            return Err(format!(
                "invalid annotation type \"{text}\", expected type and optional platform in square brackets"
            ));
        }
        Level::new(level, platform)
    }
}

/// Says whether an output's option is an annotation.
pub(super) fn is_annotation(key: &str) -> bool {
    key.strip_prefix("annotation").is_some_and(|rest| rest.starts_with(['.', '-', '[']))
}

/// Returns why an option is refused that the peer knows.
pub(super) fn refusal(key: &str) -> Option<&'static str> {
    REFUSED.iter().find(|(refused, _)| *refused == key).map(|(_, reason)| *reason)
}

/// What there is to stand in.
#[derive(Clone, Copy)]
pub(super) struct Documents<'a> {
    /// Each has a manifest.
    pub(super) platforms: &'a [Platform],
    /// Then there is an index for a single platform, too.
    pub(super) is_attested: bool,
}

/// Returns the shape of a target's image where its outputs say nothing: its `annotations`.
pub(super) fn of_target(target: &Target, documents: Documents<'_>, found: &mut Diagnostics) -> ImageShape {
    let mut shape = ImageShape::default();
    for annotation in target.annotations.iter().filter(|annotation| !annotation.value.is_empty()) {
        let checked = add_prefixed(&mut shape.annotations, &annotation.value).and_then(|()| check(&shape, documents));
        if let Err(reason) = checked {
            let message = format!("{reason} (an annotation of target \"{}\")", target.name);
            found.push(Diagnostic::error(annotation.span, message));
            return ImageShape::default();
        }
    }
    shape
}

/// Adds `KEY=VALUE` or `LEVEL,LEVEL[PLATFORM]:KEY=VALUE`.
fn add_prefixed(annotations: &mut Annotations, text: &str) -> Result<(), String> {
    let (key, value) =
        text.split_once('=').ok_or_else(|| format!("invalid annotation \"{text}\", expected key=value"))?;
    match key.split_once(':') {
        None => annotations.add(Level::Manifest(None), key, value),
        Some((levels, key)) => {
            for level in levels.split(',') {
                annotations.add(Level::parse(level)?, key, value);
            }
        }
    }
    Ok(())
}

/// Returns the shape of the image that an output of a target for `platforms` takes; `base` is the target's.
pub(super) fn of_output(
    spec: &OutputSpec,
    base: &ImageShape,
    documents: Documents<'_>,
) -> Result<ImageShape, Diagnostic> {
    read(&spec.fields, base, documents).map_err(|reason| Diagnostic::error(spec.span, reason))
}

fn read(fields: &Fields, base: &ImageShape, documents: Documents<'_>) -> Result<ImageShape, String> {
    let mut shape = ImageShape { compression: compression(fields)?, ..base.clone() };
    shape.is_forced = flag(fields, "force-compression", false)?;
    if !flag(fields, "rewrite-timestamp", true)? {
        return Err(
            "layers' times are at most SOURCE_DATE_EPOCH always; `rewrite-timestamp=false` cannot be".to_owned()
        );
    }
    shape.media_types = match flag(fields, "oci-mediatypes", true)? {
        true => MediaTypes::Oci,
        false => MediaTypes::Docker,
    };
    for (key, value) in fields.iter().filter(|(key, _)| is_annotation(key)) {
        let invalid = || format!("invalid annotation option `{key}`, expected `annotation-LEVEL[PLATFORM].KEY`");
        // The level ends at the first full stop behind its platform, which may have none.
        let (level, name) = key["annotation".len()..].split_once('.').ok_or_else(invalid)?;
        let level = match level.strip_prefix('-').unwrap_or(level) {
            "" => Level::Manifest(None),
            level if level.starts_with('[') => Level::parse(&format!("manifest{level}"))?,
            level => Level::parse(level)?,
        };
        if name.is_empty() || name.contains(char::is_whitespace) {
            return Err(invalid());
        }
        shape.annotations.add(level, name, value);
    }
    check(&shape, documents)?;
    Ok(shape)
}

fn compression(fields: &Fields) -> Result<Compression, String> {
    let level = fields.get("compression-level");
    let level = level.map(|text| {
        let parsed = text.parse::<i32>();
        parsed.map_err(|_| format!("non-integer value {text} specified for compression-level"))
    });
    let level = level.transpose()?;
    let in_range = |max: i32, kind: &str| match level {
        Some(level) if !(0..=max).contains(&level) => {
            Err(format!("{kind} has the levels 0 to {max}; `compression-level={level}` is none of them"))
        }
        _ => Ok(level),
    };
    match fields.get("compression").map_or("gzip", String::as_str) {
        "gzip" => Ok(in_range(9, "gzip")?.map_or(Compression::GZIP, Compression::Gzip)),
        // Zstandard's own level 0 stands for the one that it has where nothing is said.
        "zstd" => Ok(in_range(22, "zstd")?.filter(|level| *level > 0).map_or(Compression::ZSTD, Compression::Zstd)),
        "uncompressed" if level.is_some() => Err("`compression=uncompressed` has no `compression-level`".to_owned()),
        "uncompressed" => Ok(Compression::Uncompressed),
        "estargz" => Err("`compression=estargz` is not supported yet".to_owned()),
        kind => Err(format!("unsupported compression type {kind}")),
    }
}

/// Refuses annotations that have no place in the image.
fn check(shape: &ImageShape, documents: Documents<'_>) -> Result<(), String> {
    let Annotations { index, index_descriptor, manifest_descriptor, .. } = &shape.annotations;
    let has_index_level = !index.is_empty() || !index_descriptor.is_empty();
    if let Some(platform) = shape.annotations.platforms().find(|platform| !documents.platforms.contains(platform)) {
        return Err(format!("invalid annotation: no platform {platform} found in source"));
    }
    if shape.media_types == MediaTypes::Docker && (has_index_level || !manifest_descriptor.is_empty()) {
        return Err("cannot export annotations with \"oci-mediatypes=false\"".to_owned());
    }
    if shape.media_types == MediaTypes::Docker && documents.is_attested {
        return Err("cannot export attestations with \"oci-mediatypes=false\"".to_owned());
    }
    if documents.platforms.len() < 2 && !documents.is_attested && has_index_level {
        return Err("index annotations not supported for single platform export".to_owned());
    }
    Ok(())
}

/// Returns a switch; written without a value it is on.
fn flag(fields: &Fields, key: &str, default: bool) -> Result<bool, String> {
    match fields.get(key).map(String::as_str) {
        None => Ok(default),
        Some("") => Ok(true),
        Some(text) => parse_bool(text).ok_or_else(|| format!("output option `{key}` is true or false, not \"{text}\"")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(text: &str) -> Fields {
        let fields = text.split(',').filter(|field| !field.is_empty());
        let fields = fields.map(|field| field.split_once('=').expect("KEY=VALUE"));
        fields.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
    }

    fn shape(text: &str, platforms: &[&str]) -> Result<ImageShape, String> {
        let platforms: Vec<Platform> = platforms.iter().map(|text| text.parse().expect("known")).collect();
        read(&fields(text), &ImageShape::default(), Documents { platforms: &platforms, is_attested: false })
    }

    #[test]
    fn options_decide_how_layers_are_compressed() {
        let compression = |text: &str| shape(text, &["linux/amd64"]).map(|shape| shape.compression);
        let cases = [
            ("", Compression::GZIP),
            ("compression=gzip", Compression::GZIP),
            ("compression-level=9", Compression::Gzip(9)),
            ("compression=zstd", Compression::ZSTD),
            ("compression=zstd,compression-level=0", Compression::ZSTD),
            ("compression=zstd,compression-level=19", Compression::Zstd(19)),
            ("compression=uncompressed", Compression::Uncompressed),
        ];
        for (text, expected) in cases {
            assert_eq!(compression(text), Ok(expected), "{text}");
        }
        let refused = [
            ("compression=brotli", "unsupported compression type brotli"),
            ("compression-level=best", "non-integer value best specified for compression-level"),
            ("compression-level=10", "gzip has the levels 0 to 9; `compression-level=10` is none of them"),
            ("force-compression=maybe", "output option `force-compression` is true or false, not \"maybe\""),
        ];
        for (text, expected) in refused {
            assert_eq!(compression(text), Err(expected.to_owned()), "{text}");
        }
    }

    #[test]
    fn an_annotation_stands_at_its_level_and_platform() {
        let both = ["linux/amd64", "linux/arm/v7"];
        let text =
            "annotation.a=1,annotation-manifest[linux/arm/v7].a=2,annotation-index.b.c=3,annotation[linux/amd64].d=4";
        let shape = shape(text, &both).expect("all known");
        let manifest = |platform: &str| format!("{:?}", shape.annotations.manifest(&platform.parse().expect("known")));
        assert_eq!(manifest("linux/amd64"), r#"{"a": "1", "d": "4"}"#);
        assert_eq!(manifest("linux/arm/v7"), r#"{"a": "2"}"#);
        assert_eq!(format!("{:?}", shape.annotations.index), r#"{"b.c": "3"}"#);
    }

    #[test]
    fn annotations_without_a_place_are_refused() {
        let cases = [
            ("annotation-index.a=1", "index annotations not supported for single platform export"),
            ("annotation-manifest[linux/arm64].a=1", "invalid annotation: no platform linux/arm64 found in source"),
            ("annotation-moon.a=1", "unknown annotation type \"moon\""),
            (
                "annotation-manifest-descriptor.a=1,oci-mediatypes=false",
                "cannot export annotations with \"oci-mediatypes=false\"",
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(shape(text, &["linux/amd64"]), Err(expected.to_owned()), "{text}");
        }
    }

    #[test]
    fn a_list_of_annotations_names_several_levels_at_once() {
        let mut annotations = Annotations::default();
        add_prefixed(&mut annotations, "index,manifest[linux/amd64]:a=b=c").expect("well-formed");
        add_prefixed(&mut annotations, "plain=1").expect("well-formed");
        let platform = "linux/amd64".parse().expect("known");
        assert_eq!(format!("{:?}", annotations.manifest(&platform)), r#"{"a": "b=c", "plain": "1"}"#);
        assert_eq!(format!("{:?}", annotations.index), r#"{"a": "b=c"}"#);
        for (text, expected) in [
            ("alone", "invalid annotation \"alone\", expected key=value"),
            ("Moon:a=1", "invalid annotation type \"Moon\", expected type and optional platform in square brackets"),
        ] {
            assert_eq!(add_prefixed(&mut annotations, text), Err(expected.to_owned()));
        }
    }

    #[test]
    fn only_the_plain_shape_has_no_identity() {
        let identity = |text: &str| shape(text, &["linux/amd64"]).expect("well-formed").identity();
        assert_eq!(identity("oci-mediatypes=true"), "");
        let texts =
            ["compression=zstd", "compression-level=5", "oci-mediatypes=false", "annotation.a=1", "annotation.b=1"];
        let identities: std::collections::BTreeSet<String> = texts.iter().map(|text| identity(text)).collect();
        assert_eq!(identities.len(), texts.len());
    }
}
