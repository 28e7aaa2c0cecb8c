//! A registry behind a network that breaks: whatever happens, a release completes or fails cleanly.
//!
//! Each seed makes another script of faults; the same seed the same one, as far as requests come in the same order.

use std::path::Path;

use bake::digest::Digest;

use crate::support::proxy::{Asked, Fault, Proxy};
use crate::support::{self, Project, Registry, registry};

/// Releases that are made, each with another script.
const SEEDS: std::ops::Range<u64> = 1..9;

/// How much a script spoils: one request in so many, and so many requests at most.
struct Intensity {
    one_in: u64,
    most: usize,
}

/// What a release mostly gets through, and what ends it mostly.
const INTENSITIES: [Intensity; 2] = [Intensity { one_in: 5, most: 12 }, Intensity { one_in: 2, most: 60 }];

struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % n
    }

    fn bytes(&mut self, n: usize) -> Vec<u8> {
        std::iter::repeat_with(|| self.below(256) as u8).take(n).collect()
    }
}

/// Spoils some requests, with faults that their kind can have.
fn script(seed: u64) -> impl FnMut(&Asked) -> Option<Fault> + Send {
    let Intensity { one_in, most } = INTENSITIES[(seed % 2) as usize];
    let (mut random, mut n_faults) = (Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15)), 0);
    move |asked| {
        if n_faults == most || random.below(one_in) > 0 {
            return None;
        }
        n_faults += 1;
        let always = [
            Fault::Status(500, None),
            Fault::Status(503, None),
            Fault::Status(429, Some(1)),
            Fault::Reset,
            Fault::LoseAnswer,
            Fault::Slow,
        ];
        let more: &[Fault] = match asked.method.as_str() {
            _ if asked.is_upload() => &[Fault::CutRequest, Fault::Expire, Fault::CutRequest],
            "GET" => &[Fault::CutAnswer, Fault::Spoil],
            "PUT" => &[Fault::Expire, Fault::Spoil],
            _ => &[Fault::Expire],
        };
        let all = [&always[..], more].concat();
        Some(all[random.below(all.len() as u64) as usize])
    }
}

/// Three images that share a layer, one of them large, in two repositories.
fn release(registry: &Registry, proxy: &Proxy, seed: u64) -> Project {
    let mut project = Project::new(registry);
    project.repository = project.repository.replace(&registry.host, &proxy.host);
    project.write(
        "build.hcl",
        r#"
        variable "REPOSITORY" {}
        target "common" { dockerfile-inline = "FROM scratch\nCOPY common /\n" }
        group "default" { targets = ["image"] }
        target "image" {
          name = "image-${i}"
          matrix = { i = ["0", "1", "2"] }
          contexts = { common = "target:common" }
          dockerfile-inline = "FROM common\nCOPY own-${i} /\n"
          tags = ["${REPOSITORY}/${i == "0" ? "a" : "b"}:${i}"]
        }
        "#,
    );
    let mut random = Random(seed);
    for name in ["common", "own-0", "own-1", "own-2"] {
        let size = if name == "common" { 1 << 20 } else { 50_000 };
        std::fs::write(project.path().join(name), random.bytes(size)).expect("written");
    }
    project
}

const TAGS: [&str; 3] = ["a:0", "b:1", "b:2"];

/// Reads every image that a tag names whole, straight from the registry, and returns which tags there are.
fn complete_tags(project: &Project, registry: &Registry, proxy: &Proxy) -> Vec<&'static str> {
    let repository = project.repository.replace(&proxy.host, &registry.host);
    let is_there = |tag: &&&str| {
        let name = format!("docker://{repository}/{tag}");
        if support::run("skopeo", &["inspect", "--tls-verify=false", "--raw", &name]).code != Some(0) {
            return false;
        }
        let copy = tempfile::tempdir().expect("a temporary directory");
        let to = format!("dir:{}", copy.path().display());
        support::run("skopeo", &["copy", "--quiet", "--src-tls-verify=false", &name, &to]).succeeds();
        true
    };
    TAGS.iter().filter(is_there).copied().collect()
}

#[test]
fn a_release_through_faults_completes_or_fails_cleanly_and_sends_nothing_twice() {
    let Some(registry) = registry() else { return };
    std::thread::scope(|scope| {
        for seed in SEEDS {
            scope.spawn(move || release_through_faults(registry, seed));
        }
    });
}

fn release_through_faults(registry: &Registry, seed: u64) {
    let proxy = Proxy::start(&registry.host);
    proxy.require_tokens();
    let project = release(registry, &proxy, seed);
    proxy.script(script(seed));
    let ran = project.bake(&["build", "--push"]);
    let n_faults = proxy.n_faults();
    proxy.calm();
    let tags = complete_tags(&project, registry, &proxy);
    match ran.code {
        Some(0) => assert_eq!(tags, TAGS, "seed {seed}"),
        Some(5) if ran.stderr.contains(" tags moved:\n") => {}
        Some(5) => {
            assert!(ran.stderr.contains("note: no tag was moved"), "seed {seed}: {}", ran.stderr);
            assert_eq!(tags, Vec::<&str>::new(), "seed {seed}");
        }
        code => panic!("seed {seed}: exit code {code:?}\n{}", ran.stderr),
    }
    assert!(n_faults > 0, "seed {seed} spoiled nothing");
    project.bake(&["build", "--push", "--resume"]).succeeds();
    assert_eq!(complete_tags(&project, registry, &proxy), TAGS, "seed {seed}");
    assert_eq!(proxy.sent_again(), Vec::<String>::new(), "seed {seed}");
}

#[test]
fn a_token_that_expires_in_the_middle_of_an_upload_is_renewed() {
    let Some(registry) = registry() else { return };
    let proxy = Proxy::start(&registry.host);
    proxy.require_tokens();
    let project = release(registry, &proxy, 77);
    let mut is_next = true;
    proxy.script(move |asked| {
        is_next = !is_next && asked.is_upload() || is_next && !asked.is_upload();
        (asked.is_upload() && !is_next).then_some(Fault::Expire)
    });
    project.bake(&["build", "--push"]).succeeds();
    assert!(proxy.n_faults() > 2);
    assert_eq!(complete_tags(&project, registry, &proxy), TAGS);
    assert_eq!(proxy.sent_again(), Vec::<String>::new());
}

/// Checks every blob of the store against its name.
fn check_blobs(store: &Path) {
    for blob in std::fs::read_dir(store.join("blobs/sha256")).expect("a store") {
        let path = blob.expect("an entry").path();
        let bytes = std::fs::read(&path).expect("a blob");
        assert_eq!(Digest::of(&bytes).hex(), path.file_name().expect("a name").to_string_lossy());
    }
}

/// A step on the base image, which comes through `proxy`; its result goes nowhere.
fn pull(registry: &Registry, proxy: &Proxy) -> Project {
    let project = Project::new(registry);
    let dockerfile = format!("FROM {}/base/busybox:1\nRUN true\n", proxy.host);
    project.write("Dockerfile", &dockerfile).write("build.hcl", "target \"default\" {}\n");
    project
}

#[test]
fn a_pull_through_faults_brings_in_what_was_asked_for_or_nothing() {
    let Some(registry) = registry() else { return };
    std::thread::scope(|scope| {
        for seed in SEEDS {
            scope.spawn(move || {
                let proxy = Proxy::start(&registry.host);
                let project = pull(registry, &proxy);
                proxy.script(script(seed));
                let ran = project.bake(&["build"]);
                assert!(matches!(ran.code, Some(0 | 5)), "seed {seed}: {:?}\n{}", ran.code, ran.stderr);
                check_blobs(&project.store());
                proxy.calm();
                project.bake(&["build"]).succeeds();
                check_blobs(&project.store());
            });
        }
    });
}

#[test]
fn a_base_layer_that_is_wrong_cut_or_slow_is_never_taken_for_the_right_one() {
    let Some(registry) = registry() else { return };
    for (fault, is_ok) in [(Fault::Spoil, false), (Fault::CutAnswer, false), (Fault::Slow, true)] {
        let proxy = Proxy::start(&registry.host);
        let project = pull(registry, &proxy);
        proxy.script(move |asked| (asked.method == "GET" && asked.path.contains("/blobs/")).then_some(fault));
        let ran = project.bake(&["build"]);
        assert_eq!(ran.code, Some(if is_ok { 0 } else { 5 }), "{fault:?}\n{}", ran.stderr);
        check_blobs(&project.store());
        proxy.calm();
        project.bake(&["build"]).succeeds();
    }
}
