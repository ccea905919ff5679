//! `parent`: the job whose weights another builds on, and that job's own parent, and so on.
//!
//! A parent has the combination of its child but for what `set` says: neither the child's `parent` nor what is only watched.

use super::combination::Combination;
use super::configuration::{self, Place, Route, Schema};
use super::rules;
use crate::input::fields::{Fields, Subject};
use crate::input::node::{Key, Node, Value};
use crate::input::problems::Problems;
use crate::job::{Configuration, Parent, Takes};
use crate::metric::EpochSelection;
use std::ops::Range;
use std::rc::Rc;

/// How many parents, one behind the other, a job may have.
const MOST: usize = 4;
/// What a parent does not inherit.
const OWN: [&str; 2] = ["parent", "diagnostics"];

/// A path and what is set there.
pub(super) type Change = (Route, Rc<Node>);

/// A configuration and the combination that it was read from.
#[derive(Debug)]
pub(super) struct Generation {
    pub(super) combination: Combination,
    pub(super) configuration: Configuration,
}

/// What reading needs besides a combination.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reading<'a> {
    pub(super) schema: &'a Schema,
    /// Where what a configuration lacks is reported.
    pub(super) place: &'a Place,
    /// What is set in every parent after its own `set`.
    pub(super) last: &'a [Change],
}

/// What a combination says of its parent.
struct Asked {
    span: Range<usize>,
    set: Vec<Change>,
    at: EpochSelection,
    at_span: Range<usize>,
}

impl Reading<'_> {
    /// The configuration that `combination` is, and behind it those of its parents.
    pub(super) fn lineage(&self, combination: Combination, problems: &mut Problems) -> Option<Vec<Generation>> {
        self.generations(combination, 0, problems)
    }

    fn generations(&self, combination: Combination, depth: usize, problems: &mut Problems) -> Option<Vec<Generation>> {
        let mut configuration = configuration::read(combination.entries(), self.place, problems)?;
        let before = problems.reports();
        let asked = self.asked(&combination, &configuration, problems);
        if problems.reports() > before {
            return None;
        }
        let mut older = Vec::new();
        if let Some(asked) = asked {
            if depth == MOST {
                let title = "too many parents".to_owned();
                let label = format!("a job may have {MOST}, one behind the other");
                problems.report(asked.span, title, label, None);
                return None;
            }
            let mut parent = combination.clone();
            OWN.iter().for_each(|key| parent.remove(key));
            asked.set.iter().for_each(|(route, value)| parent.set(route, value));
            let inherited = |route: &Route| !OWN.contains(&&*route.keys[0].name);
            let last = self.last.iter().filter(|(route, _)| inherited(route));
            last.for_each(|(route, value)| parent.set(route, value));
            older = self.generations(parent, depth + 1, problems)?;
            let parent = &older[0].configuration;
            fits(&configuration, parent, &asked, problems);
            configuration.parent = Some(Box::new(Parent { configuration: parent.clone(), at: asked.at }));
        }
        older.insert(0, Generation { combination, configuration });
        (problems.reports() == before).then_some(older)
    }

    fn asked(
        &self,
        combination: &Combination,
        configuration: &Configuration,
        problems: &mut Problems,
    ) -> Option<Asked> {
        let written = crate::input::node::find(combination.entries(), "parent");
        match written {
            Some(node) if node.value != Value::Null => self.written(node, problems),
            _ if configuration.takes() == Takes::Predictions => {
                let loss = crate::input::node::find(combination.entries(), "loss");
                let span = loss.map_or_else(|| self.place.span.clone(), |loss| loss.span.clone());
                let key = Key { name: Rc::from("loss"), span: span.clone() };
                let route = Route { keys: vec![key], name: "loss".to_owned() };
                let loss = Rc::new(Node::new(span.clone(), Value::Text(Rc::from("cce"))));
                let at =
                    if configuration.validates() { EpochSelection::BestValidationLoss } else { EpochSelection::Final };
                Some(Asked { at_span: span.clone(), span, set: vec![(route, loss)], at })
            }
            _ => None,
        }
    }

    fn written(&self, node: &Rc<Node>, problems: &mut Problems) -> Option<Asked> {
        const EXPECTED: &str = "a map with `set` and `at`, such as `{set: {loss: cce}, at: best-validation}`";
        let Some(entries) = node.entries() else {
            Fields::new(&[], Subject("the parent", None), node.span.clone(), problems)
                .unexpected("parent", node, EXPECTED, None);
            return None;
        };
        let mut fields = Fields::new(entries, Subject("the parent", None), node.span.clone(), problems);
        let set = match fields.node("set") {
            None => Vec::new(),
            Some(set) => match set.entries() {
                Some(_) => rules::changes(set, self.schema, fields.problems()),
                None => {
                    fields.unexpected("set", set, "a map of paths and values, such as `{loss: cce, epochs: 20}`", None);
                    Vec::new()
                }
            },
        };
        let at = fields.choice("at", Parent::SELECTIONS).or(EpochSelection::Final);
        let at_span = fields.value_place("at").unwrap_or_else(|| node.span.clone());
        fields.finish();
        Some(Asked { span: node.span.clone(), set, at, at_span })
    }
}

/// Reports what `child` cannot take from `parent`.
fn fits(child: &Configuration, parent: &Configuration, asked: &Asked, problems: &mut Problems) {
    if asked.at != EpochSelection::Final && !parent.validates() {
        let title = format!("no validation samples for `{}`", asked.at);
        let label = "the parent is trained without".to_owned();
        let help = Some("set `validation`, or take `at: final`".to_owned());
        problems.report(asked.at_span.clone(), title, label, help);
    }
    let (ours, theirs) = (&child.dataset, &parent.dataset);
    if ours == theirs && child.model == parent.model {
        return;
    }
    if (ours.shape(), ours.classes()) != (theirs.shape(), theirs.classes()) {
        let title = "the parent's network cannot take these images".to_owned();
        let label = format!("it is trained on `{}`, and this job on `{}`", theirs.name(), ours.name());
        problems.report(asked.span.clone(), title, label, Some("leave `dataset` out of the parent's `set`".to_owned()));
        return;
    }
    let network = |c: &Configuration| c.model.network(c.dataset.input(), c.dataset.classes());
    // Where one of the two cannot be built, that is a problem of its own.
    if let (Takes::Weights, Ok(own), Ok(other)) = (child.takes(), network(child), network(parent))
        && !own.has_weights_like(&other)
    {
        let title = "the parent's weights do not fit this job's network".to_owned();
        let label = format!("the parent has {} weights, this job {}", other.parameters(), own.parameters());
        problems.report(asked.span.clone(), title, label, Some("leave `model` out of the parent's `set`".to_owned()));
    }
}
