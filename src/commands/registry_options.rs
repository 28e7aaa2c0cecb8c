//! How registries are talked to: what the environment says, and the files that people keep for it.

use std::path::PathBuf;

use super::Host;
use crate::registry::{Options, Proxies};

/// Directories about hosts that all users of this machine share, the most particular first.
const CERTIFICATE_DIRECTORIES: [&str; 3] =
    ["/etc/containers/certs.d", "/etc/containerd/certs.d", "/etc/docker/certs.d"];

/// Returns how to talk to registries: with the configuration of Docker, of containerd and of the containers tools.
pub fn client_options(host: &Host) -> Options {
    let (registries_conf, registries_conf_directories) = registries_conf(host);
    Options {
        docker_config: host.var("DOCKER_CONFIG").map(PathBuf::from).or_else(|| Some(home(host)?.join(".docker"))),
        auth_files: auth_files(host),
        registries_conf,
        registries_conf_directories,
        certificate_directories: certificate_directories(host),
        proxies: proxies(host),
        path: host.var("PATH").map(Into::into),
        cancelled: host.cancel.flag(),
        ..Options::default()
    }
}

/// Returns where the containers tools keep logins (containers-auth.json(5)).
fn auth_files(host: &Host) -> Vec<PathBuf> {
    if let Some(path) = host.var("REGISTRY_AUTH_FILE") {
        return vec![host.directory.join(path)];
    }
    let directories = [host.var("XDG_RUNTIME_DIR").map(PathBuf::from), config_home(host)];
    directories.into_iter().flatten().map(|directory| directory.join("containers/auth.json")).collect()
}

/// Returns where `registries.conf` may be, and directories with more of it (containers-registries.conf(5)).
fn registries_conf(host: &Host) -> (Vec<PathBuf>, Vec<PathBuf>) {
    if let Some(path) = host.var("CONTAINERS_REGISTRIES_CONF") {
        return (vec![host.directory.join(path)], Vec::new());
    }
    let (own, shared) = (config_home(host).map(|home| home.join("containers")), PathBuf::from("/etc/containers"));
    let files = own.iter().chain([&shared]).map(|directory| directory.join("registries.conf")).collect();
    let directories = [&shared].into_iter().chain(&own).map(|directory| directory.join("registries.conf.d")).collect();
    (files, directories)
}

fn certificate_directories(host: &Host) -> Vec<PathBuf> {
    if let Some(paths) = host.var("BAKE_CERTS_D") {
        return paths.split(':').filter(|path| !path.is_empty()).map(|path| host.directory.join(path)).collect();
    }
    let own = config_home(host).into_iter().flat_map(|home| [home.join("containers"), home.join("docker")]);
    own.map(|directory| directory.join("certs.d")).chain(CERTIFICATE_DIRECTORIES.map(PathBuf::from)).collect()
}

/// Returns what the environment says of proxies, in upper case before lower case, as Go's tools read it.
fn proxies(host: &Host) -> Proxies {
    let var = |name: &str| host.var(name).or_else(|| host.var(&name.to_ascii_lowercase())).map(str::to_owned);
    let all = || var("ALL_PROXY");
    // In a CGI program, whoever sends the request sets this one.
    let http = if host.var("REQUEST_METHOD").is_some() { None } else { var("HTTP_PROXY") };
    Proxies {
        http: http.or_else(all),
        https: var("HTTPS_PROXY").or_else(all),
        exceptions: var("NO_PROXY").unwrap_or_default(),
    }
}

fn config_home(host: &Host) -> Option<PathBuf> {
    host.var("XDG_CONFIG_HOME").map(PathBuf::from).or_else(|| Some(home(host)?.join(".config")))
}

fn home(host: &Host) -> Option<PathBuf> {
    host.var("HOME").map(PathBuf::from)
}
