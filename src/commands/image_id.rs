//! `--iidfile`: the id of the one image that is built, as `docker build` writes it.

#![expect(clippy::disallowed_methods, reason = "a file of the user's that would be out of date is removed")]

use std::io::ErrorKind;
use std::path::Path;

use super::metadata::write_text;
use super::{Failure, Host, Kind};
use crate::export::error::FileExportError;
use crate::export::image::TargetResult;
use crate::plan::{Output, Plan, TargetPlan};

/// Removes what an earlier build wrote, so that nobody takes it for the result of one that fails.
///
/// # Errors
/// There is not one image whose id it would be.
pub(super) fn begin(path: Option<&Path>, plan: &Plan, host: &Host) -> Result<(), Failure> {
    let Some(path) = path else { return Ok(()) };
    let targets: Vec<&TargetPlan> = plan.targets.iter().filter(|target| !target.is_linked).collect();
    let [target] = targets[..] else {
        let names: Vec<&str> = targets.iter().map(|target| target.name.as_str()).collect();
        let failure = Failure::new(Kind::Usage, "--iidfile has the id of one image, and several are built");
        let failure = failure.note(format!("the targets are {}", names.join(", ")));
        return Err(failure.hint("name one target, or use --metadata-file for all of them"));
    };
    if target.outputs.iter().any(|output| matches!(output, Output::Local { .. } | Output::Tar { .. })) {
        let failure = Failure::new(Kind::Usage, "local and tar exporters are incompatible with image ID file");
        return Err(failure.hint("leave --iidfile out: files have no image id"));
    }
    if !target.has_image() {
        let message = format!("--iidfile: no image is made of target \"{}\"", target.name);
        return Err(Failure::new(Kind::Usage, message).hint("leave --iidfile out, or `type=cacheonly`"));
    }
    let path = host.directory.join(path);
    match std::fs::remove_file(&path) {
        Err(source) if source.kind() != ErrorKind::NotFound => {
            Err(Failure::caused(Kind::Environment, &FileExportError::Io { verb: "remove", path, source }))
        }
        _ => Ok(()),
    }
}

/// Writes the digest of the image's config, or that of its index where it is for several platforms. No line ends it.
///
/// # Errors
/// The file cannot be written.
pub(super) fn write(path: Option<&Path>, results: &[TargetResult], plan: &Plan, host: &Host) -> Result<(), Failure> {
    let Some(path) = path else { return Ok(()) };
    let mut built = results.iter().zip(&plan.targets).filter(|(_, target)| !target.is_linked);
    let Some(image) = built.find_map(|(result, _)| result.image.as_ref()) else { return Ok(()) };
    let id = match (&image.index, &image.images[..]) {
        (None, [only]) => only.config.digest(),
        _ => image.root().digest(),
    };
    write_text(path, &id.to_string(), host)
}
