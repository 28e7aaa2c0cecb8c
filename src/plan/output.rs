//! Where a target's result goes, from its `output` attribute.

use super::{LayoutForm, Output};
use crate::bakefile::{OutputSpec, Target};
use crate::diagnostic::{Diagnostic, Diagnostics, nearest};
use crate::reference::Reference;

const KINDS: [&str; 7] = ["image", "registry", "oci", "docker", "local", "tar", "cacheonly"];

/// Returns the outputs of `target`, whose parsed tags are `tags`.
pub(super) fn outputs(target: &Target, tags: &[Reference], found: &mut Diagnostics) -> Vec<Output> {
    target.output.iter().filter_map(|spec| output(target, spec, tags, found)).collect()
}

fn output(target: &Target, spec: &OutputSpec, tags: &[Reference], found: &mut Diagnostics) -> Option<Output> {
    let is_on = |key: &str| spec.fields.get(key).is_some_and(|value| matches!(value.as_str(), "true" | "1" | "True"));
    let is_off =
        |key: &str| spec.fields.get(key).is_some_and(|value| matches!(value.as_str(), "false" | "0" | "False"));
    let known: &[&str] = match spec.kind.as_str() {
        "image" => &["push", "name", "oci-mediatypes"],
        "registry" => &["name", "oci-mediatypes"],
        "oci" => &["dest", "tar", "oci-mediatypes"],
        "local" | "tar" => &["dest", "attestation-prefix"],
        _ => &[],
    };
    let kind = spec.kind.as_str();
    if !KINDS.contains(&kind) {
        let diagnostic = Diagnostic::error(spec.span, format!("unknown output type `{kind}`"));
        let hint = nearest(kind, KINDS).map(|near| format!("did you mean `type={near}`?"));
        found.push(hint.into_iter().fold(diagnostic, Diagnostic::hint));
        return None;
    }
    if let Some(key) = spec.fields.keys().find(|key| !known.contains(&key.as_str())) {
        let message = format!("output option `{key}` for `type={}` is not supported yet", spec.kind);
        found.push(Diagnostic::error(spec.span, message));
        return None;
    }
    if is_off("oci-mediatypes") {
        found.push(Diagnostic::error(spec.span, "Docker's media types are not written; images are OCI's"));
        return None;
    }
    match kind {
        "image" if !is_on("push") => None,
        "image" | "registry" => push(target, spec, tags, found),
        "oci" => {
            let form = if is_off("tar") { LayoutForm::Directory } else { LayoutForm::Archive };
            Some(Output::Oci { dest: dest(spec, found)?, form })
        }
        "local" => Some(Output::Local { dest: dest(spec, found)? }),
        "tar" => Some(Output::Tar { dest: dest(spec, found)? }),
        "cacheonly" => Some(Output::CacheOnly),
        kind => {
            let message = format!("output `type={kind}` is not supported yet");
            found.push(
                Diagnostic::error(spec.span, message).hint("use `type=oci,dest=FILE`, which Podman and skopeo read"),
            );
            None
        }
    }
}

fn push(target: &Target, spec: &OutputSpec, tags: &[Reference], found: &mut Diagnostics) -> Option<Output> {
    let names: Vec<Reference> = match spec.fields.get("name") {
        None => tags.to_vec(),
        Some(names) => {
            let parsed: Result<_, _> = names.split(',').map(|name| name.trim().parse()).collect();
            parsed
                .map_err(|error: crate::reference::InvalidReference| {
                    found.push(Diagnostic::error(spec.span, error.to_string()));
                })
                .ok()?
        }
    };
    if names.is_empty() {
        let message = format!("target \"{}\" is to be pushed and has no tags", target.name);
        found.push(Diagnostic::error(target.span, message).hint("give it `tags = [\"REGISTRY/REPOSITORY:TAG\"]`"));
        return None;
    }
    Some(Output::Push(names))
}

fn dest(spec: &OutputSpec, found: &mut Diagnostics) -> Option<String> {
    let dest = spec.fields.get("dest").filter(|dest| !dest.is_empty()).cloned();
    if dest.is_none() {
        let message = format!("output `type={}` needs a destination", spec.kind);
        found.push(Diagnostic::error(spec.span, message).hint(format!("write `type={},dest=PATH`", spec.kind)));
    }
    dest
}
