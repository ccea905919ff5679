//! LCCN against its definition.

use super::Lccn;
use super::regression::draw;
use crate::methods::losses::method::Method;
use crate::methods::losses::tests::peek;
use crate::methods::losses::{Cce, Criterion, Setting, Step};
use crate::methods::losses::{Forward, Loss};
use crate::methods::noise::{NO_CLASS, TransitionMatrix};
use crate::random::{Stream, Streams};

const LOSS: Lccn = Lccn { alpha: 1.0, refresh: 3, warm_up: 6 };
const GIVEN: [u32; 4] = [0, 1, 2, 1];

fn noisy() -> TransitionMatrix {
    TransitionMatrix::from_rows(3, vec![0.6, 0.3, 0.1, 0.2, 0.7, 0.1, 0.0, 0.5, 0.5]).unwrap()
}

fn setting() -> Setting<'static> {
    Setting { classes: 3, given: &GIVEN, transition: None }
}

/// A criterion whose warm-up uses `noisy`.
fn warmed(loss: &Lccn) -> Box<dyn Criterion> {
    Box::new(loss.regression(&GIVEN, noisy()).unwrap())
}

fn logits(shift: usize) -> Vec<f32> {
    (0..12).map(|i| ((i * 7 + shift * 5) % 11) as f32 / 3.0 - 1.5).collect()
}

/// A step over all samples; the value, the gradient and the latent labels, which the gradient shows.
fn step(criterion: &mut dyn Criterion, shift: usize, generator: &mut dyn rand::Rng) -> (f64, Vec<f32>, Vec<usize>) {
    let logits = logits(shift);
    let mut gradient = vec![f32::NAN; 12];
    let step = Step { logits: &logits, labels: &GIVEN, samples: &[0, 1, 2, 3], generator };
    let value = criterion.step(step, &mut gradient);
    let latent = gradient.chunks_exact(3).map(|row| row.iter().position(|g| *g < 0.0).unwrap()).collect();
    (value, gradient, latent)
}

fn generator() -> impl rand::Rng {
    Streams::new(5, 5).generator(Stream::Latent, 1)
}

/// (C + 1)/row sums of the latent labels under the given ones.
fn counted(latent: &[usize]) -> Vec<f64> {
    let mut counts = [1.0; 9];
    latent.iter().zip(GIVEN).for_each(|(z, y)| counts[z * 3 + y as usize] += 1.0);
    let rows = counts.chunks_exact(3).flat_map(|row| row.iter().map(|c| c / row.iter().sum::<f64>()));
    rows.collect()
}

fn rows(criterion: &dyn Criterion) -> Vec<f64> {
    let transition = criterion.transition().unwrap();
    (0..3).flat_map(|class| transition.row(class).to_vec()).collect()
}

#[test]
fn unused_samples_do_not_count() {
    let without = LOSS.criterion(setting()).unwrap();
    let given = [&GIVEN[..], &[NO_CLASS; 90]].concat();
    let with = LOSS.criterion(Setting { classes: 3, given: &given, transition: None }).unwrap();
    assert_eq!(rows(&*with), rows(&*without));
    assert!(LOSS.criterion(Setting { classes: 3, given: &[0, 3], transition: None }).is_err());
}

#[test]
fn a_step_is_cce_on_latent_labels() {
    let mut criterion = warmed(&LOSS);
    let (value, gradient, latent) = step(&mut *criterion, 0, &mut generator());
    let labels: Vec<u32> = latent.iter().map(|label| *label as u32).collect();
    let mut expected = vec![0.0; 12];
    let cce = Loss::Cce(Cce {}).value_and_gradient(&logits(0), 3, &labels, &mut expected);
    assert_eq!((value, gradient), (cce, expected));
}

#[test]
fn the_mean_gradient_over_draws_is_that_of_the_forward_correction() {
    let frozen = Lccn { warm_up: u64::MAX, ..LOSS };
    let mut criterion = warmed(&frozen);
    let forward =
        Loss::Forward(Forward::True {}).criterion(Setting { transition: Some(noisy()), ..setting() }).unwrap();
    let (_, expected) = peek(&*forward, &logits(0), &GIVEN);
    let (peeked, gradient) = peek(&*criterion, &logits(0), &GIVEN);
    assert_eq!(gradient, expected);
    assert!((criterion.value(&logits(0), &GIVEN) - forward.value(&logits(0), &GIVEN)).abs() < 1e-15);
    const DRAWS: usize = 20_000;
    let (mut mean, mut value) = ([0.0; 12], 0.0);
    let mut generator = generator();
    for _ in 0..DRAWS {
        let (v, gradient, _) = step(&mut *criterion, 0, &mut generator);
        value += v / DRAWS as f64;
        mean.iter_mut().zip(gradient).for_each(|(mean, g)| *mean += f64::from(g) / DRAWS as f64);
    }
    // Four standard deviations of an indicator's mean, over four samples.
    let error = 4.0 * 0.5 / (DRAWS as f64).sqrt() / 4.0;
    assert!(mean.iter().zip(&expected).all(|(mean, expected)| (mean - f64::from(*expected)).abs() < error));
    assert!((value - peeked).abs() < 0.05);
}

#[test]
fn the_matrix_is_fixed_during_the_warm_up_and_then_re_estimated() {
    let mut criterion = warmed(&LOSS);
    let warm: Vec<f64> = rows(&*criterion);
    let mut generator = generator();
    let mut last = Vec::new();
    for number in 0..14 {
        let (before, latent_before) = (rows(&*criterion), last);
        last = step(&mut *criterion, number, &mut generator).2;
        let now = rows(&*criterion);
        match number {
            0..=5 => assert_eq!(now, warm),
            // Steps 6, 9 and 12 start with a new matrix, made of the labels that the step before drew.
            6 | 9 | 12 => assert_eq!(now, counted(&latent_before)),
            _ => assert_eq!(now, before),
        }
    }
}

#[test]
fn latent_labels_start_from_the_predictions_of_the_network() {
    let mut criterion = Lccn { warm_up: 0, ..LOSS }.criterion(setting()).unwrap();
    assert!(criterion.wants_start());
    // Until then the given labels count as the true ones: one 0, two 1, one 2.
    assert_eq!(rows(&*criterion), counted(&[0, 1, 2, 1]));
    criterion.start(&[0, 2, 3], &[9.0, 0.0, 0.0, 9.0, 0.0, 0.0, 0.0, 0.0, 9.0]);
    let (p, rest) = (1.0 / (1.0 + 2.0 * (-9f64).exp()), 1.0 / (9f64.exp() + 2.0));
    // Predicted class against given label, softly: (0, 0) and (0, 2) and (2, 1) nearly one each.
    let soft = [p + 1.0, rest + 1.0, p + 1.0, rest + 1.0, rest + 1.0, rest + 1.0, rest + 1.0, p + 1.0, rest + 1.0];
    let expected = soft.chunks_exact(3).flat_map(|row| row.iter().map(|c| c / row.iter().sum::<f64>()));
    assert!(rows(&*criterion).iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12));
    // Sample 1 was not shown and is first counted when it is drawn.
    let mut generator = generator();
    let mut drawn = Vec::new();
    for number in 0..4 {
        let before = drawn;
        drawn = step(&mut *criterion, number, &mut generator).2;
        if number == 3 {
            assert_eq!(rows(&*criterion), counted(&before));
        }
    }
}

#[test]
fn the_true_matrix_is_not_used() {
    let with_matrix = LOSS.criterion(Setting { transition: Some(noisy()), ..setting() }).unwrap();
    assert_eq!(with_matrix.transition(), LOSS.criterion(setting()).unwrap().transition());
}

#[test]
fn a_restored_state_continues_exactly() {
    let mut first = LOSS.criterion(setting()).unwrap();
    first.start(&[0, 1, 2], &logits(3)[..9]);
    let mut one = generator();
    for number in 0..8 {
        step(&mut *first, number, &mut one);
    }
    let mut second = LOSS.criterion(setting()).unwrap();
    second.restore(&first.state()).unwrap();
    let mut other = Streams::new(6, 6).generator(Stream::Latent, 2);
    let mut same = Streams::new(6, 6).generator(Stream::Latent, 2);
    for number in 8..20 {
        assert_eq!(step(&mut *first, number, &mut other), step(&mut *second, number, &mut same));
        assert_eq!(first.state(), second.state());
    }
}

#[test]
fn an_invalid_state_is_rejected_and_changes_nothing() {
    let mut criterion = LOSS.criterion(setting()).unwrap();
    step(&mut *criterion, 0, &mut generator());
    let state = criterion.state();
    let mut other = state.clone();
    let end = other.len();
    other[end - 4..].copy_from_slice(&7u32.to_le_bytes());
    for wrong in [&state[..end - 1], &[state.as_slice(), &[0]].concat(), b"", b"truncated-gce\0\0", &other] {
        assert!(criterion.restore(wrong).is_err());
        assert_eq!(criterion.state(), state);
    }
    let fewer = Setting { classes: 3, given: &GIVEN[..3], transition: None };
    assert!(LOSS.criterion(fewer).unwrap().restore(&state).unwrap_err().contains("of 4 training samples, there are 3"));
    let classes = Setting { classes: 4, given: &GIVEN, transition: None };
    assert!(LOSS.criterion(classes).unwrap().restore(&state).unwrap_err().contains("of 3 classes, there are 4"));
}

#[test]
fn an_inconsistent_state_is_rejected() {
    let given = [0, 1, NO_CLASS];
    let setting = |given| Setting { classes: 2, given, transition: None };
    let mut other = LOSS.criterion(setting(&[0, 1, 1])).unwrap();
    other.start(&[0, 1, 2], &[0.0; 6]);
    let mut criterion = LOSS.criterion(setting(&given)).unwrap();
    let why = criterion.restore(&other.state()).unwrap_err();
    assert!(why.ends_with("it has a latent label for sample 2, which has no given one"), "{why}");
    let mut state = criterion.state();
    criterion.restore(&state).unwrap();
    state["lccn".len() + 1..][..8].fill(0xFF);
    assert!(criterion.restore(&state).unwrap_err().contains("steps, expected at most"));
}

#[test]
fn nan_logits_give_a_nan_loss_and_leave_the_matrix_finite() {
    let mut criterion = LOSS.criterion(setting()).unwrap();
    let mut gradient = vec![0.0; 3];
    let step = Step { logits: &[f32::NAN; 3], labels: &[1], samples: &[1], generator: &mut generator() };
    assert!(criterion.step(step, &mut gradient).is_nan());
    criterion.start(&[0], &[f32::NAN; 3]);
    assert!(rows(&*criterion).iter().all(|share| share.is_finite()));
}

#[test]
fn a_draw_selects_each_class_with_its_probability() {
    let at = |u| draw(&[0.25, 0.0, 0.5, 0.25, 0.0], u);
    assert_eq!([at(0.0), at(0.2499), at(0.25), at(0.7499), at(0.75)], [0, 0, 2, 2, 3].map(Some));
    // Rounding leaves a remainder: the last possible class.
    assert_eq!(draw(&[0.5, 0.4999999, 0.0], 0.99999999), Some(1));
    assert_eq!(draw(&[f64::NAN, f64::NAN], 0.5), None);
}

#[test]
fn labels_beyond_the_classes_are_rejected() {
    let wrong = Setting { classes: 2, given: &GIVEN, transition: None };
    assert_eq!(LOSS.criterion(wrong).err().unwrap(), "expected labels below 2, found 2 for sample 2");
}
