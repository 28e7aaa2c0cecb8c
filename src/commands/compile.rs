//! `bake compile`: what a Dockerfile says, as JSON, without building it.

mod registry_file;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::build::client_options;
use super::project::{build_platform, open_store};
use super::solve::resolve_failure;
use super::{Failure, Host, Kind, input};
use crate::diagnostic::{Diagnostic, Diagnostics, FileId, SourceMap};
use crate::dockerfile;
use crate::frontend::lint::{self, Lint, LintDocument, Request};
use crate::frontend::{self, Loaded, LoweredTarget, Lowering, Need, Resolved, ResolvedImage, compiled};
use crate::graph::{Definition, NetworkMode, Resources, SourceOp};
use crate::plan::{self, BuildContext, DockerfileSource, ImageSource, NoCache, PlannedTarget};
use crate::platform::Platform;
use crate::registry::Client;
use crate::solver::activity::Activities;
use crate::solver::notice::{Listener, Notice};
use crate::source::image::{ImageResolver, ResolvedNames};
use crate::sys::files::{DiskFiles, Files};
use registry_file::RegistryFile;

/// What `bake compile` is asked.
#[derive(Clone, Debug)]
pub struct CompileRequest {
    /// The Dockerfile, `-` for standard input; that of the context where absent.
    pub file: Option<String>,
    /// The build context, a directory.
    pub context: String,
    /// The stage; the last one where absent.
    pub target: Option<String>,
    /// Every other named stage is compiled as a target too, for the first platform.
    pub is_for_all_stages: bool,
    /// In this order; this machine's where empty.
    pub platforms: Vec<Platform>,
    /// `BUILDPLATFORM`; this machine's where absent.
    pub build_platform: Option<Platform>,
    /// `NAME=VALUE`, or `NAME` for the environment's value.
    pub args: Vec<String>,
    /// `NAME=CONTEXT`: a directory, `docker-image://REFERENCE` or `oci-layout://PATH`.
    pub contexts: Vec<String>,
    /// A file that answers for registries.
    pub registry_file: Option<String>,
    /// No registry is asked.
    pub is_offline: bool,
}

/// Returns the document that the book's page *Compiled Dockerfiles* describes. What is wrong with the Dockerfile is in it
/// and is no failure.
///
/// # Errors
/// A file cannot be read, or the host can't.
pub fn compile(request: &CompileRequest, host: &Host) -> Result<String, Failure> {
    let files = DiskFiles::new(&host.directory);
    let mut sources = SourceMap::default();
    let (dockerfile, text) = read_dockerfile(request, &files)?;
    let name = match &dockerfile {
        DockerfileSource::Path(name) | DockerfileSource::Inline { name, .. } => name.clone(),
    };
    let file = sources.add(name.clone(), text);
    let parse = compiled::parse(file, &sources);
    let platforms = if request.platforms.is_empty() { vec![build_platform()] } else { request.platforms.clone() };
    let contexts = named_contexts(request)?;
    let planned = |platform: &Platform, stage: Option<String>| PlannedTarget {
        name: stage.clone().unwrap_or_else(|| "default".to_owned()),
        platform: platform.clone(),
        build_platform: request.build_platform.clone().unwrap_or_else(build_platform),
        is_multi_platform: false,
        dockerfile: dockerfile.clone(),
        context: BuildContext::Local(request.context.clone()),
        contexts: contexts.clone(),
        args: build_args(request, host),
        labels: BTreeMap::new(),
        stage,
        no_cache: NoCache::Off,
        network: NetworkMode::Default,
        extra_hosts: Vec::new(),
        ulimits: Vec::new(),
        shm_size: None,
        resources: Resources::default(),
    };
    let first = planned(&platforms[0], request.target.clone());
    let loaded = frontend::load(&first, &files, &mut sources);
    with_images(request, host, &mut |images| {
        let mut compiler =
            Compiler { loaded: &loaded, sources: &sources, images, known: BTreeMap::new(), times: BTreeMap::new() };
        let mut document = json!({ "file": name, "parse": parse, "compile": {} });
        for (name, value) in compiler.calls(file, &first) {
            document[name] = value;
        }
        for platform in &platforms {
            let target = planned(platform, request.target.clone());
            document["compile"][platform.to_string()] = compiler.checked_target(file, &target);
        }
        if let (true, Ok(loaded)) = (request.is_for_all_stages, &loaded) {
            document["stages"] = json!({});
            let names = loaded.dockerfile.stages.iter().filter_map(|stage| stage.name.as_ref());
            for name in names {
                let target = planned(&platforms[0], Some(name.text.clone()));
                document["stages"][&name.text] = compiler.checked_target(file, &target);
                document["stages"][&name.text]["outline"] = compiler.outline(file, &target);
            }
        }
        document
    })
    .and_then(|document| {
        let text = serde_json::to_string(&document);
        text.map(|text| text + "\n").map_err(|error| Failure::new(Kind::Bug, error))
    })
}

/// Returns where the Dockerfile is, and its text.
fn read_dockerfile(request: &CompileRequest, files: &DiskFiles) -> Result<(DockerfileSource, String), Failure> {
    let context = request.context.trim_end_matches('/');
    let path = request.file.clone().unwrap_or_else(|| match context {
        "." | "" => "Dockerfile".to_owned(),
        context => format!("{context}/Dockerfile"),
    });
    if path == "-" {
        let read = input::read_one("-", files).map_err(|error| Failure::new(Kind::Definition, error.message))?;
        let text = read.text;
        return Ok((DockerfileSource::Inline { name: "Dockerfile".to_owned(), text: text.clone() }, text));
    }
    let bytes = files.read(Path::new(&path)).map_err(|error| {
        Failure::new(Kind::Definition, format!("cannot read \"{path}\": {error}"))
            .hint("name the Dockerfile with --file, or its directory as CONTEXT")
    })?;
    Ok((DockerfileSource::Path(path), dockerfile::decode(bytes)))
}

/// Returns the named contexts.
fn named_contexts(request: &CompileRequest) -> Result<BTreeMap<String, BuildContext>, Failure> {
    let named = |text: &String| {
        let wrong = |why: &str| Failure::new(Kind::Usage, format!("--build-context {text}: {why}"));
        let (name, value) = text.split_once('=').ok_or_else(|| wrong("it is no NAME=CONTEXT"))?;
        let context = match plan::image_context(value).transpose().map_err(|error| wrong(&error.to_string()))? {
            Some(image) => image,
            None if value.contains("://") || value.starts_with("target:") => {
                return Err(wrong("only directories and images can be compiled with"));
            }
            None => BuildContext::Local(value.to_owned()),
        };
        Ok((name.to_owned(), context))
    };
    request.contexts.iter().map(named).collect()
}

/// Returns the build arguments; one without a value that the environment does not have is left out, as by the peer.
fn build_args(request: &CompileRequest, host: &Host) -> BTreeMap<String, String> {
    let value = |text: &String| match text.split_once('=') {
        Some((name, value)) => Some((name.to_owned(), value.to_owned())),
        None => host.env.get(text).map(|value| (text.clone(), value.clone())),
    };
    request.args.iter().filter_map(value).collect()
}

/// Answers for images.
type Images<'a> = &'a mut dyn FnMut(&Need) -> Result<ResolvedImage, Diagnostic>;

/// Runs `work` with what answers for images: the file, nothing, or the registries through the store.
fn with_images(
    request: &CompileRequest,
    host: &Host,
    work: &mut dyn FnMut(Images<'_>) -> Value,
) -> Result<Value, Failure> {
    struct Silent;
    impl Listener for Silent {
        fn on_notice(&self, _: Duration, _: Notice<'_>) {}
    }
    if let Some(path) = &request.registry_file {
        let bytes = DiskFiles::new(&host.directory).read(Path::new(path));
        let bytes = bytes.map_err(|error| Failure::new(Kind::Usage, format!("cannot read \"{path}\": {error}")))?;
        let file =
            RegistryFile::parse(&bytes).map_err(|error| Failure::new(Kind::Usage, format!("{path}: {error}")))?;
        return Ok(work(&mut |need| file.resolve(need)));
    }
    if request.is_offline {
        return Ok(work(&mut |need| Err(offline(need))));
    }
    let store = open_store(None, None, host)?;
    let clock = || host.elapsed();
    let activities = Activities::new(&Silent, &clock);
    let client = Client::new(client_options(host));
    let pins = BTreeMap::new();
    let resolver = ImageResolver {
        store: &store,
        client: &client,
        pins: &pins,
        directory: host.directory.clone(),
        activities: &activities,
        resolved: ResolvedNames::default(),
    };
    Ok(work(&mut |need| match resolver.resolve(need) {
        Ok((image, _)) => Ok(image),
        Err(error) => {
            let failure = resolve_failure(&error);
            let message = failure.text.strip_prefix("error: ").unwrap_or(&failure.text).to_owned();
            let error = Diagnostic::error_without_place(message);
            Err(failure.hints.into_iter().fold(error, Diagnostic::hint))
        }
    }))
}

fn offline(need: &Need) -> Diagnostic {
    let name = match &need.image {
        ImageSource::Registry(reference) => reference.familiar(),
        ImageSource::Layout { path, .. } => path.clone(),
    };
    let message = format!("the config of `{name}` for {} is not known without its registry", need.platform);
    Diagnostic::error_without_place(message).hint("leave --offline out, or give the config with --registry-file")
}

struct Compiler<'a> {
    loaded: &'a Result<Loaded, Diagnostics>,
    sources: &'a SourceMap,
    images: Images<'a>,
    known: BTreeMap<Need, ResolvedImage>,
    /// Of sources that SOURCE_DATE_EPOCH names.
    times: BTreeMap<SourceOp, Option<i64>>,
}

impl Compiler<'_> {
    /// Returns the checks, outline and targets of the file, by name.
    fn calls(&mut self, file: FileId, target: &PlannedTarget) -> Vec<(&'static str, Value)> {
        let lint = self.lint(file, target, &lint::lint);
        let targets = lint::targets(file, self.sources);
        vec![
            ("lint", json!(LintDocument::new(&lint, file, self.sources))),
            ("outline", self.outline(file, target)),
            ("targets", targets.map_or_else(|found| self.error(&found), |targets| json!(targets))),
        ]
    }

    /// Returns what [`Compiler::target`] does, and what building it warns of. Where the file asks that warnings are errors,
    /// they are.
    fn checked_target(&mut self, file: FileId, target: &PlannedTarget) -> Value {
        let lint = self.lint(file, target, &lint::build_warnings);
        let mut value = match lint.error.as_ref().filter(|_| lint.is_violation) {
            Some(error) => self.error(&Diagnostics::from(error.diagnostic.clone())),
            None => self.target(target),
        };
        value["warnings"] = json!(LintDocument::new(&lint, file, self.sources).warnings.unwrap_or_default());
        value
    }

    fn outline(&mut self, file: FileId, target: &PlannedTarget) -> Value {
        // What the outline looks at is what a build looks at.
        self.lint(file, target, &lint::build_warnings);
        let resolved = Resolved { images: self.known.clone(), ..Resolved::default() };
        let outline = lint::outline(&self.request(file, target, &resolved));
        outline.map_or_else(|found| self.error(&found), |outline| json!(outline))
    }

    /// Runs checks with as many images as can be had.
    fn lint(&mut self, file: FileId, target: &PlannedTarget, run: &dyn Fn(&Request<'_>) -> Lint) -> Lint {
        let mut missing = BTreeSet::new();
        loop {
            let resolved = Resolved { images: self.known.clone(), ..Resolved::default() };
            let found = run(&self.request(file, target, &resolved));
            let wanted: Vec<Need> = found.needs.difference(&missing).cloned().collect();
            if wanted.is_empty() {
                return found;
            }
            for need in wanted {
                match (self.images)(&need) {
                    Ok(image) => _ = self.known.insert(need, image),
                    Err(_) => _ = missing.insert(need),
                }
            }
        }
    }

    fn request<'r>(&'r self, file: FileId, target: &'r PlannedTarget, resolved: &'r Resolved) -> Request<'r> {
        let ignore = self.loaded.as_ref().map_or(&[][..], |loaded| &loaded.ignore.lines[..]);
        Request { target, file, sources: self.sources, ignore, resolved }
    }

    fn error(&self, found: &Diagnostics) -> Value {
        json!({ "error": compiled::error(found, self.sources) })
    }

    /// Returns `{"image", "llb"}`, or `{"error"}`.
    fn target(&mut self, target: &PlannedTarget) -> Value {
        let mut definition = Definition::default();
        match self.lower(target, &mut definition) {
            Ok(lowered) => {
                let mut value = compiled::target(&definition, &lowered, self.sources);
                value["is_ignore_cache"] = json!(false);
                value
            }
            Err(found) => json!({ "error": compiled::error(&found, self.sources) }),
        }
    }

    fn lower(&mut self, target: &PlannedTarget, definition: &mut Definition) -> Result<LoweredTarget, Diagnostics> {
        let loaded = self.loaded.as_ref().map_err(Clone::clone)?;
        loop {
            let (images, source_times) = (self.known.clone(), self.times.clone());
            let resolved = Resolved { images, source_times, ..Resolved::default() };
            match frontend::lower(target, loaded, &resolved, definition)? {
                Lowering::Done(lowered) => return Ok(lowered),
                // What is on the network is not looked at.
                Lowering::NeedsTime(source) => _ = self.times.insert(source, None),
                Lowering::Needs(needs) => {
                    for (need, _) in needs {
                        let image = (self.images)(&need)?;
                        self.known.insert(need, image);
                    }
                }
            }
        }
    }
}
