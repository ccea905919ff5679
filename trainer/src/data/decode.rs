//! Decodes JPEG and PNG files into pixels of one shape.
//!
//! An image is stretched to the requested size, as in the released code of Xu et al. 2019, with a triangle filter whose width covers the
//! area of one resulting pixel. An image of that size stays as it is. A grey image gets three equal channels if colour is requested.
//! Transparency is ignored.

use super::error::DataError;
use image::imageops::{self, FilterType};
use image::{DynamicImage, ImageReader, Limits};
use plusminus_core::methods::dataset::ImageShape;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// The most pixels along a side of an image, so that a header cannot demand any amount of memory.
const SIDE: u32 = 16_384;

/// The most threads that decode.
const THREADS: usize = 8;

/// Decodes the files `path(0)`, `path(1)`, … `path(count − 1)` into `pixels`, channels × height × width for each. Several threads share
/// the files; the result does not depend on how.
///
/// # Errors
/// The first file, in this order, that cannot be read or decoded.
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
        let part = &part;
        let parts: Vec<_> = pixels
            .chunks_mut(share * length)
            .enumerate()
            .map(|(i, pixels)| {
                let pixels = Arc::new(Mutex::new(pixels));
                let decode = move |pixels: &Mutex<&mut [u8]>| {
                    part(i * share, &mut pixels.lock().unwrap_or_else(PoisonError::into_inner))
                };
                let shared = Arc::clone(&pixels);
                let started = thread::Builder::new().spawn_scoped(scope, move || decode(&shared));
                // Without a thread, this one decodes the part below.
                started.map_err(|_| move || decode(&pixels))
            })
            .collect();
        // Waits for all threads, so that the error is the first one in the order of the files.
        let results: Vec<_> = parts
            .into_iter()
            .map(|part| match part {
                Ok(thread) => thread.join().unwrap_or_else(|panicked| std::panic::resume_unwind(panicked)),
                Err(decode) => decode(),
            })
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

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use image::{ExtendedColorType, GrayAlphaImage, GrayImage, LumaA, RgbImage};
    use std::fs;
    use std::io::Cursor;

    const SMALL: ImageShape = ImageShape { channels: 3, height: 2, width: 3 };

    /// The bytes of a `jpg` or `png` file with the given colour at each column and row.
    pub fn picture(kind: &str, width: u32, height: u32, colour: impl Fn(u8, u8) -> [u8; 3]) -> Vec<u8> {
        let image = RgbImage::from_fn(width, height, |x, y| image::Rgb(colour(x as u8, y as u8)));
        let mut bytes = Cursor::new(Vec::new());
        match kind {
            "jpg" => image::codecs::jpeg::JpegEncoder::new_with_quality(&mut bytes, 100)
                .encode(image.as_raw(), width, height, ExtendedColorType::Rgb8)
                .unwrap(),
            _ => image.write_to(&mut bytes, image::ImageFormat::Png).unwrap(),
        }
        bytes.into_inner()
    }

    fn decoded(bytes: &[u8], shape: ImageShape) -> Result<Vec<u8>, DataError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(&file, bytes).unwrap();
        let mut pixels = vec![0; shape.len()];
        all(1, |_| file.path().to_owned(), shape, &mut pixels).map(|()| pixels)
    }

    #[test]
    fn an_image_of_the_right_size_is_not_resized() {
        let bytes = picture("png", 3, 2, |x, y| [10 * x + 100 * y, 7, 200 + x]);
        let expected = [[0, 10, 20, 100, 110, 120], [7; 6], [200, 201, 202, 200, 201, 202]].concat();
        assert_eq!(decoded(&bytes, SMALL).unwrap(), expected);
    }

    #[test]
    fn an_image_of_another_size_is_stretched() {
        // Each resulting pixel is the mean of equal ones.
        let bytes = picture("png", 30, 40, |x, y| [10 * (x / 10), 100 * (y / 20), 0]);
        let pixels = decoded(&bytes, SMALL).unwrap();
        assert!(pixels[0] < 2 && pixels[1].abs_diff(10) <= 1 && pixels[2].abs_diff(20) <= 2, "{pixels:?}");
        assert!(pixels[6] < 20 && pixels[9].abs_diff(100) < 20, "{pixels:?}");
        // Known values: two pixels become four under a triangle of radius 1, cut at the edges.
        let shape = ImageShape { channels: 1, height: 1, width: 4 };
        assert_eq!(decoded(&picture("png", 2, 1, |x, _| [200 * x; 3]), shape).unwrap(), [0, 50, 150, 200]);
    }

    #[test]
    fn grey_and_transparent_images_are_read_as_colour_and_as_grey() {
        let mut bytes = Cursor::new(Vec::new());
        GrayImage::from_pixel(3, 2, image::Luma([77])).write_to(&mut bytes, image::ImageFormat::Png).unwrap();
        assert_eq!(decoded(bytes.get_ref(), SMALL).unwrap(), [77; 18]);
        let mut bytes = Cursor::new(Vec::new());
        GrayAlphaImage::from_pixel(3, 2, LumaA([77, 5])).write_to(&mut bytes, image::ImageFormat::Png).unwrap();
        assert_eq!(decoded(bytes.get_ref(), ImageShape { channels: 1, ..SMALL }).unwrap(), [77; 6]);
    }

    #[test]
    fn a_truncated_file_or_another_format_is_an_error() {
        for kind in ["jpg", "png"] {
            let bytes = picture(kind, 16, 16, |x, y| [x * 9, y * 9, x ^ y]);
            assert!(decoded(&bytes, SMALL).is_ok());
            for end in 0..bytes.len() / 2 {
                let error = decoded(&bytes[..end], SMALL).unwrap_err();
                assert!(matches!(error, DataError::Image { .. }), "{kind} cut at {end}: {error}");
            }
        }
        assert!(matches!(decoded(b"GIF89a and so on", SMALL).unwrap_err(), DataError::Image { .. }));
    }

    #[test]
    fn a_header_with_a_huge_size_is_an_error() {
        let mut bytes = picture("png", 16, 16, |_, _| [0; 3]);
        // Width and height follow the signature and the name of the first chunk. Their checksum follows them.
        bytes[16..24].copy_from_slice(&[0x7f, 0xff, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff]);
        assert!(matches!(decoded(&bytes, SMALL).unwrap_err(), DataError::Image { .. }));
    }

    #[test]
    fn files_are_decoded_in_order_and_the_first_damaged_one_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = |i: usize| directory.path().join(format!("{i}.png"));
        for i in 0..100 {
            fs::write(path(i), picture("png", 3, 2, |_, _| [i as u8; 3])).unwrap();
        }
        let mut pixels = vec![0; 100 * SMALL.len()];
        all(100, path, SMALL, &mut pixels).unwrap();
        assert!(pixels.chunks_exact(SMALL.len()).zip(0..).all(|(image, i)| image == [i; 18]));
        for i in [93, 41, 40] {
            fs::write(path(i), b"").unwrap();
            let error = all(100, path, SMALL, &mut pixels).unwrap_err();
            assert!(matches!(&error, DataError::Image { path: p, .. } if *p == path(i)), "{error}");
        }
    }
}
