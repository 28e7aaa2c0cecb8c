//! `x-bake` in a build: attributes of a bakefile that Compose has no word for.

use super::super::model::{Spanned, Target};
use super::super::spec::{CacheSpec, SecretSpec, SshSpec};
use super::load::{Found, wrong};
use super::lower::{flag, named_contexts, output, record};
use super::yaml::{Node, Yaml};

/// Adds the extension's lists to the target's own and replaces its flags; its contexts fill gaps. Keys that it does not
/// have are left alone, as the peer leaves them.
pub(super) fn apply(target: &mut Target, extension: &Node) -> Found<()> {
    if extension.as_map().is_none() {
        return wrong(extension.span, format!("`x-bake` is a mapping, not {}", extension.kind()));
    }
    let list = |name: &str| extension.get(name).map_or(Ok(Vec::new()), |node| words(name, node));
    target.tags.extend(list("tags")?);
    target.platforms.extend(list("platforms")?);
    target.no_cache_filter.extend(list("no-cache-filter")?);
    for text in list("cache-from")? {
        target.cache_from.extend(record(&text, CacheSpec::parse)?);
    }
    for text in list("cache-to")? {
        target.cache_to.extend(record(&text, CacheSpec::parse)?);
    }
    for text in list("secret")? {
        target.secret.push(record(&text, SecretSpec::parse)?);
    }
    for text in list("ssh")? {
        target.ssh.push(record(&text, SshSpec::parse)?);
    }
    for text in list("output")? {
        target.output.push(output(&text)?);
    }
    target.pull = flag(extension.get("pull"))?.or(target.pull);
    target.no_cache = flag(extension.get("no-cache"))?.or(target.no_cache);
    if let Some(contexts) = extension.get("contexts").filter(|node| !node.is_null()) {
        for (name, context) in named_contexts(contexts)? {
            target.contexts.entry(name).or_insert(context);
        }
    }
    target.normalise();
    target.ssh.sort_by(|a, b| (&a.id, &a.paths).cmp(&(&b.id, &b.paths)));
    Ok(())
}

/// Returns a list's texts, or a text's words.
fn words(name: &str, node: &Node) -> Found<Vec<Spanned<String>>> {
    match &node.value {
        Yaml::Null => Ok(Vec::new()),
        Yaml::List(items) => {
            let text = |item: &Node| match item.scalar() {
                Some(text) => Ok(Spanned::new(text, item.span)),
                None if item.is_null() => Ok(Spanned::new(String::new(), item.span)),
                None => wrong(item.span, format!("`{name}` is a list of strings, but this is {}", item.kind())),
            };
            items.iter().map(text).collect()
        }
        Yaml::Map(_) => wrong(node.span, format!("`{name}` is a string or a list, not a mapping")),
        _ => {
            let text = node.scalar().unwrap_or_default();
            Ok(text.split_whitespace().map(|word| Spanned::new(word.to_owned(), node.span)).collect())
        }
    }
}
