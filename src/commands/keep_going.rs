//! What became of each target for each platform when some steps failed and the others went on.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::failure::with_causes;
use super::locked::LockedImages;
use super::publish::Fates;
use super::solve::Lowered;
use crate::diagnostic::SourceMap;
use crate::graph::VertexId;
use crate::plan::{BuildContext, Plan, PlannedTarget, TargetPlan};
use crate::solver::drive::StepFailure;
use crate::solver::key::Content;
use crate::solver::scheduler::reachable;
use crate::worker::local::WorkerError;

/// What the table is made of.
pub(super) struct Outcomes<'a> {
    pub(super) plan: &'a Plan,
    pub(super) lowered: &'a Lowered,
    pub(super) locked: &'a LockedImages,
    pub(super) sources: &'a SourceMap,
    pub(super) contents: &'a BTreeMap<VertexId, Content>,
    pub(super) failures: &'a [StepFailure<WorkerError>],
}

impl Outcomes<'_> {
    /// Returns a head line and one line for each target and platform, in the plan's order.
    ///
    /// What was published of it, if anything was, is in `fates`.
    pub(super) fn table(&self, fates: &Fates) -> String {
        let rows: Vec<[String; 4]> = self.plan.planned().map(|target| self.row(target, fates)).collect();
        let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths = [width(0), width(1), width(2)];
        let n_built = self.plan.planned().filter(|target| self.outcome(target).0 == "built").count();
        let published = match fates.values().filter(|fate| fate.is_ok()).count() {
            0 => "nothing was published".to_owned(),
            1 => "1 target was published".to_owned(),
            n => format!("{n} targets were published"),
        };
        let mut text = format!("built {n_built} of {}; {published}:", rows.len());
        for [target, platform, outcome, reason] in &rows {
            let [target_width, platform_width, outcome_width] = widths;
            let row = format!("{target:target_width$}  {platform:platform_width$}  {outcome:outcome_width$}  {reason}");
            _ = write!(text, "\n  {}", row.trim_end());
        }
        text
    }

    /// Says whether a target was built for all its platforms.
    pub(super) fn is_built(&self, target: &TargetPlan) -> bool {
        target.platforms.iter().all(|planned| self.outcome(planned).0 == "built")
    }

    fn row(&self, target: &PlannedTarget, fates: &Fates) -> [String; 4] {
        let (outcome, reason) = match (self.outcome(target), fates.get(&target.name)) {
            (("built", _), Some(Ok(tags))) => ("published", tags.join(", ")),
            (("built", _), Some(Err(reason))) => ("not sent", reason.clone()),
            (outcome, _) => outcome,
        };
        [target.name.clone(), target.platform.to_string(), outcome.to_owned(), reason]
    }

    fn outcome(&self, target: &PlannedTarget) -> (&'static str, String) {
        let Some(root) = self.root(&target.name, target) else { return ("built", String::new()) };
        if self.contents.contains_key(&root) || self.locked.contains_key(&target.name) {
            return ("built", String::new());
        }
        let linked = target.contexts.values().filter_map(|context| match context {
            BuildContext::Target(name) => Some((name, self.root(name, target)?)),
            BuildContext::Local(_) | BuildContext::Image(_) => None,
        });
        for (name, root) in linked {
            if !self.contents.contains_key(&root) {
                return ("not begun", format!("because of target \"{name}\""));
            }
        }
        let steps = reachable(&self.lowered.definition, &[root]);
        let failed: Vec<_> = self.failures.iter().filter(|failure| steps.contains(&failure.vertex)).collect();
        let Some(first) = failed.first() else { return ("not begun", "because it was stopped".to_owned()) };
        let metadata = &self.lowered.definition.vertex(first.vertex).metadata;
        let place = metadata.span.map(|span| self.sources.place(span));
        let place = place.map_or(String::new(), |place| format!(" ({}:{})", place.file, place.line));
        let more = if failed.len() > 1 { format!(", and {} more", failed.len() - 1) } else { String::new() };
        let name = metadata.name.lines().next().unwrap_or("");
        ("failed", format!("{name}{place}: {}{more}", with_causes(&first.error)))
    }

    fn root(&self, name: &str, target: &PlannedTarget) -> Option<VertexId> {
        self.lowered.targets.get(&(name.to_owned(), target.platform.clone()))?.root
    }
}
