//! Optimiser steps.

use crate::{Random, everywhere, near};
use plusminus_kernels::{Adam, Sgd};

/// Lengths with whole vectors and remainders of all kinds.
const LENGTHS: [usize; 11] = [0, 1, 3, 4, 7, 8, 15, 16, 17, 40, 101];

fn exact(values: &[f32]) -> Vec<f64> {
    values.iter().map(|value| f64::from(*value)).collect()
}

#[test]
fn three_steps_of_sgd_match_the_formula_for_all_lengths() {
    let [lr, decay] = [0.1f32, 0.05];
    for length in LENGTHS {
        for (momentum, nesterov) in [(0.0f32, false), (0.9, false), (0.9, true)] {
            let mut random = Random(1);
            let start = random.fine(length);
            let gradients = [(); 3].map(|()| random.fine(length));
            let velocities = if momentum == 0.0 { 0 } else { length };
            let found = everywhere((length, momentum, nesterov), |instructions| {
                let (mut weights, mut velocity) = (start.clone(), vec![0.0; velocities]);
                for gradient in &gradients {
                    let (weights, velocity) = (&mut weights, &mut velocity);
                    Sgd { weights, gradient, velocity, lr, momentum, decay, nesterov }.run(instructions);
                }
                [weights, velocity].concat()
            });
            let (mut weights, mut velocity) = (exact(&start), vec![0.0; length]);
            let [lr, decay, momentum] = [lr, decay, momentum].map(f64::from);
            for gradient in &gradients {
                for ((w, v), g) in weights.iter_mut().zip(&mut velocity).zip(gradient) {
                    let g = f64::from(*g) + decay * *w;
                    *v = momentum * *v + g;
                    *w -= lr * if nesterov { g + momentum * *v } else { *v };
                }
            }
            velocity.truncate(velocities);
            near((length, momentum, nesterov), &found, &[weights, velocity].concat(), 5e-7);
        }
    }
}

#[test]
fn three_steps_of_adam_match_the_formula_for_all_lengths() {
    let [lr, beta1, beta2, epsilon] = [0.01f64, 0.9, 0.999, 1e-8];
    for length in LENGTHS {
        for decay in [0.0f32, 0.05] {
            let mut random = Random(2);
            let start = random.fine(length);
            let gradients = [(); 3].map(|()| random.fine(length));
            let found = everywhere((length, decay), |instructions| {
                let (mut weights, mut mean, mut square) = (start.clone(), vec![0.0; length], vec![0.0; length]);
                for (t, gradient) in (1..).zip(&gradients) {
                    Adam {
                        weights: &mut weights,
                        gradient,
                        mean: &mut mean,
                        square: &mut square,
                        rate: (lr / (1.0 - beta1.powi(t))) as f32,
                        root: (1.0 / (1.0 - beta2.powi(t)).sqrt()) as f32,
                        beta1: [beta1 as f32, (1.0 - beta1) as f32],
                        beta2: [beta2 as f32, (1.0 - beta2) as f32],
                        epsilon: epsilon as f32,
                        decay,
                    }
                    .run(instructions);
                }
                [weights, mean, square].concat()
            });
            let (mut weights, mut mean, mut square) = (exact(&start), vec![0.0; length], vec![0.0; length]);
            for (t, gradient) in (1..).zip(&gradients) {
                for (i, g) in gradient.iter().enumerate() {
                    let g = f64::from(*g) + f64::from(decay) * weights[i];
                    mean[i] = beta1 * mean[i] + (1.0 - beta1) * g;
                    square[i] = beta2 * square[i] + (1.0 - beta2) * g * g;
                    let [m, v] = [mean[i] / (1.0 - beta1.powi(t)), square[i] / (1.0 - beta2.powi(t))];
                    weights[i] -= lr * m / (v.sqrt() + epsilon);
                }
            }
            near((length, decay), &found, &[weights, mean, square].concat(), 5e-7);
        }
    }
}

/// The padding of the last vector computes 0/0 without ε and moments. It must not affect the results.
#[test]
fn a_step_of_adam_without_epsilon_is_finite_in_the_last_vector() {
    let found = everywhere("no epsilon", |instructions| {
        let (mut weights, mut mean, mut square) = (vec![1.0; 17], vec![0.0; 17], vec![0.0; 17]);
        Adam {
            weights: &mut weights,
            gradient: &[1.0; 17],
            mean: &mut mean,
            square: &mut square,
            rate: 0.5,
            root: 2.0,
            beta1: [0.5, 0.5],
            beta2: [0.75, 0.25],
            epsilon: 0.0,
            decay: 0.0,
        }
        .run(instructions);
        weights
    });
    // m = 1/2 and √v = 1/2, so the step is 1/2 · 1/2 / (1/2 · 2).
    assert_eq!(found, [0.75; 17]);
}
