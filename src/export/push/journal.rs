//! How far a release came, for the process that goes on with it.
//!
//! ```text
//! state/release-HEX, by project; lines (see `store::journal`) of words with a space between:
//!   release 1 PLAN SECONDS                        the plan's digest, and when it was begun; the first line
//!   blob REGISTRY/REPOSITORY DIGEST               the repository has it
//!   upload REGISTRY/REPOSITORY DIGEST OFFSET URL  the registry has so many bytes of it
//!   manifest REGISTRY/REPOSITORY DIGEST           the repository has it
//!   tag NAME PREVIOUS DIGEST                      it named PREVIOUS, `-` for nothing, and is to name DIGEST
//!   moved NAME                                    and now does
//! ```
//! A line of another kind is passed over. The file is made when the first thing is acknowledged, so a release that has
//! nothing to send has none, and removed when the last tag is set. Where it cannot be written, the release goes on without.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use crate::digest::Digest;
use crate::registry::UploadPoint;
use crate::store::{Journal, Store};

/// Seconds for which an acknowledgement counts without asking again. Registries collect blobs that no manifest names,
/// after hours rather than minutes.
const TRUSTED: u64 = 3600;

/// A tag that is to move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlannedTag {
    /// What it named before; `None` if it was not there.
    pub previous: Option<Digest>,
    /// What it is to name.
    pub wanted: Digest,
    /// The registry said that it does.
    pub is_moved: bool,
}

/// What was found of a release that did not end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// Nothing.
    Nothing,
    /// Another bake is at it right now.
    Busy,
    /// A release of other targets or tags.
    Other,
    /// This one.
    Unfinished {
        /// Seconds ago that it was begun.
        age: u64,
        /// Blobs that repositories acknowledged.
        n_blobs: usize,
        /// Manifests and indexes that repositories acknowledged.
        n_manifests: usize,
        /// Uploads under way: which blob, and how many bytes of it the registry has.
        uploads: Vec<(Digest, u64)>,
        /// Every tag that was to move; empty if it did not come that far.
        tags: BTreeMap<String, PlannedTag>,
    },
}

/// What registries acknowledged in this release. Shared by all threads that send.
pub struct ReleaseJournal<'a> {
    store: &'a Store,
    name: String,
    plan: Digest,
    now: u64,
    /// Protects the value alone; nothing is written under it.
    state: Mutex<State>,
    /// Opened with the first line; `None` where that failed or another process has it.
    file: OnceLock<Option<Journal>>,
}

#[derive(Default)]
struct State {
    /// By digest: the repositories that have it.
    blobs: BTreeMap<Digest, BTreeSet<String>>,
    uploads: BTreeMap<(String, Digest), UploadPoint>,
    manifests: BTreeSet<(String, Digest)>,
    tags: BTreeMap<String, PlannedTag>,
}

impl<'a> ReleaseJournal<'a> {
    /// Begins a release of `project`; `plan` stands for its targets and tags, `now` is in seconds since 1970.
    pub fn begin(store: &'a Store, project: Digest, plan: Digest, now: u64) -> ReleaseJournal<'a> {
        let name = format!("release-{}", project.hex());
        ReleaseJournal { store, name, plan, now, state: Mutex::default(), file: OnceLock::new() }
    }

    /// As [`ReleaseJournal::begin`], and goes on with what an earlier process left.
    pub fn resume(store: &'a Store, project: Digest, plan: Digest, now: u64) -> (ReleaseJournal<'a>, Found) {
        let journal = ReleaseJournal::begin(store, project, plan, now);
        if !store.has_journal(&journal.name) {
            return (journal, Found::Nothing);
        }
        let (file, lines) = match store.journal(&journal.name) {
            Ok(Some(opened)) => opened,
            Ok(None) => return (journal, Found::Busy),
            Err(_) => return (journal, Found::Nothing),
        };
        let Some((theirs, begun)) = lines.first().and_then(|line| header(line)) else {
            return (journal, Found::Nothing);
        };
        if theirs != plan {
            return (journal, Found::Other);
        }
        let mut state = State::default();
        lines.iter().for_each(|line| _ = state.read(line));
        let age = now.saturating_sub(begun);
        let found = Found::Unfinished {
            age,
            n_blobs: state.blobs.values().map(BTreeSet::len).sum(),
            n_manifests: state.manifests.len(),
            uploads: state.uploads.iter().map(|((_, digest), point)| (*digest, point.offset)).collect(),
            tags: state.tags.clone(),
        };
        if age > TRUSTED {
            (state.blobs, state.manifests) = Default::default();
        }
        *journal.state() = state;
        _ = journal.file.set(Some(file));
        (journal, found)
    }

    /// Says whether a repository, as `registry/repository`, acknowledged a blob.
    pub(super) fn has_blob(&self, repository: &str, digest: Digest) -> bool {
        self.state().blobs.get(&digest).is_some_and(|repositories| repositories.contains(repository))
    }

    /// Returns the repositories that acknowledged a blob.
    pub(super) fn repositories(&self, digest: Digest) -> Vec<String> {
        self.state().blobs.get(&digest).map_or_else(Vec::new, |repositories| repositories.iter().cloned().collect())
    }

    pub(super) fn note_blob(&self, repository: &str, digest: Digest) {
        let mut state = self.state();
        state.uploads.remove(&(repository.to_owned(), digest));
        state.blobs.entry(digest).or_default().insert(repository.to_owned());
        drop(state);
        self.write(&format!("blob {repository} {digest}"));
    }

    /// Returns where the upload of a blob stands.
    pub(super) fn upload(&self, repository: &str, digest: Digest) -> Option<UploadPoint> {
        self.state().uploads.get(&(repository.to_owned(), digest)).cloned()
    }

    pub(super) fn note_upload(&self, repository: &str, digest: Digest, point: &UploadPoint) {
        self.write(&format!("upload {repository} {digest} {} {}", point.offset, point.location));
    }

    pub(super) fn has_manifest(&self, repository: &str, digest: Digest) -> bool {
        self.state().manifests.contains(&(repository.to_owned(), digest))
    }

    pub(super) fn note_manifest(&self, repository: &str, digest: Digest) {
        self.state().manifests.insert((repository.to_owned(), digest));
        self.write(&format!("manifest {repository} {digest}"));
    }

    /// Forgets what was acknowledged: a registry no longer has some of it.
    pub(super) fn distrust(&self) {
        let mut state = self.state();
        (state.blobs, state.manifests) = Default::default();
    }

    /// Returns what an earlier process wanted of a tag.
    pub(super) fn tag(&self, name: &str) -> Option<PlannedTag> {
        self.state().tags.get(name).copied()
    }

    /// Notes a tag that is to move. What it named when the release was begun stays noted.
    pub(super) fn plan_tag(&self, name: &str, current: Option<Digest>, wanted: Digest) {
        let mut state = self.state();
        let previous = state.tags.get(name).filter(|tag| tag.wanted == wanted).map_or(current, |tag| tag.previous);
        state.tags.insert(name.to_owned(), PlannedTag { previous, wanted, is_moved: false });
        drop(state);
        let previous = previous.map_or_else(|| "-".to_owned(), |digest| digest.to_string());
        self.write(&format!("tag {name} {previous} {wanted}"));
    }

    pub(super) fn note_moved(&self, name: &str) {
        if let Some(tag) = self.state().tags.get_mut(name) {
            tag.is_moved = true;
        }
        self.write(&format!("moved {name}"));
    }

    /// Removes the journal: the release is complete.
    pub(super) fn finish(&self) {
        match self.file.get() {
            Some(Some(file)) => file.remove(),
            Some(None) => {}
            None if !self.store.has_journal(&self.name) => {}
            // It is that of a release that did not end, and now has.
            None => {
                if let Ok(Some((file, _))) = self.store.journal(&self.name) {
                    file.remove();
                }
            }
        }
    }

    fn write(&self, line: &str) {
        if let Some(file) = self.file.get_or_init(|| self.open()) {
            // What cannot be noted is asked for again.
            _ = file.append(line);
        }
    }

    /// Opens the file and begins it anew.
    fn open(&self) -> Option<Journal> {
        let (file, _) = self.store.journal(&self.name).ok()??;
        file.clear().and_then(|()| file.append(&format!("release 1 {} {}", self.plan, self.now))).ok()?;
        Some(file)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Takes a line in; `None` if it is of a kind that is not known.
    fn read(&mut self, line: &str) -> Option<()> {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["blob", repository, digest] => {
                let digest = digest.parse().ok()?;
                self.uploads.remove(&(repository.to_owned(), digest));
                self.blobs.entry(digest).or_default().insert(repository.to_owned());
            }
            ["upload", repository, digest, offset, location] => {
                let point = UploadPoint { location: location.to_owned(), offset: offset.parse().ok()? };
                self.uploads.insert((repository.to_owned(), digest.parse().ok()?), point);
            }
            ["manifest", repository, digest] => {
                self.manifests.insert((repository.to_owned(), digest.parse().ok()?));
            }
            ["tag", name, previous, wanted] => {
                let previous = if previous == "-" { None } else { Some(previous.parse().ok()?) };
                let tag = PlannedTag { previous, wanted: wanted.parse().ok()?, is_moved: false };
                self.tags.insert(name.to_owned(), tag);
            }
            ["moved", name] => self.tags.get_mut(name)?.is_moved = true,
            _ => return None,
        }
        Some(())
    }
}

/// Returns the plan's digest and when the release was begun, from the first line.
fn header(line: &str) -> Option<(Digest, u64)> {
    match line.split(' ').collect::<Vec<_>>()[..] {
        ["release", "1", plan, seconds] => Some((plan.parse().ok()?, seconds.parse().ok()?)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPOSITORY: &str = "registry.test/team/api";
    const TAG: &str = "registry.test/team/api:1";

    fn store() -> (tempfile::TempDir, Store) {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let store = Store::open(directory.path()).expect("a store");
        (directory, store)
    }

    fn digest(text: &str) -> Digest {
        Digest::of(text.as_bytes())
    }

    /// A release that was killed after it had moved its only tag, an hour before second 5000.
    fn killed(store: &Store) {
        let journal = ReleaseJournal::begin(store, digest("project"), digest("plan"), 5000 - 60);
        journal.note_blob(REPOSITORY, digest("layer"));
        let point = UploadPoint { location: "http://registry.test/upload?state=1".to_owned(), offset: 7 };
        journal.note_upload(REPOSITORY, digest("large"), &point);
        journal.note_manifest(REPOSITORY, digest("manifest"));
        journal.plan_tag(TAG, None, digest("manifest"));
        journal.note_moved(TAG);
    }

    #[test]
    fn what_was_acknowledged_is_known_to_the_next() {
        let (_directory, store) = store();
        killed(&store);
        let (journal, found) = ReleaseJournal::resume(&store, digest("project"), digest("plan"), 5000);
        let tag = PlannedTag { previous: None, wanted: digest("manifest"), is_moved: true };
        let tags = BTreeMap::from([(TAG.to_owned(), tag)]);
        let uploads = vec![(digest("large"), 7)];
        assert_eq!(found, Found::Unfinished { age: 60, n_blobs: 1, n_manifests: 1, uploads, tags });
        assert!(journal.has_blob(REPOSITORY, digest("layer")) && journal.has_manifest(REPOSITORY, digest("manifest")));
        assert_eq!(journal.upload(REPOSITORY, digest("large")).expect("under way").offset, 7);
        assert!(!journal.has_blob("registry.test/team/web", digest("layer")));
        journal.finish();
        drop(journal);
        assert_eq!(ReleaseJournal::resume(&store, digest("project"), digest("plan"), 5000).1, Found::Nothing);
    }

    #[test]
    fn an_old_acknowledgement_is_asked_for_again() {
        let (_directory, store) = store();
        killed(&store);
        let later = 5000 + TRUSTED;
        let (journal, found) = ReleaseJournal::resume(&store, digest("project"), digest("plan"), later);
        assert!(matches!(found, Found::Unfinished { n_blobs: 1, .. }));
        assert!(!journal.has_blob(REPOSITORY, digest("layer")));
        assert!(journal.tag(TAG).is_some());
    }

    #[test]
    fn another_plan_is_no_release_of_this_one_and_is_replaced() {
        let (_directory, store) = store();
        killed(&store);
        let (journal, found) = ReleaseJournal::resume(&store, digest("project"), digest("other"), 5000);
        assert_eq!(found, Found::Other);
        assert!(!journal.has_blob(REPOSITORY, digest("layer")));
        journal.note_blob(REPOSITORY, digest("new"));
        drop(journal);
        let (journal, _) = ReleaseJournal::resume(&store, digest("project"), digest("other"), 5000);
        assert!(journal.has_blob(REPOSITORY, digest("new")) && journal.tag(TAG).is_none());
    }

    #[test]
    fn two_at_once_do_not_write_into_one() {
        let (_directory, store) = store();
        let first = ReleaseJournal::begin(&store, digest("project"), digest("plan"), 1);
        first.note_blob(REPOSITORY, digest("layer"));
        let second = ReleaseJournal::begin(&store, digest("project"), digest("plan"), 1);
        second.note_blob(REPOSITORY, digest("other"));
        second.finish();
        assert_eq!(ReleaseJournal::resume(&store, digest("project"), digest("plan"), 1).1, Found::Busy);
        drop(first);
        let (journal, _) = ReleaseJournal::resume(&store, digest("project"), digest("plan"), 1);
        assert!(journal.has_blob(REPOSITORY, digest("layer")) && !journal.has_blob(REPOSITORY, digest("other")));
    }
}
