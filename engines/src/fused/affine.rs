//! Scales and shifts through which values are read: a bias, or batch norm.

use super::memory::Buffer;
use super::program::{Affine, Norm, Value};
use plusminus_kernels::View;

/// Batch norm's ε.
pub(crate) const EPSILON: f64 = 1e-5;

/// The share of the running statistics that each batch replaces.
pub(crate) const MOMENTUM: f64 = 0.1;

/// Stored values, with how they are read and what the gradient with respect to them is made with.
#[derive(Clone, Copy)]
pub(super) struct Seen<'a> {
    pub values: &'a [f32],
    pub view: View<'a>,
    /// Each channel's mean; nothing where there is no scale and shift.
    pub mean: &'a [f32],
    /// The gradient with respect to a value x where readers have g: α g + β x + γ for every channel, or g.
    pub factors: Option<[&'a [f32]; 3]>,
}

impl<'a> Seen<'a> {
    /// From sample number `first` on.
    pub fn samples(&self, first: usize, sample: usize) -> Seen<'a> {
        Seen { values: &self.values[first * sample..], ..*self }
    }

    /// The values of one sample.
    pub fn sample(&self, number: usize, sample: usize) -> &'a [f32] {
        &self.values[number * sample..][..sample]
    }
}

/// What is known of an [`Affine`] during a step.
#[derive(Debug)]
pub(super) struct Moving {
    scale: Vec<f32>,
    shift: Vec<f32>,
    mean: Vec<f32>,
    /// 1/√(variance + ε)
    inverse: Vec<f64>,
    factors: Option<[Vec<f32>; 3]>,
}

impl Moving {
    pub fn new(affine: &Affine) -> Self {
        let zeroes = || vec![0.0; affine.channels];
        Moving {
            scale: vec![1.0; affine.channels],
            shift: zeroes(),
            mean: zeroes(),
            inverse: vec![0.0; affine.channels],
            factors: affine.norm.as_ref().map(|_| [zeroes(), zeroes(), zeroes()]),
        }
    }

    /// `values` as their readers see them.
    pub fn see<'a>(this: Option<&'a Self>, value: &Value, values: &'a [f32]) -> Seen<'a> {
        let affine = this.map(|this| (&this.scale[..], &this.shift[..]));
        let factors = this.and_then(|this| this.factors.as_ref());
        Seen {
            values,
            view: View { affine, rectify: value.rectify },
            mean: this.map_or(&[], |this| &this.mean),
            factors: factors.map(|[alpha, beta, gamma]| [&alpha[..], beta, gamma]),
        }
    }

    /// After a forward pass with the batch's own moments (mean and squares of every sample, of so many `pixels` each), which move the
    /// running ones. `None` where there is no batch norm.
    pub fn settle(&mut self, affine: &Affine, parameters: &[f32], moments: &[f32], pixels: usize, running: &mut [f32]) {
        let Some(norm) = &affine.norm else { return self.settle_bias(affine, parameters) };
        let channels = affine.channels;
        let samples = moments.len() / (2 * channels);
        let count = (samples * pixels) as f64;
        for channel in 0..channels {
            let of = |sample: usize, which: usize| f64::from(moments[(2 * sample + which) * channels + channel]);
            let mean = (0..samples).map(|sample| of(sample, 0)).sum::<f64>() / samples as f64;
            // Chan, Golub & LeVeque 1983: squares about a common mean.
            let apart = |sample| {
                let distance = of(sample, 0) - mean;
                of(sample, 1) + pixels as f64 * distance * distance
            };
            let squares: f64 = (0..samples).map(apart).sum();
            self.normalise(norm, parameters, channel, mean, squares / count);
            let Some(at) = norm.mean.clone().nth(channel) else { continue };
            let bias = affine.bias.as_ref().map_or(0.0, |bias| f64::from(parameters[bias.start + channel]));
            let follow = |old: &mut f32, new: f64| *old = (f64::from(*old) * (1.0 - MOMENTUM) + new * MOMENTUM) as f32;
            follow(&mut running[at], mean + bias);
            follow(&mut running[norm.variance.start + channel], squares / (count - 1.0).max(1.0));
        }
    }

    /// Before a forward pass that uses the running moments.
    pub fn settle_running(&mut self, affine: &Affine, parameters: &[f32], running: &[f32]) {
        let Some(norm) = &affine.norm else { return self.settle_bias(affine, parameters) };
        for (channel, at) in norm.mean.clone().enumerate() {
            // The running mean is of values with their bias, the stored ones have none.
            let bias = affine.bias.as_ref().map_or(0.0, |bias| f64::from(parameters[bias.start + channel]));
            let mean = f64::from(running[at]) - bias;
            self.normalise(norm, parameters, channel, mean, f64::from(running[norm.variance.start + channel]));
        }
    }

    fn settle_bias(&mut self, affine: &Affine, parameters: &[f32]) {
        if let Some(bias) = &affine.bias {
            self.shift.copy_from_slice(&parameters[bias.clone()]);
        }
    }

    fn normalise(&mut self, norm: &Norm, parameters: &[f32], channel: usize, mean: f64, variance: f64) {
        let inverse = (variance + EPSILON).sqrt().recip();
        let scale = f64::from(parameters[norm.scale.start + channel]) * inverse;
        self.mean[channel] = mean as f32;
        self.inverse[channel] = inverse;
        self.scale[channel] = scale as f32;
        self.shift[channel] = (f64::from(parameters[norm.shift.start + channel]) - mean * scale) as f32;
    }

    /// On the way back: from `sums` (Σ g and Σ g · (x − mean) of every sample) the gradients of bias, scale and shift, and the factors
    /// that the gradient with respect to the values is made with.
    ///
    /// Batch norm takes away what a bias adds, so such a bias has no gradient.
    pub fn unsettle(
        &mut self,
        affine: &Affine,
        parameters: &[f32],
        sums: &[f32],
        pixels: usize,
        gradients: &mut [f32],
    ) {
        let channels = affine.channels;
        let samples = sums.len() / (2 * channels);
        let count = (samples * pixels) as f64;
        for channel in 0..channels {
            let total = |which: usize| -> f64 {
                (0..samples).map(|sample| f64::from(sums[(2 * sample + which) * channels + channel])).sum()
            };
            match (&affine.norm, &mut self.factors) {
                (Some(norm), Some([alpha, beta, gamma])) => {
                    let inverse = self.inverse[channel];
                    let (sum, normalised) = (total(0), total(1) * inverse);
                    gradients[norm.shift.start + channel] = sum as f32;
                    gradients[norm.scale.start + channel] = normalised as f32;
                    // dx = s/σ (g − Σg/N − x̂ Σ(g x̂)/N), with x̂ = (x − mean)/σ.
                    let factor = f64::from(parameters[norm.scale.start + channel]) * inverse;
                    let slope = -factor * normalised * inverse / count;
                    alpha[channel] = factor as f32;
                    beta[channel] = slope as f32;
                    gamma[channel] = (-factor * sum / count - slope * f64::from(self.mean[channel])) as f32;
                }
                _ => {
                    if let Some(bias) = &affine.bias {
                        gradients[bias.start + channel] = total(0) as f32;
                    }
                }
            }
        }
    }
}

/// Where samples' moments and sums stand, one of each affine: two values a channel and sample.
pub(super) fn partials(affine: &Affine, samples: usize) -> Buffer {
    Buffer::zeroes(2 * affine.channels * samples)
}
