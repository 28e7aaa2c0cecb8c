//! The release transaction: what is sent when, what a failure leaves, and how it is gone on with.

use std::io::Read;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::support::proxy::{Asked, Fault, Proxy};
use crate::support::{self, Project, Registry, registry};

/// `one` and `two`, which share a layer and are pushed to a repository each, through `proxy`.
fn two_targets(registry: &Registry, proxy: &Proxy) -> Project {
    let mut project = Project::new(registry);
    project.repository = project.repository.replace(&registry.host, &proxy.host);
    project.write(
        "build.hcl",
        r#"
        variable "REPOSITORY" {}
        target "common" { dockerfile-inline = "FROM scratch\nCOPY common /\n" }
        group "default" { targets = ["one", "two"] }
        target "one" {
          contexts = { common = "target:common" }
          dockerfile-inline = "FROM common\nCOPY one /\n"
          tags = ["${REPOSITORY}/one:1"]
        }
        target "two" {
          contexts = { common = "target:common" }
          dockerfile-inline = "FROM common\nCOPY two /\n"
          tags = ["${REPOSITORY}/two:1"]
        }
        "#,
    );
    let unique = &project.repository;
    for name in ["common", "one", "two"] {
        project.write(name, &format!("{name} of {unique}\n"));
    }
    project
}

/// Returns what a tag names in the registry behind the proxy; `None` where it is not there.
fn raw(project: &Project, registry: &Registry, name: &str) -> Option<String> {
    let repository = project.repository.replace(&project.repository[..project.repository.find('/')?], &registry.host);
    let output =
        support::run("skopeo", &["inspect", "--tls-verify=false", "--raw", &format!("docker://{repository}/{name}")]);
    (output.code == Some(0)).then_some(output.stdout)
}

/// Starts a build and kills it once `is_it` says so of what `proxy` was asked, whose last the script lets hang.
fn kill_when(project: &Project, proxy: &Proxy, is_it: impl Fn(&[Asked]) -> bool) -> Vec<Asked> {
    let mut command = project.command(&["build", "--push"]);
    let mut child: Child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("bake starts");
    let deadline = Instant::now() + Duration::from_secs(20);
    let mut asked = Vec::new();
    while !is_it(&asked) {
        assert!(Instant::now() < deadline, "it was never asked: {asked:#?}");
        asked.extend(proxy.asked());
        std::thread::sleep(Duration::from_millis(5));
    }
    // What else is under way may end.
    std::thread::sleep(Duration::from_millis(200));
    asked.extend(proxy.asked());
    child.kill().expect("killed");
    child.wait().expect("waited");
    asked
}

fn uploads(asked: &[Asked]) -> Vec<String> {
    asked.iter().filter(|asked| asked.is_upload()).map(Asked::line).collect()
}

#[test]
fn a_release_that_was_killed_is_gone_on_with_and_nothing_is_sent_or_asked_for_twice() {
    let Some(registry) = registry() else { return };
    let proxy = Proxy::start(&registry.host);
    let project = two_targets(registry, &proxy);
    let is_manifest_of_two = |asked: &Asked| asked.method == "PUT" && asked.path.contains("/two/manifests/");
    proxy.script(move |asked| is_manifest_of_two(asked).then_some(Fault::Hang));
    let before = kill_when(&project, &proxy, |asked| asked.iter().any(is_manifest_of_two));
    // Three layers and two configs, of which the shared layer is sent once and mounted once.
    assert_eq!(uploads(&before).len(), 5, "{before:#?}");
    assert_eq!((raw(&project, registry, "one:1"), raw(&project, registry, "two:1")), (None, None));
    proxy.calm();
    let resumed = project.bake(&["build", "--push", "--resume"]).succeeds();
    let after = proxy.asked();
    for part in ["resume: going on with the release of ", " ago: 6 blobs and 1 manifest acknowledged; no tag moved\n"] {
        assert!(resumed.stderr.contains(part), "{part} is not in\n{}", resumed.stderr);
    }
    assert_eq!(uploads(&after), Vec::<String>::new());
    assert!(!after.iter().any(|asked| asked.path.contains("/blobs/")), "{after:#?}");
    assert_eq!(proxy.sent_again(), Vec::<String>::new());
    assert!(raw(&project, registry, "one:1").is_some() && raw(&project, registry, "two:1").is_some());
    // It is complete now.
    let again = project.bake(&["build", "--push", "--resume"]).succeeds();
    assert!(again.stderr.contains("resume: no release of this project was left unfinished"), "{}", again.stderr);
}

#[test]
fn without_resume_a_killed_release_is_simply_made_again() {
    let Some(registry) = registry() else { return };
    let proxy = Proxy::start(&registry.host);
    let project = two_targets(registry, &proxy);
    proxy.script(|asked| asked.is_tag().then_some(Fault::Hang));
    kill_when(&project, &proxy, |asked| asked.iter().any(Asked::is_tag));
    proxy.calm();
    let made = project.bake(&["build", "--push"]).succeeds();
    assert!(!made.stderr.contains("resume"), "{}", made.stderr);
    assert_eq!(uploads(&proxy.asked()), Vec::<String>::new());
    assert!(raw(&project, registry, "one:1").is_some() && raw(&project, registry, "two:1").is_some());
    let journals = std::fs::read_dir(project.store().join("state")).expect("a store").flatten();
    let names = journals.map(|entry| entry.file_name().to_string_lossy().into_owned());
    assert!(!names.into_iter().any(|name| name.starts_with("release-")));
}

#[test]
fn a_failure_between_two_tags_says_which_moved_and_resume_moves_the_other() {
    let Some(registry) = registry() else { return };
    let proxy = Proxy::start(&registry.host);
    let project = two_targets(registry, &proxy);
    project.bake(&["build", "--push"]).succeeds();
    let old = (raw(&project, registry, "one:1"), raw(&project, registry, "two:1"));
    project.write("one", "changed\n").write("two", "changed\n");
    let refuse_two =
        |asked: &Asked| (asked.is_tag() && asked.path.contains("/two/")).then_some(Fault::Status(403, None));
    proxy.script(refuse_two);
    let failed = project.bake(&["build", "--push"]).fails(5);
    let (one, two) = (format!("{}/one:1", project.repository), format!("{}/two:1", project.repository));
    for part in [
        "\n\n1 of 2 tags moved:\n".to_owned(),
        format!("\n  {one}  moved      to sha256:"),
        format!("\n  {two}  not moved  names sha256:"),
        "hint: run the same command with --resume: it moves the tags that have not moved".to_owned(),
    ] {
        assert!(failed.stderr.contains(&part), "{part} is not in\n{}", failed.stderr);
    }
    assert_ne!(raw(&project, registry, "one:1"), old.0);
    assert_eq!(raw(&project, registry, "two:1"), old.1);
    proxy.calm();
    proxy.asked();
    let resumed = project.bake(&["build", "--push", "--resume"]).succeeds();
    assert!(resumed.stderr.contains("1 of 2 tags moved\n") && resumed.stderr.contains(&one), "{}", resumed.stderr);
    let tags: Vec<String> = proxy.asked().iter().filter(|asked| asked.method == "PUT").map(Asked::line).collect();
    assert_eq!(tags.len(), 1, "{tags:?}");
    assert_ne!(raw(&project, registry, "two:1"), old.1);
}

#[test]
fn a_tag_that_somebody_else_moved_meanwhile_is_not_set_back_by_resume() {
    let Some(registry) = registry() else { return };
    let proxy = Proxy::start(&registry.host);
    let project = two_targets(registry, &proxy);
    proxy.script(|asked| (asked.is_tag() && asked.path.contains("/two/")).then_some(Fault::Status(403, None)));
    project.bake(&["build", "--push"]).fails(5);
    proxy.calm();
    // Another machine releases something newer.
    let other = two_targets(registry, &proxy);
    let mut command = other.command(&["build", "--push"]);
    command.env("REPOSITORY", &project.repository);
    assert!(command.output().expect("bake starts").status.success());
    let theirs = raw(&project, registry, "two:1");
    let refused = project.bake(&["build", "--push", "--resume"]).fails(5);
    assert!(refused.stderr.contains("was moved by somebody else since this release was begun"), "{}", refused.stderr);
    assert_eq!(raw(&project, registry, "two:1"), theirs);
    project.bake(&["build", "--push"]).succeeds();
    assert_ne!(raw(&project, registry, "two:1"), theirs);
}

#[test]
fn a_journal_of_other_targets_is_replaced_with_a_word() {
    let Some(registry) = registry() else { return };
    let proxy = Proxy::start(&registry.host);
    let project = two_targets(registry, &proxy);
    proxy.script(|asked| asked.is_tag().then_some(Fault::Status(403, None)));
    let failed = project.bake(&["build", "--push"]).fails(5);
    assert!(failed.stderr.contains("\n\n0 of 2 tags moved:\n"), "{}", failed.stderr);
    proxy.calm();
    let resumed = project.bake(&["build", "one", "--push", "--resume"]).succeeds();
    let word = "resume: the release that was left unfinished is one of other targets or tags; this one begins anew";
    assert!(resumed.stderr.contains(word), "{}", resumed.stderr);
    assert!(raw(&project, registry, "one:1").is_some());
    assert_eq!(raw(&project, registry, "two:1"), None);
}

#[test]
fn blobs_of_a_finished_target_are_sent_while_another_builds_and_no_tag_moves_if_that_fails() {
    let Some(registry) = registry() else { return };
    let proxy = Proxy::start(&registry.host);
    let mut project = Project::new(registry);
    project.repository = project.repository.replace(&registry.host, &proxy.host);
    project.write(
        "build.hcl",
        r#"
        variable "REGISTRY" {}
        variable "REPOSITORY" {}
        group "default" { targets = ["fast", "slow"] }
        target "fast" {
          dockerfile-inline = "FROM scratch\nCOPY fast /\n"
          tags = ["${REPOSITORY}/fast:1"]
        }
        target "slow" {
          dockerfile-inline = "FROM ${REGISTRY}/base/busybox:1\nRUN sleep 2; exit 3\n"
          tags = ["${REPOSITORY}/slow:1"]
        }
        "#,
    );
    project.write("fast", &project.repository);
    let failed = project.bake(&["build", "--push"]).fails(1);
    assert!(failed.stderr.contains("exit code 3"), "{}", failed.stderr);
    let asked = proxy.asked();
    assert_eq!(uploads(&asked).len(), 2, "{asked:#?}");
    assert!(!asked.iter().any(|asked| asked.method == "PUT" && asked.path.contains("/manifests/")), "{asked:#?}");
}

#[test]
fn a_blob_is_sent_to_a_registry_once_and_base_layers_are_mounted_unread() {
    if registry().is_none() {
        return;
    }
    let (mut server, own) = support::own_registry();
    let project = Project::new(&own);
    project.write(
        "build.hcl",
        r#"
        variable "REGISTRY" {}
        variable "REPOSITORY" {}
        target "default" {
          dockerfile-inline = "FROM ${REGISTRY}/base/busybox:1\nCOPY --link file /\n"
          tags = ["${REPOSITORY}/one:1", "${REPOSITORY}/two:1", "${REPOSITORY}/three:1"]
        }
        "#,
    );
    project.write("file", "content\n");
    server.stop();
    server.restart().expect("restarted");
    project.bake(&["build", "--push"]).succeeds();
    let requests = server.stop();
    let count = |is_meant: &dyn Fn(&str) -> bool| requests.iter().filter(|request| is_meant(request)).count();
    // The new layer and the config, each once.
    assert_eq!(
        count(&|request| request.starts_with("PUT ") && request.contains("/blobs/uploads/")),
        2,
        "{requests:#?}"
    );
    // These two into the two other repositories, and the base layer into all three.
    assert_eq!(count(&|request| request.contains("mount=")), 2 * 2 + 3, "{requests:#?}");
    // Only its config is read of the base image.
    let reads: Vec<_> = requests.iter().filter(|r| r.starts_with("GET ") && r.contains("/blobs/")).collect();
    assert!(reads.len() == 1 && reads[0].contains("/base/busybox/"), "{reads:#?}");
}

#[test]
fn what_was_built_is_published_beside_what_failed_only_when_told_to() {
    let Some(registry) = registry() else { return };
    let project = Project::new(registry);
    project.write(
        "build.hcl",
        r#"
        variable "REPOSITORY" {}
        variable "REGISTRY" {}
        target "good" {
          dockerfile-inline = "FROM scratch\nCOPY file /\n"
          tags = ["${REPOSITORY}:good"]
        }
        target "bad" {
          dockerfile-inline = "FROM ${REGISTRY}/base/busybox:1\nRUN exit 3\n"
          tags = ["${REPOSITORY}:bad"]
        }
        target "unsent" {
          dockerfile-inline = "FROM scratch\nCOPY file /unsent\n"
          tags = ["127.0.0.1:1/unsent:1"]
        }
        "#,
    );
    project.write("file", "content\n");
    let ran = project.bake(&["build", "good", "bad", "--push", "--keep-going"]).fails(1);
    assert!(ran.stderr.contains("built 1 of 2; nothing was published:\n"), "{}", ran.stderr);
    assert_eq!(project.raw("good"), None);
    let usage = project.bake(&["build", "good", "--push", "--publish-partial"]).fails(2);
    assert!(usage.stderr.contains("--keep-going"), "{}", usage.stderr);
    let ran = project.bake(&["build", "all", "--push", "--keep-going", "--publish-partial"]).fails(1);
    let (_, table) = ran.stderr.split_once("built 2 of 3; 1 target was published:\n").expect(&ran.stderr);
    let mut rows: Vec<&str> = table.lines().collect();
    rows.sort_unstable();
    let good = format!("  good    linux/amd64  published  {}:good", project.repository);
    assert_eq!(rows[1], good);
    assert!(rows[0].starts_with("  bad     linux/amd64  failed     [2/2] RUN exit 3"), "{table}");
    assert!(rows[2].starts_with("  unsent  linux/amd64  not sent   registry 127.0.0.1:1 cannot be reached"), "{table}");
    assert!(project.raw("good").is_some());
    assert!(!project.exists("bake.lock"));
    // All is built, and one of them cannot be sent.
    let ran = project.bake(&["build", "good", "unsent", "--push", "--keep-going", "--publish-partial"]).fails(5);
    assert!(ran.stderr.contains("\n\npublished 1 of 2 targets:\n  good    published      "), "{}", ran.stderr);
    assert!(ran.stderr.contains("\n  unsent  not published  "), "{}", ran.stderr);
}

#[test]
fn a_large_layer_is_gone_on_with_behind_the_last_piece_that_the_registry_has() {
    let Some(registry) = registry() else { return };
    let proxy = Proxy::start(&registry.host);
    let mut project = Project::new(registry);
    project.repository = project.repository.replace(&registry.host, &proxy.host);
    project.write("build.hcl", "variable \"REPOSITORY\" {}\ntarget \"default\" { tags = [\"${REPOSITORY}:1\"] }\n");
    project.write("Dockerfile", "FROM scratch\nCOPY large /\n");
    let noise = std::fs::File::open("/dev/urandom").expect("Linux");
    let mut large = std::fs::File::create(project.path().join("large")).expect("created");
    std::io::copy(&mut noise.take(100 << 20), &mut large).expect("written");
    // The first piece is refused once. What follows it breaks off in its middle, after which docker-registry 2.8 gives the upload up;
    // then it never arrives.
    let (mut n_pieces, mut n_ends) = (0, 0);
    let large = |asked: &Asked| asked.method == "PUT" && asked.length > 1 << 20;
    proxy.script(move |asked| {
        n_pieces += usize::from(asked.method == "PATCH");
        n_ends += usize::from(large(asked));
        match (n_pieces, n_ends) {
            (1, 0) if asked.method == "PATCH" => Some(Fault::Status(500, None)),
            (2, 1) if large(asked) => Some(Fault::CutRequest),
            (3, 2) if large(asked) => Some(Fault::Hang),
            _ => None,
        }
    });
    let n_pieces = |asked: &[Asked]| asked.iter().filter(|asked| asked.method == "PATCH").count();
    let is_last = |asked: &[Asked]| n_pieces(asked) == 3 && asked.last().is_some_and(large);
    let before = kill_when(&project, &proxy, is_last);
    assert_eq!(before.iter().filter(|asked| asked.method == "POST").count(), 3, "{before:#?}");
    proxy.calm();
    let resumed = project.bake(&["build", "--push", "--resume"]).succeeds();
    assert!(resumed.stderr.contains("; 32.0 MiB of blob "), "{}", resumed.stderr);
    let after = proxy.asked();
    // What follows the first piece alone, which again begins with a small one; the config was there.
    let uploads: Vec<&str> = after.iter().filter(|asked| asked.is_upload()).map(|asked| &*asked.method).collect();
    assert_eq!(uploads, ["PATCH", "PUT"], "{after:#?}");
    let copy = tempfile::tempdir().expect("a temporary directory");
    let name = format!("docker://{}:1", project.repository);
    let to = format!("dir:{}", copy.path().display());
    support::run("skopeo", &["copy", "--quiet", "--src-tls-verify=false", &name, &to]).succeeds();
}
