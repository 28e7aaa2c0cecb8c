//! Real files with the peer's answers. They are other people's and not part of this repository: the directory is named
//! by `BAKE_CONFORMANCE`, and tests skip with a message where it is not set.

#![allow(clippy::print_stdout, reason = "tests say what they skip")]

use std::path::PathBuf;

use serde_json::Value;

/// The Dockerfile corpus.
pub struct Dockerfiles {
    pub directory: PathBuf,
}

/// A Dockerfile and what the peer makes of it.
pub struct Case {
    pub name: String,
    pub text: String,
    pub golden: Value,
}

/// Returns the Dockerfile corpus; `None`, with a message, where it is not there.
pub fn dockerfiles() -> Option<Dockerfiles> {
    let directory = std::env::var_os("BAKE_CONFORMANCE").map(|root| PathBuf::from(root).join("dockerfile"));
    let found = directory.filter(|directory| directory.join("golden").is_dir());
    if found.is_none() {
        println!("skipped: BAKE_CONFORMANCE names no directory with a Dockerfile corpus");
    }
    found.map(|directory| Dockerfiles { directory })
}

impl Dockerfiles {
    /// Returns all cases, sorted by name: public files, then the peer's parser tests.
    pub fn cases(&self) -> Vec<Case> {
        let mut cases = Vec::new();
        let mut paths: Vec<PathBuf> = std::fs::read_dir(self.directory.join("golden"))
            .expect("the corpus has golden files")
            .map(|entry| entry.expect("readable").path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
            .collect();
        paths.sort();
        for path in paths {
            let golden = read_json(&path);
            let name = path.file_stem().expect("has a name").to_string_lossy().into_owned();
            let text = std::fs::read(self.directory.join("files").join(&name)).expect("its Dockerfile");
            cases.push(Case { name, text: String::from_utf8_lossy(&text).into_owned(), golden });
        }
        for name in ["parser-testfiles.json", "parser-testfiles-negative.json"] {
            for golden in self.dataset(name).as_array().expect("a list") {
                let name = golden["name"].as_str().expect("a name").to_owned();
                let Some(text) = golden["dockerfile"].as_str() else { continue };
                cases.push(Case { name, text: text.to_owned(), golden: golden.clone() });
            }
        }
        cases
    }

    /// Returns one of the data sets.
    pub fn dataset(&self, name: &str) -> Value {
        read_json(&self.directory.join("datasets").join(name))
    }
}

fn read_json(path: &std::path::Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).expect("readable")).expect("JSON")
}
