//! What the peer looks at before it prints: files of secrets, the agent of ssh, sizes and limits.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::Path;

use super::limits::{Resources, Ulimit, size_in_bytes};
use super::{SecretSpec, Selection, Spanned, SshSpec};
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::sys::files::Files;

/// The peer's limit for a secret, in bytes.
const MAX_SECRET_SIZE: usize = 500 * 1024;

/// The machine that a selection is to be built on.
pub struct Surroundings<'a> {
    /// Looks an environment variable up.
    pub env: &'a dyn Fn(&str) -> Option<String>,
    /// Reads files.
    pub files: &'a dyn Files,
}

impl Selection {
    /// Checks what `docker buildx bake --print` checks too: secrets and ssh agents are there, sizes and limits can be read.
    pub fn verify(&self, surroundings: &Surroundings<'_>) -> Diagnostics {
        let (mut findings, mut seen) = (Diagnostics::default(), BTreeSet::new());
        for (_, target) in &self.targets {
            let mut checks: Vec<Result<(), Diagnostic>> = Vec::new();
            checks.extend(target.secret.iter().map(|secret| surroundings.secret(secret)));
            checks.extend(target.ssh.iter().map(|ssh| surroundings.ssh(ssh)));
            checks.extend(target.shm_size.iter().map(shm_size));
            checks.extend(target.ulimits.iter().map(ulimit));
            checks.extend(target.resources.iter().map(resource));
            for finding in checks.into_iter().filter_map(Result::err) {
                // The kind of a finding and what it is about are in its message.
                if seen.insert((finding.labels.first().map(|label| label.span), finding.message.clone())) {
                    findings.push(finding);
                }
            }
        }
        findings
    }
}

impl Surroundings<'_> {
    fn secret(&self, secret: &SecretSpec) -> Result<(), Diagnostic> {
        if secret.id.is_empty() {
            return Err(Diagnostic::error(secret.span, "this secret has no `id`"));
        }
        // An id alone names a variable of the environment if there is one, else a file.
        let is_named_by_id = secret.src.is_none() && secret.env.is_none();
        let file = match &secret.src {
            None if is_named_by_id && (self.env)(&secret.id).is_none() => secret.id.as_str(),
            None => return Ok(()),
            Some(src) => src,
        };
        match self.files.read(Path::new(file)) {
            Ok(bytes) if bytes.len() > MAX_SECRET_SIZE => {
                Err(Diagnostic::error(secret.span, format!("secret \"{}\" is larger than 500 kB", secret.id)))
            }
            Err(error) if is_missing(error.kind()) => {
                let finding = Diagnostic::error(secret.span, format!("there is no file `{file}` for this secret"));
                Err(match is_named_by_id {
                    true => finding.note(format!("and no variable {} in the environment", secret.id)),
                    false => finding,
                })
            }
            _ => Ok(()),
        }
    }

    fn ssh(&self, ssh: &SshSpec) -> Result<(), Diagnostic> {
        let agent = (self.env)("SSH_AUTH_SOCK").filter(|socket| !socket.is_empty());
        let named: Vec<&String> = ssh.paths.iter().filter(|path| !path.is_empty()).collect();
        let paths = if named.is_empty() { agent.iter().collect() } else { named };
        if paths.is_empty() {
            let message = format!("ssh \"{}\" names no key, and no agent runs: SSH_AUTH_SOCK is not set", ssh.id);
            return Err(Diagnostic::error(ssh.span, message).hint("run `eval $(ssh-agent)` and `ssh-add`"));
        }
        let is_absent =
            |path: &&&String| self.files.read(Path::new(path.as_str())).is_err_and(|error| is_missing(error.kind()));
        match paths.iter().find(is_absent) {
            Some(path) => Err(Diagnostic::error(ssh.span, format!("there is no file `{path}` for ssh \"{}\"", ssh.id))),
            None => Ok(()),
        }
    }
}

/// A directory or socket is there; that it is no regular file shows when it is used.
fn is_missing(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::NotFound | ErrorKind::NotADirectory)
}

fn shm_size(size: &Spanned<String>) -> Result<(), Diagnostic> {
    let text = size.value.as_str();
    match text.is_empty() || size_in_bytes(text).is_some() {
        true => Ok(()),
        false => Err(Diagnostic::error(size.span, format!("`{text}` is no size"))
            .hint("write a number and a unit, as in \"128m\" or \"2GiB\"")),
    }
}

fn ulimit(limit: &Spanned<String>) -> Result<(), Diagnostic> {
    limit.value.parse::<Ulimit>().map(drop).map_err(|wrong| wrong.diagnostic(limit.span))
}

fn resource((name, value): (&String, &Spanned<String>)) -> Result<(), Diagnostic> {
    let wrong = |why| Diagnostic::error(value.span, format!("`{name}` of `resources`: {why}"));
    Resources::default().set(name, &value.value).map_err(wrong)
}
