//! OCI image layouts (image-spec v1.1, image-layout.md), as a directory or as a tar archive.
//!
//! ```text
//! blobs/sha256/<hex>    every blob that the root reaches
//! index.json            one descriptor of the root for each name, as BuildKit writes it; one without a name if none
//! manifest.json         only for `type=docker`: what `docker load` of any version reads
//! oci-layout            the version
//! ```
//!
//! The bytes depend on what is given alone: entries and descriptors are sorted, times are the epoch.

#![expect(clippy::disallowed_methods, reason = "layouts are files of the user's")]

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};
use tar::EntryType;

use super::error::{FileExportError, io_error};
use super::file::write_file;
use crate::digest::Digest;
use crate::oci::tar::{TarEntry, TarWriter};
use crate::oci::{Descriptor, MediaType};
use crate::reference::Reference;

const IMAGE_NAME: &str = "io.containerd.image.name";
const REF_NAME: &str = "org.opencontainers.image.ref.name";
const VERSION: &str = r#"{"imageLayoutVersion":"1.0.0"}"#;

/// What a layout holds.
pub struct Layout<'a> {
    /// Its images.
    pub roots: Vec<LayoutRoot<'a>>,
    /// All blobs, the roots' own among them, in any order. Equal ones are written once.
    pub blobs: Vec<LayoutBlob<'a>>,
    /// For `type=docker` the images that `docker load` is to find; empty for `type=oci`. Only archives carry them.
    pub docker: Vec<DockerImage<'a>>,
    /// How those are called there.
    pub docker_names: DockerNames,
}

/// An image of a layout.
pub struct LayoutRoot<'a> {
    /// The index, or the manifest of an image without one.
    pub descriptor: Descriptor,
    /// Its names; may be empty.
    pub names: &'a [Reference],
}

/// How Docker's own archives call images of `docker.io`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DockerNames {
    /// `alpine:3`, as BuildKit writes them. Podman takes it for a name without a registry, `localhost/alpine:3`.
    #[default]
    Familiar,
    /// `docker.io/library/alpine:3`.
    Full,
}

/// An image as Docker's own archives describe it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DockerImage<'a> {
    /// Digest of the image config.
    pub config: Digest,
    /// Digests of the layers' blobs, oldest first.
    pub layers: Vec<Digest>,
    /// Its names; may be empty.
    pub names: &'a [Reference],
}

/// A blob and how to read it.
pub struct LayoutBlob<'a> {
    /// Its digest and size.
    pub descriptor: Descriptor,
    /// Opens its bytes; called at most once.
    pub open: &'a OpenBlob<'a>,
}

/// Opens a blob's bytes from the start.
pub type OpenBlob<'a> = dyn Fn() -> io::Result<Box<dyn Read>> + 'a;

/// Writes `layout` to `out`, which should be buffered, as a tar archive that `skopeo` and `podman` read, and `docker
/// load` too where [`Layout::docker`] is given.
///
/// # Errors
/// `BlobSize` where a blob is not as long as its descriptor says, `Io` where one cannot be read or the archive not be
/// written. What was written by then is no archive.
pub fn write_layout_archive(layout: &Layout<'_>, out: &mut dyn Write) -> Result<(), FileExportError> {
    let blobs = sorted_blobs(layout)?;
    let mut writer = TarWriter::new(out);
    let failed = io_error::<io::Error>("write", Path::new("tar"));
    for directory in ["blobs/", "blobs/sha256/"] {
        let entry = TarEntry::new(directory.as_bytes(), EntryType::Directory, 0o755, 0);
        writer.append(&entry, &mut io::empty()).map_err(&failed)?;
    }
    for (digest, blob) in blobs {
        let path = blob_path(digest);
        let entry = TarEntry::new(path.as_bytes(), EntryType::Regular, 0o644, blob.descriptor.size());
        let mut content = (blob.open)().map_err(io_error("read", Path::new(&path)))?;
        let size = writer.append(&entry, &mut content).map_err(io_error("write", Path::new(&path)))?;
        check_size(&blob.descriptor, size)?;
    }
    let index = to_bytes(&index_of(Vec::new(), layout));
    let docker = (!layout.docker.is_empty()).then(|| to_bytes(&docker_manifest(layout)));
    let documents = [
        ("index.json", Some(&index[..])),
        ("manifest.json", docker.as_deref()),
        ("oci-layout", Some(VERSION.as_bytes())),
    ];
    for (path, bytes) in documents {
        let Some(bytes) = bytes else { continue };
        let entry = TarEntry::new(path.as_bytes(), EntryType::Regular, 0o644, bytes.len() as u64);
        writer.append(&entry, &mut { bytes }).map_err(&failed)?;
    }
    writer.finish().map_err(&failed)
}

/// Writes `layout` to the directory `dest`, which is made if it is not there. Where it is a layout already, blobs and names
/// are added; a name that was there moves. The index is replaced last and at once, so that a reader never meets a name
/// whose blobs are missing.
///
/// # Errors
/// Those of [`write_layout_archive`]; `NoLayout` for a directory with other things in it, `Index` where its index cannot be
/// read.
pub fn write_layout_directory(layout: &Layout<'_>, dest: &Path) -> Result<(), FileExportError> {
    let blobs = sorted_blobs(layout)?;
    let old = existing_manifests(dest)?;
    let directory = dest.join("blobs/sha256");
    std::fs::create_dir_all(&directory).map_err(io_error("make", &directory))?;
    for (digest, blob) in blobs {
        let path = directory.join(digest.hex());
        let size = std::fs::metadata(&path).map(|found| found.len());
        if size.is_ok_and(|size| size == blob.descriptor.size()) {
            continue;
        }
        write_file(&path, |out| {
            let content = (blob.open)().map_err(io_error("read", &path))?;
            // One byte more than there should be tells that there is more.
            let mut content = content.take(blob.descriptor.size().saturating_add(1));
            let size = io::copy(&mut content, out).map_err(io_error("write", &path))?;
            check_size(&blob.descriptor, size)
        })?;
    }
    write_bytes(&dest.join("oci-layout"), VERSION.as_bytes())?;
    write_bytes(&dest.join("index.json"), &to_bytes(&index_of(old, layout)))
}

fn write_bytes(path: &Path, bytes: &[u8]) -> Result<(), FileExportError> {
    write_file(path, |out| out.write_all(bytes).map_err(io_error("write", path)))
}

/// Returns the descriptors of the layout at `dest`; none where there is nothing yet.
fn existing_manifests(dest: &Path) -> Result<Vec<Value>, FileExportError> {
    let path = dest.join("index.json");
    match std::fs::read(&path) {
        Ok(bytes) => parse_manifests(&bytes, path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => match std::fs::read_dir(dest) {
            Ok(entries) => match has_other_things(entries) {
                true => Err(FileExportError::NoLayout(dest.to_owned())),
                false => Ok(Vec::new()),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(io_error("read", dest)(error)),
        },
        Err(error) => Err(io_error("read", &path)(error)),
    }
}

/// An interrupted run leaves blobs without an index.
fn has_other_things(entries: std::fs::ReadDir) -> bool {
    let is_ours = |entry: std::fs::DirEntry| entry.file_name() == "blobs" || entry.file_name() == "oci-layout";
    entries.into_iter().any(|entry| !entry.is_ok_and(is_ours))
}

fn parse_manifests(bytes: &[u8], path: PathBuf) -> Result<Vec<Value>, FileExportError> {
    #[derive(serde::Deserialize)]
    struct Index {
        manifests: Vec<Map<String, Value>>,
    }
    match serde_json::from_slice::<Index>(bytes) {
        Ok(index) => Ok(index.manifests.into_iter().map(Value::Object).collect()),
        Err(source) => Err(FileExportError::Index { path, source }),
    }
}

/// Returns the index document: `old`, without what has one of the layout's names or is the unnamed root, and the root.
fn index_of(mut old: Vec<Value>, layout: &Layout<'_>) -> Value {
    for root in &layout.roots {
        add_root(&mut old, root);
    }
    old.sort_by_key(|manifest| {
        let name = annotation(manifest, IMAGE_NAME).or(annotation(manifest, REF_NAME));
        (name.map(str::to_owned), manifest["digest"].to_string())
    });
    json!({ "schemaVersion": 2, "mediaType": MediaType::ImageIndex.to_string(), "manifests": old })
}

/// Adds an image under each of its names; a name that was there moves.
fn add_root(old: &mut Vec<Value>, root: &LayoutRoot<'_>) {
    let digest = root.descriptor.digest().to_string();
    let names: Vec<Option<&Reference>> =
        if root.names.is_empty() { vec![None] } else { root.names.iter().map(Some).collect() };
    for name in names {
        let name_text = name.map(Reference::to_string);
        old.retain(|manifest| match (annotation(manifest, IMAGE_NAME), &name_text) {
            (None, None) => manifest["digest"] != digest.as_str(),
            (found, wanted) => found != wanted.as_deref(),
        });
        old.push(descriptor(&root.descriptor, name));
    }
}

/// Docker's image archives, version 1.2. Names without a tag are not names there.
fn docker_manifest(layout: &Layout<'_>) -> Value {
    let shown = |name: Reference| match layout.docker_names {
        DockerNames::Familiar => name.familiar(),
        DockerNames::Full => name.to_string(),
    };
    let entry = |image: &DockerImage<'_>| {
        let named = image.names.iter().filter_map(|name| Some((name, name.tag_or_latest()?)));
        let mut tags: Vec<String> = named
            .map(|(name, tag)| shown(Reference { tag: Some(tag.to_owned()), digest: None, ..name.clone() }))
            .collect();
        tags.sort();
        tags.dedup();
        let layers: Vec<String> = image.layers.iter().map(|layer| blob_path(*layer)).collect();
        json!({ "Config": blob_path(image.config), "RepoTags": tags, "Layers": layers })
    };
    layout.docker.iter().map(entry).collect()
}

fn annotation<'v>(manifest: &'v Value, name: &str) -> Option<&'v str> {
    manifest["annotations"][name].as_str()
}

fn descriptor(root: &Descriptor, name: Option<&Reference>) -> Value {
    let mut value = serde_json::to_value(root).expect("a descriptor has only text keys");
    let mut annotations: Vec<(String, String)> = root.annotations().clone().unwrap_or_default().into_iter().collect();
    if let Some(name) = name {
        annotations.retain(|(key, _)| key != IMAGE_NAME && key != REF_NAME);
        annotations.push((IMAGE_NAME.to_owned(), name.to_string()));
        annotations.extend(name.tag_or_latest().map(|tag| (REF_NAME.to_owned(), tag.to_owned())));
    }
    if !annotations.is_empty() {
        // The descriptor's own map has no order.
        annotations.sort();
        let annotations: Map<String, Value> = annotations.into_iter().map(|(key, text)| (key, text.into())).collect();
        value["annotations"] = Value::Object(annotations);
    }
    value
}

fn to_bytes(value: &Value) -> Vec<u8> {
    value.to_string().into_bytes()
}

/// Returns each blob once, by digest.
fn sorted_blobs<'l, 'a>(layout: &'l Layout<'a>) -> Result<Vec<(Digest, &'l LayoutBlob<'a>)>, FileExportError> {
    let with_digest = layout.blobs.iter().map(|blob| Ok((blob.descriptor.digest().as_ref().parse()?, blob)));
    let mut blobs = with_digest.collect::<Result<Vec<(Digest, _)>, FileExportError>>()?;
    blobs.sort_by_key(|(digest, _)| *digest);
    blobs.dedup_by_key(|(digest, _)| *digest);
    Ok(blobs)
}

fn blob_path(digest: Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

fn check_size(descriptor: &Descriptor, actual: u64) -> Result<(), FileExportError> {
    let (digest, expected) = (descriptor.digest().to_string(), descriptor.size());
    if actual == expected { Ok(()) } else { Err(FileExportError::BlobSize { digest, expected, actual }) }
}

#[cfg(test)]
mod tests;
