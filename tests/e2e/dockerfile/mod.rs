//! Every instruction of the Dockerfile language, built with the real binary. What is expected is what BuildKit builds from the
//! same files: names, modes, owners, link targets and content, and the image's config.

mod arguments;
mod attributes;
mod caching;
mod config;
mod contexts;
mod copy;
mod corners;
mod heredoc;
mod links;
mod mounts;
mod named;
mod onbuild;
mod platforms;
mod run;
mod stages;

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::Path;
use std::sync::OnceLock;

use bake::oci::untar::TarReader;
use expect_test::Expect;
use serde_json::Value;
use tar::EntryType;

use crate::support::{Project, Ran, Registry, registry};

/// Files of a small context: names and texts.
const TREE: [(&str, &str); 7] = [
    ("d/a", "a"),
    ("d/sub/b", "b"),
    ("d/sub/c.md", "c"),
    ("e/a", "other a"),
    ("e/only", "only"),
    ("one.txt", "one"),
    ("two.txt", "two"),
];

/// A build context with a bakefile of one target, `default`, whose Dockerfile may say `FROM busybox`.
pub struct Case {
    pub project: Project,
    attributes: String,
    contexts: String,
}

/// What a build made.
pub struct Built {
    files: BTreeMap<String, String>,
    pub config: Value,
}

impl Case {
    /// A case with an empty context; `None` where there is no base image.
    pub fn new() -> Option<Case> {
        let registry: &Registry = registry()?;
        Some(Case { project: Project::new(registry), attributes: String::new(), contexts: String::new() })
    }

    /// Adds lines to the target.
    pub fn with(mut self, attributes: &str) -> Case {
        self.attributes.push_str(attributes);
        self.attributes.push('\n');
        self
    }

    /// Adds a named context; in its value `REGISTRY` is the registry's name.
    pub fn context(mut self, name: &str, value: &str) -> Case {
        let value = value.replace("REGISTRY", &self.project.registry);
        self.contexts.push_str(&format!("    \"{name}\" = \"{value}\"\n"));
        self
    }

    /// Writes files of the context: names and texts.
    pub fn files(self, files: &[(&str, &str)]) -> Case {
        files.iter().for_each(|(name, text)| _ = self.project.write(&format!("ctx/{name}"), text));
        self
    }

    /// Makes symbolic links in the context: names and targets.
    pub fn links(self, links: &[(&str, &str)]) -> Case {
        for (name, target) in links {
            std::os::unix::fs::symlink(target, self.project.path().join("ctx").join(name)).expect("linked");
        }
        self
    }

    fn prepare(&self, dockerfile: &[u8]) {
        let registry = &self.project.registry;
        let bakefile = format!(
            "target \"default\" {{\n  context = \"ctx\"\n  \
             contexts = {{\n    busybox = \"docker-image://{registry}/base/busybox:1\"\n{}  }}\n{}}}\n",
            self.contexts, self.attributes
        );
        self.project.write("build.hcl", &bakefile);
        fs::create_dir_all(self.project.path().join("ctx")).expect("created");
        fs::write(self.project.path().join("ctx/Dockerfile"), dockerfile).expect("written");
    }

    /// Builds a Dockerfile for linux/amd64.
    #[track_caller]
    pub fn build(&self, dockerfile: impl AsRef<[u8]>) -> Built {
        self.prepare(dockerfile.as_ref());
        let outputs = ["--output", "type=tar,dest=out.tar", "--output", "type=oci,tar=false,dest=image"];
        self.project.bake(&[&["build", "--platform", "linux/amd64"], &outputs[..]].concat()).succeeds();
        let built = Built {
            files: files(&self.project.path().join("out.tar")),
            config: config(&self.project.path().join("image")),
        };
        fs::remove_dir_all(self.project.path().join("image")).expect("removed");
        built
    }

    /// Builds a Dockerfile that is wrong or has a step that fails.
    #[track_caller]
    pub fn fails(&self, dockerfile: &str, parts: &[&str]) -> Ran {
        let ran = self.run(dockerfile);
        assert!(matches!(ran.code, Some(1 | 3)), "{dockerfile}{:?}: {}", ran.code, ran.stderr);
        for part in parts {
            assert!(ran.stderr.contains(part), "{part} is not in\n{}\n{dockerfile}", ran.stderr);
        }
        ran
    }

    /// Builds a Dockerfile whose build ends with the exit code `code`.
    #[track_caller]
    pub fn fails_with(&self, dockerfile: &str, code: i32) -> Ran {
        self.run(dockerfile).fails(code)
    }

    fn run(&self, dockerfile: &str) -> Ran {
        self.prepare(dockerfile.as_bytes());
        self.project.bake(&["build", "--platform", "linux/amd64"])
    }
}

impl Built {
    /// Compares all that is not in the base image, with the content of files.
    #[track_caller]
    pub fn has(&self, expected: Expect) -> &Built {
        let base = base();
        let is_new = |(name, line): &(&String, &String)| base.get(*name) != Some(*line);
        let lines = self.files.iter().filter(is_new).map(|(name, line)| format!("{name} {line}\n"));
        expected.assert_eq(&lines.collect::<String>());
        self
    }

    /// Compares the image's config, but for the `PATH` of the base.
    #[track_caller]
    pub fn is(&self, expected: Expect) -> &Built {
        let mut config = self.config["config"].clone();
        if let Some(env) = config["Env"].as_array_mut() {
            env.retain(|variable| !variable.as_str().is_some_and(|text| text.starts_with("PATH=/usr/local/sbin:")));
        }
        let lines = config.as_object().expect("an object").iter().map(|(key, value)| format!("{key} {value}\n"));
        expected.assert_eq(&lines.collect::<String>());
        self
    }
}

/// The files of the base image.
fn base() -> &'static BTreeMap<String, String> {
    static BASE: OnceLock<BTreeMap<String, String>> = OnceLock::new();
    BASE.get_or_init(|| {
        let case = Case::new().expect("a test with a base image asks for it");
        case.prepare(b"FROM busybox\n");
        let output = "type=tar,dest=out.tar";
        case.project.bake(&["build", "--platform", "linux/amd64", "--output", output]).succeeds();
        files(&case.project.path().join("out.tar"))
    })
}

/// Returns name → mode, owner, and content or target of all that is in an archive. Names of directories end in `/`.
fn files(archive: &Path) -> BTreeMap<String, String> {
    let mut tar = TarReader::new(fs::File::open(archive).expect("written"));
    let mut files = BTreeMap::new();
    while let Some(entry) = tar.next_entry().expect("an archive") {
        let name = String::from_utf8_lossy(&entry.path).trim_start_matches("./").to_owned();
        let link = String::from_utf8_lossy(&entry.link).into_owned();
        let mut content = Vec::new();
        tar.read_to_end(&mut content).expect("read");
        let end = match entry.kind {
            EntryType::Directory => String::new(),
            EntryType::Symlink => format!(" -> {link}"),
            EntryType::Link => format!(" = {link}"),
            EntryType::Regular if content.len() < 1000 => format!(" {:?}", String::from_utf8_lossy(&content)),
            EntryType::Regular => format!(" {} bytes", content.len()),
            kind => format!(" {kind:?} {:?}", entry.device),
        };
        if !name.is_empty() {
            files.insert(name, format!("{:o} {}:{}{end}", entry.mode & 0o7777, entry.uid, entry.gid));
        }
    }
    files
}

/// Returns the config of the image in an OCI layout.
pub fn config(layout: &Path) -> Value {
    let read = |path: &Path| -> Value { serde_json::from_slice(&fs::read(path).expect("there")).expect("JSON") };
    let blob = |descriptor: &Value| {
        let digest = descriptor["digest"].as_str().expect("a digest").trim_start_matches("sha256:");
        read(&layout.join("blobs/sha256").join(digest))
    };
    let mut document = blob(&read(&layout.join("index.json"))["manifests"][0]);
    while document["manifests"].is_array() {
        document = blob(&document["manifests"][0]);
    }
    blob(&document["config"])
}
