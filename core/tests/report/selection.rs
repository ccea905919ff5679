//! Tables of sweeps that select hyper-parameters.

use crate::sample::*;
use plusminus_core::metric::{EpochSelection, Metric};
use plusminus_core::report::*;
use plusminus_core::sweep_file::{Decision, Select, Sweep};

/// CCE with three candidate learning rates, and MAE; two seeds.
fn selecting_sweep() -> Sweep {
    let mut sweep = sweep(&[CCE, CCE, CCE, MAE], &[UNIFORM]);
    for (cell, lr) in sweep.cells.iter_mut().zip([0.1, 0.01, 0.001]) {
        let mut configuration = cell.configuration.as_ref().clone();
        configuration.optimizer = plusminus_core::methods::optimizer::Optimizer::Sgd {
            lr,
            momentum: 0.9,
            weight_decay: 0.0,
            nesterov: false,
        };
        *cell = crate::sample::cell(configuration);
    }
    sweep.seeds = vec![0, 1];
    let over = paths(&["optimizer.lr"]);
    let (by, at, groups) = (Metric::ValidationLoss, EpochSelection::Best, vec![vec![0, 1, 2], vec![3]]);
    sweep.select = Some(Select { over, by, at, seeds: 1, groups });
    sweep
}

/// The table with these validation losses of the candidates and these accuracies of all cells.
fn table_of(losses: &[Vec<Status>], accuracies: &[Vec<Status>]) -> Table {
    let sweep = selecting_sweep();
    let decisions = decisions(&sweep, &results(&sweep, losses));
    Table::with_decisions(&sweep, &decisions, results(&sweep, accuracies))
}

fn table_with_winner() -> Table {
    let losses = [finished(&[0.5]), finished(&[0.3]), vec![DIVERGED]];
    let accuracies = [finished(&[0.7]), finished(&[0.8, 0.82]), vec![DIVERGED], finished(&[0.6, 0.61])];
    table_of(&losses, &accuracies)
}

#[test]
fn every_format_shows_the_winner_and_its_hyper_parameters() {
    let table = table_with_winner();
    let sweep = selecting_sweep();
    let ids: Vec<_> = table.summaries().map(|cell| cell.id).collect();
    assert_eq!(ids, [sweep.cells[1].id, sweep.cells[3].id]);
    assert_eq!((table.jobs.n, table.jobs.asked()), (4, 4), "losing candidates are not counted");
    assert!(table.summaries().next().unwrap().bold);
    for format in Format::ALL {
        insta::assert_snapshot!(format!("chosen-{format}"), render(&table, *format, Emphasis::NONE));
    }
    let json = render(&table, Format::Json, Emphasis::NONE);
    assert_eq!(serde_json::from_str::<Table>(&json).unwrap(), table, "JSON loses nothing");
}

#[test]
fn a_cell_waits_until_its_last_candidate_has_ended() {
    let losses = [finished(&[0.5]), finished(&[0.3]), vec![Status::Running]];
    let table = table_of(&losses, &[finished(&[0.7]), finished(&[0.8]), vec![Status::Running]]);
    let shown = table.summaries().next().unwrap();
    assert_eq!((shown.mean, shown.counts.running, shown.counts.asked()), (None, 2, 2));
    assert_eq!(shown.selection.as_ref().unwrap().outcome, SelectionOutcome::Open);
    let text = render(&table, Format::Text, Emphasis::NONE);
    assert!(text.contains("cce · uniform 0.6: not yet chosen of 3 candidates"), "{text}");
}

#[test]
fn a_cancelled_sweep_has_selected_nothing() {
    let statuses = [finished(&[0.5]), vec![Status::Cancelled], finished(&[0.7])];
    let shown = table_of(&statuses, &statuses).summaries().next().unwrap().clone();
    assert_eq!((shown.mean, shown.counts.cancelled), (None, 2));
}

#[test]
fn a_cell_without_a_finished_candidate_has_failed() {
    let losses = [vec![FAILED], vec![DIVERGED], vec![FAILED]];
    let table = table_of(&losses, &losses);
    let shown = table.summaries().next().unwrap();
    assert_eq!((shown.counts.failed, shown.counts.asked()), (2, 2));
    let text = render(&table, Format::Text, Emphasis::NONE);
    assert!(text.contains("cce · uniform 0.6: none of 3 candidates was trained to the end"), "{text}");
    // A candidate that finished with loss NaN counts as diverged.
    let nan = finished(&[f64::NAN]);
    let losses = [nan.clone(), nan.clone(), nan];
    assert_eq!(table_of(&losses, &losses).summaries().next().unwrap().counts.diverged, 2);
}

#[test]
fn candidates_are_named_by_their_selected_hyper_parameters() {
    let sweep = selecting_sweep();
    let names = cell_names(&sweep);
    let of = |cell: usize| names[&sweep.cells[cell].id].as_str();
    assert_eq!(of(1), "cce · uniform 0.6 · optimizer.lr=0.01");
    assert_eq!(of(3), "mae · uniform 0.6");
}

#[test]
fn decisions_use_the_metric_that_ranks_candidates() {
    let sweep = selecting_sweep();
    let of = |losses: &[Vec<Status>]| decisions(&sweep, &results(&sweep, losses))[0];
    assert_eq!(of(&[finished(&[0.5]), finished(&[0.3]), finished(&[0.4])]), Decision::Won(1));
    assert_eq!(of(&[finished(&[0.5]), vec![FAILED], finished(&[0.6])]), Decision::Won(0));
    assert_eq!(of(&[finished(&[0.5]), vec![FAILED], vec![Status::Waiting]]), Decision::Open);
}
