//! Computes the diagnostics that a job asks for, from the results of an evaluation. This file selects quantities and samples; core has
//! the formulas ([`plusminus_core::diagnostics`]).

use plusminus_core::diagnostics::{
    Diagnostic, Gradients, LabelledPredictions, class_accuracy, dependence, hybrid_accuracy, pruning, softmax,
    transition_error,
};
use plusminus_core::job::Job;
use plusminus_core::methods::losses::Criterion;
use plusminus_core::methods::noise::TransitionMatrix;
use plusminus_core::metric::{Measurements, Metric};
use plusminus_core::outcome::{Failure, FailureKind};
use plusminus_core::random::Stream;
use std::cell::OnceCell;

/// Samples with their logits and labels.
#[derive(Clone, Copy)]
pub(crate) struct EvaluatedSamples<'a> {
    /// The positions of the samples in their file.
    pub samples: &'a [usize],
    /// A row of logits for each sample.
    pub logits: &'a [f32],
    /// The given label of each sample.
    pub given: &'a [u32],
    /// The true label of each sample, or [`NO_CLASS`](plusminus_core::methods::noise::NO_CLASS).
    pub truth: &'a [u32],
}

impl<'a> EvaluatedSamples<'a> {
    fn view(&self, classes: usize) -> Result<LabelledPredictions<'a>, Failure> {
        LabelledPredictions::new(classes, self.logits, self.given, self.truth).map_err(|what| {
            Failure::new(FailureKind::Infrastructure, format!("cannot compute diagnostics of this evaluation: {what}"))
        })
    }
}

/// The results of an evaluation.
pub(crate) struct Evaluation<'a> {
    /// The job, whose configuration lists the diagnostics.
    pub job: &'a Job,
    /// The completed epoch, from 1.
    pub epoch: u32,
    /// The loss after the epoch. It is not changed.
    pub criterion: &'a dyn Criterion,
    /// The realised transition matrix of the noise.
    pub realised: &'a TransitionMatrix,
    /// The training samples, in file order.
    pub train: EvaluatedSamples<'a>,
    /// The validation samples.
    pub validation: EvaluatedSamples<'a>,
    /// The test samples. Their given labels are the true ones.
    pub test: EvaluatedSamples<'a>,
}

/// Computes ‖f‖₁ of every training sample, where f are the inputs of the last layer; `None` if that layer is not linear. It costs a pass
/// over the training samples, so only a diagnostic that needs it calls it.
pub(crate) type FeatureNorms<'a> = &'a mut dyn FnMut() -> Result<Option<Vec<f64>>, Failure>;

/// Computes the diagnostics that the job asks for.
///
/// # Errors
/// Those of `features`, and `Infrastructure` if the numbers of samples, logits and labels differ.
pub(crate) fn measure(evaluation: &Evaluation<'_>, features: FeatureNorms<'_>) -> Result<Measurements, Failure> {
    let configuration = &*evaluation.job.configuration;
    let mut measurements = Measurements::new();
    if configuration.diagnostics.is_empty() {
        return Ok(measurements);
    }
    let classes = configuration.dataset.classes();
    let train = evaluation.train.view(classes)?;
    let validation = evaluation.validation.view(classes)?;
    let test = evaluation.test.view(classes)?;
    // Several diagnostics share the gradients, which are expensive.
    let gradients = OnceCell::new();
    let gradients = || gradients.get_or_init(|| gradients_of(evaluation, train.classes()));
    for diagnostic in &configuration.diagnostics {
        measurements.extend(match diagnostic {
            Diagnostic::Softmax => softmax(&train),
            Diagnostic::Classes => class_accuracy(test.classes(), &test.predicted(), test.truth()),
            Diagnostic::Hybrid => {
                let predicted = [&test, &train, &validation].map(|view| (view.predicted(), view.truth()));
                hybrid_accuracy(&predicted.each_ref().map(|(predicted, truth)| (&**predicted, *truth)))
            }
            Diagnostic::Pruning => pruned(evaluation),
            Diagnostic::Gradient => gradients().strength(),
            Diagnostic::Rank => features()?.map(|norms| gradients().rank_correlation(&norms)).unwrap_or_default(),
            Diagnostic::Sign => gradients().pull(),
            Diagnostic::Dependence => dependences(evaluation, &train, &validation),
            Diagnostic::Transition => {
                let estimated = evaluation.criterion.transition();
                estimated.map(|estimated| transition_error(&estimated, evaluation.realised)).unwrap_or_default()
            }
        });
    }
    Ok(measurements)
}

/// The gradients of all training samples, in file order and in batches of the job's size. (For some losses, a sample's gradient depends on
/// its batch.) The network is in evaluation mode, without dropout and augmentation.
fn gradients_of(evaluation: &Evaluation<'_>, classes: usize) -> Gradients {
    let EvaluatedSamples { samples, logits, given, truth } = evaluation.train;
    let size = evaluation.job.configuration.batch_size.max(1);
    let (mut gradients, mut gradient) = (Gradients::default(), vec![0.0; size.min(samples.len()) * classes]);
    let batches =
        samples.chunks(size).zip(logits.chunks(size * classes)).zip(given.chunks(size).zip(truth.chunks(size)));
    for ((samples, logits), (given, truth)) in batches {
        let gradient = &mut gradient[..logits.len()];
        evaluation.criterion.peek(logits, given, samples, gradient);
        // The loss is a mean, so a sample's own gradient is its row times the batch size.
        gradients.add(gradient, samples.len() as f64, given, truth);
    }
    gradients
}

/// The quality of the loss's pruning; empty for losses that do not prune.
fn pruned(evaluation: &Evaluation<'_>) -> Measurements {
    let EvaluatedSamples { samples, given, truth, .. } = evaluation.train;
    let Some(kept) = evaluation.criterion.kept() else { return Measurements::new() };
    let kept: Vec<bool> = samples.iter().map(|sample| kept.get(*sample).copied().unwrap_or(true)).collect();
    pruning(given, truth, &kept)
}

/// Mutual information and residual dependence on training and validation samples; empty where undefined.
fn dependences(
    evaluation: &Evaluation<'_>,
    train: &LabelledPredictions<'_>,
    validation: &LabelledPredictions<'_>,
) -> Measurements {
    let mut generator = evaluation.job.streams().generator(Stream::Diagnostics, u64::from(evaluation.epoch));
    let on_train = dependence(train, &mut generator);
    let on_validation = dependence(validation, &mut generator);
    let found = [
        (Metric::DependenceTrain, on_train.information),
        (Metric::DependenceValidation, on_validation.information),
        (Metric::DmiResidualTrain, on_train.residual),
        (Metric::DmiResidualValidation, on_validation.residual),
    ];
    found.into_iter().filter_map(|(metric, value)| Some((metric, value.filter(|value| value.is_finite())?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::tests::job;
    use plusminus_core::methods::losses::{Loss, Setting, TruncatedGce};

    const CLASSES: usize = 10;

    /// 30 training samples, 10 validation samples and 10 test samples. Logits favour the true class; every third label outside the test is
    /// wrong.
    struct Small {
        samples: Vec<usize>,
        truth: Vec<u32>,
        given: Vec<u32>,
        logits: Vec<f32>,
    }

    fn small() -> Small {
        let truth: Vec<u32> = (0..50).map(|i| i % 10).collect();
        let given = (0..50).map(|i| if i < 40 && i % 3 == 0 { (i + 1) % 10 } else { i % 10 }).collect();
        let row =
            |truth: &u32| (0..CLASSES).map(|c| if c == *truth as usize { 3.0 } else { c as f32 / 100.0 }).collect();
        let logits = truth.iter().flat_map(|truth| -> Vec<f32> { row(truth) }).collect();
        Small { samples: (0..50).collect(), truth, given, logits }
    }

    fn measured(diagnostics: &[Diagnostic], criterion: &dyn Criterion, batch_size: usize) -> (Measurements, usize) {
        let small = small();
        let job = job(1, |c| (c.diagnostics, c.batch_size) = (diagnostics.to_vec(), batch_size));
        let part = |range: std::ops::Range<usize>| EvaluatedSamples {
            samples: &small.samples[range.clone()],
            logits: &small.logits[range.start * CLASSES..range.end * CLASSES],
            given: &small.given[range.clone()],
            truth: &small.truth[range],
        };
        let realised = TransitionMatrix::realised(CLASSES, &small.truth, &small.given);
        let evaluation = Evaluation {
            job: &job,
            epoch: 1,
            criterion,
            realised: &realised,
            train: part(0..30),
            validation: part(30..40),
            test: part(40..50),
        };
        let mut asked = 0;
        let mut features = || {
            asked += 1;
            Ok(Some((0..30).map(|i| 1.0 + f64::from(i)).collect()))
        };
        let found = measure(&evaluation, &mut features).unwrap();
        (found, asked)
    }

    fn criterion(loss: &Loss) -> Box<dyn Criterion> {
        let transition = Some(TransitionMatrix::identity(CLASSES));
        loss.criterion(Setting { classes: CLASSES, given: &small().given, transition }).unwrap()
    }

    fn all() -> Vec<Diagnostic> {
        Diagnostic::ALL.iter().map(|(_, diagnostic)| *diagnostic).collect()
    }

    fn cce() -> Loss {
        Loss::Cce(plusminus_core::methods::losses::Cce {})
    }

    #[test]
    fn only_requested_diagnostics_are_computed() {
        let cce = criterion(&cce());
        assert_eq!(measured(&[], &*cce, 7), (Measurements::new(), 0));
        for diagnostic in all() {
            let (found, asked) = measured(&[diagnostic], &*cce, 7);
            assert!(found.keys().all(|metric| Diagnostic::of(*metric) == Some(diagnostic)), "{found:?}");
            assert_eq!(asked, usize::from(diagnostic == Diagnostic::Rank));
            // Cross entropy neither prunes nor has a transition matrix.
            let has_none = matches!(diagnostic, Diagnostic::Pruning | Diagnostic::Transition);
            assert_eq!(found.is_empty(), has_none, "{diagnostic:?}");
        }
        let (found, _) = measured(&all(), &*cce, 7);
        assert!(found.values().all(|value| value.is_finite()), "{found:?}");
    }

    #[test]
    fn correct_predictions_have_known_diagnostics() {
        let (found, _) = measured(&all(), &*criterion(&cce()), 7);
        assert_eq!(found[&Metric::HybridAccuracy], 1.0);
        assert_eq!((found[&Metric::ClassAccuracyWorst], found[&Metric::ClassAccuracySpread]), (1.0, 0.0));
        assert_eq!(found[&Metric::SoftmaxAuroc], 1.0, "a right label has the higher probability");
        assert!(found[&Metric::GradientNoisyRatio] > 1.0, "cross entropy has large gradients on wrong labels");
        assert!(found[&Metric::TrueClassPull] < 0.0, "and they point away from the true class");
        assert_eq!(found[&Metric::TrueClassPullShare], 0.0);
        assert!(found[&Metric::DependenceTrain].abs() < 1e-12, "{found:?}");
        assert!(found.contains_key(&Metric::DependenceValidation));
    }

    #[test]
    fn a_gradient_of_a_mean_loss_does_not_depend_on_the_batch_size() {
        let cce = criterion(&cce());
        let (small, large) = (measured(&all(), &*cce, 7).0, measured(&all(), &*cce, 30).0);
        for metric in [Metric::GradientClean, Metric::GradientNoisy, Metric::GradientVariance, Metric::TrueClassPull] {
            assert!(
                (small[&metric] - large[&metric]).abs() < 1e-5,
                "{metric}: {} and {}",
                small[&metric],
                large[&metric]
            );
        }
        // ‖p − e_y‖₁ = 2(1 − p_y), which is nearly equal for all samples.
        let clean = measured(&[Diagnostic::Softmax], &*cce, 7).0[&Metric::SoftmaxClean];
        assert!((small[&Metric::GradientClean] - 2.0 * (1.0 - clean)).abs() < 1e-5);
    }

    #[test]
    fn pruning_is_measured_on_the_training_samples() {
        let loss = Loss::TruncatedGce(TruncatedGce { q: 0.7, k: 0.5, start: 1, every: 1 });
        let mut truncated = criterion(&loss);
        let small = small();
        let p: Vec<f32> = (0..50).map(|i| if small.given[i] == small.truth[i] || i == 3 { 0.9 } else { 0.1 }).collect();
        truncated.review(&small.samples, &p);
        let (found, _) = measured(&[Diagnostic::Pruning], &*truncated, 7);
        // Nine of ten mislabelled samples are pruned.
        assert_eq!((found[&Metric::PruningPrecision], found[&Metric::PruningRecall]), (1.0, 0.9));
        assert_eq!(found[&Metric::PruningKept], 0.7);
    }

    #[test]
    fn different_lengths_are_a_failure() {
        let (job, cce) = (job(1, |c| c.diagnostics = all()), criterion(&cce()));
        let nothing = EvaluatedSamples { samples: &[], logits: &[], given: &[], truth: &[] };
        let realised = TransitionMatrix::identity(CLASSES);
        let part = EvaluatedSamples { samples: &[0], logits: &[0.0; 9], given: &[0], truth: &[0] };
        let of = |train| Evaluation {
            job: &job,
            epoch: 1,
            criterion: &*cce,
            realised: &realised,
            train,
            validation: nothing,
            test: nothing,
        };
        assert!(measure(&of(part), &mut || Ok(None)).unwrap_err().message.contains("found 9 logits"));
        assert_eq!(
            measure(&of(nothing), &mut || Ok(None)),
            Ok(Measurements::new()),
            "without samples there are no measurements"
        );
    }
}
