//! Estimates the memory that a job needs, before it starts.

use crate::data::image_list::MAX_IN_MEMORY;
use crate::data::prefetch;
use crate::train::EVALUATION_BATCH;
use plusminus_core::job::Configuration;
use plusminus_core::methods::augment::Normalize;
use plusminus_core::methods::dataset::Dataset;
use plusminus_core::methods::losses::{Loss, Setting};
use plusminus_core::methods::noise::{Noise, TransitionMatrix};
use plusminus_engines::{self as engines, ExecutionOptions, Plan};
use std::fmt;

/// The memory of a process before it trains: code, tables, stacks, and what the allocator does not return.
const PROCESS: usize = 16 << 20;

/// The memory for the path of an image file, with its size and allocation.
const NAME: usize = 64;

/// An amount of memory, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MemoryEstimate(pub usize);

impl fmt::Display for MemoryEstimate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} MiB", self.0.div_ceil(1 << 20))
    }
}

impl MemoryEstimate {
    /// The host memory of a process that trains a job of `configuration`. Returns `None` if it is unknown: candle allocates every tensor
    /// separately, so nothing bounds its memory.
    pub fn on_host(configuration: &Configuration, execution: ExecutionOptions) -> Option<MemoryEstimate> {
        let dataset = &configuration.dataset;
        let network = configuration.model.network(dataset.input(), dataset.classes()).ok()?;
        // The size of a folder is unknown, but the pixels that stay in memory are bounded. Its lists of files are small beside them.
        let (train, test) = dataset.sizes().unwrap_or((MAX_IN_MEMORY / dataset.shape().len().max(1), 0));
        let taken = configuration.taken(train);
        let held_out = configuration.held_out(taken);
        let most = if dataset.sizes().is_some() { taken.saturating_sub(held_out) } else { taken };
        let batch = configuration.batch_size.min(most.max(1));
        let engine = engines::host_memory(execution, &network, &configuration.optimizer, batch)?;
        let samples = sample_memory(dataset, train + dataset.pool() + test, taken);
        let inputs = prefetch::BUFFERS * batch.max(EVALUATION_BATCH) * dataset.shape().len() * size_of::<f32>();
        let snapshots = snapshot_memory(configuration, &Plan::of(&network), train);
        // An evaluation keeps the logits of all subsets, and those of the validation samples also as `f64`.
        let logits = (taken + configuration.tested(test)) * dataset.classes() * size_of::<f32>()
            + held_out * dataset.classes() * size_of::<f64>();
        Some(MemoryEstimate(PROCESS + samples + inputs + snapshots + logits + engine))
    }

    /// The GPU memory of a job of `configuration`: network, one batch, the loss, and the data if they are in memory. The driver's context
    /// and cuDNN's workspace come on top. Returns `None` if no GPU runs the network or the number of samples is unknown.
    pub fn on_device(configuration: &Configuration) -> Option<MemoryEstimate> {
        let dataset = &configuration.dataset;
        let (classes, shape) = (dataset.classes(), dataset.shape());
        let network = configuration.model.network(dataset.input(), classes).ok()?;
        let (train, test) = dataset.sizes()?;
        let taken = configuration.taken(train);
        let batch = configuration.batch_size.min(taken.saturating_sub(configuration.held_out(taken)).max(1));
        let engine = engines::device_memory(&network, &configuration.optimizer, batch, configuration.precision)?;
        let samples = train + dataset.pool() + test;
        let data = if dataset.vocabulary().is_some() {
            samples * shape.len() * size_of::<i32>()
        } else if dataset.is_of_files() && samples * shape.len() > MAX_IN_MEMORY {
            0
        } else {
            let centre = if configuration.normalize == Normalize::PixelMean { shape.len() } else { 0 };
            samples * shape.len() + (256 * shape.channels + centre) * size_of::<f32>()
        };
        // The size of a loss depends neither on the labels nor on the entries of its matrix.
        let given =
            vec![0; if matches!(configuration.noise, Noise::OpenSet { .. }) { train + dataset.pool() } else { taken }];
        let transition = Some(TransitionMatrix::identity(classes));
        let criterion = configuration.loss.criterion(Setting { classes, given: &given, transition }).ok()?;
        let loss =
            criterion.on_device().map_or(0, |loss| engines::device_loss_memory(&loss, classes, given.len(), batch));
        Some(MemoryEstimate(engine + data + loss))
    }
}

/// The memory of a data set of that many `samples`, of which the job takes `taken` for training and validation.
fn sample_memory(dataset: &Dataset, samples: usize, taken: usize) -> usize {
    let value = if dataset.vocabulary().is_some() { size_of::<u32>() } else { size_of::<u8>() };
    let values = match samples.saturating_mul(dataset.shape().len() * value) {
        // Images are decoded when they are used.
        values if dataset.is_of_files() && values > MAX_IN_MEMORY => samples * NAME,
        values => values,
    };
    // Every sample has a label. A training sample also has a given label and positions in several lists.
    values + samples * size_of::<u32>() + taken * 4 * size_of::<usize>()
}

/// The memory of weights and states outside the engine, with `train` samples in the training file.
fn snapshot_memory(configuration: &Configuration, plan: &Plan, train: usize) -> usize {
    // The weights of the last epoch, which a checkpoint holds during the next one, and of the best epochs: by test accuracy, and by the
    // two validation metrics. Snapshots of the same epoch share their weights.
    let snapshots = if configuration.validates() { 4 } else { 2 };
    let weights = plan.len() * size_of::<f32>();
    // A checkpoint also holds the state of the optimiser and the loss's state of every sample.
    let moments = engines::optimizer_values_per_weight(&configuration.optimizer) * plan.trained() * size_of::<f32>();
    let criterion = match configuration.loss {
        Loss::TruncatedGce(_) => train * size_of::<u8>(),
        Loss::Lccn(_) => train * size_of::<u32>(),
        _ => 0,
    };
    // A review evaluates with other weights: two sets of weights with the state of their optimiser wait meanwhile.
    let review = if matches!(configuration.loss, Loss::TruncatedGce(_)) { 6 * weights } else { 0 };
    snapshots * weights + moments + criterion + review
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::tests::job;
    use plusminus_core::methods::losses::Lccn;
    use plusminus_core::methods::optimizer::Optimizer;
    use plusminus_engines::EngineKind;

    fn estimate(change: impl FnOnce(&mut Configuration)) -> MemoryEstimate {
        MemoryEstimate::on_host(&job(1, change).configuration, ExecutionOptions::default()).unwrap()
    }

    #[test]
    fn an_estimate_adds_up_data_inputs_snapshots_logits_and_engine() {
        let configuration = job(1, |_| {}).configuration;
        let network = configuration.model.network(configuration.dataset.shape(), 10).unwrap();
        let engine =
            engines::host_memory(ExecutionOptions::default(), &network, &configuration.optimizer, 100).unwrap();
        let images = 10_000 * (784 + 4) + 8_000 * 32;
        let inputs = 3 * 250 * 784 * 4;
        // Of the last epoch and the best one, and the momentum.
        let snapshots = (2 + 1) * 18_378 * 4;
        let logits = (8_000 + 2_000) * 10 * 4;
        assert_eq!(estimate(|_| {}), MemoryEstimate((16 << 20) + images + inputs + snapshots + logits + engine));
        assert_eq!(estimate(|c| c.validation = 0.5).0 - estimate(|_| {}).0, 2 * 18_378 * 4 + 4_000 * 10 * 8);
    }

    #[test]
    fn an_estimate_includes_the_state_that_a_checkpoint_holds() {
        let optimizer = |momentum| Optimizer::Sgd { lr: 0.1, momentum, weight_decay: 0.0, nesterov: false };
        let with = |momentum: f64| estimate(|c| c.optimizer = optimizer(momentum)).0;
        let configuration = job(1, |_| {}).configuration;
        let network = configuration.model.network(configuration.dataset.shape(), 10).unwrap();
        let engine =
            |momentum| engines::host_memory(ExecutionOptions::default(), &network, &optimizer(momentum), 100).unwrap();
        assert_eq!(
            with(0.9) - with(0.0),
            engine(0.9) - engine(0.0) + 18_378 * 4,
            "once in the engine and once in the held state"
        );
        let lccn = Loss::Lccn(Lccn { alpha: 1.0, refresh: 1, warm_up: 0 });
        assert_eq!(estimate(|c| c.loss = lccn).0 - estimate(|_| {}).0, 8_000 * 4);
    }

    #[test]
    fn a_batch_is_no_larger_than_the_training_set() {
        assert_eq!(
            estimate(|c| (c.train_size, c.batch_size) = (Some(300), 8000)),
            estimate(|c| (c.train_size, c.batch_size) = (Some(300), 300))
        );
    }

    #[test]
    fn the_memory_of_candle_is_unknown() {
        let execution = ExecutionOptions { engine: Some(EngineKind::Candle), ..ExecutionOptions::default() };
        assert_eq!(MemoryEstimate::on_host(&job(1, |_| {}).configuration, execution), None);
    }

    #[test]
    fn memory_is_displayed_in_mebibytes_rounded_up() {
        assert_eq!(
            [MemoryEstimate(0), MemoryEstimate(1 << 20), MemoryEstimate((1 << 20) + 1)].map(|m| m.to_string()),
            ["0 MiB", "1 MiB", "2 MiB"]
        );
    }
}
