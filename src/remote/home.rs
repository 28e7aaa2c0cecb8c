//! Where a remote bakefile's own files are.

use super::{Remote, is_remote, with_subdir};
use crate::remote::git::clean;

/// The place that a remote bakefile came from: what its relative contexts mean (buildx v0.36, `updateContext`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Home {
    /// The URL of a repository or of an archive.
    pub url: String,
}

impl Home {
    /// Returns the place as it may be shown.
    pub fn shown(&self) -> String {
        match Remote::parse(&self.url) {
            Some(Ok(remote)) => remote.to_string(),
            _ => "elsewhere".to_owned(),
        }
    }

    /// Returns the host of the URL, with its port.
    pub fn host(&self) -> Option<String> {
        Some(Remote::parse(&self.url)?.ok()?.host().to_owned())
    }

    /// Returns what a context means: a path is below the place, `cwd://` is where the command runs, others are what they
    /// are.
    pub fn context(&self, text: &str) -> String {
        let is_fixed =
            ["cwd://", "target:", "docker-image:", "oci-layout:"].iter().any(|start| text.starts_with(start));
        if is_fixed || is_remote(text) {
            return text.to_owned();
        }
        match Remote::parse(&self.url) {
            Some(Ok(Remote::Git(_))) => with_subdir(&self.url, &clean_relative(text)),
            // The peer prints nothing here: it hands the files over beside the definition.
            _ => match clean(text).as_str() {
                "" => self.url.clone(),
                subdir => format!("{}#:{subdir}", self.url),
            },
        }
    }
}

fn clean_relative(text: &str) -> String {
    match clean(text) {
        path if path.is_empty() => ".".to_owned(),
        path => path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_below_the_definition_s_place_and_nothing_else_is() {
        let home = |url: &str| Home { url: url.to_owned() };
        let git = home("https://h/r.git#main");
        for (text, meant) in [
            (".", "https://h/r.git#main"),
            ("./web/", "https://h/r.git#main:web"),
            ("../../web", "https://h/r.git#main:web"),
            ("/etc", "https://h/r.git#main:etc"),
            ("cwd://", "cwd://"),
            ("target:base", "target:base"),
            ("docker-image://alpine", "docker-image://alpine"),
            ("https://h/other.git", "https://h/other.git"),
        ] {
            assert_eq!(git.context(text), meant, "{text}");
        }
        assert_eq!(home("https://h/x.tar").context("."), "https://h/x.tar");
        assert_eq!(home("https://h/x.tar").context("web"), "https://h/x.tar#:web");
    }
}
