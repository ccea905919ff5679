//! The contents of tables: means, counts, bold cells, headers.

use crate::sample::*;
use plusminus_core::methods::losses::{Gce, Loss};
use plusminus_core::methods::noise::Noise;
use plusminus_core::metric::Metric;
use plusminus_core::outcome::FailureKind;
use plusminus_core::report::{CellSummary, JobResult, Status, StatusCounts, Table};
use plusminus_core::sweep_file::{Divergence, Std};
use proptest::prelude::*;

fn bold(table: &Table) -> Vec<Vec<bool>> {
    let is_bold = |cell: &Option<CellSummary>| cell.as_ref().is_some_and(|cell| cell.bold);
    table.cells.iter().map(|row| row.iter().map(is_bold).collect()).collect()
}

#[test]
fn a_finished_cell_has_the_mean_and_deviation_of_its_seeds() {
    let mut sweep = single();
    let values = [vec![0.2, 0.4, 0.4, 0.6, 0.9]];
    let statuses = values.map(|values| finished(&values));
    let sample = table(&sweep, &statuses);
    assert!((only(&sample).mean.unwrap() - 0.5).abs() < 1e-15);
    assert!((only(&sample).std.unwrap() - 0.07f64.sqrt()).abs() < 1e-15);
    assert!(only(&sample).is_complete());
    sweep.table.std = Std::Population;
    assert!((only(&table(&sweep, &statuses)).std.unwrap() - 0.056f64.sqrt()).abs() < 1e-15);
}

#[test]
fn a_job_without_a_result_waits() {
    let table = table(&single(), &[finished(&[0.5, 0.7])]);
    let cell = only(&table);
    assert_eq!(cell.counts, StatusCounts { n: 2, waiting: 3, ..StatusCounts::default() });
    assert_eq!(cell.mean, Some(0.6));
    assert_eq!(cell.seeds[4].status, Status::Waiting);
    assert!(table.jobs.is_partial() && !cell.is_complete());
}

#[test]
fn results_of_other_sweeps_and_seeds_are_ignored() {
    let sweep = single();
    let other = sweep_of_gce(0.5).cells[0].id;
    let status = Status::Finished(Some(0.9));
    let foreign = [(sweep.cells[0].id, 17), (other, 0)].map(|(cell, seed)| JobResult { cell, seed, status });
    assert_eq!(only(&Table::new(&sweep, foreign)).counts, StatusCounts { waiting: 5, ..StatusCounts::default() });
}

fn sweep_of_gce(q: f64) -> plusminus_core::sweep_file::Sweep {
    sweep(&[Loss::Gce(Gce { q })], &[UNIFORM])
}

#[test]
fn the_last_of_several_results_for_a_job_counts() {
    let sweep = single();
    let mut results = results(&sweep, &[vec![FAILED]]);
    results.push(JobResult { status: Status::Finished(Some(0.5)), ..results[0] });
    assert_eq!(only(&Table::new(&sweep, results)).counts.n, 1);
}

#[test]
fn a_value_that_is_not_finite_is_a_divergence() {
    let table = table(&single(), &[finished(&[0.5, f64::NAN, f64::INFINITY, 0.5, 0.5])]);
    assert_eq!(only(&table).counts, StatusCounts { n: 3, diverged: 2, ..StatusCounts::default() });
    assert_eq!(only(&table).mean, Some(0.5));
}

#[test]
fn seeds_without_a_value_are_counted_by_status() {
    let statuses = [
        Status::Finished(None),
        DIVERGED,
        Status::Failed(FailureKind::OutOfMemory),
        Status::Cancelled,
        Status::Running,
    ];
    let table = table(&single(), &[statuses.to_vec()]);
    let expected =
        StatusCounts { absent: 1, diverged: 1, failed: 1, cancelled: 1, running: 1, ..StatusCounts::default() };
    assert_eq!((only(&table).counts, only(&table).mean), (expected, None));
    assert_eq!(table.jobs, expected);
}

#[test]
fn the_best_of_each_column_is_bold() {
    assert_eq!(bold(&complete()), [[false, false], [false, false], [true, true]]);
}

#[test]
fn the_sweep_sets_the_number_of_bold_cells() {
    let mut sweep = three_by_two();
    let means = [70.0, 80.0, 90.0, 90.0, 80.0, 70.0].map(|mean| around(mean, 1.0));
    sweep.table.bold = 2;
    assert_eq!(bold(&table(&sweep, &means)), [[false, true], [true, true], [true, false]]);
    sweep.table.bold = 0;
    assert_eq!(bold(&table(&sweep, &means)), [[false; 2]; 3]);
}

#[test]
fn the_lowest_is_bold_for_a_metric_where_lower_is_better() {
    let mut sweep = three_by_two();
    sweep.table.metric = Metric::NoisyAccuracy;
    let means = [70.0, 80.0, 90.0, 90.0, 80.0, 70.0].map(|mean| around(mean, 1.0));
    assert_eq!(bold(&table(&sweep, &means)), [[true, false], [false, false], [false, true]]);
}

#[test]
fn cells_that_print_the_same_are_bold_together() {
    let mut means = [80.001, 80.002, 70.0, 80.0, 80.01, 70.0].map(|mean| around(mean, 1.0));
    assert_eq!(bold(&table(&three_by_two(), &means)), [[true, false], [true, true], [false, false]]);
    means.reverse();
    assert_eq!(bold(&table(&three_by_two(), &means)), [[false, false], [true, true], [false, true]]);
}

#[test]
fn nothing_is_bold_while_a_better_result_may_follow() {
    for missing in [Status::Waiting, Status::Running, Status::Cancelled, FAILED] {
        let mut means = [70.0, 80.0, 90.0, 90.0, 80.0, 70.0].map(|mean| around(mean, 1.0));
        means[0][4] = missing;
        assert_eq!(
            bold(&table(&three_by_two(), &means)),
            [[false, true], [false, false], [false, false]],
            "{missing:?}"
        );
    }
}

#[test]
fn a_diverged_cell_is_final_but_never_the_best() {
    let mut means = [70.0, 80.0, 90.0, 90.0, 80.0, 70.0].map(|mean| around(mean, 1.0));
    means[2][0] = DIVERGED;
    assert_eq!(bold(&table(&three_by_two(), &means)), [[false, true], [true, false], [false, false]]);
}

#[test]
fn the_only_cell_of_a_column_is_not_bold() {
    assert_eq!(bold(&table(&single(), &[around(80.0, 1.0)])), [[false]]);
}

#[test]
fn cells_of_different_problems_do_not_compete() {
    let mut sweep = three_by_two();
    sweep.table.rows = paths(&["noise", "loss"]);
    sweep.table.columns = paths(&["model"]);
    let means = [70.0, 80.0, 90.0, 20.0, 30.0, 10.0].map(|mean| around(mean, 1.0));
    assert_eq!(bold(&table(&sweep, &means)), [[false], [false], [true], [false], [true], [false]]);
}

#[test]
fn rows_and_columns_follow_the_order_of_the_cells() {
    let table = complete();
    assert_eq!(table.rows.labels, [["cce"], ["mae"], ["gce"]]);
    assert_eq!(table.columns.labels, [["uniform 0.6"], ["class-dependent 0.3"]]);
}

#[test]
fn losses_that_differ_in_a_parameter_show_it() {
    let losses = [CCE, Loss::Gce(Gce { q: 0.3 }), GCE];
    let table = table(&sweep(&losses, &[UNIFORM]), &[]);
    assert_eq!(table.rows.labels, [["cce"], ["gce (q=0.3)"], ["gce (q=0.7)"]]);
}

#[test]
fn an_excluded_cell_is_absent() {
    let mut sweep = three_by_two();
    let excluded = sweep.cells.remove(4).id;
    let table = table(&sweep, &[]);
    assert!(table.cells[1][1].is_none());
    assert!(table.summaries().all(|cell| cell.id != excluded));
    assert_eq!(table.jobs.asked(), 25);
}

#[test]
fn several_paths_make_several_levels_of_headers() {
    let rates = [0.2, 0.4].map(Noise::uniform);
    let mut sweep = sweep(&[CCE], &[Noise::None, rates[0].clone(), rates[1].clone(), CLASS_DEPENDENT]);
    sweep.table.columns = paths(&["noise.kind", "noise.rate"]);
    let columns = table(&sweep, &[]).columns;
    assert_eq!(columns.spans(0), [("none", 0..1), ("uniform", 1..3), ("class-dependent", 3..4)]);
    assert_eq!(columns.spans(1).iter().map(|(label, _)| *label).collect::<Vec<_>>(), ["–", "0.2", "0.4", "0.3"]);
}

#[test]
fn cells_that_differ_outside_the_tables_paths_stay_separate() {
    let mut sweep = three_by_two();
    sweep.table.rows = Vec::new();
    let table = table(&sweep, &[]);
    assert_eq!(table.rows.paths, ["loss"]);
    assert_eq!(table.summaries().count(), 6);
}

#[test]
fn a_sweep_without_cells_has_an_empty_table() {
    let table = table(&sweep(&[], &[]), &[]);
    assert_eq!(table.summaries().count(), 0);
    assert!(!table.jobs.is_partial());
}

#[test]
fn a_diverged_seed_is_excluded_unless_the_policy_counts_it() {
    let reached = |policy| {
        let (_, table) = diverging(policy);
        let cell = table.cells[1][0].clone().unwrap();
        (cell.mean, cell.counts, cell.seeds[4].status)
    };
    let counts = StatusCounts { n: 4, diverged: 1, ..StatusCounts::default() };
    let (mean, found, status) = reached(Divergence::Exclude);
    assert_eq!((found, status), (counts, DIVERGED));
    assert_eq!(mean, only(&table(&single(), &[around(80.0, 0.5)[..4].to_vec()])).mean);
    let (mean, found, status) = reached(Divergence::Count);
    assert_eq!(
        (found, status),
        (StatusCounts { n: 5, counted: 1, ..StatusCounts::default() }, Status::Diverged(Some(0.79)))
    );
    let seeds = [&around(80.0, 0.5)[..4], &finished(&[0.79])].concat();
    assert_eq!(mean, only(&table(&single(), &[seeds])).mean);
    assert_eq!(reached(Divergence::Fail), (None, counts, DIVERGED));
}

#[test]
fn a_seed_that_diverged_in_its_first_epoch_never_counts() {
    for policy in Divergence::ALL {
        let (_, table) = diverging(*policy);
        let cell = table.cells[2][0].as_ref().unwrap();
        assert_eq!(
            (cell.mean, cell.counts),
            (None, StatusCounts { diverged: 5, ..StatusCounts::default() }),
            "{policy:?}"
        );
    }
}

#[test]
fn a_divergence_that_fails_its_cell_leaves_other_cells_alone() {
    let (_, table) = diverging(Divergence::Fail);
    let means: Vec<bool> = table.summaries().map(|cell| cell.mean.is_some()).collect();
    assert_eq!(means, [true, false, false, false, false, false]);
    assert!(table.summaries().skip(1).all(|cell| cell.fails(table.diverged) && cell.std.is_none() && !cell.bold));
}

#[test]
fn a_counted_divergence_can_be_best_and_is_final() {
    let mut sweep = three_by_two();
    sweep.table.diverged = Divergence::Count;
    let mut means = [70.0, 80.0, 90.0, 90.0, 80.0, 70.0].map(|mean| around(mean, 1.0));
    means[2][0] = Status::Diverged(Some(0.9));
    let table = table(&sweep, &means);
    assert_eq!(bold(&table), [[false, true], [false, false], [true, false]]);
    assert_eq!((table.jobs.n, table.jobs.finished(), table.jobs.asked()), (30, 29, 30));
    assert!(!table.jobs.is_partial());
}

fn any_status() -> impl Strategy<Value = Status> {
    prop_oneof![
        Just(Status::Waiting),
        Just(Status::Running),
        Just(Status::Cancelled),
        prop::sample::select(FailureKind::ALL).prop_map(Status::Failed),
        Just(Status::Finished(None)),
        (0.0..=1.0f64).prop_map(|value| Status::Finished(Some(value))),
        prop::option::of(0.0..=1.0f64).prop_map(Status::Diverged),
    ]
}

proptest! {
    #[test]
    fn every_seed_is_counted_once_and_means_lie_within_the_values(
        statuses in prop::collection::vec(prop::collection::vec(any_status(), 0..=5), 6),
        policy in prop::sample::select(Divergence::ALL),
    ) {
        let mut sweep = three_by_two();
        sweep.table.diverged = policy;
        let table = table(&sweep, &statuses);
        prop_assert_eq!(table.jobs.asked(), 30);
        for cell in table.summaries() {
            let StatusCounts { n, counted, absent, failed, diverged, cancelled, waiting, running } = cell.counts;
            prop_assert_eq!(n + absent + failed + diverged + cancelled + waiting + running, 5);
            let values: Vec<f64> = cell.seeds.iter().filter_map(|seed| seed.status.value()).collect();
            prop_assert_eq!(values.len(), n);
            prop_assert!(counted == 0 || policy == Divergence::Count);
            let failed = cell.fails(policy);
            prop_assert_eq!((cell.mean.is_some(), cell.std.is_some()), (n > 0 && !failed, n > 1 && !failed));
            if let Some(mean) = cell.mean {
                let low = values.iter().copied().fold(1.0, f64::min);
                let high = values.iter().copied().fold(0.0, f64::max);
                prop_assert!(low - 1e-12 <= mean && mean <= high + 1e-12);
            }
            prop_assert!(!cell.bold || cell.is_complete());
        }
    }
}
