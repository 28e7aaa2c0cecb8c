//! A walk through a graph of names, depth first and without recursion: chains in a bakefile may be long.

use std::collections::BTreeSet;

/// What a walk finds.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Walk<'a> {
    /// Every name that was reached, after the names that it leads to.
    pub(super) order: Vec<&'a str>,
    /// One circle for each step back to a name on the way, the first name once; [`MAX_CYCLES`] at most.
    pub(super) cycles: Vec<Vec<&'a str>>,
}

/// Circles that are kept: a circle may be as long as the file, and there may be as many of them.
const MAX_CYCLES: usize = 100;

/// Walks from each of `names` along `edges`.
pub(super) fn walk<'a>(names: impl Iterator<Item = &'a str>, edges: impl Fn(&'a str) -> Vec<&'a str>) -> Walk<'a> {
    let (mut found, mut done) = (Walk::default(), BTreeSet::new());
    for start in names {
        if done.contains(start) {
            continue;
        }
        let (mut path, mut on_path): (Vec<(&str, Vec<&str>)>, BTreeSet<&str>) = (Vec::new(), BTreeSet::new());
        let mut entering = Some(start);
        loop {
            if let Some(name) = entering.take() {
                let mut next = edges(name);
                next.reverse();
                path.push((name, next));
                on_path.insert(name);
            }
            let Some((name, rest)) = path.last_mut() else { break };
            match rest.pop() {
                Some(next) if on_path.contains(next) && found.cycles.len() >= MAX_CYCLES => {}
                Some(next) if on_path.contains(next) => {
                    let from = path.iter().position(|(name, _)| *name == next).unwrap_or(0);
                    found.cycles.push(path[from..].iter().map(|(name, _)| *name).collect());
                }
                Some(next) if !done.contains(next) => entering = Some(next),
                Some(_) => {}
                None => {
                    on_path.remove(name);
                    done.insert(*name);
                    found.order.push(name);
                    path.pop();
                }
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_after_what_they_lead_to() {
        let edges = |name: &str| match name {
            "a" => vec!["b", "c"],
            "b" => vec!["c"],
            "c" => vec!["b"],
            _ => vec![],
        };
        let found = walk(["a", "d"].into_iter(), edges);
        assert_eq!(found, Walk { order: vec!["c", "b", "a", "d"], cycles: vec![vec!["b", "c"]] });
    }
}
