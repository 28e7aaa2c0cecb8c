//! From what was asked for to the targets that are built.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::model::{Group, Spanned, Target};
use super::size::MAX_TARGETS;
use super::spec::OutputSpec;
use super::walk::walk;
use super::{Bakefile, overrides};
use crate::diagnostic::{Diagnostic, Diagnostics, Span, nearest};
use crate::lang::text::clean_path;
use crate::platform::Platform;
use crate::remote::{Home, is_remote};

/// What is built: targets with everything inherited, overridden and filled in.
#[derive(Clone, Debug)]
pub struct Selection {
    /// Every group that was reached, with the members as written, and `default`: what was asked for.
    pub groups: BTreeMap<String, Group>,
    /// By name, in order of definition, without `inherits`; those that are only linked to are marked.
    pub targets: Vec<(String, Target)>,
}

/// How deep groups may nest: deeper would overflow the stack.
const MAX_CHAIN: usize = 200;

/// Wrong targets after which no more are looked at; fewer are shown.
const MAX_FINDINGS: usize = 100;

/// Places of a circle that are shown.
const MAX_DRAWN: usize = 6;

type Resolved<T> = Result<T, Diagnostic>;

impl Bakefile {
    /// Finds the targets that `names` mean: targets, groups, or patterns with `*`, `?` and `[…]`. None means `default`.
    /// `all` is every target whose name does not start with `_`, unless the file defines an `all`.
    ///
    /// # Errors
    /// There is no such target, or one of them cannot be put together.
    pub fn resolve(&self, names: &[String]) -> Result<Selection, Diagnostics> {
        let names = self.expand(names).map_err(Diagnostics::from)?;
        let inherited = self.targets.iter().flat_map(|target| &target.inherits).map(|parent| parent.value.as_str());
        let mut resolver = Resolver {
            bakefile: self,
            memo: BTreeMap::new(),
            parents: inherited.collect(),
            groups: BTreeMap::new(),
            size: 0,
        };
        let mut findings = Diagnostics::default();
        let mut wanted: Vec<(String, Option<Span>)> = Vec::new();
        for name in &names {
            if let Err(why) = resolver.flatten(name, None, &mut Vec::new(), &mut wanted) {
                findings.push(why);
            }
        }
        let mut targets: BTreeMap<String, Target> = BTreeMap::new();
        for (name, span) in &wanted {
            if targets.contains_key(name) {
                continue;
            }
            match resolver.finished(name, *span) {
                Ok(target) => _ = targets.insert(name.clone(), target),
                Err(why) => findings.push(why),
            }
            if findings.iter().nth(MAX_FINDINGS).is_some() {
                break;
            }
        }
        if !findings.has_errors()
            && let Err(why) = resolver.link(&mut targets)
        {
            findings.push(why);
        }
        if findings.has_errors() {
            return Err(findings);
        }
        let mut targets: Vec<(String, Target)> = targets.into_iter().collect();
        targets.sort_by_cached_key(|(name, _)| self.index.get(name).copied());
        let groups = self.with_default(resolver.groups, &names);
        Ok(Selection { groups, targets })
    }

    /// Expands patterns, and `.` to the `_` that a target's name has.
    pub(super) fn expand(&self, names: &[String]) -> Resolved<Vec<String>> {
        if names.is_empty() {
            return Ok(vec!["default".to_owned()]);
        }
        let mut expanded = Vec::new();
        for name in names {
            let name = name.replace('.', "_");
            if !name.contains(['*', '?', '[']) {
                expanded.push(name);
                continue;
            }
            let known =
                self.groups.iter().map(|group| &group.name).chain(self.targets.iter().map(|target| &target.name));
            let before = expanded.len();
            expanded.extend(known.filter(|known| matches(&name, known)).cloned());
            if expanded.len() == before {
                let finding = Diagnostic::error_without_place(format!("no target matches \"{name}\""));
                let targets: Vec<&str> = self.targets.iter().map(|target| target.name.as_str()).collect();
                return Err(finding.note(format!("the targets are {}", listed(&targets))));
            }
        }
        Ok(expanded)
    }

    /// Says whether there is a group or target called `name`.
    pub(super) fn has(&self, name: &str) -> bool {
        name == "all" || self.group_index.contains_key(name) || self.index.contains_key(name)
    }

    /// Returns the names of the groups and targets that the group or target `name` needs.
    pub(super) fn needed_by(&self, name: &str) -> Vec<String> {
        let members = self.group(name).map_or_else(Vec::new, |group| group.targets);
        let target = self.index.get(name).and_then(|index| self.targets.get(*index));
        let parents = target.into_iter().flat_map(|target| target.inherits.iter().map(|parent| parent.value.clone()));
        let linked = target.into_iter().flat_map(links).map(|(name, _)| name);
        members.into_iter().map(|member| member.value).chain(parents).chain(linked).collect()
    }

    fn group(&self, name: &str) -> Option<Group> {
        if let Some(index) = self.group_index.get(name) {
            return Some(self.groups[*index].clone());
        }
        if name != "all" || self.index.contains_key("all") {
            return None;
        }
        let public = self.targets.iter().filter(|target| !target.name.starts_with('_'));
        let targets = public.map(|target| Spanned::new(target.name.clone(), target.span)).collect();
        Some(Group { name: name.to_owned(), span: None, description: None, targets })
    }

    /// Adds `default`: the real one if it was asked for, and what else was asked for, sorted as the peer does.
    fn with_default(&self, mut groups: BTreeMap<String, Group>, names: &[String]) -> BTreeMap<String, Group> {
        let real = groups.remove("default");
        let has_real = real.is_some();
        let mut default = real.unwrap_or_else(|| Group {
            name: "default".into(),
            span: None,
            description: None,
            targets: Vec::new(),
        });
        for name in names.iter().collect::<BTreeSet<_>>() {
            let is_new = !default.targets.iter().any(|member| member.value == *name);
            if !is_new || (has_real && name == "default") {
                continue;
            }
            if let Some(span) = self.place_of(name) {
                default.targets.push(Spanned::new(name.clone(), span));
            }
        }
        default.targets.sort_by(|a, b| a.value.cmp(&b.value));
        groups.insert("default".into(), default);
        groups
    }

    /// Returns where a group or target is defined; the first target for `all`.
    fn place_of(&self, name: &str) -> Option<Span> {
        let group = self.group_index.get(name).and_then(|index| self.groups[*index].span);
        let target = || self.index.get(name).and_then(|index| self.targets.get(*index)).or(self.targets.first());
        group.or_else(|| target().map(|target| target.span))
    }

    fn unknown(&self, name: &str, span: Option<Span>) -> Diagnostic {
        let known: Vec<&str> = self.targets.iter().map(|target| target.name.as_str()).collect();
        let groups = self.groups.iter().map(|group| group.name.as_str());
        if name == "default" && span.is_none() {
            let public: Vec<&str> = known.iter().copied().filter(|name| !name.starts_with('_')).collect();
            return Diagnostic::error_without_place("the bakefile has no target or group \"default\"")
                .note(format!("its targets are {}", listed(&public)))
                .hint("run `bake build all`, or name the targets to build");
        }
        let message = format!("no target named \"{name}\"");
        let finding = placed(span, message);
        match nearest(name, known.iter().copied().chain(groups)) {
            Some(near) => finding.hint(format!("did you mean \"{near}\"?")),
            None if known.is_empty() => finding,
            None => finding.note(format!("the targets are {}", listed(&known))),
        }
    }
}

/// Names that a message lists; the rest is counted.
const N_LISTED: usize = 12;

fn listed(names: &[&str]) -> String {
    match names.split_at_checked(N_LISTED) {
        Some((first, rest @ [_, ..])) => format!("{} and {} more", first.join(", "), rest.len()),
        _ => names.join(", "),
    }
}

struct Resolver<'a> {
    bakefile: &'a Bakefile,
    /// `None` while a target is being put together: a circle contributes nothing.
    memo: BTreeMap<&'a str, Option<Rc<Target>>>,
    /// What others inherit from; nothing else is kept in `memo` once it is finished.
    parents: BTreeSet<&'a str>,
    groups: BTreeMap<String, Group>,
    /// Bytes of all that targets took from their parents and their own blocks.
    size: usize,
}

impl<'a> Resolver<'a> {
    /// Adds the targets that a name stands for, groups taken apart.
    fn flatten(
        &mut self,
        name: &str,
        span: Option<Span>,
        path: &mut Vec<(String, Option<Span>)>,
        wanted: &mut Vec<(String, Option<Span>)>,
    ) -> Resolved<()> {
        let is_circle = path.iter().any(|(outer, _)| outer == name);
        if is_circle && self.bakefile.index.contains_key(name) {
            // A group may hold the target of its own name.
            wanted.push((name.to_owned(), span));
            return Ok(());
        }
        if is_circle || path.len() > MAX_CHAIN {
            return Err(match is_circle {
                true => circular_group(path, name, span),
                false => placed(span, format!("groups nest more than {MAX_CHAIN} levels deep")),
            });
        }
        if self.groups.contains_key(name) {
            // Its members are wanted already.
            return Ok(());
        }
        let Some(group) = self.bakefile.group(name) else {
            wanted.push((name.to_owned(), span));
            return Ok(());
        };
        path.push((name.to_owned(), span));
        for member in &group.targets {
            self.flatten(&member.value, Some(member.span), path, wanted)?;
        }
        path.pop();
        self.groups.insert(name.to_owned(), group);
        Ok(())
    }

    /// Puts a target together: parents from left to right, then its own attributes, then overrides; its `inherits` are
    /// done with. A list of what is waiting stands in for recursion: chains of parents may be long.
    fn merged(&mut self, name: &str, span: Option<Span>) -> Resolved<Rc<Target>> {
        if let Some(Some(done)) = self.memo.get(name) {
            return Ok(Rc::clone(done));
        }
        let mut waiting = vec![(self.own(name, span)?, 0)];
        loop {
            let Some((own, n_asked)) = waiting.last_mut() else { return Err(self.bakefile.unknown(name, span)) };
            let own = *own;
            self.memo.entry(&own.name).or_insert(None);
            if let Some(parent) = own.inherits.get(*n_asked) {
                *n_asked += 1;
                if !self.memo.contains_key(parent.value.as_str()) {
                    waiting.push((self.own(&parent.value, Some(parent.span))?, 0));
                }
                continue;
            }
            let target = Rc::new(self.merged_from_parents(own)?);
            self.memo.insert(&own.name, Some(Rc::clone(&target)));
            waiting.pop();
            if waiting.is_empty() {
                return Ok(target);
            }
        }
    }

    fn own(&self, name: &str, span: Option<Span>) -> Resolved<&'a Target> {
        let target = self.bakefile.index.get(name).and_then(|index| self.bakefile.targets.get(*index));
        target.ok_or_else(|| self.bakefile.unknown(name, span))
    }

    fn merged_from_parents(&mut self, own: &Target) -> Resolved<Target> {
        let mut target = Target::new(&own.name, own.span);
        let parents = own.inherits.iter().filter_map(|parent| self.memo.get(parent.value.as_str()));
        for part in parents.flatten().map(|parent| &**parent).chain([own]) {
            self.size += part.size();
            if self.size > MAX_TARGETS {
                let message = format!("the targets are more than {} MiB together, all inherited", MAX_TARGETS >> 20);
                let finding = Diagnostic::error(own.span, message);
                return Err(finding.hint("look for targets that inherit from many, which inherit from many"));
            }
            target.take(part);
        }
        if let Some(overrides) = self.bakefile.overrides.get(&own.name) {
            overrides::apply(&mut target, overrides)?;
        }
        target.normalise();
        Ok(target)
    }

    /// Returns a target with defaults filled in and its texts checked.
    fn finished(&mut self, name: &str, span: Option<Span>) -> Resolved<Target> {
        let merged = self.merged(name, span)?;
        if !self.parents.contains(name) {
            self.memo.remove(name);
        }
        let mut target = Rc::unwrap_or_clone(merged);
        let place = target.span;
        let directory = self.bakefile.directories.get(&place.file).map_or(".", String::as_str);
        overrides::refuse_stdin(&target, self.bakefile.overrides.get(name).map_or(&[], Vec::as_slice))?;
        let context = target.context.get_or_insert_with(|| Spanned::new(directory.into(), place));
        context.value = cleaned_context(&context.value, self.bakefile.home.as_ref());
        if target.dockerfile.as_ref().is_none_or(|dockerfile| dockerfile.value.is_empty()) {
            target.dockerfile = Some(Spanned::new("Dockerfile".into(), place));
        }
        if let Some(epoch) = &self.bakefile.source_date_epoch {
            let argument = || Spanned::new(Some(epoch.clone()), place);
            target.args.entry("SOURCE_DATE_EPOCH".into()).or_insert_with(argument);
        }
        if let Err((platform, why)) = target.parsed_platforms(&Platform::new("linux", "amd64", None)) {
            let message = format!("unknown platform \"{}\" in target \"{name}\"", why.text);
            let finding = Diagnostic::error(platform, message);
            return Err(match why.suggestion {
                Some(near) => finding.hint(format!("did you mean \"{near}\"?")),
                None => finding.hint("write OS/ARCHITECTURE, as in \"linux/amd64\""),
            });
        }
        Ok(target)
    }

    /// Adds the targets that `contexts` name, and theirs.
    fn link(&mut self, targets: &mut BTreeMap<String, Target>) -> Resolved<()> {
        let mut waiting: Vec<String> = targets.keys().cloned().collect();
        let mut edges: BTreeMap<String, Vec<(String, Span)>> = BTreeMap::new();
        while let Some(name) = waiting.pop() {
            let links = targets.get(&name).map_or_else(Vec::new, links);
            for (linked, span) in &links {
                if *linked == name {
                    return Err(Diagnostic::error(*span, format!("target \"{name}\" is its own context")));
                }
                if !targets.contains_key(linked) {
                    let mut target = self.finished(linked, Some(*span))?;
                    target.output = vec![OutputSpec { kind: "cacheonly".into(), fields: BTreeMap::new(), span: *span }];
                    target.is_linked = true;
                    targets.insert(linked.clone(), target);
                    waiting.push(linked.clone());
                }
            }
            edges.insert(name, links);
        }
        let next = |name: &str| edges.get(name).into_iter().flatten().map(|(linked, _)| linked.as_str()).collect();
        let found = walk(edges.keys().map(String::as_str), next);
        if let Some(cycle) = found.cycles.first() {
            return Err(circle(cycle, &edges));
        }
        for name in found.order {
            for (linked, span) in edges.get(name).into_iter().flatten() {
                join(name, linked, *span, targets)?;
            }
        }
        Ok(())
    }
}

/// The targets that a target's `contexts` name, and where.
fn links(target: &Target) -> Vec<(String, Span)> {
    let link = |context: &Spanned<String>| Some((context.value.strip_prefix("target:")?.to_owned(), context.span));
    target.contexts.values().filter_map(link).collect()
}

/// Draws the circle that the member `name`, which stands at `span`, closes: `path` holds the groups around it, outermost
/// first, each with the place where it is a member.
fn circular_group(path: &[(String, Option<Span>)], name: &str, span: Option<Span>) -> Diagnostic {
    let start = path.iter().position(|(outer, _)| outer == name).unwrap_or(0);
    let names: Vec<&str> = path[start..].iter().map(|(name, _)| name.as_str()).chain([name]).collect();
    let finding = placed(span, format!("group \"{name}\" contains itself: {}", names.join(" → ")));
    let members = path.iter().skip(start + 1).take(MAX_DRAWN);
    members
        .filter_map(|(name, span)| Some((name, (*span)?)))
        .fold(finding, |finding, (name, span)| finding.label(span, format!("\"{name}\" is a member here")))
}

fn placed(span: Option<Span>, message: String) -> Diagnostic {
    match span {
        Some(span) => Diagnostic::error(span, message),
        None => Diagnostic::error_without_place(message),
    }
}

fn circle(cycle: &[&str], edges: &BTreeMap<String, Vec<(String, Span)>>) -> Diagnostic {
    let drawn = cycle.iter().chain(cycle.first()).copied().collect::<Vec<_>>().join(" → ");
    let message = format!("these contexts go in a circle: {drawn}");
    let next = cycle.iter().cycle().skip(1);
    let places = cycle.iter().zip(next).filter_map(|(name, next)| {
        let (_, span) = edges.get(*name)?.iter().find(|(linked, _)| linked == next)?;
        Some((*span, format!("\"{name}\" has \"{next}\" as a context")))
    });
    let finding = Diagnostic::error_without_place(message);
    places.take(MAX_DRAWN).fold(finding, |finding, (span, text)| finding.label(span, text))
}

/// Checks that a linked target has every platform of its user, and hands its entitlements over.
fn join(name: &str, linked: &str, span: Span, targets: &mut BTreeMap<String, Target>) -> Resolved<()> {
    let Some((platforms, entitlements)) = targets.get(linked).map(|t| (t.platforms.clone(), t.entitlements.clone()))
    else {
        return Ok(());
    };
    let Some(user) = targets.get_mut(name) else { return Ok(()) };
    if user.platforms.len() > 1 && platforms.len() > 1 {
        let missing = user.platforms.iter().find(|platform| !platforms.contains(platform));
        if let Some(missing) = missing {
            let message = format!(
                "target \"{name}\" needs \"{linked}\" for {}, which \"{linked}\" is not built for",
                missing.value
            );
            let listed: Vec<&str> = platforms.iter().map(|p| p.value.as_str()).collect();
            return Err(
                Diagnostic::error(span, message).note(format!("\"{linked}\" is built for {}", listed.join(", ")))
            );
        }
    }
    for entitlement in entitlements {
        if !user.entitlements.contains(&entitlement) {
            user.entitlements.push(entitlement);
        }
    }
    Ok(())
}

/// Cleans a local path; a URL stays as it is. A path of a remote bakefile's is the URL of what it means there.
fn cleaned_context(context: &str, home: Option<&Home>) -> String {
    let context = &home.map_or_else(|| context.to_owned(), |home| home.context(context));
    if let Some(path) = context.strip_prefix("cwd://") {
        return clean_path(path);
    }
    if is_local(context) { clean_path(context) } else { context.to_owned() }
}

/// Says whether a context is a path, and not a URL or another target.
pub(super) fn is_local(context: &str) -> bool {
    !is_remote(context) && !context.contains("://") && !context.starts_with("target:")
}

/// Says whether a name matches a pattern of `*`, `?`, `[a-z]`, `[^a]` and `\`-escapes, as Go's path.Match does for names
/// without `/`. A malformed pattern matches nothing.
pub(super) fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    let (mut p, mut n) = (0, 0);
    // Where to try again after a `*` took one character more.
    let mut retry: Option<(usize, usize)> = None;
    loop {
        if p < pattern.len() && pattern[p] == '*' {
            retry = Some((p + 1, n));
            p += 1;
            continue;
        }
        if n == name.len() && p == pattern.len() {
            return true;
        }
        match name.get(n).and_then(|c| match_one(&pattern[p..], *c)) {
            Some(n_used) => (p, n) = (p + n_used, n + 1),
            None => match retry {
                Some((after, from)) if from < name.len() => {
                    retry = Some((after, from + 1));
                    (p, n) = (after, from + 1);
                }
                _ => return false,
            },
        }
    }
}

/// Matches one character with the start of a pattern; returns how much of the pattern that took.
fn match_one(pattern: &[char], c: char) -> Option<usize> {
    match pattern {
        ['?', ..] => Some(1),
        ['\\', literal, ..] => (*literal == c).then_some(2),
        ['[', rest @ ..] => {
            let is_negated = rest.first() == Some(&'^');
            let start = usize::from(is_negated);
            let end = rest.iter().skip(start + 1).position(|c| *c == ']')? + start + 1;
            let (mut is_in, mut set) = (false, &rest[start..end]);
            while let Some((low, after)) = set.split_first() {
                set = after;
                match set {
                    ['-', high, ..] => {
                        is_in |= (*low..=*high).contains(&c);
                        set = &set[2..];
                    }
                    _ => is_in |= *low == c,
                }
            }
            (is_in != is_negated).then_some(end + 2)
        }
        [literal, ..] => (*literal == c).then_some(1),
        [] => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_names() {
        for (pattern, name, is_match) in [
            ("*", "abc", true),
            ("a*c", "abbc", true),
            ("a*c", "abbd", false),
            ("a?c", "abc", true),
            ("[a-c]x", "bx", true),
            ("[^a-c]x", "bx", false),
            ("[a", "a", false),
            ("\\*", "*", true),
            ("*-*-z", "a-b-z", true),
            ("", "", true),
            ("a", "", false),
        ] {
            assert_eq!(matches(pattern, name), is_match, "{pattern} {name}");
        }
    }
}
