//! Diagnostics of whole jobs: they are measured on request and change nothing else.

use super::*;
use plusminus_core::diagnostics::Diagnostic;
use plusminus_core::methods::networks::Downsample;
use plusminus_core::metric::Class;
use plusminus_engines::EngineKind;

fn all() -> Vec<Diagnostic> {
    Diagnostic::ALL.iter().map(|(_, diagnostic)| *diagnostic).collect()
}

/// Two epochs with 150 training samples and 50 held-out ones; a third of the labels is wrong.
fn with(diagnostics: Vec<Diagnostic>) -> TrainedJob {
    trained(&job(3, |c| {
        (c.train_size, c.validation, c.epochs, c.batch_size) = (Some(200), 0.25, 2, 50);
        (c.noise, c.diagnostics) = (Noise::uniform(1.0 / 3.0), diagnostics);
    }))
}

#[test]
fn diagnostics_do_not_change_weights_or_other_measurements() {
    let (plain, diagnosed) = (with(Vec::new()), with(all()));
    assert_eq!(plain.facts.weights, diagnosed.facts.weights);
    for ((_, plain), (epoch, diagnosed)) in plain.epochs.iter().zip(&diagnosed.epochs) {
        for (metric, value) in plain.iter().filter(|(metric, _)| **metric != Metric::ImagesPerSecond) {
            assert_eq!(diagnosed[metric], *value, "{metric} in epoch {epoch}");
        }
        assert!(plain.keys().all(|metric| Diagnostic::of(*metric).is_none()));
        for (name, diagnostic) in Diagnostic::ALL {
            let found = diagnosed.keys().any(|metric| Diagnostic::of(*metric) == Some(*diagnostic));
            // Cross entropy neither prunes nor has a transition matrix.
            let expected = !matches!(diagnostic, Diagnostic::Pruning | Diagnostic::Transition);
            assert_eq!(found, expected, "{name} in epoch {epoch}");
        }
        let classes: Vec<f64> =
            (0..10).map(|class| diagnosed[&Metric::ClassAccuracy(Class::new(class).unwrap())]).collect();
        let worst = classes.iter().copied().fold(1.0, f64::min);
        assert_eq!(diagnosed[&Metric::ClassAccuracyWorst], worst);
        assert!(diagnosed.values().all(|value| value.is_finite()));
    }
    assert_eq!(repeatable(&with(all())).1, repeatable(&diagnosed).1, "repeatable");
}

/// Engines do not output features. Two engines must agree on their norms, and a classifier whose weights are all 1 must give the same values
/// as logits.
#[test]
fn feature_norms_follow_the_current_weights() {
    for model in [Model::Cnn { dropout: 0.5 }, Model::Resnet20 { shortcut: Downsample::Pad }] {
        let job = job(3, |c| {
            (c.train_size, c.diagnostics) = (Some(20), vec![Diagnostic::Rank]);
            c.model = model.clone();
        });
        let norms = [EngineKind::Fused, EngineKind::Candle].map(|kind| {
            let mut run = run_of(&job, ExecutionOptions { engine: Some(kind), ..ExecutionOptions::default() });
            let norms = run.feature_norms(&mut || Ok(())).unwrap().unwrap();
            let mut checkpoint = run.engine.checkpoint().unwrap();
            let plan = Arc::clone(checkpoint.weights.plan());
            let matrix = plan.entries().iter().find(|entry| entry.shape.len() == 2).unwrap();
            let bias = matrix.name.replace("weight", "bias");
            let bias = plan.entries().iter().find(|entry| entry.name == bias).unwrap();
            checkpoint.weights.values_mut()[matrix.range.clone()].fill(1.0);
            checkpoint.weights.values_mut()[bias.range.clone()].fill(0.0);
            run.engine.restore(checkpoint).unwrap();
            let logits = run.logits(Subset::Train, &mut || Ok(())).unwrap();
            let sums: Vec<f64> = logits.chunks_exact(10).map(|row| f64::from(row[0])).collect();
            (norms, sums)
        });
        let [(fused, sums), (candle, _)] = &norms;
        assert_eq!(fused.len(), 20, "{model:?}");
        for ((fused, candle), sum) in fused.iter().zip(candle).zip(sums) {
            assert!(*fused > 0.0 && (fused - candle).abs() < 1e-4 * candle, "{model:?}: {fused} and {candle}");
            assert!((fused - sum).abs() < 1e-4 * sum, "{model:?}: {fused} and {sum}");
        }
    }
}
