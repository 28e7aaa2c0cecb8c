//! Who we are to a registry: credentials, challenges, tokens.
//!
//! A token is kept for each registry and scope until it ends. Credentials reach the registry they are configured for,
//! and the token server that this registry names, if the way there is safe: HTTPS, or loopback to loopback. Token
//! requests follow no redirects.

use std::collections::BTreeMap;
use std::io::Read;
use std::net::IpAddr;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use reqwest::header::{CONTENT_TYPE, HeaderValue};
use reqwest::{Method, Url};
use serde::Deserialize;

use super::challenge::Challenge;
use super::credentials::{Credential, Credentials};
use super::error::{Action, Login, codes_of};
use super::hosts::Site;
use super::transport::{Answer, Call, Payload, Transport, address, is_loopback};
use super::{Error, Options};

/// How long a token lives that does not say so (distribution's token specification: 60 s).
const DEFAULT_LIFETIME: Duration = Duration::from_secs(60);

/// Tokens are renewed this much before they end.
const MARGIN: Duration = Duration::from_secs(10);

/// Most bytes of a token server's answer.
const MAX_TOKEN_SIZE: u64 = 1 << 20;

/// What a request needs to be allowed to do.
#[derive(Clone, Debug)]
pub(super) struct Access<'a> {
    pub(super) registry: &'a str,
    pub(super) repository: &'a str,
    pub(super) action: Action,
    /// A repository to mount a blob from.
    pub(super) mount_from: Option<&'a str>,
    /// The server that is asked; the registry's own where absent.
    pub(super) site: Option<&'a Site>,
}

impl Access<'_> {
    /// `pull` or `pull,push`.
    pub(super) fn actions(&self) -> &'static str {
        match self.action {
            Action::Pull => "pull",
            Action::Push => "pull,push",
        }
    }

    /// The scopes in the token specification's words; none for the registry itself.
    fn scopes(&self) -> Vec<String> {
        let own = (!self.repository.is_empty()).then(|| format!("repository:{}:{}", self.repository, self.actions()));
        let other = self.mount_from.map(|from| format!("repository:{from}:pull"));
        own.into_iter().chain(other).collect()
    }
}

/// An `Authorization` header and when it ends.
struct Token {
    header: HeaderValue,
    ends: Option<Instant>,
}

/// Remembers logins. The mutexes protect the two maps alone; none is held while a request is under way.
pub(super) struct Auth {
    pub(super) credentials: Credentials,
    /// Registries and repositories that credentials were found for, and not found.
    found: Mutex<BTreeMap<(String, String), bool>>,
    /// By registry and scopes; without scopes where the header serves for all of them.
    tokens: Mutex<BTreeMap<(String, Vec<String>), Token>>,
}

impl Auth {
    pub(super) fn new(options: &Options) -> Auth {
        Auth { credentials: Credentials::new(options), found: Mutex::default(), tokens: Mutex::default() }
    }

    /// Returns the header that worked before, if it still can.
    pub(super) fn remembered(&self, access: &Access<'_>) -> Option<HeaderValue> {
        let tokens = self.tokens.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let own = tokens.get(&(access.registry.to_owned(), access.scopes()));
        let token = own.or_else(|| tokens.get(&(access.registry.to_owned(), Vec::new())))?;
        let is_alive = token.ends.is_none_or(|ends| Instant::now() < ends);
        is_alive.then(|| token.header.clone())
    }

    /// Says whether credentials are configured for a repository; only what was looked up already.
    pub(super) fn login(&self, registry: &str, repository: &str) -> Login {
        let found = self.found.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        match found.get(&(registry.to_owned(), repository.to_owned())) {
            Some(true) => Login::Sent,
            Some(false) | None => Login::Anonymous,
        }
    }

    /// Answers `challenge`, which came from `url`, a URL of the registry itself. `None` if there is nothing to answer
    /// it with. May read the disk, run a credential helper and ask the token server.
    pub(super) fn answer(
        &self,
        transport: &Transport,
        access: &Access<'_>,
        site: &Site,
        url: &Url,
        challenge: &Challenge,
    ) -> Result<Option<HeaderValue>, Error> {
        let credential = self.credential(access.registry, access.repository)?;
        let Some(token) = token_for(transport, access, site, url, challenge, credential.as_ref())? else {
            return Ok(None);
        };
        // What is no token for a scope serves for all that the login serves for.
        let is_for_all = token.ends.is_none() && self.credentials.is_one(access.registry);
        let scopes = if is_for_all { Vec::new() } else { access.scopes() };
        let header = token.header.clone();
        let mut tokens = self.tokens.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        tokens.insert((access.registry.to_owned(), scopes), token);
        Ok(Some(header))
    }

    pub(super) fn credential(&self, registry: &str, repository: &str) -> Result<Option<Credential>, Error> {
        let credential = self.credentials.of(registry, repository)?;
        let mut found = self.found.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        found.insert((registry.to_owned(), repository.to_owned()), credential.is_some());
        Ok(credential)
    }
}

/// Answers `challenge` of the registry at `url` with `credential`; `None` if it cannot be.
fn token_for(
    transport: &Transport,
    access: &Access<'_>,
    site: &Site,
    url: &Url,
    challenge: &Challenge,
    credential: Option<&Credential>,
) -> Result<Option<Token>, Error> {
    Ok(match (challenge, credential) {
        (_, Some(Credential::RegistryToken(token))) => Some(Token { header: bearer(token), ends: None }),
        (Challenge::Basic, Some(Credential::Password { user, password })) => {
            Some(Token { header: basic(user, password), ends: None })
        }
        (Challenge::Basic, _) => None,
        (Challenge::Bearer { realm, service, scope }, credential) => {
            let realm = checked_realm(url, realm)?;
            let mut request = TokenRequest { realm, service: service.as_deref(), scopes: access.scopes() };
            request.add_scopes(scope.as_deref().unwrap_or_default());
            Some(request.send(transport, access, site, credential)?)
        }
    })
}

/// Returns the header that answers `challenge` with a user name and password that nobody has stored yet.
pub(super) fn answer_with(
    transport: &Transport,
    access: &Access<'_>,
    site: &Site,
    url: &Url,
    challenge: &Challenge,
    credential: &Credential,
) -> Result<Option<HeaderValue>, Error> {
    Ok(token_for(transport, access, site, url, challenge, Some(credential))?.map(|token| token.header))
}

/// Returns the token server's URL if it may be asked on behalf of the registry at `registry`.
fn checked_realm(registry: &Url, realm: &str) -> Result<Url, Error> {
    let refused =
        |reason: &str| Error::Protocol { method: Method::GET, url: registry.into(), reason: reason.to_owned() };
    let realm = registry.join(realm).map_err(|_| refused("its token server is no URL"))?;
    let is_link_local = match address(&realm) {
        Some(IpAddr::V4(address)) => address.is_link_local(),
        Some(IpAddr::V6(address)) => address.is_unicast_link_local(),
        None => false,
    };
    let is_safe = match realm.scheme() {
        "https" => !is_link_local,
        // Who reads what goes to a plain HTTP registry can read this too.
        "http" if registry.scheme() != "http" => false,
        "http" => (is_loopback(registry) && is_loopback(&realm)) || registry.host() == realm.host(),
        _ => false,
    };
    if !is_safe || !realm.username().is_empty() || realm.password().is_some() {
        return Err(refused("its token server is not at a safe address (HTTPS, or the host of a plain HTTP registry)"));
    }
    Ok(realm)
}

/// A question to a token server.
struct TokenRequest<'a> {
    realm: Url,
    service: Option<&'a str>,
    scopes: Vec<String>,
}

impl TokenRequest<'_> {
    /// Adds the scopes that the registry asked for, where ours do not name their resource.
    fn add_scopes(&mut self, asked: &str) {
        for scope in asked.split(' ').filter(|scope| !scope.is_empty()) {
            let resource = scope.rsplit_once(':').map_or(scope, |(resource, _)| resource);
            let is_covered = |own: &String| own.rsplit_once(':').is_some_and(|(own, _)| own == resource);
            if !self.scopes.iter().any(is_covered) {
                self.scopes.push(scope.to_owned());
            }
        }
    }

    fn send(
        &self,
        transport: &Transport,
        access: &Access<'_>,
        site: &Site,
        credential: Option<&Credential>,
    ) -> Result<Token, Error> {
        let (call, body);
        let header = match credential {
            Some(Credential::Password { user, password }) => Some(basic(user, password)),
            _ => None,
        };
        if let Some(Credential::IdentityToken(token)) = credential {
            body = self.refresh_form(token);
            let form = Call::new(Method::POST, self.realm.clone()).payload(Payload::Bytes(body.as_bytes()));
            call = form.header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        } else {
            call = Call::new(Method::GET, self.url());
        }
        // The call that needs the token is the one that is repeated.
        let answer = transport.send_once(&call, header.as_ref(), site)?;
        read_token(answer, &call, access, credential)
    }

    fn url(&self) -> Url {
        let mut url = self.realm.clone();
        let mut query = url.query_pairs_mut();
        query.extend_pairs(self.service.map(|service| ("service", service)));
        query.extend_pairs(self.scopes.iter().map(|scope| ("scope", scope)));
        drop(query);
        url
    }

    fn refresh_form(&self, token: &str) -> String {
        // A form is encoded as a query is.
        let mut url = self.realm.clone();
        let mut form = url.query_pairs_mut();
        form.clear().append_pair("grant_type", "refresh_token").append_pair("client_id", "bake");
        form.extend_pairs(self.service.map(|service| ("service", service)));
        form.append_pair("scope", &self.scopes.join(" ")).append_pair("refresh_token", token);
        drop(form);
        url.query().unwrap_or_default().to_owned()
    }
}

fn read_token(
    answer: Answer,
    call: &Call<'_>,
    access: &Access<'_>,
    credential: Option<&Credential>,
) -> Result<Token, Error> {
    #[derive(Deserialize)]
    struct Body {
        token: Option<String>,
        access_token: Option<String>,
        expires_in: Option<u64>,
    }
    let status = answer.response.status();
    let mut body = Vec::new();
    let read = answer.response.take(MAX_TOKEN_SIZE).read_to_end(&mut body);
    if matches!(status.as_u16(), 401 | 403) {
        return Err(Error::Denied {
            registry: access.registry.to_owned(),
            repository: access.repository.to_owned(),
            action: access.action,
            status: status.as_u16(),
            scope: access.actions(),
            codes: codes_of(&body),
            login: if credential.is_some() { Login::Sent } else { Login::Anonymous },
        });
    }
    if !status.is_success() {
        let url = (&call.url).into();
        return Err(Error::Status {
            method: call.method.clone(),
            url,
            status: status.as_u16(),
            codes: codes_of(&body),
        });
    }
    let no_token = || call.protocol_error("the token server's answer has no token");
    read.map_err(|_| no_token())?;
    let body: Body = serde_json::from_slice(&body).map_err(|_| no_token())?;
    let text = body.token.or(body.access_token).filter(|token| is_header_text(token)).ok_or_else(no_token)?;
    let lifetime = body.expires_in.map_or(DEFAULT_LIFETIME, |seconds| Duration::from_secs(seconds.min(24 * 3600)));
    Ok(Token { header: bearer(&text), ends: Some(Instant::now() + lifetime.saturating_sub(MARGIN)) })
}

fn is_header_text(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic())
}

fn bearer(token: &str) -> HeaderValue {
    sensitive(&format!("Bearer {token}"))
}

fn basic(user: &str, password: &str) -> HeaderValue {
    sensitive(&format!("Basic {}", BASE64.encode(format!("{user}:{password}"))))
}

/// Returns a header value that no log shows. A text that cannot be one becomes empty, which no server takes.
fn sensitive(text: &str) -> HeaderValue {
    let mut value = HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static(""));
    value.set_sensitive(true);
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_server_must_be_at_a_safe_address() {
        let cases = [
            ("https://r.example/v2/", "https://auth.example/token", true),
            ("https://r.example/v2/", "/token", true),
            ("https://r.example/v2/", "http://r.example/token", false),
            ("https://r.example/v2/", "http://127.0.0.1/token", false),
            ("https://r.example/v2/", "https://169.254.169.254/token", false),
            ("https://r.example/v2/", "https://user:pass@auth.example/token", false),
            ("https://r.example/v2/", "file:///etc/passwd", false),
            ("http://127.0.0.1:5000/v2/", "http://127.0.0.1:6000/token", true),
            ("http://127.0.0.1:5000/v2/", "http://auth.example/token", false),
            ("http://127.0.0.1:5000/v2/", "https://auth.example/token", true),
            ("http://r.example:5000/v2/", "http://r.example:5001/token", true),
            ("http://r.example:5000/v2/", "http://auth.example/token", false),
        ];
        for (registry, realm, expected) in cases {
            let registry = Url::parse(registry).expect("a URL");
            assert_eq!(checked_realm(&registry, realm).is_ok(), expected, "{registry} {realm}");
        }
    }

    #[test]
    fn scopes_are_ours_and_then_what_the_registry_names_besides() {
        let access = Access {
            registry: "r",
            repository: "a/b",
            action: Action::Push,
            mount_from: Some("base/debian"),
            site: None,
        };
        let realm = Url::parse("https://auth.example/token?x=1").expect("a URL");
        let mut request = TokenRequest { realm, service: Some("r"), scopes: access.scopes() };
        request.add_scopes("repository:a/b:pull registry:catalog:*");
        assert_eq!(
            request.url().as_str(),
            "https://auth.example/token?x=1&service=r&scope=repository%3Aa%2Fb%3Apull%2Cpush\
             &scope=repository%3Abase%2Fdebian%3Apull&scope=registry%3Acatalog%3A*"
        );
    }

    #[test]
    fn headers_are_not_shown() {
        assert_eq!(format!("{:?}", basic("user", "s3cret")), "Sensitive");
    }
}
