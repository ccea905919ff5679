//! A small sweep with results.

use plusminus_core::job::Configuration;
use plusminus_core::methods::augment::Normalize;
use plusminus_core::methods::dataset::Dataset;
use plusminus_core::methods::losses::{Cce, Gce, Loss, Mae};
use plusminus_core::methods::networks::Model;
use plusminus_core::methods::noise::Noise;
use plusminus_core::methods::optimizer::Optimizer;
use plusminus_core::methods::schedule::Schedule;
use plusminus_core::metric::{EpochSelection, Metric};
use plusminus_core::outcome::FailureKind;
use plusminus_core::report::{CellSummary, JobResult, Status, Table};
use plusminus_core::sweep_file::{Cell, Divergence, Path, Std, Sweep, TableSpec};
use std::sync::Arc;

pub const UNIFORM: Noise = Noise::uniform(0.6);
pub const CLASS_DEPENDENT: Noise = Noise::class_dependent(0.3);
pub const CCE: Loss = Loss::Cce(Cce {});
pub const MAE: Loss = Loss::Mae(Mae {});
pub const GCE: Loss = Loss::Gce(Gce { q: 0.7 });

/// A sweep of every loss under every noise with five seeds; its table shows the final test accuracy.
pub fn sweep(losses: &[Loss], noises: &[Noise]) -> Sweep {
    let pairs = noises.iter().flat_map(|noise| losses.iter().map(move |loss| (loss, noise)));
    Sweep {
        name: "robust-losses".parse().unwrap(),
        description: None,
        seeds: (0..5).collect(),
        cells: pairs.map(|(loss, noise)| cell(configuration(loss.clone(), noise.clone()))).collect(),
        parents: Vec::new(),
        select: None,
        table: TableSpec {
            rows: vec![path("loss")],
            columns: vec![path("noise")],
            metric: Metric::TestAccuracy,
            at: EpochSelection::Final,
            std: Std::Sample,
            bold: 1,
            diverged: Divergence::Exclude,
            decimals: None,
            reference: None,
        },
    }
}

/// Three losses under two noises.
pub fn three_by_two() -> Sweep {
    sweep(&[CCE, MAE, GCE], &[UNIFORM, CLASS_DEPENDENT])
}

/// One loss under one noise.
pub fn single() -> Sweep {
    sweep(&[CCE], &[UNIFORM])
}

pub fn configuration(loss: Loss, noise: Noise) -> Configuration {
    Configuration {
        dataset: Dataset::FashionMnist,
        model: Model::Cnn { dropout: 0.5 },
        initial_weights: None,
        loss,
        noise,
        noise_seed: None,
        optimizer: Optimizer::Sgd { lr: 0.01, momentum: 0.9, weight_decay: 0.0, nesterov: false },
        schedule: Schedule::Constant,
        epochs: 10,
        batch_size: 128,
        train_size: None,
        test_size: None,
        validation: 0.1,
        split: Default::default(),
        augment: Vec::new(),
        normalize: Normalize::Unit,
        precision: Default::default(),
        diagnostics: Vec::new(),
        parent: None,
    }
}

pub fn cell(configuration: Configuration) -> Cell {
    Cell { id: configuration.cell(), configuration: Arc::new(configuration) }
}

pub fn path(text: &str) -> Path {
    Path(text.split('.').map(str::to_owned).collect())
}

pub fn paths(texts: &[&str]) -> Vec<Path> {
    texts.iter().map(|text| path(text)).collect()
}

/// The table of `sweep` with these statuses by cell, then by seed.
pub fn table(sweep: &Sweep, statuses: &[Vec<Status>]) -> Table {
    Table::new(sweep, results(sweep, statuses))
}

pub fn results(sweep: &Sweep, statuses: &[Vec<Status>]) -> Vec<JobResult> {
    let cells = sweep.cells.iter().zip(statuses);
    let seeds = cells.flat_map(|(cell, statuses)| sweep.seeds.iter().zip(statuses).map(|pair| (cell.id, pair)));
    seeds.map(|(cell, (seed, status))| JobResult { cell, seed: *seed, status: *status }).collect()
}

/// Five seeds with mean `percent` and sample deviation `percent_std`, in per cent.
pub fn around(percent: f64, percent_std: f64) -> Vec<Status> {
    let step = percent_std / 2.5f64.sqrt();
    finished(&[0.0, 1.0, -1.0, 2.0, -2.0].map(|offset| (percent + offset * step) / 100.0))
}

pub fn finished(values: &[f64]) -> Vec<Status> {
    values.iter().map(|value| Status::Finished(Some(*value))).collect()
}

pub const DIVERGED: Status = Status::Diverged(None);
pub const FAILED: Status = Status::Failed(FailureKind::Infrastructure);

/// A finished sweep of three losses under two noises.
pub fn complete() -> Table {
    let cells = [(78.24, 0.52), (83.67, 4.1), (85.27, 0.41), (81.33, 1.22), (65.4, 9.87), (84.92, 0.08)];
    table(&three_by_two(), &cells.map(|(mean, std)| around(mean, std)))
}

/// The same sweep while it runs, with seeds of every status.
pub fn partial() -> Table {
    let first = |n: usize, rest: &[Status]| [&around(80.0, 0.5)[..n], rest].concat();
    let statuses = [
        around(78.24, 0.52),
        first(3, &[FAILED, FAILED]),
        first(4, &[DIVERGED]),
        first(1, &[Status::Running, Status::Running, Status::Waiting, Status::Cancelled]),
        vec![DIVERGED; 5],
        vec![FAILED, Status::Running],
    ];
    table(&three_by_two(), &statuses)
}

/// A sweep with this policy, of which seeds diverged before and after their first epoch.
pub fn diverging(policy: Divergence) -> (Sweep, Table) {
    let mut sweep = three_by_two();
    sweep.table.diverged = policy;
    let diverged_at = |percent: f64| Status::Diverged(Some(percent / 100.0));
    let first = |n: usize, rest: &[Status]| [&around(80.0, 0.5)[..n], rest].concat();
    let statuses = [
        around(78.24, 0.52),
        first(4, &[diverged_at(79.0)]),
        vec![DIVERGED; 5],
        first(3, &[diverged_at(10.0), DIVERGED]),
        first(3, &[FAILED, diverged_at(60.0)]),
        vec![diverged_at(20.0), diverged_at(30.0), Status::Running],
    ];
    let table = table(&sweep, &statuses);
    (sweep, table)
}

/// The only cell of a table.
pub fn only(table: &Table) -> &CellSummary {
    let cells: Vec<_> = table.summaries().collect();
    assert_eq!(cells.len(), 1);
    cells[0]
}
