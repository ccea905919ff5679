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
    pub const ALL: &'static [Dataset] = &[Dataset::FashionMnist, Dataset::FashionMnist10k];

    /// The name in a sweep file.
    pub fn name(&self) -> &'static str {
        match self {
            Dataset::FashionMnist => "fashion-mnist",
            Dataset::FashionMnist10k => "fashion-mnist-10k",
        }
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        match self {
            Dataset::FashionMnist | Dataset::FashionMnist10k => 10,
        }
    }

    /// Extent of every image.
    pub fn shape(&self) -> ImageShape {
        match self {
            Dataset::FashionMnist | Dataset::FashionMnist10k => ImageShape { channels: 1, height: 28, width: 28 },
        }
    }

    /// Number of training images (the validation part included) and of test images.
    pub fn sizes(&self) -> (usize, usize) {
        match self {
            Dataset::FashionMnist => (60_000, 10_000),
            Dataset::FashionMnist10k => (8_000, 2_000),
        }
    }

    /// The classes that class-dependent noise mistakes for others, (true, given): Zhang & Sabuncu 2018, §4.2.
    pub fn confusions(&self) -> Option<&'static [(usize, usize)]> {
        match self {
            Dataset::FashionMnist | Dataset::FashionMnist10k => Some(&[(9, 7), (7, 5), (2, 6), (4, 3), (3, 4)]),
        }
    }
}
