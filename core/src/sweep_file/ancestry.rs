//! The configuration of a combination together with those of its parents.
//!
//! A parent has the combination of its child, with the parent's `set` applied. It inherits neither `parent` nor
//! `diagnostics`, which only measures.

use super::combination::Combination;
use super::configuration::{self, MissingKeys};
use super::parent::{self, ParentRequest};
use super::paths::{Change, Paths, WrittenPath};
use crate::input::node::{Node, Value, find};
use crate::input::problems::Problems;
use crate::job::{Configuration, Parent, Takes};
use crate::metric::EpochSelection;
use std::rc::Rc;

/// The longest chain of parents behind a job.
const MOST: usize = 4;

/// Keys that a parent does not inherit.
const NOT_INHERITED: [&str; 2] = ["parent", "diagnostics"];

/// A configuration and the combination that it was read from.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) combination: Combination,
    pub(super) configuration: Configuration,
}

/// Reads combinations with their parents.
#[derive(Clone, Copy, Debug)]
pub(super) struct AncestryReader<'a> {
    pub(super) paths: &'a Paths,
    pub(super) missing: &'a MissingKeys,
    /// The changes of a profile, applied to every parent after its own `set`.
    pub(super) profile: &'a [Change],
}

impl AncestryReader<'_> {
    /// The configuration of `combination`, followed by those of its parent, its parent's parent, and so on.
    pub(super) fn read(&self, combination: Combination, problems: &mut Problems) -> Option<Vec<Member>> {
        self.read_from(combination, 0, problems)
    }

    fn read_from(&self, combination: Combination, depth: usize, problems: &mut Problems) -> Option<Vec<Member>> {
        let mut configuration = configuration::read(combination.entries(), self.missing, problems)?;
        let before = problems.reports();
        let request = self.request(&combination, &configuration, problems);
        if problems.reports() > before {
            return None;
        }
        let mut members = Vec::new();
        if let Some(request) = request {
            if depth == MOST {
                let title = "too many parents".to_owned();
                let label = format!("expected a chain of at most {MOST} parents");
                problems.report(request.span, title, label, None);
                return None;
            }
            members = self.read_from(self.parent_of(&combination, &request), depth + 1, problems)?;
            let parent = &members[0].configuration;
            parent::check_fit(&configuration, parent, &request, problems);
            configuration.parent = Some(Box::new(Parent { configuration: parent.clone(), at: request.at }));
        }
        members.insert(0, Member { combination, configuration });
        (problems.reports() == before).then_some(members)
    }

    fn parent_of(&self, child: &Combination, request: &ParentRequest) -> Combination {
        let mut parent = child.clone();
        NOT_INHERITED.iter().for_each(|key| parent.remove(key));
        request.set.iter().for_each(|(path, value)| parent.set(path, value));
        let inherited = |path: &WrittenPath| !NOT_INHERITED.contains(&&*path.keys[0].name);
        let profile = self.profile.iter().filter(|(path, _)| inherited(path));
        profile.for_each(|(path, value)| parent.set(path, value));
        parent
    }

    /// The parent that a combination names, or the default parent of a loss that needs an estimate.
    fn request(
        &self,
        combination: &Combination,
        configuration: &Configuration,
        problems: &mut Problems,
    ) -> Option<ParentRequest> {
        let written = find(combination.entries(), "parent").filter(|node| node.value != Value::Null);
        if let Some(node) = written {
            return parent::read(node, self.paths, problems);
        }
        if configuration.takes() != Takes::Predictions {
            return None;
        }
        let span =
            find(combination.entries(), "loss").map_or_else(|| self.missing.span.clone(), |loss| loss.span.clone());
        let cce = Rc::new(Node::new(span.clone(), Value::Text(Rc::from("cce"))));
        let set = vec![(self.paths.written("loss", &span), cce)];
        let at = if configuration.validates() { EpochSelection::BestValidationLoss } else { EpochSelection::Final };
        Some(ParentRequest { at_span: span.clone(), span, set, at })
    }
}
