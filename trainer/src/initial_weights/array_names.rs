//! The names of a network's arrays in a file: those of the plan, or torchvision's.

use plusminus_core::methods::networks::{Layer, Network, Shortcut};
use plusminus_engines::Plan;
use safetensors::tensor::Metadata;
use std::collections::HashMap;

/// The names of the arrays in a file.
pub(super) struct ArrayNames {
    /// The name of every array of the plan, in the plan's order.
    pub arrays: Vec<String>,
    /// The positions of the classifier's matrix and bias, if another number of classes is allowed.
    pub classifier: Option<[usize; 2]>,
    /// The ending of names whose arrays are ignored.
    pub ignored: Option<&'static str>,
}

impl ArrayNames {
    /// The names of the plan, for a file with exactly its arrays.
    pub fn own(plan: &Plan) -> ArrayNames {
        let arrays = plan.entries().iter().map(|entry| entry.name.clone()).collect();
        ArrayNames { arrays, classifier: None, ignored: None }
    }

    /// Torchvision's names if the file has any of them, otherwise those of the plan.
    pub fn of(network: &Network, plan: &Plan, header: &Metadata) -> ArrayNames {
        let own = ArrayNames::own(plan);
        let classifier = || {
            let last = network.layers.len().checked_sub(1)?;
            let position = |array: &str| own.arrays.iter().position(|name| *name == format!("{last}.{array}"));
            matches!(network.layers[last], Layer::Linear { .. }).then_some([position("weight")?, position("bias")?])
        };
        let classifier = classifier();
        match torchvision(network, plan).filter(|names| names.iter().any(|name| header.info(name).is_some())) {
            // Batch norm's counter of batches. It only matters for a momentum that depends on it.
            Some(arrays) => ArrayNames { arrays, classifier, ignored: Some(".num_batches_tracked") },
            None => ArrayNames { classifier, ..own },
        }
    }
}

/// The names of torchvision's ResNets for the arrays of a residual network: `conv1` and `bn1` before the blocks, `layer1.0.conv1` in a
/// block, `layer2.0.downsample.0` in a shortcut, `fc` after the blocks. A stage begins at the first block and at every block that changes
/// the shape. `None` if the network has weights in other positions.
fn torchvision(network: &Network, plan: &Plan) -> Option<Vec<String>> {
    let layers = &network.layers;
    let first = layers.iter().position(|layer| matches!(layer, Layer::Residual { .. }))?;
    // The prefix of a layer's arrays, ours to theirs; both end with a dot.
    let mut prefixes = HashMap::new();
    number(&layers[..first], "", "", &mut prefixes);
    let (mut stage, mut block) = (0, 0);
    for (i, layer) in layers.iter().enumerate().skip(first) {
        match layer {
            Layer::Residual { body, shortcut } => {
                (stage, block) = match shortcut {
                    Shortcut::Identity if stage > 0 => (stage, block + 1),
                    _ => (stage + 1, 0),
                };
                let theirs = format!("layer{stage}.{block}.");
                number(body, &format!("{i}.body."), &theirs, &mut prefixes);
                if let Shortcut::Projection(around) = shortcut {
                    for j in 0..around.len() {
                        prefixes.insert(format!("{i}.shortcut.{j}."), format!("{theirs}downsample.{j}."));
                    }
                }
            }
            Layer::Linear { .. } if i + 1 == layers.len() => {
                prefixes.insert(format!("{i}."), "fc.".to_owned());
            }
            _ => {}
        }
    }
    let name = |ours: &str| {
        let (prefix, array) = ours.split_at(ours.rfind('.')? + 1);
        Some(format!("{}{array}", prefixes.get(prefix)?))
    };
    plan.entries().iter().map(|entry| name(&entry.name)).collect()
}

/// Numbers convolutions from 1, and each batch norm like the convolution before it.
fn number(layers: &[Layer], ours: &str, theirs: &str, prefixes: &mut HashMap<String, String>) {
    let mut convolutions = 0;
    for (i, layer) in layers.iter().enumerate() {
        let name = match layer {
            Layer::Convolution(_) => {
                convolutions += 1;
                "conv"
            }
            Layer::BatchNorm(_) => "bn",
            _ => continue,
        };
        prefixes.insert(format!("{ours}{i}."), format!("{theirs}{name}{convolutions}."));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use plusminus_core::methods::dataset::ImageShape;
    use plusminus_core::methods::networks::{Downsample, Model};

    fn names(model: Model) -> (Network, Plan, Option<Vec<String>>) {
        let network = model.network(ImageShape { channels: 3, height: 64, width: 64 }, 10).unwrap();
        let plan = Plan::of(&network);
        let names = torchvision(&network, &plan);
        (network, plan, names)
    }

    /// The counts are those of torchvision's parameters and buffers, without the counters of batches.
    #[test]
    fn every_array_of_a_residual_network_has_torchvisions_name() {
        for (model, count) in [(Model::Resnet18, 102), (Model::Resnet34, 182), (Model::Resnet50, 267)] {
            let names = names(model.clone()).2.unwrap();
            let distinct: std::collections::BTreeSet<_> = names.iter().collect();
            assert_eq!((names.len(), distinct.len()), (count, count), "{model:?}");
            for name in ["conv1.weight", "bn1.running_var", "layer1.0.conv1.weight", "layer4.1.bn2.bias", "fc.bias"] {
                assert!(distinct.contains(&name.to_owned()), "{model:?} {name}");
            }
        }
    }

    #[test]
    fn arrays_have_the_shapes_of_torchvisions_arrays() {
        let shapes = |model| {
            let (_, plan, names) = names(model);
            let shapes = plan.entries().iter().map(|entry| entry.shape.clone());
            names.unwrap().into_iter().zip(shapes).collect::<HashMap<_, _>>()
        };
        let resnet50 = shapes(Model::Resnet50);
        for (name, shape) in [
            ("conv1.weight", vec![64, 3, 7, 7]),
            ("layer1.0.conv1.weight", vec![64, 64, 1, 1]),
            ("layer1.0.conv3.weight", vec![256, 64, 1, 1]),
            ("layer1.0.downsample.0.weight", vec![256, 64, 1, 1]),
            ("layer1.0.downsample.1.running_mean", vec![256]),
            ("layer3.0.conv2.weight", vec![256, 256, 3, 3]),
            ("layer3.5.bn3.weight", vec![1024]),
            ("layer4.0.downsample.0.weight", vec![2048, 1024, 1, 1]),
            ("fc.weight", vec![10, 2048]),
        ] {
            assert_eq!(resnet50.get(name), Some(&shape), "{name}");
        }
        assert!(!resnet50.contains_key("layer3.6.conv1.weight"));
        let resnet18 = shapes(Model::Resnet18);
        assert_eq!(resnet18.get("layer2.0.downsample.0.weight"), Some(&vec![128, 64, 1, 1]));
        assert!(!resnet18.contains_key("layer1.0.downsample.0.weight"));
    }

    #[test]
    fn other_networks_have_no_torchvision_names() {
        assert_eq!(names(Model::Vgg16Bn).2, None);
        assert_eq!(names(Model::Cnn8).2, None);
        assert!(names(Model::Resnet20 { shortcut: Downsample::Pad }).2.is_some(), "a residual network");
        let (mut network, plan, _) = names(Model::Resnet18);
        // Torchvision has no name for a classifier of two layers.
        network.layers.push(Layer::Linear { input: 10, output: 10 });
        assert_eq!(torchvision(&network, &plan), None);
    }
}
