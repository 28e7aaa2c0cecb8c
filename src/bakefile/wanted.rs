//! Which targets a run needs: those that were asked for, and what they need in turn.

use std::collections::{BTreeMap, BTreeSet};

use super::program::{Program, TargetCell};
use super::{Bakefile, Reported, decode};
use crate::lang::ast::{Expr, ExprKind, StepKind};

/// Evaluates the targets of `cells` (all of the files, in order) that `names` mean, and all that those need, and adds them.
/// A run that fails says everything that is wrong: where a name is not there, or a target is in error, all are evaluated.
pub(super) fn add<'a>(
    program: &Program<'a>,
    names: &[String],
    cells: &[&TargetCell<'a>],
    bakefile: &mut Bakefile,
    findings: &mut Reported,
) {
    let mut by_name: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    cells.iter().enumerate().for_each(|(i, cell)| by_name.entry(&cell.name.text).or_default().push(i));
    let expanded = bakefile.expand(names);
    let mut is_failure = expanded.is_err() || findings.findings.has_errors();
    let mut waiting = expanded.unwrap_or_default();
    let functions = program.functions.values().map(|function| function.result);
    functions.chain(program.globals.values().map(|(attribute, _)| &attribute.value)).for_each(|expr| {
        waiting.extend(referenced(expr).map(str::to_owned));
    });
    let mut seen: BTreeSet<String> = BTreeSet::new();
    while !waiting.is_empty() && !is_failure {
        // In order of definition: a chain of references is evaluated from its start, not by ever deeper recursion.
        let mut round = BTreeSet::new();
        let mut added = Vec::new();
        while let Some(name) = waiting.pop() {
            if !seen.insert(name.clone()) {
                continue;
            }
            is_failure |= !bakefile.has(&name);
            for i in by_name.remove(name.as_str()).into_iter().flatten() {
                let values = cells[i].block.body.attributes.iter().map(|attribute| &attribute.value);
                values.for_each(|expr| waiting.extend(referenced(expr).map(str::to_owned)));
                round.insert(i);
            }
            added.push(name);
        }
        round.into_iter().for_each(|i| bakefile.add(decode(program, cells[i], findings)));
        waiting.extend(added.iter().flat_map(|name| bakefile.needed_by(name)));
        is_failure |= findings.findings.has_errors();
    }
    if is_failure {
        let rest: BTreeSet<usize> = by_name.into_values().flatten().collect();
        rest.into_iter().for_each(|i| bakefile.add(decode(program, cells[i], findings)));
    }
}

/// The names of the targets that an expression refers to: `target.NAME.ATTRIBUTE`.
fn referenced(expr: &Expr) -> impl Iterator<Item = &str> {
    let mut names = Vec::new();
    expr.for_each(&mut |expr| {
        let ExprKind::Traversal(traversal) = &expr.kind else { return };
        let is_target = matches!(&traversal.base.kind, ExprKind::Variable(name) if name == "target");
        if let (true, Some(StepKind::Attribute(name))) = (is_target, traversal.steps.first().map(|step| &step.kind)) {
            names.push(name.as_str());
        }
    });
    names.into_iter()
}
