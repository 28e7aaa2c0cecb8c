//! Sends what was built where the plan says: files first, registries after them, so that a full disk stops no release
//! half-way.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::path::PathBuf;

use super::store_failure::store_failure;
use super::{Failure, Host, Kind, publish};
use crate::digest::DiffId;
use crate::digest::Digest;
use crate::export::archive::{ArchiveTree, write_tar};
use crate::export::error::FileExportError;
use crate::export::file::write_file;
use crate::export::image::{ExportError, TargetImage, TargetResult};
use crate::export::layout::{Layout, LayoutBlob, LayoutRoot, write_layout_archive, write_layout_directory};
use crate::export::local::{Ownership, copy_to_directory};
use crate::export::push::{Publication, PublishError, Published, Publisher};
use crate::oci::Descriptor;
use crate::plan::{LayoutForm, Output, Plan, TargetPlan};
use crate::platform::Platform;
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
    /// Fetches base layers that were never needed.
    pub layers: &'a Layers<'a>,
    /// Tells the user.
    pub activities: &'a Activities<'a>,
    /// Latest modification time in what is written, seconds since 1970.
    pub epoch: i64,
}

/// What was sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Released {
    /// To registries.
    pub published: Published,
    /// Files and directories that were written, as the user named them.
    pub written: Vec<String>,
}

impl Released {
    /// Returns the lines that end a build: `summary` first.
    pub fn text(&self, summary: &str) -> String {
        let mut text = summary.trim_end().to_owned();
        for path in &self.written {
            text.push_str(&format!("\nwrote {path}"));
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
        let written = self.write(results)?;
        let published = self.publish(results).map_err(|error| publish::failure(&error))?;
        self.publisher.finish();
        Ok(Released { published, written })
    }

    /// Writes files and directories, and returns which.
    ///
    /// # Errors
    /// One cannot be written.
    pub(super) fn write(&self, results: &[TargetResult]) -> Result<Vec<String>, Failure> {
        let mut written = Vec::new();
        let mut layouts: BTreeMap<(&String, LayoutForm), Vec<(&TargetPlan, &TargetImage)>> = BTreeMap::new();
        for (target, result) in self.plan.targets.iter().zip(results) {
            for output in &target.outputs {
                match output {
                    Output::Push(_) | Output::CacheOnly => {}
                    Output::Oci { dest, form } => {
                        let image = result.image.as_ref().expect("made for this output");
                        layouts.entry((dest, *form)).or_default().push((target, image));
                    }
                    Output::Local { dest } => self.write_local(result, dest)?,
                    Output::Tar { dest } => self.write_tar(result, dest)?,
                }
                if let Output::Local { dest } | Output::Tar { dest } = output {
                    written.push(dest.clone());
                }
            }
        }
        for ((dest, form), targets) in layouts {
            self.write_layout(&targets, dest, form)?;
            written.push(dest.clone());
        }
        Ok(written)
    }

    /// Publishes what the plan pushes: all of it, or nothing.
    pub(super) fn publish(&self, results: &[TargetResult]) -> Result<Published, PublishError> {
        let publications: Vec<Publication<'_>> = self
            .plan
            .targets
            .iter()
            .zip(results)
            .filter_map(|(target, result)| Some((target, result.image.as_ref()?)))
            .flat_map(|(target, image)| {
                target.outputs.iter().filter_map(move |output| match output {
                    Output::Push(names) => Some(Publication { image, names }),
                    _ => None,
                })
            })
            .collect();
        if publications.is_empty() {
            return Ok(Published::default());
        }
        self.publisher.publish(&publications)
    }

    /// Writes one layout that holds the images of all `targets`, each under its tags.
    fn write_layout(
        &self,
        targets: &[(&TargetPlan, &TargetImage)],
        dest: &str,
        form: LayoutForm,
    ) -> Result<(), Failure> {
        let activity = self.activities.start(&format!("write {dest}"));
        let mut openers = Vec::new();
        for (_, image) in targets {
            openers.extend(self.blobs(image)?);
        }
        let layout = Layout {
            roots: targets
                .iter()
                .map(|(target, image)| LayoutRoot { descriptor: image.root().descriptor.clone(), names: &target.tags })
                .collect(),
            blobs: openers
                .iter()
                .map(|(descriptor, open)| LayoutBlob { descriptor: descriptor.clone(), open })
                .collect(),
            docker: None,
        };
        match form {
            LayoutForm::Archive => self.write_to(dest, |out| write_layout_archive(&layout, out))?,
            LayoutForm::Directory => {
                write_layout_directory(&layout, &self.path(dest)).map_err(|error| file_failure(&error))?;
            }
        }
        activity.finish("");
        Ok(())
    }

    /// Returns all blobs of an image with what opens them; base layers that were never needed are fetched now.
    fn blobs<'b>(&'b self, image: &'b TargetImage) -> Result<Vec<(Descriptor, Box<Opener<'b>>)>, Failure> {
        let mut blobs: BTreeMap<String, (Descriptor, Box<Opener<'b>>)> = BTreeMap::new();
        let mut add = |descriptor: &Descriptor, open: Box<Opener<'b>>| {
            blobs.entry(descriptor.digest().to_string()).or_insert_with(|| (descriptor.clone(), open));
        };
        let documents = image.images.iter().flat_map(|image| [&image.manifest, &image.config]).chain(&image.index);
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

    fn write_local(&self, result: &TargetResult, dest: &str) -> Result<(), Failure> {
        let activity = self.activities.start(&format!("write {dest}"));
        for (platform, stack) in &result.stacks {
            let root = self.root(stack)?;
            let dest = self.path(dest).join(self.directory(result, platform));
            copy_to_directory(&root, &dest, Ownership::Caller, self.latest()).map_err(|error| file_failure(&error))?;
        }
        activity.finish("");
        Ok(())
    }

    fn write_tar(&self, result: &TargetResult, dest: &str) -> Result<(), Failure> {
        let activity = self.activities.start(&format!("write {dest}"));
        let roots: Vec<(String, Root)> = result
            .stacks
            .iter()
            .map(|(platform, stack)| Ok((self.directory(result, platform), self.root(stack)?)))
            .collect::<Result<_, Failure>>()?;
        let trees: Vec<ArchiveTree<'_>> =
            roots.iter().map(|(directory, root)| ArchiveTree { directory, root }).collect();
        self.write_to(dest, |out| write_tar(&trees, self.latest(), out))?;
        activity.finish("");
        Ok(())
    }

    /// Several platforms go into a directory each, as the peer names them: `linux_arm_v7`.
    fn directory(&self, result: &TargetResult, platform: &Platform) -> String {
        if result.stacks.len() > 1 { platform.to_string().replace('/', "_") } else { String::new() }
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

fn layer_failure(error: &LayerError) -> Failure {
    match error {
        LayerError::Registry(registry) => Failure::new(Kind::Remote, error).hints(registry.hint()),
        LayerError::Lost { .. } => {
            Failure::new(Kind::Environment, error).hint("build again with --no-cache: its step makes it anew")
        }
        LayerError::Store(error) => store_failure(error),
    }
}

fn file_failure(error: &FileExportError) -> Failure {
    Failure::caused(Kind::Environment, error)
}
