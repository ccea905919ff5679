//! The weights of a network as one flat list, with the same names, shapes and order in every engine, file and digest.

use plusminus_core::methods::networks::{Initialisation, Kernel, Layer, Network, Shortcut};
use rand::{Rng, RngExt};
use std::ops::Range;
use std::sync::Arc;

/// The purpose of an array of weights, which determines its initial values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Role {
    /// The vectors of an embedding, `[vocabulary, dimension]`.
    Vectors,
    /// The kernels of a convolution, `[output, input, rows, columns]`, or `[output, input, columns]` in one dimension.
    Kernels {
        /// Input values per output value.
        fan_in: usize,
        /// Output values per input value.
        fan_out: usize,
    },
    /// The matrix of a linear layer, `[output, input]`.
    Matrix {
        /// Input values per output value.
        fan_in: usize,
    },
    /// A bias, `[output]`.
    Bias {
        /// Input values per output value.
        fan_in: usize,
    },
    /// The scale γ of batch norm, `[channel]`.
    Scale,
    /// The shift β of batch norm, `[channel]`.
    Shift,
    /// The running mean of batch norm, `[channel]`: measured, not trained.
    RunningMean,
    /// The running unbiased variance of batch norm, `[channel]`: measured, not trained.
    RunningVariance,
}

impl Role {
    /// Whether the optimiser updates the array.
    pub fn is_trained(self) -> bool {
        !matches!(self, Role::RunningMean | Role::RunningVariance)
    }
}

/// One array of weights.
#[derive(Clone, Debug, PartialEq)]
pub struct WeightEntry {
    /// The path in the network, such as `3.body.0.weight`: stable, and unique within the network.
    pub name: String,
    /// The shape, as in PyTorch.
    pub shape: Vec<usize>,
    /// The purpose.
    pub role: Role,
    /// The position in the flat list.
    pub range: Range<usize>,
}

/// The arrays of a network's flat list of weights: first the trained ones, then running statistics, each in the order of the layers.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    entries: Vec<WeightEntry>,
    trained: usize,
    initialisation: Initialisation,
}

impl Plan {
    /// The plan of `network`.
    pub fn of(network: &Network) -> Plan {
        let mut found = Vec::new();
        collect(&network.layers, "", &mut found);
        // The sort is stable: trained arrays and statistics each keep the order of the layers.
        found.sort_by_key(|(_, _, role)| !role.is_trained());
        let mut plan = Plan { entries: Vec::new(), trained: 0, initialisation: network.initialisation };
        let mut end = 0;
        for (name, shape, role) in found {
            let range = end..end + shape.iter().product::<usize>();
            end = range.end;
            if role.is_trained() {
                plan.trained = end;
            }
            plan.entries.push(WeightEntry { name, shape, role, range });
        }
        plan
    }

    /// The arrays, in order.
    pub fn entries(&self) -> &[WeightEntry] {
        &self.entries
    }

    /// The number of trained values, which come first in the flat list.
    pub fn trained(&self) -> usize {
        self.trained
    }

    /// The number of values.
    pub fn len(&self) -> usize {
        self.entries.last().map_or(0, |entry| entry.range.end)
    }

    /// Whether the network has no weights.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Draws initial weights array by array from `generator`: by role and the network's [`Initialisation`].
    pub fn initial(self: &Arc<Self>, generator: &mut impl Rng) -> Weights {
        let mut values = vec![0.0; self.len()];
        for entry in &self.entries {
            let values = &mut values[entry.range.clone()];
            match (entry.role, self.initialisation) {
                (Role::Vectors, _) => normal(values, 1.0, generator),
                (Role::Kernels { fan_out, .. }, Initialisation::HeFanOut) => {
                    normal(values, (2.0 / fan_out as f64).sqrt(), generator);
                }
                (Role::Kernels { fan_in, .. } | Role::Matrix { fan_in }, Initialisation::HeNormal) => {
                    truncated_normal(values, (2.0 / fan_in as f64).sqrt(), generator);
                }
                (Role::Bias { .. }, Initialisation::HeNormal) => values.fill(0.0),
                (Role::Kernels { fan_in, .. } | Role::Matrix { fan_in } | Role::Bias { fan_in }, _) => {
                    let bound = 1.0 / (fan_in as f64).sqrt();
                    values.fill_with(|| ((2.0 * generator.random::<f64>() - 1.0) * bound) as f32);
                }
                (Role::Scale | Role::RunningVariance, _) => values.fill(1.0),
                (Role::Shift | Role::RunningMean, _) => values.fill(0.0),
            }
        }
        Weights { plan: Arc::clone(self), values: Arc::new(values) }
    }
}

/// Fills `values` with normal values by the transform of Box & Muller (1958): two per pair of uniform values, so the number of draws does
/// not depend on their values.
///
/// Logarithm, sine and cosine come from `libm`, because system libraries round differently. (Square roots are exact everywhere.)
fn normal(values: &mut [f32], deviation: f64, generator: &mut impl Rng) {
    for values in values.chunks_mut(2) {
        values.iter_mut().zip(pair(deviation, generator)).for_each(|(value, normal)| *value = normal as f32);
    }
}

/// Fills `values` from a truncated normal distribution with this standard deviation: draws from a wider normal distribution and rejects
/// values beyond [`CUT`] of its deviations.
fn truncated_normal(values: &mut [f32], deviation: f64, generator: &mut impl Rng) {
    let wide = deviation / CUT_DEVIATION;
    let mut values = values.iter_mut();
    while values.len() > 0 {
        let kept = pair(wide, generator).into_iter().filter(|normal| normal.abs() <= CUT * wide);
        kept.zip(&mut values).for_each(|(normal, value)| *value = normal as f32);
    }
}

/// Where the normal distribution is truncated, in standard deviations.
const CUT: f64 = 2.0;

/// The standard deviation of a standard normal distribution truncated at ±[`CUT`]: √(1 − 2·2φ(2)/(2Φ(2) − 1)).
const CUT_DEVIATION: f64 = 0.879_625_661_034_239_8;

/// Two independent normal values.
fn pair(deviation: f64, generator: &mut impl Rng) -> [f64; 2] {
    // 1 − u lies in (0, 1], where the logarithm is finite.
    let radius = deviation * (-2.0 * libm::log(1.0 - generator.random::<f64>())).sqrt();
    let (sine, cosine) = libm::sincos(std::f64::consts::TAU * generator.random::<f64>());
    [radius * cosine, radius * sine]
}

/// Appends name, shape and role of every array of `layers`; `path` is the prefix of their names.
fn collect(layers: &[Layer], path: &str, found: &mut Vec<(String, Vec<usize>, Role)>) {
    for (i, layer) in layers.iter().enumerate() {
        let mut push = |name: &str, shape: Vec<usize>, role| found.push((format!("{path}{i}.{name}"), shape, role));
        match layer {
            Layer::Embedding { vocabulary, dimension } => push("weight", vec![*vocabulary, *dimension], Role::Vectors),
            Layer::Convolution(c) => {
                let (rows, columns) = c.extent();
                let (fan_in, fan_out) = (c.input * rows * columns, c.output * rows * columns);
                let shape = match c.kernel {
                    Kernel::Square(_) => vec![c.output, c.input, rows, columns],
                    Kernel::Row(_) => vec![c.output, c.input, columns],
                };
                push("weight", shape, Role::Kernels { fan_in, fan_out });
                if c.bias {
                    push("bias", vec![c.output], Role::Bias { fan_in });
                }
            }
            Layer::BatchNorm(channels) => {
                push("weight", vec![*channels], Role::Scale);
                push("bias", vec![*channels], Role::Shift);
                push("running_mean", vec![*channels], Role::RunningMean);
                push("running_var", vec![*channels], Role::RunningVariance);
            }
            Layer::Linear { input, output } => {
                push("weight", vec![*output, *input], Role::Matrix { fan_in: *input });
                push("bias", vec![*output], Role::Bias { fan_in: *input });
            }
            Layer::Residual { body, shortcut } => {
                collect(body, &format!("{path}{i}.body."), found);
                if let Shortcut::Projection(layers) = shortcut {
                    collect(layers, &format!("{path}{i}.shortcut."), found);
                }
            }
            Layer::Branches(branches) => {
                for (branch, layers) in branches.iter().enumerate() {
                    collect(layers, &format!("{path}{i}.branches.{branch}."), found);
                }
            }
            Layer::Relu | Layer::Tanh | Layer::Flatten | Layer::Dropout(_) => {}
            Layer::MaxPool { .. } | Layer::GlobalAveragePool | Layer::GlobalMaxPool => {}
        }
    }
}

/// The weights of one network. A clone shares the values until either is modified.
#[derive(Clone, Debug, PartialEq)]
pub struct Weights {
    plan: Arc<Plan>,
    values: Arc<Vec<f32>>,
}

impl Weights {
    /// All zeros.
    pub fn zeros(plan: &Arc<Plan>) -> Weights {
        Weights { plan: Arc::clone(plan), values: Arc::new(vec![0.0; plan.len()]) }
    }

    /// The weights with these values in the plan's order; `None` if the number of values differs from the plan's.
    pub fn from_values(plan: &Arc<Plan>, values: Vec<f32>) -> Option<Weights> {
        (values.len() == plan.len()).then(|| Weights { plan: Arc::clone(plan), values: Arc::new(values) })
    }

    /// The weights of a part of the network, such as [`Network::features`]: the arrays of `plan`, found by name. `None` if an array is
    /// missing or has another shape.
    pub fn subset(&self, plan: &Arc<Plan>) -> Option<Weights> {
        let mut subset = Weights::zeros(plan);
        let mut own = self.plan.entries.iter();
        // Both plans list common arrays in the same order.
        for entry in plan.entries() {
            let from = own.find(|own| own.name == entry.name).filter(|own| own.shape == entry.shape)?;
            subset.values_mut()[entry.range.clone()].copy_from_slice(&self.values[from.range.clone()]);
        }
        Some(subset)
    }

    /// The arrays of the list.
    pub fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }

    /// Every value, in the plan's order.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// Every value, in the plan's order. Copies values that a clone shares.
    pub fn values_mut(&mut self) -> &mut [f32] {
        Arc::make_mut(&mut self.values).as_mut_slice()
    }

    /// Whether every value is finite.
    pub fn are_finite(&self) -> bool {
        self.values.iter().all(|value| value.is_finite())
    }

    /// BLAKE3 of the values as little-endian bytes, in hexadecimal.
    pub fn digest(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        for chunk in self.values.chunks(16 * 1024) {
            let bytes: Vec<u8> = chunk.iter().flat_map(|value| value.to_le_bytes()).collect();
            hasher.update(&bytes);
        }
        hasher.finalize().to_hex().to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use plusminus_core::methods::dataset::ImageShape;
    use plusminus_core::methods::networks::{Downsample, Model, word_cnn};
    use plusminus_core::random::{Stream, Streams};

    const GREY: ImageShape = ImageShape { channels: 1, height: 28, width: 28 };

    fn plan(model: Model) -> (Network, Arc<Plan>) {
        let network = model.network(GREY, 10).unwrap();
        let plan = Arc::new(Plan::of(&network));
        (network, plan)
    }

    /// Networks that together have every kind of layer.
    fn plans() -> Vec<(Network, Arc<Plan>)> {
        let resnet20 = |shortcut| Model::Resnet20 { shortcut };
        let models = [
            Model::Cnn { dropout: 0.5 },
            Model::Cnn8,
            resnet20(Downsample::Pad),
            resnet20(Downsample::Projection),
            Model::Resnet18,
        ];
        let words = word_cnn(1_000, 12, 2, 0.5).unwrap();
        let plan_of_words = Arc::new(Plan::of(&words));
        models.into_iter().map(plan).chain([(words, plan_of_words)]).collect()
    }

    #[test]
    fn a_plan_trains_every_parameter_and_tiles_the_flat_list() {
        for (network, plan) in plans() {
            assert_eq!(plan.trained(), network.parameters());
            let mut end = 0;
            for entry in plan.entries() {
                assert_eq!(entry.range.start, end, "{}", entry.name);
                assert_eq!(entry.role.is_trained(), entry.range.start < plan.trained(), "{}", entry.name);
                end = entry.range.end;
            }
            assert_eq!(end, plan.len());
        }
    }

    #[test]
    fn names_are_unique_and_follow_the_layers() {
        for (_, plan) in plans() {
            let mut names: Vec<&str> = plan.entries().iter().map(|entry| entry.name.as_str()).collect();
            assert_eq!(names[0], "0.weight");
            let count = names.len();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), count);
        }
        let (_, plan) = plan(Model::Resnet18);
        assert!(plan.entries().iter().any(|entry| entry.name == "7.shortcut.1.running_var"));
    }

    #[test]
    fn the_weights_of_a_text_network_have_the_shapes_of_pytorch() {
        let plan = Plan::of(&word_cnn(1_000, 12, 2, 0.5).unwrap());
        let found: Vec<(&str, &[usize])> =
            plan.entries().iter().map(|entry| (entry.name.as_str(), entry.shape.as_slice())).collect();
        let expected: [(&str, &[usize]); 9] = [
            ("0.weight", &[1_000, 128]),
            ("1.branches.0.0.weight", &[100, 128, 3]),
            ("1.branches.0.0.bias", &[100]),
            ("1.branches.1.0.weight", &[100, 128, 4]),
            ("1.branches.1.0.bias", &[100]),
            ("1.branches.2.0.weight", &[100, 128, 5]),
            ("1.branches.2.0.bias", &[100]),
            ("4.weight", &[2, 300]),
            ("4.bias", &[2]),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn initial_weights_have_the_variance_of_their_initialisation() {
        let moments = |values: &[f32]| {
            let mean = values.iter().map(|v| f64::from(*v)).sum::<f64>() / values.len() as f64;
            let variance = values.iter().map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>() / values.len() as f64;
            (mean, variance)
        };
        for (network, plan) in plans() {
            let weights = plan.initial(&mut Streams::new(1, 1).generator(Stream::Weights, 0));
            for entry in plan.entries() {
                let values = &weights.values()[entry.range.clone()];
                let (mean, variance) = moments(values);
                let uniform = |fan_in: usize| 1.0 / (3.0 * fan_in as f64);
                let expected = match entry.role {
                    Role::Vectors => 1.0,
                    Role::Kernels { fan_out, .. } if network.initialisation == Initialisation::HeFanOut => {
                        2.0 / fan_out as f64
                    }
                    Role::Kernels { fan_in, .. } | Role::Matrix { fan_in }
                        if network.initialisation == Initialisation::HeNormal =>
                    {
                        let variance = 2.0 / fan_in as f64;
                        let most = 2.0 * (variance / 0.773_741_303).sqrt();
                        assert!(values.iter().all(|v| f64::from(v.abs()) <= most), "{}", entry.name);
                        variance
                    }
                    Role::Bias { .. } if network.initialisation == Initialisation::HeNormal => {
                        assert!(values.iter().all(|v| *v == 0.0));
                        continue;
                    }
                    Role::Kernels { fan_in, .. } | Role::Matrix { fan_in } | Role::Bias { fan_in } => {
                        assert!(values.iter().all(|v| f64::from(v.abs()) <= 1.0 / (fan_in as f64).sqrt()));
                        uniform(fan_in)
                    }
                    Role::Scale | Role::RunningVariance => {
                        assert!(values.iter().all(|v| *v == 1.0));
                        continue;
                    }
                    Role::Shift | Role::RunningMean => {
                        assert!(values.iter().all(|v| *v == 0.0));
                        continue;
                    }
                };
                // Five standard errors of the mean; ten for the variance.
                let errors = 5.0 / (values.len() as f64).sqrt();
                assert!(mean.abs() < errors * expected.sqrt(), "{}: mean {mean}", entry.name);
                assert!((variance / expected - 1.0).abs() < 2.0 * errors, "{}: {variance} for {expected}", entry.name);
                if values.len() >= 10_000 {
                    assert!((variance / expected - 1.0).abs() < 0.05, "{}: {variance} for {expected}", entry.name);
                }
            }
        }
    }

    #[test]
    fn initial_weights_depend_on_the_seed_alone() {
        let (_, plan) = plan(Model::Cnn { dropout: 0.0 });
        let initial = |seed| plan.initial(&mut Streams::new(seed, 0).generator(Stream::Weights, 0)).digest();
        assert_eq!(initial(1), initial(1));
        assert_ne!(initial(1), initial(2));
    }

    /// A change of these digests changes every result and requires a new version.
    #[test]
    fn the_initial_weights_of_a_seed_do_not_change() {
        let initial = |model| plan(model).1.initial(&mut Streams::new(1, 0).generator(Stream::Weights, 0)).digest();
        // The first draws uniform values, the second normal values.
        let found = [Model::Cnn { dropout: 0.0 }, Model::Resnet20 { shortcut: Downsample::Pad }].map(initial);
        assert_eq!(
            found,
            [
                "0a0d4f6f988a726aad0a7d8bfc04e3eb38e124c90989a6b6228d82159ab562b1",
                "bd64acad3ae13bc7ded5c882d79357cef941cff17e94a94ea618334352940a42"
            ]
        );
    }
}
