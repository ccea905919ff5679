//! Whether the weights of one network fit another.

use super::layer::{Layer, Network, Shortcut};

impl Network {
    /// Whether the weights of `other` fit this network: all layers are equal, except dropout, which has no weights.
    pub fn has_weights_like(&self, other: &Network) -> bool {
        let shapes = |network: &Network| (network.input, network.classes);
        shapes(self) == shapes(other) && without_dropout(&self.layers) == without_dropout(&other.layers)
    }
}

fn without_dropout(layers: &[Layer]) -> Vec<Layer> {
    let kept = layers.iter().filter(|layer| !matches!(layer, Layer::Dropout(_)));
    kept.map(|layer| match layer {
        Layer::Residual { body, shortcut } => {
            let shortcut = match shortcut {
                Shortcut::Projection(around) => Shortcut::Projection(without_dropout(around)),
                other => other.clone(),
            };
            Layer::Residual { body: without_dropout(body), shortcut }
        }
        Layer::Branches(branches) => Layer::Branches(branches.iter().map(|one| without_dropout(one)).collect()),
        other => other.clone(),
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::super::{Downsample, Model};
    use crate::methods::dataset::Dataset;

    #[test]
    fn weights_fit_with_any_dropout_and_no_other_network() {
        let network = |model: Model, dataset: Dataset| model.network(dataset.input(), dataset.classes()).unwrap();
        let cnn = |dropout| network(Model::Cnn { dropout }, Dataset::FashionMnist);
        let resnet = |shortcut| network(Model::Resnet20 { shortcut }, Dataset::Cifar10);
        assert!(cnn(0.0).has_weights_like(&cnn(0.5)));
        assert!(!cnn(0.0).has_weights_like(&network(Model::Resnet18, Dataset::FashionMnist)));
        assert!(resnet(Downsample::Pad).has_weights_like(&resnet(Downsample::Pad)));
        assert!(!resnet(Downsample::Pad).has_weights_like(&resnet(Downsample::Projection)));
        let (grey, colour) =
            (network(Model::Resnet18, Dataset::FashionMnist), network(Model::Resnet18, Dataset::Cifar10));
        assert!(!grey.has_weights_like(&colour), "their first layers differ");
    }
}
