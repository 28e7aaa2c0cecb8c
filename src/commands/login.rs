//! `bake login` and `bake logout`: logins where Docker keeps them.

use super::doctor::registry_name;
use super::registry_options::client_options;
use super::{Failure, Host, Kind};
use crate::reference::DEFAULT_REGISTRY;
use crate::registry::{Client, Error, Kept};

/// What `bake login` is asked.
#[derive(Clone, Debug, Default)]
pub struct LoginRequest {
    /// `HOST[:PORT]`; Docker Hub where absent.
    pub registry: Option<String>,
    /// Asked for where absent.
    pub user: Option<String>,
    /// The password is all of standard input.
    pub is_password_stdin: bool,
}

/// Who types a login.
pub trait Prompt {
    /// Asks for a line; `None` where nobody is there to type.
    ///
    /// # Errors
    /// Reading fails, or the user stops it.
    fn ask(&self, question: &str, echo: Echo) -> Result<Option<String>, Failure>;

    /// Returns all of standard input.
    ///
    /// # Errors
    /// It cannot be read, or is no text.
    fn all(&self) -> Result<String, Failure>;
}

/// Whether what is typed is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Echo {
    /// It is.
    Shown,
    /// It is not.
    Hidden,
}

/// Asks the registry whether it takes the login, and keeps it.
///
/// # Errors
/// Nothing says who logs in, the registry does not take it, or it cannot be kept.
pub fn login(request: &LoginRequest, prompt: &dyn Prompt, host: &Host) -> Result<String, Failure> {
    let registry = registry_of(request.registry.as_deref())?;
    let (user, password) = typed(request, prompt)?;
    let kept = Client::new(client_options(host)).login(&registry, &user, &password).map_err(|error| failure(&error))?;
    let place = match kept {
        Kept::File(path) => format!("{}, readable for you alone but not encrypted", path.display()),
        Kept::Helper(name) => format!("docker-credential-{name}"),
    };
    host.talk.line(&format!("logged in to {registry} as {user}; the login is in {place}"));
    Ok(String::new())
}

/// Forgets a login.
///
/// # Errors
/// It cannot be taken from where it is.
pub fn logout(registry: Option<&str>, host: &Host) -> Result<String, Failure> {
    let registry = registry_of(registry)?;
    let client = Client::new(client_options(host));
    let places = client.logout(&registry).map_err(|error| failure(&error))?;
    host.talk.line(&match places.first() {
        Some(Kept::File(path)) => format!("logged out of {registry}: taken out of {}", path.display()),
        Some(Kept::Helper(name)) => format!("logged out of {registry}: docker-credential-{name} has forgotten it"),
        None => format!("not logged in to {registry}"),
    });
    for path in client.other_logins(&registry).map_err(|error| failure(&error))? {
        host.talk.line(&format!("note: {} has a login for it still; \"podman logout\" takes it out", path.display()));
    }
    Ok(String::new())
}

fn registry_of(name: Option<&str>) -> Result<String, Failure> {
    match name {
        None | Some("index.docker.io" | "https://index.docker.io/v1/") => Ok(DEFAULT_REGISTRY.to_owned()),
        Some(name) => registry_name(name),
    }
}

/// Returns user name and password.
fn typed(request: &LoginRequest, prompt: &dyn Prompt) -> Result<(String, String), Failure> {
    let usage = |message: &str| Failure::new(Kind::Usage, message);
    if request.is_password_stdin {
        let user =
            request.user.clone().ok_or_else(|| usage("--password-stdin says no user name").hint("add -u USER"))?;
        let all = prompt.all()?;
        let line = all.strip_suffix('\n').unwrap_or(&all);
        let password = line.strip_suffix('\r').unwrap_or(line).to_owned();
        return checked(user, password);
    }
    let nobody = || {
        usage("a password is asked for on a terminal, and standard input is none")
            .hint("give it as standard input to `bake login -u USER --password-stdin`")
    };
    let user = match &request.user {
        Some(user) => user.clone(),
        None => prompt.ask("Username: ", Echo::Shown)?.ok_or_else(nobody)?.trim().to_owned(),
    };
    let password = prompt.ask("Password: ", Echo::Hidden)?.ok_or_else(nobody)?;
    checked(user, password)
}

fn checked(user: String, password: String) -> Result<(String, String), Failure> {
    let usage = |message: &str| Err(Failure::new(Kind::Usage, message));
    match () {
        () if user.is_empty() => usage("the user name is empty"),
        () if password.is_empty() => usage("the password is empty"),
        // Basic authentication and Docker's files separate the two by it.
        () if user.contains(':') => usage("a user name has no colon in it"),
        () if password.contains(['\n', '\0']) => usage("the password has more than one line, or a NUL in it"),
        () => Ok((user, password)),
    }
}

fn failure(error: &Error) -> Failure {
    let kind = match error {
        Error::Config { .. } | Error::KeepLogin { .. } | Error::Helper { .. } => Kind::Environment,
        Error::Cancelled => Kind::Interrupted,
        _ => Kind::Remote,
    };
    Failure::caused(kind, error).hints(error.hint())
}
