//! `include`: bakefiles that a bakefile names are read with it, each with paths of its own.
//!
//! Files are followed depth first, in the order in which they are named; what a pattern matches, sorted. A file counts once
//! however often it is named. What `include` says is evaluated before other files are read: it sees what its own file and
//! the files of the command line define.

use std::collections::BTreeSet;

use super::attributes::item_span;
use super::files::{self, InputFile, Parsed};
use super::glob;
use super::places::{Inside, Places};
use super::program::Program;
use super::{Options, clashes};
use crate::diagnostic::{Diagnostic, Diagnostics, SourceMap, Span};
use crate::lang::ast::{Attribute, Body, Expr, ExprKind};
use crate::lang::{EvalContext, EvalError};
use crate::sys::beneath::FileKind;

/// The attribute's name.
pub(super) const INCLUDE: &str = "include";

/// How many files may include each other in a row.
const MAX_LEVELS: usize = 32;
/// How many files may be included.
const MAX_FILES: usize = 10_000;
/// How long all included files together may be, in bytes.
const MAX_BYTES: usize = 64 << 20;

/// A bakefile that is being followed.
struct Step {
    /// Its device and inode; `None` for standard input.
    identity: Option<(u64, u64)>,
    name: String,
    /// Where it is included; `None` for one of the command line.
    from: Option<Span>,
}

/// Follows the includes of bakefiles.
pub(super) struct Includer<'a, 'b> {
    options: &'a Options<'a>,
    /// Where the text of each of `options.vars` stands.
    var_places: &'b [Span],
    sources: &'b mut SourceMap,
    findings: &'b mut Diagnostics,
    places: &'b mut Places<'a>,
    n_roots: usize,
    bodies: Vec<Body>,
    /// Device and inode of all files, those of the command line first.
    known: BTreeSet<(u64, u64)>,
    n_named: usize,
    n_bytes: usize,
    /// What evaluation cost so far.
    n_steps: usize,
    /// Bytes of all values that were made for that.
    n_made: usize,
}

impl<'a, 'b> Includer<'a, 'b> {
    pub(super) fn new(
        options: &'a Options<'a>,
        var_places: &'b [Span],
        sources: &'b mut SourceMap,
        findings: &'b mut Diagnostics,
        places: &'b mut Places<'a>,
    ) -> Includer<'a, 'b> {
        let (bodies, known) = (Vec::new(), BTreeSet::new());
        Includer {
            options,
            var_places,
            sources,
            findings,
            places,
            n_roots: 0,
            bodies,
            known,
            n_named: 0,
            n_bytes: 0,
            n_steps: 0,
            n_made: 0,
        }
    }

    /// Returns the bakefiles of the command line and after them all that they include.
    pub(super) fn follow_all(mut self, roots: Vec<Body>) -> Vec<Body> {
        if roots.iter().all(|body| body.attribute(INCLUDE).is_none()) {
            return roots;
        }
        self.n_roots = roots.len();
        self.bodies = roots;
        let steps: Vec<Step> = (0..self.n_roots).map(|index| self.root(index)).collect();
        self.known = steps.iter().filter_map(|step| step.identity).collect();
        self.n_named = self.known.len();
        for (index, step) in steps.into_iter().enumerate() {
            if let Err(why) = self.follow(index, &mut vec![step]) {
                self.findings.push(*why);
            }
        }
        self.bodies
    }

    fn root(&self, index: usize) -> Step {
        let span = self.bodies[index].span;
        let name = self.sources.name(span.file).to_owned();
        let place = self.places.root(span.file);
        let identity = place.and_then(|place| self.places.stat(place, span).ok()).map(|stat| stat.identity);
        Step { identity, name, from: None }
    }

    /// Reads what a file includes.
    fn follow(&mut self, index: usize, chain: &mut Vec<Step>) -> Result<(), EvalError> {
        let Some(attribute) = self.bodies[index].attribute(INCLUDE).cloned() else { return Ok(()) };
        for (path, span) in self.paths(index, &attribute)? {
            // One that cannot be read does not keep the others from being looked at.
            if let Err(why) = self.include(&path, span, chain) {
                self.findings.push(*why);
            }
        }
        Ok(())
    }

    /// Returns what the attribute lists, and where.
    fn paths(&mut self, index: usize, attribute: &Attribute) -> Result<Vec<(String, Span)>, EvalError> {
        let constant = |item: &Expr| match &item.kind {
            ExprKind::String(text) => Some((text.clone(), item.span)),
            _ => None,
        };
        if let ExprKind::Tuple(items) = &attribute.value.kind
            && let Some(paths) = items.iter().map(constant).collect()
        {
            return Ok(paths);
        }
        let own = (index >= self.n_roots).then(|| &self.bodies[index]);
        let seen = self.bodies[..self.n_roots].iter().chain(own);
        self.n_steps += seen.clone().map(|body| body.blocks.len() + body.attributes.len()).sum::<usize>();
        // What is wrong with definitions is said when all of them are there.
        let mut program = Program::collect(seen, self.options, self.places, &mut Diagnostics::default());
        program.var_places = self.var_places.to_vec();
        program.n_steps.set(self.n_steps);
        program.n_made.set(self.n_made);
        let value = EvalContext::new(&program).eval(&attribute.value).map_err(|why| {
            Box::new(
                why.note("`include` sees what its own file and the files of the command line define, nothing else"),
            )
        })?;
        (self.n_steps, self.n_made) = (program.n_steps.get(), program.n_made.get());
        let wrong = |span| Box::new(Diagnostic::error(span, "`include` is a list of paths"));
        let items = value.as_items().ok_or_else(|| wrong(attribute.value.span))?;
        let path = |(at, item): (usize, &crate::lang::Value)| {
            let span = item_span(&attribute.value, at, items.len());
            Ok((item.as_str().ok_or_else(|| wrong(span))?.to_owned(), span))
        };
        items.iter().enumerate().map(path).collect()
    }

    fn include(&mut self, path: &str, span: Span, chain: &mut Vec<Step>) -> Result<(), EvalError> {
        if !glob::is_pattern(path) {
            return self.include_file(&self.places.inside(span.file, path), span, chain);
        }
        let directory = self.places.inside(span.file, "");
        let found = self.places.matching(&directory, path, span)?;
        let own = chain.last().and_then(|step| step.identity);
        let mut n_others = 0;
        for path in found {
            let place = self.places.inside(span.file, &path);
            // A pattern does not mean the file that it stands in.
            if own.is_none() || own != Some(self.places.stat(&place, span)?.identity) {
                n_others += 1;
                self.include_file(&place, span, chain)?;
            }
        }
        if n_others == 0 {
            let finding = Diagnostic::warning(span, format!("no file matches {path}"));
            self.findings.push(finding.note(format!("looked in {}", self.places.shown(&directory))));
        }
        Ok(())
    }

    fn include_file(&mut self, place: &Inside, span: Span, chain: &mut Vec<Step>) -> Result<(), EvalError> {
        let name = self.places.shown(place);
        let stat = self.places.stat(place, span)?;
        if stat.kind == FileKind::Directory {
            let finding = Diagnostic::error(span, format!("{name} is a directory"));
            return Err(Box::new(finding.hint("name the bakefile in it")));
        }
        if let Some(from) = chain.iter().position(|step| step.identity == Some(stat.identity)) {
            return Err(circle(&chain[from..], &name, span));
        }
        if !self.known.insert(stat.identity) {
            return Ok(());
        }
        let bytes = self.places.read(place, span)?;
        self.n_bytes += bytes.len();
        let limits = [
            (chain.len() > MAX_LEVELS, MAX_LEVELS, "levels"),
            (self.known.len() - self.n_named > MAX_FILES, MAX_FILES, "files"),
            (self.n_bytes > MAX_BYTES, MAX_BYTES >> 20, "MiB"),
        ];
        if let Some((_, limit, unit)) = limits.iter().find(|(is_over, ..)| *is_over) {
            return Err(Box::new(Diagnostic::error(span, format!("this includes more than {limit} {unit}"))));
        }
        let text = String::from_utf8(bytes)
            .map_err(|_| Box::new(Diagnostic::error(span, format!("the bakefile {name} is not UTF-8"))))?;
        let file = match files::parse(&InputFile { name: name.clone(), text }, self.sources, self.findings) {
            Parsed::Body(body, _) => self.add(body, place),
            Parsed::Compose(_) => {
                let finding = Diagnostic::error(span, format!("{name} is a Compose file, which cannot be included"));
                return Err(Box::new(finding.hint(format!("name it on the command line: `-f {name}`"))));
            }
        };
        chain.push(Step { identity: Some(stat.identity), name, from: Some(span) });
        let followed = self.follow(file, chain);
        chain.pop();
        followed
    }

    /// Adds an included file, without its `default`, which is for building it alone.
    fn add(&mut self, mut body: Body, place: &Inside) -> usize {
        self.places.add_included(body.span.file, place);
        clashes::drop_default(&mut body, self.findings);
        self.bodies.push(body);
        self.bodies.len() - 1
    }
}

fn circle(chain: &[Step], name: &str, span: Span) -> EvalError {
    let names = chain.iter().map(|step| step.name.as_str()).chain([name]);
    let drawn = names.collect::<Vec<_>>().join(" → ");
    let finding = Diagnostic::error(span, format!("bakefiles include each other in a circle: {drawn}"));
    let steps =
        chain.iter().skip(1).take(5).filter_map(|step| Some((step.from?, format!("{} is included here", step.name))));
    Box::new(steps.fold(finding, |finding, (span, text)| finding.label(span, text)))
}
