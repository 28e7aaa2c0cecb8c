//! What RUN mounts, where, and what it runs in.

use super::{MARKER, Yard, relative};
use crate::support::registry;

/// Steps that plant links out of the root file system at `/up`, `/abs`, `/up-file` and `/abs-file`.
fn planted(yard: &Yard, rest: &str) -> String {
    let outside = yard.outside().display().to_string();
    let dots = "../".repeat(20);
    let dots = format!("{dots}{}", relative(&yard.outside()).display());
    format!(
        "FROM busybox AS planted\n\
         RUN ln -s {dots} /up; ln -s {outside} /abs; ln -s {dots}/secret /up-file; ln -s {outside}/secret /abs-file; \
             ln -s /proc/1/root /magic; ln -s /proc/self/cwd /cwd\n{rest}"
    )
}

#[test]
fn no_source_of_a_bind_leads_out_of_what_it_is_from() {
    let Some(registry) = registry() else { return };
    let yard = Yard::with_base(registry);
    let outside = yard.outside();
    yard.link("up", "../../outside").link("abs", &outside).link("up-file", "../../outside/secret");
    let outside = outside.display();
    for source in ["up", "abs", "up-file", "abs/secret", "../outside", &format!("../../../../../../..{outside}")] {
        for from in ["", ",from=named", ",from=planted"] {
            let steps =
                format!("FROM busybox\nRUN --mount=type=bind,source={source},target=/m{from} ls -lR /m; cat /m\n");
            let failed = yard.build(&planted(&yard, &steps));
            assert!(matches!(failed.code, Some(1 | 4)), "{source}{from}: {}", failed.stderr);
            assert!(failed.stderr.contains("Dockerfile:4"), "{source}{from}: {}", failed.stderr);
        }
    }
}

#[test]
fn no_source_of_a_cache_leads_out_of_the_cache() {
    let Some(registry) = registry() else { return };
    let yard = Yard::with_base(registry);
    let outside = yard.outside();
    let outside = outside.display();
    let cache = "--mount=type=cache,id=c";
    let fill = format!(
        "RUN {cache},target=/c mkdir -p /c/real && echo ok > /c/real/f && ln -s {outside} /c/abs && \
         ln -s ../../../../../../../../..{outside} /c/up && ln -s /real /c/inner && ln -s /proc/1/root /c/magic\n"
    );
    yard.build(&format!("FROM busybox\n{fill}RUN {cache},source=inner,target=/m cat /m/f > /got\n")).succeeds();
    assert_eq!(yard.read("got"), "ok\n");
    for source in ["abs", "up", "magic", "../../..", &format!("../../../../../../../../..{outside}"), "abs/secret"] {
        let step =
            format!("RUN {cache},source={source},target=/m cat /m/secret /m 2>/dev/null > /got || ls /m > /got\n");
        let ran = yard.build(&format!("FROM busybox\n{fill}{step}"));
        // `..` stops at the cache's top.
        assert!(ran.code != Some(0) || yard.read("got").contains("real"), "{source}: {}", ran.stderr);
    }
    // An id is a name and no path.
    for id in ["../../../../outside", "/etc", "a/../../b", "."] {
        yard.build(&format!("FROM busybox\nRUN --mount=type=cache,id={id},target=/m touch /m/mine\n")).succeeds();
    }
}

#[test]
fn no_target_of_a_mount_leads_out_of_the_root_file_system() {
    let Some(registry) = registry() else { return };
    let yard = Yard::with_base(registry);
    yard.write("f", "inside").write("d/f", "inside").link("d/abs", yard.outside()).link("d/up", "../../../../../../..");
    let outside = yard.outside();
    let outside = outside.display();
    let dots = format!("/../../../../../../../../../..{outside}");
    let kinds = ["type=bind,source=d,rw", "type=cache,id=t", "type=tmpfs", "type=secret,id=s", "type=bind,source=f"];
    let targets = ["/up", "/abs", "/up/made", "/abs/made/deep", "/up-file", "/abs-file", "../../up/x", &dots];
    yard.write("value", "a value of no interest");
    let bakefile = yard
        .project
        .read("build.hcl")
        .replace("context = \"ctx\"", "context = \"ctx\"\n  secret = [\"id=s,src=ctx/value\"]");
    yard.project.write("build.hcl", &bakefile);
    for (nth, kind) in kinds.iter().enumerate() {
        // Every kind and every target is met; not every pair.
        for target in targets.iter().skip(nth % 2).step_by(2) {
            // Some do not fit: a file on a directory. None may leave anything outside.
            let ran = yard.build(&planted(&yard, &format!("RUN --mount={kind},target={target} true\n")));
            let is_told = ran.stderr.contains("Dockerfile:3");
            assert!(ran.code == Some(0) || is_told, "{kind} {target}: {}", ran.stderr);
        }
    }
    // Targets in what another mount brought: its links are the root file system's.
    for target in ["/m/abs/x", "/m/up/x", "/m/abs"] {
        let step = format!("RUN --mount=type=bind,source=d,target=/m,rw --mount=type=tmpfs,target={target} true\n");
        _ = yard.build(&planted(&yard, &step));
    }
    // Places of the kernel's.
    for target in ["/proc/1/root/tmp", "/magic/tmp", "/proc/self/cwd", "/proc/self/fd/0", "/cwd", "/dev/stdin"] {
        let step = format!("RUN --mount=type=tmpfs,target={target} mount\n");
        let ran = yard.build(&planted(&yard, &step));
        assert!(ran.code != Some(70), "{target}: {}", ran.stderr);
    }
}

#[test]
fn no_working_directory_leads_out_of_the_root_file_system() {
    let Some(registry) = registry() else { return };
    let yard = Yard::with_base(registry);
    let outside = yard.outside();
    let inner = relative(&outside).display().to_string();
    let dots = format!("/../../../../../../../..{}", outside.display());
    let steps = format!(
        "WORKDIR /up\nRUN pwd > /pwd && touch made\nWORKDIR /abs/deep\nRUN touch made\nWORKDIR {dots}/other\nRUN touch made\n"
    );
    yard.build(&planted(&yard, &steps)).succeeds();
    for place in ["made", "deep/made", "other/made"] {
        assert!(yard.project.path().join("out").join(&inner).join(place).exists(), "{place}");
    }
    for place in ["/magic", "/proc/self/cwd/../..", "/proc/1/root/tmp"] {
        let ran = yard.build(&planted(&yard, &format!("WORKDIR {place}\nRUN ls -la . > /listed\n")));
        assert!(ran.code != Some(70), "{place}: {}", ran.stderr);
    }
}

#[test]
fn files_of_accounts_are_read_in_the_image_alone() {
    let Some(registry) = registry() else { return };
    let yard = Yard::with_base(registry);
    // A user with its number would say that the file was read.
    let outside = yard.project.home().join("outside-passwd");
    std::fs::write(&outside, format!("{MARKER}:x:4242:4242::/:/bin/sh\n")).expect("written");
    let shown = outside.display();
    for link in [shown.to_string(), format!("../../../../../../../..{shown}")] {
        let plant = format!("RUN ln -sf {link} /etc/passwd; ln -sf {link} /etc/group\n");
        let dockerfile = format!("FROM busybox\n{plant}COPY --chown={MARKER} Dockerfile /f\n");
        // The marker is the name itself here: the Dockerfile holds it, and nothing else may be checked by it.
        std::fs::write(yard.context().join("Dockerfile"), dockerfile).expect("written");
        yard.project.bake(&["build"]).succeeds();
        let files = crate::support::listing(&yard.project.path().join("out.tar"));
        assert!(files.contains("-rw-r--r-- 0/0 f\n"), "{files}");
    }
    let steps = "RUN rm -f /etc/passwd; mkfifo /etc/passwd\nCOPY --chown=someone Dockerfile /f\n";
    std::fs::write(yard.context().join("Dockerfile"), format!("FROM busybox\n{steps}")).expect("written");
    let failed = yard.project.bake(&["build"]).fails(1);
    assert!(failed.stderr.contains("not a regular file"), "{}", failed.stderr);
}

#[test]
fn a_step_leaves_nothing_that_the_next_one_or_the_engine_follows() {
    let Some(registry) = registry() else { return };
    let yard = Yard::with_base(registry);
    let outside = yard.outside();
    let outside = outside.display();
    // Places that the engine makes, mounts on or takes away again.
    let steps = format!(
        "RUN mkdir /run/x 2>/dev/null; rm -rf /run /srv; ln -s {outside} /run; ln -s {outside} /srv\n\
         RUN --mount=type=tmpfs,target=/run/secrets --mount=type=tmpfs,target=/srv/deep/place true\n\
         RUN --mount=type=tmpfs,target=/a/b mv /a /c 2>/dev/null; ln -s {outside} /a; true\n\
         RUN rm -f /etc/hosts /etc/resolv.conf 2>/dev/null; true\n\
         RUN ln -sf {outside}/secret /etc/hosts 2>/dev/null; ln -sf {outside}/secret /etc/resolv.conf 2>/dev/null; true\n\
         RUN cat /etc/hosts /etc/resolv.conf /run/secret /srv/secret /a/secret > /seen 2>/dev/null; true\n\
         COPY Dockerfile /run/\nCOPY Dockerfile /srv/a/b\n"
    );
    yard.build(&planted(&yard, &steps)).succeeds();
    // The names of the kernel's file systems themselves.
    for name in ["dev", "proc", "sys", "etc"] {
        let steps = "COPY links/ /\nRUN cat /etc/passwd /etc/hosts > /seen 2>&1; true\n";
        _ = std::fs::remove_dir_all(yard.context().join("links"));
        yard.link(&format!("links/{name}"), yard.outside());
        let ran = yard.build(&planted(&yard, steps));
        assert!(ran.code != Some(70), "{name}: {}", ran.stderr);
    }
}
