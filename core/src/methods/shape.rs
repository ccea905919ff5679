//! The shape of samples.

/// The extent of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ImageShape {
    /// 1 for grey, 3 for colour.
    pub channels: usize,
    /// Rows of pixels.
    pub height: usize,
    /// Columns of pixels.
    pub width: usize,
}

impl ImageShape {
    /// Number of values of an image; `usize::MAX` on overflow.
    pub fn len(&self) -> usize {
        product([self.channels, self.height, self.width])
    }

    /// Whether the image has no values.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The samples that a network takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SampleShape {
    /// The extent of an image, or of a row of tokens, 1 × 1 × length.
    pub shape: ImageShape,
    /// For tokens, their number, counted from 0; `None` for images.
    pub vocabulary: Option<usize>,
}

impl From<ImageShape> for SampleShape {
    fn from(shape: ImageShape) -> Self {
        SampleShape { shape, vocabulary: None }
    }
}

/// The product, or `usize::MAX` on overflow.
pub(crate) fn product<const N: usize>(factors: [usize; N]) -> usize {
    factors.into_iter().fold(1, usize::saturating_mul)
}
