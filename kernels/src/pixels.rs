//! Operations over the pixels of an image, channel by channel: everything between convolutions.
//!
//! An image is a contiguous slice of pixels with `channels` values each. A kernel processes one image, so that the next kernel finds it in
//! the cache; callers add up sums over images.

use crate::lanes::{BLOCK, Instructions, Kernel, Lanes};
use crate::view::{View, rectified};

/// Copies an image, as `view` reads it, into a larger image and fills the border with zeros.
#[derive(Debug)]
pub struct Pad<'a> {
    /// The stored image.
    pub image: &'a [f32],
    /// Rows and columns of the image.
    pub extent: [usize; 2],
    /// Channels per pixel. Only an identity view allows a number that is not a multiple of [`BLOCK`].
    pub channels: usize,
    /// How its values are read.
    pub view: View<'a>,
    /// The padded image.
    pub padded: &'a mut [f32],
    /// Columns of the padded image.
    pub columns: usize,
    /// Rows above the image and columns to its left.
    pub before: [usize; 2],
}

impl Pad<'_> {
    /// Checks the lengths and runs the kernel.
    ///
    /// # Panics
    /// Panics if the image does not fit.
    pub fn run(self, instructions: Instructions) {
        let ([height, width], [above, left], row) = (self.extent, self.before, self.columns * self.channels);
        assert_eq!(self.image.len(), height * width * self.channels, "the image has all its pixels");
        assert!(
            left + width <= self.columns && (above + height) * row <= self.padded.len(),
            "the image fits into the padded image"
        );
        let plain = self.view.affine.is_none() && !self.view.rectify;
        let (head, rest) = self.padded.split_at_mut(above * row);
        let (body, tail) = rest.split_at_mut(height * row);
        head.fill(0.0);
        tail.fill(0.0);
        for (to, from) in body.chunks_exact_mut(row).zip(self.image.chunks_exact((width * self.channels).max(1))) {
            let (head, rest) = to.split_at_mut(left * self.channels);
            let (to, tail) = rest.split_at_mut(width * self.channels);
            head.fill(0.0);
            tail.fill(0.0);
            if plain {
                to.copy_from_slice(from);
            } else {
                Join { inputs: [Some((from, self.view)), None], channels: self.channels, rectify: false, output: to }
                    .run(instructions);
            }
        }
    }
}

/// Adds up to two images, each as its view reads it, and rectifies the sum if `rectify` is set.
#[derive(Debug)]
pub struct Join<'a> {
    /// The images to add. The first is required.
    pub inputs: [Option<(&'a [f32], View<'a>)>; 2],
    /// Channels per pixel.
    pub channels: usize,
    /// Replaces negative sums by 0.
    pub rectify: bool,
    /// The output.
    pub output: &'a mut [f32],
}

impl Join<'_> {
    /// Checks the lengths and runs the kernel.
    ///
    /// # Panics
    /// Panics if the images differ in length.
    pub fn run(self, instructions: Instructions) {
        for (image, view) in self.inputs.iter().flatten() {
            view.check(self.channels);
            assert_eq!(image.len(), self.output.len(), "the images have the same length");
        }
        assert!(self.inputs[0].is_some(), "the first image is given");
        instructions.run(self);
    }
}

impl Kernel for Join<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let [Some((first, first_view)), second] = self.inputs else { return };
        for channel in (0..self.channels).step_by(L::COUNT) {
            let first_view = first_view.lane_view(lanes, channel);
            let pixels = self.output.chunks_exact_mut(self.channels).zip(first.chunks_exact(self.channels));
            match second {
                None => {
                    for (y, a) in pixels {
                        let sum = first_view.read(lanes, lanes.load(&a[channel..]));
                        lanes.store(&mut y[channel..], if self.rectify { rectified(lanes, sum) } else { sum });
                    }
                }
                Some((second, view)) => {
                    let second_view = view.lane_view(lanes, channel);
                    for ((y, a), b) in pixels.zip(second.chunks_exact(self.channels)) {
                        let a = first_view.read(lanes, lanes.load(&a[channel..]));
                        let b = second_view.read(lanes, lanes.load(&b[channel..]));
                        let sum = lanes.add(a, b);
                        lanes.store(&mut y[channel..], if self.rectify { rectified(lanes, sum) } else { sum });
                    }
                }
            }
        }
    }
}

/// Sets the gradient to zero wherever the output of a rectified [`Join`] is 0.
#[derive(Debug)]
pub struct Mask<'a> {
    /// Output of the [`Join`].
    pub output: &'a [f32],
    /// On input the gradient with respect to the output; afterwards the gradient with respect to the sum before rectification.
    pub gradient: &'a mut [f32],
}

impl Mask<'_> {
    /// Checks the lengths and runs the kernel.
    ///
    /// # Panics
    /// Panics if the lengths differ.
    pub fn run(self, instructions: Instructions) {
        assert_eq!(self.output.len(), self.gradient.len(), "one gradient per value");
        assert_eq!(self.output.len() % BLOCK, 0, "the values are in blocks of {BLOCK}");
        instructions.run(self);
    }
}

impl Kernel for Mask<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let zero = lanes.splat(0.0);
        for (d, y) in self.gradient.chunks_exact_mut(L::COUNT).zip(self.output.chunks_exact(L::COUNT)) {
            let kept = lanes.select_less(zero, lanes.load(y), lanes.load(d), zero);
            lanes.store(d, kept);
        }
    }
}

/// total += values, element by element.
#[derive(Debug)]
pub struct Add<'a> {
    /// The values to add.
    pub values: &'a [f32],
    /// The values to add to.
    pub total: &'a mut [f32],
}

impl Add<'_> {
    /// Checks the lengths and runs the kernel.
    ///
    /// # Panics
    /// Panics if the lengths differ.
    pub fn run(self, instructions: Instructions) {
        assert_eq!(self.values.len(), self.total.len(), "values and total have the same length");
        assert_eq!(self.values.len() % BLOCK, 0, "the values are in blocks of {BLOCK}");
        instructions.run(self);
    }
}

impl Kernel for Add<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        for (total, value) in self.total.chunks_exact_mut(L::COUNT).zip(self.values.chunks_exact(L::COUNT)) {
            let sum = lanes.add(lanes.load(total), lanes.load(value));
            lanes.store(total, sum);
        }
    }
}

/// Computes the mean and the sum of squared deviations of every channel of an image. Two passes keep precision if the mean is large.
#[derive(Debug)]
pub struct ChannelMoments<'a> {
    /// The stored image.
    pub image: &'a [f32],
    /// Mean per channel.
    pub mean: &'a mut [f32],
    /// Σ (x − mean)² per channel.
    pub squares: &'a mut [f32],
}

impl ChannelMoments<'_> {
    /// Checks the lengths and runs the kernel.
    ///
    /// # Panics
    /// Panics if the image is empty or its length is not a multiple of the number of channels.
    pub fn run(self, instructions: Instructions) {
        let channels = self.mean.len();
        assert!(
            channels > 0 && channels.is_multiple_of(BLOCK) && self.squares.len() == channels,
            "the channels are in blocks of {BLOCK}"
        );
        assert!(
            !self.image.is_empty() && self.image.len().is_multiple_of(channels),
            "the image has whole pixels of {channels} channels"
        );
        instructions.run(self);
    }
}

impl Kernel for ChannelMoments<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let channels = self.mean.len();
        let share = lanes.splat(((self.image.len() / channels) as f32).recip());
        for channel in (0..channels).step_by(L::COUNT) {
            let total = fold(lanes, self.image, channels, channel, |sum, x| lanes.add(sum, x));
            let mean = lanes.multiply(total, share);
            let squares = fold(lanes, self.image, channels, channel, |sum, x| {
                let distance = lanes.subtract(x, mean);
                lanes.multiply_add(distance, distance, sum)
            });
            lanes.store(&mut self.mean[channel..], mean);
            lanes.store(&mut self.squares[channel..], squares);
        }
    }
}

/// Reduces the pixels of a channel in four independent parts, each over every fourth pixel, so that additions do not wait for each other.
#[inline(always)]
fn fold<L: Lanes>(
    lanes: L,
    image: &[f32],
    channels: usize,
    channel: usize,
    add: impl Fn(L::Vector, L::Vector) -> L::Vector,
) -> L::Vector {
    let mut parts = [lanes.splat(0.0); 4];
    let fours = image.chunks_exact(4 * channels);
    let rest = fours.remainder();
    for four in fours {
        for (i, part) in parts.iter_mut().enumerate() {
            *part = add(*part, lanes.load(&four[i * channels + channel..]));
        }
    }
    for (part, x) in parts.iter_mut().zip(rest.chunks_exact(channels)) {
        *part = add(*part, lanes.load(&x[channel..]));
    }
    lanes.add(lanes.add(parts[0], parts[1]), lanes.add(parts[2], parts[3]))
}

/// Computes Σ g and Σ g · (x − mean) per channel over the pixels of an image, where g is the gradient that `view` passes. The gradients of
/// a bias and of batch norm follow from them.
#[derive(Debug)]
pub struct GradientSums<'a> {
    /// Gradient with respect to the values as they are read.
    pub gradient: &'a [f32],
    /// The stored values x.
    pub image: &'a [f32],
    /// How the stored values are read.
    pub view: View<'a>,
    /// Mean to subtract from x, per channel.
    pub mean: &'a [f32],
    /// Σ g per channel.
    pub sum: &'a mut [f32],
    /// Σ g · (x − mean) per channel.
    pub product: &'a mut [f32],
}

impl GradientSums<'_> {
    /// Checks the lengths and runs the kernel.
    ///
    /// # Panics
    /// Panics if the lengths differ.
    pub fn run(self, instructions: Instructions) {
        let channels = self.mean.len();
        self.view.check(channels);
        assert!(
            self.sum.len() == channels && self.product.len() == channels,
            "both sums have one value for each of {channels} channels"
        );
        assert_eq!(self.image.len(), self.gradient.len(), "one gradient per value");
        assert!(
            channels > 0 && self.image.len().is_multiple_of(channels),
            "the image has whole pixels of {channels} channels"
        );
        instructions.run(self);
    }
}

impl Kernel for GradientSums<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let channels = self.mean.len();
        for channel in (0..channels).step_by(L::COUNT) {
            let lane_view = self.view.lane_view(lanes, channel);
            let mean = lanes.load(&self.mean[channel..]);
            let (mut sums, mut products) = ([lanes.splat(0.0); 2], [lanes.splat(0.0); 2]);
            let pairs = self.gradient.chunks_exact(2 * channels).zip(self.image.chunks_exact(2 * channels));
            let add = |d: &[f32], x: &[f32], sum: &mut L::Vector, product: &mut L::Vector| {
                let x = lanes.load(&x[channel..]);
                let g = lane_view.gradient(lanes, x, lanes.load(&d[channel..]));
                *sum = lanes.add(*sum, g);
                *product = lanes.multiply_add(g, lanes.subtract(x, mean), *product);
            };
            let done = self.image.len() / (2 * channels) * (2 * channels);
            for (d, x) in pairs {
                for i in 0..2 {
                    add(&d[i * channels..], &x[i * channels..], &mut sums[i], &mut products[i]);
                }
            }
            if done < self.image.len() {
                add(&self.gradient[done..], &self.image[done..], &mut sums[0], &mut products[0]);
            }
            lanes.store(&mut self.sum[channel..], lanes.add(sums[0], sums[1]));
            lanes.store(&mut self.product[channel..], lanes.add(products[0], products[1]));
        }
    }
}

/// Computes the gradient with respect to stored values x: the gradient g that `view` passes, or α g + β x + γ with three factors per
/// channel. The result is written into a larger image whose border is filled with zeros.
#[derive(Debug)]
pub struct GradientApply<'a> {
    /// Gradient with respect to the values as they are read.
    pub gradient: &'a [f32],
    /// The stored values x.
    pub image: &'a [f32],
    /// Rows and columns of the image.
    pub extent: [usize; 2],
    /// Channels per pixel.
    pub channels: usize,
    /// How the stored values are read.
    pub view: View<'a>,
    /// α, β and γ, one value per channel each.
    pub factors: Option<[&'a [f32]; 3]>,
    /// The padded image.
    pub padded: &'a mut [f32],
    /// Columns of the padded image.
    pub columns: usize,
    /// Rows above the image and columns to its left.
    pub before: [usize; 2],
}

impl GradientApply<'_> {
    /// Checks the lengths and runs the kernel.
    ///
    /// # Panics
    /// Panics if the image does not fit.
    pub fn run(self, instructions: Instructions) {
        let ([height, width], [above, left], row) = (self.extent, self.before, self.columns * self.channels);
        self.view.check(self.channels);
        assert_eq!(self.image.len(), height * width * self.channels, "the image has all its pixels");
        assert_eq!(self.image.len(), self.gradient.len(), "one gradient per value");
        assert!(
            left + width <= self.columns && (above + height) * row <= self.padded.len(),
            "the image fits into the padded image"
        );
        assert!(
            self.factors.iter().flatten().all(|factor| factor.len() == self.channels),
            "each factor has one value per channel"
        );
        instructions.run(self);
    }
}

impl Kernel for GradientApply<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let ([height, width], [above, left], channels) = (self.extent, self.before, self.channels);
        let row = self.columns * channels;
        let (head, rest) = self.padded.split_at_mut(above * row);
        let (body, tail) = rest.split_at_mut(height * row);
        head.fill(0.0);
        tail.fill(0.0);
        let length = width * channels;
        let rows = self.gradient.chunks_exact(length.max(1)).zip(self.image.chunks_exact(length.max(1)));
        for (to, (d, x)) in body.chunks_exact_mut(row).zip(rows) {
            let (head, rest) = to.split_at_mut(left * channels);
            let (to, tail) = rest.split_at_mut(length);
            head.fill(0.0);
            tail.fill(0.0);
            for channel in (0..channels).step_by(L::COUNT) {
                let lane_view = self.view.lane_view(lanes, channel);
                let pixels = d.chunks_exact(channels).zip(x.chunks_exact(channels)).zip(to.chunks_exact_mut(channels));
                match self.factors {
                    None => {
                        for ((d, x), to) in pixels {
                            let g = lane_view.gradient(lanes, lanes.load(&x[channel..]), lanes.load(&d[channel..]));
                            lanes.store(&mut to[channel..], g);
                        }
                    }
                    Some(factors) => {
                        let [alpha, beta, gamma] = factors.map(|factor| lanes.load(&factor[channel..]));
                        for ((d, x), to) in pixels {
                            let x = lanes.load(&x[channel..]);
                            let g = lane_view.gradient(lanes, x, lanes.load(&d[channel..]));
                            let sum = lanes.multiply_add(g, alpha, lanes.multiply_add(x, beta, gamma));
                            lanes.store(&mut to[channel..], sum);
                        }
                    }
                }
            }
        }
    }
}
