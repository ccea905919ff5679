//! Hyper-parameter selection in tables: which candidate of a group a table cell shows, and the sentences that describe the selection.

use super::label::{ABSENT, plain};
use super::status::{JobResult, Status};
use crate::id::CellId;
use crate::metric::{Better, EpochSelection, Metric};
use crate::sweep_file::{Decision, Divergence, Path, Select, Sweep, Trial};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// The rule by which a sweep selects hyper-parameters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SelectionRule {
    /// The paths of the selected hyper-parameters.
    pub over: Vec<String>,
    /// The metric that ranks the candidates.
    pub by: Metric,
    /// The epoch of each job that the metric is taken from.
    pub at: EpochSelection,
    /// The seeds that the metric is averaged over.
    pub seeds: Vec<u64>,
}

/// The state of the selection in one table cell.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CellSelection {
    /// The number of candidates. A single candidate wins without a comparison.
    pub candidates: usize,
    /// Whether there is a winner.
    pub outcome: SelectionOutcome,
    /// The winner's hyper-parameters by path; a path that its configuration lacks is absent. Empty without a winner.
    pub values: BTreeMap<String, String>,
}

/// The outcome of a selection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SelectionOutcome {
    /// Some candidates have not ended.
    Open,
    /// The table cell shows the winner.
    Won,
    /// No candidate finished under every seed of the selection.
    #[serde(rename = "nobody")]
    NoWinner,
}

impl SelectionRule {
    pub(super) fn new(select: &Select, seeds: &[u64]) -> SelectionRule {
        let Select { over, by, at, .. } = select;
        let seeds = seeds.iter().take(select.seeds).copied().collect();
        SelectionRule { over: over.iter().map(Path::to_string).collect(), by: *by, at: *at, seeds }
    }

    /// The rule as a phrase.
    pub(super) fn describe(&self) -> String {
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

impl CellSelection {
    /// The outcome as a phrase; `over` gives the order of the hyper-parameters.
    pub(super) fn describe(&self, over: &[String]) -> String {
        let candidates = format!("of {} candidates", self.candidates);
        match self.outcome {
            SelectionOutcome::Open => format!("not yet chosen {candidates}"),
            SelectionOutcome::NoWinner => format!("none {candidates} was trained to the end"),
            SelectionOutcome::Won => {
                let value = |path: &String| self.values.get(path).map_or(ABSENT, String::as_str);
                let values: Vec<_> = over.iter().map(|path| format!("{path} {}", value(path))).collect();
                format!("{}, best {candidates}", values.join(", "))
            }
        }
    }
}

/// The decision of every group of `sweep`, in the order of [`Select::groups`]; empty for a sweep without selection. `results` hold the
/// metric and the epoch that the sweep's `select` compares.
pub fn decisions<'r>(sweep: &Sweep, results: impl IntoIterator<Item = &'r JobResult>) -> Vec<Decision> {
    let statuses: BTreeMap<_, _> =
        results.into_iter().map(|result| ((result.cell, result.seed), result.status.normalized())).collect();
    sweep.decisions(|cell, seed| match statuses.get(&(cell, seed)) {
        Some(Status::Finished(value)) => value.map_or(Trial::Failed, Trial::Value),
        // The value that a job reached before it diverged does not compete.
        Some(Status::Failed(_) | Status::Diverged(_)) => Trial::Failed,
        // A cancelled job would resume if the sweep were submitted again, so it decides nothing.
        Some(Status::Waiting | Status::Running | Status::Cancelled) | None => Trial::Unsettled,
    })
}

/// A cell of the sweep that the table shows.
pub(super) struct ShownCell {
    /// Index among the sweep's cells.
    pub cell: usize,
    /// Replaces the status of every seed, in a group without a winner.
    pub status: Option<Status>,
    pub selection: Option<CellSelection>,
}

/// The cells that the table shows: all cells of a sweep without selection; otherwise one of every group, the winner or, without one,
/// the first candidate. `configurations` are the cells' configurations as JSON.
pub(super) fn shown_cells(
    sweep: &Sweep,
    configurations: &[Value],
    decisions: &[Decision],
    statuses: &BTreeMap<(CellId, u64), Status>,
) -> Vec<ShownCell> {
    let Some(select) = &sweep.select else {
        return (0..sweep.cells.len()).map(|cell| ShownCell { cell, status: None, selection: None }).collect();
    };
    let shown = |(i, group): (usize, &Vec<usize>)| {
        let decision = match group.as_slice() {
            [] => return None,
            [only] => Decision::Won(*only),
            _ => decisions.get(i).copied().unwrap_or(Decision::Open),
        };
        let seeds = sweep.seeds.iter().take(select.seeds);
        let jobs = group.iter().flat_map(|cell| seeds.clone().map(move |seed| (sweep.cells[*cell].id, *seed)));
        let statuses: Vec<Status> = jobs.map(|job| statuses.get(&job).copied().unwrap_or_default()).collect();
        let (cell, outcome, status) = match decision {
            Decision::Won(cell) => (cell, SelectionOutcome::Won, None),
            Decision::Nobody => (group[0], SelectionOutcome::NoWinner, Some(status_without_winner(&statuses))),
            Decision::Open => (group[0], SelectionOutcome::Open, Some(open_status(&statuses))),
        };
        let values = match outcome {
            SelectionOutcome::Won => selected_values(select, &configurations[cell]),
            SelectionOutcome::Open | SelectionOutcome::NoWinner => BTreeMap::new(),
        };
        Some(ShownCell { cell, status, selection: Some(CellSelection { candidates: group.len(), outcome, values }) })
    };
    select.groups.iter().enumerate().filter_map(shown).collect()
}

/// The selected hyper-parameters that the configuration has, by path.
fn selected_values(select: &Select, configuration: &Value) -> BTreeMap<String, String> {
    let value = |path: &Path| Some((path.to_string(), plain(path.find(configuration)?)));
    select.over.iter().filter_map(value).collect()
}

/// The status of a group without a winner: the first failure among its candidates. A candidate that finished without a comparable
/// value counts as diverged.
fn status_without_winner(statuses: &[Status]) -> Status {
    let failed = statuses.iter().copied().find(|status| status.failure().is_some());
    failed.unwrap_or(Status::Diverged(None)).under_policy(Divergence::Exclude)
}

/// The status of an open group: running if any candidate runs, else waiting if any waits, else cancelled.
fn open_status(statuses: &[Status]) -> Status {
    let by_precedence = [Status::Running, Status::Waiting, Status::Cancelled];
    by_precedence.into_iter().find(|status| statuses.contains(status)).unwrap_or_default()
}
