use std::path::{Path, PathBuf};

use rustix::fs::CWD;

use super::*;

/// A root file system with these files; a name that ends in `*` is a program.
#[expect(clippy::disallowed_methods, reason = "a fixture")]
fn scanned(files: &[(&str, &[u8])], links: &[(&str, &str)]) -> Installed {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = tempfile::tempdir().expect("a temporary directory");
    let place = |name: &str| -> PathBuf {
        let path = directory.path().join(name);
        std::fs::create_dir_all(path.parent().expect("below the top")).expect("created");
        path
    };
    for (name, content) in files {
        let path = place(name.trim_end_matches('*'));
        std::fs::write(&path, content).expect("written");
        if name.ends_with('*') {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("changed");
        }
    }
    for (name, target) in links {
        std::os::unix::fs::symlink(target, place(name)).expect("linked");
    }
    scan(&Root::open(directory.path()).expect("opened"))
}

fn purls(installed: &Installed) -> Vec<String> {
    installed.packages.iter().map(|package| package.purl(&installed.distribution)).collect()
}

#[test]
fn every_kind_of_package_is_found_where_it_is_installed() {
    let rpmdb = include_bytes!("../../../tests/fixtures/attest/rpmdb.sqlite");
    let jar = include_bytes!("../../../tests/fixtures/attest/app.jar");
    let found = scanned(
        &[
            ("usr/lib/os-release", b"ID=debian\nVERSION_ID=\"12\"\n"),
            ("var/lib/dpkg/status", b"Package: a\nStatus: install ok installed\nVersion: 1\n"),
            ("usr/share/doc/a/copyright", b"Format: x\nLicense: MIT\n"),
            ("var/lib/dpkg/status.d/b", b"Package: b\nVersion: 2\n"),
            ("lib/apk/db/installed", b"P:c\nV:3\n"),
            ("usr/lib/sysimage/rpm/rpmdb.sqlite", rpmdb),
            ("usr/lib/python3/dist-packages/D-4.dist-info/METADATA", b"Name: D\nVersion: 4\n"),
            ("usr/lib/python3/e.egg-info", b"Name: e\nVersion: 5\n"),
            ("srv/node_modules/@s/f/package.json", br#"{"name":"@s/f","version":"6"}"#),
            ("srv/package.json", br#"{"name":"not-installed","version":"6"}"#),
            ("srv/app-1.2.jar", jar),
        ],
        // Links lead nowhere: what they name is found where it is, once.
        &[("etc/os-release", "../usr/lib/os-release"), ("srv/link.jar", "/srv/app-1.2.jar")],
    );
    let found_purls = purls(&found);
    let (rpms, others): (Vec<_>, Vec<_>) = found_purls.into_iter().partition(|purl| purl.starts_with("pkg:rpm/"));
    assert_eq!(rpms.len(), 40);
    let expected = [
        "pkg:apk/debian/c@3?distro=debian-12",
        "pkg:deb/debian/a@1?distro=debian-12",
        "pkg:deb/debian/b@2?distro=debian-12",
        "pkg:maven/app@1.2",
        "pkg:maven/org.test/lib@3.4",
        "pkg:npm/%40s/f@6",
        "pkg:pypi/d@4",
        "pkg:pypi/e@5",
    ];
    assert_eq!(others, expected);
    assert_eq!(found.notes, Vec::<String>::new());
    let licenses = &found.packages.iter().find(|package| package.name == "a").expect("found").licenses;
    assert_eq!(licenses, &["MIT"]);
}

#[test]
fn what_cannot_be_read_is_a_note() {
    let found = scanned(
        &[
            ("var/lib/rpm/Packages", b"x"),
            ("var/lib/rpm/rpmdb.sqlite", b"no database"),
            ("srv/x.jar", b"no archive"),
            ("srv/node_modules/x/package.json", b"{"),
            ("bin/program*", &[0x7f; 8192]),
        ],
        &[],
    );
    let expected = [
        "srv/x.jar is no zip archive",
        "var/lib/rpm/Packages: rpm's Berkeley database is not read",
        "var/lib/rpm/rpmdb.sqlite is no database",
    ];
    assert_eq!((purls(&found), found.notes.clone()), (Vec::new(), expected.map(str::to_owned).to_vec()));
}

#[test]
fn links_and_pipes_are_neither_followed_nor_waited_for() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let outside = directory.path().join("outside");
    let top = directory.path().join("top");
    #[expect(clippy::disallowed_methods, reason = "a fixture")]
    {
        std::fs::create_dir_all(top.join("var/lib/dpkg")).expect("created");
        std::fs::create_dir_all(top.join("etc")).expect("created");
        std::fs::write(&outside, "Package: secret\nVersion: 1\nID=secret\n").expect("written");
    }
    std::os::unix::fs::symlink(&outside, top.join("var/lib/dpkg/status")).expect("linked");
    std::os::unix::fs::symlink(&outside, top.join("etc/os-release")).expect("linked");
    let fifo = top.join("var/lib/dpkg/x.jar");
    rustix::fs::mknodat(CWD, &fifo, rustix::fs::FileType::Fifo, Mode::from_raw_mode(0o600), 0).expect("made");
    assert_eq!(scan(&Root::open(Path::new(&top)).expect("opened")), Installed::default());
}
