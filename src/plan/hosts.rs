//! `extra-hosts`: names that steps find in `/etc/hosts`.

use std::net::IpAddr;

use crate::bakefile::Target;
use crate::diagnostic::{Diagnostic, Diagnostics};

/// The address that stands for the machine that builds.
pub const HOST_GATEWAY: &str = "host-gateway";

/// Returns names, in lower case, with an address or [`HOST_GATEWAY`] each, sorted by name; a name may have several.
pub(super) fn extra_hosts(target: &Target, found: &mut Diagnostics) -> Vec<(String, String)> {
    let mut hosts = Vec::new();
    for (name, value) in &target.extra_hosts {
        let Some(addresses) = &value.value else { continue };
        if name.is_empty() || name.chars().any(|c| c.is_whitespace() || c.is_control() || matches!(c, ',' | '#' | '='))
        {
            let message = format!("`{name}` in `extra-hosts` of target \"{}\" is no name of a host", target.name);
            found.push(Diagnostic::error(value.span, message));
            continue;
        }
        for text in addresses.split(',') {
            match address(text) {
                Some(address) => hosts.push((name.to_lowercase(), address)),
                None => {
                    let message =
                        format!("`{text}` of `{name}` in `extra-hosts` of target \"{}\" is no IP address", target.name);
                    let error = Diagnostic::error(value.span, message);
                    found.push(error.hint(format!("write an IPv4 or IPv6 address, or `{HOST_GATEWAY}`")));
                }
            }
        }
    }
    hosts
}

/// Reads an address, which may be in brackets; a mapped IPv4 address is written as such.
fn address(text: &str) -> Option<String> {
    if text == HOST_GATEWAY {
        // Which address that is depends on the step's network.
        return Some(HOST_GATEWAY.to_owned());
    }
    let inner = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    Some(inner.unwrap_or(text).parse::<IpAddr>().ok()?.to_canonical().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_the_peer_reads_them() {
        for (text, expected) in [
            ("10.0.0.1", Some("10.0.0.1")),
            ("[::1]", Some("::1")),
            ("::ffff:1.2.3.4", Some("1.2.3.4")),
            ("host-gateway", Some("host-gateway")),
            ("010.0.0.1", None),
            ("example.com", None),
            ("", None),
        ] {
            assert_eq!(address(text).as_deref(), expected, "{text}");
        }
    }
}
