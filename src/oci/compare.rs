//! How the files of two layers differ, and of which kind the difference is: so that people find what made it.
//!
//! Both archives are read as streams: first what each entry is and the digest of its content, then the contents of a few
//! files that differ.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};

use tar::EntryType;

use super::untar::TarReader;
use crate::digest::{Digest, Hashing};

/// Files whose contents are looked into, and bytes of each.
const N_CONTENTS: usize = 64;
const MAX_CONTENT: u64 = 1 << 20;

/// Bytes that are shown of a line.
const N_SHOWN: usize = 80;

/// What an archive says of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Line {
    kind: EntryType,
    mode: u32,
    owner: (u64, u64),
    mtime: i64,
    link: Vec<u8>,
    device: (u32, u32),
    xattrs: Vec<(String, Vec<u8>)>,
    content: Digest,
}

/// The entries of a layer by path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LayerFiles(BTreeMap<Vec<u8>, Line>);

/// How one path differs between two layers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileDifference {
    /// Absolute, as people write it.
    pub path: String,
    /// Of which kind it is.
    pub kind: Kind,
    /// What the first layer has and what the second; empty where there is nothing to show.
    pub shown: Option<(String, String)>,
}

/// Kinds of differences.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Only the first has it.
    Gone,
    /// Only the second has it.
    New,
    /// Each has it under a name of its own: a random number or a time is in the name.
    Name,
    /// The modification time.
    ModificationTime,
    /// The permission bits.
    Mode,
    /// Owner or group.
    Owner,
    /// Extended attributes.
    Xattrs,
    /// Where a link leads.
    Link,
    /// A file where a directory was, say.
    Type,
    /// The same lines in another order.
    Order,
    /// Dates or times in the content.
    Time,
    /// Other numbers in the content: times, process ids, random numbers.
    Numbers,
    /// Other content.
    Content,
}

impl Kind {
    /// Returns what it is in words, and as programs read it.
    pub fn words(self) -> (&'static str, &'static str) {
        match self {
            Kind::Gone => ("not made again", "gone"),
            Kind::New => ("not there before", "new"),
            Kind::Name => ("another name", "name"),
            Kind::ModificationTime => ("another modification time", "mtime"),
            Kind::Mode => ("other permissions", "mode"),
            Kind::Owner => ("another owner", "owner"),
            Kind::Xattrs => ("other extended attributes", "xattrs"),
            Kind::Link => ("leads elsewhere", "link"),
            Kind::Type => ("another type", "type"),
            Kind::Order => ("the same lines in another order", "order"),
            Kind::Time => ("another time", "timestamp"),
            Kind::Numbers => ("other numbers", "numbers"),
            Kind::Content => ("other content", "content"),
        }
    }
}

impl LayerFiles {
    /// Reads an archive to its end.
    ///
    /// # Errors
    /// It is malformed or cannot be read.
    pub fn read(archive: impl Read) -> io::Result<LayerFiles> {
        let mut reader = TarReader::new(archive);
        let mut files = LayerFiles::default();
        while let Some(entry) = reader.next_entry()? {
            let mut content = Hashing::new(io::sink());
            io::copy(&mut reader, &mut content)?;
            let line = Line {
                kind: entry.kind,
                mode: entry.mode & 0o7777,
                owner: (entry.uid, entry.gid),
                mtime: entry.mtime,
                link: entry.link,
                device: entry.device,
                xattrs: entry.xattrs,
                content: content.finish().1,
            };
            files.0.insert(entry.path, line);
        }
        Ok(files)
    }

    /// Returns the paths in which this one and `other` differ that are files in both, as many as are looked into.
    pub fn differing_files(&self, other: &LayerFiles) -> BTreeSet<Vec<u8>> {
        let differs = |(path, line): &(&Vec<u8>, &Line)| {
            other.0.get(*path).is_some_and(|other| other.content != line.content && other.kind == line.kind)
        };
        self.0.iter().filter(differs).map(|(path, _)| path.clone()).take(N_CONTENTS).collect()
    }
}

/// Reads the first bytes of the files `wanted` of an archive.
///
/// # Errors
/// It is malformed or cannot be read.
pub fn read_contents(archive: impl Read, wanted: &BTreeSet<Vec<u8>>) -> io::Result<BTreeMap<Vec<u8>, Vec<u8>>> {
    let mut reader = TarReader::new(archive);
    let mut contents = BTreeMap::new();
    while let Some(entry) = reader.next_entry()? {
        if wanted.contains(&entry.path) {
            let mut content = Vec::new();
            (&mut reader).take(MAX_CONTENT).read_to_end(&mut content)?;
            contents.insert(entry.path, content);
        }
    }
    Ok(contents)
}

/// A layer: its entries, and the contents that were looked into.
pub type Layer<'a> = (&'a LayerFiles, &'a BTreeMap<Vec<u8>, Vec<u8>>);

/// Returns how the second layer differs from the first, sorted by path.
pub fn compare(first: Layer<'_>, second: Layer<'_>) -> Vec<FileDifference> {
    let mut found = Vec::new();
    let (mut gone, mut new) = (Vec::new(), Vec::new());
    for (path, line) in &first.0.0 {
        match second.0.0.get(path) {
            None => gone.push((path, line)),
            Some(other) if other != line => {
                let contents = first.1.get(path).zip(second.1.get(path));
                let (kind, shown) = difference(line, other, contents);
                found.push(FileDifference { path: shown_path(path), kind, shown });
            }
            Some(_) => {}
        }
    }
    new.extend(second.0.0.iter().filter(|(path, _)| !first.0.0.contains_key(*path)));
    for (path, line) in gone {
        // The same thing in the same directory under another name.
        let twin = new.iter().position(|(other, twin)| parent(other) == parent(path) && is_alike(line, twin));
        let (kind, shown) = match twin {
            Some(twin) => (Kind::Name, Some((shown_path(path), shown_path(new.remove(twin).0)))),
            None => (Kind::Gone, None),
        };
        found.push(FileDifference { path: shown_path(path), kind, shown });
    }
    found.extend(new.into_iter().map(|(path, _)| FileDifference {
        path: shown_path(path),
        kind: Kind::New,
        shown: None,
    }));
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

fn is_alike(one: &Line, other: &Line) -> bool {
    (one.kind, one.content, &one.link) == (other.kind, other.content, &other.link)
}

fn parent(path: &[u8]) -> &[u8] {
    let path = path.strip_suffix(b"/").unwrap_or(path);
    path.iter().rposition(|byte| *byte == b'/').map_or(&[], |at| &path[..at])
}

fn shown_path(path: &[u8]) -> String {
    format!("/{}", String::from_utf8_lossy(path).trim_end_matches('/'))
}

type Shown = Option<(String, String)>;

fn difference(first: &Line, second: &Line, contents: Option<(&Vec<u8>, &Vec<u8>)>) -> (Kind, Shown) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if first.kind != second.kind || first.device != second.device {
        return (Kind::Type, None);
    }
    if first.link != second.link {
        return (Kind::Link, Some((text(&first.link), text(&second.link))));
    }
    if first.content != second.content {
        return contents.map_or((Kind::Content, None), |(first, second)| content_difference(first, second));
    }
    if first.mode != second.mode {
        return (Kind::Mode, Some((format!("{:04o}", first.mode), format!("{:04o}", second.mode))));
    }
    if first.owner != second.owner {
        let owner = |(uid, gid): (u64, u64)| format!("{uid}:{gid}");
        return (Kind::Owner, Some((owner(first.owner), owner(second.owner))));
    }
    if first.xattrs != second.xattrs {
        return (Kind::Xattrs, None);
    }
    (Kind::ModificationTime, Some((first.mtime.to_string(), second.mtime.to_string())))
}

fn content_difference(first: &[u8], second: &[u8]) -> (Kind, Shown) {
    let at = first.iter().zip(second).take_while(|(a, b)| a == b).count();
    let (Ok(a), Ok(b)) = (std::str::from_utf8(first), std::str::from_utf8(second)) else {
        let around = |bytes: &[u8]| {
            let end = (at + 8).min(bytes.len());
            let hex: Vec<String> = bytes[at.min(end)..end].iter().map(|byte| format!("{byte:02x}")).collect();
            format!("byte {at}: {}", hex.join(" "))
        };
        return (Kind::Content, Some((around(first), around(second))));
    };
    let lines = a.lines().zip(b.lines()).find(|(a, b)| a != b);
    let shown = lines.map(|(a, b)| (cut(a), cut(b)));
    let sorted = |text: &str| {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    let kind = match (sorted(a) == sorted(b), without_numbers(a) == without_numbers(b)) {
        (true, _) => Kind::Order,
        (_, true) if lines.is_some_and(|(a, b)| looks_like_time(a) && looks_like_time(b)) => Kind::Time,
        (_, true) => Kind::Numbers,
        _ if lines.is_some_and(|(a, b)| is_date(a) && is_date(b)) => Kind::Time,
        _ => Kind::Content,
    };
    (kind, shown)
}

fn cut(line: &str) -> String {
    match line.char_indices().nth(N_SHOWN) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line.to_owned(),
    }
}

/// Returns a text in which each number is one sign.
fn without_numbers(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            digit if digit.is_ascii_digit() => {
                if !result.ends_with('\0') {
                    result.push('\0');
                }
            }
            other => result.push(other),
        }
    }
    result
}

/// Says whether a line has hours and minutes, a date, or seconds since 1970.
fn looks_like_time(line: &str) -> bool {
    let bytes = line.as_bytes();
    let is_digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
    let is_clock = |at: usize| is_digit(at) && bytes.get(at + 1) == Some(&b':') && is_digit(at + 2) && is_digit(at + 3);
    let is_day = |at: usize| is_digit(at) && bytes.get(at + 1) == Some(&b'-') && is_digit(at + 2) && is_digit(at + 3);
    // From 2001 to 2033 they begin with a 1.
    let mut numbers = line.split(|character: char| !character.is_ascii_digit());
    let is_epoch = numbers.any(|number| matches!(number.len(), 10 | 13 | 16 | 19) && number.starts_with('1'));
    is_epoch || (0..bytes.len()).any(|at| is_clock(at) || is_day(at))
}

/// Says whether a line has a date with a month or a day of the week in letters.
fn is_date(line: &str) -> bool {
    const WORDS: [&str; 19] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec", "Mon", "Tue", "Wed", "Thu",
        "Fri", "Sat", "Sun",
    ];
    looks_like_time(line) && WORDS.iter().any(|word| line.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::tar::{TarEntry, TarWriter};

    fn archive(files: &[(&str, &str, u32)]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut tar = TarWriter::new(&mut bytes);
        for (path, content, mode) in files {
            let entry = TarEntry::new(path.as_bytes(), EntryType::Regular, *mode, content.len() as u64);
            tar.append_bytes(&entry, content.as_bytes()).unwrap();
        }
        tar.finish().unwrap();
        bytes
    }

    fn kinds(first: &[(&str, &str, u32)], second: &[(&str, &str, u32)]) -> Vec<(String, Kind)> {
        let (first, second) = (archive(first), archive(second));
        let files = |bytes: &[u8]| LayerFiles::read(bytes).unwrap();
        let (a, b) = (files(&first), files(&second));
        let wanted = a.differing_files(&b);
        let contents = |bytes: &[u8]| read_contents(bytes, &wanted).unwrap();
        let found = compare((&a, &contents(&first)), (&b, &contents(&second)));
        found.into_iter().map(|difference| (difference.path, difference.kind)).collect()
    }

    fn content(first: &str, second: &str) -> Kind {
        let found = kinds(&[("f", first, 0o644)], &[("f", second, 0o644)]);
        assert_eq!(found.len(), 1);
        found[0].1
    }

    #[test]
    fn equal_layers_have_no_difference() {
        let files = [("a", "1", 0o644), ("d/b", "2", 0o755)];
        assert_eq!(kinds(&files, &files), []);
    }

    #[test]
    fn the_kind_of_a_difference_is_told() {
        assert_eq!(content("b\na\n", "a\nb\n"), Kind::Order);
        assert_eq!(content("at 12:30:01\n", "at 12:30:04\n"), Kind::Time);
        assert_eq!(content("built 2026-01-02\n", "built 2026-01-03\n"), Kind::Time);
        assert_eq!(content("Thu Jan  1 10:00:00 UTC\n", "Fri Jan  2 09:00:00 UTC\n"), Kind::Time);
        assert_eq!(content("1785000000", "1785000007"), Kind::Time);
        assert_eq!(content("pid 12\n", "pid 9\n"), Kind::Numbers);
        assert_eq!(content("one", "other"), Kind::Content);
        assert_eq!(kinds(&[("a", "1", 0o644)], &[("a", "1", 0o600)]), [("/a".to_owned(), Kind::Mode)]);
    }

    #[test]
    fn a_random_name_is_one_difference_and_not_two() {
        let found = kinds(&[("d/tmp.ab", "same", 0o644)], &[("d/tmp.cd", "same", 0o644), ("e", "", 0o644)]);
        assert_eq!(found, [("/d/tmp.ab".to_owned(), Kind::Name), ("/e".to_owned(), Kind::New)]);
        assert_eq!(kinds(&[("d/a", "x", 0o644)], &[]), [("/d/a".to_owned(), Kind::Gone)]);
    }
}
