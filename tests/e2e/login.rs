//! `bake login` and `bake logout`, and the tools that read what they write.

use std::io::Write as _;
use std::process::{Command, Stdio};

use crate::support::server::{Access, PASSWORD, Server, USER};
use crate::support::{self, Project, Ran, registry};

fn login(project: &Project, host: &str, password: &str) -> Ran {
    let mut command = project.command(&["login", host, "-u", USER, "--password-stdin"]);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("bake starts");
    let mut input = child.stdin.take().expect("a pipe");
    writeln!(input, "{password}").expect("written");
    drop(input);
    child.wait_with_output().expect("it ends").into()
}

#[test]
fn a_login_serves_bake_and_the_tools_that_read_dockers_configuration() {
    let Some(registry) = registry() else { return };
    let data = tempfile::tempdir().expect("a temporary directory");
    let server = Server::start(data.path(), Access::Password).expect("docker-registry starts");
    let mut project = support::hello(registry);
    project.repository = format!("{}/team/hello", server.host);
    project.write("../.docker/config.json", "{\n\t\"psFormat\": \"x\",\n\t\"auths\": {}\n}");

    let refused = login(&project, &server.host, "wr0ng").fails(5);
    assert!(
        refused.stderr.starts_with(&format!("error: {} refused the login: 401", server.host)),
        "{}",
        refused.stderr
    );
    let done = login(&project, &server.host, PASSWORD).succeeds();
    let config = project.home().join(".docker/config.json");
    let expected = format!(
        "logged in to {} as {USER}; the login is in {}, readable for you alone but not encrypted\n",
        server.host,
        config.display()
    );
    assert_eq!((done.stderr, done.stdout), (expected, String::new()));
    let text = std::fs::read_to_string(&config).expect("read");
    assert!(text.starts_with("{\n\t\"psFormat\": \"x\",\n\t\"auths\": {\n"), "{text}");
    assert!(!refused.stderr.contains("wr0ng"));

    project.bake(&["build", "all", "--push"]).succeeds();
    let image = format!("docker://{}:1", project.repository);
    for tool in ["skopeo", "podman"] {
        let arguments: &[&str] = match tool {
            "skopeo" => &["inspect", "--raw", "--tls-verify=false", &image],
            _ => &["login", "--get-login", &server.host],
        };
        let mut command = Command::new(tool);
        command.args(arguments).env("HOME", project.home()).env_remove("REGISTRY_AUTH_FILE");
        command.env("XDG_RUNTIME_DIR", project.home()).env_remove("XDG_CONFIG_HOME");
        let Ok(output) = command.output() else { return support::skip(&format!("{tool} is not installed")) };
        Ran::from(output).succeeds();
    }
    let out = project.bake(&["logout", &server.host]).succeeds();
    assert_eq!(out.stderr, format!("logged out of {}: taken out of {}\n", server.host, config.display()));
    let out = project.bake(&["logout", &server.host]).succeeds();
    assert_eq!(out.stderr, format!("not logged in to {}\n", server.host));
}

#[test]
fn what_the_containers_tools_keep_is_a_login() {
    let Some(registry) = registry() else { return };
    let data = tempfile::tempdir().expect("a temporary directory");
    let server = Server::start(data.path(), Access::Password).expect("docker-registry starts");
    let mut project = support::hello(registry);
    project.repository = format!("{}/team/hello", server.host);
    let auth_file = project.home().join("auth.json");
    let mut skopeo = Command::new("skopeo");
    skopeo.args(["login", "--tls-verify=false", "-u", USER, "-p", PASSWORD, "--authfile"]).arg(&auth_file);
    Ran::from(skopeo.arg(&server.host).output().expect("skopeo starts")).succeeds();

    project.bake(&["build", "all", "--push"]).fails(5);
    let mut command = project.command(&["build", "all", "--push"]);
    Ran::from(command.env("REGISTRY_AUTH_FILE", &auth_file).output().expect("bake starts")).succeeds();
    let mut command = project.command(&["logout", &server.host]);
    let out = Ran::from(command.env("REGISTRY_AUTH_FILE", &auth_file).output().expect("bake starts")).succeeds();
    let expected = format!(
        "not logged in to {}\nnote: {} has a login for it still; \"podman logout\" takes it out\n",
        server.host,
        auth_file.display()
    );
    assert_eq!(out.stderr, expected);
}

#[test]
fn a_login_without_anyone_to_ask_says_how() {
    let project = Project::alone();
    let out = project.bake(&["login", "r.example.com", "-u", "me"]).fails(2);
    assert_eq!(
        out.stderr,
        "error: a password is asked for on a terminal, and standard input is none\n\
         hint: give it as standard input to `bake login -u USER --password-stdin`\n"
    );
    let out = project.bake(&["login", "r.example.com", "--password-stdin"]).fails(2);
    assert_eq!(out.stderr, "error: --password-stdin says no user name\nhint: add -u USER\n");
}
