//! A build context, or a Dockerfile, on standard input: `--set TARGET.context=-`, `--set TARGET.dockerfile=-`.
//!
//! What is there is read once and kept in the store, whichever targets read it. As the peer's `build -`: an archive is a
//! context; anything else is a Dockerfile with nothing beside it.

use std::io::{self, Read, Write as _};
use std::path::PathBuf;

use super::remotes::MAX_CONTEXT;
use super::store_failure::store_failure;
use super::{Failure, Kind};
use crate::digest::{Digest, FieldHasher};
use crate::plan::{BuildContext, DockerfileSource, Plan, PlannedTarget, STDIN_CONTEXT, STDIN_DOCKERFILE};
use crate::source::context::{ContextError, context_files};
use crate::store::{Store, StoreError};

/// The name of a Dockerfile from standard input in messages.
const NAME: &str = "standard input";

/// Reads `input` if `plan` has a use for it, and puts what it is in its place; returns the directory of the context.
///
/// # Errors
/// It is asked to be two things, or cannot be what it is asked to be.
pub(super) fn bring_in(plan: &mut Plan, store: &Store, input: &mut dyn Read) -> Result<Option<PathBuf>, Failure> {
    let is_context = |target: &PlannedTarget| target.context == BuildContext::Local(STDIN_CONTEXT.to_owned());
    let is_dockerfile = |target: &PlannedTarget| is_path(&target.dockerfile, STDIN_DOCKERFILE);
    let (as_context, as_dockerfile) = (plan.planned().any(is_context), plan.planned().any(is_dockerfile));
    match (as_context, as_dockerfile) {
        (false, false) => Ok(None),
        (true, true) => Err(Failure::new(Kind::Usage, "standard input cannot be both context and Dockerfile")),
        (false, true) => {
            let digest = keep(store, input)?;
            let text = text(store, digest)?;
            replace(plan, |target| is_path(&target.dockerfile, STDIN_DOCKERFILE), &text)?;
            Ok(None)
        }
        (true, false) => context(plan, store, input).map(Some),
    }
}

fn context(plan: &mut Plan, store: &Store, input: &mut dyn Read) -> Result<PathBuf, Failure> {
    let digest = keep(store, input)?;
    let files = context_files(store, digest).map_err(|error| match error {
        ContextError::Archive(reason) => {
            Failure::new(Kind::Definition, format!("cannot unpack the context from {NAME}: {reason}"))
        }
        ContextError::Store(error) => store_failure(&error),
    })?;
    if files.is_archive {
        return Ok(files.directory);
    }
    let text = text(store, digest)?;
    let is_context = |target: &PlannedTarget| target.context == BuildContext::Local(STDIN_CONTEXT.to_owned());
    replace(plan, is_context, &text)?;
    empty(store)
}

/// Gives `text` as Dockerfile to the targets that `is_meant` says.
fn replace(plan: &mut Plan, is_meant: impl Fn(&PlannedTarget) -> bool, text: &str) -> Result<(), Failure> {
    let default = format!("{STDIN_CONTEXT}/Dockerfile");
    let targets =
        plan.targets.iter_mut().flat_map(|target| target.platforms.iter_mut().chain(&mut target.linked_platforms));
    for target in targets.filter(|target| is_meant(target)) {
        if !is_path(&target.dockerfile, &default) && !is_path(&target.dockerfile, STDIN_DOCKERFILE) {
            let message = format!("target \"{}\" has a Dockerfile already, and {NAME} is another", target.name);
            return Err(Failure::new(Kind::Definition, message).hint("give an archive on standard input"));
        }
        target.dockerfile = DockerfileSource::Inline { name: NAME.to_owned(), text: text.to_owned() };
    }
    Ok(())
}

fn is_path(dockerfile: &DockerfileSource, wanted: &str) -> bool {
    matches!(dockerfile, DockerfileSource::Path(path) if path == wanted)
}

fn keep(store: &Store, input: &mut dyn Read) -> Result<Digest, Failure> {
    let failed = |error: io::Error| Failure::new(Kind::Environment, format!("cannot read {NAME}: {error}"));
    let environment = |error: StoreError| store_failure(&error);
    let mut writer = store.blob_writer().map_err(environment)?;
    let size = io::copy(&mut input.take(MAX_CONTEXT + 1), &mut writer).map_err(failed)?;
    writer.flush().map_err(failed)?;
    match size {
        0 => Err(Failure::new(Kind::Usage, format!("{NAME} is empty")).hint("give it an archive or a Dockerfile")),
        size if size > MAX_CONTEXT => {
            Err(Failure::new(Kind::Definition, format!("{NAME} is larger than {MAX_CONTEXT} bytes")))
        }
        _ => Ok(writer.commit(None).map_err(environment)?.0),
    }
}

fn text(store: &Store, digest: Digest) -> Result<String, Failure> {
    let wrong = |reason: &str| Failure::new(Kind::Definition, format!("{NAME} is no Dockerfile: {reason}"));
    let bytes = store.read_blob(&digest).map_err(|error| wrong(&error.to_string()))?;
    String::from_utf8(bytes).map_err(|_| wrong("it is neither an archive nor UTF-8 text"))
}

/// Returns a directory with nothing in it.
fn empty(store: &Store) -> Result<PathBuf, Failure> {
    let environment = |error: StoreError| store_failure(&error);
    let key = FieldHasher::new("bake.empty.context.v1").finish();
    if let Some(directory) = store.checkout(&key) {
        return Ok(directory);
    }
    let builder = store.checkout_builder().map_err(environment)?;
    builder.commit_empty(&key).map_err(environment)
}
