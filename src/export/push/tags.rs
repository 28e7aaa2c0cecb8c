//! The last act of a release: tags.

use std::collections::BTreeMap;
use std::sync::Mutex;

use super::{N_CONNECTIONS, Publication, PublishError, Publisher};
use crate::digest::Digest;
use crate::export::image::ExportError;
use crate::oci::{Blob, digest_of};
use crate::reference::Reference;
use crate::registry;
use crate::sys::threads;

/// What became of a tag when another, or it itself, could not be set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TagState {
    /// Its full name.
    pub name: String,
    /// What it named before; `None` if it was not there.
    pub previous: Option<Digest>,
    /// What it was to name.
    pub wanted: Digest,
    /// What it names.
    pub fate: Fate,
}

/// Whether a tag names what it was to name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It does.
    Moved,
    /// It names what it named before.
    Kept,
    /// The registry did not answer.
    Unknown,
}

/// A tag and what it is to name.
struct Wanted<'p> {
    text: String,
    name: &'p Reference,
    document: &'p Blob,
    current: Option<Digest>,
}

impl Wanted<'_> {
    fn is_there(&self) -> bool {
        self.current == Some(self.document.digest())
    }
}

impl Publisher<'_> {
    /// Sets all tags; returns those that moved and those that named their image already. Asks for all before any moves, so
    /// that a registry that is gone by now leaves those of the others alone.
    pub(super) fn move_tags(
        &self,
        publications: &[Publication<'_>],
    ) -> Result<(Vec<String>, Vec<String>), PublishError> {
        let tags: BTreeMap<String, (&Reference, &Blob)> = publications
            .iter()
            .flat_map(|publication| publication.names.iter().map(|name| (name, publication.image.root())))
            // What is named by its digest is in place.
            .filter(|(name, _)| name.digest.is_none())
            .map(|(name, document)| (name.to_string(), (name, document)))
            .collect();
        let wanted = threads::map(tags.into_iter().collect(), N_CONNECTIONS, |(text, (name, document))| {
            let current = self.current(name).map_err(ExportError::Registry)?;
            Ok::<_, ExportError>(Wanted { text, name, document, current })
        })?;
        self.check_not_overtaken(&wanted)?;
        let moving: Vec<&Wanted<'_>> = wanted.iter().filter(|tag| !tag.is_there()).collect();
        moving.iter().for_each(|tag| self.journal.plan_tag(&tag.text, tag.current, tag.document.digest()));
        self.set(&wanted, moving)?;
        let (unchanged, moved): (Vec<_>, Vec<_>) = wanted.into_iter().partition(Wanted::is_there);
        let texts = |tags: Vec<Wanted<'_>>| tags.into_iter().map(|tag| tag.text).collect();
        Ok((texts(moved), texts(unchanged)))
    }

    /// Fails if a tag names neither what this release, gone on with here, found there nor what it put there.
    fn check_not_overtaken(&self, wanted: &[Wanted<'_>]) -> Result<(), PublishError> {
        for tag in wanted.iter().filter(|tag| !tag.is_there()) {
            let Some(planned) = self.journal.tag(&tag.text) else { continue };
            if tag.current != planned.previous && tag.current != Some(planned.wanted) {
                return Err(PublishError::Overtaken { tag: tag.text.clone(), current: tag.current });
            }
        }
        Ok(())
    }

    /// Sets the tags `moving`, which are some of `all`.
    fn set(&self, all: &[Wanted<'_>], moving: Vec<&Wanted<'_>>) -> Result<(), PublishError> {
        // Protects the list alone.
        let fates = Mutex::new(BTreeMap::new());
        let note = |tag: &Wanted<'_>, fate| {
            fates.lock().expect("nobody panics with it").insert(tag.text.clone(), fate);
        };
        let set = threads::map(moving, N_CONNECTIONS, |tag| {
            let Err(error) = self.push_document(tag.name, tag.document) else {
                self.journal.note_moved(&tag.text);
                note(tag, Fate::Moved);
                return Ok(());
            };
            // The answer may have been lost, and not the request.
            let fate = match self.current(tag.name) {
                Ok(current) if current == Some(tag.document.digest()) => Fate::Moved,
                Ok(_) => Fate::Kept,
                Err(_) if error.is_transient() => Fate::Unknown,
                Err(_) => Fate::Kept,
            };
            note(tag, fate);
            if fate == Fate::Moved { Ok(()) } else { Err(error) }
        });
        let Err(source) = set else { return Ok(()) };
        let fates = fates.into_inner().expect("no thread panicked");
        let state = |tag: &Wanted<'_>| {
            let begun = fates.get(&tag.text).copied().unwrap_or(Fate::Kept);
            let fate = if tag.is_there() { Fate::Moved } else { begun };
            let previous = self.journal.tag(&tag.text).map_or(tag.current, |planned| planned.previous);
            TagState { name: tag.text.clone(), previous, wanted: tag.document.digest(), fate }
        };
        Err(PublishError::Tags { tags: all.iter().map(state).collect(), source: Box::new(source) })
    }

    /// Returns what a tag names.
    fn current(&self, name: &Reference) -> Result<Option<Digest>, registry::Error> {
        match self.client.resolve_upstream(name) {
            Ok(descriptor) => Ok(digest_of(&descriptor).ok()),
            Err(registry::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}
