//! `bake print`: the resolved targets as JSON.

use super::project::{self, ProjectRequest};
use super::{Failure, Host};

/// Returns the JSON that `docker buildx bake --print` prints.
///
/// # Errors
/// The bakefile is wrong, or there is no such target.
pub fn print(request: &ProjectRequest, host: &Host) -> Result<String, Failure> {
    let text = project::load(request, host)?.print();
    Ok(if text.ends_with('\n') { text } else { format!("{text}\n") })
}
