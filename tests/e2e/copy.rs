//! COPY: what of a context gets where, with which modes and owners.

use std::os::unix::fs::symlink;

use crate::support::{Project, Ran, listing, run};

/// A project that builds `dockerfile` into the archive `out.tar`.
fn project(dockerfile: &str) -> Project {
    let project = Project::alone();
    project.write("build.hcl", "target \"default\" { output = [\"type=tar,dest=out.tar\"] }");
    project.write("Dockerfile", dockerfile);
    for path in ["src/a/b/f.txt", "src/a/s.txt", "src/c/g.md", "top.txt"] {
        project.write(path, path);
    }
    symlink("a/s.txt", project.path().join("src/link")).expect("linked");
    symlink("src", project.path().join("linked")).expect("linked");
    project
}

fn built(dockerfile: &str) -> String {
    let project = project(dockerfile);
    project.bake(&["build"]).succeeds();
    listing(&project.path().join("out.tar"))
}

fn fails(dockerfile: &str) -> Ran {
    project(dockerfile).bake(&["build"]).fails(1)
}

#[test]
fn parents_of_copied_paths_are_kept() {
    let copied = built("FROM scratch\nCOPY --parents src/a/b/f.txt src/c top.txt src/link /d/\n");
    let expected = "drwxr-xr-x 0/0 d/\n\
                    drwxr-xr-x 0/0 d/src/\n\
                    drwxr-xr-x 0/0 d/src/a/\n\
                    drwxr-xr-x 0/0 d/src/a/b/\n\
                    -rw-r--r-- 0/0 d/src/a/b/f.txt\n\
                    drwxr-xr-x 0/0 d/src/c/\n\
                    -rw-r--r-- 0/0 d/src/c/g.md\n\
                    lrwxrwxrwx 0/0 d/src/link -> a/s.txt\n\
                    -rw-r--r-- 0/0 d/top.txt\n";
    assert_eq!(copied, expected);
}

#[test]
fn a_pivot_says_where_kept_parents_begin_and_wildcards_span_directories() {
    let copied = built("FROM scratch\nCOPY --parents src/./a/b ./src/**/*.txt /d/\n");
    let expected = "drwxr-xr-x 0/0 d/\n\
                    drwxr-xr-x 0/0 d/a/\n\
                    drwxr-xr-x 0/0 d/a/b/\n\
                    -rw-r--r-- 0/0 d/a/b/f.txt\n\
                    drwxr-xr-x 0/0 d/src/\n\
                    drwxr-xr-x 0/0 d/src/a/\n\
                    drwxr-xr-x 0/0 d/src/a/b/\n\
                    -rw-r--r-- 0/0 d/src/a/b/f.txt\n\
                    -rw-r--r-- 0/0 d/src/a/s.txt\n";
    assert_eq!(copied, expected);
    // A wildcard before the pivot: each match is a top of its own.
    let copied = built("FROM scratch\nCOPY --parents src/?/./*/f.txt /d/\n");
    assert_eq!(copied, "drwxr-xr-x 0/0 d/\ndrwxr-xr-x 0/0 d/b/\n-rw-r--r-- 0/0 d/b/f.txt\n");
}

#[test]
fn what_is_excluded_of_kept_parents_is_not_there() {
    let copied = built("FROM scratch\nCOPY --parents --exclude=**/*.txt --exclude=src/link src /d/\n");
    let expected = "drwxr-xr-x 0/0 d/\n\
                    drwxr-xr-x 0/0 d/src/\n\
                    drwxr-xr-x 0/0 d/src/a/\n\
                    drwxr-xr-x 0/0 d/src/a/b/\n\
                    drwxr-xr-x 0/0 d/src/c/\n\
                    -rw-r--r-- 0/0 d/src/c/g.md\n";
    assert_eq!(copied, expected);
    let copied = built("FROM scratch\nCOPY --parents none*.txt /d/\n");
    assert_eq!(copied, "drwxr-xr-x 0/0 d/\n");
}

#[test]
fn new_parents_get_mode_and_owner_and_those_that_are_there_the_mode_of_the_source() {
    let copied = built("FROM scratch\nCOPY --parents --chmod=0700 --chown=5:6 src/a/b /d/\n");
    let expected = "drwx------ 5/6 d/\n\
                    drwx------ 5/6 d/src/\n\
                    drwx------ 5/6 d/src/a/\n\
                    drwx------ 5/6 d/src/a/b/\n\
                    -rwx------ 5/6 d/src/a/b/f.txt\n";
    assert_eq!(copied, expected);
    // As the peer: /d/src/a is only passed, so neither --chmod nor --chown reaches it; its mode is the source's.
    let copied = built(
        "FROM scratch\nCOPY --chmod=0750 --chown=1:1 top.txt /d/src/a/\n\
         COPY --parents --chmod=0711 --chown=7:8 src/a/b /d/\n",
    );
    let expected = "drwxr-x--- 1/1 d/\n\
                    drwxr-xr-x 1/1 d/src/\n\
                    drwxr-xr-x 1/1 d/src/a/\n\
                    drwx--x--x 7/8 d/src/a/b/\n\
                    -rwx--x--x 7/8 d/src/a/b/f.txt\n\
                    -rwxr-x--- 1/1 d/src/a/top.txt\n";
    assert_eq!(copied, expected);
}

#[test]
fn a_path_without_wildcards_has_to_be_there() {
    for (source, shown) in [("src/none", "/src/none"), ("src/./none", "/src/none"), ("linked/c/g.md", "/linked/c/g.md")]
    {
        let ran = fails(&format!("FROM scratch\nCOPY --parents {source} /d/\n"));
        assert!(ran.stderr.contains(&format!("no file or directory `{shown}`")), "{}", ran.stderr);
        assert!(ran.stderr.contains("Dockerfile:2"), "{}", ran.stderr);
    }
    let project = project("FROM scratch\nCOPY --parents src/c/g.md /d/\n");
    project.write(".dockerignore", "src/c\n");
    let ran = project.bake(&["build"]).fails(1);
    assert!(ran.stderr.contains("is excluded by the ignore file"), "{}", ran.stderr);
}

#[test]
fn kept_parents_are_copied_again_only_when_what_is_selected_changed() {
    let project = project("FROM scratch\nCOPY --parents src/**/*.txt /d/\n");
    project.bake(&["build"]).succeeds();
    project.write("src/c/g.md", "changed, and not selected");
    assert!(project.bake(&["build"]).succeeds().ran_nothing());
    project.write("src/c/new.txt", "new");
    assert!(!project.bake(&["build"]).succeeds().ran_nothing());
    assert!(listing(&project.path().join("out.tar")).contains("d/src/c/new.txt"));
}

#[test]
fn names_of_heredocs_and_mounts_are_no_patterns() {
    let copied = built("FROM scratch\nCOPY <<\"a[1]*\" /h/\ntext\na[1]*\n");
    assert_eq!(copied, "drwxr-xr-x 0/0 h/\n-rw-r--r-- 0/0 h/a[1]*\n");
}

#[test]
fn nothing_that_parents_name_leads_out_of_the_context() {
    let project = project("FROM scratch\nCOPY --parents out/secret ../../../secret* /d/\n");
    std::fs::write(project.home().join("secret"), "of the host").expect("written");
    symlink(project.home(), project.path().join("out")).expect("linked");
    let ran = project.bake(&["build"]).fails(1);
    assert!(ran.stderr.contains("no file or directory `/out/secret`"), "{}", ran.stderr);
    project.write("Dockerfile", "FROM scratch\nCOPY --parents out/** ../../../secret* ../src/./../secret* /d/\n");
    project.bake(&["build"]).succeeds();
    assert_eq!(listing(&project.path().join("out.tar")), "drwxr-xr-x 0/0 d/\n");
}

#[test]
fn parents_in_a_stage_keep_their_owners_modes_and_hard_links() {
    let project = project("");
    let tree = project.path().join("t/o/p/q");
    std::fs::create_dir_all(&tree).expect("created");
    std::fs::write(tree.join("f"), "x").expect("written");
    std::fs::hard_link(tree.join("f"), tree.join("hard")).expect("linked");
    let directory = project.path().join("t").display().to_string();
    run("chmod", &["1770", &format!("{directory}/o/p")]).succeeds();
    run("chmod", &["0750", &format!("{directory}/o/p/q")]).succeeds();
    let archive = project.path().join("t.tar").display().to_string();
    run("tar", &["--owner=11", "--group=12", "-cf", &archive, "-C", &directory, "o"]).succeeds();
    let built = |copy: &str| {
        project.write(
            "Dockerfile",
            &format!("FROM scratch AS base\nADD t.tar /r/\nFROM scratch\nCOPY --parents {copy} /d/\n"),
        );
        project.bake(&["build"]).succeeds();
        listing(&project.path().join("out.tar"))
    };
    let expected = "drwxr-xr-x 0/0 d/\n\
                    drwxr-xr-x 11/12 d/o/\n\
                    drwxrwx--T 11/12 d/o/p/\n\
                    drwxr-x--- 11/12 d/o/p/q/\n\
                    -rw-r--r-- 11/12 d/o/p/q/f\n\
                    hrw-r--r-- 11/12 d/o/p/q/hard link to d/o/p/q/f\n";
    assert_eq!(built("--from=base r/./o/p"), expected);
    // A directory that is left out, but for what is taken back in.
    let expected = "drwxr-xr-x 0/0 d/\n\
                    drwxr-xr-x 11/12 d/o/\n\
                    drwxrwx--T 11/12 d/o/p/\n\
                    drwxr-x--- 11/12 d/o/p/q/\n\
                    -rw-r--r-- 11/12 d/o/p/q/hard\n";
    assert_eq!(built("--from=base --exclude=**/q --exclude=!**/hard r/./o"), expected);
}
