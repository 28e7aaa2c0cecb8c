//! `BUILDX_BAKE_FILE_RELATIVE_PATHS`: local contexts count from the bakefile that names them.

use super::Target;
use super::model::Spanned;
use super::select::is_local;
use crate::diagnostic::SourceMap;
use crate::lang::text::clean_path;

/// Joins the local `context` and `contexts` of `targets` to the directories of their files; `cwd://` stays where the
/// command runs. A target that names no context keeps the command's directory.
pub(super) fn from_files(targets: &mut [Target], sources: &SourceMap) {
    for target in targets {
        for context in target.context.iter_mut().chain(target.contexts.values_mut()) {
            join(context, sources);
        }
    }
}

fn join(context: &mut Spanned<String>, sources: &SourceMap) {
    let is_fixed = context.value.is_empty() || context.value == "-" || context.value.starts_with('/');
    let Some((directory, _)) = sources.name(context.span.file).rsplit_once('/') else { return };
    let is_fixed = is_fixed || directory.contains("://");
    if !is_fixed && is_local(&context.value) {
        context.value = clean_path(&format!("{directory}/{}", context.value));
    }
}
