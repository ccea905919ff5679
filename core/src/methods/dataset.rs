//! Data sets: what is known of them before a file is read.

use serde::{Deserialize, Serialize};

/// A data set by name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Dataset {
    /// Xiao, Rasul & Vollgraf 2017: 60,000 + 10,000 grey images, 28×28, ten classes.
    FashionMnist,
    /// The first 800 + 200 images of every class of Fashion-MNIST, which ship with the binary.
    #[serde(rename = "fashion-mnist-10k")]
    FashionMnist10k,
    /// Krizhevsky 2009: 50,000 + 10,000 colour images, 32×32, ten classes.
    #[serde(rename = "cifar-10")]
    Cifar10,
}

/// Extent of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageShape {
    /// 1 for grey, 3 for colour.
    pub channels: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

impl ImageShape {
    /// Values in an image; `usize::MAX` if they are beyond counting.
    pub fn len(&self) -> usize {
        product([self.channels, self.height, self.width])
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The product, or `usize::MAX` if it is larger.
pub(crate) fn product<const N: usize>(factors: [usize; N]) -> usize {
    factors.into_iter().fold(1, usize::saturating_mul)
}

impl Dataset {
    /// Every data set.
    pub const ALL: &'static [Dataset] = &[Dataset::FashionMnist, Dataset::FashionMnist10k, Dataset::Cifar10];

    /// The name in a sweep file.
    pub fn name(&self) -> &'static str {
        match self {
            Dataset::FashionMnist => "fashion-mnist",
            Dataset::FashionMnist10k => "fashion-mnist-10k",
            Dataset::Cifar10 => "cifar-10",
        }
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        match self {
            Dataset::FashionMnist | Dataset::FashionMnist10k | Dataset::Cifar10 => 10,
        }
    }

    /// Extent of every image.
    pub fn shape(&self) -> ImageShape {
        match self {
            Dataset::FashionMnist | Dataset::FashionMnist10k => ImageShape { channels: 1, height: 28, width: 28 },
            Dataset::Cifar10 => ImageShape { channels: 3, height: 32, width: 32 },
        }
    }

    /// Number of training images (the validation part included) and of test images.
    pub fn sizes(&self) -> (usize, usize) {
        match self {
            Dataset::FashionMnist => (60_000, 10_000),
            Dataset::FashionMnist10k => (8_000, 2_000),
            Dataset::Cifar10 => (50_000, 10_000),
        }
    }

    /// Whether images that belong to no class stand at the end of the training images, for open-set noise to take from.
    pub fn has_pool(&self) -> bool {
        match self {
            Dataset::FashionMnist | Dataset::FashionMnist10k | Dataset::Cifar10 => false,
        }
    }

    /// The classes that class-dependent noise mistakes for others, (true, given): Zhang & Sabuncu 2018, §4.2.
    pub fn confusions(&self) -> Option<&'static [(usize, usize)]> {
        match self {
            Dataset::FashionMnist | Dataset::FashionMnist10k => Some(&[(9, 7), (7, 5), (2, 6), (4, 3), (3, 4)]),
            // Truck → automobile, bird → airplane, deer → horse, cat ↔ dog.
            Dataset::Cifar10 => Some(&[(9, 1), (2, 0), (4, 7), (3, 5), (5, 3)]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_data_set_is_stored_under_the_name_that_a_sweep_file_has() {
        for dataset in Dataset::ALL {
            assert_eq!(serde_json::to_value(dataset).unwrap(), dataset.name());
        }
    }

    #[test]
    fn every_list_of_mistaken_classes_names_classes_and_no_class_is_mistaken_for_two() {
        for dataset in Dataset::ALL {
            let confusions = dataset.confusions().unwrap_or_default();
            assert!(confusions.iter().all(|(from, to)| from != to && *from.max(to) < dataset.classes()), "{dataset:?}");
            let mistaken: std::collections::BTreeSet<_> = confusions.iter().map(|(from, _)| from).collect();
            assert_eq!(mistaken.len(), confusions.len(), "{dataset:?}");
        }
    }
}
