//! The given label's softmax, on clean and on mislabelled samples (Zhang & Sabuncu 2018, Fig. 1c and 2c).

use super::{View, auroc, mean, measured};
use crate::metric::{Measurements, Metric};

/// The mean softmax of the given label over the samples that are labelled correctly and over those that are not, and how well
/// it tells one from the other.
pub fn softmax(view: &View<'_>) -> Measurements {
    let p = view.softmax_of_given();
    let clean: Vec<bool> = view.labels().map(|(given, truth)| given == truth).collect();
    let mean_of = |kind| mean(p.iter().zip(&clean).filter(|(_, clean)| **clean == kind).map(|(p, _)| *p));
    measured([
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
    fn clean_and_mislabelled_samples_are_told_apart() {
        // p of class 0 is 3/4 where the first logit is ln 3.
        let three = 3f32.ln();
        let logits = [three, 0.0, three, 0.0, 0.0, 0.0, three, 0.0];
        // Clean .75 and .25, mislabelled .5, and a foreign image at .25.
        let view = View::new(2, &logits, &[0, 1, 1, 1], &[0, 1, 0, NO_CLASS]).unwrap();
        let found = softmax(&view);
        let near = |metric, value: f64| (found[&metric] - value).abs() < 1e-7;
        assert!(near(Metric::SoftmaxClean, 0.5) && near(Metric::SoftmaxNoisy, 0.375), "{found:?}");
        // Of four pairs .75 wins two, and .25 loses one and ties one.
        assert!(near(Metric::SoftmaxAuroc, 0.625), "{found:?}");
    }

    #[test]
    fn without_mislabelled_samples_only_the_clean_mean_exists() {
        let found = softmax(&View::new(2, &[0.0; 2], &[0], &[0]).unwrap());
        assert_eq!(found, Measurements::from([(Metric::SoftmaxClean, 0.5)]));
        assert_eq!(softmax(&View::new(2, &[], &[], &[]).unwrap()), Measurements::new());
    }
}
