//! The places of a table whose hyper-parameters a sweep chooses: which candidate a place shows, and what is said of the choice.

use super::label::{ABSENT, plain};
use super::status::{JobResult, Status};
use super::table::Table;
use crate::id::CellId;
use crate::metric::{Better, EpochSelection, Metric};
use crate::sweep_file::{Cell, Decision, Divergence, Path, Select, Sweep, Trial};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// How the hyper-parameters of a table were chosen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Choosing {
    /// The paths whose values are chosen.
    pub over: Vec<String>,
    /// What candidates are compared by, in its better direction.
    pub by: Metric,
    /// In which epoch of each job.
    pub at: EpochSelection,
    /// Under which seeds.
    pub seeds: Vec<u64>,
}

/// What was chosen for one place.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Choice {
    /// How many candidates there are; a single one is not compared with anything.
    pub candidates: usize,
    /// How far the choice has come.
    pub outcome: Outcome,
    /// By path: the chosen value, where there is a winner and it has one.
    pub values: BTreeMap<String, String>,
}

/// How far a choice has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Candidates are yet to be trained: the place waits with them.
    Open,
    /// There is a winner, which has the place.
    Won,
    /// No candidate could be trained to the end under every seed of the selection.
    Nobody,
}

impl Choosing {
    pub(super) fn of(select: &Select, seeds: &[u64]) -> Choosing {
        let Select { over, by, at, .. } = select;
        let seeds = seeds.iter().take(select.seeds).copied().collect();
        Choosing { over: over.iter().map(Path::to_string).collect(), by: *by, at: *at, seeds }
    }

    /// What the choice goes by, for people.
    pub(super) fn described(&self) -> String {
        let direction = match self.by.better() {
            Better::Higher => "highest",
            Better::Lower => "lowest",
        };
        let seeds = match self.seeds.as_slice() {
            [seed] => format!("under seed {seed}"),
            seeds => format!("in the mean over {} seeds", seeds.len()),
        };
        format!("hyper-parameters chosen by the {direction} {} at {} {seeds}", self.by, self.at)
    }
}

impl Choice {
    /// What was chosen, for people.
    pub(super) fn described(&self, over: &[String]) -> String {
        let of = format!("of {} candidates", self.candidates);
        match self.outcome {
            Outcome::Open => format!("not yet chosen {of}"),
            Outcome::Nobody => format!("none {of} was trained to the end"),
            Outcome::Won => {
                let value = |path: &String| self.values.get(path).map_or(ABSENT, String::as_str);
                let values: Vec<_> = over.iter().map(|path| format!("{path} {}", value(path))).collect();
                format!("{}, best {of}", values.join(", "))
            }
        }
    }
}

/// What has come of each choice of a sweep, whose jobs stand as `results` have it with the metric and the selection that its `select`
/// goes by. In the order of [`Select::groups`]; empty for a sweep that chooses nothing.
pub fn decisions<'r>(sweep: &Sweep, results: impl IntoIterator<Item = &'r JobResult>) -> Vec<Decision> {
    let known: BTreeMap<_, _> = results.into_iter().map(|one| ((one.cell, one.seed), one.status.settled())).collect();
    sweep.decisions(|cell, seed| match known.get(&(cell, seed)) {
        Some(Status::Finished(value)) => value.map_or(Trial::Failed, Trial::Value),
        // Nobody wins by what it had reached before it diverged.
        Some(Status::Failed(_) | Status::Diverged(_)) => Trial::Failed,
        // A sweep that was called off has chosen nothing: it would go on if it were submitted again.
        Some(Status::Waiting | Status::Running | Status::Cancelled) | None => Trial::Unsettled,
    })
}

/// What each cell is called, candidates too: its place in the table, and what is chosen where it has rivals.
pub fn names(sweep: &Sweep) -> BTreeMap<CellId, String> {
    let mut names = Table::new(sweep, []).names();
    let Some(select) = &sweep.select else { return names };
    for group in select.groups.iter().filter(|group| group.len() > 1) {
        let place = names.get(&sweep.cells[group[0]].id).cloned().unwrap_or_default();
        for cell in group.iter().map(|cell| &sweep.cells[*cell]) {
            let tree = tree(cell);
            let value = |path: &Path| format!("{path}={}", path.find(&tree).map_or_else(|| ABSENT.to_owned(), plain));
            let values: Vec<_> = select.over.iter().map(value).collect();
            names.insert(cell.id, format!("{place} · {}", values.join(" · ")));
        }
    }
    names
}

/// A configuration as JSON.
pub(super) fn tree(cell: &Cell) -> Value {
    serde_json::to_value(&*cell.configuration).expect("a configuration is plain data")
}

/// A cell that has a place, by its index in the sweep.
pub(super) struct Shown {
    pub cell: usize,
    /// Of a choice without a winner: how the place stands in all its seeds.
    pub instead: Option<Status>,
    pub choice: Option<Choice>,
}

/// The cells that have places: all of them, or of each group the winner, and before there is one the first for all.
pub(super) fn shown(
    sweep: &Sweep,
    trees: &[Value],
    decisions: &[Decision],
    known: &BTreeMap<(CellId, u64), Status>,
) -> Vec<Shown> {
    let Some(select) = &sweep.select else {
        return (0..sweep.cells.len()).map(|cell| Shown { cell, instead: None, choice: None }).collect();
    };
    let values = |cell: usize| {
        let value = |path: &Path| Some((path.to_string(), plain(path.find(&trees[cell])?)));
        select.over.iter().filter_map(value).collect()
    };
    let one = |(i, group): (usize, &Vec<usize>)| {
        let choice = |outcome, values| Some(Choice { candidates: group.len(), outcome, values });
        let status = |cell: &usize| {
            let seeds = sweep.seeds.iter().take(select.seeds);
            let statuses = seeds.map(|seed| known.get(&(sweep.cells[*cell].id, *seed)).copied().unwrap_or_default());
            statuses.collect::<Vec<_>>()
        };
        let statuses = || group.iter().flat_map(status);
        let decision =
            if let [only] = group.as_slice() { Some(Decision::Won(*only)) } else { decisions.get(i).copied() };
        let first = *group.first()?;
        Some(match decision {
            Some(Decision::Won(cell)) => Shown { cell, instead: None, choice: choice(Outcome::Won, values(cell)) },
            Some(Decision::Nobody) => {
                let failed = statuses().find(|status| status.failure().is_some());
                // What has no value that can be compared has diverged.
                let instead = failed.unwrap_or(Status::Diverged(None)).under(Divergence::Exclude);
                Shown { cell: first, instead: Some(instead), choice: choice(Outcome::Nobody, BTreeMap::new()) }
            }
            Some(Decision::Open) | None => {
                let is = |wanted: Status| statuses().any(|status| status == wanted);
                let instead = [Status::Running, Status::Waiting, Status::Cancelled].into_iter().find(|one| is(*one));
                let instead = Some(instead.unwrap_or_default());
                Shown { cell: first, instead, choice: choice(Outcome::Open, BTreeMap::new()) }
            }
        })
    };
    select.groups.iter().enumerate().filter_map(one).collect()
}
