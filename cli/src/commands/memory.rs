//! What memory the jobs of a sweep take: of the machine, or of a GPU.

use plusminus_core::job::Configuration;
use plusminus_core::sweep_file::Sweep;
use plusminus_engines::{Device, ExecutionOptions};
use plusminus_trainer::Memory;
use std::mem::discriminant;

/// Of everything that is trained, in the order of [`Sweep::trained`], what a process that trains a job of it takes of the machine's
/// memory, or, where `means` name a GPU, of that one's; where it is known.
pub fn of_cells(sweep: &Sweep, means: ExecutionOptions) -> Vec<Option<Memory>> {
    // Most cells of a sweep differ in what takes no memory.
    let mut told: Vec<(&Configuration, Option<Memory>)> = Vec::new();
    let cells = sweep.trained().into_iter().map(|cell| {
        let configuration = &*cell.configuration;
        if let Some((_, memory)) = told.iter().find(|(other, _)| take_the_same(other, configuration)) {
            return *memory;
        }
        let memory = match means.device {
            Device::Cpu => Memory::of(configuration, means),
            Device::Cuda(_) => Memory::on_device(configuration),
        };
        told.push((configuration, memory));
        memory
    });
    cells.collect()
}

/// What the largest job takes, where it is known of all.
pub fn largest(sweep: &Sweep, means: ExecutionOptions) -> Option<Memory> {
    let cells = of_cells(sweep, means).into_iter().collect::<Option<Vec<_>>>();
    cells?.into_iter().max()
}

fn take_the_same(one: &Configuration, other: &Configuration) -> bool {
    let split = |c: &Configuration| (c.batch_size, c.train_size, c.test_size, c.validation, c.split);
    // What a loss remembers depends on which it is.
    let kept = |c: &Configuration| (discriminant(&c.loss), c.precision);
    (&one.dataset, &one.model, &one.optimizer, split(one), kept(one))
        == (&other.dataset, &other.model, &other.optimizer, split(other), kept(other))
}
