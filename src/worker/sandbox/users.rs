//! `user[:group]` against the root's own passwd and group, as Docker resolves it.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags};

use crate::sys::root::Root;

/// Who a step runs as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub uid: u32,
    pub gid: u32,
    /// Supplementary groups, sorted.
    pub groups: Vec<u32>,
    /// Home directory by passwd; `/` for who is not in it.
    pub home: String,
}

/// An account file larger than this is no account file.
const MAX_SIZE: u64 = 4 << 20;

/// Resolves `user`, reading `/etc/passwd` and `/etc/group` beneath the root. The error is the reason, for people.
pub fn resolve(root: &Root, user: &str) -> Result<Identity, String> {
    let read = |path: &str| read_text(root, path).map_err(|error| format!("{path}: {error}"));
    identity(user, &read("/etc/passwd")?, &read("/etc/group")?)
}

/// Reads a small regular file; a missing one is empty.
fn read_text(root: &Root, path: &str) -> io::Result<String> {
    // A FIFO must not block: it is opened without waiting and then refused.
    let file = match root.open_at(Path::new(path), OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY, Mode::empty()) {
        Ok(fd) => fd,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(String::new()),
        Err(error) => return Err(error),
    };
    let stat = rustix::fs::fstat(&file)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(io::Error::other("not a regular file"));
    }
    let mut bytes = Vec::new();
    File::from(file).take(MAX_SIZE + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_SIZE {
        return Err(io::Error::other("larger than 4 MiB"));
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

struct Account<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

fn identity(user: &str, passwd: &str, group: &str) -> Result<Identity, String> {
    let (name, group_name) = match user.split_once(':') {
        Some((name, group)) => (name, Some(group).filter(|group| !group.is_empty())),
        None => (user, None),
    };
    let name = if name.is_empty() { "0" } else { name };
    let number = id(name)?;
    let accounts: Vec<Account<'_>> = passwd.lines().filter_map(account).collect();
    // A name that is all digits is looked up as a name first, as everywhere in Unix.
    let by_name = accounts.iter().find(|account| account.name == name);
    let account = by_name.or_else(|| accounts.iter().find(|account| Some(account.uid) == number));
    let uid = match (account, number) {
        (Some(account), _) => account.uid,
        (None, Some(uid)) => uid,
        (None, None) => return Err("no such user in its /etc/passwd".to_owned()),
    };
    // By number, whatever the name: runc looks it up so.
    let home = accounts.iter().find(|account| account.uid == uid).map_or("/", |account| account.home).to_owned();
    if let Some(group_name) = group_name {
        // A group that is named is the only one.
        return Ok(Identity { uid, gid: group_id(group_name, group)?, groups: Vec::new(), home });
    }
    let groups = account.map_or_else(Vec::new, |account| groups_of(account.name, group));
    Ok(Identity { uid, gid: account.map_or(0, |account| account.gid), groups, home })
}

/// Returns a number; `None` for a name. -1 stands for "no change" in the kernel's calls, so it is nobody's id.
fn id(text: &str) -> Result<Option<u32>, String> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(None);
    }
    match text.parse::<u32>() {
        Ok(id) if id != u32::MAX && !text.starts_with('+') => Ok(Some(id)),
        _ => Err(format!("`{text}` is no id: ids are 0 to {}", u32::MAX - 1)),
    }
}

fn account(line: &str) -> Option<Account<'_>> {
    let fields: Vec<&str> = line.split(':').collect();
    let &[name, _, uid, gid, _, home, ..] = fields.as_slice() else { return None };
    let home = if home.is_empty() { "/" } else { home };
    Some(Account { name, uid: id(uid).ok()??, gid: id(gid).ok()??, home })
}

fn group_id(name: &str, group: &str) -> Result<u32, String> {
    let number = id(name)?;
    let found = group.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let &[found, _, gid, ..] = fields.as_slice() else { return None };
        if found == name { id(gid).ok()? } else { None }
    });
    found.or(number).ok_or_else(|| format!("no group `{name}` in its /etc/group"))
}

fn groups_of(name: &str, group: &str) -> Vec<u32> {
    let member_of = |line: &str| {
        let fields: Vec<&str> = line.split(':').collect();
        let &[_, _, gid, members] = fields.as_slice() else { return None };
        if members.split(',').any(|member| member == name) { id(gid).ok()? } else { None }
    };
    let mut groups: Vec<u32> = group.lines().filter_map(member_of).collect();
    groups.sort_unstable();
    groups.dedup();
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str =
        "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000::/home/app:\n7:x:70:70::/seven:\nbad:x:-1:0::/:\n";
    const GROUP: &str = "root:x:0:\napp:x:1000:\nextra:x:1002:app,other\naudio:x:29:app\n7:x:71:\n";

    fn check(user: &str, uid: u32, gid: u32, groups: &[u32], home: &str) {
        let expected = Identity { uid, gid, groups: groups.to_vec(), home: home.to_owned() };
        assert_eq!(identity(user, PASSWD, GROUP), Ok(expected), "{user}");
    }

    #[test]
    fn names_and_numbers_are_resolved() {
        check("", 0, 0, &[], "/root");
        check("app", 1000, 1000, &[29, 1002], "/home/app");
        check("1000", 1000, 1000, &[29, 1002], "/home/app");
        check("app:audio", 1000, 29, &[], "/home/app");
        check("app:55", 1000, 55, &[], "/home/app");
        check("app:", 1000, 1000, &[29, 1002], "/home/app");
        check("5000", 5000, 0, &[], "/");
        check("7", 70, 70, &[], "/seven");
        check("0:7", 0, 71, &[], "/root");
    }

    #[test]
    fn ids_that_overflow_are_refused() {
        for user in ["4294967296", "4294967295", "-1", "0:4294967296", "99999999999999999999", "+5"] {
            assert!(identity(user, PASSWD, GROUP).is_err(), "{user}");
        }
        assert_eq!(identity("nobody", PASSWD, GROUP), Err("no such user in its /etc/passwd".to_owned()));
        assert_eq!(identity("app:none", PASSWD, GROUP), Err("no group `none` in its /etc/group".to_owned()));
    }
}
