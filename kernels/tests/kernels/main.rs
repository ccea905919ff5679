//! Compares every kernel with a plain implementation of its definition, and all instruction sets with each other.
//!
//! Products of eighths ([`Random::eighths`]) and sums of some thousands of them are exact in any order, so on eighths a kernel must equal its
//! definition exactly. Operations on other numbers ([`Random::fine`]) are rounded, and all instruction sets must give the same bytes.

mod golden;
mod pixels;
mod pools;
mod products;
mod refusals;
mod updates;
mod winograd;

use plusminus_kernels::{BLOCK, Instructions};
use std::fmt::Debug;

/// Steele, Lea & Flood's SplitMix64 (2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    /// Multiples of 1/8 in [−1, 1].
    fn eighths(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| (self.below(17) as f32 - 8.0) / 8.0).collect()
    }

    /// Any numbers in [−1, 1).
    fn fine(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| (self.next() >> 40) as f32 / (1 << 23) as f32 - 1.0).collect()
    }
}

/// A way to draw numbers.
type Draw = fn(&mut Random, usize) -> Vec<f32>;

/// Both ways to draw numbers, and whether sums of these numbers are exact.
const DRAWS: [(Draw, bool); 2] = [(Random::eighths, true), (Random::fine, false)];

/// Runs `compute` with all instruction sets, panics unless they give the same bytes, and returns the result.
#[track_caller]
fn everywhere(what: impl Debug, compute: impl Fn(Instructions) -> Vec<f32>) -> Vec<f32> {
    let [best, others @ ..] = &Instructions::all()[..] else { panic!("no instructions") };
    let found = compute(*best);
    for other in others {
        let again = compute(*other);
        assert_eq!(again.len(), found.len());
        let differs =
            found.iter().zip(&again).position(|(a, b)| a.to_bits() != b.to_bits() && !(a.is_nan() && b.is_nan()));
        if let Some(at) = differs {
            let (name, other_name) = (best.name(), other.name());
            panic!("{what:?}: at {at} {:e} with {name} and {:e} with {other_name}", found[at], again[at]);
        }
    }
    found
}

/// Panics unless the numbers are equal.
#[track_caller]
fn same(what: impl Debug, found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len());
    if let Some(at) = found.iter().zip(expected).position(|(found, expected)| found != expected) {
        panic!("{what:?}: at {at} {:e} for {:e}", found[at], expected[at]);
    }
}

/// Panics unless every number differs from the expected one by at most `share` of its absolute value, or of 1 if that is larger.
#[track_caller]
fn near(what: impl Debug, found: &[f32], expected: &[f64], share: f64) {
    assert_eq!(found.len(), expected.len());
    for (at, (found, expected)) in found.iter().zip(expected).enumerate() {
        let apart = (f64::from(*found) - expected).abs();
        assert!(apart <= share * expected.abs().max(1.0), "{what:?}: at {at} {found:e} for {expected:e}");
    }
}

/// Σ a · b, which is exact for eighths.
fn dot(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}

/// Index of weight `value` of `output` in panels that are `panel` values apart.
fn place(panel: usize, value: usize, output: usize) -> usize {
    output / BLOCK * panel + value * BLOCK + output % BLOCK
}
