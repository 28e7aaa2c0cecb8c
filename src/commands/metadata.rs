//! `--metadata-file`: what was built, for other programs, in the peer's words.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::{Failure, Host, Kind};
use crate::export::error::FileExportError;
use crate::export::file::write_file;
use crate::export::image::TargetResult;
use crate::plan::Plan;

/// Writes the digest, descriptor and names of each target that was asked for. A half-written file is never seen.
///
/// # Errors
/// The file cannot be written.
pub(super) fn write(path: Option<&Path>, results: &[TargetResult], plan: &Plan, host: &Host) -> Result<(), Failure> {
    let Some(path) = path else { return Ok(()) };
    let mut document = Map::new();
    for (result, target) in results.iter().zip(&plan.targets) {
        let Some(image) = &result.image else { continue };
        let root = image.root();
        let names: Vec<String> = target.tags.iter().map(ToString::to_string).collect();
        let mut entry = Map::new();
        // The peer names the config where the image is not an index.
        if let ([only], None) = (&image.images[..], &image.index) {
            entry.insert("containerimage.config.digest".to_owned(), json!(only.config.digest().to_string()));
        }
        let descriptor = serde_json::to_value(&root.descriptor).unwrap_or(Value::Null);
        entry.insert("containerimage.descriptor".to_owned(), descriptor);
        entry.insert("containerimage.digest".to_owned(), json!(root.digest().to_string()));
        if !names.is_empty() {
            entry.insert("image.name".to_owned(), json!(names.join(",")));
        }
        document.insert(image.name.clone(), Value::Object(entry));
    }
    let text = format!("{:#}\n", Value::Object(document));
    let path = host.directory.join(path);
    let failed = |source| FileExportError::Io { verb: "write", path: path.clone(), source };
    write_file(&path, |out| out.write_all(text.as_bytes()).map_err(failed))
        .map_err(|error| Failure::caused(Kind::Environment, &error))
}
