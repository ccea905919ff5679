//! The labels a job trains on: which samples are held out, and what noise makes of every label.

use super::Images;
use plusminus_core::job::Job;
use plusminus_core::methods::noise::TransitionMatrix;
use plusminus_core::random::Stream;
use rand::{Rng, RngExt};

/// A job's view of the training file, or of as much of it as the job takes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Labels {
    /// The given labels, in file order.
    pub given: Vec<u32>,
    /// The samples that are trained on, in file order.
    pub train: Vec<usize>,
    /// The samples that are held out, in file order.
    pub validation: Vec<usize>,
    /// What became of the labels.
    pub transition: TransitionMatrix,
    /// Share of the labels that are wrong.
    pub noise_rate: f64,
}

impl Labels {
    /// Takes as many samples as the job asks for, corrupts their labels in file order, then splits them. The two choices have streams of their own, so
    /// that a job's noise does not depend on its split.
    ///
    /// # Errors
    /// What the configuration asks for that the data set cannot give.
    pub fn of(job: &Job, images: &Images) -> Result<Self, String> {
        let configuration = &job.configuration;
        let (streams, dataset) = (job.streams(), &configuration.dataset);
        let matrix = configuration.noise.transition(dataset).ok_or_else(|| {
            format!(
                "{} has no list of classes that are mistaken for each other, which class-dependent noise needs: use another noise",
                dataset.name()
            )
        })?;
        // Images of no class have no labels to be corrupted, and are in neither part.
        let all = images.of_classes();
        if let Some(size) = configuration.train_size.filter(|size| !(1..=all).contains(size)) {
            return Err(format!(
                "train_size is {size}, expected 1 to {all}, the training samples of {}",
                dataset.name()
            ));
        }
        let labels = &images.labels[..configuration.taken(all)];
        let given = matrix.corrupt(labels, &mut streams.generator(Stream::Noise, 0));
        let held_out = configuration.held_out(labels.len());
        if held_out >= labels.len() {
            return Err(format!(
                "validation {} holds out {held_out} of {} training samples, which leaves none: lower it",
                configuration.validation,
                labels.len()
            ));
        }
        let mut train: Vec<usize> = (0..labels.len()).collect();
        shuffle(&mut train, &mut streams.generator(Stream::Split, 0));
        let mut validation = train.split_off(labels.len() - held_out);
        train.sort_unstable();
        validation.sort_unstable();
        let wrong = labels.iter().zip(&given).filter(|(label, given)| label != given).count();
        Ok(Labels {
            transition: TransitionMatrix::realised(dataset.classes(), labels, &given),
            noise_rate: wrong as f64 / labels.len() as f64,
            given,
            train,
            validation,
        })
    }
}

/// Every order as likely: Fisher & Yates's shuffle in Durstenfeld's form. It stands here so that a library's change of mind
/// about shuffling moves nothing; how a number below a bound is drawn is still `rand`'s, and a test notices a change.
pub(crate) fn shuffle(items: &mut [usize], generator: &mut impl Rng) {
    for i in (1..items.len()).rev() {
        items.swap(i, generator.random_range(0..=i));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::ImageShape;
    use crate::train::tests::job;
    use plusminus_core::job::Configuration;
    use plusminus_core::methods::losses::{Gce, Loss};
    use plusminus_core::methods::noise::Noise;

    fn images() -> Images {
        let labels = (0..1_000).map(|i| i % 10).collect();
        Images::of_bytes(ImageShape { channels: 1, height: 1, width: 1 }, vec![0; 1_000], labels)
    }

    fn noisy(seed: u64, change: impl FnOnce(&mut Configuration)) -> Labels {
        let job = job(seed, |c| {
            c.noise = Noise::Uniform { rate: 0.4, include_true_class: false };
            change(c);
        });
        Labels::of(&job, &images()).unwrap()
    }

    #[test]
    fn a_split_takes_every_sample_once_and_as_many_as_asked() {
        let labels = noisy(1, |c| c.validation = 0.25);
        assert_eq!((labels.train.len(), labels.validation.len()), (750, 250));
        let mut all = [labels.train, labels.validation].concat();
        all.sort_unstable();
        assert_eq!(all, (0..1_000).collect::<Vec<_>>());
    }

    #[test]
    fn noise_depends_on_its_seed_and_on_neither_loss_nor_split() {
        let first = noisy(1, |_| {});
        assert_eq!(first.given, noisy(1, |c| c.loss = Loss::Gce(Gce { q: 0.7 })).given);
        assert_eq!(first.given, noisy(1, |c| c.validation = 0.5).given);
        assert_ne!(first.given, noisy(2, |_| {}).given);
        assert_ne!(first.given, noisy(1, |c| c.noise_seed = Some(9)).given);
        let shared = |seed| {
            noisy(seed, |c| {
                c.noise_seed = Some(9);
                c.validation = 0.5;
            })
        };
        let (a, b) = (shared(1), shared(2));
        assert_eq!(a.given, b.given);
        assert_ne!(a.train, b.train, "the split still follows the seed");
    }

    #[test]
    fn the_realised_rate_is_counted() {
        let labels = noisy(1, |_| {});
        let wrong = images().labels.iter().zip(&labels.given).filter(|(a, b)| a != b).count();
        assert_eq!(labels.noise_rate, wrong as f64 / 1_000.0);
        assert!((labels.noise_rate - 0.4).abs() < 0.08);
        assert!((labels.transition.row(3)[3] - 0.6).abs() < 0.25);
    }

    #[test]
    fn only_the_first_samples_are_taken_where_a_size_is_given() {
        let labels = noisy(1, |c| (c.train_size, c.validation) = (Some(40), 0.25));
        assert_eq!((labels.given.len(), labels.train.len(), labels.validation.len()), (40, 30, 10));
        let mut all = [labels.train, labels.validation].concat();
        all.sort_unstable();
        assert_eq!(all, (0..40).collect::<Vec<_>>());
        let wrong = images().labels.iter().zip(&labels.given).filter(|(a, b)| a != b).count();
        assert_eq!(labels.noise_rate, wrong as f64 / 40.0);
        // Labels are corrupted in file order: the first are as they are in the whole file.
        assert_eq!(labels.given, noisy(1, |_| {}).given[..40]);
    }

    #[test]
    fn a_size_that_the_data_set_does_not_have_is_refused() {
        for size in [0, 1_001] {
            let refusal = Labels::of(&job(0, |c| c.train_size = Some(size)), &images()).unwrap_err();
            assert!(refusal.contains("expected 1 to 1000"), "{refusal}");
        }
    }

    #[test]
    fn a_validation_part_that_leaves_nothing_is_refused() {
        let job = job(0, |c| c.validation = 0.9999);
        let refusal = Labels::of(&job, &images()).unwrap_err();
        assert!(refusal.contains("leaves none"), "{refusal}");
    }

    /// Should this fail, every result changes with it: a new version has to say so.
    #[test]
    fn the_choices_of_a_seed_stay_what_they_were() {
        let labels = noisy(1, |c| c.validation = 0.25);
        let mut items: Vec<usize> = (0..10).collect();
        shuffle(&mut items, &mut job(1, |_| {}).streams().generator(Stream::Order, 1));
        assert_eq!(labels.given[..12], [2, 9, 2, 8, 8, 5, 1, 7, 4, 9, 0, 1]);
        assert_eq!(labels.validation[..6], [3, 17, 19, 25, 28, 33]);
        assert_eq!(items, [0, 8, 7, 4, 1, 5, 9, 2, 6, 3]);
    }

    #[test]
    fn a_shuffle_keeps_every_item_and_moves_them() {
        let mut items: Vec<usize> = (0..100).collect();
        let job = job(3, |_| {});
        shuffle(&mut items, &mut job.streams().generator(Stream::Order, 1));
        assert_ne!(items, (0..100).collect::<Vec<_>>());
        items.sort_unstable();
        assert_eq!(items, (0..100).collect::<Vec<_>>());
    }
}
