//! Whether a registry is there (distribution-spec v1.1, *Determining support*).

use reqwest::Method;

use super::error::codes_of;
use super::transport::{Call, read_start};
use super::{Client, Error};

/// What a registry that is there asks of who comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ping {
    /// Nothing.
    Open,
    /// To log in; credentials for it are configured.
    Login,
    /// To log in; nothing is configured for it, so that only what is public can be read.
    Anonymous,
}

impl Client {
    /// Asks whether a registry (`HOST[:PORT]`) is there. Sends no credentials.
    ///
    /// # Errors
    /// It cannot be reached, or what answers is no registry; a configured login cannot be read.
    pub fn ping(&self, registry: &str) -> Result<Ping, Error> {
        let site = self.hosts.registry(registry, "")?;
        let call = Call::new(Method::GET, self.root(&site)?);
        let answer = self.transport.retrying(|| self.transport.send(&call, None, &site))?;
        match answer.response.status().as_u16() {
            200..=299 => Ok(Ping::Open),
            401 | 403 => {
                Ok(if self.auth.credential(&site.name, "")?.is_some() { Ping::Login } else { Ping::Anonymous })
            }
            404 => Err(call.protocol_error("what answers is no registry")),
            status => {
                let url = (&answer.url).into();
                Err(Error::Status { method: Method::GET, url, status, codes: codes_of(&read_start(answer)) })
            }
        }
    }
}
