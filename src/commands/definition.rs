//! Where a command's bakefiles are: beside the command, in a git repository, in an archive or a file over HTTP.

use super::remotes::{Fetcher, MAX_DEFINITION};
use super::{Failure, Host, Kind, input, project};
use crate::bakefile::{self, InputFile};
use crate::diagnostic::Diagnostics;
use crate::remote::{Home, HttpUrl, Remote, is_remote};
use crate::store::Store;
use crate::sys::files::{DiskFiles, Files};
use crate::sys::placed::TreeFiles;
use crate::sys::root::Root;
use crate::text::utf8;

/// The largest bakefile that is downloaded, as for the peer.
const MAX_BAKEFILE: usize = 2 << 20;

/// What a command line says of its bakefile: `[URL [CONTEXT-URL]] TARGET…` (buildx v0.36, `bakeArgs`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place<'a> {
    /// Where the bakefile is; `None` beside the command.
    pub url: Option<&'a str>,
    /// `BAKE_CMD_CONTEXT`.
    pub cmd_context: &'a str,
    /// The targets.
    pub targets: &'a [String],
}

impl Place<'_> {
    /// Reads a command's words.
    pub fn of(words: &[String]) -> Place<'_> {
        let Some((url, rest)) = words.split_first().filter(|(first, _)| is_remote(first)) else {
            return Place { url: None, cmd_context: "cwd://", targets: words };
        };
        match rest.split_first().filter(|(second, _)| is_remote(second)) {
            Some((context, targets)) => Place { url: Some(url), cmd_context: context, targets },
            None => Place { url: Some(url), cmd_context: "cwd://", targets: rest },
        }
    }
}

/// Bakefiles, read.
pub struct Definition {
    /// In the order in which they are merged.
    pub inputs: Vec<InputFile>,
    /// What relative contexts count from; `None` for the directory that the command runs in.
    pub home: Option<Home>,
    /// Reads what the bakefiles name.
    pub files: Box<dyn Files>,
}

/// Reads the bakefiles that `names` mean at `place`: those with `cwd://` in front are beside the command.
///
/// # Errors
/// What is on the network cannot be had. What is wrong with files of this machine is the inner error.
pub fn read(
    place: &Place<'_>,
    names: &[String],
    store: Option<&std::path::Path>,
    host: &Host,
) -> Result<Result<Definition, Diagnostics>, Failure> {
    let disk = DiskFiles::new(&host.directory);
    let needs_network = place.url.is_some() || names.iter().any(|name| is_remote(name));
    if !needs_network {
        let inputs = input::read(names, &disk);
        return Ok(inputs.map(|inputs| Definition { inputs, home: None, files: Box::new(disk) }));
    }
    let store = project::open_store(store, None, host)?;
    let fetcher = Fetcher::new(&store, host, &host.cancel, MAX_DEFINITION)?;
    let Some(url) = place.url else {
        let inputs = names.iter().map(|name| read_any(name, &fetcher, &store, &disk));
        return Ok(Ok(Definition { inputs: inputs.collect::<Result<_, _>>()?, home: None, files: Box::new(disk) }));
    };
    let (here, there): (Vec<&String>, Vec<&String>) = names.iter().partition(|name| name.starts_with("cwd://"));
    let mut definition = read_remote(url, &there, &fetcher, &store, host)?;
    for name in here {
        let input = input::read_one(name, &disk).map_err(|found| failure(&found.into()))?;
        // Under its full name: what it includes and reads is not among the files over there.
        definition.inputs.push(InputFile { name: name.clone(), ..input });
    }
    Ok(Ok(definition))
}

fn read_remote(
    url: &str,
    names: &[&String],
    fetcher: &Fetcher<'_>,
    store: &Store,
    host: &Host,
) -> Result<Definition, Failure> {
    let directory = match parse(url)? {
        Remote::Git(git) => {
            let ssh = host.var("BUILDX_BAKE_GIT_SSH").and_then(|paths| paths.split(',').next());
            fetcher.git(&git, false, fetcher.bakefile_secret().as_ref(), ssh)?.0
        }
        Remote::Http(file) => {
            let archive = fetcher.archive(&file)?;
            if !archive.is_archive {
                let inputs = vec![downloaded(&file, archive.digest, store)?];
                return Ok(Definition { inputs, home: None, files: Box::new(DiskFiles::new(&host.directory)) });
            }
            archive.directory
        }
    };
    let root = Root::open(&directory)
        .map_err(|error| Failure::new(Kind::Environment, format!("cannot open {}: {error}", directory.display())))?;
    let files = TreeFiles(root);
    let home = Home { url: url.to_owned() };
    let inputs = if names.is_empty() {
        bakefile::default_files(&files)
    } else {
        names.iter().map(|name| read_there(name, &files)).collect()
    };
    let inputs =
        inputs.map_err(|found| failure(&found).note(format!("the bakefile was looked for in {}", home.shown())))?;
    Ok(Definition { inputs, home: Some(home), files: Box::new(files) })
}

/// Reads a file of the remote place; standard input is not among them.
fn read_there(name: &str, files: &dyn Files) -> Result<InputFile, Diagnostics> {
    let name = if name == "-" { "./-" } else { name };
    input::read_one(name, files).map_err(Diagnostics::from)
}

/// Reads a bakefile that `-f` names: a path, or the URL of a file.
fn read_any(name: &str, fetcher: &Fetcher<'_>, store: &Store, disk: &dyn Files) -> Result<InputFile, Failure> {
    if !is_remote(name) {
        return input::read_one(name, disk).map_err(|found| failure(&found.into()));
    }
    match parse(name)? {
        Remote::Http(url) => downloaded(&url, fetcher.file(&url)?.digest, store),
        Remote::Git(url) => Err(Failure::new(Kind::Usage, format!("-f {url}: a repository is no bakefile"))
            .hint(format!("name it before the targets: bake build {url} TARGET"))),
    }
}

fn downloaded(url: &HttpUrl, digest: crate::digest::Digest, store: &Store) -> Result<InputFile, Failure> {
    let wrong = |what: &str| Failure::new(Kind::Definition, format!("cannot read {url}: {what}"));
    let bytes = store.read_blob(&digest).map_err(|error| wrong(&error.to_string()))?;
    if bytes.len() > MAX_BAKEFILE {
        return Err(wrong("it is larger than 2 MiB, which no bakefile may be"));
    }
    let name = url.to_string();
    let text = utf8(&name, bytes).map_err(|why| Failure::new(Kind::Definition, why))?;
    Ok(InputFile { name, text })
}

fn parse(url: &str) -> Result<Remote, Failure> {
    let wrong = |reason: String| Failure::new(Kind::Usage, format!("the bakefile's URL is wrong: {reason}"));
    Remote::parse(url).unwrap_or_else(|| Err("it names nothing on the network".to_owned())).map_err(wrong)
}

fn failure(found: &Diagnostics) -> Failure {
    Failure::rendered(Kind::Definition, found.render(&crate::diagnostic::SourceMap::default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_come_before_targets() {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let all = words("https://h/r.git#main https://h/ctx.tar web api");
        let place = Place::of(&all);
        assert_eq!((place.url, place.cmd_context), (Some("https://h/r.git#main"), "https://h/ctx.tar"));
        assert_eq!(place.targets, ["web", "api"]);
        let one = words("git@h:r.git web");
        assert_eq!((Place::of(&one).url, Place::of(&one).cmd_context), (Some("git@h:r.git"), "cwd://"));
        let none = words("web https://h/r.git");
        assert_eq!((Place::of(&none).url, Place::of(&none).targets.len()), (None, 2));
    }
}
