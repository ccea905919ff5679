//! `parent`: the job whose weights or estimate another job builds on, as written; and whether the two fit together.

use super::paths::{Change, Paths};
use crate::input::Declaration;
use crate::input::fields::{Fields, Record, Subject};
use crate::input::node::Node;
use crate::input::problems::Problems;
use crate::job::{Configuration, Parent, Takes};
use crate::metric::EpochSelection;
use std::ops::Range;

/// A request for a parent job.
pub(super) struct ParentRequest {
    pub(super) span: Range<usize>,
    /// What differs from the child.
    pub(super) set: Vec<Change>,
    /// The epoch that the child builds on.
    pub(super) at: EpochSelection,
    pub(super) at_span: Range<usize>,
}

/// The keys of a parent.
pub(super) fn declarations() -> Vec<Declaration> {
    Record::of(|fields| _ = read_keys(fields, &Paths::default())).keys
}

/// Reads the map of a parent.
pub(super) fn read(node: &Node, paths: &Paths, problems: &mut Problems) -> Option<ParentRequest> {
    const EXPECTED: &str = "a map with `set` and `at`, such as `{set: {loss: cce}, at: best-validation}`";
    let Some(entries) = node.entries() else {
        Fields::new(&[], Subject("the parent", None), node.span.clone(), problems)
            .unexpected("parent", node, EXPECTED, None);
        return None;
    };
    let mut fields = Fields::new(entries, Subject("the parent", None), node.span.clone(), problems);
    let (set, at) = read_keys(&mut fields, paths);
    let at_span = fields.value_place("at").unwrap_or_else(|| node.span.clone());
    fields.finish();
    Some(ParentRequest { span: node.span.clone(), set, at, at_span })
}

fn read_keys(fields: &mut Fields<'_>, paths: &Paths) -> (Vec<Change>, EpochSelection) {
    const EXPECTED: &str = "a map of paths and values, such as `{loss: cce, epochs: 20}`";
    let set = match fields.about("paths and values in which the parent differs from its child").node("set") {
        None => Vec::new(),
        Some(set) if set.entries().is_some() => paths.changes(set, fields.problems()),
        Some(set) => {
            fields.unexpected("set", set, EXPECTED, None);
            Vec::new()
        }
    };
    fields.about("the epoch whose weights the child takes");
    (set, fields.choice("at", Parent::SELECTIONS).or(EpochSelection::Final))
}

/// Reports what `child` cannot take from `parent`.
pub(super) fn check_fit(
    child: &Configuration,
    parent: &Configuration,
    request: &ParentRequest,
    problems: &mut Problems,
) {
    if request.at != EpochSelection::Final && !parent.validates() {
        let title = format!("no validation samples for `{}`", request.at);
        let label = "the parent is trained without validation samples".to_owned();
        let help = Some("set `validation`, or use `at: final`".to_owned());
        problems.report(request.at_span.clone(), title, label, help);
    }
    let (ours, theirs) = (&child.dataset, &parent.dataset);
    if ours == theirs && child.model == parent.model {
        return;
    }
    if (ours.shape(), ours.classes()) != (theirs.shape(), theirs.classes()) {
        let title = "the parent's data set has other samples or classes".to_owned();
        let label = format!("the parent trains on `{}`, this job on `{}`", theirs.name(), ours.name());
        let help = Some("remove `dataset` from the parent's `set`".to_owned());
        problems.report(request.span.clone(), title, label, help);
        return;
    }
    let network = |c: &Configuration| c.model.network(c.dataset.input(), c.dataset.classes());
    // A network that cannot be built is reported elsewhere.
    if let (Takes::Weights, Ok(own), Ok(other)) = (child.takes(), network(child), network(parent))
        && !own.has_weights_like(&other)
    {
        let title = "the parent's weights do not fit this job's network".to_owned();
        let label = format!("the parent has {} weights, this job {}", other.parameters(), own.parameters());
        let help = Some("remove `model` from the parent's `set`".to_owned());
        problems.report(request.span.clone(), title, label, help);
    }
}
