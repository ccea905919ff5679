//! The convolutional network for sentences of Kim 2014 (CNN-rand), in the form of DMI's text experiments (Xu et al. 2019 and its
//! released code): embedding 128, convolutions over 3, 4 and 5 words with 100 maps each, tanh, maximum over time, dropout, linear.

use super::{Convolution, Initialisation, Kernel, Layer, Network};
use crate::methods::shape::ImageShape;

/// Values per word.
const DIMENSION: usize = 128;

/// Words per window of each convolution.
const WIDTHS: [usize; 3] = [3, 4, 5];

/// Output channels of each convolution.
const MAPS: usize = 100;

/// The network for sequences of `length` tokens out of `vocabulary`; `dropout` is the share of the features zeroed before the
/// classifier.
///
/// # Errors
/// If the sequences are shorter than the widest convolution.
pub fn word_cnn(vocabulary: usize, length: usize, classes: usize, dropout: f64) -> Result<Network, String> {
    let branch = |width| {
        let kernel = Kernel::Row(width);
        let convolution = Convolution { input: DIMENSION, output: MAPS, kernel, stride: 1, padding: 0, bias: true };
        vec![Layer::Convolution(convolution), Layer::Tanh, Layer::GlobalMaxPool]
    };
    let network = Network {
        input: ImageShape { channels: 1, height: 1, width: length },
        classes,
        layers: vec![
            Layer::Embedding { vocabulary, dimension: DIMENSION },
            Layer::Branches(WIDTHS.map(branch).into()),
            Layer::Flatten,
            Layer::Dropout(dropout),
            Layer::Linear { input: WIDTHS.len() * MAPS, output: classes },
        ],
        initialisation: Initialisation::UniformFanIn,
    };
    network.check()?;
    Ok(network)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_weights_follows_from_the_layers() {
        let network = word_cnn(20_000, 56, 2, 0.5).unwrap();
        let expected = 20_000 * 128 + (3 + 4 + 5) * 128 * 100 + 3 * 100 + 300 * 2 + 2;
        assert_eq!((network.parameters(), expected), (2_714_502, 2_714_502));
    }

    #[test]
    fn a_sequence_shorter_than_a_convolution_is_an_error() {
        assert!(word_cnn(100, 5, 2, 0.5).is_ok());
        assert_eq!(word_cnn(100, 4, 2, 0.5).unwrap_err(), "an image of 1×4 is smaller than a window of 1×5");
    }
}
