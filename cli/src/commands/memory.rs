//! What memory the jobs of a sweep take.

use plusminus_core::job::Configuration;
use plusminus_core::methods::losses::Loss;
use plusminus_core::spec::Sweep;
use plusminus_trainer::{Means, Memory};

/// Of everything that is trained, in the order of [`Sweep::trained`], what a process takes that trains a job of it, where that is
/// known.
pub fn of_cells(sweep: &Sweep, means: Means) -> Vec<Option<Memory>> {
    // Most cells of a sweep differ in what takes no memory.
    let mut told: Vec<(&Configuration, Option<Memory>)> = Vec::new();
    let cells = sweep.trained().into_iter().map(|cell| {
        let configuration = &*cell.configuration;
        if let Some((_, memory)) = told.iter().find(|(other, _)| take_the_same(other, configuration)) {
            return *memory;
        }
        let memory = Memory::of(configuration, means);
        told.push((configuration, memory));
        memory
    });
    cells.collect()
}

/// What the largest job takes, where it is known of all.
pub fn largest(sweep: &Sweep, means: Means) -> Option<Memory> {
    let cells = of_cells(sweep, means).into_iter().collect::<Option<Vec<_>>>();
    cells?.into_iter().max()
}

fn take_the_same(one: &Configuration, other: &Configuration) -> bool {
    let prunes = |c: &Configuration| matches!(c.loss, Loss::TruncatedGce(_));
    let split =
        |c: &Configuration| (c.batch_size, c.train_size, c.test_size, c.validation, c.split, prunes(c), c.precision);
    (&one.dataset, &one.model, &one.optimizer, split(one))
        == (&other.dataset, &other.model, &other.optimizer, split(other))
}
