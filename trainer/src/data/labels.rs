//! The labels that a job trains on: applies noise, and divides the samples into training and validation samples.

use super::directories::DataDirectories;
use super::error::read_failure;
use super::label_file;
use super::sample_set::SampleSet;
use super::split::split;
use plusminus_core::job::Job;
use plusminus_core::methods::noise::{NO_CLASS, Noise, TransitionMatrix, replacements};
use plusminus_core::outcome::Failure;
use plusminus_core::random::Stream;

/// The labels and the split of the samples that a job takes from the training file.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Labels {
    /// The given labels, in file order: of the samples that the job takes; under open-set noise of all images, with [`NO_CLASS`] for
    /// unused ones.
    pub given: Vec<u32>,
    /// The positions of the training samples in the file, ascending.
    pub train: Vec<usize>,
    /// The positions of the held-out samples in the file, ascending.
    pub validation: Vec<usize>,
    /// The realised transition matrix: the given labels by true label, over images with a class.
    pub transition: TransitionMatrix,
    /// The share of wrong labels. The label of an image without a class counts as wrong.
    pub noise_rate: f64,
    /// Whether the given labels come from a file.
    from_file: bool,
}

impl Labels {
    /// Takes the first samples, corrupts their labels in file order, then divides them. Noise and split have separate random streams, so
    /// the noise does not depend on the split. A label file is looked for in `directories`.
    ///
    /// # Errors
    /// `UserError` if the configuration does not fit the data set, or the label file is missing or wrong; `Infrastructure` if the system
    /// cannot read the label file.
    pub fn of(job: &Job, images: &SampleSet, directories: &DataDirectories) -> Result<Self, Failure> {
        let refused = |why: String| read_failure(why, false);
        let configuration = &job.configuration;
        let (streams, dataset) = (job.streams(), &configuration.dataset);
        let all = images.with_class();
        if let Some(size) = configuration.train_size.filter(|size| !(1..=all).contains(size)) {
            return Err(refused(format!(
                "`train_size` is {size}, expected 1 to {all}, the number of training samples of `{}`",
                dataset.name()
            )));
        }
        let taken = configuration.taken(all);
        let labels = &images.labels[..taken];
        // The image that each sample shows.
        let mut image_of: Vec<usize> = (0..taken).collect();
        let mut generator = streams.generator(Stream::Noise, 0);
        let given = match &configuration.noise {
            Noise::File { file } => {
                configuration.noise.fits(dataset).map_err(|misfit| refused(misfit.to_string()))?;
                let mut given = label_file::read(directories, dataset, file, all)?;
                given.truncate(taken);
                given
            }
            Noise::OpenSet { rate, draw } => {
                let replaced = replacements(taken, images.foreign, dataset.classes(), (*rate, *draw), &mut generator)
                    .map_err(|why| refused(format!("open-set noise on `{}`: {why}", dataset.name())))?;
                let mut given = labels.to_vec();
                given.resize(images.len(), NO_CLASS);
                for replacement in replaced {
                    let image = all + replacement.image;
                    given[replacement.sample] = NO_CLASS;
                    given[image] = replacement.given;
                    image_of[replacement.sample] = image;
                }
                given
            }
            noise => noise.true_transition(dataset).map_err(refused)?.corrupt(labels, noise.draw(), &mut generator),
        };
        let (mut train, mut validation) = split(job, taken).map_err(refused)?;
        for part in [&mut train, &mut validation] {
            part.iter_mut().for_each(|sample| *sample = image_of[*sample]);
            part.sort_unstable();
        }
        let (truth, noisy): (Vec<u32>, Vec<u32>) =
            image_of.iter().map(|image| (images.labels[*image], given[*image])).unzip();
        let wrong = truth.iter().zip(&noisy).filter(|(label, given)| label != given).count();
        Ok(Labels {
            transition: TransitionMatrix::realised(dataset.classes(), &truth, &noisy),
            noise_rate: wrong as f64 / taken as f64,
            given,
            train,
            validation,
            from_file: matches!(configuration.noise, Noise::File { .. }),
        })
    }

    /// The digest by which results are compared: that of the data set, combined with the given labels if they come from a file. The
    /// configuration names the file, which does not determine its content.
    pub fn digest(&self, data: &str) -> String {
        if !self.from_file {
            return data.to_owned();
        }
        let mut hasher = blake3::Hasher::new();
        hasher.update(data.as_bytes());
        self.given.iter().for_each(|label| _ = hasher.update(&label.to_le_bytes()));
        hasher.finalize().to_hex().to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{LoadedDataset, shuffle};
    use crate::train::tests::job;
    use plusminus_core::job::Configuration;
    use plusminus_core::methods::dataset::ImageShape;
    use plusminus_core::methods::losses::{Gce, Loss};
    use plusminus_core::methods::noise::Draw;

    fn images() -> SampleSet {
        let labels = (0..1_000).map(|i| i % 10).collect();
        SampleSet::new(ImageShape { channels: 1, height: 1, width: 1 }, vec![0; 1_000], labels)
    }

    /// With 700 more images of no class.
    fn with_pool() -> SampleSet {
        let SampleSet { shape, mut labels, .. } = images();
        labels.resize(1_700, NO_CLASS);
        SampleSet { foreign: 700, ..SampleSet::new(shape, vec![0; 1_700], labels) }
    }

    fn labels_of(images: &SampleSet, seed: u64, change: impl FnOnce(&mut Configuration)) -> Result<Labels, String> {
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
    fn a_split_uses_every_sample_once() {
        let labels = noisy(1, |c| c.validation = 0.25);
        assert_eq!((labels.train.len(), labels.validation.len()), (750, 250));
        let mut all = [labels.train, labels.validation].concat();
        all.sort_unstable();
        assert_eq!(all, (0..1_000).collect::<Vec<_>>());
    }

    #[test]
    fn noise_depends_on_its_seed_but_not_on_loss_or_split() {
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
        assert_ne!(a.train, b.train, "the split follows the seed of the job");
    }

    #[test]
    fn the_noise_rate_is_the_share_of_wrong_labels() {
        let labels = noisy(1, |_| {});
        let wrong = images().labels.iter().zip(&labels.given).filter(|(a, b)| a != b).count();
        assert_eq!(labels.noise_rate, wrong as f64 / 1_000.0);
        assert!((labels.noise_rate - 0.4).abs() < 0.08);
        assert!((labels.transition.row(3)[3] - 0.6).abs() < 0.25);
    }

    #[test]
    fn a_train_size_takes_the_first_samples() {
        let labels = noisy(1, |c| (c.train_size, c.validation) = (Some(40), 0.25));
        assert_eq!((labels.given.len(), labels.train.len(), labels.validation.len()), (40, 30, 10));
        let mut all = [labels.train, labels.validation].concat();
        all.sort_unstable();
        assert_eq!(all, (0..40).collect::<Vec<_>>());
        let wrong = images().labels.iter().zip(&labels.given).filter(|(a, b)| a != b).count();
        assert_eq!(labels.noise_rate, wrong as f64 / 40.0);
        // Labels are corrupted in file order, so the first ones equal those of the whole file.
        assert_eq!(labels.given, noisy(1, |_| {}).given[..40]);
    }

    #[test]
    fn a_train_size_beyond_the_data_set_is_an_error() {
        for size in [0, 1_001] {
            let refusal = labels_of(&images(), 0, |c| c.train_size = Some(size)).unwrap_err();
            assert!(refusal.contains("expected 1 to 1000"), "{refusal}");
        }
    }

    #[test]
    fn a_validation_share_without_training_samples_is_an_error() {
        let refusal = labels_of(&images(), 0, |c| c.validation = 0.9999).unwrap_err();
        assert!(refusal.contains("leaves none to train on"), "{refusal}");
    }

    const OPEN: Noise = Noise::OpenSet { rate: 0.4, draw: Draw::Exact };

    #[test]
    fn open_set_noise_replaces_images_by_images_of_no_class() {
        let images = with_pool();
        let labels = labels_of(&images, 1, |c| (c.noise, c.validation) = (OPEN, 0.25)).unwrap();
        assert_eq!((labels.train.len(), labels.validation.len(), labels.given.len()), (750, 250, 1_700));
        let mut used = [&labels.train[..], &labels.validation].concat();
        used.sort_unstable();
        used.dedup();
        assert_eq!(used.len(), 1_000, "no image is used twice");
        assert_eq!(used.iter().filter(|image| **image >= 1_000).count(), 400);
        assert!(labels.validation.iter().any(|image| *image >= 1_000), "validation samples are noisy");
        for (image, given) in labels.given.iter().enumerate() {
            assert_eq!(*given != NO_CLASS, used.contains(&image));
            assert!(
                image >= 1_000 || *given == NO_CLASS || *given == images.labels[image],
                "other labels are unchanged"
            );
        }
        assert_eq!(labels.noise_rate, 0.4);
        assert_eq!(labels.transition, TransitionMatrix::identity(10));
    }

    #[test]
    fn other_noise_does_not_use_images_of_no_class() {
        for noise in [Noise::None, Noise::uniform(0.4)] {
            let change = |c: &mut Configuration| (c.noise, c.validation) = (noise.clone(), 0.25);
            assert_eq!(labels_of(&with_pool(), 1, change).unwrap(), labels_of(&images(), 1, change).unwrap());
        }
        let refusal = labels_of(&with_pool(), 1, |c| c.train_size = Some(1_001)).unwrap_err();
        assert!(refusal.contains("expected 1 to 1000"), "{refusal}");
    }

    #[test]
    fn a_split_does_not_depend_on_open_set_noise() {
        let split = |rate| {
            labels_of(&with_pool(), 1, |c| {
                (c.noise, c.validation) = (Noise::OpenSet { rate, draw: Draw::Exact }, 0.25);
            })
        };
        let (none, some) = (split(0.0).unwrap(), split(0.4).unwrap());
        assert!(some.train.iter().all(|image| *image >= 1_000 || none.train.contains(image)));
    }

    #[test]
    fn open_set_noise_needs_images_of_no_class() {
        let refusal = labels_of(&images(), 1, |c| c.noise = OPEN).unwrap_err();
        assert!(
            refusal.starts_with("open-set noise on `fashion-mnist-10k`: expected a pool of at least 400 images"),
            "{refusal}"
        );
    }

    #[test]
    fn labels_from_a_file_are_unchanged_and_part_of_the_digest() {
        let directory = tempfile::tempdir().unwrap();
        let data_directories = DataDirectories { directories: vec![directory.path().to_owned()] };
        let labels = |shift: u32, take: usize| {
            let text: String = images().labels.iter().map(|label| format!("{}\n", (label + shift) % 10)).collect();
            std::fs::write(directory.path().join("human.txt"), text).unwrap();
            let noise = Noise::File { file: "human.txt".to_owned() };
            Labels::of(&job(1, |c| (c.noise, c.train_size) = (noise, Some(take))), &images(), &data_directories)
                .unwrap()
        };
        let (right, wrong) = (labels(0, 1_000), labels(1, 1_000));
        assert_eq!((right.noise_rate, wrong.noise_rate), (0.0, 1.0));
        assert_eq!(wrong.transition.row(9)[0], 1.0);
        assert_eq!(labels(1, 40).given, wrong.given[..40]);
        let data = LoadedDataset::new(images(), images());
        assert_ne!(right.digest(&data.digest), wrong.digest(&data.digest));
        assert_ne!(right.digest(&data.digest), data.digest);
        assert_eq!(noisy(1, |_| {}).digest(&data.digest), data.digest);
        let outside = Noise::File { file: "../human.txt".to_owned() };
        let refusal = Labels::of(&job(1, |c| c.noise = outside), &images(), &data_directories).unwrap_err();
        assert!(refusal.message.contains("leads out of the directory"), "{refusal}");
    }

    #[test]
    fn exact_noise_is_exact_over_the_samples_that_a_job_takes() {
        let exact = Noise::Uniform { rate: 0.45, include_true_class: false, draw: Draw::Exact };
        let labels = noisy(1, |c| (c.noise, c.validation) = (exact.clone(), 0.3));
        assert_eq!(labels.noise_rate, 0.45);
        let first = noisy(1, |c| (c.noise, c.train_size) = (exact, Some(200)));
        assert_eq!(first.noise_rate, 0.45);
    }

    /// If this fails, every result changes, and the changelog must say so.
    #[test]
    fn the_random_choices_of_a_seed_do_not_change() {
        let labels = noisy(1, |c| c.validation = 0.25);
        let mut items: Vec<usize> = (0..10).collect();
        shuffle(&mut items, &mut job(1, |_| {}).streams().generator(Stream::Order, 1));
        assert_eq!(labels.given[..12], [2, 9, 2, 8, 8, 5, 1, 7, 4, 9, 0, 1]);
        assert_eq!(labels.validation[..6], [3, 17, 19, 25, 28, 33]);
        assert_eq!(items, [0, 8, 7, 4, 1, 5, 9, 2, 6, 3]);
    }
}
