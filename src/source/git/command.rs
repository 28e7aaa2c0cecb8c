//! The `git` program, as bake runs it.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use base64::Engine as _;

use super::{GitError, GitSource};
use crate::remote::GitUrl;
use crate::sys::child::{self, ChildError};

/// Bytes that git may say; lists of refs come near it in no repository.
const MAX_OUTPUT: u64 = 16 << 20;

/// Characters of git's complaint that are shown.
const MAX_REASON: usize = 2000;

/// What git may know of this host.
#[derive(Clone, Debug)]
pub struct GitHost {
    /// `PATH`.
    pub path: String,
    /// `HTTP_PROXY` and the like, with their values.
    pub proxies: Vec<(String, String)>,
    /// The agent that has the user's keys.
    pub ssh_agent: Option<PathBuf>,
    /// A key that is offered besides.
    pub ssh_key: Option<PathBuf>,
    /// Hosts whose keys the user knows.
    pub known_hosts: Option<PathBuf>,
    /// The longest time that one run of git may take.
    pub timeout: Duration,
}

/// What shows a server who asks. It goes to the remote's own URLs and nowhere else, and is shown nowhere.
#[derive(Clone, PartialEq, Eq)]
pub enum GitSecret {
    /// A token: the password of the user `x-access-token`.
    Token(String),
    /// The whole value of the header `Authorization`.
    Header(String),
}

impl fmt::Debug for GitSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GitSecret(***)")
    }
}

impl GitSecret {
    fn text(&self) -> &str {
        match self {
            GitSecret::Token(text) | GitSecret::Header(text) => text.trim(),
        }
    }

    /// Returns the value of `Authorization`.
    fn header(&self) -> String {
        match self {
            GitSecret::Token(_) => {
                let pair = format!("x-access-token:{}", self.text());
                format!("basic {}", base64::engine::general_purpose::STANDARD.encode(pair))
            }
            GitSecret::Header(_) => self.text().to_owned(),
        }
    }
}

/// One repository's git.
#[derive(Clone)]
pub(super) struct Git<'a> {
    source: &'a GitSource<'a>,
    url: &'a GitUrl,
    secret: Option<&'a GitSecret>,
    git_dir: Option<PathBuf>,
    tree: Option<PathBuf>,
}

impl<'a> Git<'a> {
    pub(super) fn new(source: &'a GitSource<'a>, url: &'a GitUrl, secret: Option<&'a GitSecret>) -> Git<'a> {
        Git { source, url, secret, git_dir: None, tree: None }
    }

    pub(super) fn url(&self) -> &GitUrl {
        self.url
    }

    /// Works on the repository at `git_dir`.
    pub(super) fn at(&self, git_dir: &Path) -> Git<'a> {
        Git { git_dir: Some(git_dir.to_owned()), ..self.clone() }
    }

    /// Works on the files at `tree`.
    pub(super) fn with_tree(&self, tree: &Path) -> Git<'a> {
        Git { tree: Some(tree.to_owned()), ..self.clone() }
    }

    /// Fetches from the remote. A server that cannot cut history short is asked again for all of it.
    pub(super) fn fetch(&self, options: &[&str], refspec: &str) -> Result<(), GitError> {
        let arguments = |options: &[&str]| -> Vec<String> {
            let all = [&["fetch", "--quiet", "--no-recurse-submodules"], options, &["--", "origin", refspec]];
            all.concat().into_iter().map(str::to_owned).collect()
        };
        let run = |options: &[&str]| self.run(&arguments(options).iter().map(String::as_str).collect::<Vec<_>>());
        match run(options) {
            Err(GitError::Failed { reason, .. })
                if options.contains(&"--depth=1") && (reason.contains("shallow") || reason.contains("--depth")) =>
            {
                let whole: Vec<&str> = options.iter().copied().filter(|option| *option != "--depth=1").collect();
                run(&whole).map(drop)
            }
            result => result.map(drop),
        }
    }

    /// Fetches from a repository of the store, the only one that is no remote.
    pub(super) fn fetch_from(&self, bare: &Path, refspec: &str) -> Result<(), GitError> {
        let bare = format!("file://{}", bare.display());
        let arguments =
            ["fetch", "--quiet", "--depth=1", "--no-tags", "--no-recurse-submodules", "--update-head-ok", "--"];
        let mut command = self.command(&[&arguments[..], &[&bare, refspec]].concat());
        command.env("GIT_ALLOW_PROTOCOL", "file");
        self.finish(command).map(drop)
    }

    /// Runs git and returns what it wrote.
    pub(super) fn run(&self, arguments: &[&str]) -> Result<String, GitError> {
        self.finish(self.command(arguments))
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let host = self.source.host;
        let mut command = Command::new("git");
        command.args(arguments).env_clear().envs(host.proxies.iter().cloned());
        command.envs([
            ("PATH", host.path.as_str()),
            ("LC_ALL", "C"),
            ("HOME", "/dev/null"),
            ("GIT_CONFIG_NOSYSTEM", "1"),
            ("GIT_CONFIG_GLOBAL", "/dev/null"),
            ("GIT_ATTR_NOSYSTEM", "1"),
            ("GIT_TERMINAL_PROMPT", "0"),
            ("GIT_ALLOW_PROTOCOL", "http:https:git:ssh"),
            ("GIT_SSH_VARIANT", "ssh"),
        ]);
        command.env("GIT_SSH_COMMAND", self.ssh_command());
        command.envs(host.ssh_agent.as_ref().map(|agent| ("SSH_AUTH_SOCK", agent)));
        command.envs(self.git_dir.as_ref().map(|directory| ("GIT_DIR", directory)));
        command.envs(self.tree.as_ref().map(|directory| ("GIT_WORK_TREE", directory)));
        let store = self.source.store.path();
        command.current_dir(self.tree.as_deref().unwrap_or(store));
        // The store may be inside a project's own repository, whose configuration is not to be found.
        command.envs(store.parent().map(|parent| ("GIT_CEILING_DIRECTORIES", parent)));
        let config = self.config();
        command.env("GIT_CONFIG_COUNT", config.len().to_string());
        for (index, (key, value)) in config.into_iter().enumerate() {
            command.env(format!("GIT_CONFIG_KEY_{index}"), key).env(format!("GIT_CONFIG_VALUE_{index}"), value);
        }
        command
    }

    fn config(&self) -> Vec<(String, String)> {
        let fixed = [
            ("core.hooksPath", "/dev/null"),
            ("core.fsmonitor", "false"),
            ("core.symlinks", "true"),
            ("core.fileMode", "true"),
            ("core.autocrlf", "false"),
            ("core.logAllRefUpdates", "false"),
            ("init.defaultBranch", "master"),
            // A collector in the background would outlive the lock.
            ("gc.auto", "0"),
            // Several threads pack in another order each time.
            ("pack.threads", "1"),
            ("maintenance.auto", "false"),
            ("http.lowSpeedLimit", "1"),
            ("http.lowSpeedTime", "60"),
            // What another repository's `.gitmodules` would run instead of a checkout.
            ("submodule.recurse", "false"),
        ];
        let mut config: Vec<_> = fixed.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        // A checkout has its remote in its own configuration: a submodule's git sees this one's too.
        if self.tree.is_none() {
            config.push(("remote.origin.url".to_owned(), self.url.remote.clone()));
        }
        if let Some(secret) = self.secret.filter(|_| matches!(self.url.scheme(), "http" | "https")) {
            let key = format!("http.{}.extraheader", scope(&self.url.remote));
            config.push((key, format!("Authorization: {}", secret.header())));
        }
        config
    }

    fn ssh_command(&self) -> String {
        let host = self.source.host;
        let own = self.source.store.path().join("git/known_hosts");
        let known: Vec<String> = [Some(&own), host.known_hosts.as_ref()]
            .into_iter()
            .flatten()
            .map(|path| quoted(&path.to_string_lossy()))
            .collect();
        let key = host.ssh_key.as_ref().map_or(String::new(), |key| format!(" -i {}", quoted(&key.to_string_lossy())));
        // A host that is new is trusted once, and must have the same key from then on.
        format!(
            "ssh -F /dev/null -o BatchMode=yes -o ConnectTimeout=30 -o StrictHostKeyChecking=accept-new \
             -o UserKnownHostsFile={}{key}",
            quoted(&known.join(" "))
        )
    }

    fn finish(&self, mut command: Command) -> Result<String, GitError> {
        let timeout = self.source.host.timeout;
        let remote = || self.url.shown_remote();
        let finished =
            child::run(&mut command, timeout, MAX_OUTPUT, self.source.cancel).map_err(|error| match error {
                ChildError::Start(error) if error.kind() == io::ErrorKind::NotFound => {
                    GitError::NotInstalled { url: self.url.clone() }
                }
                ChildError::TimedOut(limit) => GitError::TimedOut { remote: remote(), limit },
                ChildError::Cancelled => GitError::Cancelled,
                error => GitError::Failed { remote: remote(), reason: error.to_string() },
            })?;
        if finished.status.success() {
            return Ok(String::from_utf8_lossy(&finished.stdout).into_owned());
        }
        let reason = self.shown(&String::from_utf8_lossy(&finished.stderr));
        let is_denied = [
            "Authentication failed",
            "could not read Username",
            "could not read Password",
            "Permission denied",
            "returned error: 401",
            "returned error: 403",
        ];
        if is_denied.iter().any(|words| reason.contains(words)) {
            return Err(GitError::Denied { remote: remote(), host: self.url.host().to_owned(), reason });
        }
        Err(GitError::Failed { remote: remote(), reason })
    }

    /// Returns git's complaint in one line, without secrets and control characters.
    fn shown(&self, text: &str) -> String {
        let mut text = text.replace(&self.url.remote, &self.url.shown_remote());
        let user = self.url.remote.split_once("://").and_then(|(_, rest)| rest.split_once('@'));
        let password = user.map(|(user, _)| user.split_once(':').map_or(user, |(_, password)| password));
        let is_public = self.url.scheme() == "ssh";
        let header = self.secret.map(GitSecret::header);
        let secrets = [self.secret.map(GitSecret::text), header.as_deref(), password.filter(|_| !is_public)];
        for secret in secrets.into_iter().flatten().filter(|secret| !secret.is_empty()) {
            text = text.replace(secret, "***");
        }
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("hint:"));
        let line = lines.map(|line| line.strip_prefix("fatal: ").unwrap_or(line)).collect::<Vec<_>>().join("; ");
        let line: String = line.chars().filter(|c| !c.is_control()).collect();
        match line.char_indices().nth(MAX_REASON) {
            Some((end, _)) => format!("{}…", &line[..end]),
            None if line.is_empty() => "it failed without a word".to_owned(),
            None => line,
        }
    }
}

/// Returns the URLs that a secret is for: the remote's, and those of its host's other repositories where a host is known
/// to give one token for all (as the peer).
fn scope(remote: &str) -> &str {
    let shared = ["https://github.com/", "https://www.github.com/"];
    shared.into_iter().find(|prefix| remote.starts_with(prefix)).unwrap_or(remote)
}

/// Quotes a word for the shell, to which git gives its ssh command, and for ssh's own splitting of a list.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', "'\\''"))
}
