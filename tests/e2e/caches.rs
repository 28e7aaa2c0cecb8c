//! `cache-from` and `cache-to`: what one machine built, another does not build.

use std::path::Path;

use crate::support::bucket::{ACCESS_KEY, Bucket, RUNTIME_TOKEN, SECRET_KEY, SESSION_TOKEN};
use crate::support::{self, Project, Ran, Registry, registry};

/// Steps of each kind: files, a process, a copy from another stage, a copy that lies over others.
const DOCKERFILE: &str = "ARG BASE=busybox\n\
     FROM ${BASE} AS tools\n\
     RUN echo tool-$((6*7)) > /tool\n\
     FROM ${BASE}\n\
     WORKDIR /app\n\
     COPY first ./\n\
     RUN cat first > made-of-first\n\
     COPY --from=tools /tool ./\n\
     COPY second ./\n\
     RUN cat second > made-of-second\n\
     COPY --link first /linked\n";

/// A project whose target fills and reads `cache`.
pub fn project(registry: &Registry, from: &str, to: &str) -> Project {
    let project = Project::new(registry);
    let (from, to) = (from.replace('"', "\\\""), to.replace('"', "\\\""));
    project.write(
        "build.hcl",
        &format!(
            "target \"default\" {{\n  args = {{ BASE = \"{}/base/busybox:1\" }}\n  output = [\"type=oci,dest=out.tar\"]\n  \
             cache-from = [\"{from}\"]\n  cache-to = [\"{to}\"]\n}}\n",
            registry.host
        ),
    );
    project.write("Dockerfile", DOCKERFILE).write("first", "1\n").write("second", "2\n");
    project
}

/// Forgets all that was built here.
pub fn forget(project: &Project) {
    support::remove(&project.store());
    _ = std::fs::remove_file(project.path().join("bake.lock"));
}

/// How many steps ran, by the line that sums the build up.
pub fn n_ran(ran: &Ran) -> usize {
    let line = ran.stderr.lines().find(|line| line.contains(" ran")).unwrap_or_else(|| panic!("{}", ran.stderr));
    let words: Vec<&str> = line.split_whitespace().collect();
    let at = words.iter().position(|word| word.trim_end_matches(',') == "ran").expect("found above");
    words[at - 2].parse().unwrap_or_else(|_| panic!("{line}"))
}

/// What every backend has to do, in a project whose cache is empty.
pub fn behaves(project: &Project, allow: &[&str]) {
    let build = [&["build"], allow].concat();
    let first = project.bake(&build).succeeds();
    assert_eq!(n_ran(&first), 9, "{}", first.stderr);
    assert!(!first.stderr.contains("warning:"), "{}", first.stderr);
    let image = project.bake(&["build"].iter().chain(allow).copied().collect::<Vec<_>>()).succeeds().stdout;
    forget(project);
    let second = project.bake(&build).succeeds();
    assert!(second.ran_nothing(), "{}", second.stderr);
    assert_eq!(second.stdout, image);
    forget(project);
    project.write("second", "changed\n");
    let changed = project.bake(&build).succeeds();
    // What follows the changed file; the linked copy stands alone, but what it is laid over is new.
    assert_eq!(n_ran(&changed), 3, "{}", changed.stderr);
    project.write("second", "2\n");
}

/// Both were exported at once: neither lost what the other has.
pub fn loses_nothing(one: &Project, two: &Project, allow: &[&str]) {
    let build = [&["build"], allow].concat();
    let run = |project: &Project| project.command(&build).stderr(std::process::Stdio::piped()).spawn().expect("bake");
    for (n, project) in [one, two].into_iter().enumerate() {
        project.write("first", &format!("of project {n}\n"));
    }
    let children = [run(one), run(two)];
    for child in children {
        Ran::from(child.wait_with_output().expect("bake ends")).succeeds();
    }
    for project in [one, two] {
        forget(project);
        let again = project.bake(&build).succeeds();
        assert!(again.ran_nothing(), "{}", again.stderr);
    }
}

fn cache_of(project: &str) -> String {
    format!("{project}:cache")
}

#[test]
fn a_cache_in_a_registry_spares_another_machine_the_build() {
    let Some(registry) = registry() else { return };
    let name = cache_of(&Project::new(registry).repository);
    let cache = format!("type=registry,ref={name}");
    behaves(&project(registry, &cache, &format!("{cache},mode=max")), &[]);
    let projects = [0, 1].map(|_| project(registry, &cache, &format!("{cache},mode=max")));
    loses_nothing(&projects[0], &projects[1], &[]);
    let manifest = support::run("skopeo", &["inspect", "--tls-verify=false", "--raw", &format!("docker://{name}")]);
    assert!(manifest.succeeds().stdout.contains("application/vnd.bake.cache.config.v1+json"));
}

#[test]
fn a_cache_in_a_directory_spares_another_machine_the_build() {
    let Some(registry) = registry() else { return };
    let shared = tempfile::tempdir().expect("a temporary directory");
    let place = shared.path().join("cache");
    let allow = format!("--allow=fs={}", shared.path().display());
    let (from, to) =
        (format!("type=local,src={}", place.display()), format!("type=local,dest={},mode=max", place.display()));
    behaves(&project(registry, &from, &to), &[&allow]);
    let projects = [0, 1].map(|_| project(registry, &from, &to));
    loses_nothing(&projects[0], &projects[1], &[&allow]);
    damage_is_survived(&project(registry, &from, &to), &place, &allow);
}

/// A cache that was cut short, rotted or lies costs a warning and the time that it would have spared.
fn damage_is_survived(project: &Project, place: &Path, allow: &str) {
    let build = ["build", allow];
    let image = project.bake(&build).succeeds().stdout;
    let blobs =
        || std::fs::read_dir(place.join("blobs/sha256")).expect("listed").map(|entry| entry.expect("listed").path());
    let entries = || std::fs::read_dir(place.join("bake")).expect("listed").map(|entry| entry.expect("listed").path());
    let saved: Vec<_> =
        blobs().chain(entries()).map(|path| (path.clone(), std::fs::read(&path).expect("read"))).collect();
    let restore = || saved.iter().for_each(|(path, bytes)| std::fs::write(path, bytes).expect("written"));
    let survives = |what: &str| {
        forget(project);
        let ran = project.bake(&build).succeeds();
        assert_eq!(ran.stdout, image, "{what}");
        let warnings = ran.stderr.lines().filter(|line| line.starts_with("warning: the cache in ")).count();
        assert_eq!(warnings, 1, "{what}: {}", ran.stderr);
        assert!(n_ran(&ran) > 0, "{what}: {}", ran.stderr);
        restore();
    };
    blobs().for_each(|path| std::fs::write(path, b"rotten").expect("written"));
    survives("other bytes");
    blobs().for_each(|path| {
        let size = std::fs::metadata(&path).expect("there").len();
        std::fs::File::options().write(true).open(path).and_then(|file| file.set_len(size / 2)).expect("cut");
    });
    survives("half of the bytes");
    blobs().for_each(|path| std::fs::remove_file(path).expect("removed"));
    survives("no layers");
    entries().for_each(|path| std::fs::write(path, b"{\"version\":1,").expect("written"));
    survives("no entries");
    // Every entry says that its step makes the layer of another.
    let texts: Vec<String> = saved
        .iter()
        .filter(|(path, _)| path.starts_with(place.join("bake")))
        .map(|(_, bytes)| String::from_utf8(bytes.clone()).expect("text"))
        .filter(|text| text.contains("diffId"))
        .collect();
    let diff_id =
        |text: &str| text.split("\"diffId\":\"").nth(1).and_then(|rest| rest.get(..71)).expect("there").to_owned();
    let other = diff_id(&texts[0]);
    entries().for_each(|path| {
        let text = std::fs::read_to_string(&path).expect("read");
        if text.contains("diffId") {
            let last = other.chars().last().expect("a digit");
            let lie = format!("{}{}", &other[..70], if last == '0' { '1' } else { '0' });
            std::fs::write(&path, text.replace(&diff_id(&text), &lie)).expect("written");
        }
    });
    survives("layers that are others");
}

#[test]
fn a_list_of_one_build_is_read_alone() {
    let Some(registry) = registry() else { return };
    let shared = tempfile::tempdir().expect("a temporary directory");
    let place = shared.path().display().to_string();
    let allow = format!("--allow=fs={place}");
    let project = project(registry, &format!("type=local,src={place}"), &format!("type=local,dest={place}"));
    project.bake(&["build", &allow]).succeeds();
    let mut lists = std::fs::read_dir(shared.path().join("blobs/sha256")).expect("listed").filter_map(|entry| {
        let path = entry.expect("listed").path();
        std::fs::read(&path).expect("read").starts_with(b"{").then(|| path.file_name()?.to_str().map(str::to_owned))?
    });
    let list = lists.next().expect("a list");
    forget(&project);
    let set = format!("--set=*.cache-from=type=local,src={place},digest=sha256:{list}");
    // `mode=min`: the tool's stage is no part of the image.
    assert_eq!(n_ran(&project.bake(&["build", &allow, &set]).succeeds()), 1);
    forget(&project);
    let set = format!("--set=*.cache-from=type=local,src={place},digest=sha256:{}", "0".repeat(64));
    let none = project.bake(&["build", &allow, &set]).succeeds();
    assert!(none.stderr.contains("it has no list of entries"), "{}", none.stderr);
}

#[test]
fn records_in_an_image_spare_the_steps_that_made_it() {
    let Some(registry) = registry() else { return };
    let image = Project::new(registry).repository;
    let project = project(registry, &format!("type=registry,ref={image}:1"), "type=inline");
    let push = format!("--set=*.output=type=registry,name={image}:1");
    let first = project.bake(&["build", &push]).succeeds();
    assert_eq!(n_ran(&first), 9, "{}", first.stderr);
    forget(&project);
    project.write("second", "changed\n");
    let second = project.bake(&["build", &push]).succeeds();
    assert!(n_ran(&second) < 5, "{}", second.stderr);
}

#[test]
fn a_cache_that_is_not_there_is_a_warning_and_one_that_cannot_be_filled_an_error() {
    let Some(registry) = registry() else { return };
    let nowhere = "type=registry,ref=127.0.0.1:1/cache:1";
    let project = project(registry, nowhere, &format!("{nowhere},ignore-error=true"));
    let ran = project.bake(&["build"]).succeeds();
    for warning in [
        "warning: the cache in 127.0.0.1:1/cache:1 is not used: ",
        "warning: the cache in 127.0.0.1:1/cache:1 was not filled: ",
    ] {
        assert_eq!(ran.stderr.matches(warning).count(), 1, "{}", ran.stderr);
    }
    let failed = project.bake(&["build", &format!("--set=*.cache-to={nowhere}")]).fails(5);
    assert!(failed.stderr.contains("error: the cache in 127.0.0.1:1/cache:1 could not be filled"), "{}", failed.stderr);
    assert!(project.exists("bake.lock") && project.exists("out.tar"));
    let refused = project.bake(&["build", "--set=*.cache-to=type=azblob,name=x"]).fails(3);
    assert!(refused.stderr.contains("type=azblob"), "{}", refused.stderr);
}

/// Says whether something that is secret is in what a command printed.
fn assert_no_secret(ran: &Ran) {
    for secret in [SECRET_KEY, SESSION_TOKEN, RUNTIME_TOKEN, "sig=hidden"] {
        assert!(!ran.stderr.contains(secret) && !ran.stdout.contains(secret), "{}", ran.stderr);
    }
}

#[test]
fn a_cache_in_a_bucket_spares_another_machine_the_build() {
    let Some(registry) = registry() else { return };
    let bucket = Bucket::start();
    let place = format!(
        "type=s3,bucket=caches,region=test-region,prefix=of tests/,endpoint_url=http://{},use_path_style=true,\
         access_key_id={ACCESS_KEY},secret_access_key={SECRET_KEY},session_token={SESSION_TOKEN}",
        bucket.host
    );
    behaves(&project(registry, &place, &format!("{place},mode=max")), &[]);
    let projects = [0, 1].map(|_| project(registry, &place, &format!("{place},mode=max")));
    loses_nothing(&projects[0], &projects[1], &[]);
    assert_eq!(*bucket.complaints.lock().expect("unpoisoned"), Vec::<String>::new());
    let names: Vec<String> = bucket.objects.lock().expect("unpoisoned").keys().cloned().collect();
    let is_known = |name: &String| {
        let name = name.strip_prefix("/caches/of%20tests/").unwrap_or_default();
        name.starts_with("blobs/sha256%3A") || name.starts_with("manifests/buildkit/bake/")
    };
    assert!(names.iter().all(is_known), "{names:#?}");
    // What the bucket has of a layer is not the layer.
    bucket.objects.lock().expect("unpoisoned").values_mut().for_each(|bytes| bytes.truncate(bytes.len() / 2));
    forget(&projects[0]);
    let ran = projects[0].bake(&["build"]).succeeds();
    assert!(ran.stderr.contains("warning: the cache in s3 caches/of tests/buildkit is not used: "), "{}", ran.stderr);
    assert_no_secret(&ran);
}

#[test]
fn credentials_of_a_bucket_come_from_the_environment_or_a_profile_and_are_never_shown() {
    let Some(registry) = registry() else { return };
    let bucket = Bucket::start();
    let place = format!("type=s3,bucket=caches,endpoint_url=http://{},use_path_style=true", bucket.host);
    let project = project(registry, &place, &place);
    let run = |variables: &[(&str, &str)]| -> Ran {
        forget(&project);
        let mut command = project.command(&["build"]);
        command.env("AWS_REGION", "test-region").envs(variables.iter().copied());
        command.output().expect("bake starts").into()
    };
    let keys = [
        ("AWS_ACCESS_KEY_ID", ACCESS_KEY),
        ("AWS_SECRET_ACCESS_KEY", SECRET_KEY),
        ("AWS_SESSION_TOKEN", SESSION_TOKEN),
    ];
    assert_no_secret(&run(&keys).succeeds());
    assert_eq!(*bucket.complaints.lock().expect("unpoisoned"), Vec::<String>::new());
    project.write(
        "../.aws/credentials",
        &format!(
            "[default]\naws_access_key_id=x\naws_secret_access_key=y\n[ci]\naws_access_key_id={ACCESS_KEY}\n\
             aws_secret_access_key={SECRET_KEY}\naws_session_token={SESSION_TOKEN}\n"
        ),
    );
    let ran = run(&[("AWS_PROFILE", "ci")]).succeeds();
    assert_eq!(n_ran(&ran), 1, "the stage that is no part of the image: {}", ran.stderr);
    let denied = run(&[]).fails(5);
    assert!(denied.stderr.contains("answered 403: no session token"), "{}", denied.stderr);
    assert_no_secret(&denied);
}

#[test]
fn a_cache_of_github_actions_spares_another_job_the_build() {
    let Some(registry) = registry() else { return };
    let service = Bucket::start();
    let place = format!("type=gha,scope=main,url_v2=http://{}/,token={RUNTIME_TOKEN}", service.host);
    behaves(&project(registry, &place, &format!("{place},mode=max")), &[]);
    let projects = [0, 1].map(|_| project(registry, &place, &format!("{place},mode=max")));
    loses_nothing(&projects[0], &projects[1], &[]);
    assert_eq!(*service.complaints.lock().expect("unpoisoned"), Vec::<String>::new());
    // Outside of GitHub Actions it is not there, and nobody misses it.
    let outside = project(registry, "type=gha", "type=gha");
    let ran = outside.bake(&["build"]).succeeds();
    assert!(!ran.stderr.contains("warning: "), "{}", ran.stderr);
    forget(&outside);
    let mut command = outside.command(&["build"]);
    command.env("ACTIONS_RUNTIME_TOKEN", RUNTIME_TOKEN).env("ACTIONS_CACHE_SERVICE_V2", "true");
    let ran: Ran =
        command.env("ACTIONS_RESULTS_URL", format!("http://{}", service.host)).output().expect("runs").into();
    assert_no_secret(&ran.succeeds());
}
