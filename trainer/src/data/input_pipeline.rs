//! Turns pixels into inputs: normalisation, and augmentation of training images. Tokens become inputs unchanged.

use super::error::{DataError, read_failure};
use super::sample_set::{SampleSet, SampleValues};
use plusminus_core::methods::augment::{Augment, Normalize};
use plusminus_core::methods::dataset::ImageShape;
use plusminus_core::outcome::Failure;
use plusminus_engines::ImageTransform;
use rand::Rng;
use std::borrow::Cow;

/// Makes the inputs of a job from a data set's pixels.
#[derive(Clone, Debug)]
pub(crate) struct InputPipeline {
    shape: ImageShape,
    /// The input for each pixel value: 256 entries for each channel. Empty for tokens.
    table: Vec<f32>,
    /// The mean image, which is subtracted afterwards, for `normalize: pixel-mean`.
    mean_image: Option<Vec<f32>>,
}

impl InputPipeline {
    /// A pipeline with the normalisation `normalize`. Its statistics are those of the samples `train` of `sample_set`; validation and
    /// test samples have no part in them.
    ///
    /// # Errors
    /// `UserError` if the constants do not fit the channels; the error of a file that the statistics need.
    pub fn new(normalize: &Normalize, sample_set: &SampleSet, train: &[usize]) -> Result<Self, Failure> {
        let shape = sample_set.shape;
        if let SampleValues::Tokens(_) = sample_set.values {
            return Ok(InputPipeline { shape, table: Vec::new(), mean_image: None });
        }
        let unit = (vec![0.0; shape.channels], vec![1.0; shape.channels]);
        let (mean, std) = match normalize {
            Normalize::Unit | Normalize::PixelMean => unit,
            Normalize::Channel => channel_statistics(sample_set, train)?,
            Normalize::Constants { mean, std } => (mean.clone(), std.clone()),
        };
        if mean.len() != shape.channels || std.len() != shape.channels {
            let (means, stds) = (mean.len(), std.len());
            let why = format!(
                "`normalize` has {means} means and {stds} standard deviations, expected {} of each, one for each channel",
                shape.channels
            );
            return Err(read_failure(why, false));
        }
        let table = mean
            .iter()
            .zip(&std)
            .flat_map(|(mean, std)| (0..256u16).map(move |pixel| ((f64::from(pixel) / 255.0 - mean) / std) as f32));
        let mean_image = match normalize {
            Normalize::PixelMean => Some(mean_image(sample_set, train)?),
            _ => None,
        };
        Ok(InputPipeline { shape, table: table.collect(), mean_image })
    }

    /// The input for each pixel value, 256 entries for each channel, and the mean image that is subtracted afterwards. The table is
    /// empty for tokens.
    pub fn lookup_table(&self) -> (&[f32], Option<&[f32]>) {
        (&self.table, self.mean_image.as_deref())
    }

    /// Draws the augmentation of one sample after another, as [`InputPipeline::gather_augmented`] does. Returns an empty list if there is
    /// none.
    pub fn draw_transforms(
        &self,
        samples: usize,
        augment: &[Augment],
        generator: &mut impl Rng,
    ) -> Vec<ImageTransform> {
        if augment.is_empty() || self.table.is_empty() {
            return Vec::new();
        }
        (0..samples).map(|_| ImageTransform::draw(self.shape, augment, generator)).collect()
    }

    /// Writes the inputs of these samples to `inputs`, one sample after another.
    ///
    /// # Errors
    /// A file that cannot be read or decoded.
    pub fn gather(&self, sample_set: &SampleSet, samples: &[usize], inputs: &mut Vec<f32>) -> Result<(), DataError> {
        let length = self.shape.len();
        inputs.resize(samples.len() * length, 0.0);
        let mut rows = inputs.chunks_exact_mut(length);
        if let SampleValues::Tokens(tokens) = &sample_set.values {
            for (sample, row) in samples.iter().zip(rows) {
                let tokens = &tokens[sample * length..][..length];
                row.iter_mut().zip(tokens).for_each(|(input, token)| *input = *token as f32);
            }
            return Ok(());
        }
        sample_set.for_each_image(samples, |pixels| rows.next().into_iter().for_each(|row| self.normalise(pixels, row)))
    }

    /// As [`InputPipeline::gather`], with augmentation. The steps of `augment` apply in their order, with draws from `generator`.
    ///
    /// # Errors
    /// A file that cannot be read or decoded.
    pub fn gather_augmented(
        &self,
        sample_set: &SampleSet,
        samples: &[usize],
        augment: &[Augment],
        generator: &mut impl Rng,
        inputs: &mut Vec<f32>,
    ) -> Result<(), DataError> {
        if augment.is_empty() || matches!(sample_set.values, SampleValues::Tokens(_)) {
            return self.gather(sample_set, samples, inputs);
        }
        let mut plain = vec![0.0; self.shape.len()];
        inputs.resize(samples.len() * self.shape.len(), 0.0);
        let mut left = inputs.chunks_exact_mut(self.shape.len());
        sample_set.for_each_image(samples, |pixels| {
            let Some(input) = left.next() else { return };
            self.normalise(pixels, &mut plain);
            ImageTransform::draw(self.shape, augment, generator).apply(self.shape, &plain, input);
        })
    }

    fn normalise(&self, pixels: &[u8], input: &mut [f32]) {
        let area = self.shape.height * self.shape.width;
        let channels = self.table.chunks_exact(256).zip(pixels.chunks_exact(area)).zip(input.chunks_exact_mut(area));
        for ((table, pixels), input) in channels {
            input.iter_mut().zip(pixels).for_each(|(input, pixel)| *input = table[usize::from(*pixel)]);
        }
        if let Some(mean_image) = &self.mean_image {
            input.iter_mut().zip(mean_image).for_each(|(input, mean)| *input -= mean);
        }
    }
}

/// The mean and standard deviation of each channel over these samples. Pixels are integers, so the sums are exact.
fn channel_statistics(sample_set: &SampleSet, samples: &[usize]) -> Result<(Vec<f64>, Vec<f64>), DataError> {
    let samples = statistics_samples(sample_set, samples);
    let ImageShape { channels, height, width } = sample_set.shape;
    let mut sums = vec![(0u64, 0u64); channels];
    sample_set.for_each_image(&samples, |pixels| {
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
        // A constant channel is divided by 1. The test uses integers, because the variance may be a rounding error instead of 0.
        let constant = u128::from(squares) * count as u128 == u128::from(sum) * u128::from(sum);
        (mean, if constant { 1.0 } else { variance.sqrt() })
    });
    Ok(moments.unzip())
}

/// The mean of each pixel over these samples.
fn mean_image(sample_set: &SampleSet, samples: &[usize]) -> Result<Vec<f32>, DataError> {
    let samples = statistics_samples(sample_set, samples);
    let mut sums = vec![0u64; sample_set.shape.len()];
    sample_set.for_each_image(&samples, |pixels| {
        sums.iter_mut().zip(pixels).for_each(|(sum, pixel)| *sum += u64::from(*pixel));
    })?;
    Ok(sums.into_iter().map(|sum| (sum as f64 / samples.len() as f64 / 255.0) as f32).collect())
}

/// The samples for statistics: all of them, or 10,000 evenly spaced ones of a larger set of image files, which are decoded for this. (The
/// first ones would often be of one class.)
fn statistics_samples<'s>(sample_set: &SampleSet, samples: &'s [usize]) -> Cow<'s, [usize]> {
    const MOST: usize = 10_000;
    match sample_set.values {
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

    /// Two images of two channels, 1×2, and a third one that is not a training sample.
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
    fn every_normalisation_gives_the_expected_inputs() {
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
    fn tokens_are_neither_normalised_nor_augmented() {
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
    fn constants_for_another_number_of_channels_are_an_error() {
        let constants = Normalize::Constants { mean: vec![0.0], std: vec![1.0] };
        assert!(InputPipeline::new(&constants, &images(), &[0]).unwrap_err().message.contains("expected 2 of each"));
    }

    /// One grey image, 3×3, with the pixels 1 to 9.
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
    fn crops_reach_every_position_of_the_padded_image() {
        let seen: std::collections::BTreeSet<Vec<u32>> =
            (0..400).map(|epoch| augmented(&[Augment::Crop(1)], epoch)).collect();
        assert_eq!(seen.len(), 9);
        assert!(seen.contains(&vec![0, 0, 0, 0, 1, 2, 0, 4, 5]), "the upper left corner");
        assert!(seen.contains(&vec![5, 6, 0, 8, 9, 0, 0, 0, 0]), "the lower right corner");
    }

    #[test]
    fn an_epoch_repeats_its_augmentation() {
        let both = [Augment::Crop(1), Augment::Flip];
        assert_eq!(augmented(&both, 3), augmented(&both, 3));
    }
}
