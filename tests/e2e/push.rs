//! What a push asks of the registry.

use crate::support::server::{Access, PASSWORD, Server, USER};
use crate::support::{self, registry};

#[test]
fn a_second_push_sends_nothing_and_reads_no_blob() {
    if registry().is_none() {
        return;
    }
    let (mut server, own) = support::own_registry();
    let project = support::hello(&own);
    project.bake(&["build", "all", "--push"]).succeeds();
    server.stop();
    server.restart().expect("restarted");
    let second = project.bake(&["build", "all", "--push"]).succeeds();
    assert!(second.ran_nothing(), "{}", second.stderr);
    let requests = server.stop();
    assert!(!requests.is_empty(), "the registry logged nothing");
    for request in &requests {
        let (method, path) = request.split_once(' ').expect("method and path");
        assert!(matches!(method, "HEAD" | "GET"), "{requests:#?}");
        // Before all else it asks how the registry is spoken to.
        assert!(path.contains("/manifests/") || path == "/v2/", "{requests:#?}");
    }
}

#[test]
fn a_store_that_was_lost_is_filled_again_and_nothing_is_sent_twice() {
    if registry().is_none() {
        return;
    }
    let (mut server, own) = support::own_registry();
    let project = support::hello(&own);
    project.bake(&["build", "all", "--push"]).succeeds();
    let (index, lock) = (project.raw("1"), project.read("bake.lock"));
    server.stop();
    server.restart().expect("restarted");
    std::fs::remove_dir_all(project.store()).expect("removed");
    // With it nothing would be built.
    std::fs::remove_file(project.path().join("bake.lock")).expect("removed");
    project.bake(&["build", "all", "--push"]).succeeds();
    let requests = server.stop();
    let writes: Vec<&String> = requests.iter().filter(|r| !r.starts_with("HEAD ") && !r.starts_with("GET ")).collect();
    assert_eq!(writes, Vec::<&String>::new());
    server.restart().expect("restarted");
    assert_eq!((project.raw("1"), project.read("bake.lock")), (index, lock));
}

#[test]
fn a_registry_that_wants_a_password_is_pushed_to_with_dockers_credentials() {
    let Some(registry) = registry() else { return };
    let data = tempfile::tempdir().expect("a temporary directory");
    let server = Server::start(data.path(), Access::Password).expect("docker-registry starts");
    let mut project = support::hello(registry);
    project.repository = format!("{}/team/hello", server.host);
    let denied = project.bake(&["build", "all", "--push"]).fails(5);
    let error = format!("error: {} refused to push \"team/hello\": 401 unauthorized", server.host);
    let hint = format!("hint: run \"bake login {}\"", server.host);
    for part in [&error, &hint] {
        assert!(denied.stderr.contains(part), "{part} is not in\n{}", denied.stderr);
    }
    assert!(!project.exists("bake.lock"));
    let login = |password: &str| {
        let auth = base64(&format!("{USER}:{password}"));
        let config = format!("{{\"auths\":{{\"{}\":{{\"auth\":\"{auth}\"}}}}}}\n", server.host);
        project.write("../.docker/config.json", &config);
    };
    login("wrong");
    let denied = project.bake(&["build", "all", "--push"]).fails(5);
    assert!(denied.stderr.contains("again if the password changed"), "{}", denied.stderr);
    login(PASSWORD);
    let pushed = project.bake(&["build", "all", "--push"]).succeeds();
    for secret in [PASSWORD, &base64(&format!("{USER}:{PASSWORD}"))] {
        assert!(!pushed.stderr.contains(secret) && !denied.stderr.contains(secret));
    }
    assert!(project.read("bake.lock").contains(&project.repository));
}

fn base64(text: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(text)
}

#[test]
fn an_index_that_lost_a_manifest_is_whole_again_after_the_next_push() {
    let Some(registry) = registry() else { return };
    let project = support::hello(registry);
    project.bake(&["build", "all", "--push"]).succeeds();
    let (index, manifests) = (project.raw("1"), project.index("1").expect("an index"));
    let manifest = format!("docker://{}@{}", project.repository, manifests["arm64"]);
    support::run("skopeo", &["delete", "--tls-verify=false", &manifest]).succeeds();
    let arguments = ["inspect", "--tls-verify=false", "--raw", manifest.as_str()];
    assert_ne!(support::run("skopeo", &arguments).code, Some(0));
    let again = project.bake(&["build", "all", "--push"]).succeeds();
    assert!(again.ran_nothing(), "{}", again.stderr);
    support::run("skopeo", &arguments).succeeds();
    assert_eq!(project.raw("1"), index);
}
