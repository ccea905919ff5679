//! Batch normalisation (Ioffe & Szegedy 2015), with an optional ReLU in the same pass.

use super::{Operation, Relu, TensorValues, argument_values, column_sums, tensor_like};
use candle_core::{CpuStorage, CustomOp1, CustomOp3, Error, Layout, Result, Shape, Tensor};
use std::sync::{Arc, OnceLock};

const EPSILON: f64 = 1e-5;

/// Mean and variance of each channel over one batch.
#[derive(Debug)]
pub(crate) struct BatchStatistics {
    /// `[channel]`.
    pub mean: Vec<f64>,
    /// The biased variance, `[channel]`.
    pub variance: Vec<f64>,
    /// Values per channel.
    pub count: usize,
}

impl BatchStatistics {
    fn of(x: &[f32], channels: usize) -> Self {
        let count = x.len() / channels;
        let row = |row: usize| &x[row * channels..][..channels];
        let mean: Vec<f64> = column_sums(count, channels, |i, sums| {
            sums.iter_mut().zip(row(i)).for_each(|(sum, x)| *sum += x);
        })
        .into_iter()
        .map(|sum| sum / count as f64)
        .collect();
        let centre: Vec<f32> = mean.iter().map(|mean| *mean as f32).collect();
        let squares = column_sums(count, channels, |i, sums| {
            for ((sum, x), centre) in sums.iter_mut().zip(row(i)).zip(&centre) {
                *sum += (x - centre) * (x - centre);
            }
        });
        BatchStatistics { variance: squares.into_iter().map(|sum| sum / count as f64).collect(), mean, count }
    }

    /// The unbiased variance. For a single value, where it is undefined, the biased variance 0.
    pub fn unbiased(&self) -> impl Iterator<Item = f64> + '_ {
        let correction = self.count as f64 / (self.count.max(2) - 1) as f64;
        self.variance.iter().map(move |variance| variance * correction)
    }
}

/// 1/√(variance + ε).
fn reciprocal(variance: f64) -> f64 {
    (variance + EPSILON).sqrt().recip()
}

/// Batch norm in training: scale · (x − mean)/√(variance + ε) + shift, on (x, scale, shift), with the statistics of the batch.
pub(crate) struct BatchNorm {
    /// Whether a ReLU follows.
    pub relu: bool,
    /// Receives the statistics in the forward pass.
    pub statistics: Arc<OnceLock<BatchStatistics>>,
}

impl Operation<3> for BatchNorm {
    fn custom(self, [x, scale, shift]: [&Tensor; 3]) -> Result<Tensor> {
        x.apply_op3(scale, shift, self)
    }

    fn composed(self, [x, scale, shift]: [&Tensor; 3]) -> Result<Tensor> {
        let rows = x.reshape(((), scale.elem_count()))?;
        let mean = rows.mean_keepdim(0)?;
        let centred = rows.broadcast_sub(&mean)?;
        let variance = centred.sqr()?.mean_keepdim(0)?;
        let moment = |tensor: &Tensor| -> Result<Vec<f64>> {
            Ok(tensor.flatten_all()?.to_vec1::<f32>()?.into_iter().map(f64::from).collect())
        };
        let statistics = BatchStatistics { mean: moment(&mean)?, variance: moment(&variance)?, count: rows.dim(0)? };
        self.statistics.get_or_init(|| statistics);
        let normal = centred.broadcast_div(&(variance + EPSILON)?.sqrt()?)?;
        let y = normal.broadcast_mul(scale)?.broadcast_add(shift)?.reshape(x.shape())?;
        if self.relu { Relu.composed([&y]) } else { Ok(y) }
    }
}

impl CustomOp3 for BatchNorm {
    fn name(&self) -> &'static str {
        "batch-norm"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        layout: &Layout,
        scale: &CpuStorage,
        scale_layout: &Layout,
        shift: &CpuStorage,
        shift_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let x = argument_values(x, layout)?;
        let (scale, shift) = (argument_values(scale, scale_layout)?, argument_values(shift, shift_layout)?);
        let statistics = self.statistics.get_or_init(|| BatchStatistics::of(x, scale.len()));
        let channels = statistics.mean.iter().zip(&statistics.variance).zip(scale.iter().zip(shift));
        let affine = channels.map(|((mean, variance), (scale, shift))| {
            let factor = f64::from(*scale) * reciprocal(*variance);
            (factor as f32, (f64::from(*shift) - mean * factor) as f32)
        });
        Ok((CpuStorage::F32(apply(x, affine, self.relu)), layout.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        scale: &Tensor,
        _: &Tensor,
        output: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let gradient = gradient.contiguous()?;
        let statistics =
            self.statistics.get().ok_or_else(|| Error::Msg("batch norm ran backward before forward".into()))?;
        let (xs, scales, y, g) =
            (TensorValues::of(x)?, TensorValues::of(scale)?, TensorValues::of(output)?, TensorValues::of(&gradient)?);
        let channels = scales.len();
        let rows = xs.len() / channels;
        let row = |values: &[f32], i: usize| -> std::ops::Range<usize> {
            debug_assert!(values.len() >= (i + 1) * channels);
            i * channels..(i + 1) * channels
        };
        // Without a ReLU every gradient passes.
        let floor = if self.relu { 0.0 } else { f32::NEG_INFINITY };
        let pass = |y: f32, g: f32| if y > floor { g } else { 0.0 };
        let centre: Vec<f32> = statistics.mean.iter().map(|mean| *mean as f32).collect();
        let shift_gradient = column_sums(rows, channels, |i, sums| {
            let r = row(&g, i);
            for ((sum, g), y) in sums.iter_mut().zip(&g[r.clone()]).zip(&y[r]) {
                *sum += pass(*y, *g);
            }
        });
        // Σ g (x − mean), which divided by the deviation is the gradient of the scale.
        let products = column_sums(rows, channels, |i, sums| {
            let r = row(&g, i);
            let values = g[r.clone()].iter().zip(&y[r.clone()]).zip(xs[r].iter().zip(&centre));
            for (sum, ((g, y), (x, centre))) in sums.iter_mut().zip(values) {
                *sum += pass(*y, *g) * (x - centre);
            }
        });
        let deviations: Vec<f64> = statistics.variance.iter().map(|variance| reciprocal(*variance)).collect();
        // dx = scale/σ · (g − mean(g) − x̂ · mean(g x̂)), written as a g + b x + c.
        let coefficients: Vec<(f32, f32, f32)> = (0..channels)
            .map(|c| {
                let a = f64::from(scales[c]) * deviations[c];
                let b = -a * deviations[c] * deviations[c] * products[c] / rows as f64;
                // b (x − mean) instead of b x avoids cancellation if the mean is far from 0.
                (a as f32, b as f32, (-a * shift_gradient[c] / rows as f64) as f32)
            })
            .collect();
        let mut dx = vec![0.0; xs.len()];
        for (i, dx) in dx.chunks_exact_mut(channels).enumerate() {
            let r = row(&g, i);
            let values = g[r.clone()].iter().zip(&y[r.clone()]).zip(xs[r].iter().zip(&centre));
            for ((dx, (a, b, c)), ((g, y), (x, centre))) in dx.iter_mut().zip(&coefficients).zip(values) {
                *dx = a * pass(*y, *g) + b * (x - centre) + c;
            }
        }
        let scale_gradient =
            products.iter().zip(&deviations).map(|(sum, deviation)| (sum * deviation) as f32).collect();
        let shift_gradient = shift_gradient.iter().map(|sum| *sum as f32).collect();
        Ok((
            Some(tensor_like(dx, x)?),
            Some(tensor_like(scale_gradient, scale)?),
            Some(tensor_like(shift_gradient, scale)?),
        ))
    }
}

/// factor · x + offset per channel, then ReLU if `relu` is set.
fn apply(x: &[f32], affine: impl Iterator<Item = (f32, f32)>, relu: bool) -> Vec<f32> {
    let affine: Vec<(f32, f32)> = affine.collect();
    let floor = if relu { 0.0 } else { f32::NEG_INFINITY };
    let mut y = x.to_vec();
    for row in y.chunks_exact_mut(affine.len()) {
        for (y, (factor, offset)) in row.iter_mut().zip(&affine) {
            let value = *y * factor + offset;
            *y = if value < floor { floor } else { value };
        }
    }
    y
}

/// Batch norm in evaluation: an affine map, from running statistics. It has no gradient.
pub(crate) struct BatchNormEvaluation {
    affine: Vec<(f32, f32)>,
    relu: bool,
}

impl BatchNormEvaluation {
    /// scale · (x − mean)/√(variance + ε) + shift.
    pub fn new(scale: &[f32], shift: &[f32], mean: &[f32], variance: &[f32], relu: bool) -> Self {
        let channels = scale.iter().zip(shift).zip(mean.iter().zip(variance));
        let affine = channels.map(|((scale, shift), (mean, variance))| {
            let factor = f64::from(*scale) * reciprocal(f64::from(*variance));
            (factor as f32, (f64::from(*shift) - f64::from(*mean) * factor) as f32)
        });
        BatchNormEvaluation { affine: affine.collect(), relu }
    }
}

impl Operation<1> for BatchNormEvaluation {
    fn custom(self, [x]: [&Tensor; 1]) -> Result<Tensor> {
        x.apply_op1(self)
    }

    fn composed(self, [x]: [&Tensor; 1]) -> Result<Tensor> {
        let (factors, offsets): (Vec<f32>, Vec<f32>) = self.affine.into_iter().unzip();
        let channels = |values| Tensor::new(values, x.device());
        let y = x.broadcast_mul(&channels(factors)?)?.broadcast_add(&channels(offsets)?)?;
        if self.relu { Relu.composed([&y]) } else { Ok(y) }
    }
}

impl CustomOp1 for BatchNormEvaluation {
    fn name(&self) -> &'static str {
        "affine"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let y = apply(argument_values(x, layout)?, self.affine.iter().copied(), self.relu);
        Ok((CpuStorage::F32(y), layout.shape().clone()))
    }
}
