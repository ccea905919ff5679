//! ReLU, alone and after a sum. Its gradient at 0 is 0.

use super::{Operation, TensorValues, argument_values, tensor_like};
use candle_core::{CpuStorage, CustomOp1, CustomOp2, Layout, Result, Shape, Tensor};

/// max(x, 0). NaN propagates, so that a divergence is detected.
fn rectified(x: f32) -> f32 {
    if x < 0.0 { 0.0 } else { x }
}

/// The gradient where the output is positive, and 0 elsewhere.
fn masked(output: &Tensor, gradient: &Tensor) -> Result<Tensor> {
    let gradient = gradient.contiguous()?;
    let (y, g) = (TensorValues::of(output)?, TensorValues::of(&gradient)?);
    tensor_like(y.iter().zip(g.iter()).map(|(y, g)| if *y > 0.0 { *g } else { 0.0 }).collect(), output)
}

/// max(x, 0).
pub(crate) struct Relu;

impl Operation<1> for Relu {
    fn custom(self, [x]: [&Tensor; 1]) -> Result<Tensor> {
        x.apply_op1(self)
    }

    /// candle's maximum of x and 0 has another gradient at 0. NaN fails the comparison and so propagates.
    fn composed(self, [x]: [&Tensor; 1]) -> Result<Tensor> {
        x.le(0f32)?.where_cond(&x.zeros_like()?, x)
    }
}

impl CustomOp1 for Relu {
    fn name(&self) -> &'static str {
        "relu"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let y = argument_values(x, layout)?.iter().map(|x| rectified(*x)).collect();
        Ok((CpuStorage::F32(y), layout.shape().clone()))
    }

    fn bwd(&self, _: &Tensor, output: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        masked(output, gradient).map(Some)
    }
}

/// max(a + b, 0): the end of a residual block.
pub(crate) struct AddRelu;

impl Operation<2> for AddRelu {
    fn custom(self, [a, b]: [&Tensor; 2]) -> Result<Tensor> {
        a.apply_op2(b, self)
    }

    fn composed(self, [a, b]: [&Tensor; 2]) -> Result<Tensor> {
        Relu.composed([&a.add(b)?])
    }
}

impl CustomOp2 for AddRelu {
    fn name(&self) -> &'static str {
        "add-relu"
    }

    fn cpu_fwd(&self, a: &CpuStorage, la: &Layout, b: &CpuStorage, lb: &Layout) -> Result<(CpuStorage, Shape)> {
        let (a, b) = (argument_values(a, la)?, argument_values(b, lb)?);
        let y = a.iter().zip(b).map(|(a, b)| rectified(a + b)).collect();
        Ok((CpuStorage::F32(y), la.shape().clone()))
    }

    fn bwd(
        &self,
        _: &Tensor,
        _: &Tensor,
        output: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let gradient = masked(output, gradient)?;
        Ok((Some(gradient.clone()), Some(gradient)))
    }
}
