//! Augmentation of training images, and how pixels become inputs.

use serde::{Deserialize, Serialize};

/// One random change of a training image, drawn anew in every epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Augment {
    /// Zero-pad by so many pixels on every side (after normalisation), then crop the original extent at a random place.
    Crop(usize),
    /// Mirror left and right with probability 1/2.
    Flip,
}

/// How pixels in 0..=255 become inputs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Normalize {
    /// Scaled to 0..=1.
    Unit,
    /// Scaled to 0..=1, less the mean, over the standard deviation, both by channel over the training samples.
    Channel,
    /// Scaled to 0..=1, less the mean of each pixel over the training samples (Zhang & Sabuncu 2018, §4.2).
    PixelMean,
    /// Scaled to 0..=1, less `mean`, over `std`, a value a channel.
    Constants {
        /// A value a channel.
        mean: Vec<f64>,
        /// A positive value a channel.
        std: Vec<f64>,
    },
}
