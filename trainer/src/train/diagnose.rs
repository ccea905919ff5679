//! What a job's diagnostics need of the run: labels by sample, and the features that its network sees.

use super::evaluation::outputs;
use super::{Run, StopCheck, failed, user_error};
use crate::diagnostics::{EvaluatedSamples, Evaluation, measure};
use plusminus_core::methods::networks::{Layer, Network};
use plusminus_core::metric::Measurements;
use plusminus_core::outcome::Failure;
use plusminus_engines::{Plan, Weights};
use std::sync::Arc;

/// The logits of an evaluation, a row a sample, in the order of each part's samples.
pub(super) struct Logits<'a> {
    pub train: &'a [f32],
    pub validation: &'a [f32],
    pub test: &'a [f32],
}

impl Run<'_> {
    /// The job's diagnostics of the network as it stands after `epoch`.
    pub(super) fn diagnose(
        &self,
        epoch: u32,
        logits: Logits<'_>,
        check_stop: StopCheck<'_>,
    ) -> Result<Measurements, Failure> {
        if self.job.configuration.diagnostics.is_empty() {
            return Ok(Measurements::new());
        }
        let of = |labels: &[u32], samples: &[usize]| samples.iter().map(|sample| labels[*sample]).collect::<Vec<u32>>();
        let labels = |samples: &[usize]| (of(&self.labels.given, samples), of(&self.data.train.labels, samples));
        let train = labels(&self.labels.train);
        let held_out = self.held_out()?;
        let truth = of(&held_out.images.labels, &held_out.samples);
        let tested: Vec<usize> = (0..self.job.configuration.tested(self.data.test.len())).collect();
        let test = &self.data.test.labels[..tested.len()];
        let observed = Evaluation {
            job: self.job,
            epoch,
            criterion: &*self.criterion,
            realised: &self.labels.transition,
            train: EvaluatedSamples {
                samples: &self.labels.train,
                logits: logits.train,
                given: &train.0,
                truth: &train.1,
            },
            validation: EvaluatedSamples {
                samples: &held_out.samples,
                logits: logits.validation,
                given: &held_out.labels,
                truth: &truth,
            },
            test: EvaluatedSamples { samples: &tested, logits: logits.test, given: test, truth: test },
        };
        measure(&observed, &mut || self.feature_norms(&mut *check_stop))
    }

    /// ‖f‖₁ of every training sample, f being what the last layer takes in; nothing where that layer is not a linear one.
    pub(super) fn feature_norms(&self, check_stop: StopCheck<'_>) -> Result<Option<Vec<f64>>, Failure> {
        let configuration = &*self.job.configuration;
        let dataset = &configuration.dataset;
        let network = configuration.model.network(dataset.input(), dataset.classes()).map_err(user_error)?;
        let weights = self.engine.weights().map_err(failed)?;
        let Some((network, weights)) = reader(&network, &weights) else { return Ok(None) };
        // It is made anew each time: what it holds would be as much again as the job's own for the whole of the training.
        let mut engine = (self.engine_factory)(&network, weights, &configuration.optimizer).map_err(failed)?;
        let mut norms = Vec::with_capacity(self.labels.train.len());
        outputs(&mut *engine, (&self.data.train, &self.inputs), &self.labels.train, |features| {
            let norm = |features: &[f32]| features.iter().map(|feature| f64::from(*feature).abs()).sum::<f64>();
            norms.extend(features.chunks_exact(network.classes).map(norm));
            check_stop()
        })?;
        Ok(Some(norms))
    }
}

/// A network with these `weights` whose output has the ‖·‖₁ of what the last layer of `network` takes in; nothing where that is not
/// a linear one. Features that are never negative are added up in the network: not every engine gives out a flattened image.
fn reader(network: &Network, weights: &Weights) -> Option<(Network, Weights)> {
    let features = network.features()?;
    let kept = weights.subset(&Arc::new(Plan::of(&features)))?;
    if !is_never_negative(&features.layers) {
        return Some((features, kept));
    }
    let mut layers = features.layers;
    layers.push(Layer::Linear { input: features.classes, output: 1 });
    let summing = Network { layers, classes: 1, ..*network };
    let plan = Arc::new(Plan::of(&summing));
    let mut weights = Weights::zeros(&plan);
    for entry in plan.entries() {
        let values = &mut weights.values_mut()[entry.range.clone()];
        match kept.plan().entries().iter().find(|own| own.name == entry.name) {
            Some(own) => values.copy_from_slice(&kept.values()[own.range.clone()]),
            // The sum's weights; its bias stays 0.
            None if entry.shape.len() > 1 => values.fill(1.0),
            None => {}
        }
    }
    Some((summing, weights))
}

/// Whether the last that changes signs is a ReLU.
fn is_never_negative(layers: &[Layer]) -> bool {
    let keeps_signs = |layer: &&Layer| {
        matches!(
            layer,
            Layer::MaxPool { .. }
                | Layer::GlobalAveragePool
                | Layer::GlobalMaxPool
                | Layer::Flatten
                | Layer::Dropout(_)
        )
    };
    matches!(layers.iter().rev().find(|layer| !keeps_signs(layer)), Some(Layer::Relu))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_follows_a_relu_is_never_negative_and_what_follows_anything_else_may_be() {
        let pool = Layer::MaxPool { kernel: 2, stride: 2, padding: 0 };
        assert!(is_never_negative(&[Layer::Tanh, Layer::Relu, pool.clone(), Layer::Flatten, Layer::Dropout(0.5)]));
        assert!(is_never_negative(&[Layer::Relu, Layer::GlobalAveragePool]));
        assert!(!is_never_negative(&[Layer::Relu, Layer::Tanh, Layer::GlobalMaxPool]));
        assert!(!is_never_negative(&[Layer::Relu, Layer::Linear { input: 2, output: 2 }]));
        assert!(!is_never_negative(&[Layer::Flatten]), "inputs may be anything");
    }
}
