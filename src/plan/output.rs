//! Where a target's result goes, from its `output` attribute (buildx v0.36, `build/opt.go`; BuildKit, `exporter/*`).

use super::shape::Documents;
use super::{ImageFile, ImageFormat, ImageShape, LayoutForm, LocalMode, Output, PlatformSplit, shape};
use crate::bakefile::{OutputSpec, Target, parse_bool};
use crate::diagnostic::{Diagnostic, Diagnostics, nearest};
use crate::reference::{InvalidReference, Reference};

const KINDS: [&str; 7] = ["image", "registry", "oci", "docker", "local", "tar", "cacheonly"];

/// The options of each type. What the image store of the peer's containerd worker is told (`store`, `unpack`,
/// `name-canonical`, the names of dangling images) means nothing where images have no names, as with its OCI worker.
fn options(kind: &str) -> &'static [&'static str] {
    match kind {
        "image" | "registry" => &["push", "push-by-digest", "name", "store", "unpack", "name-canonical"],
        "oci" => &["dest", "tar", "name"],
        "docker" => &["dest", "tar", "name", "context"],
        "local" => &["dest", "platform-split", "mode", "attestation-prefix"],
        "tar" => &["dest", "platform-split", "attestation-prefix"],
        _ => &[],
    }
}

/// Returns the outputs of `target`, whose image has this shape where they say nothing, which has these parsed `tags` and
/// has these documents.
pub(super) fn outputs(
    target: &Target,
    (shape, tags): (&ImageShape, &[Reference]),
    documents: Documents<'_>,
    found: &mut Diagnostics,
) -> Vec<Output> {
    let mut outputs = Vec::new();
    for spec in &target.output {
        match (Reader { target, spec, shape, tags, documents }).output() {
            Ok(output) => outputs.push(output),
            Err(wrong) => found.push(wrong),
        }
        if spec.fields.contains_key("name") && !tags.is_empty() {
            let message =
                format!("`name` of an output of target \"{}\" is left out: its tags are its names", target.name);
            found.push(Diagnostic::warning(spec.span, message));
        }
    }
    outputs
}

/// Reads one output of a target.
struct Reader<'a> {
    target: &'a Target,
    spec: &'a OutputSpec,
    shape: &'a ImageShape,
    tags: &'a [Reference],
    documents: Documents<'a>,
}

impl Reader<'_> {
    fn output(&self) -> Result<Output, Diagnostic> {
        let kind = self.spec.kind.as_str();
        if !KINDS.contains(&kind) {
            let hint = nearest(kind, KINDS).map(|near| format!("did you mean `type={near}`?"));
            return Err(hint.into_iter().fold(self.error(format!("unknown output type `{kind}`")), Diagnostic::hint));
        }
        let known = options(kind);
        let is_image = !matches!(kind, "local" | "tar" | "cacheonly");
        let of_shape = |key: &str| is_image && (shape::OPTIONS.contains(&key) || shape::is_annotation(key));
        let is_known = |key: &String| known.contains(&key.as_str()) || of_shape(key);
        if let Some(key) = self.spec.fields.keys().find(|key| !is_known(key)) {
            if let Some(reason) = shape::refusal(key).filter(|_| is_image) {
                return Err(self.error(format!("output option `{key}` is not there: {reason}")));
            }
            let known = known.iter().chain(if is_image { &shape::OPTIONS[..] } else { &[] });
            let error = self.error(format!("output option `{key}` for `type={kind}` is not supported yet"));
            return Err(error.suggest(key, known.copied()));
        }
        match kind {
            "image" | "registry" => self.image(kind == "registry"),
            "oci" | "docker" => self.image_file(kind),
            "local" => {
                let (dest, split) = (self.directory()?, self.split()?);
                Ok(Output::Local { dest, split, mode: self.mode()? })
            }
            "tar" => Ok(Output::Tar { dest: self.file(), split: self.split()? }),
            _ => Ok(Output::CacheOnly),
        }
    }

    fn image(&self, is_registry: bool) -> Result<Output, Diagnostic> {
        for key in ["store", "unpack", "name-canonical"] {
            self.flag(key, true)?;
        }
        let is_by_digest = self.flag("push-by-digest", false)?;
        // `type=registry` is short for an image that is pushed.
        if !self.flag("push", false)? && !is_registry {
            return Ok(Output::Image(self.shape()?));
        }
        let names = self.names()?;
        if names.is_empty() {
            let message = format!("target \"{}\" is to be pushed and has no tags", self.target.name);
            let error = Diagnostic::error(self.target.span, message);
            return Err(error.hint("give it `tags = [\"REGISTRY/REPOSITORY:TAG\"]`"));
        }
        match names.iter().find(|name| is_by_digest && (name.tag.is_some() || name.digest.is_some())) {
            None if is_by_digest => Ok(Output::PushByDigest(names, self.shape()?)),
            None => Ok(Output::Push(names, self.shape()?)),
            Some(name) => {
                let error = self.error(format!("cannot push tagged `{name}` by digest"));
                Err(error.hint(format!("leave the tag out: `{}`", name.name())))
            }
        }
    }

    fn image_file(&self, kind: &str) -> Result<Output, Diagnostic> {
        let is_docker = kind == "docker";
        let format = if is_docker { ImageFormat::Docker } else { ImageFormat::Oci };
        let form = if self.flag("tar", true)? { LayoutForm::Archive } else { LayoutForm::Directory };
        let (names, context) = (self.names()?, self.field("context").map(str::to_owned));
        if is_docker && form == LayoutForm::Archive && self.field("dest").is_none() {
            return Ok(Output::Load { context, names, shape: self.shape()? });
        }
        if let Some(context) = context {
            return Err(self.error(format!("`context={context}` names a Docker, but the result goes to a file")));
        }
        if is_docker && self.documents.platforms.len() > 1 {
            let message = "docker exporter does not support exporting manifest lists, use the oci exporter instead";
            let note = format!("target \"{}\" is for {} platforms", self.target.name, self.documents.platforms.len());
            return Err(self.error(message).note(note).hint("write `type=oci`, or build one platform: `--platform`"));
        }
        let dest = if form == LayoutForm::Directory { self.directory()? } else { self.file() };
        Ok(Output::File(ImageFile { dest, form, format, names, shape: self.shape()? }))
    }

    fn shape(&self) -> Result<ImageShape, Diagnostic> {
        shape::of_output(self.spec, self.shape, self.documents)
    }

    /// Returns the image's names: the target's tags or, without those, `name`. The peer lets tags win too.
    fn names(&self) -> Result<Vec<Reference>, Diagnostic> {
        if !self.tags.is_empty() {
            return Ok(self.tags.to_vec());
        }
        let names = self.field("name").into_iter().flat_map(|names| names.split(','));
        let parsed: Result<_, InvalidReference> = names.map(|name| name.trim().parse()).collect();
        parsed.map_err(|error| self.error(error.to_string()))
    }

    /// Returns the file to write; standard output where none is named.
    fn file(&self) -> String {
        self.field("dest").unwrap_or("-").to_owned()
    }

    fn directory(&self) -> Result<String, Diagnostic> {
        let kind = self.spec.kind.as_str();
        match self.field("dest") {
            Some("-") => Err(self.error(format!("output `type={kind}` is a directory, which standard output is not"))),
            Some(dest) => Ok(dest.to_owned()),
            None => {
                let error = self.error(format!("output `type={kind}` needs a destination"));
                Err(error.hint(format!("write `type={kind},dest=PATH`")))
            }
        }
    }

    /// Returns where platforms go: apart if there are several, unless it is said.
    fn split(&self) -> Result<PlatformSplit, Diagnostic> {
        let is_split = self.flag("platform-split", self.documents.platforms.len() > 1)?;
        Ok(if is_split { PlatformSplit::Split } else { PlatformSplit::Merged })
    }

    fn mode(&self) -> Result<LocalMode, Diagnostic> {
        match self.field("mode").map(|mode| mode.trim().to_lowercase()).as_deref() {
            None | Some("" | "copy") => Ok(LocalMode::Copy),
            Some("delete") => Ok(LocalMode::Delete),
            Some(mode) => Err(self.error(format!("`mode` of an output is copy or delete, not \"{mode}\""))),
        }
    }

    /// Returns a field's text; `None` for an empty one.
    fn field(&self, key: &str) -> Option<&str> {
        self.spec.fields.get(key).map(String::as_str).filter(|text| !text.is_empty())
    }

    /// Returns a switch; written without a value it is on.
    fn flag(&self, key: &str, default: bool) -> Result<bool, Diagnostic> {
        match self.spec.fields.get(key).map(String::as_str) {
            None => Ok(default),
            Some("") => Ok(true),
            Some(text) => parse_bool(text)
                .ok_or_else(|| self.error(format!("output option `{key}` is true or false, not \"{text}\""))),
        }
    }

    fn error(&self, message: impl Into<String>) -> Diagnostic {
        Diagnostic::error(self.spec.span, message)
    }
}
