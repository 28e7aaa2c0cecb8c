//! `bake affected`: the targets that a change since a revision makes other ones.

use std::collections::BTreeSet;
use std::path::Path;

use crate::support::{Project, run};

fn git(directory: &Path, arguments: &[&str]) -> String {
    let directory = directory.display().to_string();
    let identity = ["-c", "user.name=t", "-c", "user.email=t@example.test", "-c", "commit.gpgsign=false"];
    run("git", &[&["-C", &directory], &identity[..], arguments].concat()).succeeds().stdout.trim().to_owned()
}

/// Commits all there is and returns the commit.
fn commit(project: &Project) -> String {
    git(&project.path(), &["add", "--all"]);
    git(&project.path(), &["commit", "--quiet", "--allow-empty", "--message", "state"]);
    git(&project.path(), &["rev-parse", "HEAD"])
}

/// A library, a service on it, a service of its own, and one that reads all but what is ignored.
fn monorepo() -> Project {
    let project = Project::alone();
    project.write(
        "build.hcl",
        r#"
        variable "LEVEL" { default = "1" }
        target "library" {
          context = "library"
          dockerfile-inline = "FROM scratch\nCOPY src /lib/\n"
        }
        target "on-it" {
          context   = "on-it"
          contexts  = { library = "target:library" }
          platforms = ["linux/amd64", "linux/arm64"]
          dockerfile-inline = "FROM scratch\nCOPY --from=library /lib /lib\nCOPY . /srv/\n"
        }
        target "own" {
          args = { LEVEL = LEVEL }
          dockerfile = "own/Dockerfile"
        }
        target "all-files" {
          dockerfile-inline = "FROM scratch\nCOPY . /\n"
        }
        "#,
    );
    project.write("own/Dockerfile", "# what it is\nFROM scratch\nARG LEVEL\nCOPY own/main.c /\nENV LEVEL=$LEVEL\n");
    project.write("library/src/a.c", "a").write("library/notes", "n").write("on-it/b.c", "b").write("own/main.c", "m");
    project.write(".dockerignore", "build.hcl\n.git\n*/notes\nown/Dockerfile\n.dockerignore\n");
    git(&project.path(), &["init", "--quiet", "--initial-branch=main"]);
    commit(&project);
    project
}

fn affected(project: &Project, arguments: &[&str]) -> Vec<String> {
    let ran = project.bake(&[&["affected"], arguments].concat()).succeeds();
    ran.stdout.lines().map(str::to_owned).collect()
}

#[test]
fn only_what_sees_a_change_is_affected() {
    let project = monorepo();
    let since = ["--since", "HEAD"];
    assert_eq!(affected(&project, &since), Vec::<String>::new());
    let library = ["all-files linux/amd64", "library linux/amd64", "on-it linux/amd64", "on-it linux/arm64"];
    // Each is undone afterwards.
    let edits: [(&str, &str, &[&str]); 8] = [
        ("library/src/a.c", "aa", &library),
        ("on-it/b.c", "bb", &["all-files linux/amd64", "on-it linux/amd64", "on-it linux/arm64"]),
        ("own/main.c", "mm", &["all-files linux/amd64", "own linux/amd64"]),
        ("library/notes", "nobody selects them", &[]),
        ("new", "only one selects all", &["all-files linux/amd64"]),
        (".dockerignore", "build.hcl\n.git\n*/notes\nown/Dockerfile\n.dockerignore\nnothing\n", &[]),
        ("own/Dockerfile", "# another remark\nFROM scratch\nARG LEVEL\nCOPY own/main.c /\nENV LEVEL=$LEVEL\n", &[]),
        ("own/Dockerfile", "FROM scratch\nARG LEVEL\nCOPY own/main.c /srv/\nENV LEVEL=$LEVEL\n", &["own linux/amd64"]),
    ];
    for (name, text, expected) in edits {
        project.write(name, text);
        assert_eq!(affected(&project, &since), expected, "{name}: {text}");
        git(&project.path(), &["clean", "--quiet", "-fd"]);
        git(&project.path(), &["checkout", "--quiet", "--", "."]);
    }
    let level = project.read("build.hcl").replace("default = \"1\"", "default = \"2\"");
    project.write("build.hcl", &level);
    assert_eq!(affected(&project, &since), ["own linux/amd64"]);
    assert_eq!(affected(&project, &["--since", "HEAD", "library", "on-it"]), Vec::<String>::new());
}

#[test]
fn reasons_name_what_changed() {
    let project = monorepo();
    let before = commit(&project);
    project.write("library/src/a.c", "aa").write("library/src/new.c", "new");
    commit(&project);
    let lines = affected(&project, &["--since", &before, "--reasons", "on-it"]);
    assert_eq!(lines[0], "on-it linux/amd64", "{lines:#?}");
    assert!(lines[1].starts_with("  library/src/a.c changed: sha256:"), "{lines:#?}");
    assert_eq!(lines[2], "  library/src/new.c is new", "{lines:#?}");
    let document = project.bake(&["affected", "--since", "main~1", "--format", "json"]).succeeds().stdout;
    let document: serde_json::Value = serde_json::from_str(&document).expect("JSON");
    assert_eq!(document["since"], before);
    assert_eq!(document["targets"], serde_json::json!(["all-files", "library", "on-it"]));
    assert_eq!(document["unaffected"], 1);
    assert_eq!(document["affected"][0]["platform"], "linux/amd64");
}

#[test]
fn what_cannot_be_known_is_affected_and_what_is_not_there_is_an_error() {
    let project = monorepo();
    let good = project.read("build.hcl");
    project.write("build.hcl", "target \"library\" {\n");
    commit(&project);
    project.write("build.hcl", &good);
    let lines = affected(&project, &["--since", "HEAD", "--reasons", "library"]);
    assert_eq!(lines[0], "library linux/amd64");
    assert!(lines[1].starts_with("  HEAD cannot be read"), "{lines:#?}");
    project.write(
        "build.hcl",
        "target \"download\" {\n  dockerfile-inline = \"FROM scratch\\nADD http://127.0.0.1:1/file /\\n\"\n}\n",
    );
    commit(&project);
    let lines = affected(&project, &["--since", "HEAD", "--reasons"]);
    assert_eq!(lines[0], "download linux/amd64");
    assert!(lines[1].contains("may stand for something else now"), "{lines:#?}");
    let wrong = project.bake(&["affected", "--since", "no-such-branch"]).fails(2);
    assert!(wrong.stderr.contains("there is no revision `no-such-branch`"), "{}", wrong.stderr);
    std::fs::remove_dir_all(project.path().join(".git")).expect("removed");
    let wrong = project.bake(&["affected", "--since", "HEAD"]).fails(2);
    assert!(wrong.stderr.contains("is in no git repository"), "{}", wrong.stderr);
}

/// Numbers that look random and are the same each time.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % end
    }
}

/// Builds all in an empty store and returns each target's digest.
fn brute_force(project: &Project) -> BTreeSet<String> {
    let store = project.home().join("brute");
    crate::support::remove(&store);
    let store = store.display().to_string();
    let ran = project.bake(&["build", "all", "--quiet", "--no-cache", "--store", &store]).succeeds();
    ran.stdout.lines().map(str::to_owned).collect()
}

#[test]
fn on_random_graphs_it_is_exactly_what_a_rebuild_of_everything_changes() {
    const N_TARGETS: usize = 12;
    let mut numbers = Numbers(7);
    for _ in 0..4 {
        let project = Project::alone();
        let mut bakefile = String::new();
        for target in 0..N_TARGETS {
            let links: BTreeSet<usize> = (0..numbers.below(3)).map(|_| numbers.below(target.max(1))).collect();
            let links: Vec<usize> = links.into_iter().filter(|link| *link < target).collect();
            let mut steps = format!("FROM scratch\\nCOPY shared/{} d{}/x* /\\n", numbers.below(4), numbers.below(6));
            let mut contexts = String::new();
            for link in &links {
                // Half of them read only a part that few changes reach.
                let part = ["", "x1"][numbers.below(2)];
                steps += &format!("COPY --from=l{link} /{part} /l{link}/\\n");
                contexts += &format!("l{link} = \"target:t{link}\", ");
            }
            bakefile += &format!(
                "target \"t{target}\" {{\n  contexts = {{ {contexts} }}\n  dockerfile-inline = \"{steps}\"\n}}\n"
            );
        }
        project.write("build.hcl", &bakefile);
        for n in 0..6 {
            project.write(&format!("shared/{n}"), "s");
            (0..3).for_each(|file| _ = project.write(&format!("d{n}/x{file}"), &format!("{n} {file}")));
        }
        git(&project.path(), &["init", "--quiet"]);
        for _ in 0..4 {
            commit(&project);
            _ = std::fs::remove_file(project.path().join("bake.lock"));
            let before = brute_force(&project);
            let file = match numbers.below(3) {
                0 => format!("shared/{}", numbers.below(6)),
                _ => format!("d{}/x{}", numbers.below(6), numbers.below(4)),
            };
            project.write(&file, &format!("edit {}", numbers.below(1000)));
            let told: BTreeSet<String> = affected(&project, &["--since", "HEAD"])
                .iter()
                .map(|line| line.split(' ').next().expect("a name").to_owned())
                .collect();
            let after = brute_force(&project);
            let name = |line: &String| line.split(' ').next().expect("a name").to_owned();
            let rebuilt: BTreeSet<String> = after.difference(&before).map(name).collect();
            // A step over a changed one may make the same bytes again (it reads a part): such may be told all the same.
            assert!(rebuilt.is_subset(&told), "{file}: {rebuilt:?} and not {told:?}\n{bakefile}");
            let spared = told.difference(&rebuilt).filter(|target| !reads_a_part(&bakefile, target)).count();
            assert_eq!(spared, 0, "{file}: {told:?} and not {rebuilt:?}\n{bakefile}");
        }
    }
}

/// Says whether a target, or one that it is built from, reads only a part of another.
fn reads_a_part(bakefile: &str, target: &str) -> bool {
    let block = bakefile.split("target \"").find(|block| block.starts_with(&format!("{target}\""))).expect("there");
    let linked = block.split("target:").skip(1).map(|rest| rest.split('"').next().expect("a name").to_owned());
    block.contains("/x1 /l") || linked.collect::<Vec<_>>().iter().any(|linked| reads_a_part(bakefile, linked))
}
