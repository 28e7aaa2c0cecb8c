//! Secrets and agents of a build: where each target has them, and values for as long as a step needs them.
//!
//! A value is read when its step starts, goes into a file in memory or a variable of that step, and is dropped with it.
//! It is in no cache key, record, layer or message: nothing here that holds one can be printed.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::FileType;

use crate::plan::{Given, SecretPlace};
use crate::sys::files::{DiskFiles, Files};

/// Bytes that a secret may have, as for BuildKit.
const MAX_SIZE: usize = 500 * 1024;

/// What each target gives to its steps.
pub struct Secrets {
    /// In the plan's order: a target stands after those that it links to.
    given: Vec<(String, Given)>,
    env: BTreeMap<String, String>,
    directory: PathBuf,
}

/// Why a step cannot have a secret that it is to have. Never says anything of its value.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// No target of the step gives it.
    #[error("the secret `{id}` is required and not given")]
    NotGiven {
        /// Which.
        id: String,
    },
    /// It is where the target says, and too large.
    #[error("the secret `{id}` is larger than 500 kB")]
    TooLarge {
        /// Which.
        id: String,
    },
    /// Its file cannot be read.
    #[error("cannot read the secret `{id}` from `{path}`: {source}")]
    Unreadable {
        /// Which.
        id: String,
        /// As the target has it.
        path: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// No target of the step gives that agent.
    #[error("the SSH agent `{id}` is required and not given")]
    AgentNotGiven {
        /// Which.
        id: String,
    },
    /// The environment's agent is meant, and there is none.
    #[error("the SSH agent `{id}` is that of the environment, and SSH_AUTH_SOCK is not set")]
    NoAgent {
        /// Which.
        id: String,
    },
    /// What is named is no agent's socket.
    #[error("`{path}` of the SSH agent `{id}` is no socket")]
    NoSocket {
        /// Which.
        id: String,
        /// As the target has it.
        path: String,
    },
    /// An agent's socket is named beside something else.
    #[error("the SSH agent `{id}` has more than one path")]
    ManyPaths {
        /// Which.
        id: String,
    },
    /// The way to the agent cannot be made.
    #[error("cannot forward the SSH agent `{id}` from `{path}`: {source}")]
    Agent {
        /// Which.
        id: String,
        /// The agent's socket.
        path: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// A variable was to hold bytes that are no text.
    #[error("the secret `{id}` cannot be the variable `{name}`: it is no text")]
    NotText {
        /// Which.
        id: String,
        /// The variable.
        name: String,
    },
}

impl SecretError {
    /// Returns what to do.
    pub fn hint(&self) -> String {
        match self {
            SecretError::NotGiven { id } => format!(
                "give it in the bakefile: `secret = [\"id={id},src=FILE\"]` or `secret = [\"id={id},env=VARIABLE\"]`; or for \
                 one build: --set TARGET.secrets=id={id},src=FILE"
            ),
            SecretError::TooLarge { .. } => "mount large files as `type=bind`; a secret is a key or a token".to_owned(),
            SecretError::Unreadable { .. } => "name a regular file that you may read".to_owned(),
            SecretError::AgentNotGiven { id } => format!(
                "give it in the bakefile: `ssh = [\"{id}\"]` for the agent that runs, `ssh = [\"{id}=SOCKET\"]` for another; or \
                 for one build: --set TARGET.ssh={id}"
            ),
            SecretError::NoAgent { .. } => "run `eval $(ssh-agent)` and `ssh-add`".to_owned(),
            SecretError::NoSocket { id, .. } | SecretError::ManyPaths { id } => format!(
                "keys stay with an agent: run `eval $(ssh-agent)` and `ssh-add KEY`, and write `ssh = [\"{id}\"]`"
            ),
            SecretError::Agent { source, .. } if source.kind() == io::ErrorKind::InvalidInput => {
                "the socket's owner is none that you can give; give yourself subordinate ids (see subuid(5))".to_owned()
            }
            SecretError::Agent { .. } => "see whether the agent still runs: `ssh-add -l`".to_owned(),
            SecretError::NotText { .. } => "mount it as a file: leave `env` out, or name a `target`".to_owned(),
        }
    }
}

impl Secrets {
    /// Takes what each target gives, targets in the plan's order. Relative files are below `directory`.
    pub fn new(given: Vec<(String, Given)>, env: &BTreeMap<String, String>, directory: &Path) -> Secrets {
        Secrets { given, env: env.clone(), directory: directory.to_owned() }
    }

    /// Returns the value of a secret for a step that `targets` want; `None` where none of them gives it. What a target
    /// that others link to gives counts first: its Dockerfile has the step.
    ///
    /// # Errors
    /// It is given and cannot be had.
    pub fn value(&self, targets: &BTreeSet<&str>, id: &str) -> Result<Option<Vec<u8>>, SecretError> {
        let mut places = self.of(targets).filter_map(|given| given.secrets.get(id));
        let Some(place) = places.next() else { return Ok(None) };
        let value = match place {
            SecretPlace::Variable(name) => self.variable(name).unwrap_or_default(),
            SecretPlace::File(path) => self.read(id, path)?,
            SecretPlace::Named(name) => self.variable(name).map_or_else(|| self.read(id, name), Ok)?,
        };
        match value.len() > MAX_SIZE {
            true => Err(SecretError::TooLarge { id: id.to_owned() }),
            false => Ok(Some(value)),
        }
    }

    /// Returns the socket of an agent for a step that `targets` want; `None` where none of them gives it.
    ///
    /// # Errors
    /// It is given, and what is given is no agent.
    pub fn agent(&self, targets: &BTreeSet<&str>, id: &str) -> Result<Option<PathBuf>, SecretError> {
        let id = Given::agent_id(id);
        let Some(paths) = self.of(targets).find_map(|given| given.agents.get(id)) else { return Ok(None) };
        let path = match paths.as_slice() {
            [] => self.env.get("SSH_AUTH_SOCK").filter(|path| !path.is_empty()),
            [path] => Some(path),
            _ => return Err(SecretError::ManyPaths { id: id.to_owned() }),
        };
        let path = path.ok_or_else(|| SecretError::NoAgent { id: id.to_owned() })?;
        let full = self.directory.join(path);
        let named = || (id.to_owned(), path.clone());
        match rustix::fs::stat(&full).map(|stat| FileType::from_raw_mode(stat.st_mode)) {
            Ok(FileType::Socket) => Ok(Some(full)),
            Ok(_) => {
                let (id, path) = named();
                Err(SecretError::NoSocket { id, path })
            }
            Err(error) => {
                let (id, path) = named();
                Err(SecretError::Agent { id, path, source: error.into() })
            }
        }
    }

    /// Returns what the targets among `targets` give, in the plan's order.
    fn of<'a>(&'a self, targets: &'a BTreeSet<&str>) -> impl Iterator<Item = &'a Given> {
        self.given.iter().filter(|(name, _)| targets.contains(name.as_str())).map(|(_, given)| given)
    }

    fn variable(&self, name: &str) -> Option<Vec<u8>> {
        self.env.get(name).map(|value| value.clone().into_bytes())
    }

    fn read(&self, id: &str, path: &str) -> Result<Vec<u8>, SecretError> {
        let unreadable = |source| SecretError::Unreadable { id: id.to_owned(), path: path.to_owned(), source };
        DiskFiles::new(&self.directory).read(Path::new(path)).map_err(unreadable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(secrets: &[(&str, SecretPlace)]) -> Given {
        let secrets = secrets.iter().map(|(id, place)| ((*id).to_owned(), place.clone())).collect();
        Given { secrets, ..Given::default() }
    }

    #[test]
    fn the_target_whose_step_it_is_gives_first() {
        let variable = |name: &str| SecretPlace::Variable(name.to_owned());
        let env = [("A", "of a"), ("B", "of base")].map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        // `app` links to `base`, which therefore stands before it.
        let targets = vec![
            ("base".to_owned(), given(&[("t", variable("B"))])),
            ("app".to_owned(), given(&[("t", variable("A")), ("gone", variable("NOT_SET"))])),
        ];
        let secrets = Secrets::new(targets, &env, Path::new("/"));
        let value = |targets: &[&str], id: &str| secrets.value(&targets.iter().copied().collect(), id).expect("read");
        assert_eq!(value(&["app", "base"], "t"), Some(b"of base".to_vec()));
        assert_eq!(value(&["app"], "t"), Some(b"of a".to_vec()));
        assert_eq!(value(&["app"], "gone"), Some(Vec::new()));
        assert_eq!(value(&["base"], "gone"), None);
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "writes the files that it reads")]
    fn an_id_alone_is_a_variable_or_else_a_file_of_at_most_500_kb() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        std::fs::write(directory.path().join("file"), "in the file").expect("written");
        std::fs::write(directory.path().join("large"), vec![b'x'; MAX_SIZE + 1]).expect("written");
        let named = |id: &'static str| (id, SecretPlace::Named(id.to_owned()));
        let env = [("var".to_owned(), "in the variable".to_owned())].into();
        let targets = vec![("t".to_owned(), given(&["file", "large", "var", "nowhere"].map(named)))];
        let secrets = Secrets::new(targets, &env, directory.path());
        let value = |id: &str| secrets.value(&BTreeSet::from(["t"]), id);
        assert_eq!(value("file").expect("read"), Some(b"in the file".to_vec()));
        assert_eq!(value("var").expect("read"), Some(b"in the variable".to_vec()));
        assert!(matches!(value("large"), Err(SecretError::TooLarge { .. })));
        assert!(matches!(value("nowhere"), Err(SecretError::Unreadable { .. })));
    }
}
