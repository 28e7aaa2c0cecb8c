//! Ordinary users, made for a test and removed after it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use super::{Project, Ran, skip};

/// What `useradd` gives a user besides the name.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Ids {
    /// A range of subordinate ids, as Debian gives to every user.
    Subordinate,
    /// The user's own alone.
    Single,
}

/// The tools that change the list of users exclude each other.
static USERS: Mutex<()> = Mutex::new(());

/// A user that exists for one test.
pub struct Account {
    name: &'static str,
    /// `bake` where every user can run it: the checkout may be in a directory of root's own.
    program: PathBuf,
    _directory: tempfile::TempDir,
}

impl Account {
    /// Makes the user `name`, or says that the test is skipped: only root can.
    pub fn new(name: &'static str, ids: Ids) -> Option<Account> {
        if !rustix::process::geteuid().is_root() {
            skip("only root can make users for this test");
            return None;
        }
        // Left by a test that was killed.
        remove_user(name);
        let _users = USERS.lock().unwrap_or_else(PoisonError::into_inner);
        let count = if ids == Ids::Subordinate { 65_536 } else { 0 };
        let counts = [format!("SUB_UID_COUNT={count}"), format!("SUB_GID_COUNT={count}")];
        let made = Command::new("useradd")
            .args(["--system", "--no-create-home", "-F", "-K", &counts[0], "-K", &counts[1], name])
            .output();
        if !made.is_ok_and(|output| output.status.success()) {
            skip("cannot make users for this test");
            return None;
        }
        let directory = tempfile::tempdir().expect("a temporary directory");
        open_to_all(directory.path());
        let program = directory.path().join("bake");
        std::fs::copy(env!("CARGO_BIN_EXE_bake"), &program).expect("copied");
        Some(Account { name, program, _directory: directory })
    }

    /// Gives the project to this user, whose home and store are in it from then on.
    pub fn adopt(&self, project: &Project) {
        self.give(project.home());
    }

    /// Gives a directory with all that is in it to this user.
    pub fn give(&self, directory: &Path) {
        let ran = super::run("chown", &["-R", &format!("{0}:{0}", self.name), &directory.display().to_string()]);
        ran.succeeds();
    }

    /// Returns bake as this user runs it: the store is where it is by default.
    pub fn bake(&self, project: &Project, arguments: &[&str]) -> Ran {
        self.bake_command(project, arguments).output().expect("setpriv starts").into()
    }

    /// Returns that, to be changed or spawned.
    pub fn bake_command(&self, project: &Project, arguments: &[&str]) -> Command {
        let ours = project.command(arguments);
        let mut command = self.command(&self.program);
        command.args(arguments).current_dir(project.path()).env_clear();
        command.envs(ours.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.env_remove("BAKE_STORE");
        command
    }

    /// Returns where every user can run bake.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Runs another program as this user.
    pub fn run(&self, program: &str, arguments: &[&str]) -> Ran {
        self.command(Path::new(program)).args(arguments).output().expect("setpriv starts").into()
    }

    /// Returns a program as this user runs it, to be changed or spawned.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", self.name, "--regid", self.name, "--clear-groups"]).arg(program).stdin(Stdio::null());
        command
    }

    /// Returns the numbers of the user and their group.
    pub fn ids(&self) -> (u32, u32) {
        let id = |flag| super::run("id", &[flag, self.name]).succeeds().stdout.trim().parse().expect("a number");
        (id("-u"), id("-g"))
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        remove_user(self.name);
    }
}

fn remove_user(name: &str) {
    let _users = USERS.lock().unwrap_or_else(PoisonError::into_inner);
    _ = Command::new("userdel").arg(name).output();
}

fn open_to_all(directory: &Path) {
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(directory, mode).expect("ours");
}
