//! What the build checks say about the Dockerfiles of a build, told when it is over.

use std::collections::BTreeSet;

use super::{Failure, Kind};
use crate::diagnostic::SourceMap;
use crate::frontend::lint::{self, Request};
use crate::frontend::{Loaded, Resolved};
use crate::plan::PlannedTarget;

/// A finding: the Dockerfile's name, the line, and the peer's short text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BuildWarning {
    file: String,
    line: Option<usize>,
    text: String,
}

/// Runs the checks of each target, for its first platform, on the stages that it reaches.
///
/// # Errors
/// `# check=error=true` makes the findings an error.
pub fn find(
    loaded: &[(&PlannedTarget, Loaded)],
    resolved: &Resolved,
    sources: &SourceMap,
) -> Result<BTreeSet<BuildWarning>, Failure> {
    let mut warnings = BTreeSet::new();
    let mut seen = BTreeSet::new();
    for (target, dockerfile) in loaded.iter().filter(|(target, _)| seen.insert(&target.name)) {
        let file = dockerfile.dockerfile.file;
        let found =
            lint::build_warnings(&Request { target, file, sources, ignore: &dockerfile.ignore.lines, resolved });
        if let Some(error) = found.error.filter(|_| found.is_violation) {
            let message = format!("target \"{}\": {}", target.name, error.diagnostic.message);
            let text = lint::lint_text(&found.warnings, file, sources);
            let failure = Failure::new(Kind::Definition, message).note(text.trim());
            return Err(failure.hint("mend them, or take `error=true` out of the line `# check=`"));
        }
        warnings.extend(found.warnings.iter().map(|warning| BuildWarning {
            file: sources.name(file).to_owned(),
            line: warning.lines.map(|lines| lines.first),
            text: format!("{}: {}", warning.rule().name, warning.detail()),
        }));
    }
    Ok(warnings)
}

/// Lists warnings as the peer does at the end of a build; a file is named where there are several.
pub fn text(warnings: &BTreeSet<BuildWarning>) -> String {
    let n_files = warnings.iter().map(|warning| &warning.file).collect::<BTreeSet<_>>().len();
    let count = if warnings.len() == 1 { "1 warning".to_owned() } else { format!("{} warnings", warnings.len()) };
    let mut lines = vec![String::new(), format!(" {count} found (use --check to expand):")];
    for warning in warnings {
        let file = if n_files > 1 { format!("{} ", warning.file) } else { String::new() };
        let line = warning.line.map(|line| format!(" ({file}line {line})")).unwrap_or_default();
        lines.push(format!(" - {}{line}", warning.text));
    }
    lines.join("\n")
}
