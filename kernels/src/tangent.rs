//! The hyperbolic tangent, computed with products, sums and one quotient in `f64`: the same bytes on every CPU and on a GPU.

/// ln 2 as a sum of two terms. The first has so few bits that its product with a small integer is exact.
const LN_2: [f64; 2] = [0.693_147_180_369_123_8, 1.908_214_929_270_587_7e-10];

/// 1/2! to 1/11!.
const FACTORIALS: [f64; 10] = [
    0.5,
    1.0 / 6.0,
    1.0 / 24.0,
    1.0 / 120.0,
    1.0 / 720.0,
    1.0 / 5040.0,
    1.0 / 40_320.0,
    1.0 / 362_880.0,
    1.0 / 3_628_800.0,
    1.0 / 39_916_800.0,
];

/// tanh x, almost always rounded to nearest. NaN stays NaN.
pub fn tanh(x: f32) -> f32 {
    let wide = f64::from(x);
    let size = wide.abs();
    if size < 1e-3 {
        return (wide * (1.0 - wide * wide / 3.0)) as f32;
    }
    if size > 10.0 {
        return 1f32.copysign(x);
    }
    if x.is_nan() {
        return x;
    }
    // e^(−2|x|) = 2^power e^rest, with |rest| ≤ ln 2 / 2.
    let exponent = -2.0 * size;
    let power = (exponent * std::f64::consts::LOG2_E - 0.5) as i32;
    let rest = exponent - f64::from(power) * LN_2[0] - f64::from(power) * LN_2[1];
    let series = FACTORIALS.iter().rev().fold(0.0, |sum, factor| (sum + factor) * rest);
    let scale = f64::from_bits(((1023 + i64::from(power)) as u64) << 52);
    let e = ((series + 1.0) * rest + 1.0) * scale;
    ((1.0 - e) / (1.0 + e)).copysign(wide) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tanh_is_rounded_to_nearest_with_few_exceptions() {
        let mut away = 0;
        for i in 0..200_000 {
            let x = (i as f32 - 100_000.0) / 9_000.0;
            let expected = f64::from(x).tanh() as f32;
            let apart = tanh(x).to_bits().abs_diff(expected.to_bits());
            assert!(apart <= 1, "{x}: {} for {expected}", tanh(x));
            away += apart;
        }
        assert!(away < 4, "{away} of 200 000 are rounded the other way");
        for x in [1e-30, 1e-12, 9e-4, 1.1e-3, 0.5] {
            assert_eq!(tanh(x), f64::from(x).tanh() as f32, "{x}");
        }
    }

    #[test]
    fn tanh_is_odd_and_has_its_limits() {
        for x in [0.0, 1e-4, 0.3, 2.0, 9.9, 10.1, 1e30, f32::INFINITY] {
            assert_eq!(tanh(-x).to_bits(), (-tanh(x)).to_bits(), "{x}");
        }
        assert_eq!([tanh(f32::INFINITY), tanh(f32::NEG_INFINITY)], [1.0, -1.0]);
        assert!(tanh(f32::NAN).is_nan());
    }

    #[test]
    fn tanh_is_monotonic() {
        let mut before = -1.0;
        for i in 0..400_000 {
            let next = tanh((i as f32 - 200_000.0) / 20_000.0);
            assert!(next >= before, "{i}");
            before = next;
        }
    }
}
