//! The scale and shift of a view: a bias, or batch norm (Ioffe & Szegedy 2015).

use super::program::{Affine, Norm, Value};
use plusminus_kernels::View;

/// ε of batch norm.
pub(crate) const EPSILON: f64 = 1e-5;

/// The weight of a batch's statistics in the running statistics.
pub(crate) const MOMENTUM: f64 = 0.1;

/// A value with its view, and the factors of its gradient.
#[derive(Clone, Copy)]
pub(super) struct ValueView<'a> {
    /// The stored values of all samples.
    pub values: &'a [f32],
    pub view: View<'a>,
    /// The mean of each channel; empty without a scale and shift.
    pub mean: &'a [f32],
    /// α, β and γ of each channel: the gradient with respect to the stored value x is α g + β x + γ, where g is the gradient with respect
    /// to the viewed value. `None` if the two gradients are equal.
    pub factors: Option<[&'a [f32]; 3]>,
}

impl<'a> ValueView<'a> {
    /// The samples from `first` on, of `size` values each.
    pub fn samples(&self, first: usize, size: usize) -> ValueView<'a> {
        ValueView { values: &self.values[first * size..], ..*self }
    }

    /// The stored values of one sample, `size` of them.
    pub fn sample(&self, index: usize, size: usize) -> &'a [f32] {
        &self.values[index * size..][..size]
    }
}

/// The values of an [`Affine`] during a step, one per channel.
#[derive(Debug)]
pub(super) struct AffineState {
    scale: Vec<f32>,
    shift: Vec<f32>,
    mean: Vec<f32>,
    /// 1/√(variance + ε).
    inverse: Vec<f64>,
    /// See [`ValueView::factors`].
    factors: Option<[Vec<f32>; 3]>,
}

impl AffineState {
    pub fn new(affine: &Affine) -> Self {
        let zeros = || vec![0.0; affine.channels];
        AffineState {
            scale: vec![1.0; affine.channels],
            shift: zeros(),
            mean: zeros(),
            inverse: vec![0.0; affine.channels],
            factors: affine.norm.as_ref().map(|_| [zeros(), zeros(), zeros()]),
        }
    }

    /// The view of `value`, whose stored values are `values`.
    pub fn view<'a>(this: Option<&'a Self>, value: &Value, values: &'a [f32]) -> ValueView<'a> {
        let affine = this.map(|this| (&this.scale[..], &this.shift[..]));
        let factors = this.and_then(|this| this.factors.as_ref());
        ValueView {
            values,
            view: View { affine, rectify: value.rectify },
            mean: this.map_or(&[], |this| &this.mean),
            factors: factors.map(|[alpha, beta, gamma]| [&alpha[..], beta, gamma]),
        }
    }

    /// Sets scale and shift from the statistics of a batch and updates the running statistics.
    ///
    /// `moments` has, for each sample, the mean and the sum of squared deviations of every channel over `pixels` pixels.
    pub fn use_batch_statistics(
        &mut self,
        affine: &Affine,
        parameters: &[f32],
        moments: &[f32],
        pixels: usize,
        running: &mut [f32],
    ) {
        let Some(norm) = &affine.norm else { return self.use_bias(affine, parameters) };
        let channels = affine.channels;
        let samples = moments.len() / (2 * channels);
        let count = (samples * pixels) as f64;
        for channel in 0..channels {
            let of = |sample: usize, which: usize| f64::from(moments[(2 * sample + which) * channels + channel]);
            let mean = (0..samples).map(|sample| of(sample, 0)).sum::<f64>() / samples as f64;
            // Chan, Golub & LeVeque 1983: moves the squared deviations to the common mean.
            let apart = |sample| {
                let distance = of(sample, 0) - mean;
                of(sample, 1) + pixels as f64 * distance * distance
            };
            let squares: f64 = (0..samples).map(apart).sum();
            self.normalise(norm, parameters, channel, mean, squares / count);
            let Some(at) = norm.mean.clone().nth(channel) else { continue };
            let bias = affine.bias.as_ref().map_or(0.0, |bias| f64::from(parameters[bias.start + channel]));
            let update = |old: &mut f32, new: f64| *old = (f64::from(*old) * (1.0 - MOMENTUM) + new * MOMENTUM) as f32;
            update(&mut running[at], mean + bias);
            update(&mut running[norm.variance.start + channel], squares / (count - 1.0).max(1.0));
        }
    }

    /// Sets scale and shift from the running statistics, for evaluation.
    pub fn use_running_statistics(&mut self, affine: &Affine, parameters: &[f32], running: &[f32]) {
        let Some(norm) = &affine.norm else { return self.use_bias(affine, parameters) };
        for (channel, at) in norm.mean.clone().enumerate() {
            // The running mean includes the bias; the stored values do not.
            let bias = affine.bias.as_ref().map_or(0.0, |bias| f64::from(parameters[bias.start + channel]));
            let mean = f64::from(running[at]) - bias;
            self.normalise(norm, parameters, channel, mean, f64::from(running[norm.variance.start + channel]));
        }
    }

    fn use_bias(&mut self, affine: &Affine, parameters: &[f32]) {
        if let Some(bias) = &affine.bias {
            self.shift.copy_from_slice(&parameters[bias.clone()]);
        }
    }

    /// y = γ (x − mean)/√(variance + ε) + β, as scale · x + shift.
    fn normalise(&mut self, norm: &Norm, parameters: &[f32], channel: usize, mean: f64, variance: f64) {
        let inverse = (variance + EPSILON).sqrt().recip();
        let scale = f64::from(parameters[norm.scale.start + channel]) * inverse;
        self.mean[channel] = mean as f32;
        self.inverse[channel] = inverse;
        self.scale[channel] = scale as f32;
        self.shift[channel] = (f64::from(parameters[norm.shift.start + channel]) - mean * scale) as f32;
    }

    /// Writes the gradients of bias, or of batch norm's scale and shift, and sets the factors of the value's gradient.
    ///
    /// `sums` has, for each sample, Σ g and Σ g · (x − mean) of every channel over `pixels` pixels. Batch norm removes a bias before it,
    /// so the gradient of such a bias is zero.
    pub fn differentiate(
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
