//! Sends what was built where the plan says: files first, registries after them, so that a full disk stops no release
//! half-way.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::path::PathBuf;

use super::load::ImageStores;
use super::store_failure::store_failure;
use super::{Failure, Host, Kind, publish};
use crate::digest::DiffId;
use crate::digest::Digest;
use crate::export::archive::{ArchiveTree, write_tar_with};
use crate::export::beside::{AddedFile, statements, write_beside};
use crate::export::error::FileExportError;
use crate::export::file::write_file;
use crate::export::image::{ExportError, TargetImage, TargetResult};
use crate::export::layout::{
    DockerImage, DockerNames, Layout, LayoutBlob, LayoutRoot, write_layout_archive, write_layout_directory,
};
use crate::export::local::{Ownership, copy_to_directory};
use crate::export::mirror::{check_clashes, remove_others};
use crate::export::push::{Publication, PublishError, Published, Publisher};
use crate::oci::Descriptor;
use crate::plan::{ImageFormat, LayoutForm, LocalMode, Output, Plan, PlatformSplit, TargetPlan};
use crate::platform::Platform;
use crate::reference::Reference;
use crate::solver::activity::Activities;
use crate::store::Store;
use crate::sys::root::Root;
use crate::worker::layers::{LayerError, Layers};

/// Everything that sending needs.
#[derive(Clone, Copy)]
pub struct Release<'a> {
    /// Where the command runs.
    pub host: &'a Host,
    /// What goes where.
    pub plan: &'a Plan,
    /// Has the layers.
    pub store: &'a Store,
    /// Sends to registries.
    pub publisher: &'a Publisher<'a>,
    /// Take images besides registries and files.
    pub image_stores: &'a ImageStores,
    /// Fetches base layers that were never needed.
    pub layers: &'a Layers<'a>,
    /// Tells the user.
    pub activities: &'a Activities<'a>,
    /// Latest modification time in what is written, seconds since 1970.
    pub epoch: i64,
}

/// An image and what it is called where it goes.
#[derive(Clone, Copy)]
pub(super) struct NamedImage<'a> {
    pub(super) image: &'a TargetImage,
    pub(super) names: &'a [Reference],
}

/// What was sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Released {
    /// To registries.
    pub published: Published,
    /// Images that were published by digest: `REPOSITORY@DIGEST`.
    pub by_digest: Vec<String>,
    /// What went into the images of a Docker or Podman, a line for each target.
    pub loaded: Vec<String>,
    /// Files and directories that were written, as the user named them.
    pub written: Vec<String>,
}

impl Released {
    /// Returns the lines that end a build: `summary` first.
    pub fn text(&self, summary: &str) -> String {
        let mut text = summary.trim_end().to_owned();
        for path in &self.written {
            let path = if path == "-" { "to standard output" } else { path };
            text.push_str(&format!("\nwrote {path}"));
        }
        for loaded in &self.loaded {
            text.push_str(&format!("\n{loaded}"));
        }
        for name in &self.by_digest {
            text.push_str(&format!("\npublished {name}"));
        }
        for tag in &self.published.tags_moved {
            text.push_str(&format!("\npushed {tag}"));
        }
        for tag in &self.published.tags_unchanged {
            text.push_str(&format!("\nunchanged {tag}"));
        }
        text
    }
}

impl Release<'_> {
    /// Sends `results`, which are in the plan's order.
    ///
    /// # Errors
    /// A file cannot be written or a registry fails; before the first tag moves, all tags are as they were.
    pub fn send(&self, results: &[TargetResult]) -> Result<Released, Failure> {
        let released = self.write(results)?;
        let published = self.publish(results).map_err(|error| publish::failure(&error))?;
        self.publisher.finish();
        Ok(Released { published, ..released })
    }

    /// Writes files and directories, fills the images of a Docker or Podman, and returns all that is said of the release but
    /// what was published under tags.
    ///
    /// # Errors
    /// A file cannot be written, or an image not be loaded.
    pub(super) fn write(&self, results: &[TargetResult]) -> Result<Released, Failure> {
        let mut released = Released::default();
        let mut layouts: BTreeMap<(&String, LayoutForm, ImageFormat), Vec<NamedImage<'_>>> = BTreeMap::new();
        for (target, output, result) in self.outputs(results) {
            match output {
                Output::File(file) => {
                    let image = result.image_for(output).expect("made for this output");
                    layouts
                        .entry((&file.dest, file.form, file.format))
                        .or_default()
                        .push(NamedImage { image, names: &file.names });
                }
                Output::Local { dest, split, mode } => self.write_local(target, result, dest, (*split, *mode))?,
                Output::Tar { dest, split } => self.write_tar(target, result, dest, *split)?,
                Output::CacheOnly
                | Output::Image(_)
                | Output::Push(..)
                | Output::PushByDigest(..)
                | Output::Load { .. } => {}
            }
            if let Output::Local { dest, .. } | Output::Tar { dest, .. } = output {
                released.written.push(dest.clone());
            }
        }
        for ((dest, form, format), images) in layouts {
            self.write_layout(&images, dest, form, format)?;
            released.written.push(dest.clone());
        }
        released.loaded = self.image_stores.fill(self, results)?;
        let by_digest = self.by_digest(results);
        released.by_digest = by_digest.iter().flat_map(|(_, names)| names).map(ToString::to_string).collect();
        Ok(released)
    }

    /// Returns every output with its target's result. Directories that lose what is not in the result come first, outer ones
    /// before inner ones: nothing that this build has written is removed.
    fn outputs<'r>(&self, results: &'r [TargetResult]) -> Vec<(&TargetPlan, &Output, &'r TargetResult)> {
        let mut outputs: Vec<_> = self
            .plan
            .targets
            .iter()
            .zip(results)
            .flat_map(|(target, result)| target.outputs.iter().map(move |output| (target, output, result)))
            .collect();
        outputs.sort_by_key(|(_, output, _)| match output {
            Output::Local { dest, mode: LocalMode::Delete, .. } => (0, Some(self.path(dest))),
            _ => (1, None),
        });
        outputs
    }

    /// Returns the images that are published without a tag, with their names.
    fn by_digest<'r>(&self, results: &'r [TargetResult]) -> Vec<(&'r TargetImage, Vec<Reference>)> {
        let outputs = self.outputs(results).into_iter();
        let images = outputs.filter_map(|(_, output, result)| match (output, result.image_for(output)) {
            (Output::PushByDigest(names, _), Some(image)) => {
                Some((image, names.iter().map(|name| name.with_digest(image.root().digest())).collect()))
            }
            _ => None,
        });
        images.collect()
    }

    /// Publishes what the plan pushes: all of it, or nothing.
    pub(super) fn publish(&self, results: &[TargetResult]) -> Result<Published, PublishError> {
        let by_digest = self.by_digest(results);
        let outputs = self.outputs(results).into_iter();
        let images = outputs.filter_map(|(_, output, result)| Some((output, result.image_for(output)?)));
        let tagged = images.filter_map(|(output, image)| match output {
            Output::Push(names, _) => Some(Publication { image, names }),
            _ => None,
        });
        let untagged = by_digest.iter().map(|(image, names)| Publication { image, names });
        let publications: Vec<Publication<'_>> = tagged.chain(untagged).collect();
        if publications.is_empty() {
            return Ok(Published::default());
        }
        self.publisher.publish(&publications)
    }

    /// Writes one layout that holds all `images`, each under its names.
    fn write_layout(
        &self,
        images: &[NamedImage<'_>],
        dest: &str,
        form: LayoutForm,
        format: ImageFormat,
    ) -> Result<(), Failure> {
        let activity = self.activities.start(&format!("write {dest}"));
        self.with_layout(images, format, |layout| match form {
            LayoutForm::Archive => self.write_to(dest, |out| write_layout_archive(layout, out)),
            LayoutForm::Directory => {
                write_layout_directory(layout, &self.path(dest)).map_err(|error| file_failure(&error))
            }
        })?;
        activity.finish("");
        Ok(())
    }

    /// Calls `work` with the layout of `images`. Base layers that were never needed are fetched for it.
    pub(super) fn with_layout<T>(
        &self,
        images: &[NamedImage<'_>],
        format: ImageFormat,
        work: impl FnOnce(&mut Layout<'_>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let (mut openers, mut docker) = (Vec::new(), Vec::new());
        for NamedImage { image, names } in images {
            openers.extend(self.blobs(image)?);
            for platform in image.images.iter().filter(|_| format == ImageFormat::Docker) {
                let layers = platform.layers.iter().map(crate::oci::digest_of).collect::<Result<_, _>>();
                let layers = layers.map_err(|error| Failure::new(Kind::Remote, error))?;
                docker.push(DockerImage { config: platform.config.digest(), layers, names });
            }
        }
        let blobs =
            openers.iter().map(|(descriptor, open)| LayoutBlob { descriptor: descriptor.clone(), open }).collect();
        let root = |named: &NamedImage<'_>| named.image.root_descriptor();
        let roots = images.iter().map(|named| LayoutRoot { descriptor: root(named), names: named.names }).collect();
        work(&mut Layout { roots, blobs, docker, docker_names: DockerNames::default() })
    }

    /// Returns all blobs of an image with what opens them; base layers that were never needed are fetched now.
    fn blobs<'b>(&'b self, image: &'b TargetImage) -> Result<Vec<(Descriptor, Box<Opener<'b>>)>, Failure> {
        let mut blobs: BTreeMap<String, (Descriptor, Box<Opener<'b>>)> = BTreeMap::new();
        let mut add = |descriptor: &Descriptor, open: Box<Opener<'b>>| {
            blobs.entry(descriptor.digest().to_string()).or_insert_with(|| (descriptor.clone(), open));
        };
        let attestations = image.images.iter().filter_map(|image| image.attestation.as_ref());
        let attestations = attestations.flat_map(|attestation| attestation.blobs().chain([&attestation.manifest]));
        let documents = image.images.iter().flat_map(|image| [&image.manifest, &image.config]);
        let documents = documents.chain(attestations).chain(&image.index);
        for document in documents {
            add(
                &document.descriptor,
                Box::new(|| Ok(Box::new(io::Cursor::new(document.bytes.clone())) as Box<dyn Read>)),
            );
        }
        for image in &image.images {
            for (diff_id, layer) in image.stack.iter().zip(&image.layers) {
                self.layers.fetch(diff_id, layer).map_err(|error| layer_failure(&error))?;
                let digest: Digest = crate::oci::digest_of(layer).map_err(|error| Failure::new(Kind::Remote, error))?;
                // Nobody after this looks at the bytes that an output gets.
                self.store.check_blob(&digest).map_err(|error| store_failure(&error))?;
                add(layer, Box::new(move || Ok(Box::new(self.store.open_blob(&digest)?) as Box<dyn Read>)));
            }
        }
        Ok(blobs.into_values().collect())
    }

    fn write_local(
        &self,
        target: &TargetPlan,
        result: &TargetResult,
        dest: &str,
        (split, mode): (PlatformSplit, LocalMode),
    ) -> Result<(), Failure> {
        let activity = self.activities.start(&format!("write {dest}"));
        let roots = self.roots(result, split)?;
        let attestations = self.attestations(target, result, &roots, dest)?;
        let (trees, dest) = (trees(&roots), self.path(dest));
        if mode == LocalMode::Delete {
            remove_others(&dest, &trees).map_err(|error| file_failure(&error))?;
        }
        for tree in &trees {
            copy_to_directory(tree.root, &dest.join(tree.directory), Ownership::Caller, self.latest())
                .map_err(|error| file_failure(&error))?;
        }
        write_beside(&attestations, &dest).map_err(|error| file_failure(&error))?;
        activity.finish("");
        Ok(())
    }

    fn write_tar(
        &self,
        target: &TargetPlan,
        result: &TargetResult,
        dest: &str,
        split: PlatformSplit,
    ) -> Result<(), Failure> {
        let activity = self.activities.start(&format!("write {dest}"));
        let roots = self.roots(result, split)?;
        let attestations = self.attestations(target, result, &roots, dest)?;
        self.write_to(dest, |out| write_tar_with(&trees(&roots), &attestations, self.latest(), out))?;
        activity.finish("");
        Ok(())
    }

    /// Returns the attestations of root file systems, each with its path below the output at `dest`. Where platforms share a
    /// directory, their documents have the platform in the name, as the peer's.
    fn attestations(
        &self,
        target: &TargetPlan,
        result: &TargetResult,
        roots: &[(String, Root)],
        dest: &str,
    ) -> Result<Vec<AddedFile>, Failure> {
        let mut added = Vec::new();
        for (((directory, root), documents), (platform, _)) in roots.iter().zip(&result.documents).zip(&result.stacks) {
            let files = statements(documents, target.attestations.prefix(dest), root);
            for file in files.map_err(|error| file_failure(&error))? {
                let path = match (directory.as_str(), roots.len()) {
                    ("", 0 | 1) => file.path,
                    ("", _) => {
                        let (stem, extension) = file.path.rsplit_once('.').unwrap_or((&file.path, ""));
                        let dot = if extension.is_empty() { "" } else { "." };
                        format!("{stem}.{}{dot}{extension}", platform.to_string().replace('/', "_"))
                    }
                    (directory, _) => format!("{directory}/{}", file.path),
                };
                added.push(AddedFile { path, bytes: file.bytes });
            }
        }
        Ok(added)
    }

    /// Returns the root file systems with the directory that each goes into, which the peer names like `linux_arm_v7`.
    fn roots(&self, result: &TargetResult, split: PlatformSplit) -> Result<Vec<(String, Root)>, Failure> {
        let named = |(platform, stack): &(Platform, Vec<DiffId>)| Ok((platform.to_string(), self.root(stack)?));
        let mut roots: Vec<(String, Root)> = result.stacks.iter().map(named).collect::<Result<_, Failure>>()?;
        if split == PlatformSplit::Merged && roots.len() > 1 {
            let named: Vec<(String, &Root)> = roots.iter().map(|(platform, root)| (platform.clone(), root)).collect();
            check_clashes(&named).map_err(|error| {
                file_failure(&error).hint("leave `platform-split=false` out, or let each platform name its files")
            })?;
        }
        for (name, _) in &mut roots {
            *name = if split == PlatformSplit::Split { name.replace('/', "_") } else { String::new() };
        }
        Ok(roots)
    }

    fn root(&self, stack: &[DiffId]) -> Result<Root, Failure> {
        self.layers.materialise(stack).map_err(|error| layer_failure(&error))?;
        let view = self.store.view(stack).map_err(|error| store_failure(&error))?;
        Ok(Root::from_fd(view))
    }

    fn write_to(
        &self,
        dest: &str,
        write: impl FnOnce(&mut dyn Write) -> Result<(), FileExportError>,
    ) -> Result<(), Failure> {
        let result = if dest == "-" {
            let mut out = io::BufWriter::with_capacity(1 << 17, io::stdout().lock());
            write(&mut out)
        } else {
            write_file(&self.path(dest), write)
        };
        result.map_err(|error| file_failure(&error))
    }

    fn path(&self, dest: &str) -> PathBuf {
        self.host.directory.join(dest)
    }

    fn latest(&self) -> u64 {
        u64::try_from(self.epoch).unwrap_or(0)
    }
}

fn trees(roots: &[(String, Root)]) -> Vec<ArchiveTree<'_>> {
    roots.iter().map(|(directory, root)| ArchiveTree { directory, root }).collect()
}

type Opener<'a> = dyn Fn() -> io::Result<Box<dyn Read>> + 'a;

/// Says for people why an image could not be put together or sent.
pub fn export_failure(error: &ExportError) -> Failure {
    match error {
        ExportError::Registry(registry) => Failure::new(Kind::Remote, error).hints(registry.hint()),
        ExportError::Layer(error) => layer_failure(error),
        ExportError::Store(error) => store_failure(error),
        ExportError::Manifest(_) => Failure::new(Kind::Environment, error),
    }
}

pub(super) fn layer_failure(error: &LayerError) -> Failure {
    match error {
        LayerError::Registry(registry) => Failure::new(Kind::Remote, error).hints(registry.hint()),
        LayerError::Lost { .. } => {
            Failure::new(Kind::Environment, error).hint("build again with --no-cache: its step makes it anew")
        }
        LayerError::Store(error) => store_failure(error),
    }
}

pub(super) fn file_failure(error: &FileExportError) -> Failure {
    Failure::caused(Kind::Environment, error)
}
