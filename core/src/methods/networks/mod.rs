//! Networks, each described once as a list of layers that any engine runs.

mod check;
mod cnn;
mod layer;
mod resnet;
mod vgg;
mod weights;
mod word_cnn;

pub use layer::{Convolution, Initialisation, Kernel, Layer, Network, Shortcut};
pub use resnet::Downsample;
pub use word_cnn::word_cnn;

use crate::methods::dataset::ImageShape;
use crate::spec::Fields;
use serde::{Deserialize, Serialize};

/// A network by name, with its parameters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Model {
    /// The two-layer network of Xu et al. 2019 (DMI), Fashion-MNIST.
    Cnn {
        /// Share of the features that dropout zeroes before the classifier.
        dropout: f64,
    },
    /// He et al. 2016 with a 3×3 first layer, for small images: basic blocks 2-2-2-2, 64 to 512 channels.
    Resnet18,
    /// Basic blocks 3-4-6-3, 64 to 512 channels.
    Resnet34,
    /// He et al. 2016, §4.2: 3 basic blocks in each of three stages, 16 to 64 channels.
    Resnet20 {
        /// How a shortcut changes its number of channels.
        shortcut: Downsample,
    },
    /// 9 basic blocks in each of three stages, 16 to 64 channels.
    Resnet56 {
        /// How a shortcut changes its number of channels.
        shortcut: Downsample,
    },
    /// Simonyan & Zisserman 2015, configuration D, with batch norm and one linear layer.
    Vgg16Bn,
}

impl Model {
    /// The names that a sweep file may use.
    pub const NAMES: &'static [&'static str] = &["cnn", "resnet18", "resnet20", "resnet34", "resnet56", "vgg16-bn"];

    /// Reads the parameters of the network called `name`, one of [`Model::NAMES`].
    pub fn read(name: &str, fields: &mut Fields<'_>) -> Option<Model> {
        match name {
            "cnn" => Some(Model::Cnn { dropout: fields.number("dropout").at_least(0.0).below(1.0).or(0.5) }),
            "resnet18" => Some(Model::Resnet18),
            "resnet34" => Some(Model::Resnet34),
            "resnet20" => Some(Model::Resnet20 { shortcut: Downsample::read(fields) }),
            "resnet56" => Some(Model::Resnet56 { shortcut: Downsample::read(fields) }),
            "vgg16-bn" => Some(Model::Vgg16Bn),
            _ => None,
        }
    }

    /// The network for images of the given extent and so many classes.
    ///
    /// # Errors
    /// What is wrong with the extent, where the network cannot take it.
    pub fn network(&self, input: ImageShape, classes: usize) -> Result<Network, String> {
        let network = match *self {
            Model::Cnn { dropout } => cnn::network(input, classes, dropout),
            Model::Resnet18 => resnet::wide(input, classes, [2, 2, 2, 2]),
            Model::Resnet34 => resnet::wide(input, classes, [3, 4, 6, 3]),
            Model::Resnet20 { shortcut } => resnet::narrow(input, classes, 3, shortcut),
            Model::Resnet56 { shortcut } => resnet::narrow(input, classes, 9, shortcut),
            Model::Vgg16Bn => vgg::network(input, classes),
        };
        network.check()?;
        Ok(network)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weights(model: Model, channels: usize, extent: usize, classes: usize) -> usize {
        let input = ImageShape { channels, height: extent, width: extent };
        model.network(input, classes).unwrap().parameters()
    }

    #[test]
    fn networks_have_as_many_weights_as_published() {
        use Downsample::{Pad, Projection};
        assert_eq!(weights(Model::Cnn { dropout: 0.5 }, 1, 28, 2), 14_274);
        assert_eq!(weights(Model::Resnet18, 3, 32, 10), 11_173_962);
        assert_eq!(weights(Model::Resnet18, 1, 28, 10), 11_172_810);
        assert_eq!(weights(Model::Resnet34, 3, 32, 10), 21_282_122);
        assert_eq!(weights(Model::Resnet34, 3, 32, 100), 21_328_292);
        assert_eq!(weights(Model::Resnet20 { shortcut: Pad }, 3, 32, 10), 269_722);
        assert_eq!(weights(Model::Resnet20 { shortcut: Projection }, 3, 32, 10), 272_474);
        assert_eq!(weights(Model::Resnet56 { shortcut: Pad }, 3, 32, 10), 853_018);
        assert_eq!(weights(Model::Resnet56 { shortcut: Projection }, 3, 32, 10), 855_770);
        assert_eq!(weights(Model::Vgg16Bn, 3, 150, 2), 14_739_522);
        assert_eq!(weights(Model::Vgg16Bn, 3, 32, 10), 14_728_266);
    }

    #[test]
    fn an_image_too_small_for_the_network_is_an_error() {
        let tiny = ImageShape { channels: 1, height: 6, width: 6 };
        assert!(Model::Cnn { dropout: 0.5 }.network(tiny, 10).is_err());
        let small = ImageShape { channels: 1, height: 28, width: 28 };
        assert_eq!(
            Model::Vgg16Bn.network(small, 10).unwrap_err(),
            "an image of 1×1 is smaller than the 2×2 window it meets"
        );
    }
}
