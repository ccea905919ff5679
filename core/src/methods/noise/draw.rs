//! Draws labels from a transition matrix: per sample, or so that every class has its exact share of each label.
//!
//! Both use one uniform number per sample, in the order of the labels, whatever the matrix. A sample is corrupted if its number is
//! low: below the noise rate, or among the lowest of its class. So two rates under one seed corrupt nested sets of samples.

use super::TransitionMatrix;
use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};
use std::cmp::Reverse;

/// Whether a noise rate is a probability or a share.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Draw {
    /// Each label is drawn independently; the realised rate varies.
    #[default]
    PerSample,
    /// Each true class has exactly its share of each label, to the nearest whole sample; random samples are chosen.
    Exact,
}

impl Draw {
    /// The names in sweep files.
    pub const CHOICES: &'static [(&'static str, Draw)] = &[("per-sample", Draw::PerSample), ("exact", Draw::Exact)];

    /// Whether this is the default.
    pub(super) fn is_default(&self) -> bool {
        *self == Draw::default()
    }
}

/// Tolerance for rounding errors in sums of shares.
const SLACK: f64 = 1e-9;

impl TransitionMatrix {
    /// The given labels for the true `labels`. A label outside the classes, such as [`super::NO_CLASS`], is unchanged.
    pub fn corrupt(&self, labels: &[u32], draw: Draw, generator: &mut impl Rng) -> Vec<u32> {
        let draws: Vec<f64> = labels.iter().map(|_| generator.random()).collect();
        match draw {
            Draw::PerSample => labels.iter().zip(draws).map(|(label, draw)| self.drawn(*label, draw)).collect(),
            Draw::Exact => self.exact(labels, &draws),
        }
    }

    /// The given label for `label`. The true class comes last, so that draws below the noise rate corrupt.
    fn drawn(&self, label: u32, draw: f64) -> u32 {
        let mut left = draw;
        for (class, p) in self.wrong(label) {
            if left < p {
                return class;
            }
            left -= p;
        }
        label
    }

    fn exact(&self, labels: &[u32], draws: &[f64]) -> Vec<u32> {
        let mut given = labels.to_vec();
        let mut samples: Vec<Vec<usize>> = vec![Vec::new(); self.classes()];
        for (sample, label) in labels.iter().enumerate() {
            if let Some(samples) = samples.get_mut(*label as usize) {
                samples.push(sample);
            }
        }
        for (label, samples) in samples.iter_mut().enumerate() {
            samples.sort_by(|a, b| draws[*a].total_cmp(&draws[*b]).then(a.cmp(b)));
            let counts = self.counts(label as u32, samples.len());
            let wrong = counts.iter().flat_map(|(class, count)| std::iter::repeat_n(*class, *count));
            samples.iter().zip(wrong).for_each(|(sample, class)| given[*sample] = class);
        }
        given
    }

    /// How many of the `samples` of a class get each wrong label. First the total is rounded, so that it grows with the rate;
    /// then it is divided by largest remainders (Hamilton's method), with ties in the order of classes after the true one.
    fn counts(&self, label: u32, samples: usize) -> Vec<(u32, usize)> {
        let share: f64 = self.wrong(label).map(|(_, p)| p).sum();
        // Half a sample rounds up, even if rounding errors make the sum of shares slightly too small.
        let wrong = ((share * samples as f64 + SLACK).round() as usize).min(samples);
        let quota = |p: f64| if share > 0.0 { p / share * wrong as f64 } else { 0.0 };
        let mut counts: Vec<(u32, usize)> =
            self.wrong(label).map(|(class, p)| (class, (quota(p) + SLACK).floor() as usize)).collect();
        let left = wrong.saturating_sub(counts.iter().map(|(_, count)| count).sum());
        // In steps of the tolerance, so that remainders that differ only by rounding errors are equal.
        let remainder = |(_, p): (u32, f64), count: usize| ((quota(p) - count as f64) / SLACK).round() as i64;
        let after = |class: u32| (class as usize + self.classes() - label as usize) % self.classes();
        let mut order: Vec<(Reverse<i64>, usize, usize)> = self
            .wrong(label)
            .enumerate()
            .map(|(i, wrong)| (Reverse(remainder(wrong, counts[i].1)), after(wrong.0), i))
            .collect();
        order.sort_unstable();
        order.iter().take(left).for_each(|(_, _, i)| counts[*i].1 += 1);
        counts
    }

    /// The wrong labels of the class `label` with a positive probability, in the order of classes.
    fn wrong(&self, label: u32) -> impl Iterator<Item = (u32, f64)> + '_ {
        let row = if (label as usize) < self.classes() { self.row(label as usize) } else { &[] };
        let classes = row.iter().enumerate().map(|(class, p)| (class as u32, *p));
        classes.filter(move |(class, p)| *class != label && *p > 0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{NO_CLASS, Noise};
    use super::*;
    use crate::methods::dataset::Dataset;
    use crate::random::{Stream, Streams};
    use rand_chacha::ChaCha8Rng;

    fn generator() -> ChaCha8Rng {
        Streams::new(3, 3).generator(Stream::Noise, 0)
    }

    fn uniform(rate: f64) -> TransitionMatrix {
        Noise::uniform(rate).true_transition(&Dataset::FashionMnist).unwrap()
    }

    fn labels(samples: u32) -> Vec<u32> {
        (0..samples).map(|i| i % 10).collect()
    }

    fn wrong(labels: &[u32], given: &[u32]) -> usize {
        labels.iter().zip(given).filter(|(a, b)| a != b).count()
    }

    fn is_nested(labels: &[u32], low: &[u32], high: &[u32]) -> bool {
        labels.iter().zip(low.iter().zip(high)).all(|(label, (low, high))| low == label || high != label)
    }

    #[test]
    fn a_drawn_rate_is_near_the_rate_and_a_lower_one_corrupts_a_subset() {
        let labels = labels(20_000);
        let [low, high] = [0.2, 0.6].map(|rate| uniform(rate).corrupt(&labels, Draw::PerSample, &mut generator()));
        let rate = |given: &[u32]| wrong(&labels, given) as f64 / 20_000.0;
        assert!((rate(&low) - 0.2).abs() < 0.01 && (rate(&high) - 0.6).abs() < 0.01);
        assert_ne!(rate(&low), 0.2, "the rate is random");
        assert!(is_nested(&labels, &low, &high));
        let realised = TransitionMatrix::realised(10, &labels, &high);
        assert!((realised.row(4)[4] - 0.4).abs() < 0.04);
    }

    #[test]
    fn exact_noise_has_exact_shares_and_a_lower_rate_corrupts_a_subset() {
        let labels = labels(20_000);
        let given = [0.0, 0.1, 0.2, 0.45, 0.6, 1.0].map(|rate| {
            let given = uniform(rate).corrupt(&labels, Draw::Exact, &mut generator());
            let realised = TransitionMatrix::realised(10, &labels, &given);
            for class in 0..10 {
                assert!((realised.row(class)[class] - (1.0 - rate)).abs() < 1e-12, "{rate} {:?}", realised.row(class));
                let others = realised.row(class).iter().enumerate().filter(|(other, _)| *other != class);
                // 2,000 samples a class: within one sample of a ninth.
                others.for_each(|(_, share)| assert!((share - rate / 9.0).abs() < 1.0 / 2_000.0));
            }
            given
        });
        for pair in given.windows(2) {
            assert!(is_nested(&labels, &pair[0], &pair[1]));
        }
    }

    #[test]
    fn exact_noise_corrupts_other_samples_under_another_seed() {
        let labels = labels(1_000);
        let other = uniform(0.5).corrupt(&labels, Draw::Exact, &mut Streams::new(4, 4).generator(Stream::Noise, 0));
        assert_ne!(uniform(0.5).corrupt(&labels, Draw::Exact, &mut generator()), other);
    }

    #[test]
    fn largest_remainders_get_the_samples_left_by_rounding() {
        // 0.4 of 10 samples are 4; 0.3 and 0.1 of 10 are whole numbers.
        let even =
            TransitionMatrix::from_rows(3, [[0.6, 0.3, 0.1], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]].concat()).unwrap();
        assert_eq!(even.counts(0, 10), [(1, 3), (2, 1)]);
        // 2 of 5 samples: 1.5 and 0.5 leave one, and the remainders are equal, so the class after the true one gets it.
        assert_eq!(even.counts(0, 5), [(1, 2), (2, 0)]);
        assert_eq!(even.counts(0, 0), [(1, 0), (2, 0)]);
        assert_eq!(even.counts(1, 10), []);
        // 2 of 3 wrong classes; after class 8 come 9 and 0.
        let counts = uniform(0.2).counts(8, 10);
        assert_eq!(counts.iter().filter(|(_, count)| *count > 0).collect::<Vec<_>>(), [&(0, 1), &(9, 1)]);
    }

    #[test]
    fn half_a_sample_rounds_up_whatever_the_rounding_errors() {
        for rate in [0.05, 0.15, 0.25, 0.35, 0.45, 0.55, 0.65, 0.75, 0.85, 0.95] {
            let all: usize = uniform(rate).counts(0, 10).iter().map(|(_, count)| count).sum();
            assert_eq!(all, (rate * 10.0 + 0.5) as usize, "{rate}");
        }
    }

    #[test]
    fn a_label_without_a_class_is_unchanged() {
        for draw in [Draw::PerSample, Draw::Exact] {
            let given = uniform(1.0).corrupt(&[3, NO_CLASS, 10], draw, &mut generator());
            assert_ne!(given[0], 3);
            assert_eq!(given[1..], [NO_CLASS, 10]);
        }
    }
}
