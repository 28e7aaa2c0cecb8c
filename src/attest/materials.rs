//! What a target's result is made of, as its graph says it: inputs by digest, secrets by name.

use std::collections::{BTreeMap, BTreeSet};

use super::purl::{self, Purl};
use crate::digest::Digest;
use crate::graph::{Definition, MountKind, NetworkMode, Op, SourceOp, Vertex, VertexId};
use crate::platform::Platform;
use crate::reference::Reference;
use crate::remote::{HttpUrl, redacted};

/// Something that was read, as it may be told.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Dependency {
    /// A purl of an image, or a URL without user, password and query.
    pub uri: String,
    /// Algorithm and hexadecimal digits.
    pub digest: (String, String),
}

/// What is found in a graph.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Materials {
    /// Images first, then repositories, then files, each in their order.
    pub dependencies: Vec<Dependency>,
    /// Local directories, by the names that they have in the build: `context`.
    pub locals: BTreeSet<String>,
    /// Names of the secrets that steps use, with whether they go on without.
    pub secrets: BTreeMap<String, bool>,
    /// The same for agents.
    pub agents: BTreeMap<String, bool>,
    /// A process could reach the network.
    pub has_network: bool,
}

/// What is known of sources besides the graph.
pub struct Known<'a> {
    /// What an image's name stood for in its registry: the digest of the index, by name and the platform's manifest.
    pub index_of: &'a dyn Fn(&Reference, &Digest) -> Option<Digest>,
    /// What a source on the network was when it was read: a commit, or `algorithm:hex`.
    pub identity_of: &'a dyn Fn(&SourceOp) -> Option<String>,
}

/// Returns what `root` is made of.
pub fn collect(definition: &Definition, root: VertexId, known: &Known<'_>) -> Materials {
    let mut materials = Materials::default();
    let (mut images, mut repositories, mut files) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    let mut pending = vec![root];
    let mut seen = BTreeSet::from([root]);
    while let Some(id) = pending.pop() {
        let vertex = definition.vertex(id);
        pending.extend(vertex.inputs.iter().copied().filter(|input| seen.insert(*input)));
        match &vertex.op {
            Op::Source(SourceOp::Image { manifest, .. }) => _ = images.insert(image(vertex, manifest, known)),
            Op::Source(source) => {
                let identity = (known.identity_of)(source);
                match (source, identity) {
                    (SourceOp::Local(_), None) => _ = materials.locals.insert(vertex.metadata.source_name.clone()),
                    (SourceOp::Http(_), Some(identity)) => files.extend(remote(source, &identity)),
                    (_, Some(identity)) => repositories.extend(remote(source, &identity)),
                    (_, None) => {}
                }
            }
            Op::Exec(exec) => {
                materials.has_network |= exec.network != NetworkMode::None;
                for secret in &exec.secret_env {
                    *materials.secrets.entry(secret.id.clone()).or_insert(true) &= secret.is_optional;
                }
                for mount in &exec.mounts {
                    let (map, file) = match &mount.kind {
                        MountKind::Secret(file) => (&mut materials.secrets, file),
                        MountKind::Ssh(file) => (&mut materials.agents, file),
                        _ => continue,
                    };
                    *map.entry(file.id.clone()).or_insert(true) &= file.is_optional;
                }
            }
            Op::File(_) | Op::Merge(_) | Op::Diff(_) => {}
        }
    }
    materials.dependencies = images.into_iter().chain(repositories).chain(files).collect();
    materials
}

fn image(vertex: &Vertex, manifest: &Digest, known: &Known<'_>) -> Dependency {
    let name = &vertex.metadata.source_name;
    let platform: Option<&Platform> = vertex.metadata.platform.as_ref();
    let reference = name.parse::<Reference>().ok().filter(|_| !name.contains("://"));
    let index = reference
        .as_ref()
        .and_then(|reference| (known.index_of)(&Reference { digest: None, ..reference.clone() }, manifest));
    let digest = index.unwrap_or(*manifest);
    let uri = match reference {
        Some(reference) => purl::image(&Reference { digest: Some(digest), ..reference }, platform),
        None => {
            // An image layout: its directory is nobody's business, its name is all that is told.
            let (digest, platform) = (digest.to_string(), platform.map(Platform::to_string).unwrap_or_default());
            let qualifiers = [("digest", digest.as_str()), ("platform", platform.as_str())];
            Purl { kind: "oci", name: layout_name(name), qualifiers: &qualifiers, ..Purl::default() }.text()
        }
    };
    Dependency { uri, digest: ("sha256".to_owned(), digest.hex()) }
}

/// Returns the last part of a layout's path, without its selector.
pub fn layout_name(identifier: &str) -> &str {
    let path = identifier.split_once("://").map_or(identifier, |(_, path)| path);
    let path = path.split_once('@').map_or(path, |(path, _)| path).trim_end_matches('/');
    let last = path.rsplit('/').next().unwrap_or(path);
    if last.is_empty() { "layout" } else { last }
}

/// Returns what was read of the network; `identity` is a commit or `algorithm:hex`.
fn remote(source: &SourceOp, identity: &str) -> Option<Dependency> {
    let uri = match source {
        SourceOp::Git(git) if git.reference.is_empty() => redacted(&git.remote),
        SourceOp::Git(git) => format!("{}#{}", redacted(&git.remote), git.reference),
        SourceOp::Http(http) => HttpUrl(http.url.clone()).to_string(),
        // A context that was brought in before; its path is its URL as it may be shown.
        SourceOp::Local(local) => local.path.clone(),
        SourceOp::Image { .. } => return None,
    };
    Some(Dependency { uri, digest: digest_set(identity) })
}

/// Returns algorithm and digits of a commit or of `algorithm:hex`.
pub fn digest_set(identity: &str) -> (String, String) {
    match identity.split_once(':') {
        Some((algorithm, hex)) => (algorithm.to_owned(), hex.to_owned()),
        None if identity.len() == 64 => ("sha256".to_owned(), identity.to_owned()),
        None => ("sha1".to_owned(), identity.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{ExecOp, GitSource, HttpSource, LocalSource, Mount, SecretFile, SecurityMode, VertexMetadata};

    #[test]
    fn urls_are_told_without_secrets_and_layouts_without_directories() {
        let git =
            GitSource { remote: "https://me:pw@h.test/r.git".into(), reference: "v1".into(), ..GitSource::default() };
        let told = remote(&SourceOp::Git(git), &"a".repeat(40)).expect("told");
        assert_eq!((told.uri.as_str(), told.digest.0.as_str()), ("https://***@h.test/r.git#v1", "sha1"));
        let url = "https://u@h.test/f.tar?sig=secret".to_owned();
        let http = HttpSource { url, filename: "f".into(), checksum: None, mode: None };
        let told = remote(&SourceOp::Http(http), "sha256:00").expect("told");
        assert_eq!((told.uri.as_str(), told.digest.1.as_str()), ("https://***@h.test/f.tar", "00"));
        assert_eq!(layout_name("oci-layout:///home/someone/base@sha256:00"), "base");
    }

    #[test]
    fn a_graph_tells_its_directories_secrets_and_network() {
        let mut definition = Definition::default();
        let local = Op::Source(SourceOp::Local(LocalSource { path: "/home/someone/src".into(), ignore: Vec::new() }));
        let named = VertexMetadata { source_name: "context".into(), ..VertexMetadata::default() };
        let local = definition.add(local, Vec::new(), named);
        let secret = SecretFile { id: "token".into(), uid: 0, gid: 0, mode: 0o400, is_optional: false };
        let mount = Mount { target: "/run/secrets/token".into(), is_read_only: true, kind: MountKind::Secret(secret) };
        let exec = ExecOp {
            root: None,
            args: vec!["true".into()],
            env: Vec::new(),
            cwd: "/".into(),
            user: String::new(),
            platform: "linux/amd64".parse().expect("known"),
            mounts: vec![mount],
            network: NetworkMode::Default,
            hostname: String::new(),
            security: SecurityMode::Sandbox,
            secret_env: Vec::new(),
            extra_hosts: Vec::new(),
            proxy: None,
            ulimits: Vec::new(),
            valid_exit_codes: Vec::new(),
        };
        let root = definition.add(Op::Exec(Box::new(exec)), vec![local], VertexMetadata::default());
        let known = Known { index_of: &|_, _| None, identity_of: &|_| None };
        let expected = Materials {
            locals: BTreeSet::from(["context".into()]),
            secrets: BTreeMap::from([("token".into(), false)]),
            has_network: true,
            ..Materials::default()
        };
        assert_eq!(collect(&definition, root, &known), expected);
        let known = Known { index_of: &|_, _| None, identity_of: &|_| Some("sha256:00".into()) };
        assert_eq!(collect(&definition, root, &known).locals, BTreeSet::new());
    }
}
