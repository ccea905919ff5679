//! A network's layers over candle's tensors, images as sample × row × column × channel.

use super::super::{EngineError, Plan, Weights};
use super::ops::{AddRelu, Affine, BatchNorm, Convolve, GlobalAverage, MaxPool, Operation, PadChannels, Relu};
use candle_core::{DType, Result, Tensor};
use plusminus_core::methods::networks::{Layer, Network, Shortcut};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

/// A share of the running statistics that each batch replaces.
const MOMENTUM: f64 = 0.1;

/// A layer with the places of its weights. A ReLU after batch norm or a residual block is part of it: a pass less.
pub(super) enum Node {
    Embedding { weight: usize },
    Convolution { weight: usize, bias: Option<usize>, operation: Convolve },
    BatchNorm { scale: usize, shift: usize, mean: Range<usize>, variance: Range<usize>, relu: bool },
    Relu,
    Tanh,
    MaxPool { kernel: usize, stride: usize, padding: usize },
    GlobalAverage,
    GlobalMax,
    Flatten,
    Dropout(f64),
    Linear { weight: usize, bias: usize },
    Residual { body: Vec<Node>, shortcut: Path, relu: bool },
    Branches(Vec<Vec<Node>>),
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
            Layer::Embedding { .. } => Node::Embedding { weight: place("weight")? },
            Layer::Convolution(c) => Node::Convolution {
                weight: place("weight")?,
                bias: if c.bias { Some(place("bias")?) } else { None },
                operation: Convolve { stride: c.stride, margin: c.margin() },
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
            Layer::Tanh => Node::Tanh,
            // The maximum of rectified values is the rectified maximum, and where it is 0 neither order passes a gradient:
            // so pool first, and rectify a part of the values.
            Layer::MaxPool { kernel, stride, padding } => {
                let pool = Node::MaxPool { kernel: *kernel, stride: *stride, padding: *padding };
                match nodes.last() {
                    Some(Node::Relu) => {
                        nodes.insert(nodes.len() - 1, pool);
                        continue;
                    }
                    _ => pool,
                }
            }
            Layer::GlobalAveragePool => Node::GlobalAverage,
            Layer::GlobalMaxPool => Node::GlobalMax,
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
            Layer::Branches(branches) => {
                let build = |(branch, layers): (usize, &Vec<Layer>)| {
                    build(layers, &format!("{path}{i}.branches.{branch}."), plan)
                };
                Node::Branches(branches.iter().enumerate().map(build).collect::<std::result::Result<_, _>>()?)
            }
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
            // candle's own serves: its gradient is summed token by token in their order.
            Node::Embedding { weight } => {
                let (vectors, (samples, _, length, _)) = (&pass.tensors[*weight], x.dims4()?);
                let tokens = x.flatten_all()?.to_dtype(DType::U32)?;
                vectors.index_select(&tokens, 0)?.reshape((samples, 1, length, vectors.dim(1)?))
            }
            Node::Convolution { weight, bias, operation } => {
                let weight = &pass.tensors[*weight];
                let weight = match *weight.dims() {
                    [output, input, columns] => weight.reshape((output, input, 1, columns))?,
                    _ => weight.clone(),
                };
                match bias {
                    Some(bias) => operation.apply([&x, &weight, &pass.tensors[*bias]]),
                    None => operation.apply([&x, &weight]),
                }
            }
            Node::BatchNorm { scale, shift, mean, variance, relu } => {
                let (scale, shift) = (&pass.tensors[*scale], &pass.tensors[*shift]);
                let values = pass.weights.values_mut();
                if let Mode::Evaluation = pass.mode {
                    let (scale, shift) = (scale.to_vec1()?, shift.to_vec1()?);
                    let (mean, variance) = (&values[mean.clone()], &values[variance.clone()]);
                    return Affine::new(&scale, &shift, mean, variance, *relu).apply([&x]);
                }
                let moments = Arc::new(OnceLock::new());
                let y = BatchNorm { relu: *relu, moments: Arc::clone(&moments) }.apply([&x, scale, shift])?;
                if let Some(moments) = moments.get() {
                    let follow = |running: &mut f32, batch: f64| {
                        *running = (f64::from(*running) * (1.0 - MOMENTUM) + batch * MOMENTUM) as f32;
                    };
                    values[mean.clone()].iter_mut().zip(&moments.mean).for_each(|(r, b)| follow(r, *b));
                    values[variance.clone()].iter_mut().zip(moments.unbiased()).for_each(|(r, b)| follow(r, b));
                }
                Ok(y)
            }
            Node::Relu => Relu.apply([&x]),
            Node::Tanh => x.tanh(),
            Node::MaxPool { kernel, stride, padding } => {
                MaxPool { kernel: (*kernel, *kernel), stride: *stride, padding: *padding }.apply([&x])
            }
            Node::GlobalAverage => GlobalAverage.apply([&x]),
            Node::GlobalMax => {
                let (_, height, width, _) = x.dims4()?;
                MaxPool { kernel: (height, width), stride: 1, padding: 0 }.apply([&x])
            }
            // Weights after this know the order channel, row, column.
            Node::Flatten => x.permute((0, 3, 1, 2))?.reshape((x.dim(0)?, 1, 1, ())),
            Node::Dropout(share) => match &mut pass.mode {
                Mode::Training(generator) if *share > 0.0 => dropout(&x, *share, generator),
                _ => Ok(x),
            },
            Node::Linear { weight, bias } => {
                let (weight, bias) = (&pass.tensors[*weight], &pass.tensors[*bias]);
                let (output, input) = weight.dims2()?;
                let kernels = weight.reshape((output, input, 1, 1))?;
                Convolve { stride: 1, margin: (0, 0) }.apply([&x, &kernels, bias])
            }
            Node::Residual { body, shortcut, relu } => {
                let around = match shortcut {
                    Path::Identity => x.clone(),
                    Path::Pad { stride, channels } => {
                        PadChannels { stride: *stride, channels: *channels }.apply([&x])?
                    }
                    Path::Projection(nodes) => forward(nodes, x.clone(), pass)?,
                };
                let inside = forward(body, x, pass)?;
                if *relu { AddRelu.apply([&inside, &around]) } else { inside.add(&around) }
            }
            Node::Branches(branches) => {
                let outputs =
                    branches.iter().map(|nodes| forward(nodes, x.clone(), pass)).collect::<Result<Vec<Tensor>>>()?;
                Tensor::cat(&outputs, 3)?.contiguous()
            }
        }
    }
}

/// x with this share of its values zeroed and the others scaled up; masks are drawn channel, row, column.
fn dropout(x: &Tensor, share: f64, generator: &mut ChaCha8Rng) -> Result<Tensor> {
    let kept = (1.0 / (1.0 - share)) as f32;
    let mask: Vec<f32> =
        (0..x.elem_count()).map(|_| if generator.random::<f64>() < share { 0.0 } else { kept }).collect();
    let (n, h, w, c) = x.dims4()?;
    let mask = Tensor::from_vec(mask, (n, c, h, w), x.device())?.permute((0, 2, 3, 1))?.contiguous()?;
    x.mul(&mask)
}
