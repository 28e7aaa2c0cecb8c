//! Secrets: what a step sees of them, and that nobody else does.

use std::io::Read;
use std::path::Path;

use crate::support::account::{Account, Ids};
use crate::support::{self, Project, Ran, registry};

/// A project whose Dockerfile is `FROM` the base image and `steps`, with `attributes` in its target.
pub fn project(registry: &support::Registry, attributes: &str, steps: &str) -> Project {
    let project = Project::new(registry);
    let bakefile = format!(
        "variable \"REGISTRY\" {{}}\ntarget \"default\" {{\n  args = {{ REGISTRY = REGISTRY }}\n  output = [\"type=local,dest=out\"]\n{attributes}\n}}\n"
    );
    project.write("build.hcl", &bakefile);
    project.write("Dockerfile", &format!("ARG REGISTRY\nFROM ${{REGISTRY}}/base/busybox:1\n{steps}"));
    project
}

/// Runs bake with variables of the environment.
fn bake_with(project: &Project, arguments: &[&str], env: &[(&str, &str)]) -> Ran {
    project.command(arguments).envs(env.iter().copied()).output().expect("bake starts").into()
}

/// The marker lies beside the project, so that only the secret itself brings it in.
const ALLOW: &str = "--allow=fs.read=../given/marker";

#[test]
fn a_secret_is_a_file_with_the_mode_and_owner_asked_for() {
    let Some(registry) = registry() else { return };
    let project = project(
        registry,
        "secret = [\"id=plain,src=plain.txt\", \"type=env,id=var\", { id = \"other\", env = \"OTHER_VALUE\" }]",
        "RUN mkdir /r\n\
         RUN --mount=type=secret,id=plain stat -c '%a %u:%g' /run/secrets/plain > /r/plain; \
             cat /run/secrets/plain | wc -c >> /r/plain; echo x 2>/dev/null > /run/secrets/plain || echo refused >> /r/plain\n\
         RUN --mount=type=secret,id=var,target=/etc/deep/er/token,mode=0440,uid=7,gid=8 \
             stat -c '%a %u:%g' /etc/deep/er/token > /r/var\n\
         RUN --mount=type=secret,id=other,target=relative cat relative | wc -c > /r/relative\n\
         RUN --mount=type=secret,id=absent if [ -e /run/secrets/absent ]; then echo there; else echo not; fi > /r/absent\n\
         RUN ls -A / > /r/left\n\
         RUN chmod 777 /r\n\
         USER 1000:1000\n\
         RUN --mount=type=secret,id=plain if cat /run/secrets/plain 2>/dev/null; then echo read; else echo denied; fi > /r/user\n\
         RUN --mount=type=secret,id=plain,uid=1000,mode=400 wc -c < /run/secrets/plain > /r/own\n",
    );
    project.write("plain.txt", "seven77");
    bake_with(&project, &["build"], &[("var", "v"), ("OTHER_VALUE", "four")]).succeeds();
    assert_eq!(project.read("out/r/plain"), "400 0:0\n7\nrefused\n");
    assert_eq!(project.read("out/r/var"), "440 7:8\n");
    assert_eq!(project.read("out/r/relative"), "4\n");
    assert_eq!(project.read("out/r/absent"), "not\n");
    assert_eq!(project.read("out/r/user"), "denied\n");
    assert_eq!(project.read("out/r/own"), "7\n");
    let left = project.read("out/r/left");
    assert!(!left.contains("run") && !left.contains("relative"), "{left}");
    for place in ["out/run", "out/etc/deep", "out/relative"] {
        assert!(!project.exists(place), "{place}");
    }
}

#[test]
fn a_secret_is_a_variable_of_its_step_alone() {
    let Some(registry) = registry() else { return };
    let project = project(
        registry,
        "secret = [\"id=token,src=token.txt\"]",
        "ENV TOKEN=public\n\
         RUN --mount=type=secret,id=token,env=TOKEN [ \"$TOKEN\" = 'a b' ] && [ ! -e /run/secrets/token ] && echo ok > /seen\n\
         RUN --mount=type=secret,id=token,env=T,target=/t [ \"$T\" = \"$(cat /t)\" ] && echo ok >> /seen\n\
         RUN echo \"$TOKEN\" >> /seen\n\
         RUN --mount=type=secret,id=none,env=TOKEN echo \"<$TOKEN>\" >> /seen\n",
    );
    project.write("token.txt", "a b");
    project.bake(&["build"]).succeeds();
    assert_eq!(project.read("out/seen"), "ok\nok\npublic\n<>\n");
}

#[test]
fn another_value_is_no_reason_to_run_a_step_again() {
    let Some(registry) = registry() else { return };
    let steps = "RUN --mount=type=secret,id=token,required wc -c < /run/secrets/token > /size\n";
    let project = project(registry, "secret = [\"id=token\"]", steps);
    bake_with(&project, &["build"], &[("token", "one")]).succeeds();
    let again = bake_with(&project, &["build"], &[("token", "other")]).succeeds();
    assert!(again.ran_nothing(), "{}", again.stderr);
    bake_with(&project, &["build", "--no-cache"], &[("token", "other")]).succeeds();
    assert_eq!(project.read("out/size"), "5\n");
}

#[test]
fn a_required_secret_that_is_not_given_fails_before_its_step_runs() {
    let Some(registry) = registry() else { return };
    for mount in ["id=token,required", "id=token,env=TOKEN,required=true"] {
        let steps = format!("RUN --mount=type=secret,{mount} echo it ran\n");
        let project = project(registry, "", &steps);
        let failed = project.bake(&["build"]).fails(3);
        for part in
            ["secret `token` is required", "Dockerfile:3:1: ", "3 | RUN --mount", "hint:", "id=token,src=FILE", "--set"]
        {
            assert!(failed.stderr.contains(part), "{part} is not in\n{}", failed.stderr);
        }
        assert!(!failed.stderr.contains("\n  it ran"), "{}", failed.stderr);
        // What the hint says works.
        project.write("file", "x");
        project.bake(&["build", "--set", "default.secrets=type=file,id=token,src=file"]).succeeds();
    }
}

/// Says in which files below `directory`, or names of files, `marker` stands; compressed ones are looked into.
fn found_in(directory: &Path, marker: &str, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(directory).expect("a directory") {
        let entry = entry.expect("an entry");
        let path = entry.path();
        let kind = entry.file_type().expect("a kind");
        if path.to_string_lossy().contains(marker) {
            found.push(path.display().to_string());
        }
        if kind.is_dir() {
            found_in(&path, marker, found);
        } else if kind.is_file() {
            let bytes = std::fs::read(&path).expect("readable");
            if holds(&bytes, marker) {
                found.push(path.display().to_string());
            }
        }
    }
}

/// Says whether the marker is in `bytes`, as it is or compressed.
fn holds(bytes: &[u8], marker: &str) -> bool {
    let is_in = |bytes: &[u8]| bytes.windows(marker.len()).any(|window| window == marker.as_bytes());
    let mut plain = Vec::new();
    let unpacked = match bytes {
        [0x1f, 0x8b, ..] => flate2::read::MultiGzDecoder::new(bytes).read_to_end(&mut plain).is_ok(),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => {
            plain = zstd::decode_all(bytes).unwrap_or_default();
            true
        }
        _ => false,
    };
    is_in(bytes) || (unpacked && is_in(&plain))
}

/// Steps that use the secret in each form; none prints it.
const USES: &str = "RUN --mount=type=secret,id=filed,required cat /run/secrets/filed > /dev/null\n\
     RUN --mount=type=secret,id=filed,env=IN_ENV,required [ -n \"$IN_ENV\" ]\n\
     RUN --mount=type=secret,id=varied,env=OTHER --mount=type=secret,id=varied,target=/x [ \"$OTHER\" = \"$(cat /x)\" ]\n";

fn marker() -> String {
    let mut bytes = [0; 16];
    std::fs::File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes)).expect("random bytes");
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

const GIVEN: &str = "secret = [\"id=filed,src=../given/marker\", \"id=varied,env=MARKER\"]";

/// Says where the marker is but in the file that gives it.
fn places(project: &Project, marker: &str) -> Vec<String> {
    let mut found = Vec::new();
    std::fs::remove_dir_all(project.home().join("given")).expect("removed");
    found_in(project.home(), marker, &mut found);
    found
}

#[test]
fn a_secret_is_found_nowhere_after_its_build() {
    let Some(registry) = registry() else { return };
    for (end, code) in [("RUN true\n", 0), ("RUN --mount=type=secret,id=filed,env=IN_ENV echo said; false\n", 1)] {
        let marker = marker();
        let project = project(registry, GIVEN, &format!("{USES}{end}"));
        project.write("../given/marker", &marker);
        let arguments = [
            "build",
            ALLOW,
            "--progress",
            "plain",
            "--metadata-file",
            "metadata.json",
            "--output",
            "type=oci,dest=image.tar",
            "--output",
            "type=local,dest=out",
        ];
        let ran = bake_with(&project, &arguments, &[("MARKER", &marker)]).fails(code);
        assert!(!ran.stdout.contains(&marker) && !ran.stderr.contains(&marker), "{}\n{}", ran.stdout, ran.stderr);
        assert!(code != 0 || (project.exists("image.tar") && project.exists("bake.lock")));
        assert_eq!(places(&project, &marker), Vec::<String>::new());
    }
}

#[test]
fn the_search_for_a_marker_finds_what_a_step_keeps() {
    let Some(registry) = registry() else { return };
    let marker = marker();
    let keep = "RUN --mount=type=secret,id=filed cat /run/secrets/filed > /kept\n";
    let project = project(registry, GIVEN, keep);
    project.write("../given/marker", &marker);
    bake_with(&project, &["build", ALLOW, "--output", "type=oci,dest=image.tar"], &[("MARKER", &marker)]).succeeds();
    assert!(places(&project, &marker).iter().any(|place| place.contains("store/")));
}

#[test]
fn a_user_without_privileges_gives_secrets_too() {
    let Some(registry) = registry() else { return };
    let subordinate =
        "RUN --mount=type=secret,id=filed,uid=7,gid=8,mode=0444 stat -c '%a %u:%g' /run/secrets/filed > /seen\n";
    let single = "RUN --mount=type=secret,id=filed stat -c '%a %u:%g' /run/secrets/filed > /seen\n";
    let accounts = [
        ("bake-e2e-secret-sub", Ids::Subordinate, subordinate, "444 7:8\n"),
        ("bake-e2e-secret-one", Ids::Single, single, "400 0:0\n"),
    ];
    for (name, ids, step, seen) in accounts {
        let Some(account) = Account::new(name, ids) else { return };
        let marker = marker();
        let project = project(registry, "secret = [\"id=filed,src=../given/marker\"]", step);
        project.write("../given/marker", &marker);
        account.adopt(&project);
        let ran = account.bake(&project, &["build", ALLOW]).succeeds();
        assert!(!ran.stderr.contains(&marker), "{}", ran.stderr);
        assert_eq!(project.read("out/seen"), seen);
        assert_eq!(places(&project, &marker), Vec::<String>::new());
    }
}
