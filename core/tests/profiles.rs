//! Profiles: the sweeps that they make of a file.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use plusminus_core::methods::schedule::Schedule;
use plusminus_core::sweep_file::{self, Sweep};

const FILE: &str = "
sweep: table
seeds: 5
base:
  dataset: fashion-mnist-10k
  model: cnn
  optimizer: {name: sgd, lr: 0.01}
  schedule: {name: step, milestones: [40, 80]}
  epochs: 120
  validation: 0.1
grid:
  noise: [none, {kind: uniform, rate: [0.2, 0.4, 0.6]}]
  loss: [cce, mae, {name: gce, q: [0.5, 0.7]}]
overrides:
  - {when: {loss: gce}, set: {epochs: 150, parent: {set: {loss: cce, epochs: 100}, at: best-validation}}}
  - {when: {loss: mae, noise.rate: 0.6}, set: {optimizer.lr: 0.1}}
exclude:
  - {loss: mae, noise.rate: 0.2}
profiles:
  smoke:
    seeds: [3]
    grid: {noise: [none, {kind: uniform, rate: 0.2}]}
    overrides: [{when: {loss.q: 0.5}, set: {batch_size: 32}}]
    exclude: [{loss: cce, noise: none}]
    set: {epochs: 1, schedule: constant, train_size: 512}
  short: {set: {epochs: 100}}
";

fn profile(name: &str) -> Sweep {
    let sweeps = sweep_file::read_all(FILE, sweep_file::MAX_JOBS).unwrap_or_else(|problems| panic!("{problems:#?}"));
    sweeps.of_profile(Some(name)).unwrap()
}

#[test]
fn a_profile_sets_values_in_every_job_and_parent_after_overrides() {
    let smoke = profile("smoke");
    assert_eq!((smoke.name.as_str(), &smoke.seeds[..]), ("table-smoke", &[3][..]));
    // cce, mae and two gce without noise, the same under 0.2; without what the file and the profile exclude.
    assert_eq!((smoke.cells.len(), smoke.parents.len()), (8 - 2, 4));
    for cell in smoke.cells.iter().chain(&smoke.parents) {
        let configuration = &cell.configuration;
        assert_eq!((configuration.epochs, configuration.train_size), (1, Some(512)));
        assert_eq!(configuration.schedule, Schedule::Constant);
    }
    let batches: Vec<_> = smoke.cells.iter().map(|cell| cell.configuration.batch_size).collect();
    assert_eq!(batches, [128, 32, 128, 128, 32, 128], "of each noise: mae or cce, and both gce");
}

#[test]
fn profiles_do_not_change_the_sweep_itself() {
    let without = &FILE[..FILE.find("profiles:").unwrap()];
    let whole = sweep_file::read(FILE, sweep_file::MAX_JOBS).unwrap();
    assert_eq!(whole, sweep_file::read(without, sweep_file::MAX_JOBS).unwrap());
    assert_eq!(profile("short").cells.len(), whole.cells.len());
}

#[test]
fn the_sweeps_of_a_file_are_found_by_name() {
    let sweeps = sweep_file::read_all(FILE, sweep_file::MAX_JOBS).unwrap();
    let called = |name: &str| sweeps.clone().called(name).map(|sweep| sweep.jobs().len());
    // One cell is also a parent of others: in the profile both have one epoch.
    assert_eq!(called("table-smoke"), Some(6 + 4 - 1));
    assert_eq!(called("table"), Some(sweeps.main.jobs().len()));
    assert_eq!(called("smoke"), None);
    assert_eq!(sweeps.of_profile(Some("smok")), Err(vec!["smoke".to_owned(), "short".to_owned()]));
}

#[test]
fn a_problem_of_a_profile_is_a_problem_of_the_file() {
    let wrong = FILE.replace("schedule: constant, ", "");
    let problems = sweep_file::read(&wrong, sweep_file::MAX_JOBS).unwrap_err();
    assert_eq!(problems[0].title, "the step after epoch 80 never happens");
    let large = FILE.replace("short: {", "short: {seeds: 1000000, ");
    let problems = sweep_file::read(&large, sweep_file::MAX_JOBS).unwrap_err();
    assert!(problems[0].title.contains("too many jobs"), "{problems:?}");
}
