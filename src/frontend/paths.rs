//! Slash-separated paths as the image has them.

/// Returns `path` below `directory` (or as it is, if absolute), cleaned: no `.`, `..` or double slashes, never above `/`.
pub(super) fn absolute(directory: &str, path: &str) -> String {
    let joined = if path.starts_with('/') { path.to_owned() } else { format!("{directory}/{path}") };
    let mut parts: Vec<&str> = Vec::new();
    for part in joined.split('/') {
        match part {
            "" | "." => {}
            ".." => _ = parts.pop(),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

/// Returns `path` as Go's `path.Clean` does: relative paths stay relative, the empty one is `.`.
pub(super) fn cleaned(path: &str) -> String {
    if path.starts_with('/') {
        return absolute("/", path);
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => _ = parts.pop(),
            part => parts.push(part),
        }
    }
    if parts.is_empty() { ".".to_owned() } else { parts.join("/") }
}

/// Returns a Windows path with slashes and without the drive, which has to be the system's.
pub(super) fn without_drive(path: &str) -> Result<String, &'static str> {
    let path = path.replace('\\', "/");
    if path.starts_with("//") {
        return Err("is on another machine");
    }
    match path.split_once(':') {
        None => Ok(path),
        Some((_, "")) => Err("names a drive and no path"),
        Some((drive, rest)) if drive.eq_ignore_ascii_case("c") => Ok(rest.to_owned()),
        Some(_) => Err("is not on the system drive, C:"),
    }
}

/// Returns the last part of a path, as Go's `path.Base` does.
pub(super) fn base(path: &str) -> &str {
    let trimmed = path.trim_end_matches('/');
    match trimmed {
        "" if path.is_empty() => ".",
        "" => "/",
        path => path.rsplit('/').next().unwrap_or(path),
    }
}

/// Like [`absolute`], but what names a directory (`x/`, `x/.`, `.`) keeps a trailing slash.
pub(super) fn destination(directory: &str, path: &str) -> String {
    let is_directory = path.is_empty() || path == "." || path.ends_with('/') || path.ends_with("/.");
    let cleaned = absolute(directory, path);
    if is_directory && cleaned != "/" { format!("{cleaned}/") } else { cleaned }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cleaned_and_stay_inside() {
        for (directory, path, expected) in
            [("/", "app", "/app"), ("/app", "../../x", "/x"), ("/app", "/a//b/./c/..", "/a/b"), ("/", "", "/")]
        {
            assert_eq!(absolute(directory, path), expected);
        }
        assert_eq!(destination("/app", "."), "/app/");
        assert_eq!(destination("/app", "x/."), "/app/x/");
        assert_eq!(destination("/", "./"), "/");
        assert_eq!(absolute("/", "a\\*b"), "/a\\*b");
        assert_eq!([cleaned("a/../../b//"), cleaned(""), cleaned("/../a")], ["../b", ".", "/a"]);
        assert_eq!(without_drive("C:\\a\\b"), Ok("/a/b".to_owned()));
        assert!(
            without_drive("D:/a").is_err() && without_drive("\\\\host\\a").is_err() && without_drive("C:").is_err()
        );
        assert_eq!([base("/a/b/"), base("/"), base("")], ["b", "/", "."]);
    }
}
