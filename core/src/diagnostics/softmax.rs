//! Softmax of the given label on clean and mislabelled samples (Zhang & Sabuncu 2018, Fig. 1c and 2c).

use super::{LabelledPredictions, auroc, defined, mean};
use crate::metric::{Measurements, Metric};

/// The mean softmax of the given label over clean and over mislabelled samples, and its area under the receiver operating characteristic
/// as a detector of clean samples.
pub fn softmax(predictions: &LabelledPredictions<'_>) -> Measurements {
    let p = predictions.softmax_of_given();
    let clean: Vec<bool> = predictions.labels().map(|(given, truth)| given == truth).collect();
    let mean_of = |kind| mean(p.iter().zip(&clean).filter(|(_, clean)| **clean == kind).map(|(p, _)| *p));
    defined([
        (Metric::SoftmaxClean, mean_of(true)),
        (Metric::SoftmaxNoisy, mean_of(false)),
        (Metric::SoftmaxAuroc, auroc(&p, &clean)),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::methods::noise::NO_CLASS;

    #[test]
    fn clean_and_mislabelled_samples_are_separated() {
        // With a first logit of ln 3, class 0 has p = 3/4.
        let three = 3f32.ln();
        let logits = [three, 0.0, three, 0.0, 0.0, 0.0, three, 0.0];
        // Clean: .75 and .25; mislabelled: .5, and .25 for a sample of no class.
        let predictions = LabelledPredictions::new(2, &logits, &[0, 1, 1, 1], &[0, 1, 0, NO_CLASS]).unwrap();
        let found = softmax(&predictions);
        let near = |metric, value: f64| (found[&metric] - value).abs() < 1e-7;
        assert!(near(Metric::SoftmaxClean, 0.5) && near(Metric::SoftmaxNoisy, 0.375), "{found:?}");
        // Four pairs: .75 wins two, .25 loses one and ties one.
        assert!(near(Metric::SoftmaxAuroc, 0.625), "{found:?}");
    }

    #[test]
    fn without_mislabelled_samples_only_the_clean_mean_exists() {
        let found = softmax(&LabelledPredictions::new(2, &[0.0; 2], &[0], &[0]).unwrap());
        assert_eq!(found, Measurements::from([(Metric::SoftmaxClean, 0.5)]));
        assert_eq!(softmax(&LabelledPredictions::new(2, &[], &[], &[]).unwrap()), Measurements::new());
    }
}
