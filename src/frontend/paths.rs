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
    }
}
