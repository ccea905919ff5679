//! From pixels to inputs: normalisation, and the random changes of training images. Tokens pass as they are.

use super::error::DataError;
use super::{ImageShape, SampleSet, SampleValues, unreadable};
use plusminus_core::methods::augment::{Augment, Normalize};
use plusminus_core::outcome::Failure;
use plusminus_engines::ImageTransform;
use rand::Rng;
use std::borrow::Cow;

/// How a job makes inputs of a data set's pixels.
#[derive(Clone, Debug)]
pub(crate) struct InputPipeline {
    shape: ImageShape,
    /// The input of each pixel value, 256 a channel.
    table: Vec<f32>,
    /// What is taken from each input afterwards, a value a pixel, where the mean is by pixel.
    centre: Option<Vec<f32>>,
}

impl InputPipeline {
    /// What `normalize` says, with its statistics over the samples `train` of `images`: validation and test samples have no
    /// part in them.
    ///
    /// # Errors
    /// What is wrong with the constants, or with a file whose pixels the statistics ask for.
    pub fn new(normalize: &Normalize, images: &SampleSet, train: &[usize]) -> Result<Self, Failure> {
        let shape = images.shape;
        if let SampleValues::Tokens(_) = images.values {
            return Ok(InputPipeline { shape, table: Vec::new(), centre: None });
        }
        let unit = (vec![0.0; shape.channels], vec![1.0; shape.channels]);
        let (mean, std) = match normalize {
            Normalize::Unit | Normalize::PixelMean => unit,
            Normalize::Channel => channel_moments(images, train)?,
            Normalize::Constants { mean, std } => (mean.clone(), std.clone()),
        };
        if mean.len() != shape.channels || std.len() != shape.channels {
            let (means, stds) = (mean.len(), std.len());
            let why = format!(
                "normalize has {means} means and {stds} standard deviations, and the images {} channels: give one a channel",
                shape.channels
            );
            return Err(unreadable(why, false));
        }
        let table = mean
            .iter()
            .zip(&std)
            .flat_map(|(mean, std)| (0..256u16).map(move |pixel| ((f64::from(pixel) / 255.0 - mean) / std) as f32));
        let centre = match normalize {
            Normalize::PixelMean => Some(pixel_means(images, train)?),
            _ => None,
        };
        Ok(InputPipeline { shape, table: table.collect(), centre })
    }

    /// The input of each pixel value, 256 a channel, and what is taken from each input afterwards; no table where samples are tokens.
    pub fn table(&self) -> (&[f32], Option<&[f32]>) {
        (&self.table, self.centre.as_deref())
    }

    /// Draws what `augment` makes of one sample after another, as [`InputPipeline::gather_augmented`] does; nothing where samples stay as they are.
    pub fn transforms(&self, samples: usize, augment: &[Augment], generator: &mut impl Rng) -> Vec<ImageTransform> {
        if augment.is_empty() || self.table.is_empty() {
            return Vec::new();
        }
        (0..samples).map(|_| ImageTransform::draw(self.shape, augment, generator)).collect()
    }

    /// Writes the inputs of these samples one after the other.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn gather(&self, images: &SampleSet, samples: &[usize], inputs: &mut Vec<f32>) -> Result<(), DataError> {
        let length = self.shape.len();
        inputs.resize(samples.len() * length, 0.0);
        let mut rows = inputs.chunks_exact_mut(length);
        if let SampleValues::Tokens(tokens) = &images.values {
            for (sample, row) in samples.iter().zip(rows) {
                let tokens = &tokens[sample * length..][..length];
                row.iter_mut().zip(tokens).for_each(|(input, token)| *input = *token as f32);
            }
            return Ok(());
        }
        images.each_image(samples, |pixels| rows.next().into_iter().for_each(|row| self.image(pixels, row)))
    }

    /// As [`InputPipeline::gather`], each image changed as `augment` says, in its order, with draws from `generator`.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn gather_augmented(
        &self,
        images: &SampleSet,
        samples: &[usize],
        augment: &[Augment],
        generator: &mut impl Rng,
        inputs: &mut Vec<f32>,
    ) -> Result<(), DataError> {
        if augment.is_empty() || matches!(images.values, SampleValues::Tokens(_)) {
            return self.gather(images, samples, inputs);
        }
        let mut plain = vec![0.0; self.shape.len()];
        inputs.resize(samples.len() * self.shape.len(), 0.0);
        let mut left = inputs.chunks_exact_mut(self.shape.len());
        images.each_image(samples, |pixels| {
            let Some(input) = left.next() else { return };
            self.image(pixels, &mut plain);
            ImageTransform::draw(self.shape, augment, generator).apply(self.shape, &plain, input);
        })
    }

    fn image(&self, pixels: &[u8], input: &mut [f32]) {
        let area = self.shape.height * self.shape.width;
        let channels = self.table.chunks_exact(256).zip(pixels.chunks_exact(area)).zip(input.chunks_exact_mut(area));
        for ((table, pixels), input) in channels {
            input.iter_mut().zip(pixels).for_each(|(input, pixel)| *input = table[usize::from(*pixel)]);
        }
        if let Some(centre) = &self.centre {
            input.iter_mut().zip(centre).for_each(|(input, mean)| *input -= mean);
        }
    }
}

/// Mean and standard deviation of each channel over these samples. Pixels are whole numbers, so the sums are exact.
fn channel_moments(images: &SampleSet, samples: &[usize]) -> Result<(Vec<f64>, Vec<f64>), DataError> {
    let samples = surveyed(images, samples);
    let ImageShape { channels, height, width } = images.shape;
    let mut sums = vec![(0u64, 0u64); channels];
    images.each_image(&samples, |pixels| {
        for ((sum, squares), pixels) in sums.iter_mut().zip(pixels.chunks_exact(height * width)) {
            for pixel in pixels {
                *sum += u64::from(*pixel);
                *squares += u64::from(*pixel) * u64::from(*pixel);
            }
        }
    })?;
    let count = (samples.len() * height * width) as f64;
    let moments = sums.into_iter().map(|(sum, squares)| {
        let mean = sum as f64 / count / 255.0;
        let variance = squares as f64 / count / (255.0 * 255.0) - mean * mean;
        // Of one colour throughout, which only whole numbers tell: the division is by 1 rather than by 0, or by what rounding leaves.
        let constant = u128::from(squares) * count as u128 == u128::from(sum) * u128::from(sum);
        (mean, if constant { 1.0 } else { variance.sqrt() })
    });
    Ok(moments.unzip())
}

fn pixel_means(images: &SampleSet, samples: &[usize]) -> Result<Vec<f32>, DataError> {
    let samples = surveyed(images, samples);
    let mut sums = vec![0u64; images.shape.len()];
    images.each_image(&samples, |pixels| {
        sums.iter_mut().zip(pixels).for_each(|(sum, pixel)| *sum += u64::from(*pixel));
    })?;
    Ok(sums.into_iter().map(|sum| (sum as f64 / samples.len() as f64 / 255.0) as f32).collect())
}

/// The samples that statistics are taken of: all, or where images are decoded whenever they are asked for, so many that lie evenly
/// among them. The first ones would often be of one class.
fn surveyed<'s>(images: &SampleSet, samples: &'s [usize]) -> Cow<'s, [usize]> {
    const MOST: usize = 10_000;
    match images.values {
        SampleValues::Files(_) if samples.len() > MOST => {
            (0..MOST).map(|i| samples[(i as u64 * samples.len() as u64 / MOST as u64) as usize]).collect()
        }
        _ => Cow::Borrowed(samples),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use plusminus_core::random::{Stream, Streams};

    /// Two images of two channels, 1×2; a third that no statistics may see.
    fn images() -> SampleSet {
        let shape = ImageShape { channels: 2, height: 1, width: 2 };
        SampleSet::new(shape, vec![0, 255, 10, 10, 255, 0, 30, 30, 99, 99, 99, 99], vec![0, 1, 0])
    }

    fn gathered(normalize: &Normalize) -> Vec<f32> {
        let mut inputs = Vec::new();
        InputPipeline::new(normalize, &images(), &[0, 1]).unwrap().gather(&images(), &[0, 1], &mut inputs).unwrap();
        inputs
    }

    fn close(found: &[f32], expected: &[f64]) {
        assert_eq!(found.len(), expected.len());
        let near = found.iter().zip(expected).all(|(a, b)| (f64::from(*a) - b).abs() < 1e-6);
        assert!(near, "{found:?} for {expected:?}");
    }

    #[test]
    fn pixels_become_inputs_as_each_rule_says() {
        close(
            &gathered(&Normalize::Unit),
            &[0.0, 1.0, 10.0 / 255.0, 10.0 / 255.0, 1.0, 0.0, 30.0 / 255.0, 30.0 / 255.0],
        );
        // Channel 0: mean ½, deviation ½; channel 1: 20 ± 10.
        close(&gathered(&Normalize::Channel), &[-1.0, 1.0, -1.0, -1.0, 1.0, -1.0, 1.0, 1.0]);
        let ten = 10.0 / 255.0;
        close(&gathered(&Normalize::PixelMean), &[-0.5, 0.5, -ten, -ten, 0.5, -0.5, ten, ten]);
        let constants = Normalize::Constants { mean: vec![1.0, 0.0], std: vec![2.0, 0.5] };
        close(&gathered(&constants)[..4], &[-0.5, 0.0, 20.0 / 255.0, 20.0 / 255.0]);
    }

    #[test]
    fn tokens_pass_as_they_are_whatever_is_done_to_images() {
        let values = SampleValues::Tokens(vec![0, 5, 18_764, 1, 2, 3]);
        let shape = ImageShape { channels: 1, height: 1, width: 3 };
        let images = SampleSet { shape, values, labels: vec![0, 1], foreign: 0 };
        let mut generator = Streams::new(5, 5).generator(Stream::Augmentation, 1);
        for normalize in [Normalize::Unit, Normalize::Channel, Normalize::PixelMean] {
            let inputs = InputPipeline::new(&normalize, &images, &[0, 1]).unwrap();
            let mut found = Vec::new();
            let augment = [Augment::Crop(1), Augment::Flip];
            inputs.gather_augmented(&images, &[1, 0], &augment, &mut generator, &mut found).unwrap();
            assert_eq!(found, [1.0, 2.0, 3.0, 0.0, 5.0, 18_764.0], "{normalize:?}");
        }
    }

    #[test]
    fn constants_for_another_number_of_channels_are_refused() {
        let constants = Normalize::Constants { mean: vec![0.0], std: vec![1.0] };
        assert!(InputPipeline::new(&constants, &images(), &[0]).unwrap_err().message.contains("2 channels"));
    }

    /// One grey image, 3×3, numbered from 1.
    fn numbered() -> SampleSet {
        let shape = ImageShape { channels: 1, height: 3, width: 3 };
        SampleSet::new(shape, (1..=9).collect(), vec![0])
    }

    fn augmented(augment: &[Augment], epoch: u64) -> Vec<u32> {
        let inputs = InputPipeline::new(&Normalize::Unit, &numbered(), &[0]).unwrap();
        let mut generator = Streams::new(5, 5).generator(Stream::Augmentation, epoch);
        let mut values = Vec::new();
        inputs.gather_augmented(&numbered(), &[0], augment, &mut generator, &mut values).unwrap();
        values.iter().map(|value| (value * 255.0).round() as u32).collect()
    }

    #[test]
    fn a_flip_mirrors_half_of_the_images() {
        let mirrored = (0..200).filter(|epoch| match augmented(&[Augment::Flip], *epoch)[..] {
            [3, 2, 1, 6, 5, 4, 9, 8, 7] => true,
            [1, 2, 3, 4, 5, 6, 7, 8, 9] => false,
            ref other => panic!("{other:?}"),
        });
        let mirrored = mirrored.count();
        assert!((70..130).contains(&mirrored), "{mirrored} of 200");
    }

    #[test]
    fn a_crop_shows_every_place_of_the_padded_image() {
        let seen: std::collections::BTreeSet<Vec<u32>> =
            (0..400).map(|epoch| augmented(&[Augment::Crop(1)], epoch)).collect();
        assert_eq!(seen.len(), 9);
        assert!(seen.contains(&vec![0, 0, 0, 0, 1, 2, 0, 4, 5]), "the upper left corner");
        assert!(seen.contains(&vec![5, 6, 0, 8, 9, 0, 0, 0, 0]), "the lower right corner");
    }

    #[test]
    fn an_epoch_draws_the_same_changes_again() {
        let both = [Augment::Crop(1), Augment::Flip];
        assert_eq!(augmented(&both, 3), augmented(&both, 3));
    }
}
