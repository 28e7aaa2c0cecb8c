//! A downloaded file as a tree with that one file in it, as ADD reads it.

#![expect(clippy::disallowed_methods, reason = "this row makes the store's checkouts")]

use std::path::{Component, Path, PathBuf};

use super::checksum::Checksum;
use super::http::{Authorization, HttpError, HttpFile, HttpSource};
use crate::digest::{Digest, FieldHasher};
use crate::remote::HttpUrl;

/// The name of a file that has none, or one that is no name of a file.
const UNNAMED: &str = "download";

/// A tree with one file at its top.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Download {
    /// The tree; in the store. The file in it is the store's blob itself: its mode and time mean nothing.
    pub directory: PathBuf,
    /// The file's digest.
    pub digest: Digest,
    /// The file's name.
    pub filename: String,
    /// When the server says it was changed, seconds since 1970.
    pub modified: Option<i64>,
}

impl HttpSource<'_> {
    /// Brings the file at `url` in under the name `filename`. With a SHA-256 checksum that a file from there had before, no
    /// server is asked.
    ///
    /// # Errors
    /// See [`HttpError`].
    pub fn download(
        &self,
        url: &HttpUrl,
        filename: &str,
        checksum: Option<&Checksum>,
        authorization: Option<&Authorization>,
    ) -> Result<Download, HttpError> {
        let HttpFile { digest, modified, .. } =
            self.fetch_as(url, checksum.and_then(Checksum::digest), authorization)?;
        let broken = |error: std::io::Error| HttpError::Network { url: url.clone(), reason: error.to_string() };
        if let Some(expected) = checksum {
            let mut blob = self.store.open_blob(&digest).map_err(broken)?;
            let actual = expected.of(&mut blob, digest).map_err(broken)?;
            if actual != *expected {
                let expected = expected.clone();
                return Err(HttpError::Checksum { url: url.clone(), expected, actual });
            }
        }
        let filename = safe(filename).to_owned();
        let mut key = FieldHasher::new("bake.http.file.v1");
        key.field("digest", digest.as_bytes()).field("name", &filename);
        let key = key.finish();
        let directory = match self.store.checkout(&key) {
            Some(directory) => directory,
            None => {
                let builder = self.store.checkout_builder()?;
                let tree = builder.path().join("tree");
                std::fs::create_dir(&tree).map_err(broken)?;
                self.store.link_blob(&digest, &tree.join(&filename))?;
                builder.commit(&tree, &key)?
            }
        };
        Ok(Download { directory, digest, filename, modified })
    }
}

/// Returns what a file may be called: one component of a path.
fn safe(name: &str) -> &str {
    let mut components = Path::new(name).components();
    match (components.next(), components.next()) {
        (Some(Component::Normal(only)), None) if only == name && !name.contains('\0') => name,
        _ => UNNAMED,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_component_or_none() {
        assert_eq!(safe("a b.tgz"), "a b.tgz");
        for name in ["", ".", "..", "a/b", "/etc/passwd", "../x", "a/", "a\0b"] {
            assert_eq!(safe(name), UNNAMED, "{name:?}");
        }
    }
}
