//! The output shape of each layer, and whether a network is valid.

use super::{Kernel, Layer, Network, Shortcut};
use crate::methods::shape::{ImageShape, product};

/// The largest number of values of an array: more `f32` cannot be addressed.
const MOST: usize = isize::MAX as usize / size_of::<f32>();

/// The largest vocabulary: tokens are passed as `f32`, which represents all whole numbers below this one.
const TOKENS: usize = 1 << f32::MANTISSA_DIGITS;

impl Network {
    /// Checks that every layer fits the output of the one before, that the network returns `classes` logits, and that
    /// activations and weights can be addressed. An engine can run every network that passes.
    ///
    /// # Errors
    /// The first layer that does not fit, and why.
    pub fn check(&self) -> Result<(), String> {
        let first = usize::from(matches!(self.layers.first(), Some(Layer::Embedding { .. })));
        if embeddings(&self.layers) > first {
            return Err("an embedding has no gradient for its input: it must be the first layer".to_owned());
        }
        let logits = ImageShape { channels: self.classes, height: 1, width: 1 };
        let found = through(&self.layers, sound(self.input)?)?;
        if found != logits {
            return Err(format!("expected {} logits, found {}", self.classes, extent(found)));
        }
        if self.parameters() > MOST {
            return Err("the network has more weights than can be addressed".to_owned());
        }
        Ok(())
    }
}

/// Number of embeddings at any depth.
fn embeddings(layers: &[Layer]) -> usize {
    let of = |layer: &Layer| match layer {
        Layer::Embedding { .. } => 1,
        _ => layer.inner().into_iter().map(embeddings).sum(),
    };
    layers.iter().map(of).sum()
}

/// The output shape of `layers` for this input.
fn through(layers: &[Layer], input: ImageShape) -> Result<ImageShape, String> {
    layers.iter().try_fold(input, |shape, layer| layer.output(shape))
}

/// Checks that `shape` has values, and no more than can be addressed.
fn sound(shape: ImageShape) -> Result<ImageShape, String> {
    match shape.len() {
        0 => Err(format!("{} is not an image: it has no values", extent(shape))),
        values if values > MOST => Err(format!("{} has more values than can be addressed", extent(shape))),
        _ => Ok(shape),
    }
}

/// Channels × height × width, for messages.
fn extent(shape: ImageShape) -> String {
    format!("{}×{}×{}", shape.channels, shape.height, shape.width)
}

/// The number of places of a window in an image. Window, margin and result are rows and columns.
fn slide(
    shape: ImageShape,
    (rows, columns): (usize, usize),
    stride: usize,
    (above, left): (usize, usize),
) -> Result<(usize, usize), String> {
    if rows == 0 || columns == 0 || stride == 0 {
        return Err(format!("a window of {rows}×{columns} with step {stride} is empty or does not move"));
    }
    let padded = |extent: usize, margin: usize| extent.saturating_add(product([2, margin]));
    let (height, width) = (padded(shape.height, above), padded(shape.width, left));
    sound(ImageShape { height, width, ..shape })?;
    match (height.checked_sub(rows), width.checked_sub(columns)) {
        (Some(down), Some(right)) => Ok((down / stride + 1, right / stride + 1)),
        _ => Err(format!("an image of {}×{} is smaller than a window of {rows}×{columns}", shape.height, shape.width)),
    }
}

impl Layer {
    /// The output shape for the input `shape`.
    ///
    /// # Errors
    /// Why the layer does not fit the input.
    pub fn output(&self, shape: ImageShape) -> Result<ImageShape, String> {
        let ImageShape { channels, height, width } = shape;
        let check_channels = |what: &str, expected: usize| {
            if channels == expected {
                Ok(())
            } else {
                Err(format!("{what} expected {expected} channels, found {channels}"))
            }
        };
        sound(match self {
            Layer::Embedding { vocabulary, dimension } => {
                if (channels, height) != (1, 1) {
                    return Err(format!("an embedding expected a row of tokens, 1×1×length, found {}", extent(shape)));
                }
                if *vocabulary == 0 || *vocabulary > TOKENS {
                    return Err(format!("expected a vocabulary of 1 to {TOKENS} tokens, found {vocabulary}"));
                }
                ImageShape { channels: *dimension, ..shape }
            }
            Layer::Convolution(c) => {
                check_channels("a convolution", c.input)?;
                if matches!(c.kernel, Kernel::Row(_)) && height != 1 {
                    return Err(format!("a 1-d convolution expected one row, found {height}"));
                }
                let (height, width) = slide(shape, c.extent(), c.stride, c.margin())?;
                ImageShape { channels: c.output, height, width }
            }
            Layer::BatchNorm(expected) => {
                check_channels("batch norm", *expected)?;
                shape
            }
            Layer::Dropout(share) if !(0.0..1.0).contains(share) => {
                return Err(format!("dropout expected a share of at least 0 and below 1, found {share}"));
            }
            Layer::Relu | Layer::Tanh | Layer::Dropout(_) => shape,
            Layer::MaxPool { kernel, stride, padding } => {
                // So every window covers a pixel.
                if product([2, *padding]) > *kernel {
                    return Err(format!(
                        "a pool of {kernel}×{kernel} expected a padding of at most half, found {padding}"
                    ));
                }
                let (height, width) = slide(shape, (*kernel, *kernel), *stride, (*padding, *padding))?;
                ImageShape { channels, height, width }
            }
            Layer::GlobalAveragePool | Layer::GlobalMaxPool => ImageShape { channels, height: 1, width: 1 },
            Layer::Flatten => ImageShape { channels: shape.len(), height: 1, width: 1 },
            Layer::Linear { input, output } => {
                if (height, width) != (1, 1) {
                    return Err(format!("a linear layer expected a vector, found {}", extent(shape)));
                }
                check_channels("a linear layer", *input)?;
                ImageShape { channels: *output, ..shape }
            }
            Layer::Residual { body, shortcut } => {
                let (inside, around) = (through(body, shape)?, shortcut.output(shape)?);
                if inside != around {
                    let (inside, around) = (extent(inside), extent(around));
                    return Err(format!("a block returns {inside}, its shortcut {around}"));
                }
                inside
            }
            Layer::Branches(branches) => {
                let outputs = branches.iter().map(|branch| through(branch, shape)).collect::<Result<Vec<_>, _>>()?;
                let Some(first) = outputs.first() else { return Err("there are no branches".to_owned()) };
                if let Some(other) = outputs.iter().find(|o| (o.height, o.width) != (first.height, first.width)) {
                    return Err(format!("one branch returns {}, another {}", extent(*first), extent(*other)));
                }
                let channels = outputs.iter().map(|output| output.channels).fold(0, usize::saturating_add);
                ImageShape { channels, ..*first }
            }
        })
    }
}

impl Shortcut {
    /// The output shape for the input `shape`.
    fn output(&self, shape: ImageShape) -> Result<ImageShape, String> {
        match self {
            Shortcut::Identity => Ok(shape),
            Shortcut::Pad { stride: 0, .. } => Err("expected a shortcut with a step of at least 1, found 0".to_owned()),
            Shortcut::Pad { channels, .. } if *channels < shape.channels => {
                Err(format!("a shortcut cannot reduce {} channels to {channels}", shape.channels))
            }
            Shortcut::Pad { stride, channels } => Ok(ImageShape {
                channels: *channels,
                height: shape.height.div_ceil(*stride),
                width: shape.width.div_ceil(*stride),
            }),
            Shortcut::Projection(layers) => through(layers, shape),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::methods::networks::{Convolution, Initialisation};

    const IMAGE: ImageShape = ImageShape { channels: 3, height: 8, width: 8 };

    /// The error of `layer` on an image of 3×8×8.
    fn problem(layer: Layer) -> String {
        layer.output(IMAGE).unwrap_err()
    }

    fn convolution(input: usize, output: usize, kernel: Kernel, stride: usize, padding: usize) -> Layer {
        Layer::Convolution(Convolution { input, output, kernel, stride, padding, bias: true })
    }

    fn pool(kernel: usize, stride: usize, padding: usize) -> Layer {
        Layer::MaxPool { kernel, stride, padding }
    }

    fn check(input: ImageShape, classes: usize, layers: Vec<Layer>) -> Result<(), String> {
        Network { input, classes, layers, initialisation: Initialisation::UniformFanIn }.check()
    }

    #[test]
    fn empty_windows_and_those_that_do_not_fit_are_rejected() {
        use Kernel::{Row, Square};
        assert_eq!(
            problem(convolution(3, 4, Square(0), 1, 0)),
            "a window of 0×0 with step 1 is empty or does not move"
        );
        assert_eq!(
            problem(convolution(3, 4, Square(3), 0, 0)),
            "a window of 3×3 with step 0 is empty or does not move"
        );
        assert_eq!(problem(pool(2, 0, 0)), "a window of 2×2 with step 0 is empty or does not move");
        assert_eq!(problem(pool(9, 1, 0)), "an image of 8×8 is smaller than a window of 9×9");
        assert_eq!(problem(pool(3, 2, 2)), "a pool of 3×3 expected a padding of at most half, found 2");
        assert_eq!(problem(pool(1, 1, usize::MAX)).split(" expected").next(), Some("a pool of 1×1"));
        assert_eq!(problem(convolution(3, 4, Row(3), 1, 1)), "a 1-d convolution expected one row, found 8");
        assert!(convolution(3, 4, Square(9), 1, 1).output(IMAGE).is_ok(), "padding makes room");
    }

    #[test]
    fn padded_pools_have_the_same_extents_as_in_pytorch() {
        let extents = |layer: Layer, extent| {
            let found = layer.output(ImageShape { channels: 3, height: extent, width: extent }).unwrap();
            (found.channels, found.height, found.width)
        };
        for (extent, expected) in [(112, 56), (8, 4), (7, 4), (1, 1)] {
            assert_eq!(extents(pool(3, 2, 1), extent), (3, expected, expected), "{extent}");
        }
        assert_eq!(extents(pool(2, 2, 1), 8), (3, 5, 5));
    }

    #[test]
    fn channels_that_disagree_are_rejected() {
        assert_eq!(problem(convolution(2, 4, Kernel::Square(3), 1, 1)), "a convolution expected 2 channels, found 3");
        assert_eq!(problem(Layer::BatchNorm(4)), "batch norm expected 4 channels, found 3");
        assert_eq!(problem(Layer::Linear { input: 3, output: 2 }), "a linear layer expected a vector, found 3×8×8");
        let flat = ImageShape { channels: 192, height: 1, width: 1 };
        assert_eq!(
            Layer::Linear { input: 191, output: 2 }.output(flat).unwrap_err(),
            "a linear layer expected 191 channels, found 192"
        );
    }

    #[test]
    fn blocks_whose_paths_have_different_shapes_are_rejected() {
        let block = |shortcut| problem(Layer::Residual { body: vec![pool(2, 2, 0)], shortcut });
        assert_eq!(block(Shortcut::Identity), "a block returns 3×4×4, its shortcut 3×8×8");
        assert_eq!(
            block(Shortcut::Pad { stride: 0, channels: 3 }),
            "expected a shortcut with a step of at least 1, found 0"
        );
        assert_eq!(block(Shortcut::Pad { stride: 2, channels: 2 }), "a shortcut cannot reduce 3 channels to 2");
        assert_eq!(problem(Layer::Branches(Vec::new())), "there are no branches");
        assert_eq!(
            problem(Layer::Branches(vec![vec![Layer::Tanh], vec![Layer::GlobalMaxPool]])),
            "one branch returns 3×8×8, another 3×1×1"
        );
    }

    #[test]
    fn branches_are_concatenated_along_channels() {
        let branches = vec![vec![], vec![convolution(3, 4, Kernel::Square(3), 1, 1)], vec![Layer::Relu]];
        assert_eq!(Layer::Branches(branches).output(IMAGE), Ok(ImageShape { channels: 10, ..IMAGE }));
    }

    #[test]
    fn dropout_outside_its_range_is_rejected() {
        for share in [-0.1, 1.0, f64::NAN] {
            assert!(problem(Layer::Dropout(share)).starts_with("dropout expected a share"), "{share}");
        }
    }

    #[test]
    fn empty_and_unaddressable_arrays_are_rejected() {
        let most = usize::MAX;
        assert_eq!(problem(convolution(3, 0, Kernel::Square(3), 1, 1)), "0×8×8 is not an image: it has no values");
        let too_many = [
            convolution(3, most, Kernel::Square(3), 1, 1),
            convolution(3, 4, Kernel::Square(3), most, most),
            Layer::Branches(vec![vec![convolution(3, most / 800, Kernel::Square(1), 1, 0)]; 100]),
        ];
        for layer in too_many {
            assert!(problem(layer.clone()).ends_with("more values than can be addressed"), "{layer:?}");
        }
        assert!(check(ImageShape { channels: 0, ..IMAGE }, 2, vec![]).is_err());
        assert!(check(ImageShape { channels: most, ..IMAGE }, 2, vec![Layer::GlobalAveragePool]).is_err());
        let wide = vec![
            Layer::GlobalAveragePool,
            Layer::Linear { input: 3, output: most / 32 },
            Layer::Linear { input: most / 32, output: 32 },
        ];
        assert_eq!(check(IMAGE, 32, wide).unwrap_err(), "the network has more weights than can be addressed");
    }

    #[test]
    fn an_embedding_takes_a_row_of_tokens_and_comes_first() {
        let tokens = ImageShape { channels: 1, height: 1, width: 7 };
        let embedding = |vocabulary, dimension| Layer::Embedding { vocabulary, dimension };
        assert_eq!(embedding(20, 5).output(tokens), Ok(ImageShape { channels: 5, ..tokens }));
        assert_eq!(problem(embedding(20, 5)), "an embedding expected a row of tokens, 1×1×length, found 3×8×8");
        assert!(embedding(TOKENS, 1).output(tokens).is_ok());
        for vocabulary in [0, TOKENS + 1] {
            assert!(
                embedding(vocabulary, 5)
                    .output(tokens)
                    .unwrap_err()
                    .starts_with("expected a vocabulary of 1 to 16777216")
            );
        }
        assert!(check(tokens, 5, vec![embedding(20, 5), Layer::GlobalMaxPool]).is_ok());
        let late = [
            vec![Layer::Relu, embedding(20, 5)],
            vec![Layer::Branches(vec![vec![embedding(20, 5)]])],
            vec![Layer::Residual { body: vec![], shortcut: Shortcut::Projection(vec![embedding(20, 1)]) }],
        ];
        for mut layers in late {
            layers.push(Layer::GlobalMaxPool);
            assert!(check(tokens, 5, layers).unwrap_err().ends_with("it must be the first layer"));
        }
    }

    #[test]
    fn a_network_returns_one_logit_per_class() {
        assert_eq!(check(IMAGE, 4, vec![Layer::GlobalAveragePool]).unwrap_err(), "expected 4 logits, found 3×1×1");
        assert_eq!(check(IMAGE, 3, vec![Layer::GlobalAveragePool]), Ok(()));
    }
}
