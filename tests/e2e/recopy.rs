//! COPY of a large directory again: only differences are written, and nobody can tell.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use crate::support::{self, Project, registry};

/// What it is, and what makes it below the directory that is copied.
type Edit = (&'static str, fn(&Path));

/// What is done to the files between two builds, in order.
const EDITS: [Edit; 12] = [
    ("a file changes", |src| write(src, "d3/f7", "changed")),
    ("a file is new", |src| write(src, "d3/new", "new")),
    ("a file goes", |src| std::fs::remove_file(src.join("d4/f1")).expect("removed")),
    ("a directory is new", |src| write(src, "e/deep/er", "new")),
    ("a directory goes", |src| std::fs::remove_dir_all(src.join("e")).expect("removed")),
    ("a file becomes a link", |src| {
        std::fs::remove_file(src.join("d5/f2")).expect("removed");
        symlink("../d1/f1", src.join("d5/f2")).expect("linked");
    }),
    ("a file may be run", |src| {
        std::fs::set_permissions(src.join("d6/f1"), PermissionsExt::from_mode(0o755)).expect("set");
    }),
    ("what the parent had shows again", |src| std::fs::remove_file(src.join("d1/kept")).expect("removed")),
    ("a directory that the parent has is emptied", |src| {
        std::fs::remove_dir_all(src.join("d2")).expect("removed");
        std::fs::create_dir(src.join("d2")).expect("made");
    }),
    ("a directory becomes a file", |src| {
        std::fs::remove_dir_all(src.join("d7")).expect("removed");
        write(src, "d7", "a file now");
    }),
    ("much changes", |src| (0..100).for_each(|n| write(src, &format!("d8/f{n}"), "all new"))),
    ("nothing changes but times", |src| {
        let file = std::fs::File::open(src.join("d9/f1")).expect("there");
        file.set_modified(std::time::UNIX_EPOCH).expect("set");
    }),
];

fn write(src: &Path, name: &str, text: &str) {
    let path = src.join(name);
    std::fs::create_dir_all(path.parent().expect("below src")).expect("made");
    std::fs::write(path, text).expect("written");
}

/// Says how many snapshots of the store are differences to another.
fn n_differences(project: &Project) -> usize {
    let snapshots = std::fs::read_dir(project.store().join("snapshots")).expect("a store");
    snapshots.filter(|snapshot| snapshot.as_ref().expect("an entry").path().join("over").exists()).count()
}

#[test]
fn a_directory_copied_again_is_what_a_copy_from_the_start_is() {
    let Some(registry) = registry() else { return };
    let n_differences = check_edits(registry, "COPY src /app/");
    assert!((5..=11).contains(&n_differences), "{n_differences}");
}

#[test]
fn a_directory_linked_again_is_what_a_linked_copy_from_the_start_is() {
    let Some(registry) = registry() else { return };
    // One for each that lies over the stage, besides those to one another.
    let n_differences = check_edits(registry, "COPY --link src /app/");
    assert!(n_differences > 12, "{n_differences}");
}

/// Copies with the instruction `copy` after each of the edits, and returns how many snapshots are differences then.
fn check_edits(registry: &support::Registry, copy: &str) -> usize {
    let project = Project::new(registry);
    let src = project.path().join("src");
    for directory in 0..10 {
        (0..20).for_each(|file| write(&src, &format!("d{directory}/f{file}"), &format!("{directory} {file}")));
    }
    // So large that the layer's hash is marked between them, and need not begin anew.
    ["d0/large", "d5/large"].iter().for_each(|name| write(&src, name, &name.repeat(9 << 17)));
    write(&src, "d1/kept", "over the parent's");
    project.write("before/d1/kept", "the parent's").write("before/d2/kept", "the parent's");
    project.write("build.hcl", "variable \"REGISTRY\" {}\ntarget \"default\" {\n  args = { REGISTRY = REGISTRY }\n}\n");
    project.write(
        "Dockerfile",
        &format!(
            "ARG REGISTRY\n\
             FROM ${{REGISTRY}}/base/busybox:1\n\
             COPY before /app/\n\
             {copy}\n\
             RUN find /app | sort | xargs stat -c '%n %a %u %g %Y %F' > /listing\n\
             RUN find /app -type f | sort | xargs stat -c '%n %h %s' > /links\n"
        ),
    );
    project.bake(&["build"]).succeeds();
    let fresh = project.home().join("fresh");
    for (edit, make) in EDITS {
        make(&src);
        let again = project.bake(&["build"]).succeeds();
        let fresh_store = ["build", "--no-cache", "--store", fresh.to_str().expect("text")];
        assert_eq!(again.stdout, project.bake(&fresh_store).succeeds().stdout, "{edit}");
        support::remove(&fresh);
    }
    let snapshots = std::fs::read_dir(project.store().join("snapshots")).expect("a store");
    let marks =
        snapshots.filter_map(|snapshot| std::fs::metadata(snapshot.expect("an entry").path().join("marks")).ok());
    let empty = 45;
    assert!(marks.filter(|marks| marks.len() > empty).count() >= n_differences(&project) / 2);
    n_differences(&project)
}

#[test]
fn differences_do_not_pile_up_without_end() {
    let Some(registry) = registry() else { return };
    let project = Project::new(registry);
    let src = project.path().join("src");
    (0..200).for_each(|file| write(&src, &format!("f{file}"), "same"));
    project.write("build.hcl", "target \"default\" {\n  output = [\"type=cacheonly\"]\n}\n");
    project.write("Dockerfile", "FROM scratch\nCOPY src /src\n");
    for n in 0..20 {
        write(&src, "f7", &format!("edit {n}"));
        project.bake(&["build"]).succeeds();
    }
    // Every eighth is whole: the first, the ninth, the seventeenth.
    assert_eq!(n_differences(&project), 17);
}
