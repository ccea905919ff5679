//! The program of a network: its steps and their buffers, compiled once from the layers. CPU and GPU engine run the same program.
//!
//! - `ir`: the intermediate representation. `build`: from layers to steps. `gradient_buffers`: the buffers of the backward pass.

mod build;
mod gradient_buffers;
mod ir;

pub(crate) use ir::{
    Affine, Convolution, GradientFlow, Input, Norm, Program, Shape, Step, Unsupported, Value, ValueId,
};

use super::parameters::WeightOrder;
use crate::weights::Plan;
use plusminus_core::methods::networks::Network;

/// Compiles `network`, whose flat list of weights has this plan and whose stored weights have this order.
pub(crate) fn compile(network: &Network, plan: &Plan, order: WeightOrder) -> Result<Program, Unsupported> {
    let mut program = build::build(network, plan, order)?;
    if program.logits == 0 {
        return Err(Unsupported("it has no layers that compute anything".into()));
    }
    if program.values[program.logits].shape.pixels() != 1 {
        return Err(Unsupported("its logits are a flattened image".into()));
    }
    if !program.parameters.covers(plan) {
        return Err(Unsupported("it has weights that no step uses".into()));
    }
    gradient_buffers::assign(&mut program);
    Ok(program)
}
