//! SSH agents in steps.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::secrets::project;
use crate::support::account::{Account, Ids};
use crate::support::{self, Project, Ran, registry};

/// A real agent with a key in it, ended with the value.
struct Agent {
    child: Child,
    _directory: tempfile::TempDir,
    socket: String,
}

impl Agent {
    fn start() -> Agent {
        Agent::start_as(|program| Command::new(program), |_| {})
    }

    /// Starts an agent with programs made by `command`, in a directory that `adopt` gives to whose it is to be.
    fn start_as(command: impl Fn(&str) -> Command, adopt: impl Fn(&Path)) -> Agent {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = |name: &str| directory.path().join(name).display().to_string();
        let (socket, key) = (path("socket"), path("key"));
        support::run("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-C", "key of the test", "-f", &key]).succeeds();
        adopt(directory.path());
        let agent = command("ssh-agent").args(["-D", "-a", &socket]).stdout(Stdio::null()).spawn().expect("it starts");
        let agent = Agent { child: agent, _directory: directory, socket };
        while !Path::new(&agent.socket).exists() {
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        let mut add = command("ssh-add");
        let added: Ran = add.env("SSH_AUTH_SOCK", &agent.socket).args(["-q", &key]).output().expect("it starts").into();
        added.succeeds();
        agent
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// Has `ssh-add` of this machine, with its libraries, in the project: `COPY ssh/ /`.
fn bring_ssh_add(project: &Project) {
    let program = "/usr/bin/ssh-add";
    let needed = support::run("ldd", &[program]).succeeds().stdout;
    let libraries = needed.split_whitespace().filter(|word| word.starts_with('/'));
    for path in libraries.chain([program]) {
        let copy = project.path().join("ssh").join(&path[1..]);
        std::fs::create_dir_all(copy.parent().expect("below the project")).expect("created");
        std::fs::copy(path, copy).expect("copied");
    }
}

/// Returns a project with `ssh-add` in its image, and the steps.
fn with_ssh_add(registry: &support::Registry, attributes: &str, steps: &str) -> Project {
    let project = project(registry, attributes, &format!("COPY ssh/ /\nRUN mkdir -m 777 /r\n{steps}"));
    bring_ssh_add(&project);
    project
}

fn bake_with(project: &Project, agent: &Agent, arguments: &[&str]) -> Ran {
    project.command(arguments).env("SSH_AUTH_SOCK", &agent.socket).output().expect("bake starts").into()
}

#[test]
fn a_step_sees_the_keys_of_the_agent_and_can_change_none() {
    let Some(registry) = registry() else { return };
    let agent = Agent::start();
    let project = with_ssh_add(
        registry,
        "ssh = [\"default\"]",
        "RUN --mount=type=ssh ssh-add -l > /r/list; echo $SSH_AUTH_SOCK > /r/variable; \
             stat -c '%a %u:%g %F' $SSH_AUTH_SOCK > /r/stat; ls -A /run/buildkit > /r/beside\n\
         RUN --mount=type=ssh if ssh-add -D; then echo removed; else echo kept; fi > /r/remove; \
             if echo x | ssh-add -x; then echo locked; else echo open; fi > /r/lock\n\
         RUN if [ -e /run/buildkit ]; then echo there; else echo gone; fi > /r/after; echo \"<$SSH_AUTH_SOCK>\" >> /r/after\n\
         USER 1000:1000\n\
         RUN --mount=type=ssh,uid=1000,target=/tmp/own,mode=0700 ssh-add -l > /r/user; stat -c '%a %u:%g' /tmp/own > /r/own\n\
         RUN --mount=type=ssh if ssh-add -l; then echo reached; else echo refused; fi > /r/other\n",
    );
    bake_with(&project, &agent, &["build", "--allow=ssh"]).succeeds();
    for list in ["out/r/list", "out/r/user"] {
        assert!(project.read(list).contains("key of the test (ED25519)"), "{}", project.read(list));
    }
    assert_eq!(project.read("out/r/variable"), "/run/buildkit/ssh_agent.0\n");
    assert_eq!(project.read("out/r/stat"), "600 0:0 socket\n");
    assert_eq!(project.read("out/r/beside"), "ssh_agent.0\n");
    assert_eq!(project.read("out/r/remove"), "kept\n");
    assert_eq!(project.read("out/r/lock"), "open\n");
    assert_eq!(project.read("out/r/after"), "gone\n<>\n");
    assert_eq!(project.read("out/r/own"), "700 1000:0\n");
    assert_eq!(project.read("out/r/other"), "refused\n");
    assert!(!project.exists("out/run/buildkit") && !project.exists("out/tmp/own"));
    let mut list = Command::new("ssh-add");
    let listed: Ran = list.arg("-l").env("SSH_AUTH_SOCK", &agent.socket).output().expect("ssh-add starts").into();
    assert!(listed.succeeds().stdout.contains("key of the test"));
}

#[test]
fn agents_have_ids_and_one_that_is_not_given_is_not_there() {
    let Some(registry) = registry() else { return };
    let agent = Agent::start();
    let project = with_ssh_add(
        registry,
        &format!("ssh = [\"work={}\"]", agent.socket),
        "RUN --mount=type=ssh --mount=type=ssh,id=work,required \
             if [ -e $SSH_AUTH_SOCK ]; then echo there; else echo not; fi > /r/default; \
             SSH_AUTH_SOCK=/run/buildkit/ssh_agent.1 ssh-add -l > /r/work\n",
    );
    project.bake(&["build", &format!("--allow=fs.read={}", agent.socket)]).succeeds();
    assert_eq!(project.read("out/r/default"), "not\n");
    assert!(project.read("out/r/work").contains("key of the test"));
}

#[test]
fn an_agent_that_is_required_and_missing_or_a_key_is_an_error_at_its_line() {
    let Some(registry) = registry() else { return };
    let steps = "RUN --mount=type=ssh,required echo it ran\n";
    let cases = [
        (
            "",
            vec![
                "SSH agent `default` is required and not given",
                "Dockerfile:3:1: ",
                "3 | RUN --mount",
                "ssh = [\"default\"]",
                "--set",
            ],
        ),
        ("ssh = [\"default=key\"]", vec!["`key` of the SSH agent `default` is no socket", "ssh-add KEY"]),
    ];
    for (attributes, parts) in cases {
        let project = project(registry, attributes, steps);
        project.write("key", "-----BEGIN OPENSSH PRIVATE KEY-----\n");
        let failed = project.bake(&["build"]).fails(3);
        for part in parts {
            assert!(failed.stderr.contains(part), "{part} is not in\n{}", failed.stderr);
        }
        assert!(!failed.stderr.contains("\n  it ran"), "{}", failed.stderr);
    }
}

#[test]
fn a_user_without_privileges_lends_their_agent() {
    let Some(registry) = registry() else { return };
    let Some(account) = Account::new("bake-e2e-ssh", Ids::Subordinate) else { return };
    let give = |directory: &Path| account.give(directory);
    // An agent answers its own user and root alone.
    let agent = Agent::start_as(|program| account.command(Path::new(program)), give);
    let project = with_ssh_add(
        registry,
        &format!("ssh = [\"default={}\"]", agent.socket),
        "USER 1000:1000\n\
         RUN --mount=type=ssh,uid=1000 ssh-add -l > /r/list && stat -c '%a %u:%g' $SSH_AUTH_SOCK > /r/stat\n",
    );
    account.adopt(&project);
    account.bake(&project, &["build", &format!("--allow=fs.read={}", agent.socket)]).succeeds();
    assert!(project.read("out/r/list").contains("key of the test"));
    assert_eq!(project.read("out/r/stat"), "600 1000:0\n");
}
