//! `--metadata-file`: what was built, for other programs, in the peer's words.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::{Failure, Host, Kind};
use crate::export::error::FileExportError;
use crate::export::file::write_file;
use crate::export::image::TargetResult;
use crate::plan::{Output, Plan, TargetPlan};

/// Writes for each target that was asked for the digest, descriptor and names of its image; an empty object for one of which
/// no image was made. A half-written file is never seen.
///
/// # Errors
/// The file cannot be written.
pub(super) fn write(path: Option<&Path>, results: &[TargetResult], plan: &Plan, host: &Host) -> Result<(), Failure> {
    let Some(path) = path else { return Ok(()) };
    let asked_for = results.iter().zip(&plan.targets).filter(|(_, target)| !target.is_linked);
    let document: Map<String, Value> =
        asked_for.map(|(result, target)| (target.name.clone(), Value::Object(entry(result, target)))).collect();
    write_text(path, &format!("{:#}\n", Value::Object(document)), host)
}

fn entry(result: &TargetResult, target: &TargetPlan) -> Map<String, Value> {
    let mut entry = Map::new();
    let Some(image) = &result.image else { return entry };
    // The peer names the config where the image is not an index.
    if let ([only], None) = (&image.images[..], &image.index) {
        entry.insert("containerimage.config.digest".to_owned(), json!(only.config.digest().to_string()));
    }
    let descriptor = serde_json::to_value(image.root_descriptor()).unwrap_or(Value::Null);
    entry.insert("containerimage.descriptor".to_owned(), descriptor);
    entry.insert("containerimage.digest".to_owned(), json!(image.root().digest().to_string()));
    let names = names(target);
    if !names.is_empty() {
        entry.insert("image.name".to_owned(), json!(names.join(",")));
    }
    entry
}

/// Returns the image's names: the target's tags or, without those, what its outputs call it.
fn names(target: &TargetPlan) -> Vec<String> {
    let of_outputs = target.outputs.iter().flat_map(Output::names);
    let mut names: Vec<String> = Vec::new();
    for name in if target.tags.is_empty() { of_outputs.collect() } else { Vec::from_iter(&target.tags) } {
        let name = name.to_string();
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// Writes `text` to the file `path`, all of it or nothing.
pub(super) fn write_text(path: &Path, text: &str, host: &Host) -> Result<(), Failure> {
    let path = host.directory.join(path);
    let failed = |source| FileExportError::Io { verb: "write", path: path.clone(), source };
    write_file(&path, |out| out.write_all(text.as_bytes()).map_err(failed))
        .map_err(|error| Failure::caused(Kind::Environment, &error))
}
