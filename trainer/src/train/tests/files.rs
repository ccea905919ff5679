//! Jobs on images that are decoded when they are used.

use super::*;
use crate::data::{ImageFiles, LoadedDataset, SampleSet, SampleValues};
use plusminus_core::methods::split::Split;
use std::path::Path;

const SET: Dataset = Dataset::Clothing1M { size: 16 };

/// Writes `count` images of one colour each, from `FIRST.png` on. The colour depends on the class.
fn files(root: &Path, first: usize, count: usize) -> SampleSet {
    let labels: Vec<u32> = (first..first + count).map(|i| (i % 2) as u32).collect();
    let file = |i: usize| {
        let name = format!("{i}.png");
        let light = 60 + 120 * (i % 2) as u8 + (i % 7) as u8;
        image::RgbImage::from_pixel(16, 16, image::Rgb([light, 240 - light, 90])).save(root.join(&name)).unwrap();
        let size = root.join(&name).metadata().unwrap().len();
        (name.into_boxed_str(), size)
    };
    let values =
        SampleValues::Files(ImageFiles { root: root.to_owned(), files: (first..first + count).map(file).collect() });
    SampleSet { shape: SET.shape(), values, labels, foreign: 0 }
}

/// The same samples, decoded.
fn decoded(images: &SampleSet) -> SampleSet {
    let samples: Vec<usize> = (0..images.len()).collect();
    let mut pixels = Vec::new();
    images.for_each_image(&samples, |image| pixels.extend_from_slice(image)).unwrap();
    SampleSet::new(images.shape, pixels, images.labels.clone())
}

fn clothes(change: impl FnOnce(&mut Configuration)) -> Job {
    job(1, |c| {
        (c.dataset, c.split, c.batch_size) = (SET, Split::Official, 10);
        (c.augment, c.normalize) = (vec![Augment::Crop(2), Augment::Flip], Normalize::PixelMean);
        change(c);
    })
}

fn train_on(job: &Job, data: LoadedDataset) -> Result<TrainedJob, Failure> {
    let cache = DatasetCache::holding(SET, data);
    train(job, TrainInputs::new(&cache, ExecutionOptions::default()), &mut ())
}

#[test]
fn images_in_files_and_in_memory_give_the_same_results() {
    let directory = tempfile::tempdir().unwrap();
    let parts = [(0, 40), (40, 20), (60, 30)].map(|(first, count)| files(directory.path(), first, count));
    let kept = parts.each_ref().map(decoded);
    let data =
        |[train, validation, test]: [SampleSet; 3]| LoadedDataset::with_validation(train, Some(validation), test);
    let (streamed, kept) =
        (train_on(&clothes(|_| {}), data(parts)).unwrap(), train_on(&clothes(|_| {}), data(kept)).unwrap());
    assert_eq!(streamed.facts.weights, kept.facts.weights);
    assert_eq!(streamed.facts.samples, Samples { train: 40, validation: 20, test: 30 });
    let measured = |trained: &TrainedJob, metric| trained.epochs[0].1[&metric];
    for metric in [Metric::ValidationAccuracy, Metric::ValidationLoss, Metric::TestAccuracy] {
        assert_eq!(measured(&streamed, metric), measured(&kept, metric), "{metric}");
    }
}

#[test]
fn a_data_sets_own_validation_samples_have_no_noise() {
    let directory = tempfile::tempdir().unwrap();
    let parts = [(0, 40), (40, 20), (60, 30)].map(|(first, count)| decoded(&files(directory.path(), first, count)));
    let [train, validation, test] = parts;
    let data = LoadedDataset::with_validation(train, Some(validation.clone()), test);
    let job = clothes(|c| c.noise = Noise::uniform(1.0));
    let cache = DatasetCache::holding(SET, data);
    let run = Run::new(&job, TrainInputs::new(&cache, ExecutionOptions::default())).unwrap();
    assert_eq!((run.facts.noise_rate, run.labels.train.len()), (1.0, 40));
    assert_eq!(run.validation_samples().unwrap().labels, validation.labels);
}

#[test]
fn a_damaged_image_fails_the_job() {
    let directory = tempfile::tempdir().unwrap();
    for broken in [17, 45, 71] {
        let parts = [(0, 40), (40, 20), (60, 30)].map(|(first, count)| files(directory.path(), first, count));
        let [train, validation, test] = parts;
        let path = directory.path().join(format!("{broken}.png"));
        std::fs::write(&path, b"no image").unwrap();
        let job = clothes(|c| c.normalize = Normalize::Unit);
        let failure = train_on(&job, LoadedDataset::with_validation(train, Some(validation), test)).unwrap_err();
        assert_eq!(failure.kind, FailureKind::UserError);
        let expected = format!("{} is not a complete JPEG or PNG image", path.display());
        assert!(failure.message.starts_with(&expected), "{}", failure.message);
    }
}

/// Uses a file of the system that exists and cannot be read, like a file on a failing disk.
#[cfg(target_os = "linux")]
#[test]
fn an_image_that_the_system_cannot_read_fails_the_attempt_only() {
    let directory = tempfile::tempdir().unwrap();
    for failing in [17, 45, 71] {
        let parts = [(0, 40), (40, 20), (60, 30)].map(|(first, count)| files(directory.path(), first, count));
        let [train, validation, test] = parts;
        let path = directory.path().join(format!("{failing}.png"));
        std::fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("/proc/self/mem", &path).unwrap();
        for normalize in [Normalize::Unit, Normalize::PixelMean] {
            let job = clothes(|c| c.normalize = normalize.clone());
            let data = LoadedDataset::with_validation(train.clone(), Some(validation.clone()), test.clone());
            let failure = train_on(&job, data).unwrap_err();
            assert_eq!(failure.kind, FailureKind::Infrastructure, "{failure}");
            assert!(failure.message.contains(&path.display().to_string()), "{failure}");
        }
        std::fs::remove_file(&path).unwrap();
        let job = clothes(|c| c.normalize = Normalize::Unit);
        let failure = train_on(&job, LoadedDataset::with_validation(train, Some(validation), test)).unwrap_err();
        assert_eq!(failure.kind, FailureKind::UserError, "the file is missing: {failure}");
    }
}
