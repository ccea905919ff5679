//! `select`: its groups, its decisions, and the jobs that follow from them.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use plusminus_core::metric::{EpochSelection, Metric};
use plusminus_core::sweep_file::{self, Decision, Select, Sweep, Trial};

const FILE: &str = "
sweep: chosen
seeds: 3
base:
  dataset: fashion-mnist-10k
  model: cnn
  optimizer: {name: sgd}
  epochs: 2
  validation: 0.1
grid:
  loss: [cce, mae]
  batch_size: [32, 64]
  optimizer.lr: [0.1, 0.01]
exclude:
  - {loss: mae, optimizer.lr: 0.1}
  - {loss: mae, batch_size: 64}
select: {over: [optimizer.lr, batch_size], by: validation_loss}
profiles:
  one: {grid: {optimizer.lr: [0.01], batch_size: [32]}, seeds: 1}
";

fn read(text: &str) -> Sweep {
    sweep_file::read(text, sweep_file::MAX_JOBS).unwrap_or_else(|problems| panic!("{problems:#?}"))
}

fn select(sweep: &Sweep) -> &Select {
    sweep.select.as_ref().unwrap()
}

/// The jobs as (index among the trained configurations, seed).
fn jobs(sweep: &Sweep, decisions: &[Decision]) -> Vec<(usize, u64)> {
    let trained = sweep.trained();
    let place = |id| trained.iter().position(|cell| cell.id == id).unwrap();
    sweep.jobs_given(decisions).map(|job| (place(job.cell), job.seed)).collect()
}

/// The decisions if the candidates have these trials under every seed.
fn decided(sweep: &Sweep, trials: [Trial; 5]) -> Vec<Decision> {
    sweep.decisions(|cell, _| trials[sweep.cells.iter().position(|known| known.id == cell).unwrap()])
}

#[test]
fn cells_that_differ_only_in_chosen_paths_are_one_group() {
    let sweep = read(FILE);
    let select = select(&sweep);
    assert_eq!(select.groups, [vec![0, 1, 2, 3], vec![4]]);
    assert_eq!((select.by, select.at, select.seeds), (Metric::ValidationLoss, EpochSelection::Best, 1));
    let rows: Vec<String> = sweep.table.rows.iter().map(ToString::to_string).collect();
    assert_eq!(rows, ["loss"], "chosen paths are not in the rows");
}

#[test]
fn candidates_train_first_and_only_the_winner_under_other_seeds() {
    let sweep = read(FILE);
    let first = [(0, 0), (1, 0), (2, 0), (3, 0), (4, 0), (4, 1), (4, 2)];
    assert_eq!(jobs(&sweep, &[]), first, "the only candidate of a group has all seeds at once");
    assert_eq!(sweep.jobs().len(), 7);
    let nobody = [Decision::Nobody, Decision::Won(4)];
    assert_eq!(jobs(&sweep, &nobody), first);
    let won = [Decision::Won(2), Decision::Won(4)];
    let all = [(0, 0), (1, 0), (2, 0), (3, 0), (4, 0), (2, 1), (4, 1), (2, 2), (4, 2)];
    assert_eq!(jobs(&sweep, &won), all);
    assert_eq!(sweep.jobs_in_all(), 9);
}

#[test]
fn the_best_mean_wins_and_ties_go_to_the_first() {
    use Trial::{Failed, Unsettled, Value};
    let sweep = read(FILE);
    let first = |trials| decided(&sweep, trials)[0];
    assert_eq!(first([Value(0.5), Value(0.4), Value(0.4), Value(0.6), Unsettled]), Decision::Won(1));
    assert_eq!(
        first([Failed, Failed, Value(0.9), Failed, Unsettled]),
        Decision::Won(2),
        "a candidate that failed is out"
    );
    assert_eq!(first([Value(0.1), Failed, Value(0.9), Unsettled, Unsettled]), Decision::Open);
    assert_eq!(first([Failed, Value(f64::NAN), Failed, Failed, Unsettled]), Decision::Nobody);
    assert_eq!(decided(&sweep, [Unsettled; 5])[1], Decision::Won(4), "the only candidate wins");

    let higher = read(&FILE.replace("validation_loss", "validation_accuracy, mode: max, at: last-2-mean"));
    assert_eq!(decided(&higher, [Value(0.5), Value(0.9), Value(0.9), Failed, Failed])[0], Decision::Won(1));
    assert_eq!(select(&higher).at.to_string(), "last-2-mean");
}

#[test]
fn a_mean_needs_every_seed_of_the_selection() {
    let sweep = read(&FILE.replace("validation_loss}", "validation_loss, seeds: 2}"));
    let ids: Vec<_> = sweep.cells.iter().map(|cell| cell.id).collect();
    let decided = |second: Trial| {
        let trial = |cell, seed| match (ids.iter().position(|id| *id == cell).unwrap(), seed) {
            (0, 0) => Trial::Value(0.1),
            (0, 1) => second,
            (_, 2) => panic!("the third seed is not part of the selection"),
            (1, _) => Trial::Value(0.3),
            _ => Trial::Value(0.4),
        };
        sweep.decisions(trial)[0]
    };
    assert_eq!(decided(Trial::Value(0.4)), Decision::Won(0));
    assert_eq!(decided(Trial::Value(0.6)), Decision::Won(1));
    assert_eq!(decided(Trial::Failed), Decision::Won(1));
    assert_eq!(decided(Trial::Unsettled), Decision::Open);
}

#[test]
fn parents_that_inherit_chosen_values_do_not_split_a_group() {
    let text = "
sweep: chosen
seeds: 2
base:
  dataset: fashion-mnist-10k
  model: cnn
  optimizer: {name: sgd}
  epochs: 2
  validation: 0.1
  loss: mae
  parent: {set: {loss: cce}, at: best-validation}
grid:
  optimizer.lr: [0.1, 0.01]
select: {over: [optimizer.lr], by: validation_loss}
";
    let sweep = read(text);
    assert_eq!((&select(&sweep).groups, sweep.parents.len()), (&vec![vec![0, 1]], 2));
    // Each parent is trained before its child.
    let of = |decisions: &[Decision]| {
        let jobs = sweep.jobs_given(decisions).map(|job| (job.configuration.optimizer.lr(), job.seed));
        let mut jobs: Vec<_> = jobs.collect();
        jobs.sort_by(|a, b| a.partial_cmp(b).unwrap());
        jobs
    };
    assert_eq!(of(&[]), [(0.01, 0), (0.01, 0), (0.1, 0), (0.1, 0)]);
    assert_eq!(of(&[Decision::Won(1)]), [(0.01, 0), (0.01, 0), (0.01, 1), (0.01, 1), (0.1, 0), (0.1, 0)]);
    assert_eq!(sweep.jobs_in_all(), 6);
}

#[test]
fn a_profile_may_have_one_candidate_and_fewer_seeds() {
    let text = FILE.replace("validation_loss}", "validation_loss, seeds: 2}");
    let sweeps = sweep_file::read_all(&text, sweep_file::MAX_JOBS).unwrap();
    let one = sweeps.of_profile(Some("one")).unwrap();
    assert_eq!((&select(&one).groups, select(&one).seeds), (&vec![vec![0], vec![1]], 1));
    assert_eq!(one.jobs().len(), 2);
}

#[test]
fn the_learning_rate_of_dmi_is_chosen_as_in_its_paper() {
    let text = include_str!("../../sweeps/dmi-fig3-cifar-10.yaml");
    let sweeps = sweep_file::read_all(text, sweep_file::MAX_JOBS).unwrap();
    let sweep = &sweeps.main;
    let contests = select(sweep).groups.iter().filter(|group| group.len() > 1);
    assert_eq!(contests.map(Vec::len).collect::<Vec<_>>(), [3; 5], "under each rate");
    // Four losses under five rates and five seeds, three candidates of DMI under the first; then the winners' other seeds.
    assert_eq!((sweep.jobs().len(), sweep.jobs_in_all()), (4 * 5 * 5 + 3 * 5, 4 * 5 * 5 + 3 * 5 + 5 * 4));
    let smoke = sweeps.of_profile(Some("smoke")).unwrap();
    assert_eq!((smoke.jobs().len(), smoke.jobs_in_all()), (4 * 2 + 3, 4 * 2 + 3 + 1));
}
