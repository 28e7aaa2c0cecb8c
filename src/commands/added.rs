//! ADD of URLs and git repositories: what steps read of the network, with the secrets that their targets give.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::remotes::{Fetcher, MAX_CONTEXT};
use super::{Failure, Host, Kind};
use crate::digest::FieldHasher;
use crate::graph::{GitSource, HttpSource, SourceOp};
use crate::remote::{GitUrl, HttpUrl, Mtime, Remote};
use crate::solver::activity::Activities;
use crate::source::checksum::Checksum;
use crate::source::download::Download;
use crate::source::git::GitSecret;
use crate::source::http::Authorization;
use crate::store::Store;
use crate::sys::cancel::CancelToken;
use crate::worker::fetched::{Blame, Fetch, FetchError, FetchedFiles, Shape};
use crate::worker::secrets::{SecretError, Secrets};

/// Permission bits of a downloaded file where nobody asks for others.
const FILE_MODE: u32 = 0o600;

/// Brings in what ADD names.
pub(super) struct Added<'a> {
    fetcher: Fetcher<'a>,
    secrets: &'a Secrets,
    activities: &'a Activities<'a>,
}

impl<'a> Added<'a> {
    /// Keeps what it brings in in `store`; gives up when `cancel` is set.
    ///
    /// # Errors
    /// As [`Fetcher::new`].
    pub(super) fn new(
        store: &'a Store,
        host: &'a Host,
        cancel: &'a CancelToken,
        secrets: &'a Secrets,
        activities: &'a Activities<'a>,
    ) -> Result<Added<'a>, Failure> {
        let mut fetcher = Fetcher::new(store, host, cancel, MAX_CONTEXT)?;
        // A Dockerfile gets the agent that its target gives, and no other.
        fetcher.git.ssh_agent = None;
        Ok(Added { fetcher, secrets, activities })
    }

    fn git(&self, source: &GitSource, targets: &BTreeSet<&str>) -> Result<FetchedFiles, FetchError> {
        let url = git_url(source).map_err(|reason| definition(format!("cannot read `{}`: {reason}", source.remote)))?;
        let activity = self.activities.start(&format!("load {url}"));
        let secret = self.git_secret(&url, targets).map_err(|error| not_had(&error))?;
        let agent = match source.is_ssh {
            true => self.secrets.agent(targets, "default").map_err(|error| not_had(&error))?,
            false => None,
        };
        let ssh = agent.as_ref().map(|path: &PathBuf| path.to_string_lossy());
        let checkout = self.fetcher.checkout(&url, source.keep_git_dir, secret.as_ref(), ssh.as_deref());
        let checkout = checkout.map_err(|failure| match (source.is_ssh, &agent) {
            (true, None) => failed(failure.hint("give the target the agent that has the key: `ssh = [\"default\"]`")),
            _ => failed(failure),
        })?;
        let gone = |error| failed(Failure::new(Kind::Environment, format!("cannot read {url}: {error}")));
        let modified = checkout.modified().map_err(gone)?;
        activity.finish(&checkout.commit);
        let (directory, content, identity) = (checkout.directory, checkout.content, checkout.commit);
        Ok(FetchedFiles { directory, content, identity, modified, shape: Shape::Tree })
    }

    /// Returns the first of the targets' secrets for the repository's host, in the order in which BuildKit asks for them.
    fn git_secret(&self, url: &GitUrl, targets: &BTreeSet<&str>) -> Result<Option<GitSecret>, SecretError> {
        let host = url.host();
        let header: fn(String) -> GitSecret = GitSecret::Header;
        for (id, secret) in [
            (format!("GIT_AUTH_HEADER.{host}"), header),
            (format!("GIT_AUTH_TOKEN.{host}"), GitSecret::Token),
            ("GIT_AUTH_HEADER".to_owned(), header),
            ("GIT_AUTH_TOKEN".to_owned(), GitSecret::Token),
        ] {
            if let Some(text) = self.text(targets, &id)? {
                return Ok(Some(secret(text)));
            }
        }
        Ok(None)
    }

    fn http(&self, source: &HttpSource, targets: &BTreeSet<&str>) -> Result<FetchedFiles, FetchError> {
        let download = self.download(source, targets)?;
        let mut content = FieldHasher::new("bake.http.content.v1");
        content.field("digest", download.digest.as_bytes()).field("name", &download.filename);
        Ok(FetchedFiles {
            directory: download.directory,
            content: content.finish(),
            identity: download.digest.to_string(),
            // As the peer: the beginning of time where the server does not say.
            modified: download.modified.unwrap_or(0),
            shape: Shape::File(source.mode.unwrap_or(FILE_MODE)),
        })
    }

    fn download(&self, source: &HttpSource, targets: &BTreeSet<&str>) -> Result<Download, FetchError> {
        let url = HttpUrl(source.url.clone());
        let activity = self.activities.start(&format!("load {url}"));
        let authorization = self.authorization(&url, targets).map_err(|error| not_had(&error))?;
        let checksum = source.checksum.clone().map(Checksum);
        let download = self.fetcher.download(&url, &source.filename, checksum.as_ref(), authorization.as_ref());
        let download = download.map_err(failed)?;
        activity.finish(&download.digest.to_string());
        Ok(download)
    }

    /// Returns when a source was changed, seconds since 1970, as SOURCE_DATE_EPOCH takes it over; `None` where nothing
    /// says it.
    ///
    /// # Errors
    /// The source cannot be had.
    pub(super) fn changed(&self, source: &SourceOp, target: &str) -> Result<Option<i64>, FetchError> {
        let targets = BTreeSet::from([target]);
        match source {
            SourceOp::Git(git) => Ok(Some(self.git(git, &targets)?.modified)),
            SourceOp::Http(http) => {
                let download = self.download(http, &targets)?;
                self.fetcher.changed(&HttpUrl(http.url.clone()), &download).map_err(failed)
            }
            SourceOp::Image { .. } | SourceOp::Local(_) => Ok(None),
        }
    }

    /// Returns what the targets give for the URL's host, which is named without its port; a token before a header, as the
    /// peer.
    fn authorization(&self, url: &HttpUrl, targets: &BTreeSet<&str>) -> Result<Option<Authorization>, SecretError> {
        let host = Remote::Http(url.clone()).host().to_owned();
        let host = match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
            _ => &host,
        };
        let host = host.trim_matches(['[', ']']);
        if let Some(token) = self.text(targets, &format!("HTTP_AUTH_TOKEN_{host}"))? {
            return Ok(Some(Authorization(format!("Bearer {token}"))));
        }
        Ok(self.text(targets, &format!("HTTP_AUTH_HEADER_{host}"))?.map(Authorization))
    }

    /// Returns a secret's text; an empty one (of a variable that is not set) says nothing.
    fn text(&self, targets: &BTreeSet<&str>, id: &str) -> Result<Option<String>, SecretError> {
        let value = self.secrets.value(targets, id)?.unwrap_or_default();
        let text = String::from_utf8_lossy(&value).trim().to_owned();
        Ok((!text.is_empty()).then_some(text))
    }
}

impl Fetch for Added<'_> {
    fn fetch(&self, source: &SourceOp, targets: &BTreeSet<&str>) -> Result<FetchedFiles, FetchError> {
        match source {
            SourceOp::Git(git) => self.git(git, targets),
            SourceOp::Http(http) => self.http(http, targets),
            SourceOp::Image { .. } | SourceOp::Local(_) => Err(definition("it is not on the network".to_owned())),
        }
    }
}

/// Returns the URL of a repository as the step has it.
fn git_url(source: &GitSource) -> Result<GitUrl, String> {
    let url = GitUrl {
        remote: source.remote.clone(),
        git_ref: source.reference.clone(),
        subdir: source.subdirectory.clone(),
        checksum: source.checksum.clone().unwrap_or_default().to_lowercase(),
        keep_git_dir: Some(source.keep_git_dir),
        submodules: !source.skip_submodules,
        fetch_by_commit: source.fetch_by_commit,
        mtime: Mtime::Checkout,
    };
    url.checked()
}

fn definition(message: String) -> FetchError {
    FetchError { message, hints: Vec::new(), blame: Blame::Definition }
}

fn not_had(error: &SecretError) -> FetchError {
    FetchError { message: error.to_string(), hints: vec![error.hint()], blame: Blame::Definition }
}

fn failed(failure: Failure) -> FetchError {
    let blame = match failure.kind {
        Kind::Definition | Kind::Usage => Blame::Definition,
        Kind::Remote => Blame::Remote,
        _ => Blame::Host,
    };
    let message = failure.text.strip_prefix("error: ").map_or_else(|| failure.text.clone(), str::to_owned);
    FetchError { message, hints: failure.hints, blame }
}
