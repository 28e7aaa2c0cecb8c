//! `# syntax=`: which frontend a Dockerfile asks for.

use crate::diagnostic::Diagnostic;
use crate::plan::PlannedTarget;
use crate::reference::Reference;

use super::Loaded;

/// The value that means "the engine's own frontend".
const BUILT_IN: &str = "dockerfile.v0";

/// Returns an error if `target` asks for another frontend than the one that is built in, by `# syntax=` or by the build
/// argument `BUILDKIT_SYNTAX`, which wins. The official images are the one that is built in, in any version and from any
/// registry that mirrors them.
pub fn foreign_frontend(target: &PlannedTarget, loaded: &Loaded) -> Option<Diagnostic> {
    let directive = loaded.dockerfile.directives.iter().find(|directive| directive.name == "syntax");
    let argument = target.args.get("BUILDKIT_SYNTAX").filter(|value| !value.is_empty());
    let value = argument.or_else(|| directive.map(|directive| &directive.value))?;
    let name = value.split_whitespace().next().unwrap_or("");
    if name == BUILT_IN || is_official(name) {
        return None;
    }
    let message = format!("the Dockerfile frontend `{name}` cannot be run: only the one that is built in can");
    let error = match directive.filter(|_| argument.is_none()) {
        Some(directive) => Diagnostic::error(directive.span, message),
        None => Diagnostic::error_without_place(format!("BUILDKIT_SYNTAX: {message}")),
    };
    Some(error.hint("take the line out if the file is an ordinary Dockerfile, or name `docker/dockerfile:1`"))
}

fn is_official(name: &str) -> bool {
    let Ok(reference) = name.parse::<Reference>() else { return false };
    let repository = reference.repository.as_str();
    ["docker/dockerfile", "docker/dockerfile-upstream"]
        .iter()
        .any(|official| repository.strip_suffix(official).is_some_and(|rest| rest.is_empty() || rest.ends_with('/')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn official_images_are_the_built_in_frontend() {
        for name in [
            "docker/dockerfile:1.7-labs",
            "docker.io/docker/dockerfile-upstream:master",
            "mirror.test/x/docker/dockerfile",
        ] {
            assert!(is_official(name), "{name}");
        }
        for name in ["dockerfile", "example/dockerfile:1", "xdocker/dockerfile", "Docker/dockerfile"] {
            assert!(!is_official(name), "{name}");
        }
    }
}
