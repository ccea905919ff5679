//! The reviews of a loss, and the weights and estimates that a job takes from its parent.

use super::super::best_snapshots::BestSnapshots;
use super::*;
use plusminus_core::job::Parent;
use plusminus_core::logits::probability;
use plusminus_core::methods::losses::{Dmi, DmiMatrix, Forward, Lccn, TruncatedGce};
use plusminus_core::methods::noise::TransitionMatrix;
use plusminus_core::metric::EpochSelection;
use plusminus_engines::Checkpoint;
use std::path::PathBuf;

/// 150 noisy samples, a third of them held out at random.
fn noisy(configuration: &mut Configuration) {
    (configuration.train_size, configuration.test_size) = (Some(150), Some(50));
    (configuration.validation, configuration.batch_size, configuration.epochs) = (1.0 / 3.0, 20, 3);
    configuration.noise = Noise::uniform(0.4);
}

/// The probability of the given label of each training sample, with these weights.
fn p_given(job: &Job, weights: &Weights) -> Vec<f32> {
    let mut run = run_of(job, ExecutionOptions::default());
    let optimizer = run.engine.checkpoint().unwrap().optimizer;
    run.engine.restore(Checkpoint { weights: weights.clone(), optimizer }).unwrap();
    let logits = run.logits(Subset::Train, &mut || Ok(())).unwrap();
    let given = run.labels.train.iter().map(|sample| run.labels.given[*sample] as usize);
    logits.chunks_exact(10).zip(given).map(|(z, y)| probability(z, y) as f32).collect()
}

#[test]
fn a_review_uses_the_best_validation_weights_and_restores_the_engine() {
    // After one epoch, about half of the samples have a higher probability.
    let k = 0.12;
    let job = job(2, |c| {
        noisy(c);
        c.loss = Loss::TruncatedGce(TruncatedGce { q: 0.7, k, start: 1, every: 1 });
    });
    let mut run = run_of(&job, ExecutionOptions::default());
    let mut best_snapshots = BestSnapshots::default();
    let mut seen = Vec::new();
    for (epoch, accuracy) in [(1, 0.5), (2, 0.4), (3, 0.6)] {
        run.epoch(epoch, &mut ()).unwrap();
        let weights = run.engine.weights().unwrap();
        best_snapshots.update(&Measurements::from([(Metric::ValidationAccuracy, accuracy)]), epoch, &weights);
        let best = best_snapshots.best_validation().unwrap().weights.clone();
        let before = run.engine.checkpoint().unwrap();
        run.review(epoch + 1, &best_snapshots, &mut || Ok(())).unwrap();
        assert_eq!(run.engine.checkpoint().unwrap(), before, "after epoch {epoch}");
        let kept = run.criterion.kept().unwrap();
        let expected: Vec<bool> = p_given(&job, &best).iter().map(|p| f64::from(*p) > k).collect();
        let found: Vec<bool> = run.labels.train.iter().map(|sample| kept[*sample]).collect();
        assert_eq!(found, expected, "after epoch {epoch}");
        assert!(found.contains(&true) && found.contains(&false), "{found:?}");
        seen.push(found);
    }
    assert_eq!(seen[0], seen[1], "the second epoch was not the best");
    assert!(seen[1].iter().zip(&seen[2]).any(|(before, after)| !before && *after), "pruned samples can return");
}

/// A trained parent job that differs in the loss, and the file of its weights.
fn parent(
    change: impl Fn(&mut Configuration),
    at: EpochSelection,
) -> (Box<Parent>, TrainedJob, tempfile::TempDir, PathBuf) {
    let parent = job(2, |c| {
        noisy(c);
        change(c);
        c.loss = Loss::Cce(Cce {});
    });
    let trained = trained(&parent);
    let directory = tempfile::tempdir().unwrap();
    trained.weights.write_named(directory.path(), parent.id()).unwrap();
    let file = directory.path().join(parent.id().to_string()).join(format!("{at}.safetensors"));
    (Box::new(Parent { configuration: (*parent.configuration).clone(), at }), trained, directory, file)
}

#[test]
fn a_child_job_starts_from_the_requested_parent_weights() {
    for at in [EpochSelection::Final, EpochSelection::BestValidation, EpochSelection::BestValidationLoss] {
        let (parent, trained, _directory, file) = parent(|_| {}, at);
        let child = job(2, |c| {
            noisy(c);
            c.loss = Loss::Dmi(Dmi { epsilon: 1e-3, matrix: DmiMatrix::Count });
            c.parent = Some(parent.clone());
        });
        let cache = DatasetCache::default();
        let train_inputs = TrainInputs {
            parent: Some(parent_weights(&file)),
            ..TrainInputs::new(&cache, ExecutionOptions::default())
        };
        let run = Run::new(&child, train_inputs).unwrap();
        let (_, expected) = trained.weights.selections().find(|(selection, _)| *selection == at).unwrap();
        assert_eq!(run.engine.weights().unwrap(), expected.weights, "{at}");
        let failure = Run::new(&child, TrainInputs { parent: None, ..train_inputs }).err().unwrap();
        assert_eq!(failure.kind, FailureKind::Infrastructure, "{failure}");
        let other = ParentWeights { path: &file, digest: Digest::of(b"other weights") };
        let failure = Run::new(&child, TrainInputs { parent: Some(other), ..train_inputs }).err().unwrap();
        assert!(failure.kind == FailureKind::Infrastructure && failure.message.contains("damaged"), "{failure}");
    }
}

#[test]
fn an_estimate_comes_from_the_parent_and_the_weights_from_the_seed() {
    let (parent, trained, _directory, file) = parent(|_| {}, EpochSelection::Final);
    let job = job(2, |c| {
        noisy(c);
        c.loss = Loss::Forward(Forward::Estimated { percentile: 97.0 });
        c.parent = Some(parent.clone());
    });
    let cache = DatasetCache::default();
    let run = Run::new(
        &job,
        TrainInputs { parent: Some(parent_weights(&file)), ..TrainInputs::new(&cache, ExecutionOptions::default()) },
    )
    .unwrap();
    let parent = job_of(&parent);
    let mut of_parent = run_of(&parent, ExecutionOptions::default());
    let optimizer = of_parent.engine.checkpoint().unwrap().optimizer;
    of_parent.engine.restore(Checkpoint { weights: trained.weights.last.weights.clone(), optimizer }).unwrap();
    let logits = of_parent.logits(Subset::Train, &mut || Ok(())).unwrap();
    assert_eq!(run.criterion.transition(), Some(Forward::estimate(97.0, &logits, 10).unwrap()));
    let random = run_of(&parent, ExecutionOptions::default()).engine.weights().unwrap();
    assert_eq!(run.engine.weights().unwrap(), random, "drawn from the same seed");
}

/// The parent as a job.
fn job_of(parent: &Parent) -> Job {
    job(2, |c| *c = parent.configuration.clone())
}

#[test]
fn lccn_reviews_a_pretrained_network_only() {
    let (parent, _, _directory, file) = parent(|_| {}, EpochSelection::Final);
    let started = |parent: Option<Box<Parent>>| -> [Option<TransitionMatrix>; 2] {
        let job = job(2, |c| {
            noisy(c);
            c.loss = Loss::Lccn(Lccn { alpha: 1.0, refresh: 200, warm_up: 100 });
            c.parent = parent;
        });
        let cache = DatasetCache::default();
        let mut run = Run::new(
            &job,
            TrainInputs {
                parent: Some(parent_weights(&file)),
                ..TrainInputs::new(&cache, ExecutionOptions::default())
            },
        )
        .unwrap();
        let before = run.criterion.transition();
        run.start(&mut || Ok(())).unwrap();
        [before, run.criterion.transition()]
    };
    let [before, after] = started(Some(parent));
    assert_ne!(before, after);
    let [before, after] = started(None);
    assert_eq!(before, after);
}
