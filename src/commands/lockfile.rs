//! `bake.lock` on disk: read before a build, written after it, and only then.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{FlockOperation, Mode, OFlags};

use super::project::Project;
use super::{Failure, Kind};
use crate::diagnostic::SourceMap;
use crate::digest::Digest;
use crate::export::image::{PlatformImage, TargetResult};
use crate::lock::{LockedImage, LockedLayer, LockedResult, Lockfile, diff};
use crate::oci::{MediaType, digest_of};
use crate::plan::Plan;
use crate::platform::Platform;
use crate::reference::Reference;
use crate::source::image::ResolvedPin;
use crate::sys::files::{DiskFiles, Files};
use crate::sys::replace::Replacement;

/// Changes that an error names.
const N_CHANGES: usize = 12;

/// What a build found and made.
pub struct Update<'a> {
    /// What was built.
    pub plan: &'a Plan,
    /// What became of its targets, in the plan's order.
    pub results: &'a [TargetResult],
    /// The inputs digest of each target for each platform.
    pub inputs: &'a BTreeMap<(String, Platform), Digest>,
    /// What names stood for.
    pub pins: &'a [ResolvedPin],
}

/// Reads the lockfile; one that is not there is empty.
///
/// # Errors
/// It cannot be read, or is no lockfile; the text says where.
pub fn read(path: &str, files: &dyn Files, sources: &mut SourceMap) -> Result<Lockfile, Failure> {
    let text = match files.read(Path::new(path)) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Lockfile::default()),
        Err(error) => return Err(Failure::new(Kind::Definition, format!("cannot read {path}: {error}"))),
    };
    let file = sources.add(path, text);
    Lockfile::parse(sources, file)
        .map_err(|diagnostics| Failure::rendered(Kind::Definition, diagnostics.render(sources)))
}

/// Writes the lockfile if it changed. Entries of targets that were not built stay; those that the bakefile no longer has
/// go. What was built with `--set` or `--platform` is not what the bakefile says, so only its pins are kept.
///
/// `old` is what the build began with. What other builds of the project wrote meanwhile stays: the update is made to what is
/// on the disk now, and while that is done all others wait.
///
/// # Errors
/// It cannot be written; the old one is then as it was.
pub fn write(project: &Project, old: &Lockfile, update: &Update<'_>) -> Result<(), Failure> {
    let mut new = old.clone();
    apply(project, update, &mut new);
    if new == *old {
        return Ok(());
    }
    let path = project.lock_path();
    let full = project.directory.join(&path);
    let _turn = turn(&full);
    let mut sources = SourceMap::default();
    let now = read(&path, &DiskFiles::new(&project.directory), &mut sources)?;
    let mut new = now.clone();
    apply(project, update, &mut new);
    if new == now || new.is_empty() {
        return Ok(());
    }
    replace(&full, new.to_text().as_bytes()).map_err(|error| {
        Failure::new(Kind::Environment, format!("cannot write {path}: {error}")).note("the build itself is complete")
    })
}

/// Fails if a build would change the lockfile.
///
/// # Errors
/// [`Kind::Lock`], with what would change.
pub fn check(project: &Project, lock: &Lockfile, update: &Update<'_>) -> Result<(), Failure> {
    let mut new = lock.clone();
    apply(project, update, &mut new);
    let changes = diff(lock, &new);
    if changes.is_empty() {
        return Ok(());
    }
    let path = project.lock_path();
    let failure = Failure::new(Kind::Lock, format!("{path} is not what this build came to, and --locked was given"));
    let failure = changes.iter().take(N_CHANGES).fold(failure, |failure, change| failure.note(change));
    let failure = match changes.len().saturating_sub(N_CHANGES) {
        0 => failure,
        n => failure.note(format!("and {n} more changes")),
    };
    Err(failure.hint(format!("build without --locked, look at the changes of {path}, and check it in")))
}

fn apply(project: &Project, update: &Update<'_>, lock: &mut Lockfile) {
    if project.is_whole() && !project.is_overridden() {
        let used: BTreeSet<String> = update.pins.iter().map(|pin| pin.reference.to_string()).collect();
        lock.retain_pins(|reference| used.contains(&reference.to_string()));
    }
    for pin in update.pins {
        let media_type = MediaType::from(pin.media_type.as_str());
        lock.add_pin(&pin.reference, pin.digest, media_type, &pin.platform, pin.manifest);
    }
    lock.retain_targets(|name| project.has_target(name));
    if project.is_overridden() {
        return;
    }
    for (target, result) in update.plan.targets.iter().zip(update.results) {
        let Some(image) = &result.image else { continue };
        let platforms: BTreeSet<&Platform> = image.images.iter().map(|image| &image.platform).collect();
        lock.retain_platforms(&target.name, |platform| platforms.contains(platform));
        let tags: BTreeSet<Reference> = target.tags.iter().cloned().collect();
        lock.set_image(&target.name, LockedImage { digest: image.root().digest(), tags });
        for image in &image.images {
            let inputs = update.inputs.get(&(target.name.clone(), image.platform.clone())).copied();
            lock.set_result(&target.name, &image.platform, locked_result(image, inputs));
        }
    }
}

/// Waits until no other bake writes a lockfile in the directory that `path` is in, and keeps them out until the value goes.
/// The directory itself is locked, so no file stays behind. A file system without locks has no turns.
fn turn(path: &Path) -> Option<OwnedFd> {
    let real = path.canonicalize();
    let directory = real.as_deref().unwrap_or(path).parent()?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = rustix::fs::open(directory, flags, Mode::empty()).ok()?;
    rustix::fs::flock(&directory, FlockOperation::LockExclusive).ok()?;
    Some(directory)
}

fn locked_result(image: &PlatformImage, inputs: Option<Digest>) -> LockedResult {
    let layer = |(diff_id, layer): (&_, &crate::oci::Descriptor)| {
        let digest = digest_of(layer).ok()?;
        Some(LockedLayer { diff_id: *diff_id, digest, size: layer.size(), media_type: layer.media_type().clone() })
    };
    LockedResult {
        inputs,
        manifest: image.manifest.digest(),
        config: Digest::of(&image.config.bytes),
        layers: image.stack.iter().zip(&image.layers).filter_map(layer).collect(),
    }
}

/// Puts a file in place of another at once, with ordinary permissions. Where `path` is a symbolic link, the file that it
/// names is replaced.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let real = path.canonicalize();
    let path = real.as_deref().unwrap_or(path);
    let mut file = Replacement::begin(path, 0o644)?;
    file.write_all(bytes)?;
    rustix::fs::fchmod(file.file(), Mode::from_raw_mode(0o644))?;
    file.file().sync_all()?;
    file.persist(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_symbolic_link_stays_one_and_its_file_is_replaced() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let (file, link) = (directory.path().join("real.lock"), directory.path().join("bake.lock"));
        replace(&file, b"old").expect("written");
        std::os::unix::fs::symlink("real.lock", &link).expect("linked");
        replace(&link, b"new").expect("written");
        assert!(link.is_symlink());
        let files = DiskFiles::new(directory.path());
        assert_eq!(files.read("real.lock".as_ref()).expect("there"), b"new");
    }
}
