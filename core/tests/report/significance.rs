//! Significance of differences between losses: the contents of the report, and its text in every format.

use crate::sample::{
    CCE, DIVERGED, GCE, MAE, UNIFORM, around, cell, configuration, diverging, finished, paths, sweep, table,
    three_by_two,
};
use plusminus_core::methods::split::Split;
use plusminus_core::metric::Metric;
use plusminus_core::report::significance::{Pair, Significance, Verdict};
use plusminus_core::report::{Format, Status};
use plusminus_core::sweep_file::Divergence;

fn percents(values: [f64; 5]) -> Vec<Status> {
    finished(&values.map(|value| value / 100.0))
}

/// Three losses under two noises, with a missing seed and two losses of equal values.
fn sample_report() -> Significance {
    let sweep = three_by_two();
    let statuses = [
        percents([78.1, 77.5, 78.9, 78.3, 78.4]),
        percents([77.9, 77.7, 79.4, 77.8, 78.8]),
        percents([85.2, 84.9, 85.8, 85.1, 85.6]),
        percents([81.0, 82.0, 83.0, 80.5, 81.5]),
        [&percents([65.0, 70.1, 55.3, 61.2, 0.0])[..4], &[DIVERGED]].concat(),
        percents([81.0, 82.0, 83.0, 80.5, 81.5]),
    ];
    Significance::new(&sweep, &table(&sweep, &statuses), 0.05)
}

/// CCE and GCE with these values in per cent.
fn pair(a: &[Status], b: &[Status]) -> Pair {
    let sweep = sweep(&[CCE, GCE], &[UNIFORM]);
    let mut report = Significance::new(&sweep, &table(&sweep, &[a.to_vec(), b.to_vec()]), 0.05);
    report.problems.remove(0).pairs.remove(0)
}

#[test]
fn every_format_prints_the_pairs() {
    let report = sample_report();
    for format in Format::ALL {
        insta::assert_snapshot!(format!("significance_{format}"), report.render(*format));
    }
}

#[test]
fn every_problem_has_all_pairs_of_losses() {
    let report = sample_report();
    assert_eq!(report.problems.iter().map(|problem| problem.pairs.len()).collect::<Vec<_>>(), [3, 3]);
    assert_eq!(
        report.problems.iter().map(|problem| problem.labels.join(" ")).collect::<Vec<_>>(),
        ["uniform 0.6", "class-dependent 0.3"]
    );
    let names: Vec<_> =
        report.problems[0].pairs.iter().map(|pair| (pair.a.name.as_str(), pair.b.name.as_str())).collect();
    assert_eq!(names, [("cce", "mae"), ("cce", "gce"), ("mae", "gce")]);
}

#[test]
fn the_better_loss_has_more_accuracy_or_less_memorisation() {
    let (low, high) = (around(78.0, 0.5), percents([85.1, 85.3, 84.8, 85.0, 85.4]));
    assert_eq!(pair(&low, &high).verdict, Verdict::B);
    assert_eq!(pair(&high, &low).verdict, Verdict::A);
    let mut sweep = sweep(&[CCE, GCE], &[UNIFORM]);
    sweep.table.metric = Metric::NoisyAccuracy;
    let report = Significance::new(&sweep, &table(&sweep, &[low, high]), 0.05);
    assert_eq!(report.problems[0].pairs[0].verdict, Verdict::A, "lower memorisation is better");
}

#[test]
fn only_shared_seeds_are_compared() {
    let a = [&around(80.0, 1.0)[..4], &[DIVERGED]].concat();
    let b = [&[Status::Running], &around(70.0, 2.0)[1..]].concat();
    let pair = pair(&a, &b);
    assert_eq!(pair.seeds, [1, 2, 3]);
    assert_eq!(pair.t.unwrap().df, 2.0);
}

#[test]
fn a_pair_without_a_test_gives_the_reason_and_has_no_nan() {
    let five = around(80.0, 1.0);
    let nine = percents([90.0, 91.0, 92.0, 93.0, 94.0]);
    let equal = pair(&five, &five);
    assert_eq!((equal.verdict, equal.difference, equal.signed_rank), (Verdict::Equal, Some(0.0), None));
    let constant = pair(&nine, &percents([80.0, 81.0, 82.0, 83.0, 84.0]));
    assert_eq!((constant.verdict, constant.t), (Verdict::Constant, None));
    assert!((constant.difference.unwrap() - 0.1).abs() < 1e-12);
    assert_eq!(pair(&five[..1], &five).verdict, Verdict::TooFew);
    let none = pair(&[], &five);
    assert_eq!((none.verdict, none.difference), (Verdict::TooFew, None));
    for pair in [equal, constant, none] {
        assert!(!serde_json::to_string(&pair).unwrap().contains("NaN"));
    }
}

#[test]
fn holms_correction_counts_the_pairs_of_one_problem() {
    let report = sample_report();
    for problem in &report.problems {
        let mut ps: Vec<_> = problem.pairs.iter().filter_map(|pair| Some((pair.t?.p, pair.t_holm?))).collect();
        ps.sort_by(|a, b| a.0.total_cmp(&b.0));
        let (smallest, adjusted) = ps[0];
        assert!((adjusted - (smallest * ps.len() as f64).min(1.0)).abs() < 1e-12, "{ps:?}");
    }
}

#[test]
fn a_loss_with_more_epochs_stays_in_its_problem() {
    let mut sweep = sweep(&[CCE, MAE], &[UNIFORM]);
    let mut longer = configuration(MAE, UNIFORM);
    longer.epochs = 12;
    sweep.cells[1] = cell(longer);
    let report = Significance::new(&sweep, &table(&sweep, &[around(80.0, 1.0), around(70.0, 2.0)]), 0.05);
    assert_eq!(report.pairs().count(), 1);
    assert!(report.pairs().all(|pair| pair.unshared.is_empty()));
}

#[test]
fn losses_are_compared_only_if_all_other_labels_are_equal() {
    let mut sweep = sweep(&[CCE, MAE], &[UNIFORM]);
    let mut others = [configuration(CCE, UNIFORM), configuration(MAE, UNIFORM)];
    others.iter_mut().for_each(|other| other.batch_size = 32);
    sweep.cells.extend(others.map(cell));
    sweep.table.rows = paths(&["batch_size", "loss"]);
    let report = Significance::new(&sweep, &table(&sweep, &[around(80.0, 1.0), around(70.0, 2.0)]), 0.05);
    assert_eq!(
        report.problems.iter().map(|problem| problem.labels.clone()).collect::<Vec<_>>(),
        [["128", "uniform 0.6"], ["32", "uniform 0.6"]]
    );
    assert_eq!(report.pairs().count(), 2);
}

#[test]
fn a_different_noise_seed_is_noted() {
    let mut sweep = sweep(&[CCE, MAE], &[UNIFORM]);
    let mut other = configuration(MAE, UNIFORM);
    other.noise_seed = Some(7);
    sweep.cells[1] = cell(other);
    let report = Significance::new(&sweep, &table(&sweep, &[around(80.0, 1.0), around(70.0, 2.0)]), 0.05);
    assert_eq!(report.problems[0].pairs[0].unshared, ["noise_seed"]);
    assert!(report.render(Format::Text).contains("noise_seed differs"), "{}", report.render(Format::Text));
}

#[test]
fn different_test_samples_and_splits_are_noted() {
    let mut sweep = sweep(&[CCE, MAE], &[UNIFORM]);
    let mut other = configuration(MAE, UNIFORM);
    (other.test_size, other.split) = (Some(100), Split::Last);
    sweep.cells[1] = cell(other);
    let report = Significance::new(&sweep, &table(&sweep, &[around(80.0, 1.0), around(70.0, 2.0)]), 0.05);
    assert_eq!(report.problems[0].pairs[0].unshared, ["test_size", "split"]);
}

#[test]
fn a_sweep_of_one_loss_has_no_pairs() {
    let sweep = sweep(&[CCE], &[UNIFORM]);
    let report = Significance::new(&sweep, &table(&sweep, &[around(80.0, 1.0)]), 0.05);
    assert_eq!(report.pairs().count(), 0);
    assert!(report.render(Format::Text).contains("no two losses"));
}

#[test]
fn diverged_seeds_are_compared_as_the_table_shows_them() {
    for policy in Divergence::ALL {
        let (sweep, table) = diverging(*policy);
        let report = Significance::new(&sweep, &table, 0.05);
        // CCE and MAE under uniform noise, of which the last seed of MAE diverged late.
        let pair = &report.problems[0].pairs[0];
        let text = report.render(Format::Text);
        match policy {
            Divergence::Exclude => assert_eq!(pair.seeds, [0, 1, 2, 3]),
            Divergence::Count => {
                assert_eq!(pair.seeds, [0, 1, 2, 3, 4]);
                assert!(text.contains("5 jobs diverged, and count with the epochs"), "{text}");
            }
            Divergence::Fail => {
                assert_eq!((pair.verdict, pair.difference, pair.seeds.len()), (Verdict::Diverged, None, 0));
                assert!(text.contains("no test: a seed diverged"), "{text}");
            }
        }
    }
}
