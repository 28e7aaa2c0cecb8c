//! Contexts and Dockerfiles that are not on this machine yet.
//!
//! In a plan each is a local directory whose path is its URL as it may be shown. Before anything is read, `source` brings
//! the files in, and whoever reads such a path reads those.

use std::collections::BTreeMap;

use crate::bakefile::Target;
use crate::remote::{HttpUrl, Remote};

/// By the path that stands for each in the plan.
pub type Remotes = BTreeMap<String, RemoteContext>;

/// A directory that is brought in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteContext {
    /// Where it is.
    pub remote: Remote,
    /// The directory of an archive; a repository's is in its URL.
    pub subdir: String,
    /// `.git` is part of a repository's files where its URL does not say otherwise.
    pub keep_git_dir: bool,
    /// Secrets of the target that show its server who asks; the first that is there counts.
    pub secrets: Vec<RemoteSecret>,
    /// A key, or an agent's socket, of the target for servers that are asked by SSH.
    pub ssh: Option<String>,
    /// The target that asks for it first.
    pub target: String,
}

/// A secret of a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteSecret {
    /// It is a token, and not a whole header.
    pub is_token: bool,
    /// The file that it is in.
    pub file: Option<String>,
    /// The environment variable that it is in; the id where neither is given.
    pub env: Option<String>,
}

/// The build argument that keeps `.git` (BuildKit, `dockerui`).
const KEEP_GIT_DIR: &str = "BUILDKIT_CONTEXT_KEEP_GIT_DIR";

/// Notes that `target` reads `remote` and returns the path that stands for it.
pub(super) fn note(remotes: &mut Remotes, target: &Target, remote: Remote) -> String {
    let (remote, subdir) = match remote {
        Remote::Http(HttpUrl(url)) => {
            let (url, fragment) = url.split_once('#').unwrap_or((&url, ""));
            let subdir = fragment.split_once(':').map_or("", |(_, subdir)| subdir).to_owned();
            (Remote::Http(HttpUrl(url.to_owned())), subdir)
        }
        git => (git, String::new()),
    };
    let keep = target.args.get(KEEP_GIT_DIR).and_then(|value| value.value.as_deref());
    let context = RemoteContext {
        secrets: secrets(target, remote.host()),
        subdir,
        keep_git_dir: keep.and_then(crate::bakefile::parse_bool) == Some(true),
        ssh: target.ssh.iter().find(|ssh| ssh.id == "default").and_then(|ssh| ssh.paths.first().cloned()),
        target: target.name.clone(),
        remote,
    };
    let shown = match context.subdir.as_str() {
        "" => context.remote.to_string(),
        subdir => format!("{}#:{subdir}", context.remote),
    };
    // What differs only in what is not shown gets a number.
    let mut name = shown.clone();
    for n in 2.. {
        let known = remotes.entry(name.clone()).or_insert_with(|| context.clone());
        if (RemoteContext { target: known.target.clone(), ..context.clone() }) == *known {
            break;
        }
        name = format!("{shown} ({n})");
    }
    name
}

/// Returns the secrets of `target` that are for `host`, in the order in which BuildKit asks for them.
fn secrets(target: &Target, host: &str) -> Vec<RemoteSecret> {
    let ids = [
        (format!("GIT_AUTH_HEADER.{host}"), false),
        (format!("GIT_AUTH_TOKEN.{host}"), true),
        ("GIT_AUTH_HEADER".to_owned(), false),
        ("GIT_AUTH_TOKEN".to_owned(), true),
    ];
    let found = ids.into_iter().filter_map(|(id, is_token)| {
        let secret = target.secret.iter().find(|secret| secret.id == id)?;
        let env = secret.env.clone().or_else(|| secret.src.is_none().then_some(id));
        Some(RemoteSecret { is_token, file: secret.src.clone(), env })
    });
    found.collect()
}
