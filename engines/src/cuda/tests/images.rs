//! Images and their inputs as the host computes them: the reference for inputs that the device computes.

use crate::batch::Samples;
use crate::transform::ImageTransform;
use plusminus_core::methods::augment::Augment;
use plusminus_core::methods::dataset::ImageShape;
use plusminus_core::random::{Stream, Streams};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

/// Random images with labels.
pub(super) struct Images {
    /// Each image channels × height × width.
    pixels: Vec<u8>,
    pub labels: Vec<u32>,
}

impl Images {
    pub fn random(shape: ImageShape, count: usize) -> Self {
        let mut generator = Streams::new(9, 9).generator(Stream::Noise, 0);
        let pixels = (0..count * shape.len()).map(|_| generator.random()).collect();
        Images { pixels, labels: (0..count as u32).map(|i| (7 * i + 3) % 10).collect() }
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Normalization {
    /// Pixel values in 0..=1.
    Unit,
    /// Another mean and standard deviation in each channel.
    Channel,
    /// Pixel values in 0..=1 less the mean of their place.
    PixelMean,
}

/// How pixels become inputs.
pub(super) struct PixelInputs {
    shape: ImageShape,
    /// The input of each pixel value, 256 a channel.
    table: Vec<f32>,
    /// The mean of each place, if it is subtracted.
    centre: Option<Vec<f32>>,
}

impl PixelInputs {
    pub fn new(shape: ImageShape, normalization: Normalization) -> Self {
        let scaled = |channel: usize, pixel: usize| match normalization {
            Normalization::Unit | Normalization::PixelMean => pixel as f32 / 255.0,
            Normalization::Channel => {
                (pixel as f32 / 255.0 - 0.5 - 0.01 * channel as f32) / (0.3 - 0.01 * channel as f32)
            }
        };
        let table = (0..shape.channels).flat_map(|channel| (0..256).map(move |pixel| scaled(channel, pixel))).collect();
        let means = || (0..shape.len()).map(|place| (place % 97) as f32 / 97.0).collect();
        let centre = matches!(normalization, Normalization::PixelMean).then(means);
        PixelInputs { shape, table, centre }
    }

    /// These images as a device takes them, one part after another.
    pub fn samples<'a>(&'a self, parts: &[&'a Images]) -> Samples<'a> {
        let parts = parts.iter().map(|images| images.pixels.as_slice()).collect();
        Samples::Images { parts, table: &self.table, centre: self.centre.as_deref() }
    }

    /// The transforms that `augment` draws for each of the samples; none where samples stay as they are.
    pub fn transforms(&self, samples: usize, augment: &[Augment], generator: &mut ChaCha8Rng) -> Vec<ImageTransform> {
        let draws = if augment.is_empty() { 0 } else { samples };
        (0..draws).map(|_| ImageTransform::draw(self.shape, augment, generator)).collect()
    }

    /// The inputs of these samples, each channels × height × width, augmented with draws from `generator`.
    pub fn gather(
        &self,
        images: &Images,
        samples: &[usize],
        augment: &[Augment],
        generator: &mut ChaCha8Rng,
    ) -> Vec<f32> {
        let transforms = self.transforms(samples.len(), augment, generator);
        let sample = |(i, sample): (usize, &usize)| {
            let plain = self.image(&images.pixels[sample * self.shape.len()..][..self.shape.len()]);
            let Some(transform) = transforms.get(i) else { return plain };
            let mut moved = vec![0.0; plain.len()];
            transform.apply(self.shape, &plain, &mut moved);
            moved
        };
        samples.iter().enumerate().flat_map(sample).collect()
    }

    fn image(&self, pixels: &[u8]) -> Vec<f32> {
        let area = self.shape.height * self.shape.width;
        let value = |(place, pixel): (usize, &u8)| {
            let value = self.table[place / area * 256 + usize::from(*pixel)];
            self.centre.as_ref().map_or(value, |means| value - means[place])
        };
        pixels.iter().enumerate().map(value).collect()
    }
}
