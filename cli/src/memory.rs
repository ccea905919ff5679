//! How much memory the jobs of a sweep need, on the host or on a GPU.

use plusminus_core::job::Configuration;
use plusminus_core::sweep_file::Sweep;
use plusminus_engines::{Device, ExecutionOptions};
use plusminus_trainer::MemoryEstimate;
use std::mem::discriminant;

/// Returns the memory that one job of each trained cell needs, in the order of [`Sweep::trained`]; `None` where it is unknown.
///
/// It is host memory, or GPU memory if `options` name a GPU.
pub fn of_cells(sweep: &Sweep, options: ExecutionOptions) -> Vec<Option<MemoryEstimate>> {
    // Most cells of a sweep differ in settings that take no memory.
    let mut known: Vec<(&Configuration, Option<MemoryEstimate>)> = Vec::new();
    let cells = sweep.trained().into_iter().map(|cell| {
        let configuration = &*cell.configuration;
        if let Some((_, memory)) = known.iter().find(|(other, _)| need_the_same(other, configuration)) {
            return *memory;
        }
        let memory = match options.device {
            Device::Cpu => MemoryEstimate::on_host(configuration, options),
            Device::Cuda(_) => MemoryEstimate::on_device(configuration),
        };
        known.push((configuration, memory));
        memory
    });
    cells.collect()
}

/// Returns the memory of the largest job, or `None` if that of any job is unknown.
pub fn largest(sweep: &Sweep, options: ExecutionOptions) -> Option<MemoryEstimate> {
    let cells = of_cells(sweep, options).into_iter().collect::<Option<Vec<_>>>();
    cells?.into_iter().max()
}

fn need_the_same(one: &Configuration, other: &Configuration) -> bool {
    let split = |c: &Configuration| (c.batch_size, c.train_size, c.test_size, c.validation, c.split);
    // The state of a loss depends on its kind.
    let kept = |c: &Configuration| (discriminant(&c.loss), c.precision);
    (&one.dataset, &one.model, &one.optimizer, split(one), kept(one))
        == (&other.dataset, &other.model, &other.optimizer, split(other), kept(other))
}
