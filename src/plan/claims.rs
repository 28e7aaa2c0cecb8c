//! What several outputs want at once: a tag or file would be whichever came last.

use std::collections::BTreeMap;

use super::{ImageFormat, LayoutForm, LocalMode, Output};
use crate::bakefile::Target;
use crate::diagnostic::{Diagnostic, Diagnostics};

/// What is written, by the place: `push NAME` or `write PATH`.
#[derive(Default)]
pub(super) struct Claims<'a>(BTreeMap<String, (Use, &'a str)>);

/// How a place is used. Equal uses of several targets get along, except the exclusive one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Use {
    /// One target's alone.
    Exclusive,
    /// Images of several targets are gathered in one layout.
    Images(LayoutForm, ImageFormat),
    /// Files of several targets are gathered in one directory.
    Files,
}

impl<'a> Claims<'a> {
    /// Notes where a target's result goes.
    pub(super) fn add(&mut self, target: &'a Target, outputs: &[Output], found: &mut Diagnostics) {
        for output in outputs {
            let using = match output {
                Output::File(file) => Use::Images(file.form, file.format),
                Output::Local { mode: LocalMode::Copy, .. } => Use::Files,
                _ => Use::Exclusive,
            };
            let names = if let Output::Push(names, _) = output { &names[..] } else { &[] };
            let pushes = names.iter().map(|name| (format!("push `{name}`"), false));
            let writes = output.path().map(|path| (format!("write `{path}`"), true));
            for (place, is_file) in pushes.chain(writes) {
                let Some((first, owner)) = self.0.get(&place).copied() else {
                    self.0.insert(place, (using, &target.name));
                    continue;
                };
                // One image may be pushed under a name twice.
                let is_shared = if is_file { first == using && using != Use::Exclusive } else { owner == target.name };
                if !is_shared {
                    found.push(clash(target, owner, &place));
                }
            }
        }
    }
}

fn clash(target: &Target, owner: &str, place: &str) -> Diagnostic {
    if owner == target.name {
        let message = format!("target \"{owner}\" has two outputs that {place}");
        return Diagnostic::error(target.span, message).hint("give each output a place of its own");
    }
    let message = format!("targets \"{owner}\" and \"{}\" both {place}", target.name);
    Diagnostic::error(target.span, message).hint("give each target a name of its own")
}
