//! What is built over and over, what it must come to, and what must not be left of it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use bake::digest::Digest;

use crate::random::Random;
use crate::support::{self, Project, Ran, Registry};

/// Contents that the project may have: another number, other layers.
pub const N_VARIANTS: u64 = 3;

const BAKEFILE: &str = r#"
variable "REGISTRY" {}
variable "REPOSITORY" {}
variable "VARIANT" { default = "0" }
target "common" {
  args = { REGISTRY = REGISTRY, VARIANT = VARIANT }
}
target "app" {
  inherits  = ["common"]
  platforms = ["linux/amd64", "linux/arm64"]
  target    = "app"
  tags      = ["${REPOSITORY}/app:${VARIANT}"]
}
target "files" {
  inherits = ["common"]
  target   = "files"
  tags     = ["${REPOSITORY}/files:${VARIANT}"]
}
"#;

/// `MARK` is in the command line of steps that take a moment.
const DOCKERFILE: &str = r#"
ARG REGISTRY
FROM --platform=$BUILDPLATFORM ${REGISTRY}/base/busybox:1 AS build
ARG VARIANT
RUN mkdir /made && for i in 1 2 3 4 5 6 7 8 9; do echo "$VARIANT $i" > /made/$i; done
RUN --mount=type=cache,target=/cache sleep 0.05; true MARK; echo x > /cache/x; \
    head -c 300000 /dev/zero | tr '\0' "$VARIANT" > /made/big
COPY many /many
RUN cat /many/* /made/* | sha256sum > /sum

FROM ${REGISTRY}/base/busybox:1 AS app
COPY --link --from=build /made /made
COPY --from=build /sum /sum
RUN true MARK; rm /made/3; ln -s big /made/link; uname -m > /machine

FROM ${REGISTRY}/base/busybox:1 AS files
COPY large /large
COPY many /many
RUN true MARK; chmod 700 /many; rm /many/7
"#;

pub struct World {
    pub project: Project,
    registry: &'static Registry,
    /// In the command lines of steps.
    mark: String,
    /// What an undisturbed build prints for each variant, and how long it took from nothing.
    expected: BTreeMap<u64, (String, Duration)>,
    mounts: BTreeSet<String>,
    n_repositories: u64,
    /// Times that bake said that something was damaged.
    pub n_noticed: u32,
}

impl World {
    pub fn new(registry: &'static Registry) -> World {
        let mark = format!("soak-{}", std::process::id());
        let mounts = mounts();
        let project = fresh_project(registry, &mark);
        World { project, registry, mark, expected: BTreeMap::new(), mounts, n_repositories: 0, n_noticed: 0 }
    }

    /// Another directory with the same in it, and a store of its own.
    pub fn another_project(&self) -> Project {
        fresh_project(self.registry, &self.mark)
    }

    /// Returns what a build of `variant` must print, and how long it takes from nothing.
    pub fn expected(&mut self, variant: u64) -> (String, Duration) {
        if let Some(known) = self.expected.get(&variant) {
            return known.clone();
        }
        let project = self.another_project();
        let begin = Instant::now();
        let ran = Ran::from(build(&project, variant, &[]).output().unwrap()).succeeds();
        self.expected.insert(variant, (ran.stdout, begin.elapsed()));
        self.expected[&variant].clone()
    }

    /// Returns the flags that push to a repository where nothing is yet, or write an archive. Either needs every blob.
    pub fn outputs(&mut self, random: &mut Random) -> Vec<String> {
        self.n_repositories += 1;
        match random.below(0..3) {
            0 => vec![format!("--output=type=oci,dest={}", self.archive().display())],
            1 => vec![
                "--push".to_owned(),
                format!("--var=REPOSITORY={}-{}", self.project.repository, self.n_repositories),
            ],
            _ => Vec::new(),
        }
    }

    pub fn archive(&self) -> PathBuf {
        self.project.home().join("out.tar")
    }

    /// Builds undisturbed, which must come to what it always does.
    #[track_caller]
    pub fn check_build(&mut self, variant: u64, flags: &[String], after: &str) {
        let (expected, _) = self.expected(variant);
        self.forget_lock();
        let ran = Ran::from(build(&self.project, variant, flags).output().unwrap());
        assert_eq!((ran.code, &ran.stdout), (Some(0), &expected), "after {after}:\n{}", ran.stderr);
        if flags.iter().any(|flag| flag.contains("type=oci")) {
            check_archive(&self.archive());
        }
        self.check_left();
    }

    /// Removes the lockfile: what it has a result for would not be built where the store lost it.
    pub fn forget_lock(&self) {
        _ = std::fs::remove_file(self.project.path().join("bake.lock"));
    }

    /// Checks that nothing is left of bakes that are gone, as far as the last one to start cleans up.
    #[track_caller]
    pub fn check_left(&self) {
        self.check_processes();
        let left: Vec<_> = names(&self.project.store().join("tmp"));
        assert!(left.is_empty(), "temporaries are left: {left:?}");
        let outputs = [self.project.path(), self.project.home().to_owned()];
        let left: Vec<_> =
            outputs.iter().flat_map(|directory| names(directory)).filter(|n| n.starts_with(".bake")).collect();
        assert!(left.is_empty(), "parts of outputs are left: {left:?}");
        // The machine may have others that mount.
        let home = self.project.home().display().to_string();
        let now = mounts();
        let left: Vec<_> = now.difference(&self.mounts).filter(|mount| mount.contains(&home)).collect();
        assert!(left.is_empty(), "mounts are left: {left:?}");
        let locks = held_locks(&self.project.store());
        assert!(locks.is_empty(), "locks are held: {locks:?}");
    }

    /// Checks that no step runs: the kernel takes a killed process's children away a moment after it.
    #[track_caller]
    pub fn check_processes(&self) {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let left = running(&self.mark);
            if left.is_empty() {
                return;
            }
            assert!(Instant::now() < deadline, "still running: {left:#?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Checks every blob against its name.
    pub fn check_whole_store(&self) {
        let blobs = self.project.store().join("blobs/sha256");
        for name in names(&blobs) {
            assert_eq!(Digest::of(&std::fs::read(blobs.join(&name)).unwrap()).hex(), name);
        }
    }
}

fn fresh_project(registry: &Registry, mark: &str) -> Project {
    let project = Project::new(registry);
    project.write("build.hcl", BAKEFILE).write("Dockerfile", &DOCKERFILE.replace("MARK", mark));
    for n in 0..200 {
        project.write(&format!("many/{n}"), &format!("the file {n}\n").repeat(n + 1));
    }
    // Several members of a layer, none of which shrinks.
    let mut random = Random::new(1);
    let bytes: Vec<u8> = (0..(6 << 20) / 8).flat_map(|_| random.next().to_le_bytes()).collect();
    std::fs::write(project.path().join("large"), bytes).unwrap();
    project
}

/// A build of both targets.
pub fn build(project: &Project, variant: u64, flags: &[String]) -> Command {
    let mut command = project.command(&["build", "app", "files"]);
    command.arg(format!("--var=VARIANT={variant}")).args(flags);
    command
}

/// Checks every blob of an OCI archive against its name, and that there are some.
pub fn check_archive(path: &Path) {
    let mut archive = tar::Archive::new(std::fs::File::open(path).unwrap());
    let mut n_blobs = 0;
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().to_string_lossy().into_owned();
        let Some(hex) = name.strip_prefix("blobs/sha256/").filter(|hex| !hex.is_empty()) else { continue };
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut entry, &mut bytes).unwrap();
        assert_eq!(Digest::of(&bytes).hex(), hex, "in {}", path.display());
        n_blobs += 1;
    }
    assert!(n_blobs > 5);
}

pub fn names(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

fn mounts() -> BTreeSet<String> {
    std::fs::read_to_string("/proc/self/mountinfo").unwrap().lines().map(str::to_owned).collect()
}

fn running(mark: &str) -> Vec<String> {
    let ps = support::run("ps", &["-eo", "pid,args"]).succeeds().stdout;
    ps.lines().filter(|line| line.contains(mark)).map(str::to_owned).collect()
}

/// Returns the lock files of a store that somebody holds.
fn held_locks(store: &Path) -> Vec<String> {
    use std::os::unix::fs::MetadataExt;
    let held: BTreeSet<u64> = std::fs::read_to_string("/proc/locks")
        .unwrap()
        .lines()
        .filter_map(|line| {
            line.split_whitespace().find(|word| word.matches(':').count() == 2)?.rsplit(':').next()?.parse().ok()
        })
        .collect();
    let files = ["", "tmp", "layers", "mounts", "git"].map(|name| store.join(name));
    let files = files.iter().flat_map(|directory| names(directory).into_iter().map(|name| directory.join(name)));
    let locks = files.filter(|path| path.extension().is_some_and(|e| e == "lock") || path.ends_with("lock"));
    let is_held = |path: &PathBuf| std::fs::metadata(path).is_ok_and(|metadata| held.contains(&metadata.ino()));
    locks.filter(is_held).map(|path| path.display().to_string()).collect()
}
