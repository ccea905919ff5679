//! Image files, JPEG or PNG, as pixels of one extent.
//!
//! An image is stretched to the extent that is asked for, as the released code of Xu et al. 2019 does it, with a triangle filter that is as
//! wide as what becomes one pixel; one that has the extent already stays as it is. Grey images have three equal channels where colour is asked for,
//! and what is transparent counts as opaque.

use super::ImageShape;
use super::error::DataError;
use image::imageops::{self, FilterType};
use image::{DynamicImage, ImageReader, Limits};
use std::io;
use std::path::{Path, PathBuf};
use std::thread;

/// The most pixels along a side of a file: a header cannot ask for more memory than that.
const SIDE: u32 = 16_384;

/// The most threads that decode at once.
const THREADS: usize = 8;

/// Decodes the files `path(0)`, `path(1)`, … `path(count − 1)` one after another into `pixels`, each channels × height × width. Several
/// threads do it; whose is which changes nothing.
///
/// # Errors
/// The first file, in their order, that cannot be had.
pub(super) fn all(
    count: usize,
    path: impl Fn(usize) -> PathBuf + Sync,
    shape: ImageShape,
    pixels: &mut [u8],
) -> Result<(), DataError> {
    let threads = thread::available_parallelism().map_or(1, |threads| threads.get().min(THREADS));
    let (share, length) = (count.div_ceil(threads).max(1), shape.len());
    let part = |first: usize, pixels: &mut [u8]| {
        pixels.chunks_exact_mut(length).zip(first..count).try_for_each(|(pixels, i)| one(&path(i), shape, pixels))
    };
    if threads == 1 || count < 2 {
        return part(0, pixels);
    }
    thread::scope(|scope| {
        let parts: Vec<_> = pixels
            .chunks_mut(share * length)
            .enumerate()
            .map(|(i, pixels)| scope.spawn(move || part(i * share, pixels)))
            .collect();
        // Every thread is waited for; the first error in the order of the files is the one that is told.
        let results: Vec<_> = parts
            .into_iter()
            .map(|part| part.join().unwrap_or_else(|panicked| std::panic::resume_unwind(panicked)))
            .collect();
        results.into_iter().collect()
    })
}

/// Decodes one file.
fn one(path: &Path, shape: ImageShape, pixels: &mut [u8]) -> Result<(), DataError> {
    let image = open(path)?;
    let (width, height) = (shape.width as u32, shape.height as u32);
    let planes = |samples: &[u8]| {
        for (channel, plane) in pixels.chunks_exact_mut(shape.height * shape.width).enumerate() {
            let values = samples.iter().skip(channel).step_by(shape.channels);
            plane.iter_mut().zip(values).for_each(|(to, from)| *to = *from);
        }
    };
    macro_rules! stretched {
        ($image:expr) => {{
            let image = $image;
            if image.dimensions() == (width, height) {
                image
            } else {
                imageops::resize(&image, width, height, FilterType::Triangle)
            }
        }};
    }
    let mut planes = planes;
    if shape.channels == 1 {
        planes(stretched!(image.into_luma8()).as_raw());
    } else {
        planes(stretched!(image.into_rgb8()).as_raw());
    }
    Ok(())
}

fn open(path: &Path) -> Result<DynamicImage, DataError> {
    let refused = |source: io::Error| DataError::Read { path: path.to_owned(), source };
    let mut reader = ImageReader::open(path).map_err(refused)?.with_guessed_format().map_err(refused)?;
    let mut limits = Limits::default();
    (limits.max_image_width, limits.max_image_height) = (Some(SIDE), Some(SIDE));
    reader.limits(limits);
    reader.decode().map_err(|source| DataError::Image { path: path.to_owned(), source: Box::new(source) })
}
