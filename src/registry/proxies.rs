//! Proxies, as the environment names them.
//!
//! Read as Go's tools read the same variables: a host on loopback is never behind a proxy, and an entry of `NO_PROXY` is `*`,
//! an address or a range of them, or a domain, each with or without a port. A domain stands for itself and what is below it,
//! and one that begins with a dot or `*.` for what is below it alone.

use std::fmt;
use std::net::IpAddr;

use reqwest::Url;

use super::transport::{address, is_loopback};

/// What `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY` say. `Debug` shows none of it: a proxy's URL may hold a password.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Proxies {
    /// For plain HTTP: a URL, or `HOST:PORT`.
    pub http: Option<String>,
    /// For HTTPS.
    pub https: Option<String>,
    /// Hosts that are asked without one, separated by commas.
    pub exceptions: String,
}

impl fmt::Debug for Proxies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Proxies(…)")
    }
}

impl Proxies {
    /// Returns the proxy on the way to `url`.
    pub(super) fn of(&self, url: &Url) -> Option<Url> {
        let text = match url.scheme() {
            "https" => self.https.as_ref()?,
            _ => self.http.as_ref()?,
        };
        if is_loopback(url) || self.exceptions.split(',').any(|entry| is_meant(entry.trim(), url)) {
            return None;
        }
        let has_scheme = text.contains("://");
        if has_scheme { text.parse() } else { format!("http://{text}").parse() }.ok()
    }
}

/// Says whether an entry of `NO_PROXY` means the host of `url`.
fn is_meant(entry: &str, url: &Url) -> bool {
    if matches!(entry, "" | "*") {
        return entry == "*";
    }
    if let Some((network, length)) = entry.split_once('/') {
        return address(url).is_some_and(|address| is_in(address, network, length));
    }
    let (host, port) = match entry.rsplit_once(':') {
        // An IPv6 address has colons of its own.
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => (host, Some(port)),
        _ => (entry, None),
    };
    if port.is_some_and(|port| url.port_or_known_default().is_none_or(|own| port != own.to_string())) {
        return false;
    }
    if let Ok(wanted) = host.trim_matches(['[', ']']).parse::<IpAddr>() {
        return address(url) == Some(wanted);
    }
    let own = url.host_str().unwrap_or_default();
    let host = host.to_ascii_lowercase();
    match host.strip_prefix("*.").or_else(|| host.strip_prefix('.')) {
        Some(domain) => is_below(own, domain),
        None => own == host || is_below(own, &host),
    }
}

fn is_below(host: &str, domain: &str) -> bool {
    host.strip_suffix(domain).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
}

/// Says whether an address is in `network/length`.
fn is_in(address: IpAddr, network: &str, length: &str) -> bool {
    let Ok(length) = length.parse::<u32>() else { return false };
    let shifted = |bits: u128, width: u32| bits.checked_shr(width.saturating_sub(length)).unwrap_or(0);
    match (address, network.parse()) {
        (IpAddr::V4(own), Ok(IpAddr::V4(network))) if length <= 32 => {
            shifted(u32::from(own).into(), 32) == shifted(u32::from(network).into(), 32)
        }
        (IpAddr::V6(own), Ok(IpAddr::V6(network))) if length <= 128 => {
            shifted(own.into(), 128) == shifted(network.into(), 128)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exceptions_are_read_as_go_reads_them() {
        let is_direct = |exceptions: &str, url: &str| {
            let proxy = Some("proxy.example:3128".to_owned());
            let proxies = Proxies { http: proxy.clone(), https: proxy, exceptions: exceptions.to_owned() };
            proxies.of(&url.parse().expect("a URL")).is_none()
        };
        let cases = [
            ("", "https://r.example", false),
            ("", "http://127.0.0.1:5000", true),
            ("", "http://localhost:5000", true),
            ("*", "https://r.example", true),
            ("r.example", "https://r.example", true),
            ("r.example", "https://a.r.example:5000", true),
            ("r.example", "https://xr.example", false),
            (".r.example", "https://r.example", false),
            ("*.r.example", "https://a.r.example", true),
            ("R.example:5000", "https://r.example:5000", true),
            ("r.example:5000", "https://r.example", false),
            ("r.example:443", "https://r.example", true),
            ("a, 10.0.0.0/8 ,b", "https://10.1.2.3", true),
            ("10.0.0.0/8", "https://11.1.2.3", false),
            ("10.0.0.0/8", "https://r.example", false),
            ("192.0.2.1:5000", "https://192.0.2.1:5000", true),
            ("fd00::/8", "https://[fd00::1]", true),
            ("[fd00::1]:443", "https://[fd00::1]", true),
            ("fd00::1", "https://[fd00::1]:5000", true),
        ];
        for (exceptions, url, expected) in cases {
            assert_eq!(is_direct(exceptions, url), expected, "{exceptions} {url}");
        }
    }

    #[test]
    fn each_scheme_has_its_proxy_and_neither_is_shown() {
        let proxies = Proxies { https: Some("http://u:s3cret@p.example:1".to_owned()), ..Proxies::default() };
        assert_eq!(format!("{proxies:?}"), "Proxies(…)");
        let of = |url: &str| proxies.of(&url.parse().expect("a URL")).map(|proxy| proxy.port());
        assert_eq!((of("https://r.example"), of("http://r.example")), (Some(Some(1)), None));
    }
}
