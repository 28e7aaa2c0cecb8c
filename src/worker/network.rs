//! Which network a step has.
//!
//! | `RUN --network`, `network` | [`NetworkChoice`] | the step is in |
//! |---|---|---|
//! | `none` | any | a new namespace with loopback alone |
//! | `host` (a right) | any | the host's namespace |
//! | `default` | `auto` | a pooled namespace with a user-mode network; the host's where none can be had |
//! | | `pasta`, `slirp4netns` | a pooled namespace with that user-mode network, or the step fails |
//! | | `host`, `none` | as above |
//!
//! `auto` tries slirp4netns, then a pasta that can be relied on.
//!
//! A pooled namespace is one that [`NetworkNamespace`] wired for an earlier step that is over; so there are never more of
//! them than steps that run at once, none where no step runs, and for most steps nothing is started. In a namespace every
//! machine looks the same: 10.0.2.100/24 at `tap0`, the way out at 10.0.2.2, a resolver at 10.0.2.3 where the host's own
//! is on its loopback. What listens on the host's loopback is out of reach, and so are its abstract Unix sockets.

use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::str::FromStr;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use rustix::fs::{Access, AtFlags, CWD, accessat};

use super::sandbox::{INTERFACE, INTERFACES, Launcher, Network, NetworkNamespace, Ready, SandboxError, Uplink};
use crate::graph::NetworkMode;

/// What `default` means (`BAKE_NETWORK`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NetworkChoice {
    /// A user-mode network where one is installed and starts, else the host's network.
    #[default]
    Auto,
    /// The host's network.
    Host,
    /// Loopback alone.
    None,
    /// A user-mode network by this program.
    Only(UserNetwork),
}

/// A program that leads the traffic of a network namespace through sockets of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UserNetwork {
    /// Of passt. Has IPv6 where the host has.
    Pasta,
    /// Of rootless containers. IPv4 alone.
    Slirp4netns,
}

impl UserNetwork {
    /// In the order in which they are tried.
    const ALL: [UserNetwork; 2] = [UserNetwork::Slirp4netns, UserNetwork::Pasta];

    fn program(self) -> &'static str {
        match self {
            UserNetwork::Pasta => "pasta",
            UserNetwork::Slirp4netns => "slirp4netns",
        }
    }
}

impl FromStr for NetworkChoice {
    type Err = String;

    /// Reads the value of `BAKE_NETWORK`.
    fn from_str(text: &str) -> Result<NetworkChoice, String> {
        match text {
            "auto" => Ok(NetworkChoice::Auto),
            "host" => Ok(NetworkChoice::Host),
            "none" => Ok(NetworkChoice::None),
            _ => match UserNetwork::ALL.into_iter().find(|network| network.program() == text) {
                Some(network) => Ok(NetworkChoice::Only(network)),
                None => Err("it is auto, host, none, pasta or slirp4netns".to_owned()),
            },
        }
    }
}

/// Addresses in a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Subnet([u8; 3]);

impl Subnet {
    /// Returns one that the host's own address is not in: it could not be reached from there.
    fn beside(host: Option<IpAddr>) -> Subnet {
        match host {
            Some(IpAddr::V4(address)) if address.octets().starts_with(&[10, 0, 2]) => Subnet([10, 0, 3]),
            _ => Subnet([10, 0, 2]),
        }
    }

    fn address(self, last: u8) -> Ipv4Addr {
        let [a, b, c] = self.0;
        Ipv4Addr::new(a, b, c, last)
    }

    fn gateway(self) -> Ipv4Addr {
        self.address(2)
    }

    fn resolver(self) -> Ipv4Addr {
        self.address(3)
    }

    fn own(self) -> Ipv4Addr {
        self.address(100)
    }
}

/// Where steps get their networks from.
pub struct Networks<'a> {
    choice: NetworkChoice,
    launcher: &'a Launcher,
    /// Where programs are looked for.
    search: Vec<PathBuf>,
    /// The host's `/etc/resolv.conf`.
    resolv_conf: &'a str,
    /// Tells the user something that is no error.
    note: &'a (dyn Fn(&str) + Sync),
    host: OnceLock<HostNetwork>,
    /// The mutex protects the two lists; nothing is started or ended while it is held.
    pool: Mutex<Pool>,
}

/// What is found out about the host when it is first needed.
struct HostNetwork {
    /// Its address that others reach it by; `None` where it has but loopback.
    address: Option<IpAddr>,
    installed: Vec<(UserNetwork, PathBuf)>,
    /// Why no user-mode network can have an interface here.
    no_interfaces: Option<String>,
}

#[derive(Default)]
struct Pool {
    idle: Vec<NetworkNamespace>,
    /// Those that did not start, with the reason. They are not tried again.
    failed: Vec<(UserNetwork, String)>,
    is_noted: bool,
}

/// The network of a running step; goes back to the pool.
pub struct Leased<'n> {
    networks: &'n Networks<'n>,
    kind: LeasedKind,
}

enum LeasedKind {
    Host,
    Loopback,
    Namespace {
        /// `None` once it is given back.
        namespace: Option<NetworkNamespace>,
        is_reusable: bool,
    },
}

impl<'a> Networks<'a> {
    /// Finds nothing out and starts nothing yet. `note` is told once why steps are on the host's network.
    pub fn new(
        choice: NetworkChoice,
        launcher: &'a Launcher,
        search: Vec<PathBuf>,
        resolv_conf: &'a str,
        note: &'a (dyn Fn(&str) + Sync),
    ) -> Networks<'a> {
        Networks { choice, launcher, search, resolv_conf, note, host: OnceLock::new(), pool: Mutex::default() }
    }

    /// Returns a network for a step. One that a privileged step has had is not used again: it may have changed it.
    ///
    /// # Errors
    /// The user-mode network that was chosen does not start.
    pub fn lease(&self, mode: NetworkMode, is_privileged: bool) -> Result<Leased<'_>, SandboxError> {
        let kind = match (mode, self.choice) {
            (NetworkMode::Host, _) | (NetworkMode::Default, NetworkChoice::Host) => LeasedKind::Host,
            (NetworkMode::None, _) | (NetworkMode::Default, NetworkChoice::None) => LeasedKind::Loopback,
            (NetworkMode::Default, choice) => match self.namespace(choice)? {
                Some(namespace) => LeasedKind::Namespace { namespace: Some(namespace), is_reusable: !is_privileged },
                None => LeasedKind::Host,
            },
        };
        Ok(Leased { networks: self, kind })
    }

    /// Returns a namespace with a way out; `None` where none can be had and need not.
    fn namespace(&self, choice: NetworkChoice) -> Result<Option<NetworkNamespace>, SandboxError> {
        while let Some(namespace) = { self.pool().idle.pop() } {
            if namespace.is_alive() {
                return Ok(Some(namespace));
            }
        }
        let is_wanted = |network: UserNetwork, program: &Path| match choice {
            NetworkChoice::Only(only) => network == only,
            _ => network != UserNetwork::Pasta || is_sound(program),
        };
        let host = self.host.get_or_init(|| HostNetwork::find(&self.search));
        let installed = host.installed.iter().filter(|_| host.no_interfaces.is_none());
        for (network, program) in installed {
            if self.pool().failed.iter().any(|(failed, _)| failed == network) || !is_wanted(*network, program) {
                continue;
            }
            let has_resolver = needs_resolver(self.resolv_conf);
            let uplink = uplink(*network, program, Subnet::beside(host.address), has_resolver);
            match NetworkNamespace::start(self.launcher, &uplink) {
                Ok(namespace) => return Ok(Some(namespace)),
                Err(error) => self.pool().failed.push((*network, error.to_string())),
            }
        }
        if let NetworkChoice::Only(network) = choice {
            let reason = self.why_none(host, network.program());
            return Err(SandboxError::Setup { what: "the step's network (BAKE_NETWORK)".to_owned(), reason });
        }
        if !std::mem::replace(&mut self.pool().is_noted, true) {
            let reason = self.why_none(host, "slirp4netns and no pasta of 2024 or later");
            (self.note)(&format!("RUN steps are on the host's network: {reason}"));
        }
        Ok(None)
    }

    /// Returns why none of the `wanted` programs made a network.
    fn why_none(&self, host: &HostNetwork, wanted: &str) -> String {
        let failed = self.pool().failed.first().map(|(_, reason)| reason.clone());
        let no_interfaces = host.no_interfaces.clone().filter(|_| !host.installed.is_empty());
        no_interfaces.or(failed).unwrap_or_else(|| format!("there is no {wanted} on PATH"))
    }

    fn pool(&self) -> MutexGuard<'_, Pool> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Leased<'_> {
    /// Returns the namespace that the sandbox is to enter.
    pub fn network(&self) -> Network<'_> {
        match &self.kind {
            LeasedKind::Namespace { namespace: Some(namespace), .. } => Network::Namespace(namespace.as_fd()),
            LeasedKind::Namespace { namespace: None, .. } | LeasedKind::Loopback => Network::Loopback,
            LeasedKind::Host => Network::Host,
        }
    }

    /// Returns what `/etc/resolv.conf` says in it.
    pub fn resolv_conf(&self) -> String {
        match self.subnet() {
            Some(subnet) => with_resolver(self.networks.resolv_conf, subnet.resolver()),
            None => self.networks.resolv_conf.to_owned(),
        }
    }

    /// Returns the address that the machine that builds has there. Loopback is its own namespace's.
    pub fn host_address(&self) -> IpAddr {
        let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
        match self.subnet() {
            Some(subnet) => self.networks.host.get().and_then(|host| host.address).unwrap_or(subnet.gateway().into()),
            None => loopback,
        }
    }

    fn subnet(&self) -> Option<Subnet> {
        let is_namespace = matches!(self.kind, LeasedKind::Namespace { .. });
        is_namespace.then(|| Subnet::beside(self.networks.host.get().and_then(|host| host.address)))
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.idle.iter_mut().for_each(NetworkNamespace::release);
    }
}

impl Drop for Leased<'_> {
    fn drop(&mut self) {
        if let LeasedKind::Namespace { namespace, is_reusable: true } = &mut self.kind {
            self.networks.pool().idle.extend(namespace.take());
        }
    }
}

impl HostNetwork {
    fn find(search: &[PathBuf]) -> HostNetwork {
        let is_program = |path: &PathBuf| accessat(CWD, path, Access::EXEC_OK, AtFlags::empty()).is_ok();
        let find = |network: UserNetwork| {
            let path = search.iter().map(|directory| directory.join(network.program())).find(is_program)?;
            Some((network, path))
        };
        let interfaces = accessat(CWD, INTERFACES, Access::READ_OK | Access::WRITE_OK, AtFlags::EACCESS);
        HostNetwork {
            address: outward_address(),
            installed: UserNetwork::ALL.into_iter().filter_map(find).collect(),
            no_interfaces: interfaces.err().map(|error| format!("{INTERFACES}: {}", std::io::Error::from(error))),
        }
    }
}

/// Says whether this pasta can be relied on: it is of 2024 or later. That of early 2023, which is Debian 12's and does not
/// know its version, does not end connections that the step closes first, and may repeat what was sent on them.
fn is_sound(program: &Path) -> bool {
    let Ok(output) = Command::new(program).arg("--version").stdin(Stdio::null()).output() else { return false };
    year(&String::from_utf8_lossy(&output.stdout)).is_some_and(|year| year >= 2024)
}

/// Returns the year of a version: `pasta 2024_12_11.09478d5`, `pasta 0.0~git20250503.587980c-2`.
fn year(version: &str) -> Option<u32> {
    let line = version.lines().next()?;
    let starts = line.match_indices("20").filter_map(|(start, _)| line.get(start..start + 4));
    starts.filter_map(|digits| digits.parse().ok()).next()
}

/// Returns the address that this machine speaks to others from. Sends nothing.
fn outward_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    // Any address beyond the own networks; this one is nobody's.
    socket.connect((Ipv4Addr::new(198, 51, 100, 1), 9)).ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_loopback() && !address.is_unspecified()).then_some(address)
}

/// Returns how a user-mode network is started so that it leads outward alone: no port of the namespace is led in or to the
/// host's loopback.
fn uplink(network: UserNetwork, program: &Path, subnet: Subnet, has_resolver: bool) -> Uplink {
    const MTU: &str = "65520";
    let name = network.program().to_owned();
    let text = |address: Ipv4Addr| address.to_string();
    let (args, ready) = match network {
        UserNetwork::Pasta => {
            // Root of a namespace with all ids would be taken for the host's and become nobody.
            let fixed = "--quiet --runas 0 --config-net --no-map-gw -t none -u none -T none -U none -n 24 -m";
            let mut args: Vec<String> = fixed.split(' ').map(str::to_owned).collect();
            args.extend([
                MTU.to_owned(),
                "-I".to_owned(),
                INTERFACE.to_owned(),
                "-a".to_owned(),
                text(subnet.own()),
                "-g".to_owned(),
                text(subnet.gateway()),
            ]);
            if has_resolver {
                args.extend(["--dns-forward".to_owned(), text(subnet.resolver())]);
            }
            args.extend(["--netns".to_owned(), Uplink::NAMESPACE.to_owned()]);
            (args, Ready::Background)
        }
        UserNetwork::Slirp4netns => {
            let cidr = format!("--cidr={}/24", text(subnet.address(0)));
            let ready = format!("--ready-fd={}", Uplink::READY);
            let fixed = ["--configure", "--disable-host-loopback", "--enable-sandbox", "--enable-seccomp"];
            let mut args: Vec<String> = fixed.map(str::to_owned).to_vec();
            args.extend([format!("--mtu={MTU}"), cidr, ready, "--netns-type=path".to_owned()]);
            args.extend([Uplink::NAMESPACE.to_owned(), INTERFACE.to_owned()]);
            (args, Ready::Descriptor)
        }
    };
    let args = std::iter::once(name).chain(args).collect();
    Uplink { program: program.to_string_lossy().into_owned(), args, ready }
}

/// Returns the name server of a line of `resolv.conf`.
fn name_server(line: &str) -> Option<&str> {
    let mut words = line.split_whitespace();
    words.next().filter(|word| *word == "nameserver").and_then(|_| words.next())
}

/// Says whether only the host reaches a name server: it is on its loopback, or its address is one of a link (with the
/// link's name behind a `%`).
fn is_out_of_reach(server: &str) -> bool {
    server.parse::<IpAddr>().map_or(true, |address| address.is_loopback())
}

/// Says whether names are to be asked for through the user-mode network: the host's first name server is out of reach.
fn needs_resolver(resolv_conf: &str) -> bool {
    resolv_conf.lines().find_map(name_server).is_some_and(is_out_of_reach)
}

/// Returns a `resolv.conf` for a namespace. Where `resolver` is needed it is the only one: it leads to the host's first
/// name server, and pasta then mistakes that server's own answers for those of the resolver.
fn with_resolver(resolv_conf: &str, resolver: Ipv4Addr) -> String {
    let is_needed = needs_resolver(resolv_conf);
    let kept = |line: &&str| name_server(line).is_none_or(|server| !is_needed && !is_out_of_reach(server));
    let own = if is_needed { format!("nameserver {resolver}\n") } else { String::new() };
    resolv_conf.lines().filter(kept).fold(own, |text, line| text + line + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_servers_that_only_the_host_reaches_are_behind_one() {
        let resolver = Subnet([10, 0, 2]).resolver();
        let cases = [
            ("nameserver 127.0.0.53\nnameserver 192.0.2.7\nsearch a.test\n", "nameserver 10.0.2.3\nsearch a.test\n"),
            ("nameserver fe80::1%eth0\n", "nameserver 10.0.2.3\n"),
            ("# a\nnameserver 192.0.2.7\nnameserver ::1", "# a\nnameserver 192.0.2.7\n"),
            ("", ""),
        ];
        for (host, namespace) in cases {
            assert_eq!(with_resolver(host, resolver), namespace, "{host}");
        }
    }

    #[test]
    fn the_namespaces_addresses_are_not_the_hosts() {
        let host = |text: &str| text.parse().ok();
        assert_eq!(Subnet::beside(None).own(), Ipv4Addr::new(10, 0, 2, 100));
        assert_eq!(Subnet::beside(host("192.0.2.1")).gateway(), Ipv4Addr::new(10, 0, 2, 2));
        assert_eq!(Subnet::beside(host("10.0.2.15")).resolver(), Ipv4Addr::new(10, 0, 3, 3));
    }

    #[test]
    fn versions_have_a_year() {
        assert_eq!(year("pasta 2024_12_11.09478d5\nCopyright 2020"), Some(2024));
        assert_eq!(year("pasta 0.0~git20250503.587980c-2"), Some(2025));
        assert_eq!(year("pasta unknown version\nCopyright 2020"), None);
    }

    #[test]
    fn a_choice_is_one_of_five() {
        assert_eq!("pasta".parse(), Ok(NetworkChoice::Only(UserNetwork::Pasta)));
        assert_eq!("auto".parse(), Ok(NetworkChoice::default()));
        assert!("bridge".parse::<NetworkChoice>().is_err());
    }
}
