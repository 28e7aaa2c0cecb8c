//! Contexts, archives, images and files of configuration made to lead out of where they belong.
//!
//! Every test has a directory that nothing may reach: after each build it is as it was, and what is in its file is found
//! in no output, no log and nowhere in the store.

mod archive;
mod context;
mod image;
mod mounts;
mod programs;
mod race;

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

use crate::support::{self, Project, Ran, Registry};

/// What is in the file that nothing may read.
const MARKER: &str = "kept-outside-6f1b";

/// A project beside a directory that is none of its business.
pub struct Yard {
    pub project: Project,
    before: Vec<String>,
}

impl Yard {
    /// A yard whose Dockerfile asks no registry.
    pub fn new() -> Yard {
        Yard::around(Project::alone(), "")
    }

    /// A yard whose Dockerfile may say `FROM busybox`.
    pub fn with_base(registry: &Registry) -> Yard {
        let base = format!("busybox = \"docker-image://{}/base/busybox:1\", ", registry.host);
        Yard::around(Project::new(registry), &base)
    }

    fn around(project: Project, contexts: &str) -> Yard {
        let outside = project.home().join("outside");
        fs::create_dir(&outside).expect("created");
        fs::write(outside.join("secret"), MARKER).expect("written");
        let bakefile = format!(
            "target \"default\" {{\n  context = \"ctx\"\n  contexts = {{ {contexts}named = \"ctx\" }}\n  \
             output = [\"type=tar,dest=out.tar\", \"type=local,dest=out\"]\n}}\n"
        );
        project.write("build.hcl", &bakefile);
        fs::create_dir(project.path().join("ctx")).expect("created");
        let before = look(&outside);
        Yard { project, before }
    }

    /// The directory that is not to be reached; it holds `secret`.
    pub fn outside(&self) -> PathBuf {
        self.project.home().join("outside")
    }

    /// The build context.
    pub fn context(&self) -> PathBuf {
        self.project.path().join("ctx")
    }

    /// Writes a file of the context.
    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> &Yard {
        let path = self.context().join(name);
        fs::create_dir_all(path.parent().expect("below the context")).expect("created");
        fs::write(path, bytes).expect("written");
        self
    }

    /// Makes a symbolic link in the context.
    pub fn link(&self, name: &str, target: impl AsRef<Path>) -> &Yard {
        let path = self.context().join(name);
        fs::create_dir_all(path.parent().expect("below the context")).expect("created");
        symlink(target, path).expect("linked");
        self
    }

    /// Builds `dockerfile` into a new directory and makes sure that nothing came from outside or went there.
    #[track_caller]
    pub fn build(&self, dockerfile: &str) -> Ran {
        support::remove(&self.project.path().join("out"));
        self.write("Dockerfile", dockerfile);
        self.bake(&["build"])
    }

    /// Runs bake and makes sure that nothing came from outside or went there.
    #[track_caller]
    pub fn bake(&self, arguments: &[&str]) -> Ran {
        let ran = self.project.bake(arguments);
        assert!(!format!("{}{}", ran.stdout, ran.stderr).contains(MARKER), "shown:\n{}", ran.stderr);
        self.check();
        ran
    }

    /// Makes sure that nothing came from outside or went there.
    #[track_caller]
    pub fn check(&self) {
        assert_eq!(look(&self.outside()), self.before, "changed");
        for place in [self.project.store(), self.project.path().join("out"), self.project.path().join("out.tar")] {
            assert_eq!(find(&place), None);
        }
    }

    /// Returns a file of the result.
    pub fn read(&self, name: &str) -> String {
        self.project.read(&format!("out/{name}"))
    }
}

/// Returns all that can be seen of a directory and what is in it, but for times of access.
fn look(directory: &Path) -> Vec<String> {
    let line = |path: &Path| {
        let found = fs::symlink_metadata(path).expect("there");
        let (mode, links) = (found.mode(), if found.is_dir() { 0 } else { found.nlink() });
        let content = if found.is_file() { fs::read_to_string(path).expect("text") } else { String::new() };
        let (owner, time) = ((found.uid(), found.gid()), (found.mtime(), found.mtime_nsec(), found.ctime_nsec()));
        format!("{} {mode:o} {owner:?} {links} {time:?} {content}", path.display())
    };
    let mut lines = vec![line(directory)];
    for entry in fs::read_dir(directory).expect("a directory") {
        lines.push(line(&entry.expect("an entry").path()));
    }
    lines.sort();
    lines
}

/// Returns the first file at or below `path` that holds the marker.
fn find(path: &Path) -> Option<PathBuf> {
    let found = fs::symlink_metadata(path).ok()?;
    if found.is_dir() {
        // What is there now may be gone a moment later.
        return fs::read_dir(path).ok()?.flatten().find_map(|entry| find(&entry.path()));
    }
    let holds = |bytes: Vec<u8>| bytes.windows(MARKER.len()).any(|window| window == MARKER.as_bytes());
    (found.is_file() && fs::read(path).is_ok_and(holds)).then(|| path.to_owned())
}

/// Returns a path as one component after the other, without the first `/`.
fn relative(path: &Path) -> &Path {
    path.strip_prefix("/").unwrap_or(path)
}
