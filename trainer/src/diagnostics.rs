//! The diagnostics that a job asks for, from what an evaluation has seen: which quantities on which samples. How each is computed
//! is core's ([`plusminus_core::diagnostics`]).

use plusminus_core::diagnostics::{
    Diagnostic, Gradients, LabelledPredictions, class_accuracy, dependence, hybrid_accuracy, pruning, softmax, transition_error,
};
use plusminus_core::job::Job;
use plusminus_core::methods::losses::Criterion;
use plusminus_core::methods::noise::TransitionMatrix;
use plusminus_core::metric::{Measurements, Metric};
use plusminus_core::outcome::{Failure, FailureKind};
use plusminus_core::random::Stream;
use std::cell::OnceCell;

/// Samples and what the network makes of them.
#[derive(Clone, Copy)]
pub(crate) struct Seen<'a> {
    /// Which of the file these are.
    pub samples: &'a [usize],
    /// A row a sample.
    pub logits: &'a [f32],
    /// A label a sample, as it was given.
    pub given: &'a [u32],
    /// A label a sample, as it is, or [`NO_CLASS`](plusminus_core::methods::noise::NO_CLASS).
    pub truth: &'a [u32],
}

impl<'a> Seen<'a> {
    fn view(&self, classes: usize) -> Result<LabelledPredictions<'a>, Failure> {
        LabelledPredictions::new(classes, self.logits, self.given, self.truth).map_err(|what| {
            Failure::new(FailureKind::Infrastructure, format!("the evaluation for the diagnostics went wrong: {what}"))
        })
    }
}

/// What an evaluation has seen.
pub(crate) struct Observed<'a> {
    /// The job, which says what is wanted.
    pub job: &'a Job,
    /// After which epoch, from 1.
    pub epoch: u32,
    /// The loss as the epoch left it. It is only looked at.
    pub criterion: &'a dyn Criterion,
    /// What became of the labels.
    pub realised: &'a TransitionMatrix,
    /// The samples that are trained on, in file order.
    pub train: Seen<'a>,
    /// Those that are held out.
    pub validation: Seen<'a>,
    /// The test samples, whose given labels are their true ones.
    pub test: Seen<'a>,
}

/// ‖f‖₁ of every training sample, f being what the last layer takes in; nothing where that layer is not a linear one. It costs a
/// pass over the training samples, and is asked for only where it is wanted.
pub(crate) type FeatureNorms<'a> = &'a mut dyn FnMut() -> Result<Option<Vec<f64>>, Failure>;

/// Measures what the job asks for.
///
/// # Errors
/// Those of `features`, and `Infrastructure` where there are not as many labels and logits as samples.
pub(crate) fn measure(observed: &Observed<'_>, features: FeatureNorms<'_>) -> Result<Measurements, Failure> {
    let configuration = &*observed.job.configuration;
    let mut measurements = Measurements::new();
    if configuration.diagnostics.is_empty() {
        return Ok(measurements);
    }
    let classes = configuration.dataset.classes();
    let train = observed.train.view(classes)?;
    let validation = observed.validation.view(classes)?;
    let test = observed.test.view(classes)?;
    // Several diagnostics look at them, and they are much work.
    let gradients = OnceCell::new();
    let gradients = || gradients.get_or_init(|| gradients_of(observed, train.classes()));
    for diagnostic in &configuration.diagnostics {
        measurements.extend(match diagnostic {
            Diagnostic::Softmax => softmax(&train),
            Diagnostic::Classes => class_accuracy(test.classes(), &test.predicted(), test.truth()),
            Diagnostic::Hybrid => {
                let predicted = [&test, &train, &validation].map(|view| (view.predicted(), view.truth()));
                hybrid_accuracy(&predicted.each_ref().map(|(predicted, truth)| (&**predicted, *truth)))
            }
            Diagnostic::Pruning => pruned(observed),
            Diagnostic::Gradient => gradients().strength(),
            Diagnostic::Rank => features()?.map(|norms| gradients().rank_correlation(&norms)).unwrap_or_default(),
            Diagnostic::Sign => gradients().pull(),
            Diagnostic::Dependence => dependences(observed, &train, &validation),
            Diagnostic::Transition => {
                let estimated = observed.criterion.transition();
                estimated.map(|estimated| transition_error(&estimated, observed.realised)).unwrap_or_default()
            }
        });
    }
    Ok(measurements)
}

/// The gradients of all training samples, in batches of the job's size in file order: of a loss that looks at a whole batch, a
/// sample's gradient is the one that it has in that company. The network is as it is evaluated, without dropout and augmentation.
fn gradients_of(observed: &Observed<'_>, classes: usize) -> Gradients {
    let Seen { samples, logits, given, truth } = observed.train;
    let size = observed.job.configuration.batch_size.max(1);
    let (mut gradients, mut gradient) = (Gradients::default(), vec![0.0; size.min(samples.len()) * classes]);
    let batches =
        samples.chunks(size).zip(logits.chunks(size * classes)).zip(given.chunks(size).zip(truth.chunks(size)));
    for ((samples, logits), (given, truth)) in batches {
        let gradient = &mut gradient[..logits.len()];
        observed.criterion.peek(logits, given, samples, gradient);
        // Of the mean's gradient, each sample's own.
        gradients.add(gradient, samples.len() as f64, given, truth);
    }
    gradients
}

/// Nothing for losses that prune none.
fn pruned(observed: &Observed<'_>) -> Measurements {
    let Seen { samples, given, truth, .. } = observed.train;
    let Some(kept) = observed.criterion.kept() else { return Measurements::new() };
    let kept: Vec<bool> = samples.iter().map(|sample| kept.get(*sample).copied().unwrap_or(true)).collect();
    pruning(given, truth, &kept)
}

fn dependences(observed: &Observed<'_>, train: &LabelledPredictions<'_>, validation: &LabelledPredictions<'_>) -> Measurements {
    let mut generator = observed.job.streams().generator(Stream::Diagnostics, u64::from(observed.epoch));
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

    /// 30 training samples (every third is mislabelled), 10 validation and 10 test ones, whose logits are about sure of the true class.
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
        let seen = |range: std::ops::Range<usize>| Seen {
            samples: &small.samples[range.clone()],
            logits: &small.logits[range.start * CLASSES..range.end * CLASSES],
            given: &small.given[range.clone()],
            truth: &small.truth[range],
        };
        let realised = TransitionMatrix::realised(CLASSES, &small.truth, &small.given);
        let observed = Observed {
            job: &job,
            epoch: 1,
            criterion,
            realised: &realised,
            train: seen(0..30),
            validation: seen(30..40),
            test: seen(40..50),
        };
        let mut asked = 0;
        let mut features = || {
            asked += 1;
            Ok(Some((0..30).map(|i| 1.0 + f64::from(i)).collect()))
        };
        let found = measure(&observed, &mut features).unwrap();
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
    fn only_what_is_asked_for_is_measured_and_features_only_for_ranks() {
        let cce = criterion(&cce());
        assert_eq!(measured(&[], &*cce, 7), (Measurements::new(), 0));
        for diagnostic in all() {
            let (found, asked) = measured(&[diagnostic], &*cce, 7);
            assert!(found.keys().all(|metric| Diagnostic::of(*metric) == Some(diagnostic)), "{found:?}");
            assert_eq!(asked, usize::from(diagnostic == Diagnostic::Rank));
            // Cross entropy prunes nothing and knows no transition matrix.
            let has_none = matches!(diagnostic, Diagnostic::Pruning | Diagnostic::Transition);
            assert_eq!(found.is_empty(), has_none, "{diagnostic:?}");
        }
        let (found, _) = measured(&all(), &*cce, 7);
        assert!(found.values().all(|value| value.is_finite()), "{found:?}");
    }

    #[test]
    fn who_predicts_true_classes_shows_it_in_every_diagnostic() {
        let (found, _) = measured(&all(), &*criterion(&cce()), 7);
        assert_eq!(found[&Metric::HybridAccuracy], 1.0);
        assert_eq!((found[&Metric::ClassAccuracyWorst], found[&Metric::ClassAccuracySpread]), (1.0, 0.0));
        assert_eq!(found[&Metric::SoftmaxAuroc], 1.0, "the given label is likelier where it is right");
        assert!(found[&Metric::GradientNoisyRatio] > 1.0, "cross entropy follows what it does not believe");
        assert!(found[&Metric::TrueClassPull] < 0.0, "and pushes the true class away");
        assert_eq!(found[&Metric::TrueClassPullShare], 0.0);
        assert!(found[&Metric::DependenceTrain].abs() < 1e-12, "{found:?}");
        assert!(found.contains_key(&Metric::DependenceValidation));
    }

    #[test]
    fn a_samples_gradient_does_not_depend_on_the_size_of_its_batch_where_the_loss_is_a_mean() {
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
        // ‖p − e_y‖₁ = 2(1 − p_y), of all samples alike but for a few hundredths in the logits.
        let clean = measured(&[Diagnostic::Softmax], &*cce, 7).0[&Metric::SoftmaxClean];
        assert!((small[&Metric::GradientClean] - 2.0 * (1.0 - clean)).abs() < 1e-5);
    }

    #[test]
    fn pruned_samples_are_those_of_the_training_part() {
        let loss = Loss::TruncatedGce(TruncatedGce { q: 0.7, k: 0.5, start: 1, every: 1 });
        let mut truncated = criterion(&loss);
        let small = small();
        let p: Vec<f32> = (0..50).map(|i| if small.given[i] == small.truth[i] || i == 3 { 0.9 } else { 0.1 }).collect();
        truncated.review(&small.samples, &p);
        let (found, _) = measured(&[Diagnostic::Pruning], &*truncated, 7);
        // Of ten mislabelled samples nine are pruned.
        assert_eq!((found[&Metric::PruningPrecision], found[&Metric::PruningRecall]), (1.0, 0.9));
        assert_eq!(found[&Metric::PruningKept], 0.7);
    }

    #[test]
    fn lengths_that_disagree_are_a_failure_and_no_panic() {
        let (job, cce) = (job(1, |c| c.diagnostics = all()), criterion(&cce()));
        let nothing = Seen { samples: &[], logits: &[], given: &[], truth: &[] };
        let realised = TransitionMatrix::identity(CLASSES);
        let part = Seen { samples: &[0], logits: &[0.0; 9], given: &[0], truth: &[0] };
        let of = |train| Observed {
            job: &job,
            epoch: 1,
            criterion: &*cce,
            realised: &realised,
            train,
            validation: nothing,
            test: nothing,
        };
        assert!(measure(&of(part), &mut || Ok(None)).unwrap_err().message.contains("found 9 logits"));
        assert_eq!(measure(&of(nothing), &mut || Ok(None)), Ok(Measurements::new()), "without samples nothing exists");
    }
}
