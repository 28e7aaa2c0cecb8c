//! What targets want.

use std::collections::BTreeSet;

use super::Line;
use super::granted::{Granted, device_name};
use crate::bakefile::Target;
use crate::diagnostic::{SourceMap, Span};
use crate::lang::text::clean_path;
use crate::remote::{Home, is_remote};

/// What all targets want together. Paths are as the bakefile has them.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    pub(super) read: BTreeSet<String>,
    pub(super) write: BTreeSet<String>,
    entitlements: BTreeSet<String>,
    uses_agent: bool,
    deletes: bool,
}

impl Wanted {
    /// Adds what `target` wants. What the command line says itself is granted with that.
    pub(super) fn add(&mut self, target: &Target, home: Option<&Home>, granted: &mut Granted, sources: &SourceMap) {
        let is_flag = |span: Span| sources.name(span.file).starts_with("--");
        self.add_inputs(target, home);
        for output in &target.output {
            let dest = output.fields.get("dest").filter(|dest| !dest.is_empty() && *dest != "-");
            if is_flag(output.span) {
                granted.write.extend(dest.cloned());
            }
            self.write.extend(dest.cloned());
            let mode = output.fields.get("mode").map(|mode| mode.trim().to_lowercase());
            self.deletes |= output.kind == "local" && mode.as_deref() == Some("delete");
        }
        let caches = target.cache_from.iter().map(|cache| (cache, "src", true));
        for (cache, key, reads) in caches.chain(target.cache_to.iter().map(|cache| (cache, "dest", false))) {
            let Some(path) = cache.fields.get(key).filter(|_| cache.kind == "local") else { continue };
            let (wanted, grants) =
                if reads { (&mut self.read, &mut granted.read) } else { (&mut self.write, &mut granted.write) };
            wanted.insert(path.clone());
            grants.extend(is_flag(cache.span).then(|| path.clone()));
        }
        self.read.extend(target.secret.iter().filter_map(|secret| secret.src.clone()).filter(|src| !src.is_empty()));
        for ssh in &target.ssh {
            self.uses_agent |= ssh.paths.is_empty();
            self.read.extend(ssh.paths.iter().cloned());
            if is_flag(ssh.span) {
                granted.read.extend(ssh.paths.iter().cloned());
            }
        }
        for entitlement in &target.entitlements {
            if is_flag(entitlement.span) {
                granted.network_host |= entitlement.value == "network.host";
                granted.security_insecure |= entitlement.value == "security.insecure";
            }
            self.entitlements.insert(entitlement.value.clone());
        }
    }

    /// Adds contexts and Dockerfile.
    fn add_inputs(&mut self, target: &Target, home: Option<&Home>) {
        let context = target.context.as_ref().map_or(".", |context| context.value.as_str());
        let is_local = |text: &str| !is_remote(text) && !text.contains("://") && !text.starts_with("target:");
        let dockerfile = target.dockerfile.as_ref().map_or("Dockerfile", |dockerfile| dockerfile.value.as_str());
        let beside_command = dockerfile.strip_prefix("cwd://");
        if is_local(context) {
            self.read.insert(clean_path(context));
        }
        match beside_command {
            Some(path) => _ = self.read.insert(clean_path(path)),
            None if is_remote(dockerfile) => {}
            None if dockerfile.starts_with('/') => _ = self.read.insert(clean_path(dockerfile)),
            // As the plan has it: `..` in names that are not there must not hide where it leads.
            None if is_local(context) => _ = self.read.insert(clean_path(&format!("{context}/{dockerfile}"))),
            None => {}
        }
        for named in target.contexts.values() {
            let meant = home.map_or_else(|| named.value.clone(), |home| home.context(&named.value));
            let path = meant.strip_prefix("cwd://").unwrap_or(&meant);
            self.read.extend(is_local(path).then(|| clean_path(path)));
        }
    }

    /// Returns what is wanted but not granted, paths and the agent apart.
    pub(super) fn rights(&self, granted: &Granted) -> Vec<Line> {
        let line = |what: &str, flag: &str| (what.to_owned(), format!("--allow={flag}"));
        let mut lines = Vec::new();
        for entitlement in &self.entitlements {
            let (key, device) = entitlement.split_once('=').unwrap_or((entitlement, ""));
            match key {
                "network.host" if !granted.network_host => lines.push(line("use the host's network", key)),
                "security.insecure" if !granted.security_insecure => {
                    lines.push(line("run privileged steps, which can change this machine", key));
                }
                "device" if device.is_empty() && !granted.all_devices => lines.push(line("use devices", key)),
                "device" if !device.is_empty() && !granted.has_device(device) => {
                    let device = device_name(device);
                    lines.push(line(&format!("use the device {device}"), &format!("device={device}")));
                }
                _ => {}
            }
        }
        if self.deletes && !granted.local_delete {
            lines.push(line("delete files in local output directories", "buildx.local.delete"));
        }
        lines
    }

    /// Returns the user's agent, if it is wanted but not granted.
    pub(super) fn ssh_line(&self, granted: &Granted) -> Option<Line> {
        (self.uses_agent && !granted.ssh).then(|| ("use your SSH agent".to_owned(), "--allow=ssh".to_owned()))
    }
}
