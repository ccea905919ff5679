//! Open-set noise (Wang et al. 2018; Zhang & Sabuncu 2018, Table 2): images are replaced by images that belong to no class of
//! the data set, each with a label drawn uniformly from all classes.

use super::Draw;
use rand::{Rng, RngExt};

/// The label of an image that belongs to no class.
pub const NO_CLASS: u32 = u32::MAX;

/// A training sample whose image is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replacement {
    /// The sample, counted from 0.
    pub sample: usize,
    /// The new image, counted from 0 within the pool.
    pub image: usize,
    /// The label of the new image.
    pub given: u32,
}

/// Chooses the samples to replace, each with probability `rate` or exactly ⌊`rate` · `samples`⌉ of them, and a different image
/// of the pool for each.
///
/// Neither the order of samples nor their images depend on the rate: under one seed, a higher rate makes all replacements of a
/// lower rate and further ones.
///
/// # Errors
/// If the pool has too few images.
pub fn replacements(
    samples: usize,
    pool: usize,
    classes: usize,
    (rate, draw): (f64, Draw),
    generator: &mut impl Rng,
) -> Result<Vec<Replacement>, String> {
    let draws: Vec<(f64, u32)> =
        (0..samples).map(|_| (generator.random(), generator.random_range(0..classes.max(1)) as u32)).collect();
    let mut order: Vec<usize> = (0..samples).collect();
    order.sort_by(|a, b| draws[*a].0.total_cmp(&draws[*b].0).then(a.cmp(b)));
    let replaced = match draw {
        Draw::PerSample => draws.iter().filter(|(draw, _)| *draw < rate).count(),
        Draw::Exact => ((rate * samples as f64).round() as usize).min(samples),
    };
    if replaced > pool {
        return Err(format!("expected a pool of at least {replaced} images, found {pool}"));
    }
    // The first images of a shuffled pool: Fisher & Yates from the front, which can stop after any number.
    let mut images: Vec<usize> = (0..pool).collect();
    (0..replaced).for_each(|i| images.swap(i, generator.random_range(i..pool)));
    let chosen = order.iter().zip(images).take(replaced);
    Ok(chosen.map(|(sample, image)| Replacement { sample: *sample, image, given: draws[*sample].1 }).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Stream, Streams};
    use std::collections::BTreeSet;

    fn made(rate: f64, draw: Draw) -> Vec<Replacement> {
        replacements(5_000, 6_000, 10, (rate, draw), &mut Streams::new(1, 1).generator(Stream::Noise, 0)).unwrap()
    }

    #[test]
    fn no_sample_is_replaced_twice_and_no_image_used_twice() {
        let made = made(1.0, Draw::PerSample);
        let samples: BTreeSet<_> = made.iter().map(|r| r.sample).collect();
        let images: BTreeSet<_> = made.iter().map(|r| r.image).collect();
        assert_eq!((made.len(), samples.len(), images.len()), (5_000, 5_000, 5_000));
        assert!(samples.last() == Some(&4_999) && images.last() > Some(&4_999), "the whole pool is used");
    }

    #[test]
    fn exact_rates_are_exact_and_drawn_ones_are_near() {
        assert_eq!(made(0.4, Draw::Exact).len(), 2_000);
        let drawn = made(0.4, Draw::PerSample).len();
        assert!(drawn.abs_diff(2_000) < 150 && drawn != 2_000, "{drawn}");
        assert!(made(0.0, Draw::PerSample).is_empty());
    }

    #[test]
    fn a_higher_rate_makes_the_replacements_of_a_lower_one_and_further_ones() {
        for draw in [Draw::PerSample, Draw::Exact] {
            let (low, high) = (made(0.2, draw), made(0.6, draw));
            assert_eq!(low, high[..low.len()]);
        }
    }

    #[test]
    fn every_class_is_given_to_a_tenth_of_the_images() {
        let made = made(1.0, Draw::Exact);
        for class in 0..10 {
            let share = made.iter().filter(|r| r.given == class).count() as f64 / 5_000.0;
            assert!((share - 0.1).abs() < 0.02, "{class}: {share}");
        }
    }

    #[test]
    fn a_pool_that_is_too_small_is_rejected() {
        let mut generator = Streams::new(1, 1).generator(Stream::Noise, 0);
        let refusal = replacements(100, 30, 10, (0.4, Draw::Exact), &mut generator).unwrap_err();
        assert_eq!(refusal, "expected a pool of at least 40 images, found 30");
    }
}
