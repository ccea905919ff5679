//! Tables of sweeps that choose hyper-parameters.

use super::sample::*;
use crate::metric::{EpochSelection, Metric};
use crate::report::*;
use crate::sweep_file::{Decision, Select, Sweep};

/// Three learning rates of CCE, of which one is chosen, and MAE beside them; two seeds.
fn choosing() -> Sweep {
    let mut sweep = sweep(&[CCE, CCE, CCE, MAE], &[UNIFORM]);
    for (cell, lr) in sweep.cells.iter_mut().zip([0.1, 0.01, 0.001]) {
        let mut configuration = cell.configuration.as_ref().clone();
        configuration.optimizer =
            crate::methods::optimizer::Optimizer::Sgd { lr, momentum: 0.9, weight_decay: 0.0, nesterov: false };
        *cell = super::sample::cell(configuration);
    }
    sweep.seeds = vec![0, 1];
    let over = paths(&["optimizer.lr"]);
    let (by, at, groups) = (Metric::ValidationLoss, EpochSelection::Best, vec![vec![0, 1, 2], vec![3]]);
    sweep.select = Some(Select { over, by, at, seeds: 1, groups });
    sweep
}

/// The table where the candidates have these validation losses and the cells these accuracies.
fn table_of(losses: &[Vec<Status>], accuracies: &[Vec<Status>]) -> Table {
    let sweep = choosing();
    let decisions = decisions(&sweep, &results(&sweep, losses));
    Table::given(&sweep, &decisions, results(&sweep, accuracies))
}

fn won() -> Table {
    let losses = [finished(&[0.5]), finished(&[0.3]), vec![DIVERGED]];
    let accuracies = [finished(&[0.7]), finished(&[0.8, 0.82]), vec![DIVERGED], finished(&[0.6, 0.61])];
    table_of(&losses, &accuracies)
}

#[test]
fn the_winner_has_the_place_of_its_group_and_every_format_says_what_was_chosen() {
    let table = won();
    let sweep = choosing();
    let ids: Vec<_> = table.summaries().map(|cell| cell.id).collect();
    assert_eq!(ids, [sweep.cells[1].id, sweep.cells[3].id]);
    assert_eq!((table.jobs.n, table.jobs.asked()), (4, 4), "the others are in no count");
    assert!(table.summaries().next().unwrap().bold);
    for format in Format::ALL {
        insta::assert_snapshot!(format!("chosen-{format}"), render(&table, *format, Emphasis::NONE));
    }
    let json = render(&table, Format::Json, Emphasis::NONE);
    assert_eq!(serde_json::from_str::<Table>(&json).unwrap(), table, "nothing is lost on the way");
}

#[test]
fn a_place_waits_until_the_last_candidate_has_ended() {
    let losses = [finished(&[0.5]), finished(&[0.3]), vec![Status::Running]];
    let table = table_of(&losses, &[finished(&[0.7]), finished(&[0.8]), vec![Status::Running]]);
    let place = table.summaries().next().unwrap();
    assert_eq!((place.mean, place.counts.running, place.counts.asked()), (None, 2, 2));
    assert_eq!(place.choice.as_ref().unwrap().outcome, Outcome::Open);
    let text = render(&table, Format::Text, Emphasis::NONE);
    assert!(text.contains("cce · uniform 0.6: not yet chosen of 3 candidates"), "{text}");
}

#[test]
fn a_sweep_that_was_called_off_has_chosen_nothing() {
    let statuses = [finished(&[0.5]), vec![Status::Cancelled], finished(&[0.7])];
    let place = table_of(&statuses, &statuses).summaries().next().unwrap().clone();
    assert_eq!((place.mean, place.counts.cancelled), (None, 2));
}

#[test]
fn a_place_none_of_whose_candidates_could_be_trained_has_failed() {
    let losses = [vec![FAILED], vec![DIVERGED], vec![FAILED]];
    let table = table_of(&losses, &losses);
    let place = table.summaries().next().unwrap();
    assert_eq!((place.counts.failed, place.counts.asked()), (2, 2));
    let text = render(&table, Format::Text, Emphasis::NONE);
    assert!(text.contains("cce · uniform 0.6: none of 3 candidates was trained to the end"), "{text}");
    // A candidate that has finished with a loss that is no number has diverged.
    let no_number = finished(&[f64::NAN]);
    let losses = [no_number.clone(), no_number.clone(), no_number];
    assert_eq!(table_of(&losses, &losses).summaries().next().unwrap().counts.diverged, 2);
}

#[test]
fn candidates_are_told_apart_by_what_is_chosen() {
    let sweep = choosing();
    let names = names(&sweep);
    let of = |cell: usize| names[&sweep.cells[cell].id].as_str();
    assert_eq!(of(1), "cce · uniform 0.6 · optimizer.lr=0.01");
    assert_eq!(of(3), "mae · uniform 0.6");
}

#[test]
fn decisions_hang_on_what_candidates_are_compared_by() {
    let sweep = choosing();
    let of = |losses: &[Vec<Status>]| decisions(&sweep, &results(&sweep, losses))[0];
    assert_eq!(of(&[finished(&[0.5]), finished(&[0.3]), finished(&[0.4])]), Decision::Won(1));
    assert_eq!(of(&[finished(&[0.5]), vec![FAILED], finished(&[0.6])]), Decision::Won(0));
    assert_eq!(of(&[finished(&[0.5]), vec![FAILED], vec![Status::Waiting]]), Decision::Open);
}
