//! Noise corrupts training and validation labels, never those of test samples.

use super::*;
use crate::data::{DataDirectories, LoadedDataset, SampleSet};
use plusminus_core::methods::noise::{Draw, NO_CLASS};

/// The facts and measurements of one epoch with 1,500 training samples and 500 held-out ones.
fn measured(noise: Noise, cache: &DatasetCache) -> (Facts, Measurements) {
    let job = job(2, |c| {
        (c.noise, c.train_size, c.validation, c.epochs, c.batch_size) = (noise, Some(2_000), 0.25, 1, 25);
        c.model = Model::Cnn { dropout: 0.0 };
        c.optimizer = Optimizer::Sgd { lr: 0.02, momentum: 0.9, weight_decay: 0.0, nesterov: false };
    });
    let trained = train(&job, TrainInputs::new(cache, ExecutionOptions::default()), &mut ()).unwrap();
    (trained.facts, trained.epochs[0].1.clone())
}

/// With noise that turns every class into the next one, a network learns the wrong labels. It is right about the given labels of training
/// and validation samples, and wrong about test samples, because these are not noisy.
#[test]
fn a_network_trained_on_shifted_labels_is_wrong_on_test_samples() {
    let next: Vec<(usize, usize)> = (0..10).map(|class| (class, (class + 1) % 10)).collect();
    let matrix = next.iter().map(|(_, to)| (0..10).map(|class| f64::from(class == *to)).collect()).collect();
    let directory = tempfile::tempdir().unwrap();
    let cache = DatasetCache::new(DataDirectories { directories: vec![directory.path().to_owned()] });
    let labels = cache.get(&Dataset::FashionMnist10k).unwrap().train.labels.clone();
    let text: String = labels.iter().map(|label| format!("{}\n", (label + 1) % 10)).collect();
    std::fs::write(directory.path().join("turned.txt"), text).unwrap();
    let noises = [
        Noise::ClassDependent { rate: 1.0, map: Some(next), draw: Draw::PerSample },
        Noise::TransitionMatrix { matrix, draw: Draw::Exact },
        Noise::File { file: "turned.txt".to_owned() },
    ];
    let digests = noises.map(|noise| {
        let kind = format!("{noise:?}");
        let (facts, row) = measured(noise, &cache);
        assert_eq!((facts.noise_rate, facts.transition.row(9)[0]), (1.0, 1.0), "{kind}");
        assert!(row[&Metric::NoisyAccuracy] > 0.6 && row[&Metric::ValidationAccuracy] > 0.6, "{kind}: {row:?}");
        assert!(row[&Metric::TestAccuracy] < 0.2, "{kind}: {row:?}");
        facts.weights
    });
    assert!(digests.iter().all(|digest| *digest == digests[0]), "equal labels give equal weights");
}

/// With this noise on validation samples, an accuracy above 40 % is hardly possible there.
#[test]
fn a_network_is_better_on_test_samples_than_on_noisy_validation() {
    let data = DatasetCache::default().get(&Dataset::FashionMnist10k).unwrap();
    let SampleSet { shape, values, mut labels, .. } = data.train.clone();
    labels[4_000..].fill(NO_CLASS);
    let train = SampleSet { shape, values, labels, foreign: 4_000 };
    let with_pool = DatasetCache::holding(Dataset::FashionMnist10k, LoadedDataset::new(train, data.test.clone()));
    let noises = [
        (Noise::Uniform { rate: 0.6, include_true_class: false, draw: Draw::Exact }, &DatasetCache::default()),
        (Noise::OpenSet { rate: 0.6, draw: Draw::Exact }, &with_pool),
    ];
    for (noise, cache) in noises {
        let kind = format!("{noise:?}");
        let (facts, row) = measured(noise, cache);
        assert_eq!((facts.noise_rate, facts.samples.train, facts.samples.validation), (0.6, 1_500, 500), "{kind}");
        assert!(row[&Metric::TestAccuracy] > row[&Metric::ValidationAccuracy] + 0.1, "{kind}: {row:?}");
        assert!(
            row.contains_key(&Metric::CleanAccuracy) && row.contains_key(&Metric::NoisyAccuracy),
            "{kind}: {row:?}"
        );
    }
}
