//! Build contexts and bakefiles that are on the network: brought into the store before anything is read.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Failure, Host, Kind};
use crate::plan::{BuildContext, DockerfileSource, Plan, RemoteContext, Remotes};
use crate::remote::{GitUrl, HttpUrl, Remote, SINGLE_FILE};
use crate::solver::activity::Activities;
use crate::source::checksum::Checksum;
use crate::source::download::Download;
use crate::source::git::{GitCheckout, GitError, GitHost, GitSecret, GitSource};
use crate::source::http::{Authorization, HttpContext, HttpError, HttpFile, HttpSource};
use crate::source::subdirectory;
use crate::store::Store;
use crate::sys::cancel::CancelToken;
use crate::sys::files::{DiskFiles, Files};
use crate::sys::placed::PlacedFiles;
use crate::sys::root::Root;
use crate::sys::threads;

/// Contexts that are brought in at once.
const N_FETCHERS: usize = 4;

/// The largest build context, and the largest file for a step, that is downloaded, in bytes.
pub(super) const MAX_CONTEXT: u64 = 8 << 30;

/// The largest bakefile that is downloaded, with the archive that it is in, in bytes.
pub(super) const MAX_DEFINITION: u64 = 256 << 20;

/// The longest time that one run of git may take, where BAKE_GIT_TIMEOUT does not say it.
const GIT_TIMEOUT: Duration = Duration::from_secs(600);

/// Where the remote contexts of a plan are.
#[derive(Debug, Default)]
pub struct Checkouts {
    /// Directories of the store by the path that stands for each in the plan.
    pub directories: BTreeMap<String, PathBuf>,
    /// Commits by the URL of a repository, as it may be shown: what the lockfile can pin.
    pub commits: BTreeMap<String, String>,
    /// What each was, by the same paths: a commit, or the digest of what was downloaded.
    pub identities: BTreeMap<String, String>,
    /// When what was brought in was changed, seconds since 1970, by the same paths; not all sources say it.
    pub times: BTreeMap<String, i64>,
}

impl Checkouts {
    /// Returns the files as the plan names them.
    ///
    /// # Errors
    /// A directory of the store cannot be opened.
    pub fn files(&self, host: &Host) -> Result<PlacedFiles, Failure> {
        let open = |(name, path): (&String, &PathBuf)| match Root::open(path) {
            Ok(root) => Ok((name.clone(), root)),
            Err(error) => Err(Failure::new(Kind::Environment, format!("cannot open {}: {error}", path.display()))),
        };
        let trees = self.directories.iter().map(open).collect::<Result<Vec<_>, Failure>>()?;
        Ok(PlacedFiles::new(DiskFiles::new(&host.directory), trees))
    }
}

/// Brings the remote contexts of `plan` in. A context that is a single file is its target's Dockerfile, as for the peer.
/// `home` is the host of a remote bakefile, whose own secrets are for its other contexts too.
///
/// # Errors
/// One cannot be read.
pub fn bring_in(
    plan: &mut Plan,
    home: Option<&str>,
    store: &Store,
    host: &Host,
    activities: &Activities<'_>,
) -> Result<Checkouts, Failure> {
    let remotes: Remotes = std::mem::take(&mut plan.remotes);
    let fetcher = Fetcher::new(store, host, &host.cancel, MAX_CONTEXT)?;
    let fetched = threads::map(remotes.into_iter().collect(), N_FETCHERS, |(name, context)| {
        let activity = activities.start(&format!("load {name}"));
        let failed = |failure: Failure| failure.note(format!("target \"{}\" reads it", context.target));
        let fetched = fetcher.context(&context, home).map_err(failed)?;
        activity.finish(&fetched.identity);
        Ok::<_, Failure>((name, context, fetched))
    })?;
    let mut checkouts = Checkouts::default();
    for (name, context, fetched) in fetched {
        if fetched.is_single_file {
            use_as_dockerfile(plan, &name);
        }
        checkouts.identities.insert(name.clone(), fetched.identity.clone());
        if let Remote::Git(url) = &context.remote {
            checkouts.commits.insert(url.to_string(), fetched.identity);
        }
        checkouts.times.extend(fetched.modified.map(|time| (name.clone(), time)));
        checkouts.directories.insert(name, fetched.directory);
    }
    Ok(checkouts)
}

/// Takes the Dockerfile from the single file that the context `name` is, in the targets that have it in there.
fn use_as_dockerfile(plan: &mut Plan, name: &str) {
    let targets =
        plan.targets.iter_mut().flat_map(|target| target.platforms.iter_mut().chain(&mut target.linked_platforms));
    for target in targets.filter(|target| matches!(&target.context, BuildContext::Local(path) if path == name)) {
        if let DockerfileSource::Path(path) = &mut target.dockerfile
            && path.strip_prefix(name).is_some_and(|rest| rest.starts_with('/'))
        {
            *path = format!("{name}/{SINGLE_FILE}");
        }
    }
}

/// A context in the store.
struct Fetched {
    directory: PathBuf,
    /// The commit, or the digest of what was downloaded.
    identity: String,
    is_single_file: bool,
    /// Seconds since 1970.
    modified: Option<i64>,
}

/// Brings in what is on the network.
pub(super) struct Fetcher<'a> {
    store: &'a Store,
    host: &'a Host,
    cancel: &'a CancelToken,
    pub(super) git: GitHost,
    http: HttpSource<'a>,
}

impl<'a> Fetcher<'a> {
    /// Knows of `host` what its environment says; downloads files of at most `max_size` bytes; gives up when `cancel` is set.
    ///
    /// # Errors
    /// `BAKE_GIT_TIMEOUT` is no number.
    pub(super) fn new(
        store: &'a Store,
        host: &'a Host,
        cancel: &'a CancelToken,
        max_size: u64,
    ) -> Result<Fetcher<'a>, Failure> {
        Ok(Fetcher { store, host, cancel, git: git_host(host)?, http: HttpSource::new(store, cancel, max_size) })
    }

    fn context(&self, context: &RemoteContext, home: Option<&str>) -> Result<Fetched, Failure> {
        match &context.remote {
            Remote::Git(url) => {
                let own = home.filter(|home| home.eq_ignore_ascii_case(url.host()));
                let secret = match self.secret(context)? {
                    Some(secret) => Some(secret),
                    None => own.and_then(|_| self.bakefile_secret()),
                };
                let checkout = self.checkout(url, context.keep_git_dir, secret.as_ref(), context.ssh.as_deref())?;
                let gone = |error| Failure::new(Kind::Environment, format!("cannot read {url}: {error}"));
                let modified = Some(checkout.modified().map_err(gone)?);
                let GitCheckout { directory, commit, .. } = checkout;
                Ok(Fetched { directory, identity: commit, is_single_file: false, modified })
            }
            Remote::Http(url) => {
                let HttpContext { directory, is_archive, digest, modified } = self.archive(url)?;
                let directory = subdirectory(&directory, &context.subdir).map_err(|reason| {
                    Failure::new(Kind::Definition, format!("{url} has no directory `{}`: {reason}", context.subdir))
                })?;
                Ok(Fetched { directory, identity: digest.to_string(), is_single_file: !is_archive, modified })
            }
        }
    }

    /// Checks a repository out; returns its files and their commit. `ssh` is a key or an agent's socket.
    pub(super) fn git(
        &self,
        url: &GitUrl,
        keep_git_dir: bool,
        secret: Option<&GitSecret>,
        ssh: Option<&str>,
    ) -> Result<(PathBuf, String), Failure> {
        let checkout = self.checkout(url, keep_git_dir, secret, ssh)?;
        Ok((checkout.directory, checkout.commit))
    }

    /// Checks a repository out, as [`Fetcher::git`] does.
    pub(super) fn checkout(
        &self,
        url: &GitUrl,
        keep_git_dir: bool,
        secret: Option<&GitSecret>,
        ssh: Option<&str>,
    ) -> Result<GitCheckout, Failure> {
        let mut git = self.git.clone();
        if let Some(path) = ssh.map(|path| self.host.directory.join(path)) {
            match is_socket(&path) {
                true => git.ssh_agent = Some(path),
                false => git.ssh_key = Some(path),
            }
        }
        let source = GitSource { store: self.store, host: &git, cancel: self.cancel };
        let resolved = source.resolve(url, secret).map_err(|error| git_failure(&error))?;
        source.checkout(url, &resolved, keep_git_dir, secret).map_err(|error| git_failure(&error))
    }

    /// Downloads a file.
    pub(super) fn file(&self, url: &HttpUrl) -> Result<HttpFile, Failure> {
        self.http.fetch(url, None).map_err(|error| http_failure(&error))
    }

    /// Downloads a file for a step: a directory with that file in it.
    pub(super) fn download(
        &self,
        url: &HttpUrl,
        filename: &str,
        checksum: Option<&Checksum>,
        authorization: Option<&Authorization>,
    ) -> Result<Download, Failure> {
        self.http.download(url, filename, checksum, authorization).map_err(|error| http_failure(&error))
    }

    /// Returns when a download was changed, seconds since 1970.
    pub(super) fn changed(&self, url: &HttpUrl, download: &Download) -> Result<Option<i64>, Failure> {
        self.http.changed(url, download.digest, download.modified).map_err(|error| http_failure(&error))
    }

    /// Downloads an archive, or a single file, as a directory.
    pub(super) fn archive(&self, url: &HttpUrl) -> Result<HttpContext, Failure> {
        self.http.context(url).map_err(|error| http_failure(&error))
    }

    /// Returns the secret that the environment has for a bakefile's own repository.
    pub(super) fn bakefile_secret(&self) -> Option<GitSecret> {
        let header = || self.host.var("BUILDX_BAKE_GIT_AUTH_HEADER").map(|text| GitSecret::Header(text.to_owned()));
        let token = || self.host.var("BUILDX_BAKE_GIT_AUTH_TOKEN").map(|text| GitSecret::Token(text.to_owned()));
        token().or_else(header)
    }

    /// Returns the first of a target's secrets that is there.
    fn secret(&self, context: &RemoteContext) -> Result<Option<GitSecret>, Failure> {
        for secret in &context.secrets {
            let text = match (&secret.file, &secret.env) {
                (Some(file), _) => {
                    let bytes = DiskFiles::new(&self.host.directory).read(Path::new(file));
                    let bytes = bytes.map_err(|error| {
                        let target = &context.target;
                        let message = format!("cannot read the secret file {file} of target \"{target}\": {error}");
                        Failure::new(Kind::Definition, message)
                    })?;
                    Some(String::from_utf8_lossy(&bytes).into_owned())
                }
                (None, env) => env.as_deref().and_then(|name| self.host.var(name)).map(str::to_owned),
            };
            match text {
                Some(text) if secret.is_token => return Ok(Some(GitSecret::Token(text))),
                Some(text) => return Ok(Some(GitSecret::Header(text))),
                None => {}
            }
        }
        Ok(None)
    }
}

fn git_host(host: &Host) -> Result<GitHost, Failure> {
    let names = ["HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY"];
    let names = names.into_iter().flat_map(|name| [name.to_owned(), name.to_lowercase()]);
    let timeout = match host.var("BAKE_GIT_TIMEOUT") {
        None => GIT_TIMEOUT,
        Some(text) => Duration::from_secs(text.parse().map_err(|_| {
            Failure::new(Kind::Usage, format!("BAKE_GIT_TIMEOUT=`{text}` is no number")).hint("give whole seconds")
        })?),
    };
    Ok(GitHost {
        path: host.var("PATH").unwrap_or("/usr/local/bin:/usr/bin:/bin").to_owned(),
        proxies: names.filter_map(|name| Some((name.clone(), host.var(&name)?.to_owned()))).collect(),
        ssh_agent: host.var("SSH_AUTH_SOCK").map(PathBuf::from),
        ssh_key: None,
        known_hosts: host.var("HOME").map(|home| PathBuf::from(home).join(".ssh/known_hosts")),
        timeout,
    })
}

fn is_socket(path: &Path) -> bool {
    rustix::fs::stat(path)
        .is_ok_and(|stat| rustix::fs::FileType::from_raw_mode(stat.st_mode) == rustix::fs::FileType::Socket)
}

fn git_failure(error: &GitError) -> Failure {
    let kind = match error {
        GitError::Cancelled => Kind::Interrupted,
        GitError::NotInstalled { .. } | GitError::Io { .. } | GitError::Store(_) => Kind::Environment,
        GitError::NoRef { .. } | GitError::NoCommit { .. } | GitError::Subdir { .. } => Kind::Definition,
        GitError::NoDefaultBranch { .. } | GitError::Checksum { .. } => Kind::Definition,
        GitError::Denied { .. } | GitError::TimedOut { .. } | GitError::Failed { .. } => Kind::Remote,
    };
    Failure::new(kind, error).hints(error.hint())
}

fn http_failure(error: &HttpError) -> Failure {
    let kind = match error {
        HttpError::Cancelled => Kind::Interrupted,
        HttpError::Store(_) => Kind::Environment,
        HttpError::Url { .. } | HttpError::Checksum { .. } => Kind::Definition,
        _ => Kind::Remote,
    };
    Failure::new(kind, error)
}
