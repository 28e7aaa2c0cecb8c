//! Links that come and go while bake walks.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::Yard;
use crate::support::registry;

/// Runs `work` while two names are exchanged again and again.
fn while_swapping(a: &Path, b: &Path, work: impl FnOnce()) {
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut n_swaps = 0_u64;
            while !is_over.load(Ordering::Relaxed) {
                // One of them may be gone for a moment, where bake puts something in its place.
                _ = renameat_with(CWD, a, CWD, b, RenameFlags::EXCHANGE);
                n_swaps += 1;
                if n_swaps.is_multiple_of(64) {
                    std::thread::yield_now();
                }
            }
        });
        // Ends the other thread also when an assertion fails.
        struct Over<'a>(&'a AtomicBool);
        impl Drop for Over<'_> {
            fn drop(&mut self) {
                self.0.store(true, Ordering::Relaxed);
            }
        }
        let _over = Over(&is_over);
        work();
    });
}

#[test]
fn a_directory_of_a_context_that_turns_into_a_link_leads_nowhere() {
    let yard = Yard::new();
    for n in 0..40 {
        yard.write(&format!("d/f{n}"), "inside").write(&format!("d/sub/f{n}"), "inside");
    }
    yard.write("d/secret", "inside").write("d/sub/secret", "inside");
    yard.link("link", "../../outside");
    let (a, b) = (yard.context().join("d"), yard.context().join("link"));
    while_swapping(&a, &b, || {
        for n in 0..12 {
            let copies = ["COPY . /all/", "COPY d /d", "COPY d/secret /s", "COPY d/s* /s/", "ADD --exclude=f1 d /x"];
            let ran = yard.build(&format!("FROM scratch\n{}\n# {n}\n", copies[n % copies.len()]));
            // A context that changes is an error or is copied as it was at some moment.
            assert!(matches!(ran.code, Some(0 | 1)), "{}", ran.stderr);
        }
    });
}

#[test]
fn a_file_of_a_context_that_turns_into_a_link_leads_nowhere() {
    let yard = Yard::new();
    yard.write("f", "inside").write("d/f", "inside").link("link", yard.outside().join("secret"));
    let (a, b) = (yard.context().join("f"), yard.context().join("link"));
    while_swapping(&a, &b, || {
        for n in 0..12 {
            let copy = ["COPY f /f", "COPY . /", "ADD f /x/", "COPY link /l"][n % 4];
            let ran = yard.build(&format!("FROM scratch\n{copy}\n# {n}\n"));
            assert!(matches!(ran.code, Some(0 | 1)), "{}", ran.stderr);
        }
    });
}

#[test]
fn a_destination_that_turns_into_a_link_leads_nowhere() {
    let yard = Yard::new();
    yard.write("d/secret", "inside").write("d/sub/secret", "inside").write("d/sub/made", "inside");
    let out = yard.project.path().join("out");
    fs::create_dir_all(out.join("d/sub")).expect("created");
    fs::create_dir_all(yard.project.path().join("aside")).expect("created");
    symlink(yard.outside(), out.join("link")).expect("linked");
    while_swapping(&out.join("d"), &out.join("link"), || {
        for n in 0..12 {
            let dockerfile = format!("FROM scratch\nCOPY d /d\nCOPY d /link\n# {n}\n");
            let ran = yard.write("Dockerfile", dockerfile).bake(&["build"]);
            assert!(matches!(ran.code, Some(0 | 4)), "{:?}: {}", ran.code, ran.stderr);
            // A link that was replaced is planted again.
            _ = fs::remove_dir_all(out.join("link"));
            _ = symlink(yard.outside(), out.join("link"));
        }
    });
}

#[test]
fn a_step_that_swaps_its_own_mounts_reaches_nothing_outside() {
    let Some(registry) = registry() else { return };
    let yard = Yard::with_base(registry);
    let outside = yard.outside();
    let outside = outside.display();
    yard.write("d/f", "inside");
    // Two steps share a cache: one swaps a directory of it for a link out, the other mounts that directory.
    let swaps = format!(
        "FROM busybox AS swaps\n\
         RUN --mount=type=cache,id=shared,target=/c mkdir -p /c/s && i=0; while [ $i -lt 300 ]; do \
             mv /c/s /c/t; ln -s {outside} /c/s; rm /c/s; mv /c/t /c/s; i=$((i+1)); done\n"
    );
    let mounts: String = (0..6)
        .map(|n| {
            format!(
                "FROM busybox AS m{n}\nRUN --mount=type=cache,id=shared,source=s,target=/m ls -la /m /m/secret > /seen 2>&1; \
                 cat /m/secret 2>/dev/null; true\n"
            )
        })
        .collect();
    let all: String = (0..6).map(|n| format!("COPY --from=m{n} /seen /{n}\n")).collect();
    let dockerfile = format!(
        "FROM busybox AS first\nRUN --mount=type=cache,id=shared,target=/c mkdir -p /c/s\n{swaps}{mounts}FROM scratch\n\
         COPY --from=swaps /etc/passwd /\n{all}"
    );
    let first = dockerfile.split("FROM busybox AS swaps").next().expect("a stage").to_owned();
    yard.build(&first).succeeds();
    let ran = yard.build(&dockerfile);
    assert!(matches!(ran.code, Some(0 | 1 | 4)), "{}", ran.stderr);
}
