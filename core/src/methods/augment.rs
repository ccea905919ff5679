//! Augmentation of training images, and how pixels become inputs.

use crate::input::Fields;
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

impl Augment {
    /// The names that a sweep file may use.
    pub const NAMES: &'static [&'static str] = &["flip", "crop"];

    /// Reads the change called `name`, one of [`Augment::NAMES`]: `flip`, or `{crop: 4}`.
    pub fn read(name: &str, fields: &mut Fields<'_>) -> Option<Augment> {
        match name {
            "flip" => Some(Augment::Flip),
            "crop" => Some(Augment::Crop(fields.integer("crop").at_least(1).required() as usize)),
            _ => None,
        }
    }
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

impl Normalize {
    /// The names that a sweep file may use; constants are told by their `mean` or `std`.
    pub const NAMES: &'static [&'static str] = &["unit", "channel", "pixel-mean", "mean"];

    /// Reads the normalisation called `name`, one of [`Normalize::NAMES`]: a name alone, or `{mean: [0.3], std: [0.3]}`.
    pub fn read(name: &str, fields: &mut Fields<'_>) -> Option<Normalize> {
        match name {
            "unit" => Some(Normalize::Unit),
            "channel" => Some(Normalize::Channel),
            "pixel-mean" => Some(Normalize::PixelMean),
            "mean" | "std" => Some(Normalize::Constants {
                mean: fields.numbers("mean").required(),
                std: fields.numbers("std").above(0.0).required(),
            }),
            _ => None,
        }
    }
}
