//! A network's layers over candle's tensors, images as sample × row × column × channel.

use super::super::{EngineError, Plan, Weights};
use super::ops::{AddRelu, Affine, BatchNorm, Convolve, GlobalAverage, MaxPool, PadChannels, Relu};
use candle_core::{Device, Result, Tensor};
use plusminus_core::methods::networks::{Layer, Network, Shortcut};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

/// A share of the running statistics that each batch replaces.
const MOMENTUM: f64 = 0.1;

/// A layer with the places of its weights. A ReLU after batch norm or a residual block is part of it: a pass less.
pub(super) enum Node {
    Convolution { weight: usize, bias: Option<usize>, operation: Convolve },
    BatchNorm { scale: usize, shift: usize, mean: Range<usize>, variance: Range<usize>, relu: bool },
    Relu,
    MaxPool { kernel: usize, stride: usize },
    GlobalAverage,
    Flatten,
    Dropout(f64),
    Linear { weight: usize, bias: usize },
    Residual { body: Vec<Node>, shortcut: Path, relu: bool },
}

/// The path around a block.
pub(super) enum Path {
    Identity,
    Pad { stride: usize, channels: usize },
    Projection(Vec<Node>),
}

/// What a forward pass is for.
pub(super) enum Mode<'a> {
    /// Batch statistics, which move the running ones; masks from the generator.
    Training(&'a mut ChaCha8Rng),
    /// Running statistics, no dropout.
    Evaluation,
}

/// One forward pass.
pub(super) struct Pass<'a> {
    /// The trained arrays in the plan's order.
    pub tensors: &'a [Tensor],
    /// The flat list that the running statistics stand in.
    pub weights: &'a mut Weights,
    /// What the pass is for.
    pub mode: Mode<'a>,
}

/// The nodes of `network`, whose weights are laid out as `plan` says.
pub(super) fn nodes(network: &Network, plan: &Plan) -> std::result::Result<Vec<Node>, EngineError> {
    build(&network.layers, "", plan)
}

fn build(layers: &[Layer], path: &str, plan: &Plan) -> std::result::Result<Vec<Node>, EngineError> {
    let mut nodes: Vec<Node> = Vec::with_capacity(layers.len());
    for (i, layer) in layers.iter().enumerate() {
        let place = |name: &str| {
            let name = format!("{path}{i}.{name}");
            let found = plan.entries().iter().position(|entry| entry.name == name);
            found.ok_or_else(|| EngineError::new(format!("the weights lack {name}")))
        };
        let range = |name: &str| place(name).map(|at| plan.entries()[at].range.clone());
        let node = match layer {
            Layer::Convolution(c) => Node::Convolution {
                weight: place("weight")?,
                bias: if c.bias { Some(place("bias")?) } else { None },
                operation: Convolve { stride: c.stride, padding: c.padding },
            },
            Layer::BatchNorm(_) => Node::BatchNorm {
                scale: place("weight")?,
                shift: place("bias")?,
                mean: range("running_mean")?,
                variance: range("running_var")?,
                relu: false,
            },
            Layer::Relu => match nodes.last_mut() {
                Some(Node::BatchNorm { relu, .. } | Node::Residual { relu, .. }) if !*relu => {
                    *relu = true;
                    continue;
                }
                _ => Node::Relu,
            },
            // The maximum of rectified values is the rectified maximum, and where it is 0 neither order passes a gradient:
            // so pool first, and rectify a part of the values.
            Layer::MaxPool { kernel, stride } => {
                let pool = Node::MaxPool { kernel: *kernel, stride: *stride };
                match nodes.last() {
                    Some(Node::Relu) => {
                        nodes.insert(nodes.len() - 1, pool);
                        continue;
                    }
                    _ => pool,
                }
            }
            Layer::GlobalAveragePool => Node::GlobalAverage,
            Layer::Flatten => Node::Flatten,
            Layer::Dropout(share) => Node::Dropout(*share),
            Layer::Linear { .. } => Node::Linear { weight: place("weight")?, bias: place("bias")? },
            Layer::Residual { body, shortcut } => Node::Residual {
                body: build(body, &format!("{path}{i}.body."), plan)?,
                shortcut: match shortcut {
                    Shortcut::Identity => Path::Identity,
                    Shortcut::Pad { stride, channels } => Path::Pad { stride: *stride, channels: *channels },
                    Shortcut::Projection(layers) => {
                        Path::Projection(build(layers, &format!("{path}{i}.shortcut."), plan)?)
                    }
                },
                relu: false,
            },
        };
        nodes.push(node);
    }
    Ok(nodes)
}

/// What comes out of `nodes` where `x` goes in.
pub(super) fn forward(nodes: &[Node], x: Tensor, pass: &mut Pass<'_>) -> Result<Tensor> {
    nodes.iter().try_fold(x, |x, node| node.forward(x, pass))
}

impl Node {
    fn forward(&self, x: Tensor, pass: &mut Pass<'_>) -> Result<Tensor> {
        match self {
            Node::Convolution { weight, bias, operation } => {
                let weight = &pass.tensors[*weight];
                match bias {
                    Some(bias) => x.apply_op3(weight, &pass.tensors[*bias], *operation),
                    None => x.apply_op2(weight, *operation),
                }
            }
            Node::BatchNorm { scale, shift, mean, variance, relu } => {
                let (scale, shift) = (&pass.tensors[*scale], &pass.tensors[*shift]);
                let values = pass.weights.values_mut();
                if let Mode::Evaluation = pass.mode {
                    let (scale, shift) = (scale.to_vec1()?, shift.to_vec1()?);
                    let (mean, variance) = (&values[mean.clone()], &values[variance.clone()]);
                    return x.apply_op1(Affine::new(&scale, &shift, mean, variance, *relu));
                }
                let moments = Arc::new(OnceLock::new());
                let y = x.apply_op3(scale, shift, BatchNorm { relu: *relu, moments: Arc::clone(&moments) })?;
                if let Some(moments) = moments.get() {
                    let follow = |running: &mut f32, batch: f64| {
                        *running = (f64::from(*running) * (1.0 - MOMENTUM) + batch * MOMENTUM) as f32;
                    };
                    values[mean.clone()].iter_mut().zip(&moments.mean).for_each(|(r, b)| follow(r, *b));
                    values[variance.clone()].iter_mut().zip(moments.unbiased()).for_each(|(r, b)| follow(r, b));
                }
                Ok(y)
            }
            Node::Relu => x.apply_op1(Relu),
            Node::MaxPool { kernel, stride } => x.apply_op1(MaxPool { kernel: *kernel, stride: *stride }),
            Node::GlobalAverage => x.apply_op1(GlobalAverage),
            // Weights after this know the order channel, row, column.
            Node::Flatten => channels_first(&x)?.flatten_from(1),
            Node::Dropout(share) => match &mut pass.mode {
                Mode::Training(generator) if *share > 0.0 => dropout(&x, *share, generator),
                _ => Ok(x),
            },
            Node::Linear { weight, bias } => {
                let (weight, bias) = (&pass.tensors[*weight], &pass.tensors[*bias]);
                let (output, input) = weight.dims2()?;
                let kernels = weight.reshape((output, input, 1, 1))?;
                let samples = x.dim(0)?;
                let operation = Convolve { stride: 1, padding: 0 };
                x.reshape((samples, 1, 1, input))?.apply_op3(&kernels, bias, operation)?.reshape((samples, output))
            }
            Node::Residual { body, shortcut, relu } => {
                let around = match shortcut {
                    Path::Identity => x.clone(),
                    Path::Pad { stride, channels } => {
                        x.apply_op1(PadChannels { stride: *stride, channels: *channels })?
                    }
                    Path::Projection(nodes) => forward(nodes, x.clone(), pass)?,
                };
                let inside = forward(body, x, pass)?;
                if *relu { inside.apply_op2(&around, AddRelu) } else { inside.add(&around) }
            }
        }
    }
}

fn channels_first(x: &Tensor) -> Result<Tensor> {
    if x.rank() == 4 { x.permute((0, 3, 1, 2))?.contiguous() } else { Ok(x.clone()) }
}

/// x with this share of its values zeroed and the others scaled up; masks are drawn channel, row, column.
fn dropout(x: &Tensor, share: f64, generator: &mut ChaCha8Rng) -> Result<Tensor> {
    let kept = (1.0 / (1.0 - share)) as f32;
    let mask: Vec<f32> =
        (0..x.elem_count()).map(|_| if generator.random::<f64>() < share { 0.0 } else { kept }).collect();
    let mask = match *x.dims() {
        [n, h, w, c] => Tensor::from_vec(mask, (n, c, h, w), &Device::Cpu)?.permute((0, 2, 3, 1))?.contiguous()?,
        _ => Tensor::from_vec(mask, x.shape(), &Device::Cpu)?,
    };
    x.mul(&mask)
}
