//! Networks, each described once as a list of layers that every engine runs.

mod check;
mod cnn;
mod cnn8;
mod initial;
mod layer;
mod resnet;
mod vgg;
mod weights;
mod word_cnn;

pub use initial::InitialWeights;
pub use layer::{Convolution, Initialisation, Kernel, Layer, Network, Shortcut};
pub use resnet::Downsample;
pub use word_cnn::word_cnn;

use crate::input::Fields;
use crate::methods::shape::ImageShape;
pub use crate::methods::shape::SampleShape;
use serde::{Deserialize, Serialize};

/// A network by name, with its parameters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Model {
    /// The two-layer network of Xu et al. 2019 (DMI), Fashion-MNIST.
    Cnn {
        /// Share of the features that dropout zeroes before the classifier, 0 ≤ dropout < 1.
        dropout: f64,
    },
    /// The eight layers of Wang et al. 2018 (open-set noisy labels): six convolutions with batch norm, two linear layers.
    Cnn8,
    /// He et al. 2016 with a 3×3 first layer, for small images: basic blocks 2-2-2-2, 64 to 512 channels.
    Resnet18,
    /// Basic blocks 3-4-6-3, 64 to 512 channels.
    Resnet34,
    /// He et al. 2016, §4.2: 3 basic blocks in each of three stages, 16 to 64 channels.
    Resnet20 {
        /// How shortcuts add channels.
        shortcut: Downsample,
    },
    /// 9 basic blocks in each of three stages, 16 to 64 channels.
    Resnet56 {
        /// How shortcuts add channels.
        shortcut: Downsample,
    },
    /// He et al. 2016 as for ImageNet: a 7×7 first layer and a pool, bottleneck blocks 3-4-6-3, 256 to 2048 channels.
    Resnet50,
    /// Simonyan & Zisserman 2015, configuration D, with batch norm and one linear layer.
    Vgg16Bn,
    /// Kim 2014 with random initial vectors, for sentences.
    #[serde(rename = "wordcnn")]
    WordCnn {
        /// Share of the features that dropout zeroes before the classifier, 0 ≤ dropout < 1.
        dropout: f64,
    },
}

impl Model {
    /// The names in sweep files.
    pub const NAMES: &'static [&'static str] =
        &["cnn", "cnn8", "resnet18", "resnet20", "resnet34", "resnet50", "resnet56", "vgg16-bn", "wordcnn"];

    /// Reads the parameters of the network `name`; `None` for an unknown name.
    pub fn read(name: &str, fields: &mut Fields<'_>) -> Option<Model> {
        let dropout = |fields: &mut Fields<'_>| {
            fields
                .about("share of the features zeroed before the classifier")
                .number("dropout")
                .at_least(0.0)
                .below(1.0)
                .or(0.5)
        };
        match name {
            "cnn" => Some(Model::Cnn { dropout: dropout(fields) }),
            "cnn8" => Some(Model::Cnn8),
            "resnet18" => Some(Model::Resnet18),
            "resnet34" => Some(Model::Resnet34),
            "resnet20" => Some(Model::Resnet20 { shortcut: Downsample::read(fields) }),
            "resnet56" => Some(Model::Resnet56 { shortcut: Downsample::read(fields) }),
            "resnet50" => Some(Model::Resnet50),
            "vgg16-bn" => Some(Model::Vgg16Bn),
            "wordcnn" => Some(Model::WordCnn { dropout: dropout(fields) }),
            _ => None,
        }
    }

    /// The network for samples of this shape (an [`ImageShape`] alone stands for images) and `classes` classes.
    ///
    /// # Errors
    /// If the network cannot take the samples: because of their extent, or because they are images or text.
    pub fn network(&self, input: impl Into<SampleShape>, classes: usize) -> Result<Network, String> {
        let SampleShape { shape: input, vocabulary } = input.into();
        let network = match *self {
            Model::WordCnn { dropout } => {
                let Some(vocabulary) = vocabulary else {
                    return Err("expected sequences of tokens, found images: use another model".to_owned());
                };
                if (input.channels, input.height) != (1, 1) {
                    let ImageShape { channels, height, width } = input;
                    return Err(format!("expected rows of tokens, 1×1×length, found {channels}×{height}×{width}"));
                }
                word_cnn(vocabulary, input.width, classes, dropout)?
            }
            _ if vocabulary.is_some() => {
                return Err("expected images, found sequences of tokens: use `wordcnn`".to_owned());
            }
            Model::Cnn { dropout } => cnn::network(input, classes, dropout),
            Model::Cnn8 => cnn8::network(input, classes),
            Model::Resnet18 => resnet::wide(input, classes, [2, 2, 2, 2]),
            Model::Resnet34 => resnet::wide(input, classes, [3, 4, 6, 3]),
            Model::Resnet20 { shortcut } => resnet::narrow(input, classes, 3, shortcut),
            Model::Resnet56 { shortcut } => resnet::narrow(input, classes, 9, shortcut),
            Model::Resnet50 => resnet::deep(input, classes, [3, 4, 6, 3]),
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
    fn networks_have_the_published_numbers_of_weights() {
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
        assert_eq!(weights(Model::Cnn8, 3, 32, 10), 1_639_794);
        assert_eq!(weights(Model::Resnet50, 3, 224, 14), 23_536_718);
        assert_eq!(weights(Model::Resnet50, 3, 224, 1000), 25_557_032);
        assert_eq!(weights(Model::Vgg16Bn, 3, 150, 2), 14_739_522);
        assert_eq!(weights(Model::Vgg16Bn, 3, 32, 10), 14_728_266);
    }

    #[test]
    fn an_image_too_small_for_the_network_is_an_error() {
        let tiny = ImageShape { channels: 1, height: 6, width: 6 };
        assert!(Model::Cnn { dropout: 0.5 }.network(tiny, 10).is_err());
        let small = ImageShape { channels: 1, height: 28, width: 28 };
        assert_eq!(Model::Vgg16Bn.network(small, 10).unwrap_err(), "an image of 1×1 is smaller than a window of 2×2");
    }

    #[test]
    fn the_extent_of_images_does_not_change_the_weights_of_a_resnet() {
        for model in [Model::Resnet18, Model::Resnet34, Model::Resnet50] {
            let small = weights(model.clone(), 3, 32, 10);
            assert_eq!([33, 64, 224].map(|extent| weights(model.clone(), 3, extent, 10)), [small; 3], "{model:?}");
        }
        let one = ImageShape { channels: 1, height: 1, width: 1 };
        assert!(Model::Resnet50.network(one, 10).is_ok(), "every window covers the only pixel");
    }

    #[test]
    fn the_stages_of_resnet50_halve_an_image_of_imagenet_to_7_by_7() {
        let input = ImageShape { channels: 3, height: 224, width: 224 };
        let network = Model::Resnet50.network(input, 14).unwrap();
        let mut shape = input;
        let mut blocks = Vec::new();
        for layer in &network.layers {
            shape = layer.output(shape).unwrap();
            if matches!(layer, Layer::MaxPool { .. } | Layer::Residual { .. }) {
                blocks.push((shape.channels, shape.height));
            }
        }
        let mut expected = vec![(64, 56)];
        for (count, stage) in [(3, (256, 56)), (4, (512, 28)), (6, (1024, 14)), (3, (2048, 7))] {
            expected.extend([stage].repeat(count));
        }
        assert_eq!(blocks, expected);
    }

    #[test]
    fn images_and_text_need_different_networks() {
        let tokens = SampleShape { shape: ImageShape { channels: 1, height: 1, width: 56 }, vocabulary: Some(20_000) };
        let words = Model::WordCnn { dropout: 0.5 };
        assert_eq!(words.network(tokens, 2).unwrap().parameters(), 2_714_502);
        let image = ImageShape { channels: 3, height: 32, width: 32 };
        let error = words.network(image, 2).unwrap_err();
        assert_eq!(error, "expected sequences of tokens, found images: use another model");
        assert_eq!(
            words.network(SampleShape { shape: image, ..tokens }, 2).unwrap_err(),
            "expected rows of tokens, 1×1×length, found 3×32×32"
        );
        for model in [Model::Cnn { dropout: 0.5 }, Model::Cnn8, Model::Resnet18, Model::Resnet50, Model::Vgg16Bn] {
            let error = model.network(tokens, 2).unwrap_err();
            assert_eq!(error, "expected images, found sequences of tokens: use `wordcnn`", "{model:?}");
        }
    }

    #[test]
    fn every_name_is_that_of_the_canonical_form() {
        for name in Model::NAMES {
            let model: Model = serde_json::from_value(serde_json::json!({"name": name, "dropout": 0.5}))
                .or_else(|_| serde_json::from_value(serde_json::json!({"name": name, "shortcut": "pad"})))
                .or_else(|_| serde_json::from_value(serde_json::json!({"name": name})))
                .unwrap();
            assert_eq!(serde_json::to_value(&model).unwrap()["name"], *name);
        }
    }

    #[test]
    fn features_are_the_input_of_the_last_linear_layer() {
        let image = ImageShape { channels: 3, height: 32, width: 32 };
        for (model, width) in [
            (Model::Cnn { dropout: 0.5 }, 32 * 5 * 5),
            (Model::Cnn8, 256),
            (Model::Resnet20 { shortcut: Downsample::Pad }, 64),
            (Model::Resnet50, 2048),
            (Model::Vgg16Bn, 512),
        ] {
            let network = model.network(image, 10).unwrap();
            let features = network.features().unwrap();
            assert_eq!((features.check(), features.classes), (Ok(()), width), "{model:?}");
            assert_eq!(features.parameters() + 10 * width + 10, network.parameters(), "{model:?}");
            assert_eq!(network.layers[..features.layers.len()], features.layers, "{model:?}");
            assert_eq!(features.features().is_some(), matches!(features.layers.last(), Some(Layer::Linear { .. })));
        }
    }
}
