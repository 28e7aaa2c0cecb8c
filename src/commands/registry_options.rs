//! How registries are talked to: what the environment says, and the files that people keep for it.

use std::path::PathBuf;

use super::Host;
use crate::registry::Options;

/// Returns how to talk to registries: with the configuration of Docker and of the containers tools.
pub fn client_options(host: &Host) -> Options {
    Options {
        docker_config: host.var("DOCKER_CONFIG").map(PathBuf::from).or_else(|| Some(home(host)?.join(".docker"))),
        auth_files: auth_files(host),
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

fn config_home(host: &Host) -> Option<PathBuf> {
    host.var("XDG_CONFIG_HOME").map(PathBuf::from).or_else(|| Some(home(host)?.join(".config")))
}

fn home(host: &Host) -> Option<PathBuf> {
    host.var("HOME").map(PathBuf::from)
}
