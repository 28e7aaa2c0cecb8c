//! Archives that ADD unpacks.

use std::fs;
use std::path::Path;

use super::Yard;
use crate::support::listing;

/// An entry, byte for byte.
pub struct Raw<'a> {
    pub name: &'a [u8],
    pub kind: u8,
    pub link: &'a [u8],
    pub content: &'a [u8],
    /// What the size field says, where that is not the content's length.
    pub size: Option<&'a [u8; 12]>,
}

impl<'a> Raw<'a> {
    pub fn new(kind: u8, name: &'a str) -> Raw<'a> {
        Raw { name: name.as_bytes(), kind, link: b"", content: b"", size: None }
    }

    pub fn file(name: &'a str, content: &'a str) -> Raw<'a> {
        Raw { content: content.as_bytes(), ..Raw::new(b'0', name) }
    }

    pub fn link(kind: u8, name: &'a str, link: &'a str) -> Raw<'a> {
        Raw { link: link.as_bytes(), ..Raw::new(kind, name) }
    }
}

/// Returns an archive of these entries (ustar); nothing of it is checked. Names longer than their field get a GNU header.
pub fn archive(entries: &[Raw<'_>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for entry in entries {
        if entry.name.len() > 100 {
            bytes.extend(archive_of(&Raw { kind: b'L', content: entry.name, ..Raw::new(b'L', "././@LongLink") }));
        }
        if entry.link.len() > 100 {
            bytes.extend(archive_of(&Raw { kind: b'K', content: entry.link, ..Raw::new(b'K', "././@LongLink") }));
        }
        bytes.extend(archive_of(entry));
    }
    bytes.resize(bytes.len() + 1024, 0);
    bytes
}

fn archive_of(entry: &Raw<'_>) -> Vec<u8> {
    let mut header = [0_u8; 512];
    let mut put = |at: usize, field: &[u8]| header[at..at + field.len()].copy_from_slice(field);
    put(0, &entry.name[..entry.name.len().min(100)]);
    put(100, b"0000644\0");
    put(108, b"0000000\0");
    put(116, b"0000000\0");
    put(124, entry.size.unwrap_or(&format!("{:011o}\0", entry.content.len()).into_bytes()[..].try_into().expect("12")));
    put(136, b"00000000001\0");
    put(148, b"        ");
    put(156, &[entry.kind]);
    put(157, &entry.link[..entry.link.len().min(100)]);
    put(257, b"ustar\x0000");
    if matches!(entry.kind, b'3' | b'4') {
        put(329, b"0000001\0");
        put(337, b"0000005\0");
    }
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let mut bytes = header.to_vec();
    bytes.extend(entry.content);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

/// Returns a PAX header with these records.
pub fn pax(records: &[(&str, &str)]) -> String {
    let record = |(name, value): &(&str, &str)| {
        let rest = format!(" {name}={value}\n");
        let length = (1..9).map(|digits| digits + rest.len()).find(|n| n.to_string().len() + rest.len() == *n);
        format!("{}{rest}", length.expect("found"))
    };
    records.iter().map(record).collect()
}

/// Archives whose entries lead out, each with what its entries are called.
fn hostile(outside: &Path) -> Vec<(&'static str, Vec<u8>)> {
    let outside = outside.display();
    let dots = format!("../../../../../../../../../../../../..{outside}");
    let (deep, absolute) = (format!("{dots}/secret"), format!("{outside}/secret"));
    let pax_path = pax(&[("path", &deep)]);
    let pax_link = pax(&[("linkpath", &absolute)]);
    let file = |name| Raw::file(name, "archive");
    vec![
        ("dots", archive(&[file(&deep), file("../../outside/secret"), file("a/../../../../b")])),
        ("absolute", archive(&[file(&absolute), file("//etc/x")])),
        ("long names", archive(&[file(&format!("{}/{deep}", "x/../".repeat(30)))])),
        ("pax path", archive(&[Raw { content: pax_path.as_bytes(), ..Raw::new(b'x', "p") }, file("short")])),
        ("through a link up", archive(&[Raw::link(b'2', "l", &dots), file("l/secret"), file("l/new")])),
        (
            "through an absolute link",
            archive(&[Raw::link(b'2', "l", &outside.to_string()), file("l/secret"), file("l/new")]),
        ),
        (
            "through a link of links",
            archive(&[
                Raw::link(b'2', "l", "m"),
                Raw::link(b'2', "m", &outside.to_string()),
                Raw::new(b'5', "l/"),
                file("l/secret"),
                Raw::new(b'5', "m/made/"),
            ]),
        ),
        ("a file over a link", archive(&[Raw::link(b'2', "secret", &absolute), file("secret")])),
        (
            "a link in a directory's place",
            archive(&[Raw::new(b'5', "d/"), file("d/f"), Raw::link(b'2', "d", &outside.to_string()), file("d/secret")]),
        ),
        ("a hard link up", archive(&[Raw::link(b'1', "h", &deep), file("h")])),
        ("an absolute hard link", archive(&[Raw::link(b'1', "h", &absolute), file("h")])),
        (
            "a pax hard link",
            archive(&[
                Raw { content: pax_link.as_bytes(), ..Raw::new(b'x', "p") },
                Raw::link(b'1', "h", "x"),
                file("h"),
            ]),
        ),
        ("a hard link to a link", archive(&[Raw::link(b'2', "l", &absolute), Raw::link(b'1', "h", "l"), file("h")])),
        (
            "a hard link through a link",
            archive(&[Raw::link(b'2', "l", &outside.to_string()), Raw::link(b'1', "h", "l/secret"), file("h")]),
        ),
        ("magic", archive(&[Raw::link(b'2', "l", "/proc/self/root"), file(&format!("l{absolute}"))])),
        ("whiteouts", archive(&[file(".wh..."), file(".wh..wh..opq"), file("../.wh.secret"), file(".wh.")])),
    ]
}

#[test]
fn no_entry_leads_out_of_the_root_file_system() {
    let yard = Yard::new();
    for (name, archive) in hostile(&yard.outside()) {
        yard.write("a.tar", archive);
        for dest in ["/", "/d/", &format!("/d{}", yard.outside().display())] {
            let ran = yard.build(&format!("FROM scratch\nADD a.tar {dest}\n"));
            // What was made is in the destination; where nothing could be, the step's line is shown.
            let is_told = ["cannot unpack", "no room for a file named `"].iter().any(|text| ran.stderr.contains(text));
            assert!(ran.code == Some(0) || is_told && ran.stderr.contains("Dockerfile:2"), "{name}: {}", ran.stderr);
        }
    }
}

#[test]
fn an_entry_stays_in_the_directory_that_its_archive_is_added_to() {
    let yard = Yard::new();
    let entries = [
        Raw::link(b'2', "absolute", "/etc"),
        Raw::link(b'2', "up", "../../etc"),
        Raw::new(b'5', "etc/"),
        Raw::file("etc/own", "own"),
        Raw::file("absolute/x", "x"),
        Raw::file("up/y", "y"),
        Raw::link(b'1', "hard", "/etc/own"),
        Raw::link(b'2', "over", "/etc/own"),
        Raw::file("over", "over"),
    ];
    yard.write("a.tar", archive(&entries)).write("etc/own", "of the image");
    yard.build("FROM scratch\nCOPY etc /etc/\nADD a.tar /d/\n").succeeds();
    for (name, text) in [
        ("d/etc/x", "x"),
        ("d/etc/y", "y"),
        ("d/hard", "own"),
        ("d/over", "over"),
        ("d/etc/own", "own"),
        ("etc/own", "of the image"),
    ] {
        assert_eq!(yard.read(name), text, "{name}");
    }
    assert_eq!(fs::read_dir(yard.project.path().join("out/etc")).expect("there").count(), 1);
}

#[test]
fn sizes_that_are_not_true_are_errors_and_fill_nothing() {
    let yard = Yard::new();
    let huge = pax(&[("size", "18446744073709551615")]);
    let large = pax(&[("size", "1000000000000000")]);
    let wraps = pax(&[("size", "18446744073709551616")]);
    let negative = pax(&[("size", "-1")]);
    let with = |records: &str| {
        archive(&[Raw { content: records.as_bytes(), ..Raw::new(b'x', "p") }, Raw::file("f", "content")])
    };
    let sparse_map =
        pax(&[("GNU.sparse.major", "1"), ("GNU.sparse.minor", "0"), ("GNU.sparse.realsize", "99999999999")]);
    let sparse = Raw { size: Some(b"00000000100\0"), content: &[b'x'; 64], ..Raw::new(b'S', "sparse") };
    let base256 = Raw { size: Some(b"\x80\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"), ..Raw::file("f", "content") };
    let octal = Raw { size: Some(b"77777777777\0"), ..Raw::file("f", "content") };
    let letters = Raw { size: Some(b"00000zzzz00\0"), ..Raw::file("f", "content") };
    let cases: [(&str, Vec<u8>); 9] = [
        ("pax size of all bits", with(&huge)),
        ("pax size of a petabyte", with(&large)),
        ("pax size too large for a number", with(&wraps)),
        ("negative pax size", with(&negative)),
        ("pax sparse file", with(&sparse_map)),
        ("GNU sparse file", archive(&[Raw::file("first", "x"), sparse])),
        ("base-256 size", archive(&[Raw::file("first", "x"), base256])),
        ("octal size", archive(&[Raw::file("first", "x"), octal])),
        ("size that is no number", archive(&[Raw::file("first", "x"), letters])),
    ];
    for (name, archive) in cases {
        yard.write("a.tar", archive);
        let failed = yard.build("FROM scratch\nADD a.tar /\n");
        // A size that would fill the disk is the host's fault until it is known to be none.
        assert!(matches!(failed.code, Some(1 | 4)), "{name}: {}", failed.stderr);
        assert!(failed.stderr.contains("Dockerfile:2"), "{name}: {}", failed.stderr);
    }
}

#[test]
fn devices_and_pipes_of_an_archive_are_made_in_the_image_alone() {
    let yard = Yard::new();
    let entries = [Raw::new(b'6', "pipe"), Raw::file("pipe/below", "x")];
    yard.write("a.tar", archive(&entries));
    let failed = yard.build("FROM scratch\nADD a.tar /\n").fails(1);
    assert!(failed.stderr.contains("pipe/below"), "{}", failed.stderr);
    let entries = [
        Raw::new(b'6', "pipe"),
        Raw::link(b'1', "pipe2", "pipe"),
        Raw::new(b'3', "zero"),
        Raw::new(b'4', "block"),
        // Over what was a device a file comes, and nothing is written to the device.
        Raw::file("block", "x"),
    ];
    yard.write("a.tar", archive(&entries));
    let ran = yard.build("FROM scratch\nADD a.tar /d/\n");
    if ran.code != Some(0) {
        // Where the kernel lets nobody make a device in a user namespace, the entry is named and nothing is left.
        let expected = "cannot unpack `zero`: Operation not permitted";
        assert!(ran.code == Some(1) && ran.stderr.contains(expected), "{}", ran.stderr);
        assert!(!yard.project.exists("out.tar") && !yard.project.exists("out/d"));
        return;
    }
    let files = listing(&yard.project.path().join("out.tar"));
    for line in ["prw-r--r-- 0/0 d/pipe\n", "crw-r--r-- 0/0 d/zero\n", "-rw-r--r-- 0/0 d/block\n"] {
        assert!(files.contains(line), "{line} is not in\n{files}");
    }
    // An export to a directory makes none of them on this machine.
    let out = yard.project.path().join("out/d");
    assert!(!out.join("zero").exists() && !out.join("pipe").exists() && out.join("block").is_file());
}

#[test]
fn names_with_odd_bytes_stay_what_they_are_and_zero_bytes_end_or_refuse_them() {
    let yard = Yard::new();
    let zero = pax(&[("path", "a\0/../../b")]);
    let entries = [
        Raw::file("new\nline", "1"),
        Raw { name: b"\xff\xfe", ..Raw::file("", "2") },
        Raw { name: b"cut\0/../../../outside/secret", ..Raw::file("", "3") },
    ];
    yard.write("a.tar", archive(&entries));
    yard.build("FROM scratch\nADD a.tar /\n").succeeds();
    assert_eq!(yard.read("new\nline"), "1");
    assert_eq!(yard.read("cut"), "3");
    yard.write("a.tar", archive(&[Raw { content: zero.as_bytes(), ..Raw::new(b'x', "p") }, Raw::file("f", "")]));
    let failed = yard.build("FROM scratch\nADD a.tar /\n").fails(1);
    assert!(failed.stderr.contains("cannot unpack"), "{}", failed.stderr);
    let name = "y".repeat(256);
    yard.write("a.tar", archive(&[Raw::file(&name, "")]));
    let failed = yard.build("FROM scratch\nADD a.tar /\n").fails(1);
    assert!(failed.stderr.contains("name too long"), "{}", failed.stderr);
}
