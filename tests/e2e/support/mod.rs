//! A registry, base images and throw-away projects.

pub mod account;
pub mod bucket;
pub mod docker;
pub mod http;
pub mod proxy;
pub mod server;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use server::{Access, Server};

/// Where `tests/base-rootfs` puts busybox for each architecture.
fn rootfs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/test-rootfs")
}

/// The registry that all tests of this process share; ends with the process.
pub struct Registry {
    /// `127.0.0.1:PORT`.
    pub host: String,
    _data: tempfile::TempDir,
}

/// Returns a registry of the test's own, and the base image in it, beside the shared one.
pub fn own_registry() -> (Server, Registry) {
    let data = tempfile::tempdir().expect("a temporary directory");
    let server = Server::start(data.path(), Access::Open).expect("docker-registry starts");
    let registry = Registry { host: server.host.clone(), _data: data };
    push_base(&registry);
    (server, registry)
}

/// Says why a test does nothing; with `CI` set that is a failure.
pub fn skip(reason: &str) {
    assert!(std::env::var_os("CI").is_none(), "CI skips nothing: {reason}");
    eprintln!("skipped: {reason}");
}

/// Returns the shared registry with the base image `base/busybox:1` in it, or says why there is none.
///
/// A test begins with `let Some(registry) = registry() else { return };`.
pub fn registry() -> Option<&'static Registry> {
    static REGISTRY: OnceLock<Result<Registry, String>> = OnceLock::new();
    match REGISTRY.get_or_init(start) {
        Ok(registry) => Some(registry),
        Err(reason) => {
            skip(reason);
            None
        }
    }
}

fn start() -> Result<Registry, String> {
    for tool in ["docker-registry", "qemu-aarch64-static", "skopeo"] {
        let found = ["/usr/bin", "/usr/sbin"].iter().any(|dir| Path::new(dir).join(tool).exists());
        if !found {
            return Err(format!("{tool} is not installed; tests/run installs it"));
        }
    }
    for architecture in ["amd64", "arm64", "arm"] {
        if !rootfs().join(architecture).join("bin/busybox").exists() {
            return Err(format!("no busybox for {architecture}; tests/base-rootfs makes it"));
        }
    }
    let data = tempfile::tempdir().map_err(|error| error.to_string())?;
    let directory = data.path().to_owned();
    let host = for_good(move || Server::start(&directory, Access::Open), |server| server.host.clone())?;
    let registry = Registry { host, _data: data };
    push_base(&registry);
    Ok(registry)
}

/// Makes something on a thread that lives as long as this process, keeps it there, and returns what `show` says of it: the
/// death of the thread that spawned a process is what ends that process.
fn for_good<T, R: Send + 'static>(
    make: impl FnOnce() -> Result<T, String> + Send + 'static,
    show: impl FnOnce(&T) -> R + Send + 'static,
) -> Result<R, String> {
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let made = make();
        _ = sender.send(match &made {
            Ok(made) => Ok(show(made)),
            Err(reason) => Err(reason.clone()),
        });
        loop {
            std::thread::park();
        }
    });
    receiver.recv().map_err(|error| error.to_string())?
}

/// bake makes the base images that its tests build on.
fn push_base(registry: &Registry) {
    let project = Project::new(registry);
    project.write(
        "build.hcl",
        &format!(
            r#"
            target "default" {{
              context    = "{}"
              dockerfile-inline = "FROM scratch\nARG TARGETARCH\nCOPY ${{TARGETARCH}}/ /\nCMD [\"/bin/sh\"]\n"
              platforms  = ["linux/amd64", "linux/arm64", "linux/arm/v7"]
              tags       = ["{}/base/busybox:1"]
            }}
            "#,
            rootfs().display(),
            registry.host
        )
        .replace("${TARGETARCH}", "$${TARGETARCH}"),
    );
    let allow = format!("--allow=fs.read={}", rootfs().display());
    project.bake(&["build", "--push", &allow]).succeeds();
}

/// A directory with a bakefile, a store of its own and a home of its own.
pub struct Project {
    /// Removed at the end.
    directory: tempfile::TempDir,
    /// `REGISTRY` in the bakefile.
    pub registry: String,
    /// A repository name of this project's own.
    pub repository: String,
}

/// What a command printed and how it ended.
pub struct Ran {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    #[track_caller]
    pub fn succeeds(self) -> Ran {
        assert_eq!(self.code, Some(0), "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    #[track_caller]
    pub fn fails(self, code: i32) -> Ran {
        assert_eq!(self.code, Some(code), "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    /// Says whether the line that sums the build up counts no step that ran.
    pub fn ran_nothing(&self) -> bool {
        self.stderr.lines().any(|line| line.contains("0 steps ran"))
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Ran {
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Ran { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

impl Project {
    /// A project that asks no registry.
    pub fn alone() -> Project {
        let directory = tempfile::tempdir().expect("a temporary directory");
        std::fs::create_dir(directory.path().join("src")).expect("created");
        Project { directory, registry: "127.0.0.1:1".to_owned(), repository: "127.0.0.1:1/none".to_owned() }
    }

    pub fn new(registry: &Registry) -> Project {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let name = directory.path().file_name().expect("a name").to_string_lossy().to_lowercase();
        let repository = format!("{}/test/{}", registry.host, name.trim_matches(['.', '_', '-']));
        std::fs::create_dir(directory.path().join("src")).expect("created");
        Project { directory, registry: registry.host.clone(), repository }
    }

    /// The directory that commands run in.
    pub fn path(&self) -> PathBuf {
        self.directory.path().join("src")
    }

    /// The project's `HOME`, which holds everything of it.
    pub fn home(&self) -> &Path {
        self.directory.path()
    }

    /// Writes a file below [`Project::path`].
    pub fn write(&self, name: &str, text: &str) -> &Project {
        let path = self.path().join(name);
        std::fs::create_dir_all(path.parent().expect("below the project")).expect("created");
        std::fs::write(path, text).expect("written");
        self
    }

    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path().join(name)).expect(name)
    }

    pub fn exists(&self, name: &str) -> bool {
        self.path().join(name).exists()
    }

    pub fn store(&self) -> PathBuf {
        self.directory.path().join("store")
    }

    /// Returns the command, to be changed or spawned.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bake"));
        command
            .args(arguments)
            .current_dir(self.path())
            .env_clear()
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .env("HOME", self.directory.path())
            .env("BAKE_STORE", self.store())
            .env("REGISTRY", &self.registry)
            .env("REPOSITORY", &self.repository)
            .stdin(Stdio::null());
        command
    }

    /// Runs bake in the project.
    pub fn bake(&self, arguments: &[&str]) -> Ran {
        self.command(arguments).output().expect("bake starts").into()
    }

    /// Returns platform → manifest digest of a tag, read with skopeo; `None` where the tag is not there.
    pub fn index(&self, tag: &str) -> Option<BTreeMap<String, String>> {
        let index: serde_json::Value = serde_json::from_str(&self.raw(tag)?).expect("JSON");
        let manifests = index["manifests"].as_array().expect("an index");
        let entry = |manifest: &serde_json::Value| {
            let text = |value: &serde_json::Value| value.as_str().unwrap_or("").to_owned();
            let platform = &manifest["platform"];
            (format!("{}{}", text(&platform["architecture"]), text(&platform["variant"])), text(&manifest["digest"]))
        };
        Some(manifests.iter().map(entry).collect())
    }

    /// Returns a tag's own document; `None` where the tag is not there.
    pub fn raw(&self, tag: &str) -> Option<String> {
        let name = format!("docker://{}:{tag}", self.repository);
        let output = run("skopeo", &["inspect", "--tls-verify=false", "--raw", &name]);
        (output.code == Some(0)).then_some(output.stdout)
    }
}

/// Returns an archive's entries, sorted by name: mode, owner, name, and where a link leads.
pub fn listing(archive: &Path) -> String {
    let tar = run("tar", &["--numeric-owner", "-tvf", &archive.display().to_string()]).succeeds();
    let mut lines: Vec<(&str, String)> = tar
        .stdout
        .lines()
        .map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            (words[5], format!("{} {} {}\n", words[0], words[1], words[5..].join(" ")))
        })
        .collect();
    lines.sort();
    lines.into_iter().map(|(_, line)| line).collect()
}

/// Removes a directory, if it is there.
pub fn remove(directory: &Path) {
    match std::fs::remove_dir_all(directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => panic!("{}: {error}", directory.display()),
        _ => {}
    }
}

/// Runs a program that the tests need.
pub fn run(program: &str, arguments: &[&str]) -> Ran {
    Command::new(program).args(arguments).stdin(Stdio::null()).output().expect(program).into()
}

/// Two targets of one platform each that need nothing of a registry: `a`, which prints `hello` and has two names, and `b`.
pub fn small() -> Option<Project> {
    let busybox = rootfs().join("amd64/bin/busybox");
    if !busybox.exists() {
        skip("no busybox for amd64; tests/base-rootfs makes it");
        return None;
    }
    let project = Project::alone();
    std::fs::copy(busybox, project.path().join("busybox")).expect("copied");
    project.write("hello", "hello\n");
    project.write(
        "build.hcl",
        r#"
        target "a" {
          dockerfile-inline = <<-EOF
          FROM scratch
          ARG TARGETARCH
          COPY busybox /bin/
          COPY hello /etc/hello.$TARGETARCH
          CMD ["/bin/busybox", "cat", "/etc/hello.amd64"]
          EOF
          tags = ["example.com/a:1", "example.com/a:2"]
        }
        target "b" {
          dockerfile-inline = "FROM scratch\nCOPY hello /b\n"
          tags              = ["b"]
        }
        "#,
    );
    Some(project)
}

/// A three-platform image that records where it was built; the bakefile and Dockerfile of most tests.
pub fn hello(registry: &Registry) -> Project {
    let project = Project::new(registry);
    project.write(
        "build.hcl",
        r#"
        variable "REGISTRY" {}
        variable "REPOSITORY" {}
        variable "TAG" { default = "1" }

        target "hello" {
          args      = { BASE = "${REGISTRY}/base/busybox:1" }
          tags      = ["${REPOSITORY}:${TAG}"]
          platforms = ["linux/amd64", "linux/arm64", "linux/arm/v7"]
        }
        "#,
    );
    project.write(
        "Dockerfile",
        "ARG BASE\n\
         FROM ${BASE}\n\
         WORKDIR /app\n\
         RUN uname -m > arch && echo \"$0\" && ls / > /dev/null\n\
         COPY greet.sh ./\n\
         RUN chmod +x greet.sh && ./greet.sh > greeting\n\
         CMD [\"/app/greet.sh\"]\n",
    );
    project.write("greet.sh", "#!/bin/sh\necho hello from $(uname -m)\n");
    project
}
