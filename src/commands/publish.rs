//! What is said of a release: what `--resume` found, which tags moved, what `--publish-partial` published.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::attestations::Attesting;
use super::build::Build;
use super::failure::with_causes;
use super::keep_going::Outcomes;
use super::project::Project;
use super::release::{Release, Released, export_failure};
use super::{Failure, Kind, why};
use crate::digest::{Digest, FieldHasher};
use crate::export::image::TargetResult;
use crate::export::push::PublishError;
use crate::export::push::journal::{Found, PlannedTag, ReleaseJournal};
use crate::export::push::tags::{Fate, TagState};
use crate::plan::{Output, Plan, TargetPlan};
use crate::reference::Reference;
use crate::store::Size;

const RESUME: &str = "run the same command with --resume: what registries acknowledged is not sent again";

/// What became of a target's names, by the target's.
pub(super) type Fates = BTreeMap<String, Result<Vec<String>, String>>;

/// Begins the release's journal, or goes on with the one that an earlier process left and says what is in it.
pub(super) fn journal<'a>(build: &Build<'a>, project: &Project) -> ReleaseJournal<'a> {
    let Build { request, host, plan, store, .. } = *build;
    let directory = why::project_directory(host, &project.lock_path());
    let project = Digest::of(directory.as_os_str().as_encoded_bytes());
    let (plan, now) = (identity(plan), host.now.as_secs());
    if !request.resume {
        return ReleaseJournal::begin(store, project, plan, now);
    }
    let (journal, found) = ReleaseJournal::resume(store, project, plan, now);
    host.talk.line(&text_of(&found));
    journal
}

/// Returns what stands for the names that a plan publishes, whatever is built for them.
fn identity(plan: &Plan) -> Digest {
    let mut hasher = FieldHasher::new("bake.release.v1");
    for target in &plan.targets {
        let names: Vec<String> = names(target).map(ToString::to_string).collect();
        let platforms = target.platforms.iter().map(|planned| planned.platform.to_string());
        if !names.is_empty() {
            hasher.field("target", &target.name).list("platforms", platforms.collect::<Vec<_>>().iter());
            hasher.list("names", names.iter());
        }
    }
    hasher.finish()
}

fn names(target: &TargetPlan) -> impl Iterator<Item = &Reference> {
    let pushed = target.outputs.iter().filter_map(|output| match output {
        Output::Push(names, _) | Output::PushByDigest(names, _) => Some(names),
        _ => None,
    });
    pushed.flatten()
}

/// Says what `--resume` found.
fn text_of(found: &Found) -> String {
    match found {
        Found::Nothing => {
            "resume: no release of this project was left unfinished; registries are asked what they have".to_owned()
        }
        Found::Busy => {
            "resume: another bake is at the release of this project; registries are asked what they have".to_owned()
        }
        Found::Other => {
            "resume: the release that was left unfinished is one of other targets or tags; this one begins anew"
                .to_owned()
        }
        Found::Unfinished { age, n_blobs, n_manifests, uploads, tags } => {
            let mut text = format!("resume: going on with the release of {} ago: ", duration(*age));
            _ = write!(text, "{} and {} acknowledged", count(*n_blobs, "blob"), count(*n_manifests, "manifest"));
            for (digest, offset) in uploads {
                _ = write!(text, "; {} of blob {} sent", Size(*offset), digest.short());
            }
            let n_moved = tags.values().filter(|tag| tag.is_moved).count();
            match tags.len() {
                0 => text.push_str("; no tag moved"),
                n => _ = write!(text, "; {n_moved} of {} moved", count(n, "tag")),
            }
            tags.iter().filter(|(_, tag)| tag.is_moved).for_each(|tag| text.push_str(&moved(tag)));
            text
        }
    }
}

fn moved((name, tag): (&String, &PlannedTag)) -> String {
    format!("\n  {name}  moved to {}", tag.wanted)
}

fn duration(seconds: u64) -> String {
    match seconds {
        0..120 => count(seconds as usize, "second"),
        120..7200 => count((seconds / 60) as usize, "minute"),
        7200..172_800 => count((seconds / 3600) as usize, "hour"),
        _ => count((seconds / 86_400) as usize, "day"),
    }
}

fn count(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

/// Says for people why a release did not end, and which tags have moved.
pub(super) fn failure(error: &PublishError) -> Failure {
    match error {
        PublishError::Content(error) => {
            let failure = export_failure(error).note("no tag was moved");
            if failure.kind == Kind::Remote { failure.hint(RESUME) } else { failure }
        }
        PublishError::Overtaken { .. } => Failure::caused(Kind::Remote, error)
            .note("no tag was moved by this run")
            .hint("run the same command without --resume to move it all the same"),
        PublishError::Tags { tags, source } => Failure::new(Kind::Remote, with_causes(source))
            .paragraph(&table(tags))
            .hints(source.hint())
            .hint("run the same command with --resume: it moves the tags that have not moved"),
    }
}

/// Returns a head line and one line for each tag.
fn table(tags: &[TagState]) -> String {
    let n_moved = tags.iter().filter(|tag| tag.fate == Fate::Moved).count();
    let width = tags.iter().map(|tag| tag.name.len()).max().unwrap_or(0);
    let mut text = format!("{n_moved} of {} moved:", count(tags.len(), "tag"));
    for TagState { name, previous, wanted, fate } in tags {
        let fate = match (fate, previous) {
            (Fate::Moved, _) => format!("moved      to {wanted}"),
            (Fate::Kept, Some(previous)) => format!("not moved  names {previous}"),
            (Fate::Kept, None) => "not moved  was not there before".to_owned(),
            (Fate::Unknown, _) => "unknown    the registry did not answer".to_owned(),
        };
        _ = write!(text, "\n  {name:width$}  {fate}");
    }
    text
}

impl Build<'_> {
    /// Sends the targets that were built for all their platforms, beside others that were not.
    ///
    /// # Errors
    /// An image cannot be put together, or a file not be written.
    pub(super) fn publish_built(
        &self,
        outcomes: &Outcomes<'_>,
        release: &Release<'_>,
        attesting: &Attesting<'_>,
    ) -> Result<Fates, Failure> {
        let mut plan = self.plan.clone();
        plan.targets.retain(|target| outcomes.is_built(target));
        let built = self.beside(self.host, &plan, self.checkouts);
        let results = built.assemble(outcomes.lowered, outcomes.contents, outcomes.locked, attesting)?;
        let release = Release { plan: &plan, ..*release };
        release.write(&results)?;
        Ok(release.publish_each(&results))
    }
}

impl Release<'_> {
    /// Sends `results` as [`Release::send`] does; where that cannot be done for all of them, publishes those for which it
    /// can.
    ///
    /// # Errors
    /// Not all was published; the failure says what was.
    pub(super) fn send_what_can_be(&self, results: &[TargetResult]) -> Result<Released, Failure> {
        let released = self.write(results)?;
        let error = match self.publish(results) {
            Ok(published) => {
                self.publisher.finish();
                return Ok(Released { published, ..released });
            }
            Err(PublishError::Content(error)) => error,
            Err(error) => return Err(failure(&error)),
        };
        let fates = self.publish_each(results);
        let width = fates.keys().map(|name| name.chars().count()).max().unwrap_or(0);
        let n_published = fates.values().filter(|fate| fate.is_ok()).count();
        let mut text = format!("published {n_published} of {}:", count(fates.len(), "target"));
        for (name, fate) in &fates {
            _ = match fate {
                Ok(tags) => write!(text, "\n  {name:width$}  published      {}", tags.join(", ")),
                Err(reason) => write!(text, "\n  {name:width$}  not published  {reason}"),
            };
        }
        Err(export_failure(&error).paragraph(&text).hint(RESUME))
    }

    /// Publishes each target by itself, so that what fails for one stops no other.
    pub(super) fn publish_each(&self, results: &[TargetResult]) -> Fates {
        let targets = self.plan.targets.iter().zip(results);
        let pushed = targets.filter(|(target, _)| names(target).next().is_some());
        let fate = |(target, result): (&TargetPlan, &TargetResult)| {
            let plan = Plan { targets: vec![target.clone()], ..Plan::default() };
            let alone = Release { plan: &plan, ..*self };
            let fate = match alone.publish(std::slice::from_ref(result)) {
                Ok(published) => Ok([published.tags_moved, published.tags_unchanged].concat()),
                Err(error) => Err(with_causes(&error)),
            };
            (target.name.clone(), fate)
        };
        pushed.map(fate).collect()
    }
}
