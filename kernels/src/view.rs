//! Values as their readers see them.

use crate::lanes::{BLOCK, Lanes};

/// How stored values x are read: x, or scale · x + shift with a factor and an offset a channel (rounded once), and of that, where it
/// rectifies, what is not below 0. NaN stays NaN.
#[derive(Clone, Copy, Debug, Default)]
pub struct View<'a> {
    /// Scale and shift of every channel.
    pub affine: Option<(&'a [f32], &'a [f32])>,
    /// Whether values below 0 read as 0.
    pub rectify: bool,
}

impl<'a> View<'a> {
    /// The view of `count` channels from number `first` on.
    pub fn part(&self, first: usize, count: usize) -> View<'a> {
        let part = |(scale, shift): (&'a [f32], &'a [f32])| (&scale[first..][..count], &shift[first..][..count]);
        View { affine: self.affine.map(part), rectify: self.rectify }
    }

    pub(crate) fn check(&self, channels: usize) {
        assert_eq!(channels % BLOCK, 0, "channels in blocks of {BLOCK}");
        if let Some((scale, shift)) = self.affine {
            assert!(
                scale.len() == channels && shift.len() == channels,
                "a scale and a shift for each of {channels} channels"
            );
        }
    }

    /// The view of some neighbouring channels.
    #[inline(always)]
    pub(crate) fn lane_view<L: Lanes>(&self, lanes: L, channel: usize) -> LaneView<L> {
        LaneView {
            affine: self.affine.map(|(scale, shift)| (lanes.load(&scale[channel..]), lanes.load(&shift[channel..]))),
            rectify: self.rectify,
        }
    }
}

/// A [`View`] of as many channels as there are lanes.
#[derive(Clone, Copy)]
pub(crate) struct LaneView<L: Lanes> {
    affine: Option<(L::Vector, L::Vector)>,
    rectify: bool,
}

impl<L: Lanes> LaneView<L> {
    /// What `x` reads as.
    #[inline(always)]
    pub fn read(&self, lanes: L, x: L::Vector) -> L::Vector {
        let value = self.affine(lanes, x);
        if self.rectify { rectified(lanes, value) } else { value }
    }

    /// The gradient `d` with respect to what is read, as far as rectification lets it through: not where that gave 0.
    #[inline(always)]
    pub fn gradient(&self, lanes: L, x: L::Vector, d: L::Vector) -> L::Vector {
        let zero = lanes.splat(0.0);
        if self.rectify { lanes.select_less(zero, self.affine(lanes, x), d, zero) } else { d }
    }

    #[inline(always)]
    fn affine(&self, lanes: L, x: L::Vector) -> L::Vector {
        match self.affine {
            Some((scale, shift)) => lanes.multiply_add(x, scale, shift),
            None => x,
        }
    }
}

/// max(x, 0), NaN where x is.
#[inline(always)]
pub(crate) fn rectified<L: Lanes>(lanes: L, x: L::Vector) -> L::Vector {
    let zero = lanes.splat(0.0);
    lanes.select_less(x, zero, zero, x)
}
