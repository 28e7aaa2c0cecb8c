//! Names that two bakefiles give, where one includes the other or a third includes both.
//!
//! The files of the command line are merged, as the peer does, and count as one here. Included files stand beside them and
//! beside each other: a target or group has one file. Variables, functions and global values may be repeated as they are,
//! so that a file can also be built alone.

use std::collections::BTreeMap;

use super::model::Target;
use super::places::Places;
use super::program::Program;
use crate::diagnostic::{Diagnostic, Diagnostics, FileId, Span};
use crate::lang::ast::{Attribute, Block, Body};
use crate::lang::{functions, shape};

/// The group that is for building a file alone.
const DEFAULT: &str = "default";

/// Drops the group `default` of an included file. A target of that name would be lost: that is an error.
pub(super) fn drop_default(body: &mut Body, findings: &mut Diagnostics) {
    let is_default = |block: &Block| matches!(&block.labels[..], [label] if label.text == DEFAULT);
    body.blocks.retain(|block| block.kind.text != "group" || !is_default(block));
    for block in body.blocks.iter().filter(|block| block.kind.text == "target" && is_default(block)) {
        let finding = Diagnostic::error(block.labels[0].span, "an included file has no target \"default\"");
        findings
            .push(finding.hint("give the target a name of its own, and the file a group \"default\" that holds it"));
    }
}

/// Targets and groups by name: the included file that gives it, and where.
#[derive(Default)]
pub(super) struct Names(BTreeMap<String, (Option<FileId>, Span)>);

impl Names {
    /// Takes a name for the file of `span`; an error if another file has it.
    fn claim(&mut self, name: &str, span: Span, places: &Places<'_>) -> Result<(), Diagnostic> {
        let owner = places.included(span.file);
        let (known, first) = *self.0.entry(name.to_owned()).or_insert((owner, span));
        if known == owner {
            return Ok(());
        }
        Err(Diagnostic::error(span, format!("another file has a target or group \"{name}\", too"))
            .label(first, "it is defined here")
            .hint(format!("rename one of them; a target that builds on the other has `inherits = [\"{name}\"]`")))
    }
}

/// A definition that files may repeat.
struct Definition {
    owner: Option<FileId>,
    span: Span,
    body: Body,
}

/// Finds the names that more than one file gives. Returns those of targets and groups.
pub(super) fn find(bodies: &[Body], compose: &[Target], places: &Places<'_>, findings: &mut Diagnostics) -> Names {
    let mut names = Names::default();
    for target in compose {
        _ = names.claim(&target.name, target.span, places);
    }
    let mut definitions = BTreeMap::new();
    for body in bodies {
        for attribute in body.attributes.iter().filter(|attribute| attribute.name.text != super::include::INCLUDE) {
            let key = ("global value", attribute.name.text.as_str());
            repeat(key, attribute.name.span, || lone(attribute), &mut definitions, places, findings);
        }
        for block in &body.blocks {
            let [label] = &block.labels[..] else { continue };
            let claimed = match block.kind.text.as_str() {
                "target" | "group" => names.claim(&label.text, label.span, places),
                kind @ ("variable" | "function") => {
                    let kind = if kind == "variable" { "variable" } else { "function" };
                    repeat((kind, &label.text), label.span, || block.body.clone(), &mut definitions, places, findings);
                    Ok(())
                }
                _ => Ok(()),
            };
            if let Err(clash) = claimed {
                findings.push(clash);
            }
        }
    }
    names
}

fn lone(attribute: &Attribute) -> Body {
    Body { attributes: vec![attribute.clone()], blocks: Vec::new(), span: attribute.name.span }
}

fn reads_files(body: &Body) -> bool {
    let mut found = false;
    for attribute in &body.attributes {
        attribute.value.for_each_call(&mut |call| found |= functions::files::find(&call.name.text).is_some());
    }
    found
}

fn repeat<'a>(
    key: (&'static str, &'a str),
    span: Span,
    body: impl FnOnce() -> Body,
    definitions: &mut BTreeMap<(&'static str, &'a str), Definition>,
    places: &Places<'_>,
    findings: &mut Diagnostics,
) {
    let owner = places.included(span.file);
    let Some(known) = definitions.get(&key) else {
        definitions.insert(key, Definition { owner, span, body: body() });
        return;
    };
    let body = body();
    if known.owner == owner {
        // Of two in the files of the command line, the last one counts.
        definitions.insert(key, Definition { owner, span, body });
        return;
    }
    // Equal paths mean other files in another directory.
    if shape(&known.body) == shape(&body) && !reads_files(&body) {
        return;
    }
    let (kind, name) = key;
    let finding = Diagnostic::error(span, format!("another file defines the {kind} \"{name}\" otherwise"));
    let finding = finding.label(known.span, "it is defined here");
    findings.push(finding.hint("say the same in both, or define it in one of them alone"));
}

/// Finds members of matrices whose names another file gives.
pub(super) fn find_in_matrices(
    program: &Program<'_>,
    mut names: Names,
    places: &Places<'_>,
    findings: &mut Diagnostics,
) {
    for cell in program.cells().into_iter().flatten() {
        if let Err(clash) = names.claim(&cell.name.text, cell.name.span, places) {
            findings.push(clash);
        }
    }
}
