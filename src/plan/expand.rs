//! From resolved targets to a [`Plan`]: paths joined, names parsed, platforms and links worked out.

use std::collections::{BTreeMap, BTreeSet};

use super::caches;
use super::claims::Claims;
use super::hosts;
use super::limits;
use super::output::outputs;
use super::remotes::{self, Remotes};
use super::shape::{self, Documents};
use super::{
    Attestations, BuildContext, DockerfileSource, Given, ImageSource, NoCache, Plan, PlannedTarget, STDIN_CONTEXT,
    STDIN_DOCKERFILE, TargetPlan,
};
use crate::bakefile::{Call, ENTITLEMENTS, Spanned, Target, is_entitlement};
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::dockerfile::NetworkMode;
use crate::lang::text::clean_path;
use crate::platform::Platform;
use crate::reference::{InvalidReference, Reference};
use crate::remote::{Home, HttpUrl, Remote, SINGLE_FILE, is_http};

/// Plans `targets`, linked ones among them; those without platforms are for `build_platform`. A linked target is planned
/// also for the platforms of those that link to it.
///
/// `home` is where a remote bakefile came from: its relative contexts are below it.
///
/// The plan is worth building only if no finding is an error.
pub fn expand(targets: &[Target], build_platform: &Platform, home: Option<&Home>) -> (Plan, Diagnostics) {
    let mut found = Diagnostics::default();
    let by_name: BTreeMap<&str, &Target> = targets.iter().map(|target| (target.name.as_str(), target)).collect();
    let mut own: BTreeMap<&str, Vec<Platform>> = BTreeMap::new();
    for target in targets {
        own.insert(&target.name, platforms(target, build_platform, &mut found));
    }
    let order = links_first(targets, &by_name);
    let needed = needed_platforms(&order, &by_name, &own);
    let mut plan = Plan::default();
    let mut claims = Claims::default();
    for target in order {
        let mut contexts = Contexts { target, home, remotes: &mut plan.remotes, found: &mut found };
        let single = Single::new(build_platform, &mut contexts);
        let own = &own[target.name.as_str()];
        let is_multi_platform = own.len() > 1;
        let planned = |platform: &Platform| single.planned(platform, is_multi_platform);
        let more = needed.get(target.name.as_str()).into_iter().flatten().filter(|platform| !own.contains(platform));
        let linked_platforms: Vec<PlannedTarget> = more.map(planned).collect();
        // A linked target without platforms of its own is for those that link to it, and no other.
        let is_only_linked = target.is_linked && target.platforms.is_empty() && !linked_platforms.is_empty();
        let is_needed = |platform: &&Platform| {
            !is_only_linked || needed.get(target.name.as_str()).is_some_and(|needed| needed.contains(platform))
        };
        let tags = tags(target, &mut found);
        let attestations =
            if target.is_linked { Attestations::default() } else { Attestations::of(target, &mut found) };
        let documents = Documents { platforms: own, is_attested: !attestations.is_empty() };
        let shape = shape::of_target(target, documents, &mut found);
        let outputs =
            if target.is_linked { Vec::new() } else { outputs(target, (&shape, &tags), documents, &mut found) };
        claims.add(target, &outputs, &mut found);
        plan.targets.push(TargetPlan {
            name: target.name.clone(),
            platforms: own.iter().filter(is_needed).map(planned).collect(),
            linked_platforms,
            outputs,
            shape,
            tags,
            given: Given::of(target),
            attestations,
            cache_from: caches::from(target, &mut found),
            cache_to: caches::to(target, &mut found),
            is_linked: target.is_linked,
        });
    }
    (plan, found)
}

/// Returns a target's platforms, each once, in its order.
fn platforms(target: &Target, build_platform: &Platform, found: &mut Diagnostics) -> Vec<Platform> {
    match target.parsed_platforms(build_platform) {
        Ok(platforms) if platforms.is_empty() => vec![build_platform.clone()],
        Ok(platforms) => platforms.into_iter().map(|platform| platform.value).collect(),
        Err((span, error)) => {
            let diagnostic = Diagnostic::error(span, format!("{error} in target \"{}\"", target.name));
            let hint = error.suggestion.map(|suggestion| format!("did you mean `{suggestion}`?"));
            found.push(hint.into_iter().fold(diagnostic, Diagnostic::hint));
            vec![build_platform.clone()]
        }
    }
}

/// Returns the names of the targets that a target links to.
fn links(target: &Target) -> impl Iterator<Item = &str> {
    target.contexts.values().filter_map(|context| context.value.strip_prefix("target:"))
}

/// Orders targets so that each stands after those that it links to, otherwise as they are. Cycles were refused before.
fn links_first<'a>(targets: &'a [Target], by_name: &BTreeMap<&str, &'a Target>) -> Vec<&'a Target> {
    fn visit<'a>(
        target: &'a Target,
        by_name: &BTreeMap<&str, &'a Target>,
        seen: &mut BTreeSet<&'a str>,
        order: &mut Vec<&'a Target>,
    ) {
        if seen.insert(&target.name) {
            for linked in links(target).filter_map(|name| by_name.get(name)) {
                visit(linked, by_name, seen, order);
            }
            order.push(target);
        }
    }
    let (mut seen, mut order) = (BTreeSet::new(), Vec::new());
    for target in targets {
        visit(target, by_name, &mut seen, &mut order);
    }
    order
}

/// Returns for each linked target the platforms that others need of it.
fn needed_platforms<'a>(
    order: &[&'a Target],
    by_name: &BTreeMap<&str, &'a Target>,
    own: &BTreeMap<&str, Vec<Platform>>,
) -> BTreeMap<&'a str, BTreeSet<Platform>> {
    let mut needed: BTreeMap<&str, BTreeSet<Platform>> = BTreeMap::new();
    for target in order.iter().rev() {
        let of_target: BTreeSet<Platform> = needed.get(target.name.as_str()).cloned().unwrap_or_default();
        let is_only_linked = target.is_linked && target.platforms.is_empty() && !of_target.is_empty();
        let own = if is_only_linked { [].iter() } else { own[target.name.as_str()].iter() };
        let platforms: BTreeSet<Platform> = own.cloned().chain(of_target).collect();
        for linked in links(target).filter_map(|name| by_name.get(name)) {
            needed.entry(&linked.name).or_default().extend(platforms.iter().cloned());
        }
    }
    needed
}

fn tags(target: &Target, found: &mut Diagnostics) -> Vec<Reference> {
    let mut tags = Vec::new();
    for tag in &target.tags {
        match tag.value.parse() {
            Ok(reference) => tags.push(reference),
            Err(error) => found.push(Diagnostic::error(tag.span, format!("{error} (a tag of \"{}\")", target.name))),
        }
    }
    tags
}

/// What is the same for all platforms of a target.
struct Single {
    planned: PlannedTarget,
    /// Arguments on top of the target's, by platform.
    platform_args: BTreeMap<Platform, BTreeMap<String, String>>,
}

impl Single {
    fn new(build_platform: &Platform, reader: &mut Contexts<'_>) -> Single {
        let target = reader.target;
        refuse_what_is_missing(target, reader.found);
        let context = reader.main();
        let dockerfile = reader.dockerfile(&context);
        let contexts = target.contexts.iter().map(|(name, value)| (name.clone(), reader.named(value))).collect();
        let given = |map: &BTreeMap<String, Spanned<Option<String>>>| {
            map.iter().filter_map(|(key, value)| Some((key.clone(), value.value.clone()?))).collect()
        };
        let no_cache = match target.no_cache {
            Some(true) => NoCache::All,
            _ if target.no_cache_filter.is_empty() => NoCache::Off,
            _ => NoCache::Stages(target.no_cache_filter.iter().map(|stage| stage.value.to_lowercase()).collect()),
        };
        let network = match target.network.as_ref().map(|network| network.value.as_str()) {
            Some("none") => NetworkMode::None,
            Some("host") => NetworkMode::Host,
            _ => NetworkMode::Default,
        };
        let platform_args = platform_args(target, reader.found);
        let planned = PlannedTarget {
            name: target.name.clone(),
            platform: build_platform.clone(),
            build_platform: build_platform.clone(),
            is_multi_platform: false,
            dockerfile,
            context,
            contexts,
            args: given(&target.args),
            labels: given(&target.labels),
            stage: target.target.as_ref().map(|stage| stage.value.clone()).filter(|stage| !stage.is_empty()),
            no_cache,
            network,
            extra_hosts: hosts::extra_hosts(target, reader.found),
            ulimits: limits::ulimits(target, reader.found),
            shm_size: limits::shm_size(target, reader.found),
            resources: limits::resources(target, reader.found),
        };
        Single { planned, platform_args }
    }

    fn planned(&self, platform: &Platform, is_multi_platform: bool) -> PlannedTarget {
        let mut planned = PlannedTarget { platform: platform.clone(), is_multi_platform, ..self.planned.clone() };
        planned.args.extend(self.platform_args.get(platform).cloned().unwrap_or_default());
        planned
    }
}

/// Returns `platform-args` by platform.
fn platform_args(target: &Target, found: &mut Diagnostics) -> BTreeMap<Platform, BTreeMap<String, String>> {
    let mut by_platform: BTreeMap<Platform, BTreeMap<String, String>> = BTreeMap::new();
    for (name, args) in &target.platform_args {
        match name.parse::<Platform>() {
            Ok(platform) => {
                let set = args.value.iter().filter_map(|(key, value)| Some((key.clone(), value.value.clone()?)));
                by_platform.entry(platform).or_default().extend(set);
            }
            Err(wrong) => {
                let message = format!("`platform-args` of target \"{}\": {wrong}", target.name);
                found.push(Diagnostic::error(args.span, message));
            }
        }
    }
    by_platform
}

/// What would change the result, or whether there is one, and is not built yet is refused; what only makes it slower or
/// adds to it is said.
fn refuse_what_is_missing(target: &Target, found: &mut Diagnostics) {
    for right in target.entitlements.iter().filter(|right| !is_entitlement(&right.value)) {
        let message = format!("no right \"{}\" that target \"{}\" could ask for", right.value, target.name);
        let key = right.value.split('=').next().unwrap_or_default();
        found.push(Diagnostic::error(right.span, message).suggest(key, ENTITLEMENTS));
    }
    if let Some((call, Err(reason))) = target.call.as_ref().map(|call| (call, Call::parse(&call.value))) {
        let message = format!("`call = \"{}\"` of target \"{}\": {reason}", call.value, target.name);
        found.push(Diagnostic::error(call.span, message));
    }
    let mut refuse = |span, what: String| {
        found.push(Diagnostic::error(span, format!("{what} (target \"{}\") is not supported yet", target.name)));
    };
    if let Some(policy) = target.policy.first() {
        refuse(policy.span, "`policy`".to_owned());
    }
    match target.network.as_ref().map(|network| (network.span, network.value.as_str())) {
        None | Some((_, "" | "default" | "none" | "host")) => {}
        Some((span, mode)) => refuse(span, format!("`network = \"{mode}\"`")),
    }
    let ignored = [("pull", target.pull.filter(|pull| *pull).map(|_| target.span))];
    for (name, span) in ignored {
        if let Some(span) = span {
            let message = format!("`{name}` of target \"{}\" is not supported yet and is left out", target.name);
            found.push(Diagnostic::warning(span, message));
        }
    }
}

/// Reads what a target says of its contexts and its Dockerfile.
struct Contexts<'a> {
    target: &'a Target,
    /// Where a remote bakefile came from.
    home: Option<&'a Home>,
    remotes: &'a mut Remotes,
    found: &'a mut Diagnostics,
}

impl Contexts<'_> {
    fn main(&mut self) -> BuildContext {
        let Some(context) = &self.target.context else { return BuildContext::Local(".".to_owned()) };
        if context.value == "-" {
            return BuildContext::Local(STDIN_CONTEXT.to_owned());
        }
        BuildContext::Local(self.remote(context).unwrap_or_else(|| local_path(&context.value)))
    }

    fn named(&mut self, context: &Spanned<String>) -> BuildContext {
        let text = context.value.as_str();
        if let Some(name) = text.strip_prefix("target:") {
            return BuildContext::Target(name.to_owned());
        }
        match image_context(text) {
            Some(Ok(image)) => return image,
            Some(Err(error)) => self.found.push(Diagnostic::error(context.span, error.to_string())),
            None => {}
        }
        let meant = self.home.map_or_else(|| text.to_owned(), |home| home.context(text));
        let meant = Spanned::new(meant, context.span);
        BuildContext::Local(self.remote(&meant).unwrap_or_else(|| local_path(&meant.value)))
    }

    /// Notes a context that is on the network and returns the path that stands for it.
    fn remote(&mut self, context: &Spanned<String>) -> Option<String> {
        match Remote::parse(&context.value)? {
            Ok(remote) => Some(remotes::note(self.remotes, self.target, remote)),
            Err(reason) => {
                let message = format!("context `{}` of target \"{}\": {reason}", context.value, self.target.name);
                self.found.push(Diagnostic::error(context.span, message));
                None
            }
        }
    }

    /// The Dockerfile is named relative to the context; `cwd://` names one beside the command, and a URL one elsewhere.
    fn dockerfile(&mut self, context: &BuildContext) -> DockerfileSource {
        let target = self.target;
        if let Some(inline) = target.dockerfile_inline.as_ref().filter(|inline| !inline.value.is_empty()) {
            let name = format!("{}:dockerfile-inline", target.name);
            return DockerfileSource::Inline { name, text: inline.value.clone() };
        }
        let name = target.dockerfile.as_ref().map_or("Dockerfile", |dockerfile| dockerfile.value.as_str());
        let name = if name.is_empty() { "Dockerfile" } else { name };
        if is_http(name) {
            let url = remotes::note(self.remotes, target, Remote::Http(HttpUrl(name.to_owned())));
            return DockerfileSource::Path(format!("{url}/{SINGLE_FILE}"));
        }
        if name == "-" {
            return DockerfileSource::Path(STDIN_DOCKERFILE.to_owned());
        }
        let is_beside_command = name.starts_with('/') || name.starts_with("cwd://");
        let directory = match context {
            BuildContext::Local(directory) if !is_beside_command => directory,
            _ => return DockerfileSource::Path(local_path(name)),
        };
        if self.remotes.contains_key(directory) || directory == STDIN_CONTEXT {
            return DockerfileSource::Path(format!("{directory}/{}", clean_path(name)));
        }
        if let (Some(home), Some(context)) = (self.home, &target.context) {
            let place = target.dockerfile.as_ref().map_or(context.span, |dockerfile| dockerfile.span);
            let message = format!(
                "target \"{}\" has a local context, and its Dockerfile `{name}` would be one of the remote bakefile's",
                target.name
            );
            let error = Diagnostic::error(place, message).note(format!("the bakefile is from {}", home.shown()));
            self.found.push(error.hint(format!("write `dockerfile = \"cwd://{name}\"` for a file beside the command")));
        }
        DockerfileSource::Path(local_path(&format!("{directory}/{name}")))
    }
}

/// Returns the context that is an image, `docker-image://REFERENCE` or `oci-layout://PATH`; `None` for any other.
///
/// # Errors
/// The reference is none.
pub fn image_context(text: &str) -> Option<Result<BuildContext, InvalidReference>> {
    if let Some(name) = text.strip_prefix("docker-image://") {
        return Some(name.parse().map(|reference| BuildContext::Image(ImageSource::Registry(reference))));
    }
    text.strip_prefix("oci-layout://").map(|layout| Ok(BuildContext::Image(layout_source(layout))))
}

/// `path`, `path:tag`, `path@digest`.
fn layout_source(text: &str) -> ImageSource {
    let (path, selector) = match text.split_once('@') {
        Some((path, digest)) => (path, Some(digest)),
        None => match text.rsplit_once(':') {
            Some((path, tag)) if !tag.contains('/') => (path, Some(tag)),
            _ => (text, None),
        },
    };
    ImageSource::Layout { path: local_path(path), selector: selector.map(str::to_owned) }
}

/// Cleans a path as Go's `filepath.Clean` does; `cwd://` means the directory that the command runs in.
fn local_path(text: &str) -> String {
    clean_path(text.strip_prefix("cwd://").unwrap_or(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cleaned() {
        let cases = [
            ("./web", "web"),
            ("", "."),
            (".", "."),
            ("a/../b", "b"),
            ("../x", "../x"),
            ("/a//b/.", "/a/b"),
            ("cwd://", "."),
        ];
        for (text, cleaned) in cases {
            assert_eq!(local_path(text), cleaned, "{text}");
        }
    }

    #[test]
    fn a_layout_is_named_with_tag_or_digest() {
        let layout = |path: &str, selector: Option<&str>| ImageSource::Layout {
            path: path.to_owned(),
            selector: selector.map(str::to_owned),
        };
        assert_eq!(layout_source("./images/base:1"), layout("images/base", Some("1")));
        assert_eq!(layout_source("/images/base"), layout("/images/base", None));
        assert_eq!(layout_source("base@sha256:00"), layout("base", Some("sha256:00")));
    }
}
