//! `bake doctor`: tries what a build needs of this host, and says what mends what is missing.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use super::build::client_options;
use super::failure::without_codes;
use super::project::{self, ProjectRequest};
use super::{Failure, Host, Kind};
use crate::bakefile::{self, Bakefile, Target};
use crate::platform::Platform;
use crate::reference::Reference;
use crate::registry::{Client, Options, Ping};
use crate::store::Store;
use crate::sys::files::DiskFiles;
use crate::sys::threads;
use crate::worker::emulation;
use crate::worker::host::{Examination, Finding, Status};

/// The next step after an error that this host causes.
pub(super) const NEXT_STEP: &str = "run \"bake doctor\": it tries all that a build needs here, and says what mends it";

/// Registries that are asked at once.
const N_ASKED: usize = 8;

/// For a registry's connection, and then for its answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// What `bake doctor` is asked.
#[derive(Clone, Debug, Default)]
pub struct DoctorRequest {
    /// Registries to reach, `HOST[:PORT]`; those that the bakefile names where none is given.
    pub registries: Vec<String>,
    /// Bakefiles; the default names where none is given.
    pub files: Vec<String>,
    /// The store's directory.
    pub store: Option<PathBuf>,
    /// JSON in place of text.
    pub is_json: bool,
}

/// Returns a line for each thing that was tried.
///
/// # Errors
/// No build can run on this host; the report is then the failure's data.
pub fn doctor(request: &DoctorRequest, host: &Host) -> Result<String, Failure> {
    let path = project::store_path(request.store.as_deref(), host)?;
    let platforms: Vec<Platform> = emulation::PLATFORMS.iter().filter_map(|text| text.parse().ok()).collect();
    let search = emulation::search(&Store::emulators_in(&path), host.var("PATH").unwrap_or(""));
    let examination = Examination {
        store: &path,
        emulator_search: &search,
        program: &host.program,
        env: &host.env,
        platforms: &platforms,
        cancel: &host.cancel,
    };
    let mut findings = examination.findings();
    findings.extend(registries(request, host)?);
    if host.cancel.is_cancelled() {
        return Err(Failure::new(Kind::Interrupted, "interrupted"));
    }
    let report = if request.is_json { json(&findings) } else { text(&findings) };
    let forbidding: Vec<&str> = findings.iter().filter(|f| f.forbids_builds()).map(|f| f.probe.as_str()).collect();
    if forbidding.is_empty() {
        return Ok(report);
    }
    let message = format!("no build can run on this host: see {} above", forbidding.join(", "));
    Err(Failure::new(Kind::Environment, message).data(report))
}

/// Asks the registries that were named, or those of the bakefile where there is one.
fn registries(request: &DoctorRequest, host: &Host) -> Result<Vec<Finding>, Failure> {
    let mut findings = Vec::new();
    let named: BTreeSet<String> = if request.registries.is_empty() {
        match read_bakefile(request, host) {
            None => BTreeSet::new(),
            Some(Ok(bakefile)) => bakefile.targets().iter().flat_map(registries_of).collect(),
            Some(Err(reason)) => {
                let text = format!("its registries are not known, because it is wrong: {reason}");
                findings.push(Finding::limited("bakefile", text).mend("run \"bake check\""));
                BTreeSet::new()
            }
        }
    } else {
        request.registries.iter().map(|text| registry_name(text)).collect::<Result<_, _>>()?
    };
    let options = Options { connect_timeout: PATIENCE, read_timeout: PATIENCE, attempts: 1, ..client_options(host) };
    let client = Client::new(options);
    let asked = threads::map(named.into_iter().collect(), N_ASKED, |registry: String| {
        Ok::<_, Failure>(registry_finding(&client, &registry))
    });
    findings.extend(asked?);
    Ok(findings)
}

/// Reads the bakefile, all of it; `None` where none is named and none is here.
fn read_bakefile(request: &DoctorRequest, host: &Host) -> Option<Result<Bakefile, String>> {
    let request = ProjectRequest { files: request.files.clone(), ..ProjectRequest::default() };
    let names = project::input_names(&request, host);
    if names.is_empty() && bakefile::default_files(&DiskFiles::new(&host.directory)).is_err() {
        return None;
    }
    Some(project::read(&request, None, host).map(|text| text.bakefile).map_err(|failure| {
        let first = failure.text.lines().next().unwrap_or_default();
        first.strip_prefix("error: ").unwrap_or(first).to_owned()
    }))
}

/// Returns the registries that a target pushes to, takes images from or keeps its cache in.
fn registries_of(target: &Target) -> BTreeSet<String> {
    let tags = target.tags.iter().map(|tag| tag.value.as_str());
    let outputs =
        target.output.iter().filter_map(|output| output.fields.get("name")).flat_map(|names| names.split(','));
    let contexts = target.contexts.values().filter_map(|context| context.value.strip_prefix("docker-image://"));
    let caches = target.cache_from.iter().chain(&target.cache_to).filter_map(|cache| cache.fields.get("ref"));
    let names = tags.chain(outputs).chain(contexts).chain(caches.map(String::as_str));
    names.filter_map(|name| Some(name.trim().parse::<Reference>().ok()?.registry)).collect()
}

/// Reads `HOST[:PORT]`; an image's name stands for its registry.
pub(super) fn registry_name(text: &str) -> Result<String, Failure> {
    let wrong = || Failure::new(Kind::Usage, format!("`{text}` is no registry")).hint("name it as HOST or HOST:PORT");
    let host = text.split_once("://").map_or(text, |(_, rest)| rest).trim_end_matches('/');
    let image = if host.contains('/') { host.to_owned() } else { format!("{host}/image") };
    let reference: Reference = image.parse().map_err(|_| wrong())?;
    // A lone word is a repository of the default registry.
    let is_registry = host.contains('/') || reference.registry == host;
    if is_registry { Ok(reference.registry) } else { Err(wrong()) }
}

fn registry_finding(client: &Client, registry: &str) -> Finding {
    let probe = format!("registry {registry}");
    match client.ping(registry) {
        Ok(Ping::Open) => Finding::ok(probe, "it answers, and asks for no login"),
        Ok(Ping::Login) => Finding::ok(probe, "it answers; a login is configured for it"),
        Ok(Ping::Anonymous) => Finding::ok(probe, "it answers; no login is configured, so only what is public is had"),
        Err(error) => {
            let text = format!("{error}: images can be neither pulled from it nor pushed to it");
            Finding::missing(probe, text).mend(error.hint().unwrap_or_default())
        }
    }
}

fn word(status: Status) -> &'static str {
    match status {
        Status::Ok => "ok",
        Status::Limited => "limited",
        Status::Missing => "missing",
    }
}

/// Returns a line for each finding, and below it what to do about it.
fn text(findings: &[Finding]) -> String {
    let width = findings.iter().map(|finding| finding.probe.len()).max().unwrap_or(0);
    let lines = findings.iter().map(|finding| {
        let Finding { probe, status, text, mend, .. } = finding;
        let mend = mend.as_ref().map_or_else(String::new, |mend| format!("{:9}mend: {mend}\n", ""));
        format!("{:<8} {probe:<width$}  {}\n{mend}", word(*status), without_codes(text))
    });
    lines.collect()
}

/// A finding as JSON has it.
#[derive(Serialize)]
struct Entry<'a> {
    probe: &'a str,
    status: &'static str,
    text: String,
    mend: Option<&'a str>,
}

impl<'a> Entry<'a> {
    fn new(finding: &'a Finding) -> Entry<'a> {
        let Finding { probe, status, text, mend, .. } = finding;
        Entry { probe, status: word(*status), text: without_codes(text), mend: mend.as_deref() }
    }
}

/// All findings as JSON has them.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report<'a> {
    can_build: bool,
    probes: Vec<Entry<'a>>,
}

fn json(findings: &[Finding]) -> String {
    let can_build = !findings.iter().any(Finding::forbids_builds);
    let report = Report { can_build, probes: findings.iter().map(Entry::new).collect() };
    format!("{}\n", serde_json::to_string_pretty(&report).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_are_lines_with_their_mends_below() {
        let findings = [
            Finding::ok("kernel", "Linux 6.18"),
            Finding::missing("linux/arm64", "cannot write: No space left on device (os error 28)").mend("do it"),
        ];
        let expected = "ok       kernel       Linux 6.18\n\
                        missing  linux/arm64  cannot write: No space left on device\n         mend: do it\n";
        assert_eq!(text(&findings), expected);
        let json: serde_json::Value = serde_json::from_str(&json(&findings)).expect("JSON");
        assert_eq!(json["canBuild"], true);
        assert_eq!(json["probes"][1]["mend"], "do it");
        assert_eq!(json["probes"][0]["mend"], serde_json::Value::Null);
    }

    #[test]
    fn registries_are_named_by_host_or_by_an_image_of_theirs() {
        let cases = [
            ("127.0.0.1:5000", "127.0.0.1:5000"),
            ("https://r.example.com/", "r.example.com"),
            ("r.example.com/team/api:1", "r.example.com"),
            ("docker.io", "docker.io"),
            ("localhost", "localhost"),
        ];
        for (text, expected) in cases {
            assert_eq!(registry_name(text).map_err(|failure| failure.text), Ok(expected.to_owned()), "{text}");
        }
        assert_eq!(registry_name("two words").expect_err("no name").exit_code(), 2);
    }
}
