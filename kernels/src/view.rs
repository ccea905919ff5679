//! Views: the transformation under which kernels read stored values.

use crate::lanes::{BLOCK, Lanes};

/// How stored values x are read: as x, or as scale · x + shift per channel (rounded once), followed by a ReLU if `rectify` is set. NaN
/// stays NaN.
#[derive(Clone, Copy, Debug, Default)]
pub struct View<'a> {
    /// Scale and shift, one value per channel each; none reads values as they are.
    pub affine: Option<(&'a [f32], &'a [f32])>,
    /// Reads negative values as 0.
    pub rectify: bool,
}

impl<'a> View<'a> {
    /// The view of `count` channels from channel `first` on.
    pub fn part(&self, first: usize, count: usize) -> View<'a> {
        let part = |(scale, shift): (&'a [f32], &'a [f32])| (&scale[first..][..count], &shift[first..][..count]);
        View { affine: self.affine.map(part), rectify: self.rectify }
    }

    pub(crate) fn check(&self, channels: usize) {
        assert_eq!(channels % BLOCK, 0, "the channels are in blocks of {BLOCK}");
        if let Some((scale, shift)) = self.affine {
            assert!(
                scale.len() == channels && shift.len() == channels,
                "scale and shift have one value for each of {channels} channels"
            );
        }
    }

    /// The view of the channels from `channel` on, one per lane.
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
    /// The value that `x` reads as.
    #[inline(always)]
    pub fn read(&self, lanes: L, x: L::Vector) -> L::Vector {
        let value = self.affine(lanes, x);
        if self.rectify { rectified(lanes, value) } else { value }
    }

    /// The gradient with respect to the value before rectification, from the gradient `d` with respect to the value as it is read: `d`, or 0
    /// where rectification gives 0.
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

/// max(x, 0); NaN stays NaN.
#[inline(always)]
pub(crate) fn rectified<L: Lanes>(lanes: L, x: L::Vector) -> L::Vector {
    let zero = lanes.splat(0.0);
    lanes.select_less(x, zero, zero, x)
}
