//! Targets, groups and what they hold.

use std::collections::{BTreeMap, BTreeSet};

use super::spec::{AttestSpec, CacheSpec, OutputSpec, PolicySpec, SecretSpec, SshSpec};
use crate::diagnostic::Span;
use crate::platform::{InvalidPlatform, Platform};

/// Texts by name; null ones are `None` and mean nothing.
pub type Nullables = BTreeMap<String, Spanned<Option<String>>>;

/// A value and where the user wrote it: in a bakefile, or in a `--set`.
#[derive(Clone, Debug)]
pub struct Spanned<T> {
    /// The value.
    pub value: T,
    /// Where.
    pub span: Span,
}

impl<T> Spanned<T> {
    /// Returns a value with its place.
    pub fn new(value: T, span: Span) -> Spanned<T> {
        Spanned { value, span }
    }
}

/// Equal values are equal wherever they stand.
impl<T: PartialEq> PartialEq for Spanned<T> {
    fn eq(&self, other: &Spanned<T>) -> bool {
        self.value == other.value
    }
}

/// What is built. Absent texts are defaults; `context` and `dockerfile` are set in a [`super::Selection`].
#[derive(Clone, Debug)]
pub struct Target {
    /// Its name; a matrix cell has its own.
    pub name: String,
    /// The name in the last block that defines it.
    pub span: Span,
    /// `description`
    pub description: Option<String>,
    /// `inherits`: names of targets, as written.
    pub inherits: Vec<Spanned<String>>,
    /// `annotations`, as written: `KEY=VALUE` or `TYPE:KEY=VALUE`.
    pub annotations: Vec<Spanned<String>>,
    /// `attest`; at most one per kind.
    pub attest: Vec<AttestSpec>,
    /// `context`: a directory, a URL, …
    pub context: Option<Spanned<String>>,
    /// `contexts`: what replaces an image or stage of that name.
    pub contexts: BTreeMap<String, Spanned<String>>,
    /// `dockerfile`: a path in the context.
    pub dockerfile: Option<Spanned<String>>,
    /// `dockerfile-inline`: the text itself.
    pub dockerfile_inline: Option<Spanned<String>>,
    /// `args`; null ones are `None` and mean nothing.
    pub args: BTreeMap<String, Spanned<Option<String>>>,
    /// `platform-args`: arguments by platform, as written; null ones are `None` and mean nothing.
    pub platform_args: BTreeMap<String, Spanned<Nullables>>,
    /// `labels`; null ones are `None` and mean nothing.
    pub labels: BTreeMap<String, Spanned<Option<String>>>,
    /// `tags`, in order, each once.
    pub tags: Vec<Spanned<String>>,
    /// `cache-from`
    pub cache_from: Vec<CacheSpec>,
    /// `cache-to`
    pub cache_to: Vec<CacheSpec>,
    /// `target`: the stage to build; the last one where absent.
    pub target: Option<Spanned<String>>,
    /// `secret`; at most one per id.
    pub secret: Vec<SecretSpec>,
    /// `ssh`; at most one per id.
    pub ssh: Vec<SshSpec>,
    /// `platforms`, as written.
    pub platforms: Vec<Spanned<String>>,
    /// `output`; none means: what the command line says.
    pub output: Vec<OutputSpec>,
    /// `pull`
    pub pull: Option<bool>,
    /// `no-cache`
    pub no_cache: Option<bool>,
    /// `network`: default, none or host.
    pub network: Option<Spanned<String>>,
    /// `no-cache-filter`: stages that do not ask the cache.
    pub no_cache_filter: Vec<Spanned<String>>,
    /// `shm-size`, as written.
    pub shm_size: Option<Spanned<String>>,
    /// `ulimits`, as written: `NAME=SOFT:HARD`.
    pub ulimits: Vec<Spanned<String>>,
    /// `resources`: limits by name, as written.
    pub resources: BTreeMap<String, Spanned<String>>,
    /// `call`: build, check, outline or targets.
    pub call: Option<Spanned<String>>,
    /// `entitlements`
    pub entitlements: Vec<Spanned<String>>,
    /// `extra-hosts`: address by name.
    pub extra_hosts: BTreeMap<String, Spanned<Option<String>>>,
    /// `policy`
    pub policy: Vec<PolicySpec>,
    /// It was not asked for: another target's `contexts` needs it, and nothing is exported.
    pub is_linked: bool,
    /// Attributes that were written, even as an empty list, which replaces a parent's.
    pub(super) is_set: BTreeSet<&'static str>,
}

impl Target {
    /// Returns a target without attributes.
    pub(super) fn new(name: &str, span: Span) -> Target {
        Target {
            name: name.to_owned(),
            span,
            description: None,
            inherits: Vec::new(),
            annotations: Vec::new(),
            attest: Vec::new(),
            context: None,
            contexts: BTreeMap::new(),
            dockerfile: None,
            dockerfile_inline: None,
            args: BTreeMap::new(),
            platform_args: BTreeMap::new(),
            labels: BTreeMap::new(),
            tags: Vec::new(),
            cache_from: Vec::new(),
            cache_to: Vec::new(),
            target: None,
            secret: Vec::new(),
            ssh: Vec::new(),
            platforms: Vec::new(),
            output: Vec::new(),
            pull: None,
            no_cache: None,
            network: None,
            no_cache_filter: Vec::new(),
            shm_size: None,
            ulimits: Vec::new(),
            resources: BTreeMap::new(),
            call: None,
            entitlements: Vec::new(),
            extra_hosts: BTreeMap::new(),
            policy: Vec::new(),
            is_linked: false,
            is_set: BTreeSet::new(),
        }
    }

    /// Returns the platforms that `platforms` means, in order, each once: `local` is the machine's own, and one text may
    /// hold several between commas, as the peer allows. Empty where the target names none.
    ///
    /// # Errors
    /// The first text that is no platform, and where it stands.
    pub fn parsed_platforms(&self, local: &Platform) -> Result<Vec<Spanned<Platform>>, (Span, InvalidPlatform)> {
        let (mut parsed, mut seen) = (Vec::new(), BTreeSet::new());
        for written in &self.platforms {
            for word in written.value.split(',').map(str::trim).filter(|word| !word.is_empty()) {
                let platform = match word {
                    "local" => local.clone(),
                    word => word.parse().map_err(|why| (written.span, why))?,
                };
                if seen.insert(platform.clone()) {
                    parsed.push(Spanned::new(platform, written.span));
                }
            }
        }
        Ok(parsed)
    }

    /// Merges a block of the same name onto this one.
    pub(super) fn merge(&mut self, other: &Target) {
        self.inherits.extend(other.inherits.iter().cloned());
        self.take(other);
    }

    /// Takes what `other`, a parent or a block of the same name, has; not its `inherits`, which would name the
    /// ancestors again at each step of a chain. The rule of each attribute is the peer's.
    pub(super) fn take(&mut self, other: &Target) {
        self.span = other.span;
        replace(&mut self.description, &other.description.clone().filter(|d| !d.is_empty()));
        self.merge_texts(other);
        self.merge_lists(other);
        merge_nullable(&mut self.args, &other.args);
        merge_nullable(&mut self.labels, &other.labels);
        for (platform, args) in &other.platform_args {
            let mine =
                self.platform_args.entry(platform.clone()).or_insert_with(|| Spanned::new(BTreeMap::new(), args.span));
            merge_nullable(&mut mine.value, &args.value);
        }
        merge_nullable(&mut self.extra_hosts, &other.extra_hosts);
        self.contexts.extend(other.contexts.clone());
        self.resources.extend(other.resources.clone());
        self.is_set.extend(&other.is_set);
    }

    fn merge_texts(&mut self, other: &Target) {
        replace(&mut self.context, &other.context);
        replace(&mut self.dockerfile, &other.dockerfile);
        replace(&mut self.dockerfile_inline, &other.dockerfile_inline);
        replace(&mut self.target, &other.target);
        replace(&mut self.pull, &other.pull);
        replace(&mut self.no_cache, &other.no_cache);
        replace(&mut self.network, &other.network);
        replace(&mut self.shm_size, &other.shm_size);
        replace(&mut self.call, &other.call);
    }

    fn merge_lists(&mut self, other: &Target) {
        for (name, mine, theirs) in
            [("tags", &mut self.tags, &other.tags), ("platforms", &mut self.platforms, &other.platforms)]
        {
            if other.is_set.contains(name) {
                mine.clone_from(theirs);
            }
        }
        if other.is_set.contains("cache-to") {
            self.cache_to.clone_from(&other.cache_to);
        }
        if other.is_set.contains("output") {
            self.output.clone_from(&other.output);
        }
        self.annotations.extend(other.annotations.iter().cloned());
        self.no_cache_filter.extend(other.no_cache_filter.iter().cloned());
        self.ulimits.extend(other.ulimits.iter().cloned());
        self.entitlements.extend(other.entitlements.iter().cloned());
        self.policy.extend(other.policy.iter().cloned());
        self.cache_from.extend(other.cache_from.iter().cloned());
        drop_duplicates(&mut self.cache_from, CacheSpec::content);
        merge_by(&mut self.attest, &other.attest, |a| a.kind.clone());
        merge_by(&mut self.secret, &other.secret, |s| s.id.clone());
        merge_by(&mut self.ssh, &other.ssh, |s| s.id.clone());
    }

    /// Drops duplicates, blanks and deleted contexts, as after each merge.
    pub(super) fn normalise(&mut self) {
        for list in [
            &mut self.annotations,
            &mut self.tags,
            &mut self.platforms,
            &mut self.no_cache_filter,
            &mut self.ulimits,
            &mut self.entitlements,
        ] {
            keep_first(list);
        }
        drop_duplicates(&mut self.cache_from, CacheSpec::content);
        drop_duplicates(&mut self.cache_to, CacheSpec::content);
        drop_duplicates(&mut self.output, OutputSpec::content);
        let (attest, secret, ssh) =
            (std::mem::take(&mut self.attest), std::mem::take(&mut self.secret), std::mem::take(&mut self.ssh));
        merge_by(&mut self.attest, &attest, |a| a.kind.clone());
        merge_by(&mut self.secret, &secret, |s| s.id.clone());
        merge_by(&mut self.ssh, &ssh, |s| s.id.clone());
        if let Some(network) = self.network.as_ref().filter(|n| n.value == "host") {
            self.entitlements.push(Spanned::new("network.host".into(), network.span));
            keep_first(&mut self.entitlements);
        }
        self.contexts.retain(|_, context| !context.value.is_empty());
    }
}

/// A named set of targets.
#[derive(Clone, Debug)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// Where the name stands; `None` for a group that bake makes: `all`, `default` of what was asked.
    pub span: Option<Span>,
    /// `description`
    pub description: Option<String>,
    /// Names of targets and groups, in the order of the file.
    pub targets: Vec<Spanned<String>>,
}

fn replace<T: Clone>(mine: &mut Option<T>, theirs: &Option<T>) {
    if theirs.is_some() {
        mine.clone_from(theirs);
    }
}

/// A null never overwrites a parent's value.
fn merge_nullable(
    mine: &mut BTreeMap<String, Spanned<Option<String>>>,
    theirs: &BTreeMap<String, Spanned<Option<String>>>,
) {
    let set = theirs.iter().filter(|(_, value)| value.value.is_some());
    mine.extend(set.map(|(key, value)| (key.clone(), value.clone())));
}

/// Adds items; one with the key of an earlier item takes its place.
fn merge_by<T: Clone>(mine: &mut Vec<T>, theirs: &[T], key: impl Fn(&T) -> String) {
    if theirs.is_empty() {
        return;
    }
    let mut places = BTreeMap::new();
    for (at, item) in mine.iter().enumerate() {
        places.entry(key(item)).or_insert(at);
    }
    for item in theirs {
        let at = *places.entry(key(item)).or_insert(mine.len());
        match mine.get_mut(at) {
            Some(known) => *known = item.clone(),
            None => mine.push(item.clone()),
        }
    }
}

fn keep_first(list: &mut Vec<Spanned<String>>) {
    let mut seen = BTreeSet::new();
    list.retain(|item| !item.value.is_empty() && seen.insert(item.value.clone()));
}

/// Drops later duplicates; the last item takes the place of a dropped one. The peer's order, odd as it is, shows in its
/// `--print`: `a b a c d` becomes `a b d c`.
fn drop_duplicates<T, K: Ord>(list: &mut Vec<T>, content: impl Fn(&T) -> K) {
    if list.len() < 2 {
        return;
    }
    // Where each item stands of those behind the one that is looked at; no two of them are equal.
    let mut places: BTreeMap<K, usize> = BTreeMap::new();
    for at in (0..list.len()).rev() {
        if let Some(duplicate) = places.insert(content(&list[at]), at) {
            list.swap_remove(duplicate);
            if let Some(moved) = list.get(duplicate) {
                places.insert(content(moved), duplicate);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_duplicate_is_replaced_by_the_last_item() {
        let mut list = vec!["a", "b", "a", "c", "d"];
        drop_duplicates(&mut list, |item| *item);
        assert_eq!(list, ["a", "b", "d", "c"]);
    }
}
