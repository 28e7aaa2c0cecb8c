//! Which files are read, and which notation a file is in.

use std::path::Path;

use super::compose;
use crate::diagnostic::{Diagnostic, Diagnostics, FileId, SourceMap};
use crate::lang::ast::Body;
use crate::lang::{BlockSchema, Notation, parse_hcl, parse_json, parse_toml};
use crate::sys::files::Files;
use crate::text::utf8;

/// A bakefile's text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputFile {
    /// As shown to the user; its ending says the notation: `.hcl`, `.json`, `.toml`, `.yaml`,
    /// `.yml`. Others are Compose files if they have `services`, else HCL, else JSON.
    pub name: String,
    /// The text.
    pub text: String,
}

/// Bytes of a bakefile at most: what is made of a byte may take a hundred. Twenty thousand targets have a third of it.
pub const MAX_BAKEFILE: usize = 16 << 20;

/// Our own names, merged in this order.
const NAMES: [&str; 4] = ["build.toml", "build.hcl", "build.override.toml", "build.override.hcl"];
/// The peer's names, merged in this order; they count where none of ours is there.
const PEER_NAMES: [&str; 8] = [
    "compose.yaml",
    "compose.yml",
    "docker-compose.yml",
    "docker-compose.yaml",
    "docker-bake.json",
    "docker-bake.hcl",
    "docker-bake.override.json",
    "docker-bake.override.hcl",
];

/// Which keys of JSON and TOML are blocks.
pub(super) const SCHEMA: &[BlockSchema] = &[
    BlockSchema { kind: "target", n_labels: 1, nested: &[] },
    BlockSchema { kind: "group", n_labels: 1, nested: &[] },
    BlockSchema { kind: "function", n_labels: 1, nested: &[] },
    BlockSchema {
        kind: "variable",
        n_labels: 1,
        nested: &[BlockSchema { kind: "validation", n_labels: 0, nested: &[] }],
    },
];

/// Reads the bakefiles that are there, in the order in which they are merged. An empty file counts as absent.
///
/// # Errors
/// None is there, or one cannot be read.
pub fn default_files(files: &dyn Files) -> Result<Vec<InputFile>, Diagnostics> {
    for names in [&NAMES[..], &PEER_NAMES[..]] {
        let mut found = Vec::new();
        for name in names {
            if let Some(input) = read(files, name)? {
                found.push(input);
            }
        }
        if !found.is_empty() {
            return Ok(found);
        }
    }
    let error = Diagnostic::error_without_place("no bakefile here")
        .note(format!("looked for {} and {}", NAMES.join(", "), PEER_NAMES.join(", ")))
        .hint("write a build.hcl or build.toml, or name a file with -f");
    Err(error.into())
}

fn read(files: &dyn Files, name: &str) -> Result<Option<InputFile>, Diagnostics> {
    let wrong =
        |what: String| Diagnostics::from(Diagnostic::error_without_place(format!("cannot read {name}: {what}")));
    match files.read_at_most(Path::new(name), MAX_BAKEFILE) {
        Ok(bytes) if bytes.is_empty() => Ok(None),
        Ok(bytes) => match utf8(name, bytes) {
            Ok(text) => Ok(Some(InputFile { name: name.to_owned(), text })),
            Err(why) => Err(Diagnostic::error_without_place(why).into()),
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(wrong(error.to_string())),
    }
}

/// A file of one of the two families.
pub(super) enum Parsed {
    /// HCL, JSON or TOML, and which of them.
    Body(Body, Notation),
    /// YAML, read together with the other Compose files.
    Compose(FileId),
}

/// Parses a file into the source map; findings get its errors.
pub(super) fn parse(input: &InputFile, sources: &mut SourceMap, findings: &mut Diagnostics) -> Parsed {
    let file = sources.add(&input.name, &input.text);
    let name = input.name.to_lowercase();
    let has_ending = |ending: &str| name.ends_with(ending);
    let is_known = [".toml", ".json", ".hcl"].into_iter().any(has_ending);
    if has_ending(".yaml") || has_ending(".yml") || (!is_known && compose::is_compose(file, sources)) {
        return Parsed::Compose(file);
    }
    let ((body, errors), notation) = if has_ending(".toml") {
        (parse_toml(file, sources, SCHEMA), Notation::Toml)
    } else if has_ending(".json") {
        (parse_json(file, sources, SCHEMA), Notation::Json)
    } else if has_ending(".hcl") {
        (parse_hcl(file, sources), Notation::Hcl)
    } else {
        let hcl = parse_hcl(file, sources);
        let json = hcl.1.has_errors().then(|| parse_json(file, sources, SCHEMA)).filter(|(_, e)| !e.has_errors());
        json.map_or((hcl, Notation::Hcl), |json| (json, Notation::Json))
    };
    findings.extend(errors);
    Parsed::Body(body, notation)
}
