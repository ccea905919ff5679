//! What memory the training of a job takes, told before it begins.

use crate::data::image_list::MAX_IN_MEMORY;
use crate::data::prefetch;
use crate::train::EVALUATION_BATCH;
use plusminus_core::job::Configuration;
use plusminus_core::methods::augment::Normalize;
use plusminus_core::methods::losses::{Loss, Setting};
use plusminus_core::methods::noise::{Noise, TransitionMatrix};
use plusminus_engines::{self as engines, ExecutionOptions, Plan};
use std::fmt;

/// What a process has before it trains: code, tables, stacks, what the allocator cannot give back.
const PROCESS: usize = 16 << 20;

/// What the name of a file takes, with what stands beside it.
const NAME: usize = 64;

/// So many bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MemoryEstimate(pub usize);

impl fmt::Display for MemoryEstimate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} MiB", self.0.div_ceil(1 << 20))
    }
}

impl MemoryEstimate {
    /// What a process takes that trains a job of `configuration` by `execution`; nothing where that is not known: of candle it is not,
    /// which has no memory of its own but asks for each tensor anew.
    pub fn on_host(configuration: &Configuration, execution: ExecutionOptions) -> Option<MemoryEstimate> {
        let dataset = &configuration.dataset;
        let network = configuration.model.network(dataset.input(), dataset.classes()).ok()?;
        // Of a folder nothing is known but how much of it is kept in memory at most; each image takes a place in lists besides, which is
        // little beside its pixels.
        let (train, test) = dataset.sizes().unwrap_or((MAX_IN_MEMORY / dataset.shape().len().max(1), 0));
        let taken = configuration.taken(train);
        let held_out = configuration.held_out(taken);
        let most = if dataset.sizes().is_some() { taken.saturating_sub(held_out) } else { taken };
        let batch = configuration.batch_size.min(most.max(1));
        let engine = engines::host_memory(execution, &network, &configuration.optimizer, batch)?;
        let sample = dataset.shape().len();
        // Pixels as bytes, tokens as numbers; of a training sample several labels and places in lists.
        let value = if dataset.vocabulary().is_some() { size_of::<u32>() } else { size_of::<u8>() };
        let samples = train + dataset.pool() + test;
        let pixels = match samples.saturating_mul(sample * value) {
            // Decoded whenever they are asked for.
            pixels if dataset.is_of_files() && pixels > MAX_IN_MEMORY => samples * NAME,
            pixels => pixels,
        };
        let images = pixels + samples * size_of::<u32>() + taken * 4 * size_of::<usize>();
        let inputs = prefetch::BUFFERS * batch.max(EVALUATION_BATCH) * sample * size_of::<f32>();
        // As they stood after the last epoch, which a checkpoint holds for as long as the next one takes; at their best, and at their
        // two bests in validation. Where two are of one epoch they are shared.
        let snapshots = if configuration.validates() { 4 } else { 2 };
        let plan = Plan::of(&network);
        let weights = plan.len() * size_of::<f32>();
        // What else a checkpoint holds: the optimiser's memory, and the loss's of every sample.
        let moments =
            engines::optimizer_values_per_weight(&configuration.optimizer) * plan.trained() * size_of::<f32>();
        let criterion = match configuration.loss {
            Loss::TruncatedGce(_) => train * size_of::<u8>(),
            Loss::Lccn(_) => train * size_of::<u32>(),
            _ => 0,
        };
        let held = snapshots * weights + moments + criterion;
        // What stands by while the pruning looks at the training set with other weights: two sets of weights with what an optimiser
        // remembers.
        let review = if matches!(configuration.loss, Loss::TruncatedGce(_)) { 6 * weights } else { 0 };
        // An evaluation keeps the logits of its parts, those that a loss is taken of also in `f64`.
        let logits = (taken + configuration.tested(test)) * dataset.classes() * size_of::<f32>()
            + held_out * dataset.classes() * size_of::<f64>();
        Some(MemoryEstimate(PROCESS + images + inputs + held + review + logits + engine))
    }

    /// What a job of `configuration` takes of a GPU's memory, beside the driver's context and what cuDNN asks for: network, a batch, the loss,
    /// and the data, where those are in memory here; nothing where no GPU runs the network, or not known how many samples there are.
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
        // What a loss takes does not follow from the labels, nor from what is in its matrix.
        let given =
            vec![0; if matches!(configuration.noise, Noise::OpenSet { .. }) { train + dataset.pool() } else { taken }];
        let transition = Some(TransitionMatrix::identity(classes));
        let criterion = configuration.loss.criterion(Setting { classes, given: &given, transition }).ok()?;
        let loss =
            criterion.on_device().map_or(0, |loss| engines::device_loss_memory(&loss, classes, given.len(), batch));
        Some(MemoryEstimate(engine + data + loss))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::tests::job;
    use plusminus_core::methods::losses::Lccn;
    use plusminus_core::methods::optimizer::Optimizer;
    use plusminus_engines::EngineKind;

    fn told(change: impl FnOnce(&mut Configuration)) -> MemoryEstimate {
        MemoryEstimate::on_host(&job(1, change).configuration, ExecutionOptions::default()).unwrap()
    }

    #[test]
    fn a_job_takes_its_data_its_inputs_its_snapshots_and_its_engine() {
        let configuration = job(1, |_| {}).configuration;
        let network = configuration.model.network(configuration.dataset.shape(), 10).unwrap();
        let engine =
            engines::host_memory(ExecutionOptions::default(), &network, &configuration.optimizer, 100).unwrap();
        let images = 10_000 * (784 + 4) + 8_000 * 32;
        let inputs = 3 * 250 * 784 * 4;
        // After the last epoch and at their best; and the momentum.
        let snapshots = (2 + 1) * 18_378 * 4;
        let logits = (8_000 + 2_000) * 10 * 4;
        assert_eq!(told(|_| {}), MemoryEstimate((16 << 20) + images + inputs + snapshots + logits + engine));
        assert_eq!(told(|c| c.validation = 0.5).0 - told(|_| {}).0, 2 * 18_378 * 4 + 4_000 * 10 * 8);
    }

    #[test]
    fn what_a_checkpoint_holds_is_counted() {
        let optimizer = |momentum| Optimizer::Sgd { lr: 0.1, momentum, weight_decay: 0.0, nesterov: false };
        let with = |momentum: f64| told(|c| c.optimizer = optimizer(momentum)).0;
        let configuration = job(1, |_| {}).configuration;
        let network = configuration.model.network(configuration.dataset.shape(), 10).unwrap();
        let engine =
            |momentum| engines::host_memory(ExecutionOptions::default(), &network, &optimizer(momentum), 100).unwrap();
        assert_eq!(with(0.9) - with(0.0), engine(0.9) - engine(0.0) + 18_378 * 4, "in the engine, and what is held");
        let lccn = Loss::Lccn(Lccn { alpha: 1.0, refresh: 1, warm_up: 0 });
        assert_eq!(told(|c| c.loss = lccn).0 - told(|_| {}).0, 8_000 * 4);
    }

    #[test]
    fn a_batch_is_no_larger_than_the_samples_that_there_are() {
        assert_eq!(
            told(|c| (c.train_size, c.batch_size) = (Some(300), 8000)),
            told(|c| (c.train_size, c.batch_size) = (Some(300), 300))
        );
    }

    #[test]
    fn what_candle_takes_is_not_known() {
        let execution = ExecutionOptions { engine: Some(EngineKind::Candle), ..ExecutionOptions::default() };
        assert_eq!(MemoryEstimate::on_host(&job(1, |_| {}).configuration, execution), None);
    }

    #[test]
    fn memory_is_shown_in_mebibytes_rounded_up() {
        assert_eq!(
            [MemoryEstimate(0), MemoryEstimate(1 << 20), MemoryEstimate((1 << 20) + 1)].map(|m| m.to_string()),
            ["0 MiB", "1 MiB", "2 MiB"]
        );
    }
}
