//! What the peer looks at before it prints: files of secrets, the agent of ssh, sizes and limits.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::Path;

use super::{SecretSpec, Selection, Spanned, SshSpec};
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::sys::files::Files;

/// The peer's limit for a secret, in bytes.
const MAX_SECRET_SIZE: usize = 500 * 1024;

/// Limits that a process has, by the names that `ulimits` uses.
pub(super) const LIMITS: [&str; 15] = [
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

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
    match text.is_empty() || is_size(text) {
        true => Ok(()),
        false => Err(Diagnostic::error(size.span, format!("`{text}` is no size"))
            .hint("write a number and a unit, as in \"128m\" or \"2GiB\"")),
    }
}

/// Says whether text is a number with a unit of bytes: `1.5g`, `64 MiB`, `100b`.
fn is_size(text: &str) -> bool {
    let Some(last) = text.rfind(|c: char| c.is_ascii_digit() || matches!(c, '.' | ' ')) else { return false };
    let (number, unit) = text.split_at(last + 1);
    let number = number.strip_suffix(' ').unwrap_or(number);
    let is_number = number.parse::<f64>().is_ok_and(|number| number >= 0.0);
    let unit = unit.to_ascii_lowercase();
    let is_unit = match unit.strip_prefix(['k', 'm', 'g', 't', 'p']) {
        Some(rest) => matches!(rest, "" | "b" | "ib"),
        None => matches!(unit.as_str(), "" | "b"),
    };
    is_number && is_unit
}

fn ulimit(limit: &Spanned<String>) -> Result<(), Diagnostic> {
    const FORM: &str = "write NAME=SOFT[:HARD]";
    let wrong = |why: String| Err(Diagnostic::error(limit.span, why).hint(FORM));
    let Some((name, values)) = limit.value.split_once('=') else {
        return wrong(format!("`{}` is no limit", limit.value));
    };
    if !LIMITS.contains(&name) {
        let finding = Diagnostic::error(limit.span, format!("there is no limit `{name}`"));
        return Err(finding.suggest(name, LIMITS).note(format!("the limits are {}", LIMITS.join(", "))));
    }
    let numbers: Result<Vec<i64>, _> = values.split(':').map(str::parse).collect();
    match numbers.as_deref() {
        Ok([_]) => Ok(()),
        Ok([soft, hard]) if *hard == -1 || (*soft != -1 && soft <= hard) => Ok(()),
        Ok([_, _]) => wrong(format!("the soft limit of `{name}` is above its hard limit")),
        _ => wrong(format!("`{values}` is no limit's value")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_a_unit_of_bytes_or_none() {
        for text in ["0", "128m", "1.5g", "64 MiB", "100b", "2GB", "7p"] {
            assert!(is_size(text), "{text}");
        }
        for text in ["", "m", "-1", "1x", "1mm", "1mibb", "1 2"] {
            assert!(!is_size(text), "{text}");
        }
    }
}
