//! Paths that count from the file that names them.
//!
//! In an included file all of them do. In the files of the command line, local contexts do where
//! `BUILDX_BAKE_FILE_RELATIVE_PATHS` says so; else everything counts from where the command runs.

use std::collections::BTreeMap;

use super::model::Spanned;
use super::select::is_local;
use super::{SecretSpec, Target};
use crate::diagnostic::{FileId, SourceMap};
use crate::lang::text::clean_path;

/// Joins the local `context` and `contexts` of `targets` to the directories of their files; `cwd://` stays where the
/// command runs. A target that names no context keeps the command's directory. Files among `included` are left alone.
pub(super) fn from_files(targets: &mut [Target], included: &BTreeMap<FileId, String>, sources: &SourceMap) {
    for target in targets {
        for context in target.context.iter_mut().chain(target.contexts.values_mut()) {
            let directory = sources.name(context.span.file).rsplit_once('/').map(|(directory, _)| directory);
            let directory = directory.filter(|directory| !directory.contains("://"));
            if let (Some(directory), false) = (directory, included.contains_key(&context.span.file)) {
                join_context(context, directory);
            }
        }
    }
}

/// Joins every local path that stands in one of the files of `directories` to that file's directory.
pub(super) fn from_included(
    targets: &mut [Target],
    directories: &BTreeMap<FileId, String>,
    env: &dyn Fn(&str) -> Option<String>,
) {
    if directories.is_empty() {
        return;
    }
    let directory = |file: FileId| directories.get(&file).map(String::as_str);
    for target in targets {
        for context in target.context.iter_mut().chain(target.contexts.values_mut()) {
            let Some(directory) = directory(context.span.file) else { continue };
            join_context(context, directory);
            if let Some(layout) = context.value.strip_prefix("oci-layout://") {
                context.value = format!("oci-layout://{}", joined(directory, layout));
            }
        }
        for output in &mut target.output {
            join_fields(&mut output.fields, &["dest"], directory(output.span.file));
        }
        let caches = target.cache_from.iter_mut().chain(&mut target.cache_to);
        for cache in caches.filter(|cache| cache.kind == "local") {
            join_fields(&mut cache.fields, &["src", "dest"], directory(cache.span.file));
        }
        for secret in &mut target.secret {
            join_secret(secret, directory(secret.span.file), env);
        }
        for ssh in &mut target.ssh {
            let Some(directory) = directory(ssh.span.file) else { continue };
            ssh.paths.iter_mut().for_each(|path| *path = joined(directory, path));
        }
        for policy in &mut target.policy {
            let Some(directory) = directory(policy.span.file) else { continue };
            policy.filename.iter_mut().for_each(|path| *path = joined(directory, path));
        }
    }
}

fn join_context(context: &mut Spanned<String>, directory: &str) {
    if is_local(&context.value) {
        context.value = joined(directory, &context.value);
    }
}

fn join_fields(fields: &mut BTreeMap<String, String>, names: &[&str], directory: Option<&str>) {
    let Some(directory) = directory else { return };
    for (_, path) in fields.iter_mut().filter(|(name, _)| names.contains(&name.as_str())) {
        *path = joined(directory, path);
    }
}

/// A secret's id alone names a variable of the environment if there is one, else a file.
fn join_secret(secret: &mut SecretSpec, directory: Option<&str>, env: &dyn Fn(&str) -> Option<String>) {
    let Some(directory) = directory else { return };
    let is_file = secret.env.is_none() && !secret.id.is_empty() && env(&secret.id).is_none();
    let src = secret.src.take().or_else(|| is_file.then(|| secret.id.clone()));
    secret.src = src.map(|path| joined(directory, &path));
}

/// An empty path, standard input or output (`-`) and an absolute path count from nowhere.
fn joined(directory: &str, path: &str) -> String {
    match path.is_empty() || path == "-" || path.starts_with('/') {
        true => path.to_owned(),
        false => clean_path(&format!("{directory}/{path}")),
    }
}
