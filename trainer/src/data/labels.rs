//! The labels a job trains on: which samples are held out, and what noise makes of every label.

use super::split::split;
use super::{DataDirectories, LoadedDataset, SampleSet, label_file, unreadable};
use plusminus_core::job::Job;
use plusminus_core::methods::noise::{NO_CLASS, Noise, TransitionMatrix, replacements};
use plusminus_core::outcome::Failure;
use plusminus_core::random::Stream;
use rand::{Rng, RngExt};

/// A job's view of the training file, or of as much of it as the job takes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Labels {
    /// The given label of each image that the job may use, in file order: of the samples that it takes, or, under open-set noise, of
    /// all images, where those that are not used have [`NO_CLASS`].
    pub given: Vec<u32>,
    /// The images that are trained on, in file order.
    pub train: Vec<usize>,
    /// The images that are held out, in file order.
    pub validation: Vec<usize>,
    /// What became of the labels of images that have a class.
    pub transition: TransitionMatrix,
    /// Share of the labels that are wrong, as those of images without a class are.
    pub noise_rate: f64,
    /// Whether the given labels were read from a file.
    from_file: bool,
}

impl Labels {
    /// Takes as many samples as the job asks for, corrupts their labels in file order, then splits them. The two choices have streams of their own, so
    /// that a job's noise does not depend on its split. A file of labels is looked for in `datasets`.
    ///
    /// # Errors
    /// What the configuration asks for that the data set, or the file of labels, cannot give.
    pub fn of(job: &Job, images: &SampleSet, datasets: &DataDirectories) -> Result<Self, Failure> {
        let refused = |why: String| unreadable(why, false);
        let configuration = &job.configuration;
        let (streams, dataset) = (job.streams(), &configuration.dataset);
        let all = images.samples();
        if let Some(size) = configuration.train_size.filter(|size| !(1..=all).contains(size)) {
            return Err(refused(format!(
                "train_size is {size}, expected 1 to {all}, the training samples of {}",
                dataset.name()
            )));
        }
        let taken = configuration.taken(all);
        let labels = &images.labels[..taken];
        // Which image each sample has.
        let mut place: Vec<usize> = (0..taken).collect();
        let mut generator = streams.generator(Stream::Noise, 0);
        let given = match &configuration.noise {
            Noise::File { file } => {
                configuration.noise.fits(dataset).map_err(|misfit| refused(misfit.to_string()))?;
                let mut given = label_file::read(datasets, dataset, file, all)?;
                given.truncate(taken);
                given
            }
            Noise::OpenSet { rate, draw } => {
                let replaced = replacements(taken, images.foreign, dataset.classes(), (*rate, *draw), &mut generator)
                    .map_err(|why| refused(format!("open-set noise on {}: {why}", dataset.name())))?;
                let mut given = labels.to_vec();
                given.resize(images.len(), NO_CLASS);
                for replacement in replaced {
                    let image = all + replacement.image;
                    given[replacement.sample] = NO_CLASS;
                    given[image] = replacement.given;
                    place[replacement.sample] = image;
                }
                given
            }
            noise => noise.true_transition(dataset).map_err(refused)?.corrupt(labels, noise.draw(), &mut generator),
        };
        let (mut train, mut validation) = split(job, taken).map_err(refused)?;
        for part in [&mut train, &mut validation] {
            part.iter_mut().for_each(|sample| *sample = place[*sample]);
            part.sort_unstable();
        }
        let (truth, got): (Vec<u32>, Vec<u32>) =
            place.iter().map(|image| (images.labels[*image], given[*image])).unzip();
        let wrong = truth.iter().zip(&got).filter(|(label, given)| label != given).count();
        Ok(Labels {
            transition: TransitionMatrix::realised(dataset.classes(), &truth, &got),
            noise_rate: wrong as f64 / taken as f64,
            given,
            train,
            validation,
            from_file: matches!(configuration.noise, Noise::File { .. }),
        })
    }

    /// What the job's results are to be compared by: the digest of `data`, and of the given labels where they come from a file
    /// too, for its name in the configuration does not say what is in it.
    pub fn digest(&self, data: &LoadedDataset) -> String {
        if !self.from_file {
            return data.digest.clone();
        }
        let mut hasher = blake3::Hasher::new();
        hasher.update(data.digest.as_bytes());
        self.given.iter().for_each(|label| _ = hasher.update(&label.to_le_bytes()));
        hasher.finalize().to_hex().to_string()
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
    use plusminus_core::methods::noise::Draw;

    fn images() -> SampleSet {
        let labels = (0..1_000).map(|i| i % 10).collect();
        SampleSet::new(ImageShape { channels: 1, height: 1, width: 1 }, vec![0; 1_000], labels)
    }

    /// With 700 images that belong to no class.
    fn with_pool() -> SampleSet {
        let SampleSet { shape, mut labels, .. } = images();
        labels.resize(1_700, NO_CLASS);
        SampleSet { foreign: 700, ..SampleSet::new(shape, vec![0; 1_700], labels) }
    }

    fn of(images: &SampleSet, seed: u64, change: impl FnOnce(&mut Configuration)) -> Result<Labels, String> {
        Labels::of(&job(seed, change), images, &DataDirectories::default()).map_err(|failure| failure.message)
    }

    fn noisy(seed: u64, change: impl FnOnce(&mut Configuration)) -> Labels {
        let job = job(seed, |c| {
            c.noise = Noise::uniform(0.4);
            change(c);
        });
        Labels::of(&job, &images(), &DataDirectories::default()).unwrap()
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
            let refusal = of(&images(), 0, |c| c.train_size = Some(size)).unwrap_err();
            assert!(refusal.contains("expected 1 to 1000"), "{refusal}");
        }
    }

    #[test]
    fn a_validation_part_that_leaves_nothing_is_refused() {
        let refusal = of(&images(), 0, |c| c.validation = 0.9999).unwrap_err();
        assert!(refusal.contains("leaves none"), "{refusal}");
    }

    const OPEN: Noise = Noise::OpenSet { rate: 0.4, draw: Draw::Exact };

    #[test]
    fn open_set_noise_puts_images_without_a_class_in_the_place_of_others() {
        let images = with_pool();
        let labels = of(&images, 1, |c| (c.noise, c.validation) = (OPEN, 0.25)).unwrap();
        assert_eq!((labels.train.len(), labels.validation.len(), labels.given.len()), (750, 250, 1_700));
        let mut used = [&labels.train[..], &labels.validation].concat();
        used.sort_unstable();
        used.dedup();
        assert_eq!(used.len(), 1_000, "no image is used twice");
        assert_eq!(used.iter().filter(|image| **image >= 1_000).count(), 400);
        assert!(labels.validation.iter().any(|image| *image >= 1_000), "validation samples have their noise");
        for (image, given) in labels.given.iter().enumerate() {
            assert_eq!(*given != NO_CLASS, used.contains(&image));
            assert!(image >= 1_000 || *given == NO_CLASS || *given == images.labels[image], "others are as they were");
        }
        assert_eq!(labels.noise_rate, 0.4);
        assert_eq!(labels.transition, TransitionMatrix::identity(10));
    }

    #[test]
    fn without_open_set_noise_the_pool_is_not_touched() {
        for noise in [Noise::None, Noise::uniform(0.4)] {
            let change = |c: &mut Configuration| (c.noise, c.validation) = (noise.clone(), 0.25);
            assert_eq!(of(&with_pool(), 1, change).unwrap(), of(&images(), 1, change).unwrap());
        }
        let refusal = of(&with_pool(), 1, |c| c.train_size = Some(1_001)).unwrap_err();
        assert!(refusal.contains("expected 1 to 1000"), "{refusal}");
    }

    #[test]
    fn a_split_does_not_depend_on_what_the_noise_replaces() {
        let split = |rate| {
            of(&with_pool(), 1, |c| {
                (c.noise, c.validation) = (Noise::OpenSet { rate, draw: Draw::Exact }, 0.25);
            })
        };
        let (none, some) = (split(0.0).unwrap(), split(0.4).unwrap());
        assert!(some.train.iter().all(|image| *image >= 1_000 || none.train.contains(image)));
    }

    #[test]
    fn a_data_set_without_a_pool_has_no_open_set_noise() {
        let refusal = of(&images(), 1, |c| c.noise = OPEN).unwrap_err();
        assert!(refusal.starts_with("open-set noise on fashion-mnist-10k: expected at least 400 images"), "{refusal}");
    }

    #[test]
    fn labels_from_a_file_are_given_as_they_stand_and_are_a_part_of_the_digest() {
        let directory = tempfile::tempdir().unwrap();
        let datasets = DataDirectories { directories: vec![directory.path().to_owned()] };
        let labels = |shift: u32, take: usize| {
            let text: String = images().labels.iter().map(|label| format!("{}\n", (label + shift) % 10)).collect();
            std::fs::write(directory.path().join("human.txt"), text).unwrap();
            let noise = Noise::File { file: "human.txt".to_owned() };
            Labels::of(&job(1, |c| (c.noise, c.train_size) = (noise, Some(take))), &images(), &datasets).unwrap()
        };
        let (right, wrong) = (labels(0, 1_000), labels(1, 1_000));
        assert_eq!((right.noise_rate, wrong.noise_rate), (0.0, 1.0));
        assert_eq!(wrong.transition.row(9)[0], 1.0);
        assert_eq!(labels(1, 40).given, wrong.given[..40]);
        let data = LoadedDataset::new(images(), images());
        assert_ne!(right.digest(&data), wrong.digest(&data));
        assert_ne!(right.digest(&data), data.digest);
        assert_eq!(noisy(1, |_| {}).digest(&data), data.digest);
        let outside = Noise::File { file: "../human.txt".to_owned() };
        let refusal = Labels::of(&job(1, |c| c.noise = outside), &images(), &datasets).unwrap_err();
        assert!(refusal.message.contains("leads out of the directory"), "{refusal}");
    }

    #[test]
    fn exact_noise_is_exact_over_all_samples_that_are_taken() {
        let exact = Noise::Uniform { rate: 0.45, include_true_class: false, draw: Draw::Exact };
        let labels = noisy(1, |c| (c.noise, c.validation) = (exact.clone(), 0.3));
        assert_eq!(labels.noise_rate, 0.45);
        let first = noisy(1, |c| (c.noise, c.train_size) = (exact, Some(200)));
        assert_eq!(first.noise_rate, 0.45);
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
