//! `--load`: finds the image store of each output that goes into one, before anything is built, and fills it in the end.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::project::ProjectRequest;
use super::release::{NamedImage, Release, file_failure};
use super::{Failure, Host, Kind, build};
use crate::digest::Digest;
use crate::export::daemon::endpoint::Settings;
use crate::export::daemon::{self, ImageStore, LoadError, Podman};
use crate::export::image::{TargetImage, TargetResult};
use crate::export::layout::write_layout_archive;
use crate::plan::{ImageFormat, Output, Plan, TargetPlan};
use crate::platform::Platform;
use crate::reference::Reference;

/// What instead of a store that is not there.
const AS_A_FILE: &str = "or write an archive: `--output type=docker,dest=FILE`, and later `docker load -i FILE`";

/// The image stores of a build, by the context that outputs name.
#[derive(Default)]
pub struct ImageStores(BTreeMap<Option<String>, ImageStore>);

/// What of a target goes into a store.
struct Loaded<'a> {
    target: &'a TargetPlan,
    /// For one platform where the store takes one.
    image: TargetImage,
    /// Its names there.
    names: &'a [Reference],
    /// Platforms that the store does not take.
    n_left_out: usize,
}

impl ImageStores {
    /// Finds the stores of all outputs of `plan`. Has to be called before the build's namespaces are entered, in which no Podman
    /// can be started. Where `is_inside` says that this is too late, `early` was started before, or there is none.
    ///
    /// # Errors
    /// One is not there, or takes one platform and the target has none of this machine.
    pub fn find(plan: &Plan, is_inside: bool, mut early: Option<Podman>, host: &Host) -> Result<ImageStores, Failure> {
        let mut stores = BTreeMap::new();
        for (target, context) in loads(plan) {
            if !stores.contains_key(context) {
                let podman = || if is_inside { early.take() } else { podman(host) };
                let found = ImageStore::find(&settings(host), context.as_deref(), podman, &host.cancel);
                stores.insert(context.clone(), found.map_err(|error| load_failure(&error, is_inside))?);
            }
            check(target, &stores[context])?;
        }
        Ok(ImageStores(stores))
    }

    /// Loads what the plan wants loaded and is not there yet, in one archive for each store; returns what went where.
    ///
    /// # Errors
    /// A store refuses.
    pub(super) fn fill(&self, release: &Release<'_>, results: &[TargetResult]) -> Result<Vec<String>, Failure> {
        let mut said = Vec::new();
        for (context, store) in &self.0 {
            let mut missing = Vec::new();
            for (target, result) in release.plan.targets.iter().zip(results) {
                for output in &target.outputs {
                    let Output::Load { context: of_output, names, .. } = output else { continue };
                    let Some(image) = result.image_for(output) else { continue };
                    if of_output != context {
                        continue;
                    }
                    let loaded = Loaded::new(target, image, names, store);
                    let is_there = store.has(names, &loaded.ids(), &release.host.cancel);
                    said.push(loaded.said(store, is_there));
                    missing.extend((!is_there).then_some(loaded));
                }
            }
            if !missing.is_empty() {
                load(release, &missing, store)?;
            }
        }
        Ok(said)
    }
}

impl<'a> Loaded<'a> {
    fn new(target: &'a TargetPlan, image: &TargetImage, names: &'a [Reference], store: &ImageStore) -> Loaded<'a> {
        let of_this_machine = || image.images.iter().find(|image| is_of_this_machine(&image.platform));
        match image.index.as_ref().filter(|_| !store.takes_index()).and_then(|_| of_this_machine()) {
            // The manifest of one platform is an image of its own.
            Some(only) => {
                let n_left_out = image.images.len() - 1;
                let (name, shape) = (image.name.clone(), image.shape.clone());
                let image = TargetImage { name, images: vec![only.clone()], index: None, shape };
                Loaded { target, image, names, n_left_out }
            }
            None => Loaded { target, image: image.clone(), names, n_left_out: 0 },
        }
    }

    /// Returns what a store may call the image: the digest of its config or, in containerd's store, of its manifest. An index is
    /// not among them: a store may have one without all that it names.
    fn ids(&self) -> Vec<Digest> {
        match (&self.image.index, &self.image.images[..]) {
            (None, [only]) => vec![only.config.digest(), only.manifest.digest()],
            _ => Vec::new(),
        }
    }

    fn said(&self, store: &ImageStore, is_there: bool) -> String {
        let what = match (self.n_left_out, &self.image.images[..]) {
            (1.., [only]) => format!("{} for {} alone", self.target.name, only.platform),
            _ => self.target.name.clone(),
        };
        let text =
            if is_there { format!("unchanged {what} in {store}") } else { format!("loaded {what} into {store}") };
        match self.n_left_out {
            0 => text,
            n => format!("{text}, which keeps one platform ({n} left out)"),
        }
    }
}

/// Starts what loads into a Podman where it will be too late once the bakefile is known: one from the network is fetched in the
/// build's namespaces.
pub(super) fn stand_by(request: &ProjectRequest, host: &Host) -> Option<Podman> {
    let is_wanted = request.load == Some(true) && request.needs_network();
    if is_wanted { podman(host) } else { None }
}

fn podman(host: &Host) -> Option<Podman> {
    daemon::stand_by(&build::path(host).collect::<Vec<PathBuf>>())
}

/// Returns each output that goes into a store: its target, and the context.
fn loads(plan: &Plan) -> impl Iterator<Item = (&TargetPlan, &Option<String>)> {
    plan.targets.iter().flat_map(|target| {
        target.outputs.iter().filter_map(move |output| match output {
            Output::Load { context, .. } => Some((target, context)),
            _ => None,
        })
    })
}

/// Fails if `store` has no room for the target's platforms.
fn check(target: &TargetPlan, store: &ImageStore) -> Result<(), Failure> {
    let mut platforms = target.platforms.iter().map(|planned| &planned.platform);
    if target.platforms.len() == 1 || store.takes_index() || platforms.any(is_of_this_machine) {
        return Ok(());
    }
    let message = "docker exporter does not currently support exporting manifest lists";
    let failure = Failure::new(Kind::Definition, message).note(format!(
        "{store} keeps one platform of an image; target \"{}\" is for several, and none is this machine's",
        target.name
    ));
    Err(failure.hint("name one with --platform").hint("or write all to an archive: `--output type=oci,dest=FILE`"))
}

fn is_of_this_machine(platform: &Platform) -> bool {
    *platform == super::project::build_platform()
}

fn load(release: &Release<'_>, loaded: &[Loaded<'_>], store: &ImageStore) -> Result<(), Failure> {
    let activity = release.activities.start(&format!("load into {store}"));
    let named = loaded.iter().map(|loaded| NamedImage { image: &loaded.image, names: loaded.names });
    let images: Vec<NamedImage<'_>> = named.collect();
    let format = if store.takes_index() { ImageFormat::Oci } else { ImageFormat::Docker };
    release.with_layout(&images, format, |layout| {
        layout.docker_names = store.docker_names();
        let written = store.load(&mut |out| write_layout_archive(layout, out), &release.host.cancel);
        written.map_err(|error| match error {
            LoadError::Archive(error) => file_failure(&error),
            error => load_failure(&error, false),
        })
    })?;
    activity.finish("");
    Ok(())
}

fn settings(host: &Host) -> Settings {
    let text = |name: &str| host.var(name).map(str::to_owned);
    let home = || host.var("HOME").map(|home| PathBuf::from(home).join(".docker"));
    Settings {
        host: text("DOCKER_HOST"),
        context: text("DOCKER_CONTEXT"),
        config: host.var("DOCKER_CONFIG").map(PathBuf::from).or_else(home),
        uses_tls: host.var("DOCKER_TLS_VERIFY").is_some(),
        certificates: host.var("DOCKER_CERT_PATH").map(PathBuf::from),
    }
}

fn load_failure(error: &LoadError, is_inside: bool) -> Failure {
    let kind = if matches!(error, LoadError::Context { .. } | LoadError::Address { .. }) {
        Kind::Usage
    } else {
        Kind::Environment
    };
    let failure = Failure::caused(kind, error);
    match error {
        LoadError::Nobody { source, .. } => {
            let failure = match source.kind() {
                std::io::ErrorKind::PermissionDenied => {
                    failure.hint("become a member of the socket's group: `usermod -aG docker USER`, and log in again")
                }
                _ => failure.hint("start or install Docker or Podman, or say where Docker is with DOCKER_HOST"),
            };
            let failure = match is_inside {
                true => failure.hint("for Podman and a bakefile from the network, say --load on the command line"),
                false => failure,
            };
            failure.hint(AS_A_FILE)
        }
        LoadError::Unreachable { .. } => {
            failure.hint("see DOCKER_HOST and `docker context ls` for where it is expected").hint(AS_A_FILE)
        }
        LoadError::Context { .. } => failure.hint("`docker context ls` lists those that there are"),
        LoadError::Address { .. } | LoadError::Refused { .. } | LoadError::Archive(_) => failure,
    }
}
