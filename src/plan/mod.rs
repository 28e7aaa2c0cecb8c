//! What is to be built: each selected target for each of its platforms, with everything its Dockerfile may ask.
//!
//! In: a resolved bakefile. Out: a [`Plan`]. Knows nothing of Dockerfiles' insides, registries or caches.

mod attest;
mod caches;
mod claims;
mod destination;
mod expand;
mod given;
mod hosts;
mod limits;
mod output;
mod remotes;
mod shape;

use std::collections::BTreeMap;

use crate::bakefile::{Resources, Ulimit};
use crate::dockerfile::NetworkMode;
use crate::platform::Platform;
use crate::reference::Reference;

pub use attest::{Attestations, ProvenanceMode, ProvenanceRequest, SbomFormat, SlsaVersion};
pub use caches::{CacheBackend, CacheMode, CacheOptions, CachePlace};
pub use destination::{ImageFile, ImageFormat, LayoutForm, LocalMode, Output, PlatformSplit};
pub use expand::{expand, image_context};
pub use given::{Given, Right, SecretPlace};
pub use hosts::HOST_GATEWAY;
pub use remotes::{RemoteContext, RemoteSecret, Remotes};
pub use shape::{Annotations, ImageShape};

/// What is to be built and where it goes. A target stands after those that it links to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// In that order.
    pub targets: Vec<TargetPlan>,
    /// Local contexts and Dockerfiles that are brought in first, by the path that they have in the targets.
    pub remotes: Remotes,
}

/// One target for all its platforms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetPlan {
    /// The target's name in the bakefile.
    pub name: String,
    /// In the order in which the target lists them, each once; non-empty.
    pub platforms: Vec<PlannedTarget>,
    /// Platforms that only those that link to it need; they are no part of its image.
    pub linked_platforms: Vec<PlannedTarget>,
    /// Its names.
    pub tags: Vec<Reference>,
    /// Where it goes; empty where nothing is said: its image is made and stays in the store.
    pub outputs: Vec<Output>,
    /// Of its image, where no output takes one of another.
    pub shape: ImageShape,
    /// What its steps may mount that is no part of any result.
    pub given: Given,
    /// What is attested of its result.
    pub attestations: Attestations,
    /// `cache-from`: caches that it reads.
    pub cache_from: Vec<CachePlace>,
    /// `cache-to`: caches that it fills.
    pub cache_to: Vec<CachePlace>,
    /// It was not asked for; another target links to it.
    pub is_linked: bool,
}

impl TargetPlan {
    /// Says whether an image is made of it, with compressed layers and a digest; else its root file systems are enough.
    pub fn has_image(&self) -> bool {
        let is_default = self.outputs.is_empty() && !self.is_linked;
        is_default || self.outputs.iter().any(Output::is_image)
    }

    /// Returns the shapes of its images, each once, in the order of its outputs; none where no image is made of it. The first
    /// image is what the lockfile and reports call the target's.
    pub fn shapes(&self) -> Vec<&ImageShape> {
        let mut shapes: Vec<&ImageShape> = Vec::new();
        for shape in self.outputs.iter().filter_map(Output::shape) {
            if !shapes.contains(&shape) {
                shapes.push(shape);
            }
        }
        if shapes.is_empty() && self.has_image() { vec![&self.shape] } else { shapes }
    }
}

impl Plan {
    /// Returns each target for each platform; a target comes after those that it links to.
    pub fn planned(&self) -> impl Iterator<Item = &PlannedTarget> {
        self.targets.iter().flat_map(|target| target.platforms.iter().chain(&target.linked_platforms))
    }
}

/// One target for one platform.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedTarget {
    /// The target's name in the bakefile.
    pub name: String,
    /// `TARGETPLATFORM`.
    pub platform: Platform,
    /// `BUILDPLATFORM`: the platform of the machine that builds.
    pub build_platform: Platform,
    /// The target is built for several platforms, so that step names carry the platform.
    pub is_multi_platform: bool,
    /// Where its Dockerfile is.
    pub dockerfile: DockerfileSource,
    /// What `COPY` without `--from` reads.
    pub context: BuildContext,
    /// `contexts`: what replaces a stage or image of that name.
    pub contexts: BTreeMap<String, BuildContext>,
    /// `--build-arg`.
    pub args: BTreeMap<String, String>,
    /// Labels that override the Dockerfile's.
    pub labels: BTreeMap<String, String>,
    /// The stage to build; the last one where absent.
    pub stage: Option<String>,
    /// Which steps do not ask the cache.
    pub no_cache: NoCache,
    /// Network access of RUN steps that do not say their own.
    pub network: NetworkMode,
    /// Names that steps find in `/etc/hosts` besides their own, with an address each.
    pub extra_hosts: Vec<(String, String)>,
    /// Limits of each process of RUN steps, sorted by name, each name once.
    pub ulimits: Vec<Ulimit>,
    /// Size of `/dev/shm` in RUN steps, in bytes; the engine's where absent.
    pub shm_size: Option<u64>,
    /// What each RUN step may use.
    pub resources: Resources,
}

/// The path that stands for a context from standard input; no cleaned path is like that.
pub const STDIN_CONTEXT: &str = "stdin://context";

/// The path that stands for a Dockerfile from standard input.
pub const STDIN_DOCKERFILE: &str = "stdin://dockerfile";

/// Where a Dockerfile's text comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DockerfileSource {
    /// A path relative to the directory that the command runs in, or below a name of [`Plan::remotes`].
    Path(String),
    /// `dockerfile-inline`; messages call it by this name.
    Inline {
        /// As messages show it.
        name: String,
        /// The text.
        text: String,
    },
}

/// Files or an image that a build reads by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BuildContext {
    /// A directory; relative to the directory that the command runs in, or a name of [`Plan::remotes`].
    Local(String),
    /// `docker-image://` or `oci-layout://`.
    Image(ImageSource),
    /// `target:NAME`: another target's result for the same platform.
    Target(String),
}

/// Where an image is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ImageSource {
    /// In a registry.
    Registry(Reference),
    /// In an OCI image layout directory.
    Layout {
        /// The directory; relative to the directory that the command runs in.
        path: String,
        /// Tag (`org.opencontainers.image.ref.name`) or digest in it; its only image where absent.
        selector: Option<String>,
    },
}

/// Which steps do not ask the cache. They still save their results.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum NoCache {
    /// All ask.
    #[default]
    Off,
    /// None asks.
    All,
    /// Those of these stages do not, by name, in lower case.
    Stages(Vec<String>),
}
