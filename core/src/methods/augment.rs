//! Augmentation of training images, and normalisation of pixels.

use crate::input::Fields;
use serde::{Deserialize, Serialize};

/// A random change of a training image, drawn for each image in every epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Augment {
    /// Pads with this many zero pixels on every side (after normalisation), then crops the original extent at a random place.
    Crop(usize),
    /// Mirrors left and right with probability 1/2.
    Flip,
}

impl Augment {
    /// The names of all changes in sweep files.
    pub const NAMES: &'static [&'static str] = &["flip", "crop"];

    /// Reads the change `name`, written as `flip` or `{crop: 4}`; `None` for an unknown name.
    pub fn read(name: &str, fields: &mut Fields<'_>) -> Option<Augment> {
        match name {
            "flip" => Some(Augment::Flip),
            "crop" => Some(Augment::Crop(
                fields
                    .about("pad by this many pixels, then crop at a random place")
                    .integer("crop")
                    .at_least(1)
                    .required() as usize,
            )),
            _ => None,
        }
    }
}

/// How pixels, 0 to 255, become inputs of the network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Normalize {
    /// Scaled to 0..=1.
    Unit,
    /// Scaled to 0..=1; then the channel's mean is subtracted and the result divided by its standard deviation, both over the
    /// training samples.
    Channel,
    /// Scaled to 0..=1; then the pixel's mean over the training samples is subtracted (Zhang & Sabuncu 2018, §4.2).
    PixelMean,
    /// Scaled to 0..=1; then `mean` is subtracted and the result divided by `std`.
    Constants {
        /// One value per channel.
        mean: Vec<f64>,
        /// One positive value per channel.
        std: Vec<f64>,
    },
}

impl Normalize {
    /// The names in sweep files; constants are recognised by their `mean` or `std`.
    pub const NAMES: &'static [&'static str] = &["unit", "channel", "pixel-mean", "mean"];

    /// Reads the normalisation `name`, written as a name alone or `{mean: [0.3], std: [0.3]}`; `None` for an unknown name.
    pub fn read(name: &str, fields: &mut Fields<'_>) -> Option<Normalize> {
        match name {
            "unit" => Some(Normalize::Unit),
            "channel" => Some(Normalize::Channel),
            "pixel-mean" => Some(Normalize::PixelMean),
            "mean" | "std" => Some(Normalize::Constants {
                mean: fields.about("one value per channel").numbers("mean").required(),
                std: fields.about("one value per channel").numbers("std").above(0.0).required(),
            }),
            _ => None,
        }
    }
}
