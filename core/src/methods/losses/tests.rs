//! Tests of all losses: the printed formulas, finite differences, extreme logits, names and parameters.

use super::batch::{Batch, BatchLoss, SampleLoss};
use super::forward::Posterior;
use super::*;
use crate::methods::noise::TransitionMatrix;
use crate::sweep_file;
use proptest::prelude::*;

/// A setting of these given labels.
pub(super) fn setting(classes: usize, given: &[u32]) -> Setting<'_> {
    Setting { classes, given, transition: None }
}

/// Value and gradient of a batch whose samples are the first ones of the training file.
pub(super) fn peek(criterion: &dyn Criterion, logits: &[f32], labels: &[u32]) -> (f64, Vec<f32>) {
    let samples: Vec<usize> = (0..labels.len()).collect();
    let mut gradient = vec![f32::NAN; logits.len()];
    let value = criterion.peek(logits, labels, &samples, &mut gradient);
    (value, gradient)
}

const CLASSES: [usize; 4] = [2, 10, 14, 100];
const A: f64 = -9.210340371976182;

/// Rows that sum to 1, every entry above 0.
fn transition(classes: usize) -> TransitionMatrix {
    let raw = |i: usize, j: usize| if i == j { 3.0 } else { 0.1 + ((i * 5 + j * 3) % 7) as f64 / 7.0 };
    let rows = (0..classes).flat_map(|i| {
        let sum: f64 = (0..classes).map(|j| raw(i, j)).sum();
        (0..classes).map(move |j| raw(i, j) / sum)
    });
    TransitionMatrix::from_rows(classes, rows.collect()).unwrap()
}

/// A loss of one sample as it is printed: value and gradient from p and y.
type Printed = fn(&[f64], usize) -> (f64, Vec<f64>);

/// c·(p − e_y).
fn scaled(c: f64, p: &[f64], y: usize) -> Vec<f64> {
    p.iter().enumerate().map(|(j, p)| c * (p - f64::from(u8::from(j == y)))).collect()
}

/// The losses that are means over samples, each with its printed formula.
fn printed(classes: usize) -> Vec<(&'static str, Box<dyn BatchLoss>, Printed)> {
    fn of<L: BatchLoss + 'static>(
        name: &'static str,
        loss: L,
        printed: Printed,
    ) -> (&'static str, Box<dyn BatchLoss>, Printed) {
        (name, Box::new(loss), printed)
    }
    vec![
        of("cce", Cce {}, |p, y| (-p[y].ln(), scaled(1.0, p, y))),
        of("mae", Mae {}, |p, y| (2.0 * (1.0 - p[y]), scaled(2.0 * p[y], p, y))),
        of("unhinged", Unhinged {}, |p, y| (1.0 - p[y], scaled(p[y], p, y))),
        of("gce", Gce { q: 0.7 }, |p, y| ((1.0 - p[y].powf(0.7)) / 0.7, scaled(p[y].powf(0.7), p, y))),
        of("rce", Rce { a: A }, |p, y| (-A * (1.0 - p[y]), scaled(-A * p[y], p, y))),
        of("sce", Sce { alpha: 0.1, beta: 1.0, a: A }, |p, y| {
            (-0.1 * p[y].ln() - A * (1.0 - p[y]), scaled(0.1 - A * p[y], p, y))
        }),
        of("mse", Mse {}, |p, y| {
            let norm: f64 = p.iter().map(|p| p * p).sum();
            let e = |j: usize| f64::from(u8::from(j == y));
            let value = p.iter().enumerate().map(|(j, p)| (p - e(j)).powi(2)).sum();
            (value, p.iter().enumerate().map(|(j, p_j)| 2.0 * p_j * ((p_j - e(j)) - (norm - p[y]))).collect())
        }),
        of("forward", Posterior::new(&transition(classes), classes).unwrap(), |p, y| {
            let t = transition(p.len());
            let s: f64 = p.iter().enumerate().map(|(i, p)| p * t.row(i)[y]).sum();
            (-s.ln(), p.iter().enumerate().map(|(j, p)| p - p * t.row(j)[y] / s).collect())
        }),
        of("imae", Imae { t: 2.0, normalise: Normalise::Mean }, |p, y| {
            let half = (2.0 * p[y] * (1.0 - p[y])).exp() / 2.0;
            let g = p.iter().enumerate().map(|(j, p_j)| if j == y { -half } else { half * p_j / (1.0 - p[y]) });
            (2.0 * (1.0 - p[y]), g.collect())
        }),
    ]
}

/// Logits of all sizes: moderate ones, equal ones, and nearly sure ones, right and wrong.
fn logits(classes: usize) -> (Vec<f64>, Vec<u32>) {
    let labels: Vec<u32> = [0, 1, 1, 0, 0, 1].iter().map(|y| y % classes as u32).collect();
    let mut logits: Vec<f64> = (0..2 * classes).map(|i| ((i * 7919) % 23) as f64 / 4.0 - 3.0).collect();
    logits.extend(vec![1.5; classes]);
    for hot in [0, classes - 1, 1] {
        logits.extend((0..classes).map(|j| if j == hot { 12.0 } else { (j % 3) as f64 / 2.0 }));
    }
    (logits, labels)
}

#[test]
fn every_mean_loss_is_its_printed_formula() {
    for classes in CLASSES {
        let (logits, labels) = logits(classes);
        for (name, loss, printed) in printed(classes) {
            let mut gradient = vec![f64::NAN; logits.len()];
            let batch = Batch { logits: &logits, classes, labels: &labels };
            let value = loss.batch(batch, Some(&mut gradient));
            assert_eq!(value.to_bits(), loss.batch(batch, None).to_bits(), "{name} without its gradient");
            let mut total = 0.0;
            for ((z, y), g) in batch.rows().zip(gradient.chunks_exact(classes)) {
                let sum: f64 = z.iter().map(|z| z.exp()).sum();
                let p: Vec<f64> = z.iter().map(|z| z.exp() / sum).collect();
                let (value, expected) = printed(&p, y);
                total += value;
                for (g, expected) in g.iter().zip(expected) {
                    let expected = expected / labels.len() as f64;
                    let error = (g - expected).abs();
                    assert!(error < 1e-9 * expected.abs() + 1e-15, "{name}, {classes}: {g} against {expected}");
                }
            }
            assert!((value - total / labels.len() as f64).abs() < 1e-10, "{name}, {classes}: {value}");
        }
    }
}

/// The derivative in one logit, to the fourth order.
fn difference(loss: &dyn BatchLoss, logits: &[f64], classes: usize, labels: &[u32], i: usize) -> f64 {
    const H: f64 = 1e-3;
    let at = |steps: f64| {
        let mut moved = logits.to_vec();
        moved[i] += steps * H;
        loss.batch(Batch { logits: &moved, classes, labels }, None)
    };
    (8.0 * (at(1.0) - at(-1.0)) - (at(2.0) - at(-2.0))) / (12.0 * H)
}

fn agrees_with_differences(
    name: &str,
    loss: &dyn BatchLoss,
    (logits, labels): (&[f64], &[u32]),
    classes: usize,
    probes: usize,
) {
    let mut gradient = vec![f64::NAN; logits.len()];
    let value = loss.batch(Batch { logits, classes, labels }, Some(&mut gradient));
    let stride = (logits.len() / probes).max(1);
    for i in (0..logits.len()).step_by(stride) {
        let expected = difference(loss, logits, classes, labels, i);
        let error = (gradient[i] - expected).abs();
        assert!(
            error < 1e-6 * expected.abs() + 1e-11 * (1.0 + value.abs()),
            "{name}, {classes} classes, ∂/∂z{i}: {} against {expected}",
            gradient[i]
        );
    }
}

#[test]
fn gradients_agree_with_finite_differences() {
    for classes in CLASSES {
        let (logits, labels) = logits(classes);
        // No function has IMAE's gradient.
        for (name, loss, _) in printed(classes).into_iter().filter(|(name, ..)| *name != "imae") {
            agrees_with_differences(name, &*loss, (&logits, &labels), classes, 120);
        }
        for q in [0.0, 0.01, 0.3, 1.0] {
            agrees_with_differences("gce", &Gce { q }, (&logits, &labels), classes, 60);
        }
    }
}

#[test]
fn gradients_agree_with_finite_differences_at_logits_of_fifty() {
    for classes in CLASSES {
        for (hot, size) in [(0, 50.0), (1, 50.0), (0, -50.0), (1, -50.0)] {
            let mut logits = vec![0.0; classes];
            logits[hot] = size;
            for (name, loss, _) in printed(classes).into_iter().filter(|(name, ..)| *name != "imae") {
                agrees_with_differences(name, &*loss, (&logits, &[0]), classes, classes);
            }
        }
    }
}

#[test]
fn the_gradient_of_dmi_agrees_with_finite_differences() {
    for (classes, probes) in [(2, 16), (3, 60), (10, 60), (14, 40), (100, 4)] {
        let labels: Vec<u32> = (0..2 * classes + 1).map(|i| (i % classes) as u32).collect();
        let noise = |i: usize| ((i * 7919) % 23) as f64 / 8.0;
        let logits: Vec<f64> = (0..labels.len() * classes)
            .map(|i| noise(i) + if i % classes == labels[i / classes] as usize { 4.0 } else { 0.0 })
            .collect();
        for matrix in [DmiMatrix::Count, DmiMatrix::Normalised] {
            // An ε of the size of the determinant, so that every term matters.
            for epsilon in [1e-3, 1e-12] {
                let loss = Dmi { epsilon, matrix };
                agrees_with_differences("dmi", &loss, (&logits, &labels), classes, probes);
            }
        }
    }
}

/// Every loss that depends on a batch alone, and the forward correction.
fn every_criterion(classes: usize, given: &[u32]) -> Vec<(String, Box<dyn Criterion>)> {
    let setting = || Setting { classes, given, transition: Some(transition(classes)) };
    every_loss().into_iter().map(|loss| (format!("{loss:?}"), loss.criterion(setting()).unwrap())).collect()
}

fn every_loss() -> Vec<Loss> {
    vec![
        Loss::Cce(Cce {}),
        Loss::Mae(Mae {}),
        Loss::Unhinged(Unhinged {}),
        Loss::Mse(Mse {}),
        Loss::Rce(Rce { a: A }),
        Loss::Sce(Sce { alpha: 0.1, beta: 1.0, a: A }),
        Loss::Imae(Imae { t: 8.0, normalise: Normalise::Mean }),
        Loss::Imae(Imae { t: 8.0, normalise: Normalise::BatchWeight }),
        Loss::Dmi(Dmi { epsilon: 1e-3, matrix: DmiMatrix::Count }),
        Loss::Dmi(Dmi { epsilon: 1e-3, matrix: DmiMatrix::Normalised }),
        Loss::Forward(Forward::True {}),
        Loss::Lccn(Lccn { alpha: 1.0, refresh: 200, warm_up: 20_000 }),
        Loss::TruncatedGce(TruncatedGce { q: 0.7, k: 0.5, start: 40, every: 10 }),
        Loss::Gce(Gce { q: 0.7 }),
        Loss::Gce(Gce { q: 0.0 }),
    ]
}

#[test]
fn extreme_logits_give_finite_values_and_gradients_that_sum_to_zero() {
    for classes in CLASSES {
        let labels: Vec<u32> = (0..2 * classes as u32).map(|i| i % classes as u32).collect();
        for size in [0.0f32, 50.0, -50.0, 1e4, -1e4] {
            // Certain and right, certain and wrong.
            for shift in [0, 1] {
                let hot = |i: usize| (labels[i / classes] as usize + shift) % classes == i % classes;
                let logits: Vec<f32> = (0..labels.len() * classes).map(|i| if hot(i) { size } else { 0.0 }).collect();
                for (name, criterion) in every_criterion(classes, &labels) {
                    let (value, gradient) = peek(&*criterion, &logits, &labels);
                    assert!(value.is_finite(), "{name}, {classes} classes, {size}: {value}");
                    assert!(criterion.value(&logits, &labels).is_finite(), "{name}, {classes} classes, {size}");
                    for row in gradient.chunks_exact(classes) {
                        assert!(row.iter().all(|g| g.is_finite()), "{name}, {classes} classes, {size}: {row:?}");
                        let (sum, norm) = (row.iter().sum::<f32>(), row.iter().map(|g| g.abs()).sum::<f32>());
                        // Sums of gradients near the limits of f32 are inaccurate.
                        assert!(
                            sum.abs() <= 1e-5 * norm + f32::MIN_POSITIVE,
                            "{name}, {classes} classes, {size}: {sum} of {norm}"
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn nan_logits_give_a_nan_loss() {
    for (name, criterion) in every_criterion(3, &[0, 1, 2]) {
        let logits = [0.0, 1.0, 2.0, f32::NAN, 0.0, 0.0, 1.0, 1.0, f32::NAN];
        assert!(peek(&*criterion, &logits, &[0, 1, 2]).0.is_nan(), "{name}");
        assert!(criterion.value(&logits, &[0, 1, 2]).is_nan(), "{name}");
    }
}

/// The weighted sum of (−ln p, 1) and ((1 − p^q)/q, p^q).
fn of_powers([alpha, beta, q]: [f64; 3], log_p: f64) -> (f64, f64) {
    (-alpha * log_p - beta * (q * log_p).exp_m1() / q, alpha + beta * (q * log_p).exp())
}

#[test]
fn the_powers_for_a_device_are_those_of_the_loss() {
    let losses: [&dyn SampleLoss; 8] = [
        &Cce {},
        &Mae {},
        &Unhinged {},
        &Rce { a: -4.0 },
        &Sce { alpha: 0.1, beta: 2.0, a: A },
        &Gce { q: 0.7 },
        &Gce { q: 1.0 },
        &Gce { q: 0.0 },
    ];
    for loss in losses {
        for log_p in [-300.0, -12.0, -0.7, -1e-9] {
            let (found, expected) = (of_powers(loss.powers().unwrap(), log_p), loss.value_and_scale(log_p));
            for (found, expected) in [(found.0, expected.0), (found.1, expected.1)] {
                assert!((found - expected).abs() <= 1e-14 * expected.abs(), "{found} for {expected} at {log_p}");
            }
        }
    }
}

#[test]
fn every_loss_has_a_form_for_devices_that_does_not_change_its_state() {
    for (name, criterion) in every_criterion(3, &[0, 1, 2]) {
        let state = criterion.state();
        let told = criterion.on_device();
        assert!(told.is_some(), "{name}");
        assert_eq!((criterion.on_device(), criterion.state()), (told, state), "{name}");
    }
    let learned = Learned { steps: 3, transition: Vec::new(), latent: Vec::new() };
    let mut cce = Loss::Cce(Cce {}).criterion(setting(2, &[0])).unwrap();
    assert_eq!(
        cce.learned(learned.clone()).unwrap_err(),
        "expected no state for this loss, found 3 steps of another loss"
    );
    let mut lccn = Loss::Lccn(Lccn { alpha: 1.0, refresh: 2, warm_up: 3 }).criterion(setting(2, &[0])).unwrap();
    let before = lccn.state();
    assert!(lccn.learned(learned).unwrap_err().starts_with("expected 2 rows of 2 shares"));
    assert_eq!(lccn.state(), before, "what is refused changes nothing");
}

#[test]
fn a_device_gets_the_pruned_samples_and_the_bound() {
    let loss = Loss::TruncatedGce(TruncatedGce { q: 0.5, k: 0.25, start: 1, every: 1 });
    let mut criterion = loss.criterion(setting(2, &[0, 1, 0])).unwrap();
    criterion.review(&[0, 2], &[0.2, 0.9]);
    let Some(DeviceLoss::Powers { alpha, beta, q, bound, kept }) = criterion.on_device() else { panic!("no powers") };
    assert_eq!((alpha, beta, q, kept), (0.0, 1.0, 0.5, Some(vec![false, true, true])));
    assert!((bound - 1.0).abs() < 1e-12, "(1 − √¼)/½");
}

#[test]
fn a_loss_without_state_rejects_the_state_of_another() {
    let mut cce = Loss::Cce(Cce {}).criterion(setting(2, &[0])).unwrap();
    assert!(cce.state().is_empty() && cce.restore(&[]).is_ok());
    assert!(!cce.wants_start() && !cce.wants_review(41) && cce.kept().is_none() && cce.transition().is_none());
    assert!(cce.restore(b"lccn\0").unwrap_err().contains("expected no state"));
}

#[test]
fn a_criterion_and_the_loss_itself_agree() {
    let (logits, labels) = ([0.5f32, -1.0, 2.0, 0.0, 3.0, 1.0], [2, 0]);
    for loss in every_loss() {
        let setting = Setting { classes: 3, given: &labels, transition: Some(transition(3)) };
        let found = peek(&*loss.criterion(setting).unwrap(), &logits, &labels);
        let mut gradient = vec![0.0; 6];
        let value = loss.value_and_gradient(&logits, 3, &labels, &mut gradient);
        match loss {
            Loss::Forward(_) | Loss::Lccn(_) | Loss::TruncatedGce(_) => {
                assert!(value.is_nan() && gradient.iter().all(|g| g.is_nan()));
            }
            _ => assert_eq!((value, gradient), found),
        }
    }
}

/// Reads `losses`, a list as a sweep file has it.
fn read(losses: &str) -> Result<Vec<Loss>, String> {
    let sweep = format!(
        "sweep: a\nseeds: 1\nbase:\n  dataset: fashion-mnist\n  model: cnn\n  epochs: 50\n  validation: 0.1\n  \
         optimizer: {{name: adam}}\ngrid:\n  loss: {losses}\n"
    );
    match sweep_file::read(&sweep, sweep_file::MAX_JOBS) {
        Ok(sweep) => Ok(sweep.cells.iter().map(|cell| cell.configuration.loss.clone()).collect()),
        Err(problems) => Err(problems.iter().map(|p| format!("{}; {}\n", p.title, p.label)).collect()),
    }
}

#[test]
fn default_parameters_are_those_of_the_papers() {
    let names = Loss::NAMES.iter().filter(|name| **name != "forward").copied().collect::<Vec<_>>().join(", ");
    let losses =
        read(&format!("[{names}, {{name: forward, transition: true}}, {{name: forward, transition: estimated}}]"));
    // Job ids are hashes of these forms.
    let forms: Vec<_> = losses.unwrap().iter().map(|loss| serde_json::to_string(loss).unwrap()).collect();
    let expected = [
        r#"{"name":"cce"}"#,
        r#"{"name":"mae"}"#,
        r#"{"name":"unhinged"}"#,
        r#"{"name":"mse"}"#,
        r#"{"name":"rce","a":-9.210340371976182}"#,
        r#"{"name":"sce","alpha":0.1,"beta":1.0,"a":-9.210340371976182}"#,
        r#"{"name":"imae","t":8.0,"normalise":"mean"}"#,
        r#"{"name":"dmi","epsilon":0.001,"matrix":"count"}"#,
        r#"{"name":"lccn","alpha":1.0,"refresh":200,"warm_up":20000}"#,
        r#"{"name":"truncated-gce","q":0.7,"k":0.5,"start":40,"every":10}"#,
        r#"{"name":"gce","q":0.7}"#,
        r#"{"name":"forward","transition":"true"}"#,
        r#"{"name":"forward","transition":"estimated","percentile":97.0}"#,
    ];
    assert_eq!(forms, expected);
}

#[test]
fn every_parameter_can_be_set_and_is_kept_in_canonical_form() {
    let losses = read(
        "[{name: rce, a: -4}, {name: sce, alpha: 6, beta: 0.1, a: -4}, {name: imae, t: 2, normalise: batch-weight}, \
         {name: dmi, epsilon: 1e-6, matrix: normalised}, {name: lccn, alpha: 0.5, refresh: 100, warm_up: 0}, \
         {name: truncated-gce, q: 0.5, k: 0.3, start: 10, every: 5}, \
         {name: forward, transition: [true, estimated]}, {name: forward, transition: estimated, percentile: 100}]",
    )
    .unwrap();
    let expected = [
        Loss::Rce(Rce { a: -4.0 }),
        Loss::Sce(Sce { alpha: 6.0, beta: 0.1, a: -4.0 }),
        Loss::Imae(Imae { t: 2.0, normalise: Normalise::BatchWeight }),
        Loss::Dmi(Dmi { epsilon: 1e-6, matrix: DmiMatrix::Normalised }),
        Loss::Lccn(Lccn { alpha: 0.5, refresh: 100, warm_up: 0 }),
        Loss::TruncatedGce(TruncatedGce { q: 0.5, k: 0.3, start: 10, every: 5 }),
        Loss::Forward(Forward::True {}),
        Loss::Forward(Forward::Estimated { percentile: 97.0 }),
        Loss::Forward(Forward::Estimated { percentile: 100.0 }),
    ];
    assert_eq!(losses, expected);
    for loss in losses {
        let form = serde_json::to_string(&loss).unwrap();
        assert_eq!(serde_json::from_str::<Loss>(&form).unwrap(), loss);
    }
    for wrong in [r#"{"name":"forward","transition":"true","percentile":97.0}"#, r#"{"name":"dmi","epsilon":1.0}"#] {
        assert!(serde_json::from_str::<Loss>(wrong).is_err());
    }
}

fn any_loss() -> impl Strategy<Value = Loss> {
    prop_oneof![
        Just(Loss::Cce(Cce {})),
        Just(Loss::Mae(Mae {})),
        Just(Loss::Mse(Mse {})),
        (0.01..=1.0f64).prop_map(|q| Loss::Gce(Gce { q })),
        (-12.0..-1.0f64).prop_map(|a| Loss::Rce(Rce { a })),
        (0.0..6.0f64, 0.0..2.0f64).prop_map(|(alpha, beta)| Loss::Sce(Sce { alpha, beta, a: -4.0 })),
    ]
}

proptest! {
    #[test]
    fn every_gradient_agrees_with_finite_differences(
        loss in any_loss(),
        (classes, logits, labels) in (2usize..6, 1usize..4).prop_flat_map(|(classes, batch)| (
            Just(classes),
            prop::collection::vec(-6.0f64..6.0, classes * batch),
            prop::collection::vec(0..classes as u32, batch),
        )),
    ) {
        agrees_with_differences(&format!("{loss:?}"), loss.method().batch_loss().unwrap(), (&logits, &labels), classes, logits.len());
    }
}
