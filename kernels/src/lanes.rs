//! Vector arithmetic with the instruction sets of the CPU.
//!
//! Kernels are written once over [`Lanes`]. Its operations follow IEEE 754, with fused multiply-add, and kernels add up in an order that
//! does not depend on the number of lanes. So AVX-512, AVX2, NEON and portable code give the same bytes. `pulp` makes the instructions
//! safe: its tokens prove that the CPU supports them.

use pulp::WithSimd;

/// Channels are stored in multiples of this number of values.
pub const BLOCK: usize = 16;

/// Arithmetic on vectors of `f32`.
pub(crate) trait Lanes: Copy {
    /// A register of [`Lanes::COUNT`] values.
    type Vector: Copy;

    /// Values per vector, a divisor of [`BLOCK`].
    const COUNT: usize;

    /// The CPU has 32 vector registers that hold a whole block each.
    const WIDE: bool;

    /// A vector with the same value in all lanes.
    fn splat(self, value: f32) -> Self::Vector;
    /// Loads the first values of `from`, which has at least [`Lanes::COUNT`].
    fn load(self, from: &[f32]) -> Self::Vector;
    /// Stores to the first values of `to`, which has at least [`Lanes::COUNT`].
    fn store(self, to: &mut [f32], vector: Self::Vector);
    /// a + b
    fn add(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// a − b
    fn subtract(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// a · b
    fn multiply(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// a / b
    fn divide(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// √a
    fn root(self, a: Self::Vector) -> Self::Vector;
    /// a · b + c, rounded once.
    fn multiply_add(self, a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector;
    /// Per lane `yes` if a < b, otherwise `no`. Comparisons with NaN give `no`.
    fn select_less(self, a: Self::Vector, b: Self::Vector, yes: Self::Vector, no: Self::Vector) -> Self::Vector;
}

/// Implements [`Lanes`] for a token of `pulp`.
macro_rules! lanes {
    ($token:ty, $vector:ty, $count:literal, wide: $wide:literal) => {
        impl Lanes for $token {
            type Vector = $vector;

            const COUNT: usize = $count;
            const WIDE: bool = $wide;

            #[inline(always)]
            fn splat(self, value: f32) -> $vector {
                pulp::Simd::splat_f32s(self, value)
            }

            #[inline(always)]
            fn load(self, from: &[f32]) -> $vector {
                pulp::cast(from.as_chunks::<$count>().0[0])
            }

            #[inline(always)]
            fn store(self, to: &mut [f32], vector: $vector) {
                to.as_chunks_mut::<$count>().0[0] = pulp::cast(vector);
            }

            #[inline(always)]
            fn add(self, a: $vector, b: $vector) -> $vector {
                pulp::Simd::add_f32s(self, a, b)
            }

            #[inline(always)]
            fn subtract(self, a: $vector, b: $vector) -> $vector {
                pulp::Simd::sub_f32s(self, a, b)
            }

            #[inline(always)]
            fn multiply(self, a: $vector, b: $vector) -> $vector {
                pulp::Simd::mul_f32s(self, a, b)
            }

            #[inline(always)]
            fn divide(self, a: $vector, b: $vector) -> $vector {
                pulp::Simd::div_f32s(self, a, b)
            }

            #[inline(always)]
            fn root(self, a: $vector) -> $vector {
                pulp::Simd::sqrt_f32s(self, a)
            }

            #[inline(always)]
            fn multiply_add(self, a: $vector, b: $vector, c: $vector) -> $vector {
                pulp::Simd::mul_add_f32s(self, a, b, c)
            }

            #[inline(always)]
            fn select_less(self, a: $vector, b: $vector, yes: $vector, no: $vector) -> $vector {
                pulp::Simd::select_f32s(self, pulp::Simd::less_than_f32s(self, a, b), yes, no)
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
lanes!(pulp::x86::V4, pulp::f32x16, 16, wide: true);
#[cfg(target_arch = "x86_64")]
lanes!(pulp::x86::V3, pulp::f32x8, 8, wide: false);
#[cfg(target_arch = "aarch64")]
lanes!(pulp::aarch64::Neon, pulp::f32x4, 4, wide: false);

/// Arithmetic that every CPU supports.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Portable;

impl Lanes for Portable {
    type Vector = [f32; 4];

    const COUNT: usize = 4;
    const WIDE: bool = false;

    #[inline(always)]
    fn splat(self, value: f32) -> [f32; 4] {
        [value; 4]
    }

    #[inline(always)]
    fn load(self, from: &[f32]) -> [f32; 4] {
        from.as_chunks::<4>().0[0]
    }

    #[inline(always)]
    fn store(self, to: &mut [f32], vector: [f32; 4]) {
        to.as_chunks_mut::<4>().0[0] = vector;
    }

    #[inline(always)]
    fn add(self, a: [f32; 4], b: [f32; 4]) -> [f32; 4] {
        array(|i| a[i] + b[i])
    }

    #[inline(always)]
    fn subtract(self, a: [f32; 4], b: [f32; 4]) -> [f32; 4] {
        array(|i| a[i] - b[i])
    }

    #[inline(always)]
    fn multiply(self, a: [f32; 4], b: [f32; 4]) -> [f32; 4] {
        array(|i| a[i] * b[i])
    }

    #[inline(always)]
    fn divide(self, a: [f32; 4], b: [f32; 4]) -> [f32; 4] {
        array(|i| a[i] / b[i])
    }

    #[inline(always)]
    fn root(self, a: [f32; 4]) -> [f32; 4] {
        array(|i| a[i].sqrt())
    }

    #[inline(always)]
    fn multiply_add(self, a: [f32; 4], b: [f32; 4], c: [f32; 4]) -> [f32; 4] {
        array(|i| a[i].mul_add(b[i], c[i]))
    }

    #[inline(always)]
    fn select_less(self, a: [f32; 4], b: [f32; 4], yes: [f32; 4], no: [f32; 4]) -> [f32; 4] {
        array(|i| if a[i] < b[i] { yes[i] } else { no[i] })
    }
}

/// Returns \[f(0), f(1), …\]. In long kernels the optimiser does not see through [`std::array::from_fn`].
#[inline(always)]
pub(crate) fn array<T: Copy, const N: usize>(mut f: impl FnMut(usize) -> T) -> [T; N] {
    let mut values = [f(0); N];
    for (i, value) in values.iter_mut().enumerate().skip(1) {
        *value = f(i);
    }
    values
}

/// A loop that is compiled for every implementation of [`Lanes`].
pub(crate) trait Kernel {
    /// The result.
    type Output;

    /// Runs the loop. Implementations and everything they call are `#[inline(always)]`, so that they are compiled with the instruction set of
    /// `lanes`.
    fn run<L: Lanes>(self, lanes: L) -> Self::Output;
}

/// An instruction set that kernels run with.
#[derive(Clone, Copy, Debug)]
pub enum Instructions {
    /// AVX-512 F, BW, CD, DQ and VL.
    #[cfg(target_arch = "x86_64")]
    Avx512(pulp::x86::V4),
    /// AVX2 and FMA.
    #[cfg(target_arch = "x86_64")]
    Avx2(pulp::x86::V3),
    /// NEON.
    #[cfg(target_arch = "aarch64")]
    Neon(pulp::aarch64::Neon),
    /// No particular instructions. On a CPU without fused multiply-add it is emulated, with the same results but many times slower.
    Portable,
}

impl Instructions {
    /// All instruction sets that this CPU supports, the fastest first.
    pub fn all() -> Vec<Instructions> {
        let mut found = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            found.extend(pulp::x86::V4::try_new().map(Instructions::Avx512));
            found.extend(pulp::x86::V3::try_new().map(Instructions::Avx2));
        }
        #[cfg(target_arch = "aarch64")]
        found.extend(pulp::aarch64::Neon::try_new().map(Instructions::Neon));
        found.push(Instructions::Portable);
        found
    }

    /// The fastest instruction set that this CPU supports.
    pub fn best() -> Instructions {
        Self::all()[0]
    }

    /// The name in results and logs, such as `avx2`.
    pub fn name(self) -> &'static str {
        match self {
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx512(_) => "avx512",
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx2(_) => "avx2",
            #[cfg(target_arch = "aarch64")]
            Instructions::Neon(_) => "neon",
            Instructions::Portable => "portable",
        }
    }

    /// Runs `kernel` with this instruction set.
    #[inline]
    pub(crate) fn run<K: Kernel>(self, kernel: K) -> K::Output {
        match self {
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx512(lanes) => pulp::Simd::vectorize(lanes, Vectorized { lanes, kernel }),
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx2(lanes) => pulp::Simd::vectorize(lanes, Vectorized { lanes, kernel }),
            #[cfg(target_arch = "aarch64")]
            Instructions::Neon(lanes) => pulp::Simd::vectorize(lanes, Vectorized { lanes, kernel }),
            Instructions::Portable => kernel.run(Portable),
        }
    }
}

/// A kernel with its lanes, as `pulp` calls it in a function that is compiled for the instruction set.
struct Vectorized<L, K> {
    lanes: L,
    kernel: K,
}

impl<L: Lanes, K: Kernel> WithSimd for Vectorized<L, K> {
    type Output = K::Output;

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) -> K::Output {
        self.kernel.run(self.lanes)
    }
}
