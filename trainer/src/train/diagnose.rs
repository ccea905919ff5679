//! What a job's diagnostics need of the run: labels by sample, and the features that its network sees.

use super::{Between, EVALUATED, Run, failed, user_error};
use crate::data::feed;
use crate::diagnostics::{Observed, Seen, measure};
use crate::engine::{Plan, engine};
use plusminus_core::metric::Measurements;
use plusminus_core::outcome::Failure;
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
        between: Between<'_>,
    ) -> Result<Measurements, Failure> {
        if self.job.configuration.diagnostics.is_empty() {
            return Ok(Measurements::new());
        }
        let of = |labels: &[u32], samples: &[usize]| samples.iter().map(|sample| labels[*sample]).collect::<Vec<u32>>();
        let labels = |samples: &[usize]| (of(&self.labels.given, samples), of(&self.data.train.labels, samples));
        let train = labels(&self.labels.train);
        let held_out = self.held_out()?;
        let truth = of(&held_out.images.labels, &held_out.samples);
        let tested: Vec<usize> = (0..self.data.test.len()).collect();
        let test = &*self.data.test.labels;
        let observed = Observed {
            job: self.job,
            epoch,
            criterion: &*self.criterion,
            realised: &self.labels.transition,
            train: Seen { samples: &self.labels.train, logits: logits.train, given: &train.0, truth: &train.1 },
            validation: Seen {
                samples: &held_out.samples,
                logits: logits.validation,
                given: &held_out.labels,
                truth: &truth,
            },
            test: Seen { samples: &tested, logits: logits.test, given: test, truth: test },
        };
        measure(&observed, &mut || self.feature_norms(&mut *between))
    }

    /// ‖f‖₁ of every training sample, f being what the last layer takes in; nothing where that layer is not a linear one.
    pub(super) fn feature_norms(&self, between: Between<'_>) -> Result<Option<Vec<f64>>, Failure> {
        let configuration = &*self.job.configuration;
        let dataset = &configuration.dataset;
        let network = configuration.model.network(dataset.input(), dataset.classes()).map_err(user_error)?;
        let Some(network) = network.features() else { return Ok(None) };
        let Some(weights) = self.engine.weights().map_err(failed)?.part(&Arc::new(Plan::of(&network))) else {
            return Ok(None);
        };
        // It is made anew each time: what it holds would be as much again as the job's own for the whole of the training.
        let mut engine = engine(self.means, &network, weights, &configuration.optimizer).map_err(failed)?;
        let mut norms = Vec::with_capacity(self.labels.train.len());
        let mut features = Vec::new();
        let Run { data, labels, inputs, .. } = self;
        let make =
            |samples: &[usize], batch: &mut Vec<f32>| inputs.gather(&data.train, samples, batch).map_err(user_error);
        feed::each(&labels.train, EVALUATED, make, |_, inputs| {
            engine.logits(inputs, &mut features).map_err(failed)?;
            let norm = |features: &[f32]| features.iter().map(|feature| f64::from(*feature).abs()).sum::<f64>();
            norms.extend(features.chunks_exact(network.classes).map(norm));
            between()
        })?;
        Ok(Some(norms))
    }
}
