//! Optimiser steps over flat lists of weights, each in one pass over memory.

use crate::lanes::{Instructions, Kernel, Lanes};

/// A step of stochastic gradient descent as PyTorch defines it: g = gradient + decay · w; v = momentum · v + g; then w −= lr · v, or with
/// Nesterov momentum w −= lr · (g + momentum · v).
#[derive(Debug)]
pub struct Sgd<'a> {
    /// Weights w, updated in place.
    pub weights: &'a mut [f32],
    /// Gradient ∂L/∂w.
    pub gradient: &'a [f32],
    /// Velocity v, updated in place; empty if the momentum is 0.
    pub velocity: &'a mut [f32],
    /// Learning rate.
    pub lr: f32,
    /// Factor of the previous velocity.
    pub momentum: f32,
    /// Weight decay λ.
    pub decay: f32,
    /// Uses Nesterov momentum.
    pub nesterov: bool,
}

impl Sgd<'_> {
    /// Checks the lengths and runs the kernel.
    ///
    /// # Panics
    /// Panics if the lengths differ.
    pub fn run(self, instructions: Instructions) {
        assert_eq!(self.weights.len(), self.gradient.len(), "one gradient per weight");
        assert!(self.velocity.is_empty() || self.velocity.len() == self.weights.len(), "one velocity per weight");
        instructions.run(self);
    }
}

impl Kernel for Sgd<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let [lr, momentum, decay] = [self.lr, self.momentum, self.decay].map(|value| lanes.splat(value));
        let step = |w: L::Vector, g: L::Vector| lanes.subtract(w, lanes.multiply(lr, g));
        let decayed = |w: L::Vector, g: L::Vector| lanes.add(g, lanes.multiply(decay, w));
        if self.velocity.is_empty() {
            for_each(lanes, [self.weights], [self.gradient], |[w], [g]| [step(w, decayed(w, g))]);
        } else if self.nesterov {
            for_each(lanes, [self.weights, self.velocity], [self.gradient], |[w, v], [g]| {
                let g = decayed(w, g);
                let v = lanes.add(lanes.multiply(momentum, v), g);
                [step(w, lanes.add(g, lanes.multiply(momentum, v))), v]
            });
        } else {
            for_each(lanes, [self.weights, self.velocity], [self.gradient], |[w, v], [g]| {
                let v = lanes.add(lanes.multiply(momentum, v), decayed(w, g));
                [step(w, v), v]
            });
        }
    }
}

/// A step of Adam (Kingma & Ba 2015, algorithm 1) with the weight decay added to the gradient: g = gradient + decay · w;
/// m = β₁ m + (1 − β₁) g; v = β₂ v + (1 − β₂) g²; w −= rate · m / (√v · root + ε), where rate = lr/(1 − β₁ᵗ) and
/// root = 1/√(1 − β₂ᵗ).
#[derive(Debug)]
pub struct Adam<'a> {
    /// Weights w, updated in place.
    pub weights: &'a mut [f32],
    /// Gradient ∂L/∂w.
    pub gradient: &'a [f32],
    /// First moment m, updated in place.
    pub mean: &'a mut [f32],
    /// Second moment v, updated in place.
    pub square: &'a mut [f32],
    /// lr/(1 − β₁ᵗ).
    pub rate: f32,
    /// 1/√(1 − β₂ᵗ).
    pub root: f32,
    /// β₁ and 1 − β₁, each rounded from its exact value.
    pub beta1: [f32; 2],
    /// β₂ and 1 − β₂, each rounded from its exact value.
    pub beta2: [f32; 2],
    /// Stabiliser ε.
    pub epsilon: f32,
    /// Weight decay λ.
    pub decay: f32,
}

impl Adam<'_> {
    /// Checks the lengths and runs the kernel.
    ///
    /// # Panics
    /// Panics if the lengths differ.
    pub fn run(self, instructions: Instructions) {
        let count = self.weights.len();
        assert_eq!(count, self.gradient.len(), "one gradient per weight");
        assert!(self.mean.len() == count && self.square.len() == count, "two moments per weight");
        instructions.run(self);
    }
}

impl Kernel for Adam<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let [rate, root, epsilon, decay] =
            [self.rate, self.root, self.epsilon, self.decay].map(|value| lanes.splat(value));
        let [[beta1, share1], [beta2, share2]] =
            [self.beta1, self.beta2].map(|beta| beta.map(|value| lanes.splat(value)));
        for_each(lanes, [self.weights, self.mean, self.square], [self.gradient], |[w, m, v], [g]| {
            let g = lanes.add(g, lanes.multiply(decay, w));
            let m = lanes.add(lanes.multiply(beta1, m), lanes.multiply(share1, g));
            let v = lanes.add(lanes.multiply(beta2, v), lanes.multiply(lanes.multiply(share2, g), g));
            let below = lanes.add(lanes.multiply(lanes.root(v), root), epsilon);
            [lanes.subtract(w, lanes.divide(lanes.multiply(rate, m), below)), m, v]
        });
    }
}

/// Updates the slices `changed` element by element: `f` computes the new values from the old ones and from `read`.
#[inline(always)]
fn for_each<L: Lanes, const N: usize, const M: usize>(
    lanes: L,
    mut changed: [&mut [f32]; N],
    read: [&[f32]; M],
    f: impl Fn([L::Vector; N], [L::Vector; M]) -> [L::Vector; N],
) {
    let count = changed[0].len();
    let whole = count / L::COUNT * L::COUNT;
    for at in (0..whole).step_by(L::COUNT) {
        let now = crate::lanes::array(|i| lanes.load(&changed[i][at..]));
        let found = f(now, crate::lanes::array(|i| lanes.load(&read[i][at..])));
        for (changed, found) in changed.iter_mut().zip(found) {
            lanes.store(&mut changed[at..], found);
        }
    }
    if whole < count {
        // The remaining elements, padded with zeros.
        let padded = |values: &[f32]| {
            let mut block = [0.0; crate::lanes::BLOCK];
            block[..count - whole].copy_from_slice(&values[whole..]);
            lanes.load(&block)
        };
        let now = crate::lanes::array(|i| padded(&*changed[i]));
        let found = f(now, crate::lanes::array(|i| padded(read[i])));
        for (changed, found) in changed.iter_mut().zip(found) {
            let mut block = [0.0; crate::lanes::BLOCK];
            lanes.store(&mut block, found);
            changed[whole..].copy_from_slice(&block[..count - whole]);
        }
    }
}
