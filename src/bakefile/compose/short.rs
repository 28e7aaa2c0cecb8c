//! Short forms of volumes and ports. No build needs them, but the peer refuses a file in which one is broken, as happens
//! when a variable in it is not set.

use super::load::{Found, wrong};
use super::yaml::{Node, Yaml};

/// Checks `SOURCE:TARGET:OPTIONS`.
pub(super) fn check_volume(volume: &Node) -> Found<()> {
    let text = match &volume.value {
        Yaml::Text(text) => text,
        Yaml::Map(_) => return Ok(()),
        _ => return wrong(volume.span, format!("a volume is a string or a mapping, not {}", volume.kind())),
    };
    match text.as_str() {
        "" => wrong(volume.span, "this volume is empty"),
        text if text.len() > 2 && text.split(':').any(str::is_empty) => {
            wrong(volume.span, format!("the volume `{text}` has an empty part between its colons"))
        }
        _ => Ok(()),
    }
}

/// Checks `ADDRESS:HOST_PORT:CONTAINER_PORT/PROTOCOL`, of which the container's port alone is needed.
pub(super) fn check_port(port: &Node) -> Found<()> {
    let text = match &port.value {
        Yaml::Text(text) => text.clone(),
        Yaml::Int(number) => number.to_string(),
        Yaml::Map(_) => return Ok(()),
        _ => return wrong(port.span, format!("a port is a string, a number or a mapping, not {}", port.kind())),
    };
    let (ports, protocol) = text.split_once('/').unwrap_or((&text, "tcp"));
    if !["tcp", "udp", "sctp"].contains(&protocol.to_ascii_lowercase().as_str()) {
        return wrong(port.span, format!("the port `{text}` has no known protocol"));
    }
    let mut parts = ports.rsplit(':');
    let (container, host) = (parts.next().unwrap_or(""), parts.next().unwrap_or(""));
    let Some(n_container) = n_ports(container) else {
        return wrong(port.span, format!("the port `{text}` names no port of the container"));
    };
    match n_ports(host) {
        None if !host.is_empty() => wrong(port.span, format!("`{host}` is no port")),
        Some(n_host) if n_container > 1 && n_host != n_container => {
            wrong(port.span, format!("the port `{text}` has ranges of different lengths"))
        }
        _ => Ok(()),
    }
}

/// Returns how many ports `N` or `N-M` are.
fn n_ports(text: &str) -> Option<u32> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last): (u16, u16) = (first.parse().ok()?, last.parse().ok()?);
    Some(u32::from(last.checked_sub(first)?) + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostic::{SourceMap, Span};

    fn node(text: &str) -> Node {
        Node::new(Yaml::Text(text.to_owned()), Span::new(SourceMap::default().add("", ""), 0, 0))
    }

    #[test]
    fn broken_ports_are_refused() {
        for good in ["80", "8080:80", ":80", "127.0.0.1:8080:80/udp", "[::1]:1:2", "1-3:1-3", "1-3:80"] {
            assert!(check_port(&node(good)).is_ok(), "{good}");
        }
        for bad in ["", "80:", "x", "x:80", "80/xyz", "3-1", "1-2:1-3", "65536"] {
            assert!(check_port(&node(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn broken_volumes_are_refused() {
        for good in ["/data", "a:/b:ro", "c:/x", ":"] {
            assert!(check_volume(&node(good)).is_ok(), "{good}");
        }
        for bad in ["", ":/data", "a::b", "a:/b:"] {
            assert!(check_volume(&node(bad)).is_err(), "{bad}");
        }
    }
}
