//! BuildKit's build checks, and what a Dockerfile takes and offers: its variables, secrets and targets.
//!
//! In: a [`Request`]: a target, its Dockerfile, and the images that are resolved so far. Out: warnings, an [`Outline`], a
//! [`TargetList`], as `docker buildx build --call` has them; and, for checks, the images that they [`Need`] to say more.
//! Does no IO: where an image is not known, what its config decides is told as [`Undecided`].
//!
//! `walk` finds the stages and their bases, `steps` goes through their instructions as the peer's converter does, which
//! finds most warnings on its way; `shapes` are the peer's documents and `text` its listings.

mod expand;
mod outline;
mod shapes;
mod steps;
mod text;
mod walk;

use std::collections::BTreeSet;

use crate::diagnostic::{Diagnostic, Diagnostics, FileId, SourceMap};
use crate::dockerfile::lint::{BuildError, CheckOptions, LineRange, Linter, Rule, Warning, Written};
use crate::plan::PlannedTarget;

use super::{Need, Resolved};

pub use shapes::{
    LintDocument, LintWarning, Location, Outline, OutlineArg, OutlineMount, Position, Range, SourceInfo, TargetEntry,
    TargetList,
};
pub use text::{error_text, excerpt, lint_text, outline_text, targets_text};

/// What is looked at.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// For which target and platform.
    pub target: &'a PlannedTarget,
    /// Its Dockerfile.
    pub file: FileId,
    /// The texts.
    pub sources: &'a SourceMap,
    /// The lines of the main context's ignore file.
    pub ignore: &'a [String],
    /// What is known of images and of other targets.
    pub resolved: &'a Resolved,
}

/// What the checks found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lint {
    /// In the order in which the peer finds them.
    pub warnings: Vec<Warning>,
    /// Why the Dockerfile cannot be built; the warnings are then those up to there.
    pub error: Option<BuildError>,
    /// The error is that `error=true` makes of the warnings; the Dockerfile itself can be built.
    pub is_violation: bool,
    /// Images that would let the checks say more.
    pub needs: BTreeSet<Need>,
    /// What could not be told without those images.
    pub undecided: Vec<Undecided>,
}

/// A rule that hangs on the config of an image that is not known.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Undecided {
    /// The rule's name.
    pub rule: &'static str,
    /// The image as the Dockerfile names it.
    pub image: String,
    /// Which lines it would be about.
    pub lines: Option<LineRange>,
}

impl Undecided {
    fn new(rule: &'static Rule, image: &str, lines: Option<LineRange>) -> Undecided {
        Undecided { rule: rule.name, image: image.to_owned(), lines }
    }
}

/// Which stages are walked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scope {
    /// Every one.
    All,
    /// Those that the target reaches.
    Reached,
}

/// Runs the checks, as `docker buildx build --check` does: on all stages, unless the target names one.
pub fn lint(request: &Request<'_>) -> Lint {
    let scope = if request.target.stage.is_none() { Scope::All } else { Scope::Reached };
    checked(request, scope)
}

/// Runs the checks as a build does: on the stages that it reaches.
pub fn build_warnings(request: &Request<'_>) -> Lint {
    checked(request, Scope::Reached)
}

fn checked(request: &Request<'_>, scope: Scope) -> Lint {
    let mut walk = walk::Walk::new(request, scope);
    let error = walk.run().err();
    let violation = walk.linter.error().filter(|_| error.is_none());
    Lint { is_violation: violation.is_some(), error: error.or(violation), ..walk.finish() }
}

/// Returns what a target takes: its variables, secrets and SSH sockets. Warnings do not fail it, even with `error=true`.
///
/// # Errors
/// The Dockerfile is wrong.
pub fn outline(request: &Request<'_>) -> Result<Outline, Diagnostics> {
    let mut walk = walk::Walk::new(request, Scope::Reached);
    let target = walk.run().map_err(|error| Diagnostics::from(error.diagnostic))?;
    Ok(walk.outline(target))
}

/// Returns the stages that can be built.
///
/// # Errors
/// The Dockerfile is wrong.
pub fn targets(file: FileId, sources: &SourceMap) -> Result<TargetList, Diagnostics> {
    let mut ignored = Linter::default();
    let written = Written::read(file, sources, &mut ignored).map_err(|error| Diagnostics::from(error.diagnostic))?;
    Ok(TargetList::new(&written, sources.text(file)))
}

/// Returns the options of a file's checks: the build argument's, else those of its `# check=` line.
fn options(request: &Request<'_>) -> Result<CheckOptions, BuildError> {
    let given = request.target.args.get("BUILDKIT_DOCKERFILE_CHECK").cloned();
    let (dockerfile, _) = crate::dockerfile::parse(request.file, request.sources);
    let directive = dockerfile.directives.into_iter().find(|directive| directive.name == "check");
    let text = given.or_else(|| directive.map(|directive| directive.value)).unwrap_or_default();
    CheckOptions::parse(&text)
        .map_err(|reason| BuildError { diagnostic: Diagnostic::error_without_place(reason), lines: None })
}
