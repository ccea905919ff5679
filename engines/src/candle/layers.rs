//! A network's layers on candle's tensors. Images are `[samples, rows, columns, channels]`.
use super::ops::{
    AddRelu, BatchNorm, BatchNormEvaluation, Convolve, GlobalAverage, MaxPool, Operation, PadChannels, Relu,
};
use crate::error::EngineError;
use crate::weights::{Plan, Weights};
use candle_core::{DType, Result, Tensor};
use plusminus_core::methods::networks::{Layer, Network, Shortcut};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

/// The weight of a batch's statistics in the running statistics.
const MOMENTUM: f64 = 0.1;

/// A layer with the indices of its arrays in the plan. A ReLU after batch norm or a residual block is part of that node, which saves a pass.
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
    Residual { body: Vec<Node>, shortcut: ShortcutPath, relu: bool },
    Branches(Vec<Vec<Node>>),
}

/// The path around a residual block.
pub(super) enum ShortcutPath {
    Identity,
    Pad { stride: usize, channels: usize },
    Projection(Vec<Node>),
}

/// The purpose of a forward pass.
pub(super) enum Mode<'a> {
    /// Uses batch statistics, updates the running ones, and draws masks from the generator.
    Training(&'a mut ChaCha8Rng),
    /// Uses running statistics and no dropout.
    Evaluation,
}

/// One forward pass.
pub(super) struct Pass<'a> {
    /// The trained arrays, in the plan's order.
    pub tensors: &'a [Tensor],
    /// The flat list of weights, with the running statistics.
    pub weights: &'a mut Weights,
    /// The purpose of the pass.
    pub mode: Mode<'a>,
}

/// The nodes of `network`, whose flat list of weights has this plan.
pub(super) fn nodes(network: &Network, plan: &Plan) -> std::result::Result<Vec<Node>, EngineError> {
    build(&network.layers, "", plan)
}

/// The nodes of `layers`; `path` is the prefix of their arrays' names.
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
            // ReLU and max pooling commute, in their gradients, too. So pool first: ReLU then has fewer values.
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
                    Shortcut::Identity => ShortcutPath::Identity,
                    Shortcut::Pad { stride, channels } => ShortcutPath::Pad { stride: *stride, channels: *channels },
                    Shortcut::Projection(layers) => {
                        ShortcutPath::Projection(build(layers, &format!("{path}{i}.shortcut."), plan)?)
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

/// Applies `nodes` to `x`.
pub(super) fn forward(nodes: &[Node], x: Tensor, pass: &mut Pass<'_>) -> Result<Tensor> {
    nodes.iter().try_fold(x, |x, node| node.forward(x, pass))
}

impl Node {
    fn forward(&self, x: Tensor, pass: &mut Pass<'_>) -> Result<Tensor> {
        match self {
            // candle's own operation suffices: it sums the gradient token by token in a fixed order.
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
                    return BatchNormEvaluation::new(&scale, &shift, mean, variance, *relu).apply([&x]);
                }
                let statistics = Arc::new(OnceLock::new());
                let y = BatchNorm { relu: *relu, statistics: Arc::clone(&statistics) }.apply([&x, scale, shift])?;
                if let Some(statistics) = statistics.get() {
                    let update = |running: &mut f32, batch: f64| {
                        *running = (f64::from(*running) * (1.0 - MOMENTUM) + batch * MOMENTUM) as f32;
                    };
                    values[mean.clone()].iter_mut().zip(&statistics.mean).for_each(|(r, b)| update(r, *b));
                    values[variance.clone()].iter_mut().zip(statistics.unbiased()).for_each(|(r, b)| update(r, b));
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
            // The weights that follow have the order channel, row, column.
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
                    ShortcutPath::Identity => x.clone(),
                    ShortcutPath::Pad { stride, channels } => {
                        PadChannels { stride: *stride, channels: *channels }.apply([&x])?
                    }
                    ShortcutPath::Projection(nodes) => forward(nodes, x.clone(), pass)?,
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

/// Zeroes a share of the values and scales the others by 1/(1 − share). Masks are drawn in the order sample, channel, row, column.
fn dropout(x: &Tensor, share: f64, generator: &mut ChaCha8Rng) -> Result<Tensor> {
    let kept = (1.0 / (1.0 - share)) as f32;
    let mask: Vec<f32> =
        (0..x.elem_count()).map(|_| if generator.random::<f64>() < share { 0.0 } else { kept }).collect();
    let (n, h, w, c) = x.dims4()?;
    let mask = Tensor::from_vec(mask, (n, c, h, w), x.device())?.permute((0, 2, 3, 1))?.contiguous()?;
    x.mul(&mask)
}
