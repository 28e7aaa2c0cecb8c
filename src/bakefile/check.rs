//! Findings that evaluation alone would not make: names that mean nothing, functions and parents that go in circles.

use std::collections::{BTreeMap, BTreeSet};

use super::include::INCLUDE;
use super::program::{BUILT_IN, Program};
use super::vocabulary::{Attribute, FUNCTION, GROUP, TARGET, VALIDATION, VARIABLE};
use super::walk::walk;
use super::{Addition, Bakefile, Spanned};
use crate::diagnostic::{Diagnostic, Diagnostics, Span, nearest};
use crate::lang::ast::{Block, Body, Call};
use crate::lang::functions::files;

/// Findings after which names that may have been meant are not looked for.
const MAX_SUGGESTED: usize = 1_000;

/// Warns of attributes and blocks that the peer would drop silently.
pub(super) fn unknown_names(body: &Body, findings: &mut Diagnostics) {
    for block in &body.blocks {
        match block.kind.text.as_str() {
            "target" => warn(block, &names(TARGET), &[], findings),
            // A matrix in a group is an error of its own.
            "group" => warn(block, &[names(GROUP), vec!["matrix", "name"]].concat(), &[], findings),
            "variable" => {
                if let Some(label) = block.labels.first().filter(|label| BUILT_IN.contains(&label.text.as_str())) {
                    let message = format!("\"{}\" is defined by bake; this block means nothing", label.text);
                    findings.push(Diagnostic::warning(label.span, message));
                }
                warn(block, &names(VARIABLE), &["validation"], findings);
                for validation in block.body.blocks.iter().filter(|b| b.kind.text == "validation") {
                    warn(validation, &names(VALIDATION), &[], findings);
                }
            }
            "function" => warn(block, &names(FUNCTION), &[], findings),
            _ => {}
        }
    }
}

fn names(attributes: &[Attribute]) -> Vec<&str> {
    attributes.iter().map(|attribute| attribute.name).collect()
}

/// Returns where a body uses what the peer's language does not have.
pub(super) fn additions(body: &Body, program: &Program<'_>) -> Vec<Addition> {
    let mut found = Vec::new();
    if let Some(attribute) = body.attribute(INCLUDE) {
        let text = "`include` is bake's own; the peer ignores it and knows nothing of these files";
        found.push(Addition { span: attribute.name.span, text });
    }
    let targets = body.blocks.iter().filter(|block| block.kind.text == "target");
    let attributes = targets.flat_map(|block| &block.body.attributes);
    let addition = |attribute: &crate::lang::ast::Attribute| {
        let text = match attribute.name.text.as_str() {
            "exclude" => "`exclude` is bake's own; the peer ignores it and builds every combination of the matrix",
            "platform-args" => {
                "`platform-args` is bake's own; the peer ignores it, so no platform gets these arguments"
            }
            _ => return None,
        };
        Some(Addition { span: attribute.name.span, text })
    };
    found.extend(attributes.filter_map(addition));
    let is_ours = |name: &str| files::find(name).is_some() && !program.functions.contains_key(name);
    for_each_call(body, &mut |call| {
        if is_ours(&call.name.text) {
            let text = "this function is bake's own; the peer fails: there is no function of this name";
            found.push(Addition { span: call.name.span, text });
        }
    });
    found.sort();
    found
}

fn for_each_call(body: &Body, visit: &mut dyn FnMut(&Call)) {
    for attribute in &body.attributes {
        attribute.value.for_each_call(&mut |call| visit(call));
    }
    for block in &body.blocks {
        for_each_call(&block.body, visit);
    }
}

fn warn(block: &Block, attributes: &[&str], blocks: &[&str], findings: &mut Diagnostics) {
    let kind = &block.kind.text;
    for attribute in block.body.attributes.iter().filter(|a| !attributes.contains(&a.name.text.as_str())) {
        let name = &attribute.name;
        let finding =
            Diagnostic::warning(name.span, format!("a {kind} has no attribute `{}`; it means nothing", name.text));
        // Few of them are shown.
        let is_read = findings.iter().nth(MAX_SUGGESTED).is_none();
        findings.push(match nearest(&name.text, attributes.iter().copied().filter(|_| is_read)) {
            Some(near) => finding.hint(format!("did you mean `{near}`?")),
            None => finding,
        });
    }
    for nested in block.body.blocks.iter().filter(|b| !blocks.contains(&b.kind.text.as_str())) {
        let name = &nested.kind;
        let finding =
            Diagnostic::warning(name.span, format!("a {kind} has no block `{}`; it means nothing", name.text));
        findings.push(match attributes.contains(&name.text.as_str()) {
            true => finding.hint(format!("it is an attribute: `{} = {{ … }}`", name.text)),
            false => finding,
        });
    }
}

/// Reports functions that call themselves, even unused ones.
pub(super) fn function_cycles(program: &Program<'_>, findings: &mut Diagnostics) {
    let mut calls: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (name, function) in &program.functions {
        let called = calls.entry(name).or_default();
        function.result.for_each_call(&mut |call| {
            if program.functions.contains_key(call.name.text.as_str()) {
                called.insert(&call.name.text);
            }
        });
    }
    let edges = |name: &str| calls.get(name).into_iter().flatten().copied().collect();
    for cycle in walk(calls.keys().copied(), edges).cycles {
        let drawn: Vec<String> = cycle.iter().chain(cycle.first()).map(|name| format!("{name}()")).collect();
        let Some(function) = cycle.first().and_then(|name| program.functions.get(name)) else { continue };
        let place = |name: &&str| {
            let block = program.functions.get(*name)?.block;
            Some((block.labels.first()?.span, format!("`{name}()` is defined here")))
        };
        let span = function.block.labels.first().map_or(function.block.kind.span, |label| label.span);
        let finding = Diagnostic::error(span, format!("a function calls itself: {}", drawn.join(" → ")));
        let others = cycle.iter().skip(1).take(5).filter_map(place);
        findings.push(others.fold(finding, |finding, (span, text)| finding.label(span, text)));
    }
}

/// Warns of targets that inherit themselves; the peer leaves the last step of the circle out, and so does bake.
pub(super) fn inherit_cycles(bakefile: &Bakefile, findings: &mut Diagnostics) {
    let parents = |name: &str| -> Vec<&str> {
        let target = bakefile.index.get(name).map(|index| &bakefile.targets[*index]);
        target.into_iter().flat_map(|target| &target.inherits).map(|parent| parent.value.as_str()).collect()
    };
    let names = bakefile.targets.iter().map(|target| target.name.as_str());
    for cycle in walk(names, parents).cycles {
        let Some(target) = cycle.first().and_then(|name| bakefile.index.get(*name)).map(|i| &bakefile.targets[*i])
        else {
            continue;
        };
        let drawn: Vec<&str> = cycle.iter().chain(cycle.first()).copied().collect();
        let message = format!("target \"{}\" inherits itself: {}", target.name, drawn.join(" → "));
        let places = cycle.iter().zip(cycle.iter().cycle().skip(1)).filter_map(|(name, next)| {
            let target = &bakefile.targets[*bakefile.index.get(*name)?];
            let parent = target.inherits.iter().find(|parent: &&Spanned<String>| parent.value == *next)?;
            Some((parent.span, format!("\"{name}\" inherits \"{next}\"")))
        });
        let finding = Diagnostic::error_without_place(message).as_warning();
        let finding = places.take(6).fold(finding, |finding, (span, text)| finding.label(span, text));
        findings.push(finding.note("the last step of the circle is left out, as the peer does"));
    }
}

/// Warns of each `--var` that sets no variable among `names`: the peer ignores it, and a typo would build the default.
pub(super) fn unknown_vars(vars: &[(&str, Span)], names: &[&str], findings: &mut Diagnostics) {
    for (name, place) in vars.iter().filter(|(name, _)| !names.contains(name)) {
        let message = format!("no variable named \"{name}\"; it means nothing");
        findings.push(Diagnostic::warning(*place, message).suggest(name, names.iter().copied()));
    }
}
