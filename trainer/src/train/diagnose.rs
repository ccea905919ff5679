//! Collects what a job's diagnostics need from the run: labels by sample, and the features of the network.

use super::failure::{engine_failure, user_error};
use super::inference::for_each_output;
use super::observer::StopCheck;
use super::run::Run;
use crate::diagnostics::{EvaluatedSamples, Evaluation, measure};
use plusminus_core::methods::networks::{Layer, Network};
use plusminus_core::metric::Measurements;
use plusminus_core::outcome::Failure;
use plusminus_engines::{Plan, Weights};
use std::sync::Arc;

/// The logits of an evaluation: a row for each sample, in the order of each subset.
pub(super) struct Logits<'a> {
    pub train: &'a [f32],
    pub validation: &'a [f32],
    pub test: &'a [f32],
}

impl Run<'_> {
    /// Computes the diagnostics that the job asks for, for the network after `epoch`.
    pub(super) fn diagnose(
        &self,
        epoch: u32,
        logits: Logits<'_>,
        stop_check: StopCheck<'_>,
    ) -> Result<Measurements, Failure> {
        if self.job.configuration.diagnostics.is_empty() {
            return Ok(Measurements::new());
        }
        let of = |labels: &[u32], samples: &[usize]| samples.iter().map(|sample| labels[*sample]).collect::<Vec<u32>>();
        let (train_given, train_truth) =
            (of(&self.labels.given, &self.labels.train), of(&self.data.train.labels, &self.labels.train));
        let validation = self.validation_samples()?;
        let validation_truth = of(&validation.sample_set.labels, &validation.samples);
        let tested: Vec<usize> = (0..self.job.configuration.tested(self.data.test.len())).collect();
        let test = &self.data.test.labels[..tested.len()];
        let evaluation = Evaluation {
            job: self.job,
            epoch,
            criterion: &*self.criterion,
            realised: &self.labels.transition,
            train: EvaluatedSamples {
                samples: &self.labels.train,
                logits: logits.train,
                given: &train_given,
                truth: &train_truth,
            },
            validation: EvaluatedSamples {
                samples: &validation.samples,
                logits: logits.validation,
                given: &validation.labels,
                truth: &validation_truth,
            },
            test: EvaluatedSamples { samples: &tested, logits: logits.test, given: test, truth: test },
        };
        measure(&evaluation, &mut || self.feature_norms(&mut *stop_check))
    }

    /// The 1-norm of every training sample's features, the inputs of the last layer; `None` if that layer is not linear.
    pub(super) fn feature_norms(&self, stop_check: StopCheck<'_>) -> Result<Option<Vec<f64>>, Failure> {
        let configuration = &*self.job.configuration;
        let dataset = &configuration.dataset;
        let network = configuration.model.network(dataset.input(), dataset.classes()).map_err(user_error)?;
        let weights = self.engine.weights().map_err(engine_failure)?;
        let Some((network, weights)) = feature_network(&network, &weights) else { return Ok(None) };
        // A new engine each time: one that stays would double the job's memory during the whole training.
        let mut engine = (self.new_engine)(&network, weights, &configuration.optimizer).map_err(engine_failure)?;
        let mut norms = Vec::with_capacity(self.labels.train.len());
        for_each_output(&mut *engine, (&self.data.train, &self.inputs), &self.labels.train, |features| {
            let norm = |features: &[f32]| features.iter().map(|feature| f64::from(*feature).abs()).sum::<f64>();
            norms.extend(features.chunks_exact(network.classes).map(norm));
            stop_check()
        })?;
        Ok(Some(norms))
    }
}

/// A network with these `weights` whose outputs have the same 1-norm as the features of `network`; `None` if its last layer is not
/// linear. If the features are never negative, the network adds them up itself, because not every engine can output a flattened image.
fn feature_network(network: &Network, weights: &Weights) -> Option<(Network, Weights)> {
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
            // The weights of the sum. Its bias stays 0.
            None if entry.shape.len() > 1 => values.fill(1.0),
            None => {}
        }
    }
    Some((summing, weights))
}

/// Whether the last layer that can change signs is a ReLU.
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
    fn only_the_outputs_of_a_relu_are_known_to_be_non_negative() {
        let pool = Layer::MaxPool { kernel: 2, stride: 2, padding: 0 };
        assert!(is_never_negative(&[Layer::Tanh, Layer::Relu, pool.clone(), Layer::Flatten, Layer::Dropout(0.5)]));
        assert!(is_never_negative(&[Layer::Relu, Layer::GlobalAveragePool]));
        assert!(!is_never_negative(&[Layer::Relu, Layer::Tanh, Layer::GlobalMaxPool]));
        assert!(!is_never_negative(&[Layer::Relu, Layer::Linear { input: 2, output: 2 }]));
        assert!(!is_never_negative(&[Layer::Flatten]), "inputs may be negative");
    }
}
