//! What a context holds and what is asked of it.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixListener;

use super::{MARKER, Yard, relative};
use crate::support::{self, listing, registry};

/// Links out of the context, with what a copy of each means when the context is all there is.
fn plant(yard: &Yard) -> [&'static str; 9] {
    let outside = yard.outside();
    yard.link("up", "../../outside/secret")
        .link("absolute", outside.join("secret"))
        .link("up-dir", "../../outside")
        .link("absolute-dir", &outside)
        .link("deep/er/link", "../../../../../outside/secret")
        .link("chain", "chain2")
        .link("chain2", "absolute-dir/secret")
        .link("magic", format!("/proc/self/root{}/secret", outside.display()))
        .link("dots", format!("../../../../../../../../../../../..{}/secret", outside.display()));
    ["up", "absolute", "up-dir/secret", "absolute-dir/secret", "deep/er/link", "chain", "magic", "dots", "up-dir"]
}

/// Puts files where the links lead if the context is the root of everything.
fn mirror(yard: &Yard) {
    let outside = yard.outside();
    let places = [relative(&outside).join("secret"), "outside/secret".into()];
    for place in places {
        yard.write(&place.display().to_string(), "inside");
    }
    yard.write(&format!("proc/self/root/{}/secret", relative(&outside).display()), "inside");
}

#[test]
fn no_source_of_a_copy_leads_out_of_the_context() {
    let yard = Yard::new();
    let names = plant(&yard);
    let absolute = format!("{}/secret", yard.outside().display());
    let dots = format!("../../../../../../../../../../../../../..{absolute}");
    let sources = [names.as_slice(), &["../outside/secret", "../../outside/secret", &absolute, &dots]].concat();
    for source in &sources {
        for instruction in ["COPY", "ADD", "COPY --from=named"] {
            let failed = yard.build(&format!("FROM scratch\n{instruction} {source} /got\n")).fails(1);
            assert!(failed.stderr.contains("no file or directory"), "{instruction} {source}: {}", failed.stderr);
        }
    }
    mirror(&yard);
    let copies = |from: &str, to: &str| -> String {
        let line = |(index, source)| format!("COPY {from} {source} {to}/{index}/\n");
        sources.iter().enumerate().map(line).collect()
    };
    yard.build(&format!("FROM scratch\n{}{}", copies("", "/a"), copies("--from=named", "/b"))).succeeds();
    for (index, source) in sources.iter().enumerate() {
        for to in ["a", "b"] {
            let directory = yard.project.path().join(format!("out/{to}/{index}"));
            let entries: Vec<_> = fs::read_dir(&directory).expect("made").flatten().collect();
            assert_eq!(entries.len(), 1, "{source}");
            assert_eq!(fs::read_to_string(entries[0].path()).expect("a file"), "inside", "{source}");
        }
    }
}

#[test]
fn a_wildcard_enters_no_link_and_a_copied_link_stays_a_link() {
    let yard = Yard::new();
    plant(&yard);
    yard.build("FROM scratch\nCOPY up*/secret abs*/* */../../outside/s* /none/\nCOPY --parents **/secret /none/\nCOPY . /all/\n").succeeds();
    let out = yard.project.path().join("out");
    assert!(!out.join("none/secret").exists());
    assert_eq!(fs::read_link(out.join("all/absolute")).expect("a link"), yard.outside().join("secret"));
    assert_eq!(fs::read_link(out.join("all/up-dir")).expect("a link").as_os_str(), "../../outside");
}

#[test]
fn no_source_leads_out_of_a_stage_or_an_image() {
    let Some(registry) = registry() else { return };
    let yard = Yard::with_base(registry);
    let names = plant(&yard);
    let stage = "FROM scratch AS first\nCOPY . /\nFROM first AS second\nFROM scratch\n";
    for source in names.iter().copied().chain(["../../../outside/secret"]) {
        for from in ["first", "second", "0"] {
            let failed = yard.build(&format!("{stage}COPY --from={from} {source} /got\n")).fails(1);
            assert!(failed.stderr.contains("no file or directory"), "{source}: {}", failed.stderr);
        }
    }
    let outside = yard.outside();
    let outside = outside.display();
    let failed = yard.build(&format!("FROM scratch\nCOPY --from=busybox ../../..{outside}/secret /got\n")).fails(1);
    assert!(failed.stderr.contains("no file or directory"), "{}", failed.stderr);
    mirror(&yard);
    let copies: String =
        names.iter().enumerate().map(|(index, name)| format!("COPY --from=second {name} /got/{index}/\n")).collect();
    yard.build(&format!("{stage}{copies}")).succeeds();
}

#[test]
fn no_destination_leads_out_of_the_root_file_system() {
    let yard = Yard::new();
    let outside = yard.outside();
    plant(&yard);
    yard.write("f", "inside").write("d/secret", "inside");
    let outside = outside.display();
    let dots = format!("/../../../../../../../../../../../../..{outside}");
    let steps = format!(
        "FROM scratch AS planted\nCOPY . /\nFROM planted\n\
         COPY f /up-dir/secret\nCOPY f /absolute-dir/secret\nCOPY f /absolute-dir/new\nADD f up-dir/new\n\
         COPY d /up-dir\nCOPY d /absolute-dir/\nCOPY f /up\nCOPY f /absolute\nCOPY f {dots}/secret\nCOPY f {dots}/\n\
         COPY --chown=7:7 --chmod=0777 d {dots}\nCOPY <<secret <<new /up-dir/\nhere\nsecret\nhere\nnew\n\
         WORKDIR /absolute-dir/made\nWORKDIR /up-dir/made\nWORKDIR ../../../../../..{outside}/made2\nCOPY f .\n"
    );
    yard.build(&steps).succeeds();
    assert_eq!(yard.read("outside/secret"), "here\n");
    assert_eq!(yard.read("outside/new"), "here\n");
    assert_eq!(yard.read(&format!("{}/secret", relative(&yard.outside()).display())), "inside");
    assert_eq!(yard.read(&format!("{}/made2/f", relative(&yard.outside()).display())), "inside");
    assert!(yard.project.path().join("out/outside/made").is_dir());
    // A layer of its own follows nothing: it puts directories in the place of links.
    let steps = format!(
        "FROM scratch AS planted\nCOPY . /\nFROM planted\n\
         COPY --link f /up-dir/secret\nCOPY --link d /absolute-dir/\nCOPY --link f {dots}/secret\nCOPY --link f /up\n\
         COPY --link --from=planted /up-dir /absolute-dir/\nCOPY --parents d/secret /up-dir/deep/\nRUN --mount=from=planted,target=/x [\"/none\"]\n"
    );
    let failed = yard.build(&steps);
    assert_eq!(failed.code, Some(1), "{}", failed.stderr);
    let (steps, _) = steps.split_once("COPY --link --from").expect("split");
    yard.build(steps).succeeds();
    for (name, text) in [("up-dir/secret", "inside"), ("absolute-dir/secret", "inside"), ("up", "inside")] {
        assert_eq!(yard.read(name), text, "{name}");
    }
}

#[test]
fn links_without_end_are_errors() {
    let yard = Yard::new();
    yard.link("a", "b").link("b", "a").link("self", "self/x").write("f", "");
    for step in ["COPY a /x", "COPY self /x", "COPY . /\nCOPY f /a/f", "COPY . /\nWORKDIR /self/y"] {
        let failed = yard.build(&format!("FROM scratch\n{step}\n"));
        assert_eq!(failed.code, Some(1), "{step}: {}", failed.stderr);
        assert!(failed.stderr.contains("Dockerfile:"), "{}", failed.stderr);
    }
}

#[test]
fn pipes_sockets_and_devices_of_a_context_are_never_opened() {
    let yard = Yard::new();
    let at = |name: &str| yard.context().join(name);
    rustix::fs::mkfifoat(rustix::fs::CWD, at("pipe"), rustix::fs::Mode::RWXU).expect("made");
    let _socket = UnixListener::bind(at("socket")).expect("bound");
    yard.link("to-pipe", "pipe").write("d/f", "x");
    yard.build("FROM scratch\nCOPY . /all/\nCOPY to-pipe /p\nADD pipe /q\nADD p* /r/\n").succeeds();
    let files = listing(&yard.project.path().join("out.tar"));
    for line in ["prwxr-xr-x 0/0 all/pipe", "prwxr-xr-x 0/0 p\n", "prwxr-xr-x 0/0 q\n", "prwxr-xr-x 0/0 r/pipe"] {
        assert!(files.contains(line), "{line} is not in\n{files}");
    }
    assert!(files.contains("-rwxr-xr-x 0/0 all/socket"), "{files}");
    let device = at("device");
    let kind = rustix::fs::FileType::CharacterDevice;
    let zero = rustix::fs::makedev(1, 5);
    if rustix::fs::mknodat(rustix::fs::CWD, &device, kind, rustix::fs::Mode::RWXU, zero).is_err() {
        return support::skip("devices cannot be made here");
    }
    let failed = yard.build("FROM scratch\nCOPY device /d\n").fails(1);
    assert!(failed.stderr.contains("it is a device"), "{}", failed.stderr);
    // What reads whole files meets one of them.
    for name in ["Dockerfile", ".dockerignore", "Dockerfile.dockerignore"] {
        for source in ["pipe", "device"] {
            let path = at(name);
            _ = fs::rename(&path, at("aside"));
            fs::rename(at(source), &path).expect("renamed");
            let failed = yard.bake(&["build"]);
            assert_eq!(failed.code, Some(3), "{name}: {}", failed.stderr);
            assert!(failed.stderr.contains("regular file"), "{}", failed.stderr);
            fs::rename(&path, at(source)).expect("renamed");
            _ = fs::rename(at("aside"), &path);
        }
    }
}

#[test]
fn names_may_hold_any_byte_and_be_as_long_as_the_system_allows() {
    let yard = Yard::new();
    let long = "n".repeat(255);
    let deep = [long.as_str(); 12].join("/");
    let odd: [&[u8]; 5] = [b"new\nline", b"not\xff\xfeutf8", b"\x1b[31mred", b" blank ", b"-rf"];
    for name in odd {
        fs::write(yard.context().join(OsStr::from_bytes(name)), name).expect("written");
    }
    yard.write(&format!("{deep}/f"), "deep");
    yard.build("FROM scratch AS one\nCOPY . /a/\nFROM scratch\nCOPY --from=one /a/ /b/\nCOPY --from=one /a/* /c/\n")
        .succeeds();
    let out = yard.project.path().join("out");
    for name in odd {
        for place in ["b", "c"] {
            let found = fs::read(out.join(place).join(OsStr::from_bytes(name)));
            assert_eq!(found.expect("copied"), name, "{place}");
        }
    }
    assert_eq!(yard.read(&format!("b/{deep}/f")), "deep");
    let failed = yard.build(&format!("FROM scratch\nCOPY Dockerfile /{}\n", "x".repeat(256))).fails(1);
    assert!(failed.stderr.contains("name too long") && failed.stderr.contains("Dockerfile:2"), "{}", failed.stderr);
}

#[test]
fn a_dockerfile_or_ignore_file_that_is_a_link_leads_nowhere_else() {
    let yard = Yard::new();
    // Each line would be shown in an error: as an unknown instruction, as an invalid pattern.
    let bad = yard.project.home().join("outside2");
    fs::create_dir(&bad).expect("created");
    fs::write(bad.join("lines"), format!("[{MARKER}\n")).expect("written");
    let there = |name: &str| yard.context().join(name);
    for name in [".dockerignore", "Dockerfile.dockerignore"] {
        yard.write("Dockerfile", "FROM scratch\nCOPY Dockerfile /\n").link(name, "../../outside2/lines");
        // As BuildKit has it: the file that the link names is not in the context, so there is none.
        yard.bake(&["build"]).succeeds();
        fs::remove_file(there(name)).expect("removed");
    }
    fs::remove_file(there("Dockerfile")).expect("removed");
    yard.link("Dockerfile", "../../outside2/lines");
    let refused = yard.bake(&["build"]).fails(3);
    assert!(refused.stderr.contains("--allow=fs.read=../outside2/lines"), "{}", refused.stderr);
    // Names that are not there hide nothing.
    for dockerfile in
        ["../../outside2/lines", "not/there/../../../../outside2/lines", "/proc/self/cwd/../outside2/lines"]
    {
        let refused = yard.bake(&["build", "--set", &format!("default.dockerfile={dockerfile}")]).fails(3);
        assert!(refused.stderr.contains("hint: grant it with --allow=fs.read="), "{}", refused.stderr);
    }
    for (key, value) in [
        ("context", "not/../../outside"),
        ("contexts.more", "not/there/../../../outside"),
        ("contexts.more", "cwd://not/../../outside"),
    ] {
        let refused = yard.bake(&["build", "--set", &format!("default.{key}={value}")]).fails(3);
        assert!(refused.stderr.contains("--allow=fs.read=../outside"), "{value}: {}", refused.stderr);
    }
    let bakefile = yard.project.read("build.hcl").replace("dest=out\"", "dest=not/there/../../../outside/out\"");
    yard.project.write("build.hcl", &bakefile);
    let refused = yard.bake(&["build"]).fails(3);
    assert!(refused.stderr.contains("--allow=fs.write=../outside"), "{}", refused.stderr);
}

#[test]
fn links_in_the_destination_of_a_local_output_lead_nowhere() {
    let yard = Yard::new();
    yard.write("d/secret", "inside").write("e", "inside");
    let out = yard.project.path().join("out");
    fs::create_dir(&out).expect("created");
    std::os::unix::fs::symlink(yard.outside(), out.join("d")).expect("linked");
    std::os::unix::fs::symlink(yard.outside().join("secret"), out.join("e")).expect("linked");
    // A link to a directory where the result has a link of that name with something behind it.
    yard.link("l", yard.outside());
    yard.write("Dockerfile", "FROM scratch\nCOPY . /\n").bake(&["build"]).succeeds();
    assert_eq!((yard.read("d/secret"), yard.read("e")), ("inside".to_owned(), "inside".to_owned()));
    // Swapping what was exported before: a link where a directory comes, and the other way round.
    fs::remove_file(yard.context().join("l")).expect("removed");
    yard.write("l/secret", "inside");
    fs::remove_dir_all(yard.context().join("d")).expect("removed");
    yard.link("d", yard.outside());
    let ran = yard.bake(&["build"]);
    assert!(ran.code == Some(0) || ran.stderr.contains("directory"), "{}", ran.stderr);
}
