//! What is checked of every stage, reached or not: numbers of `COPY --from`, and stages that read each other in a circle.

use crate::diagnostic::{Diagnostic, Span};
use crate::dockerfile::{Dockerfile, InstructionKind, MountOptions};

/// Finds the first number that is no stage's, else the first circle.
///
/// # Errors
/// That one, at the instruction that asks for it.
pub(super) fn check(dockerfile: &Dockerfile, bases: &[String]) -> Result<(), Diagnostic> {
    let edges = edges(dockerfile, bases)?;
    let mut state = vec![State::New; edges.len()];
    for start in 0..edges.len() {
        // Not recursive: a file may have any number of stages.
        let mut path: Vec<(usize, usize)> = vec![(start, 0)];
        while let Some((stage, next)) = path.pop() {
            state[stage] = State::Open;
            let Some(&(read, span)) = edges[stage].get(next) else {
                state[stage] = State::Done;
                continue;
            };
            path.push((stage, next + 1));
            match state[read] {
                State::New => path.push((read, 0)),
                State::Done => {}
                State::Open => return Err(circle(dockerfile, &path, read, span)),
            }
        }
    }
    Ok(())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    New,
    /// On the way that is being followed.
    Open,
    Done,
}

fn circle(dockerfile: &Dockerfile, path: &[(usize, usize)], first: usize, span: Span) -> Diagnostic {
    let name = |stage: usize| match &dockerfile.stages[stage].name {
        Some(name) => name.text.clone(),
        None => stage.to_string(),
    };
    let way = path.iter().map(|(stage, _)| *stage).skip_while(|stage| *stage != first).chain([first]);
    let way: Vec<String> = way.map(name).collect();
    Diagnostic::error(span, "stages read each other in a circle").note(way.join(" → "))
}

/// Returns for each stage the stages that it reads, with the instruction that does.
fn edges(dockerfile: &Dockerfile, bases: &[String]) -> Result<Vec<Vec<(usize, Span)>>, Diagnostic> {
    let n_stages = dockerfile.stages.len();
    let mut edges = Vec::new();
    for (index, stage) in dockerfile.stages.iter().enumerate() {
        let mut own = Vec::new();
        let earlier = &dockerfile.stages[..index];
        let base = earlier.iter().rposition(|one| one.name.as_ref().is_some_and(|name| name.text == bases[index]));
        own.extend(base.map(|base| (base, stage.span)));
        for instruction in &stage.instructions {
            match &instruction.kind {
                InstructionKind::Copy(copy) => {
                    let Some(from) = &copy.from else { continue };
                    let read = match from.text.parse::<usize>() {
                        Ok(number) if number < n_stages => Some(number),
                        Ok(number) => {
                            let error = Diagnostic::error(from.span, format!("there is no stage {number}"));
                            return Err(error.note(format!("the last is stage {}", n_stages - 1)));
                        }
                        Err(_) => dockerfile.stage_named(&from.text, n_stages),
                    };
                    own.extend(read.map(|read| (read, instruction.span)));
                }
                InstructionKind::Run(run) => {
                    let names = run.mounts.iter().filter_map(MountOptions::from_of);
                    let read = names.filter_map(|name| dockerfile.stage_named(&name, n_stages));
                    own.extend(read.map(|read| (read, instruction.span)));
                }
                _ => {}
            }
        }
        edges.push(own);
    }
    Ok(edges)
}
